"""`platemark vault show`: a request or a release, for a person or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import files, statement
from platemark.attributes import REGISTRY, decode_disclosure
from platemark.cli import output
from platemark.cli.options import AsJson
from platemark.errors import FormatError, SignatureError, VaultError
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.vault.release import Release
    from platemark.vault.request import Request

__all__ = ["described", "handed_over", "request_facts", "show"]


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A request or a release.")],
    *,
    signers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Public keys (PEM): check the custody statement under one of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a request, or what a release hands over. The values are proven to be those that the capture committed to.

    Whether the capture itself is registered, `platemark verify --disclosure` says.

    Example:
      platemark vault show scan.release
    """
    from platemark.vault import release as releases
    from platemark.vault import request as requests

    data = files.read(file, limit=releases.MAX_RELEASE)
    try:
        if requests.is_request(data):
            _show(request_facts(requests.decode(data)), as_json=as_json)
            return
        found = releases.decode(data)
    except FormatError as error:
        raise type(error)(f"{file}: {error.field}", error.reason) from None
    facts = request_facts(found.request) | _custody(found, signers)
    _show(facts | {"values": found.values}, as_json=as_json)


def described(data: bytes, *, reveal: bool) -> dict[str, object] | None:
    """What `platemark inspect` says of a request or a release; None for another file. Raises FormatError."""
    from platemark.vault import release as releases
    from platemark.vault import request as requests

    if requests.is_request(data):
        return {"file": "request to a vault"} | request_facts(requests.decode(data))
    if not releases.is_release(data):
        return None
    found = releases.decode(data)
    values = found.values if reveal else "hidden (--reveal shows them)"
    return {"file": "release from a vault"} | request_facts(found.request) | _custody(found, None) | {"values": values}


def request_facts(asked: Request) -> dict[str, object]:
    """What a request says, without the capture's own bytes."""
    return {
        "request_id": asked.id,
        "requester": asked.verifier.kid,
        "says_to_be": asked.name,
        "attributes": list(asked.attributes),
        "purpose": asked.purpose,
        "at": asked.at,
        "expires": asked.expires,
        "capture": asked.capture.id,
        "device": asked.capture.issuer,
        "stated_time": asked.capture.time,
    }


def handed_over(path: Path, held: Evidence) -> bytes:
    """The disclosure in a release or disclosure file, for the capture that the evidence is about.

    Raises FileError, VaultFormatError, AttributeTreeError, and VaultError for a release of another capture.
    """
    from platemark.vault import release as releases

    data = files.read(path, limit=releases.MAX_RELEASE)
    try:
        if not releases.is_release(data):
            return decode_disclosure(data).to_bytes()
        found = releases.decode(data)
    except FormatError as error:
        raise type(error)(f"{path}: {error.field}", error.reason) from None
    if found.request.capture.id != _id(held):
        raise VaultError(f"{path}: a release of another capture than this evidence is about")
    return found.disclosure.to_bytes()


def _id(held: Evidence) -> bytes | None:
    """The id of the evidence's record; None if it is no statement, which the verdict says."""
    try:
        return statement.decode(held.record.statement).id
    except FormatError:
        return None


def _custody(found: Release, signers: Path | None) -> dict[str, object]:
    """The record of the release; its signature is checked if keys are given. Raises SignatureError, RequestRefusedError."""
    checked = False
    if signers is not None:
        from platemark.vault.requesters import read_keys

        signer = read_keys(signers).verifier(found.custody.kid)
        if signer is None:
            raise SignatureError("the custody statement is signed by a key which is not among the signers")
        found.custody.verify(signer)
        checked = True
    return {
        "custody": found.custody.id,
        "custody_by": found.custody.issuer,
        "custody_at": found.custody.time,
        "custody_signature_checked": checked,
    }


def _show(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        output.say_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for each in sorted(value, key=REGISTRY.__getitem__):
                shown = "(none in the object)" if value[each] is None else output.printable(value[each])
                output.say(f"{each:<26} {shown}")
        else:
            output.say(f"{name.replace('_', ' '):<26} {_text(name, value)}")


def _text(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return ", ".join(output.printable(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (name in {"at", "expires", "stated_time", "custody_at"}):
        return format_time(value)
    return "-" if value is None else output.printable(value)
