"""`platemark revoke`: a registrar withdraws a key, once and for good."""

from __future__ import annotations

import enum
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import files
from platemark.cli import output
from platemark.cli.connect import Connection, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
)
from platemark.cli.registrar import open_log, registrar_chain, send
from platemark.cli.times import parse_time
from platemark.errors import PlatemarkError
from platemark.files import FileError
from platemark.key_files import read_public
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.rpc.model import Logged
    from platemark.statement import Statement

__all__ = ["Reason", "confirm", "kid_of", "revoke"]


class Reason(enum.StrEnum):
    """Why a key is withdrawn."""

    KEY_COMPROMISE = "key-compromise"
    DEVICE_LOST = "device-lost"
    DEVICE_RETIRED = "device-retired"
    SUPERSEDED = "superseded"
    UNSPECIFIED = "unspecified"


def revoke(
    key: Annotated[str, typer.Argument(metavar="KID|FILE", help="The key: 64 hex digits, or its public key file.")],
    *,
    reason: Annotated[Reason, typer.Option(help="Why; it is public.")],
    registrar: Annotated[Path, typer.Option(metavar="FILE", help="The registrar's private key.")],
    effective: Annotated[
        int | None,
        typer.Option(parser=parse_time, metavar="TIME", help="The last moment for which you vouch. Default: now."),
    ] = None,
    registrar_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="The registrar's URI. Default: its state, else the log's policy.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The signed revocation. Default: KID.revocation, 16 digits of it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    registrar_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Else PLATEMARK_REGISTRAR_PASSPHRASE; else asked.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: the ledger takes nothing more from it. This cannot be taken back, and is done once.

    What it does to records that are in the log: those with a time stamp at or before --effective stand, as if nothing
    had happened. All others of this key become INCONCLUSIVE, "disputed": they may be the owner's or a thief's. An early
    --effective voids nothing and disputes more; choose the last moment at which the key was certainly in the right
    hands. A routine exchange of a key needs no revocation: enrol the new one, and let the old one expire.

    Examples:
      platemark revoke dx1.pub --reason device-lost --effective 2031-05-04T18:00:00Z --registrar registrar.pem
      platemark revoke 64-HEX-DIGITS --reason device-retired --registrar registrar.pem --yes --json
    """
    kid = kid_of(key)
    target = out or Path(f"{kid.hex()[:16]}.revocation")
    now = time.time_ns()
    moment = now if effective is None else effective
    if moment > now:
        raise typer.BadParameter(
            "--effective is in the future: a revocation is for what has happened, and works at once"
        )
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    if target.exists():
        raise FileError(f"{target}: exists already; send it with `platemark submit`, or name another file with --out")
    with connection.open() as client:
        log = open_log(client, server, named=None)
        confirm(
            [
                f"Revoke the key {kid.hex()}",
                f"  in the log {log.id.hex()}, reason {reason}",
                f"  with effect from {format_time(moment)}",
                "The ledger will take nothing more from it. Its records without a time stamp by then become disputed.",
                "This cannot be taken back.",
            ],
            yes=yes,
        )
        chain = registrar_chain(registrar, registrar_passphrase_file, log=log, uri=registrar_uri)
        payload: dict[str, Value] = {"at": now, "log": log.id, "kid": kid, "reason": reason.value, "effective": moment}
        signed = chain.sign("revoke", payload)
        files.replace(target, signed.raw)
        logged = send(client, signed, target, what="revocation")
    _report(logged, signed, kid, target, as_json=as_json)


def kid_of(text: str) -> bytes:
    """The kid that 64 hex digits are, or that of the public key in a file. Raises KeyFileError, BadParameter."""
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    path = Path(text)
    if not path.exists():
        raise typer.BadParameter(f"{output.printable(text)}: neither a key id of 64 hex digits nor a file")
    return read_public(path).kid


def confirm(lines: list[str], *, yes: bool) -> None:
    """Go on after `yes`, or after a person at the terminal said so. Raises PlatemarkError, and typer.Abort for a no."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise PlatemarkError("this asks before it acts, and there is no terminal: --yes goes on without asking")
    for line in [*lines, "Go on? [y/N]"]:
        output.note(line)
    # Not typer.confirm, which leaves a space on standard output, where --json writes.
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Abort


def _report(logged: Logged, signed: Statement, kid: bytes, target: Path, *, as_json: bool) -> None:
    payload = signed.payload
    if as_json:
        output.say_json(
            {
                "index": logged.statement.index,
                "id": signed.id,
                "kid": kid,
                "reason": payload["reason"],
                "effective": payload["effective"],
                "registrar": signed.issuer,
                "log": payload["log"],
                "revocation": str(target),
                "conditions": [each.code for each in logged.statement.conditions],
            }
        )
        return
    output.say(f"revoked {kid.hex()}, leaf {logged.statement.index}")
    output.say(f"  effective   {format_time(int(str(payload['effective'])))}")
    output.say(f"  registrar   {output.printable(signed.issuer)}")
    output.say(f"  revocation  {output.printable(target)}")
