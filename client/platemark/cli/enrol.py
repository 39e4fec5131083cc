"""`platemark enrol`: the device's half, the registrar's half, or both at once."""

from __future__ import annotations

import enum
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from platemark import attributes, files
from platemark.chain import Chain
from platemark.cli import output
from platemark.cli.connect import Connection, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Attribute,
    Force,
    PassphraseFile,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
    parse_attributes,
)
from platemark.cli.passphrases import open_key
from platemark.cli.registrar import open_log, registrar_chain, send
from platemark.cli.times import parse_time
from platemark.enrolment import (
    MAX_REQUEST,
    EnrolmentRequest,
    decode_request,
    enrolment_payload,
    request_enrolment,
)
from platemark.errors import FormatError
from platemark.files import FileError

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.rpc.model import Logged
    from platemark.statement import Statement

__all__ = ["Role", "enrol", "log_id"]

_DAY = 86_400 * 10**9
_MAX_TIME = (1 << 63) - 1
_DEFAULT_DAYS = 5 * 365


class Role(enum.StrEnum):
    """What a key may be enrolled as."""

    MODALITY = "modality"
    SENSOR = "sensor"
    GATEWAY = "gateway"
    OPERATOR = "operator"
    REGISTRAR = "registrar"


@dataclass(frozen=True, kw_only=True)
class _Validity:
    not_before: int
    not_after: int


def enrol(
    *,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The device's private key.")] = None,
    device: Annotated[str | None, typer.Option(metavar="URI", help="The URI that the device signs as.")] = None,
    role: Annotated[Role | None, typer.Option(help="What the device may sign.")] = None,
    log: Annotated[str | None, typer.Option(metavar="ID", help="The log: leaf 0's id, 64 hex digits.")] = None,
    request_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the device's request here; nothing is sent.")
    ] = None,
    request: Annotated[Path | None, typer.Option(metavar="FILE", help="A device's request, to be answered.")] = None,
    registrar: Annotated[Path | None, typer.Option(metavar="FILE", help="The registrar's private key.")] = None,
    registrar_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="The registrar's URI. Default: its state, else the log's policy.")
    ] = None,
    not_before: Annotated[
        int | None,
        typer.Option(parser=parse_time, metavar="TIME", help="Default: now. What the key signed before is refused."),
    ] = None,
    not_after: Annotated[
        int | None, typer.Option(parser=parse_time, metavar="TIME", help="Default: not-before and --valid-days.")
    ] = None,
    valid_days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Default: 5 years.")] = None,
    attribute: Attribute = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signed enrolment. Default: KEY or REQUEST with .enrolment.")
    ] = None,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
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
    """Enrol a device's key in a log, so that what it signs is accepted.

    The key never has to leave the device: it makes a request there, and a registrar answers it elsewhere.

    Examples:
      on the device:         platemark enrol --key dx1.pem --device https://hospital.example/dx1 --role modality --log ID
      at the registrar's:    platemark enrol --request dx1.request --registrar registrar.pem
      or both at once:       platemark enrol --key dx1.pem --device https://hospital.example/dx1 --role modality
                               --registrar registrar.pem --attribute device_serial_number=4711
    """
    if (key is None) == (request is None) or (registrar is None and request is not None):
        raise typer.BadParameter("give --key (device), --request and --registrar (registrar), or --key and --registrar")
    if registrar is not None and request_out is not None:
        raise typer.BadParameter("--request-out is the device's half; without --registrar")
    trusted = load_trust(trust)
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=trusted,
    )
    named = log_id(log)
    if named is None and trusted is not None and len(trusted.logs) == 1:
        named = trusted.logs[0].id
    if registrar is None:
        assert key is not None
        if named is None:
            raise typer.BadParameter("--log (or --trust with one log) says which log the request is for")
        asked = _ask(key, passphrase_file, device=device, role=role, log=named)
        _write_request(request_out or key.with_suffix(".request"), asked, force=force, as_json=as_json)
        return
    validity = _validity(not_before, not_after, valid_days)
    facts = parse_attributes(attribute)
    target = out or (key or cast("Path", request)).with_suffix(".enrolment")
    with connection.open() as client:
        opened = open_log(client, server, named=named)
        if key is not None:
            asked = _ask(key, passphrase_file, device=device, role=role, log=opened.id)
        else:
            asked = decode_request(files.read(cast("Path", request), limit=MAX_REQUEST))
            _agree(asked, device=device, role=role, log=opened.id)
        chain = registrar_chain(registrar, registrar_passphrase_file, log=opened, uri=registrar_uri)
        signed = _sign(chain, asked, validity, facts, target, force=force)
        logged = send(client, signed, target, what="enrolment")
    _report(logged, signed, target, as_json=as_json)


def _ask(
    key: Path, passphrase_file: Path | None, *, device: str | None, role: Role | None, log: bytes
) -> EnrolmentRequest:
    """The device's half; the device remembers as what it asked to be enrolled."""
    if device is None or role is None:
        raise typer.BadParameter("--device and --role say what the key is to be enrolled as")
    signer = open_key(key, passphrase_file)
    asked = request_enrolment(signer, log=log, device=device, role=role.value)
    Chain(key, signer).begin(issuer=device, role=role.value)
    return asked


def _agree(asked: EnrolmentRequest, *, device: str | None, role: Role | None, log: bytes) -> None:
    """What the registrar typed, if anything, is what the device asked for."""
    for name, typed, requested in (("device", device, asked.device), ("role", role, asked.role)):
        if typed is not None and str(typed) != requested:
            raise FormatError(f"request.{name}", f"asks for {requested}, not {typed}")
    if asked.log != log:
        raise FormatError("request.log", f"asks for the log {asked.log.hex()}, this one is {log.hex()}")


def _sign(
    chain: Chain,
    asked: EnrolmentRequest,
    validity: _Validity,
    facts: dict[str, AttributeValue],
    target: Path,
    *,
    force: bool,
) -> Statement:
    """Sign the enrolment; it and the disclosure of its facts are on disk before anything is sent."""
    if target.exists() and not force:
        raise FileError(f"{target}: exists already; send it with `platemark submit`, or --force makes another")
    disclosure = attributes.commit(facts)
    payload = enrolment_payload(
        asked,
        at=time.time_ns(),
        not_before=validity.not_before,
        not_after=validity.not_after,
        attributes=disclosure.root(),
    )
    signed = chain.sign("enrol", payload)
    files.replace(target.with_name(target.name + ".disclosure"), disclosure.to_bytes(), mode=0o600)
    files.replace(target, signed.raw)
    return signed


def _report(logged: Logged, signed: Statement, target: Path, *, as_json: bool) -> None:
    payload = signed.payload
    key_id = hashlib.sha256(cast("bytes", payload["key"])).digest()
    if as_json:
        output.say_json(
            {
                "index": logged.statement.index,
                "id": signed.id,
                "kid": key_id,
                "device": payload["device"],
                "role": payload["role"],
                "registrar": signed.issuer,
                "not_before": payload["not_before"],
                "not_after": payload["not_after"],
                "log": payload["log"],
                "enrolment": str(target),
                "conditions": [each.code for each in logged.statement.conditions],
            }
        )
        return
    output.say(f"enrolled {output.printable(payload['device'])} as {payload['role']!s}, leaf {logged.statement.index}")
    output.say(f"  key id     {key_id.hex()}")
    output.say(f"  registrar  {output.printable(signed.issuer)}")
    output.say(f"  log        {cast('bytes', payload['log']).hex()}")
    output.say(f"  enrolment  {output.printable(target)}")


def _write_request(path: Path, asked: EnrolmentRequest, *, force: bool, as_json: bool) -> None:
    (files.replace if force else files.create)(path, asked.to_bytes())
    if as_json:
        output.say_json(
            {
                "request": str(path),
                "kid": asked.verifier.kid,
                "device": asked.device,
                "role": asked.role,
                "log": asked.log,
            }
        )
        return
    output.say(f"request  {output.printable(path)} (send it to a registrar; it holds no secret)")
    output.say(f"key id   {asked.verifier.kid.hex()} (read it to the registrar over another channel)")


def _validity(not_before: int | None, not_after: int | None, days: int | None) -> _Validity:
    if not_after is not None and days is not None:
        raise typer.BadParameter("--not-after and --valid-days say the same thing: give one")
    start = time.time_ns() if not_before is None else not_before
    end = min(start + (days or _DEFAULT_DAYS) * _DAY, _MAX_TIME) if not_after is None else not_after
    if end < start:
        raise typer.BadParameter("--not-after is earlier than --not-before")
    return _Validity(not_before=start, not_after=end)


def log_id(text: str | None) -> bytes | None:
    """The id of a log in 64 hex digits. Raises BadParameter."""
    if text is None:
        return None
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        identity = b""
    if len(identity) != 32:
        raise typer.BadParameter("--log is 64 hex digits, the id of the log's leaf 0")
    return identity
