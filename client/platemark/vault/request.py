"""The request: who asks for which attributes of which capture, and why, signed by whoever asks. Rules Q1 to Q5 of proto/vault.md.

It is a COSE_Sign1 with a content type of its own, so that it can never be taken for a statement, nor a statement for it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor, cose, statement
from platemark.attributes import REGISTRY
from platemark.errors import CborError, CoseError, FormatError, SignatureError, StatementError, VaultFormatError
from platemark.keys import load_public
from platemark.schema import array, blob, choice, integer, key, nullable, record, shorten, text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platemark.cbor import Value
    from platemark.keys import Signer, Verifier
    from platemark.statement import Statement

__all__ = ["CONTENT_TYPE", "MAX_PERIOD_NS", "MAX_REQUEST", "Request", "build", "decode", "is_request"]

CONTENT_TYPE = "application/vnd.platemark-vault-request+cbor"
MAX_REQUEST = 128 * 1024
MAX_PERIOD_NS = 366 * 86_400 * 10**9
_HEADER = {cose.ALG, cose.CONTENT_TYPE, cose.KID}
_PAYLOAD = record(
    {
        "v": integer(1, 1),
        "key": key,
        "name": nullable(text(255)),
        "statement": blob(1, statement.MAX_STATEMENT),
        "attributes": array(choice(*REGISTRY), 1, len(REGISTRY)),
        "purpose": text(1024),
        "at": integer(),
        "expires": integer(),
    }
)


@dataclass(frozen=True)
class Request:
    """A request whose signature has been verified under the key in it; whose key that is, is the reader's question.

    `capture` is the statement as the asker has it: well formed, with its signature not verified. Times are Unix ns.
    """

    raw: bytes
    id: bytes
    verifier: Verifier
    name: str | None
    capture: Statement
    attributes: tuple[str, ...]
    purpose: str
    at: int
    expires: int

    @property
    def root(self) -> bytes:
        """The attribute root of the capture."""
        return cast("bytes", self.capture.payload["attributes"])


def _meant(name: str) -> str:
    """The names that are nearest to one that is none."""
    near = difflib.get_close_matches(name, REGISTRY, n=3)
    return f" (is it {', '.join(near)}?)" if near else ""


def build(
    signer: Signer,
    *,
    capture: bytes,
    attributes: Iterable[str],
    purpose: str,
    at: int,
    expires: int,
    name: str | None = None,
) -> Request:
    """A signed request for `attributes` of the capture statement `capture`. Raises VaultFormatError."""
    asked = set(attributes)
    if unknown := sorted(asked - REGISTRY.keys()):
        raise VaultFormatError(
            "request.attributes", f"{shorten(unknown[0])} is not in the registry{_meant(unknown[0])}"
        )
    names: list[Value] = [*sorted(asked, key=REGISTRY.__getitem__)]
    payload: dict[int | str, Value] = {
        "v": 1,
        "key": signer.spki,
        "name": name,
        "statement": capture,
        "attributes": names,
        "purpose": purpose,
        "at": at,
        "expires": expires,
    }
    _check(payload)
    header: dict[int | str, Value] = {cose.CONTENT_TYPE: CONTENT_TYPE, cose.KID: signer.kid}
    try:
        raw = cose.sign(header, cbor.encode(payload), signer)
    except CborError as error:
        raise VaultFormatError(f"request.{error.field}", error.reason) from None
    return decode(raw)


def is_request(data: bytes) -> bool:
    """Whether the data is a COSE_Sign1 that calls itself a request."""
    return data[:1] == cose.TAG and CONTENT_TYPE.encode() in data[:128]


def decode(data: bytes) -> Request:
    """The request in `data`, its signature verified. Raises VaultFormatError naming the field."""
    if len(data) > MAX_REQUEST:
        raise VaultFormatError("request", f"more than {MAX_REQUEST} bytes")
    try:
        message = cose.decode(data)
        payload = cbor.decode(message.payload)
    except (CoseError, CborError) as error:
        raise VaultFormatError(f"request.{error.field}", error.reason) from None
    if message.protected.keys() != _HEADER or message.protected[cose.CONTENT_TYPE] != CONTENT_TYPE:
        raise VaultFormatError("request.protected", "not the header of a request to a vault")
    capture = _check(payload)
    fields = cast("dict[str, Value]", payload)
    verifier = load_public(cast("bytes", fields["key"]))
    if message.protected[cose.KID] != verifier.kid:
        raise VaultFormatError("request.protected.4", "the kid is not that of the key in the request")
    try:
        message.verify(verifier)
    except (SignatureError, CoseError) as error:
        raise VaultFormatError("request.signature", error.reason) from None
    return Request(
        raw=data,
        id=message.id,
        verifier=verifier,
        name=cast("str | None", fields["name"]),
        capture=capture,
        attributes=tuple(cast("list[str]", fields["attributes"])),
        purpose=cast("str", fields["purpose"]),
        at=cast("int", fields["at"]),
        expires=cast("int", fields["expires"]),
    )


def _check(payload: Value) -> Statement:
    """Refuse any payload but that of Q3 to Q6; the capture in it."""
    try:
        _PAYLOAD(payload, "request")
    except StatementError as error:
        raise VaultFormatError(error.field, error.reason) from None
    fields = cast("dict[str, Value]", payload)
    slots = [REGISTRY[name] for name in cast("list[str]", fields["attributes"])]
    if sorted(set(slots)) != slots:
        raise VaultFormatError("request.attributes", "not in ascending order of slots, each once")
    at, expires = cast("int", fields["at"]), cast("int", fields["expires"])
    if not 0 < expires - at <= MAX_PERIOD_NS:
        raise VaultFormatError("request.expires", "not later than `at`, or more than 366 days later")
    return _capture(cast("bytes", fields["statement"]))


def _capture(raw: bytes) -> Statement:
    try:
        capture = statement.decode(raw)
    except FormatError as error:
        raise VaultFormatError(f"request.statement.{error.field}", error.reason) from None
    if capture.kind != "capture":
        raise VaultFormatError("request.statement", f"a statement of kind {capture.kind}, not a capture")
    return capture
