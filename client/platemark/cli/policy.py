"""The rules of a log: show them, and change them with the signatures of offline policy keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import files, statement
from platemark.cli import output
from platemark.cli.connect import Connection, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Force,
    PassphraseFile,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
)
from platemark.cli.passphrases import open_key
from platemark.cli.policy_text import facts, lines
from platemark.cli.registrar import OpenedLog, open_log
from platemark.cli.revoke import confirm, kid_of
from platemark.cli.times import parse_time
from platemark.errors import FormatError
from platemark.key_files import read_public
from platemark.policy_change import (
    MAX_PROPOSAL,
    Changes,
    RegistrarEntry,
    decode_proposal,
    encode_proposal,
    propose,
    sign_proposal,
)

if TYPE_CHECKING:
    from platemark.statement import Statement

__all__ = ["COMMANDS"]

_DAY = 86_400 * 10**9
_MAX_TIME = (1 << 63) - 1


def show(
    *,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Show the policy in force: who may change it, which keys sign for the log, who enrols.

    Example:
      platemark policy show --server ledger.hospital.example:50151 --tls-ca hospital-ca.pem
    """
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    log = _opened(connection)
    payload = log.policy.payload
    if as_json:
        output.say_json({"log_id": log.id, "statements": [each.id for each in _in_force(log)], **facts(payload)})
    else:
        output.say("\n".join([f"log        {log.id.hex()}", *lines(payload)]))


def propose_change(
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The proposal, to be signed by policy keys.")],
    add_log_key: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="PUBLIC key that will sign for the log. Repeat for more.")
    ] = None,
    drop_log_key: Annotated[list[str] | None, typer.Option(metavar="KID|FILE", help="Repeat for more.")] = None,
    add_registrar: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PUBLIC key of a registrar; with --registrar-uri.")
    ] = None,
    registrar_uri: Annotated[str | None, typer.Option(metavar="URI", help="The URI that it signs as.")] = None,
    registrar_not_after: Annotated[
        int | None, typer.Option(parser=parse_time, metavar="TIME", help="Until when it enrols. Default: 5 years.")
    ] = None,
    drop_registrar: Annotated[list[str] | None, typer.Option(metavar="KID|FILE", help="Repeat for more.")] = None,
    add_key: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="PUBLIC policy key to add. Repeat for more.")
    ] = None,
    drop_key: Annotated[
        list[str] | None, typer.Option(metavar="KID|FILE", help="Policy key to drop. Repeat for more.")
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, max=16, help="How many policy keys have to sign the change after this one.")
    ] = None,
    force: Force = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Write the next version of the policy, unsigned: the one in force with these changes. Nothing is sent.

    Example:
      platemark policy propose --add-log-key log-2.pub --out both-keys.policy
    """
    if (add_registrar is None) != (registrar_uri is None):
        raise typer.BadParameter("--add-registrar and --registrar-uri go together")
    now = time.time_ns()
    entries: tuple[RegistrarEntry, ...] = ()
    if add_registrar is not None and registrar_uri is not None:
        until = min(now + 5 * 365 * _DAY, _MAX_TIME) if registrar_not_after is None else registrar_not_after
        # A day back: the registrar's own clock may be behind this one.
        entries = (RegistrarEntry(read_public(add_registrar).spki, registrar_uri, now - _DAY, until),)
    changes = Changes(
        add_keys=_spkis(add_key),
        drop_keys=_kids(drop_key),
        threshold=threshold,
        add_log_keys=_spkis(add_log_key),
        drop_log_keys=_kids(drop_log_key),
        add_registrars=entries,
        drop_registrars=_kids(drop_registrar),
    )
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    log = _opened(connection)
    payload = propose(_in_force(log), log.id, changes)
    (files.replace if force else files.create)(out, encode_proposal(payload))
    if as_json:
        output.say_json({"proposal": str(out), "signatures_needed": log.policy.payload["threshold"], **facts(payload)})
        return
    output.say("\n".join(lines(payload)))
    needed = log.policy.payload["threshold"]
    output.say(f"proposal   {output.printable(out)}: {needed!r} of the policy keys in force have to sign it")


def sign(
    proposal: Annotated[Path, typer.Argument(metavar="PROPOSAL", help="What `platemark policy propose` wrote.")],
    *,
    key: Annotated[Path, typer.Option(metavar="FILE", help="A policy key in force.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: PROPOSAL with 16 digits of the key id and .statement.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a proposal with one policy key, on the machine where that key lives. Needs no network.

    Read what is shown: a policy decides who signs for the log and who enrols, and your signature is the safeguard.

    Example:
      platemark policy sign both-keys.policy --key policy-1.key
    """
    data = files.read(proposal, limit=MAX_PROPOSAL)
    try:
        payload = decode_proposal(data)
    except FormatError as error:
        raise FormatError(f"{proposal}: {error.field}", error.reason) from None
    confirm([*lines(payload), "Sign this policy?"], yes=yes)
    signed = sign_proposal(payload, open_key(key, passphrase_file))
    target = out or proposal.with_name(f"{proposal.name}.{signed.kid.hex()[:16]}.statement")
    (files.replace if force else files.create)(target, signed.raw)
    if as_json:
        output.say_json({"statement": str(target), "id": signed.id, "kid": signed.kid, "version": payload["version"]})
    else:
        output.say(f"signed     {output.printable(target)}: submit it with the others, `platemark policy submit`")


def submit(
    statements: Annotated[
        list[Path], typer.Argument(metavar="STATEMENT...", help="The signed statements of one version.")
    ],
    *,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Submit the signed statements of a version. It is in force once as many keys have signed as the version before asks.

    Exit codes: 0 in force, even if a signature more than needed was refused; 1 not in force.

    Example:
      platemark policy submit both-keys.policy.*.statement
    """
    from platemark.rpc.model import Refused

    decoded = [_policy_statement(path) for path in statements]
    if len({each.message.payload for each in decoded}) != 1:
        raise typer.BadParameter("these are statements of different versions or different proposals")
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    with connection.open() as client:
        outcomes = client.append([each.raw for each in decoded]).outcomes
        log = open_log(client, server, named=None)
    in_force = log.policy.message.payload == decoded[0].message.payload
    items: list[dict[str, object]] = []
    for path, outcome in zip(statements, outcomes, strict=True):
        if isinstance(outcome, Refused):
            items.append({"statement": str(path), "status": "refused", "reason": f"{outcome.info}: {outcome.reason}"})
        else:
            items.append({"statement": str(path), "status": "logged", "index": outcome.statement.index})
    version = decoded[0].payload["version"]
    if as_json:
        output.say_json({"version": version, "in_force": in_force, "items": items})
    else:
        for item in items:
            what = f"leaf {item['index']}" if "index" in item else item["reason"]
            output.say(f"{item['status']:<8} {output.printable(item['statement'])}: {output.printable(what)}")
        output.say(
            f"policy version {version!r} is {'in force' if in_force else 'NOT in force: signatures are missing or were refused'}"
        )
    if not in_force:
        raise typer.Exit(1)


COMMANDS: Mapping[str, Callable[..., None]] = {
    "show": show,
    "propose": propose_change,
    "sign": sign,
    "submit": submit,
}


def _opened(connection: Connection) -> OpenedLog:
    with connection.open() as client:
        return open_log(client, connection.server, named=None)


def _in_force(log: OpenedLog) -> list[Statement]:
    """The statements of the version in force, in log order."""
    return [each for each in log.policies if each.message.payload == log.policy.message.payload]


def _policy_statement(path: Path) -> Statement:
    try:
        decoded = statement.decode(files.read(path, limit=statement.MAX_STATEMENT))
    except FormatError as error:
        raise FormatError(f"{path}: {error.field}", error.reason) from None
    if decoded.kind != "policy":
        raise FormatError(str(path), f"a statement of kind {decoded.kind}, not policy")
    return decoded


def _spkis(paths: list[Path] | None) -> tuple[bytes, ...]:
    return tuple(read_public(path).spki for path in paths or ())


def _kids(named: list[str] | None) -> tuple[bytes, ...]:
    return tuple(kid_of(each) for each in named or ())
