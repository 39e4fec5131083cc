"""`platemark vault request` and `release`: one attribute of one capture, from its holder to whoever may ask."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark import evidence as bundle
from platemark import files, statement
from platemark.cli import output
from platemark.cli.capturing import load_statement
from platemark.cli.connect import Connection, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Device,
    PassphraseFile,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
)
from platemark.cli.passphrases import open_key
from platemark.cli.recording import LogOption, SpoolOption, operator_chain, recording
from platemark.cli.revoke import confirm
from platemark.cli.vault_access import VaultDirectory, VaultKey, VaultPassphraseFile, open_vault
from platemark.cli.vault_show import request_facts
from platemark.errors import (
    EvidenceError,
    RequestRefusedError,
    SignatureError,
    VaultFormatError,
)
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.statement import Statement
    from platemark.vault.release import Release
    from platemark.vault.request import Request
    from platemark.vault.requesters import Listed

__all__ = ["release", "request"]

_DAY = 86_400 * 10**9
_DEFAULT_DAYS = 30

Signers: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Public keys (PEM) of the devices and gateways whose captures this vault keeps."),
]


def request(
    *,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Your signing key (`platemark keygen`).")],
    attributes: Annotated[
        str, typer.Option(metavar="A,B,C", help="What you ask for (proto/attributes.md lists names).")
    ],
    purpose: Annotated[str, typer.Option(metavar="TEXT", help="Why. It goes into the record; name no patient in it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The request, to be sent to the holder.")],
    evidence: Annotated[Path | None, typer.Option(metavar="FILE", help="Evidence of the capture.")] = None,
    statement_file: Annotated[
        Path | None, typer.Option("--statement", metavar="FILE", help="Or its signed statement.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Who you are, as you say it.")] = None,
    valid_days: Annotated[int, typer.Option(min=1, max=366, help="How long it may be answered.")] = _DEFAULT_DAYS,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask the holder of a capture for attributes of it. Writes a signed file, and sends nothing.

    Example:
      platemark vault request --evidence scan.dcm.evidence --attributes technologist --purpose "claim 4711"
        --key insurer.pem --out scan.request
    """
    from platemark.vault import request as requests

    if (evidence is None) == (statement_file is None):
        raise typer.BadParameter("give --evidence or --statement: the capture that you ask about")
    capture = _evidence(evidence).record.statement if evidence is not None else _raw(statement_file)
    names = [each.strip() for each in attributes.split(",") if each.strip()]
    now = time.time_ns()
    signer = open_key(key, passphrase_file)
    asked = requests.build(
        signer, capture=capture, attributes=names, purpose=purpose, at=now, expires=now + valid_days * _DAY, name=name
    )
    files.create(out, asked.raw, mode=0o600)
    if as_json:
        output.say_json(request_facts(asked) | {"request": str(out)})
        return
    output.say(f"request  {output.printable(out)} (send it to the holder)")
    output.say(f"key id   {asked.verifier.kid.hex()} (the holder has to list your public key)")


def release(
    request_file: Annotated[Path, typer.Argument(metavar="REQUEST", help="What `platemark vault request` wrote.")],
    *,
    vault: VaultDirectory,
    vault_key: VaultKey,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The operator's key, which signs the custody statement.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The release, for whoever asked.")],
    requesters: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Public keys (PEM) of those who may ask; a line above each names it."),
    ] = None,
    accept_any_requester: Annotated[
        bool, typer.Option("--accept-any-requester", help="Answer whoever signed, without a list.")
    ] = False,
    signers: Signers = None,
    evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Evidence of the capture, to be judged by --trust.")
    ] = None,
    device: Device = None,
    spool: SpoolOption = None,
    log: LogOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    passphrase_file: PassphraseFile = None,
    vault_passphrase_file: VaultPassphraseFile = None,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Answer a request: open exactly what it asks for, and record that as custody, before anything leaves.

    The capture has to be known: to the ledger, which is asked unless --spool is given; to the vault, if its writer noted
    the statement; by --evidence under --trust; or by its signer among --signers. Exit code 1 when the request is refused;
    the reason is one line, and nothing was opened.

    Example:
      platemark vault release scan.request --vault vault --vault-key vault.pem --key operator.pem
        --requesters insurers.pem --out scan.release
    """
    from platemark.vault import handover
    from platemark.vault.requesters import read_keys

    if (requesters is None) == (not accept_any_requester):
        raise typer.BadParameter("--requesters FILE says who may ask; or --accept-any-requester")
    if out.exists():
        raise files.FileError(f"{out}: exists already")
    connection = Connection(
        server=server, tls_ca=tls_ca, tls_certificate=tls_certificate, tls_key=tls_key, tls_name=tls_name,
        trusted=load_trust(trust),
    )  # fmt: skip
    listed = None if requesters is None else read_keys(requesters)
    known = None if signers is None else read_keys(signers)
    asked = _request(request_file)
    now = time.time_ns()
    handover.check_asker(asked, requesters=listed, now=now)
    proven = _proven(asked, known, evidence, connection, now)
    with (
        open_vault(vault, vault_key, vault_passphrase_file) as opened,
        recording(connection, spool=spool, log=log) as recorder,
    ):
        noted = handover.is_noted(asked, opened)
        if recorder.client is not None:
            recorder.require_logged(asked.capture.id)
        elif not (proven or noted):
            raise RequestRefusedError(
                "nothing shows that the capture it names was registered: give --signers, or --evidence with --trust"
            )
        disclosure = handover.open_asked(asked, opened)
        chain = operator_chain(key, passphrase_file, device=device)
        handover.require_custodian(chain)
        _ask(asked, listed, recorder.log, yes=yes)
        made = handover.hand_over(
            asked, disclosure, vault=opened, chain=chain, log=recorder.log, at=time.time_ns(), out=out,
            record=lambda signed: recorder.record(signed, _beside(out, signed), what="custody statement"),
        )  # fmt: skip
    _report(made, out, spooled=spool is not None, as_json=as_json)


def _raw(path: Path | None) -> bytes:
    assert path is not None
    loaded = load_statement(path).statement
    assert loaded is not None
    return loaded.raw


def _evidence(path: Path) -> bundle.Evidence:
    try:
        return bundle.from_bytes(files.read(path, limit=bundle.MAX_BUNDLE))
    except EvidenceError as error:
        raise EvidenceError(f"{path}: {error.field}", error.reason) from None


def _request(path: Path) -> Request:
    from platemark.vault import request as requests

    try:
        return requests.decode(files.read(path, limit=requests.MAX_REQUEST))
    except VaultFormatError as error:
        raise VaultFormatError(f"{path}: {error.field}", error.reason) from None


def _proven(asked: Request, known: Listed | None, evidence: Path | None, connection: Connection, now: int) -> bool:
    """Whether the capture is shown to be one of a known key. Raises RequestRefusedError when what was given denies it."""
    if known is not None:
        signer = known.verifier(asked.capture.kid)
        if signer is None:
            raise RequestRefusedError("the capture that it names is signed by a key which is not among the signers")
        try:
            asked.capture.verify(signer)
        except SignatureError as error:
            raise RequestRefusedError(f"the capture that it names: {error.reason}") from None
    if evidence is not None:
        _judge(asked, evidence, connection, now)
    return known is not None or evidence is not None


def _judge(asked: Request, path: Path, connection: Connection, now: int) -> None:
    from platemark.verify import verify

    held = _evidence(path)
    if connection.trusted is None:
        raise typer.BadParameter("--evidence is judged by --trust: give a trust file")
    if statement.decode(held.record.statement).id != asked.capture.id:
        raise RequestRefusedError("it names another capture than the evidence")
    verdict = verify(held, trust=connection.trusted, image=None, at=now)
    if not verdict.facts:
        raise RequestRefusedError(f"the evidence does not show that the capture was registered: {verdict.reason}")


def _ask(asked: Request, listed: Listed | None, log: bytes, *, yes: bool) -> None:
    """Show who asks for what of which capture, and go on when a person agrees."""
    who = "nobody was listed" if listed is None else listed.name(asked.verifier.kid) or "listed without a name"
    lines = [
        f"Release {', '.join(asked.attributes)}",
        f"  of       capture {asked.capture.id.hex()}",
        f"           by {asked.capture.issuer}, stated time {format_time(asked.capture.time or 0)}",
        f"  to       key {asked.verifier.kid.hex()} ({who})",
        f"           who says to be {asked.name or 'nobody'}",
        f"  purpose  {asked.purpose}",
        f"  asked    {format_time(asked.at)}, until {format_time(asked.expires)}",
        f"It is recorded as custody in the log {log.hex()}.",
    ]
    if yes:
        for line in lines:
            output.note(line)
    confirm(lines, yes=yes)


def _beside(out: Path, signed: Statement) -> Path:
    """Where the record of a release lies: a name of its own, so that what was tried before is never in the way."""
    return out.with_name(f"{out.name}.{signed.id.hex()[:16]}.custody")


def _report(made: Release, out: Path, *, spooled: bool, as_json: bool) -> None:
    """What left and where it is recorded; no value."""
    if as_json:
        output.say_json(
            {
                "release": str(out),
                "attributes": list(made.request.attributes),
                "capture": made.request.capture.id,
                "requester": made.request.verifier.kid,
                "custody": made.custody.id,
                "spooled": spooled,
            }
        )
        return
    output.say(f"release  {output.printable(out)} ({', '.join(made.request.attributes)})")
    output.say(f"custody  {made.custody.id.hex()} ({'in the spool' if spooled else 'logged'})")
