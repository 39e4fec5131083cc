"""`platemark vault export` and `erase`: what the holder does with whole disclosures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark import files
from platemark.cli import output
from platemark.cli.capturing import load_statement
from platemark.cli.connect import Connection, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Device,
    Force,
    PassphraseFile,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
)
from platemark.cli.recording import LogOption, SpoolOption, operator_chain, recording
from platemark.cli.revoke import confirm
from platemark.cli.vault_access import Instance, Study, VaultDirectory, VaultKey, VaultPassphraseFile, open_vault
from platemark.errors import AttributeTreeError, VaultError

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.statement import Statement
    from platemark.vault import Vault

__all__ = ["erase", "export"]

Statements: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--statement", metavar="FILE", help="The capture of this statement. Repeat.")
]
Roots: TypeAlias = Annotated[
    list[str] | None, typer.Option("--root", metavar="HEX", help="The capture with this attribute root. Repeat.")
]


def export(
    *,
    vault: VaultDirectory,
    vault_key: VaultKey,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write ROOT.disclosure files here, mode 0600.")],
    study: Study = None,
    sop_instance: Instance = None,
    statement: Statements = None,
    root: Roots = None,
    vault_passphrase_file: VaultPassphraseFile = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Open whole disclosures, with K, into files: secrets of the holder, for `platemark fetch --disclosure`.

    Example:
      platemark vault export --vault vault --vault-key vault.pem --statement scan.dcm.statement --out opened
    """
    with open_vault(vault, vault_key, vault_passphrase_file) as opened:
        roots = _chosen(opened, study, sop_instance, _statements(statement), root)
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        targets = []
        for each in roots:
            target = out / f"{each.hex()}.disclosure"
            (files.replace if force else files.create)(target, opened.get(each).to_bytes(), mode=0o600)
            targets.append(target)
    if as_json:
        output.say_json({"files": [str(each) for each in targets]})
        return
    for target in targets:
        output.say(output.printable(target))


def erase(
    *,
    vault: VaultDirectory,
    vault_key: VaultKey,
    study: Study = None,
    sop_instance: Instance = None,
    statement: Statements = None,
    root: Roots = None,
    vault_passphrase_file: VaultPassphraseFile = None,
    note: Annotated[
        Path | None,
        typer.Option("--note-key", metavar="FILE", help="Sign a note of the erasure with this operator's key."),
    ] = None,
    device: Device = None,
    passphrase_file: PassphraseFile = None,
    spool: SpoolOption = None,
    log: LogOption = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The signed note, when it is sent at once.")] = Path(
        "erasure.note"
    ),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Destroy K and the values of captures. This cannot be taken back.

    What was not disclosed by then can never be opened again from this vault. The log, its proofs and the images stand as
    they were, and so does every opening that was handed out. Backups and copies of this vault, disclosure files and the
    objects themselves are not reached: destroy them as well. With --note-key the log says that it was done.

    Examples:
      platemark vault erase --vault vault --vault-key vault.pem --study 1.2.840.1
      platemark vault erase --vault vault --vault-key vault.pem --statement scan.dcm.statement --note-key operator.pem
    """
    named = _statements(statement)
    if note is not None and not named:
        raise typer.BadParameter("a note names the captures that it is about: give --statement with --note-key")
    connection = Connection(
        server=server, tls_ca=tls_ca, tls_certificate=tls_certificate, tls_key=tls_key, tls_name=tls_name,
        trusted=load_trust(trust),
    )  # fmt: skip
    chain = None if note is None else operator_chain(note, passphrase_file, device=device)
    with open_vault(vault, vault_key, vault_passphrase_file) as opened:
        roots = _chosen(opened, study, sop_instance, named, root)
        lines = [
            f"Erase K and all values of {len(roots)} captures from {vault}:",
            *(f"  {each.hex()}" for each in roots),
        ]
        confirm([*lines, "Nothing of them can be opened again. This cannot be taken back."], yes=yes)
        gone = sum(opened.erase(each) for each in roots)
        # Crash here: erased, and no note of it yet; the same command erases nothing more and makes the note.
    if chain is not None:
        text = f"attributes of {len(named)} captures were erased by their holder"
        ids: list[Value] = [*sorted({each.id for each in named})]
        payload: dict[str, Value] = {"at": time.time_ns(), "topic": "erasure", "text": text, "of": ids}
        with recording(connection, spool=spool, log=log) as recorder:
            recorder.record(chain.sign("note", {**payload, "log": recorder.log}), out, what="note")
    if as_json:
        output.say_json({"erased": gone, "roots": roots, "noted": chain is not None})
        return
    output.say(f"erased {gone} of {len(roots)}")


def _statements(paths: list[Path] | None) -> list[Statement]:
    loaded = (load_statement(path).statement for path in paths or [])
    return [each for each in loaded if each is not None]


def _chosen(
    vault: Vault, study: str | None, sop_instance: str | None, named: list[Statement], roots: list[str] | None
) -> list[bytes]:
    """The attribute roots that the options name, each once. Raises BadParameter: none named; VaultError: nothing found."""
    chosen = [_root_of(each) for each in named] + [_root(text) for text in roots or []]
    if study is not None or sop_instance is not None:
        chosen += vault.find(study=study, sop_instance=sop_instance)
    elif not chosen:
        raise typer.BadParameter("say which captures: --study, --sop-instance, --statement or --root")
    if not chosen:
        raise VaultError(f"{vault.directory}: no capture of that study or instance is kept")
    return list(dict.fromkeys(chosen))


def _root(text: str) -> bytes:
    try:
        root = bytes.fromhex(text)
    except ValueError:
        root = b""
    if len(root) != 32:
        raise typer.BadParameter("--root is 64 hex digits, `attributes` of the statement")
    return root


def _root_of(capture: Statement) -> bytes:
    """The attribute root of a statement. Raises AttributeTreeError when it has none."""
    root = capture.payload.get("attributes")
    if not isinstance(root, bytes):
        raise AttributeTreeError("attributes", f"this statement of kind {capture.kind} commits to no attributes")
    return root
