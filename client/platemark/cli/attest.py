"""`platemark attest`: a person's own signature over captures that a device made."""

from __future__ import annotations

import enum
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import attributes, files
from platemark.chain import Chain
from platemark.cli import output
from platemark.cli.capturing import load_statement
from platemark.cli.connect import load_trust
from platemark.cli.options import AsJson, Attribute, Device, Force, Key, PassphraseFile, Trust, parse_attributes
from platemark.cli.passphrases import open_key
from platemark.cli.stopping import told_to_stop
from platemark.cli.times import parse_time
from platemark.errors import FormatError, PlatemarkError
from platemark.files import FileError
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.cbor import Value
    from platemark.shift import Shift
    from platemark.statement import Statement

_PAUSE = 1.0  # seconds between two looks into the journal

__all__ = ["Meaning", "attest", "log_of", "sign_attestation"]


class Meaning(enum.StrEnum):
    """What the person says of the capture."""

    PERFORMED = "performed"
    REVIEWED = "reviewed"
    APPROVED = "approved"
    WITNESSED = "witnessed"


def attest(
    captures: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE.statement...]", help="The captures: statements.")
    ] = None,
    *,
    key: Key,
    device: Device = None,
    meaning: Annotated[Meaning, typer.Option(help="What you say of them.")] = Meaning.PERFORMED,
    attribute: Attribute = None,
    log: Annotated[str | None, typer.Option(metavar="ID", help="The log: leaf 0's id, 64 hex digits.")] = None,
    trust: Trust = None,
    gateway: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For a shift: the state_dir of a gateway, instead of statement files."),
    ] = None,
    calling: Annotated[
        str | None, typer.Option(metavar="AE_TITLE", help="With --gateway: the modality whose captures are yours.")
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(parser=parse_time, metavar="TIME", help="With --gateway: when your shift began. Default: now."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --gateway: go on until interrupted, which ends the shift.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --gateway: keep each attestation here too, for platemark fetch."),
    ] = None,
    spool: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put them into this spool as well, which sends them.")
    ] = None,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign captures with your own key, as the person who made or read them. Needs no network.

    A capture names its technologist as the device states it; nobody signed that. An attestation is that person's own
    signature, best by a key in a token (platemark keygen --token) that is enrolled with the role operator. Writes
    IMAGE.attest.statement beside each capture; `platemark submit` sends it. The log is named by --log, or by a trust file
    that names one log.

    For a shift at a modality behind a gateway, --gateway with --calling signs every capture of that modality, each once,
    and puts the attestations into the gateway's spool.

    Examples:
      platemark attest scan.dcm.statement --key badge.p11 --device https://hospital.example/people/7 --trust trust.toml
      platemark submit scan.dcm.attest.statement
      platemark attest --gateway /var/lib/platemark-gateway --calling DX1 --follow --key badge.p11 --trust trust.toml
    """
    extra = parse_attributes(attribute)
    if (gateway is None) == (not captures):
        raise typer.BadParameter("either statement files, or --gateway DIR")
    if gateway is None and (calling is not None or since is not None or follow or out is not None):
        raise typer.BadParameter("--calling, --since, --follow and --out go with --gateway")
    identity = log_of(log, trust)
    if gateway is not None:
        if calling is None:
            raise typer.BadParameter("--gateway needs --calling: whose captures are yours")
        if extra or spool is not None:
            raise typer.BadParameter("--attribute and --spool go with statement files, not with --gateway")
        from platemark.shift import Shift  # which needs sqlite3

        chain = Chain(key, open_key(key, passphrase_file))
        chain.begin(issuer=device)
        begun = time.time_ns() if since is None else since
        shift = Shift(gateway, calling, chain, log=identity, meaning=meaning.value, since_ns=begun, out=out)
        with shift:
            _work(shift, follow=follow, as_json=as_json)
        return
    found = [(path, _capture(path), _target(path)) for path in captures or []]
    for _, _, target in found:
        if target.exists() and not force:
            raise FileError(f"{target}: exists already; --force replaces it")
    chain = Chain(key, open_key(key, passphrase_file))
    chain.begin(issuer=device)
    done = []
    for path, capture, target in found:
        signed = sign_attestation(chain, capture.id, log=identity, meaning=meaning.value, facts=extra, target=target)
        done.append((path, signed, target))
    if spool is not None:
        _put(spool, [signed for _, signed, _ in done])
    _report(done, meaning, as_json=as_json)


def _work(shift: Shift, *, follow: bool, as_json: bool) -> None:
    """Sign what is there and, when `follow`, what comes, until the person at the terminal ends the shift."""
    total = 0
    if follow:
        output.note(f"platemark: the shift at {shift.calling} began at {format_time(shift.since_ns)}; Ctrl-C ends it")
    if not shift.known():
        output.note(f"platemark: nothing captured has come from {shift.calling} yet; upper and lower case differ")
    stop = threading.Event()
    with told_to_stop(stop):
        while True:
            done = shift.step()
            total += len(done)
            for capture in done if not as_json else ():
                output.say(f"{shift.meaning}  capture {capture.hex()}")
            if not follow or stop.is_set() or (not done and stop.wait(_PAUSE)):
                break
    if stop.is_set():
        output.note("platemark: the shift is over")
    if as_json:
        output.say_json({"meaning": shift.meaning, "calling": shift.calling, "attested": total})
    else:
        output.say(f"{total} captures attested; the gateway's spool sends them")


def sign_attestation(
    chain: Chain, of: bytes, *, log: bytes, meaning: str, facts: dict[str, AttributeValue], target: Path
) -> Statement:
    """Sign one attestation of the capture with the statement id `of`; it is on disk at `target` when this returns.

    Facts are committed to, and their disclosure kept beside the statement.
    """
    payload: dict[str, Value] = {"at": time.time_ns(), "log": log, "of": of, "meaning": meaning}
    if facts:
        disclosure = attributes.commit(facts)
        payload["attributes"] = disclosure.root()
        # Crash after this line: a disclosure of nothing, which the next try replaces.
        files.replace(target.with_suffix(".disclosure"), disclosure.to_bytes(), mode=0o600)
    signed = chain.sign("attest", payload)
    files.replace(target, signed.raw)
    return signed


def log_of(log: str | None, trust: Path | None) -> bytes:
    """The log that a statement is bound to: as given, or the one log of the trust file. Raises BadParameter, TrustError."""
    if log is not None:
        if re.fullmatch("[0-9a-fA-F]{64}", log) is None:
            raise typer.BadParameter("the id of a log is 64 hex digits", param_hint="--log")
        return bytes.fromhex(log)
    trusted = load_trust(trust)
    if trusted is None:
        raise typer.BadParameter("an attestation is bound to a log: give --log ID, or --trust FILE")
    if len(trusted.logs) != 1:
        raise typer.BadParameter("the trust file names several logs: --log ID says which one")
    return trusted.logs[0].id


def _capture(path: Path) -> Statement:
    found = load_statement(path).statement
    assert found is not None
    if found.kind != "capture":
        raise FormatError(str(path), f"a statement of kind {found.kind}; captures are attested")
    return found


def _target(path: Path) -> Path:
    name = path.name.removesuffix(".statement")
    return path.with_name(f"{name}.attest.statement")


def _put(directory: Path, signed: list[Statement]) -> None:
    from platemark.spool import Spool

    with Spool(directory) as spool:
        for each in signed:
            spool.put(each.raw)


def _report(done: list[tuple[Path, Statement, Path]], meaning: Meaning, *, as_json: bool) -> None:
    if as_json:
        items = [
            {"capture": str(path), "of": signed.payload["of"], "id": signed.id, "statement": str(target)}
            for path, signed, target in done
        ]
        output.say_json({"meaning": meaning.value, "items": items})
        return
    for path, _, target in done:
        output.say(f"{meaning.value}  {output.printable(path)} -> {output.printable(target)}")
    if not done:
        raise PlatemarkError("no capture was given")
