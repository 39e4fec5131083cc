"""The release: exactly the attributes that a request asked for, and the custody statement that records it.

Rules L1 to L5 of proto/vault.md. The values prove themselves against the capture's attribute root; the custody statement
commits to the request and to the digest of what was handed over, so that neither can be exchanged afterwards.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import attributes, cbor, statement
from platemark.errors import CborError, FormatError, PlatemarkError, ProofError, StatementError, VaultFormatError
from platemark.rungs import SHA256
from platemark.schema import blob, integer, record
from platemark.vault import request as requests

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue, Disclosure
    from platemark.cbor import Value
    from platemark.statement import Statement
    from platemark.vault.request import Request

__all__ = ["MAX_RELEASE", "Release", "custody_payload", "decode", "is_release", "remark"]

MAX_RELEASE = 1024 * 1024
_FIELDS = record(
    {
        "v": integer(1, 1),
        "request": blob(1, requests.MAX_REQUEST),
        "disclosure": blob(1, 512 * 1024),
        "custody": blob(1, statement.MAX_STATEMENT),
        "recorded": blob(1, 16 * 1024),
    }
)


@dataclass(frozen=True)
class Release:
    """A release whose parts belong together. Whose signature the custody statement carries is the reader's question.

    `disclosure` opens attributes of the capture, `recorded` the remark of the custody statement.
    """

    request: Request
    disclosure: Disclosure
    custody: Statement
    recorded: Disclosure

    @property
    def values(self) -> dict[str, AttributeValue]:
        """Name -> value of what was released, proven to belong to the capture's attribute root."""
        return self.disclosure.verified(self.request.root)

    def to_bytes(self) -> bytes:
        """The release file."""
        return cbor.encode(
            {
                "v": 1,
                "request": self.request.raw,
                "disclosure": self.disclosure.to_bytes(),
                "custody": self.custody.raw,
                "recorded": self.recorded.to_bytes(),
            }
        )


def remark(asked: Request) -> str:
    """What the custody statement commits to as its `remark` (L3)."""
    return f"released {','.join(asked.attributes)}; request {asked.id.hex()}; purpose {asked.purpose}"


def custody_payload(
    asked: Request, opened: Disclosure, recorded: Disclosure, *, at: int, log: bytes
) -> dict[str, Value]:
    """The payload of the custody statement without its chain fields; `recorded` holds the remark and its K."""
    return {
        "at": at,
        "log": log,
        "of": asked.capture.id,
        "event": "accessed",
        "attributes": recorded.root(),
        "digests": {"file": {SHA256: hashlib.sha256(opened.to_bytes()).digest()}},
    }


def is_release(data: bytes) -> bool:
    """Whether the data begins as a release does: a map of five, `v` first."""
    return data[:3] == b"\xa5\x61v"


def decode(data: bytes) -> Release:
    """The release in `data`, every part checked against the others. Raises VaultFormatError naming the field."""
    if len(data) > MAX_RELEASE:
        raise VaultFormatError("release", f"more than {MAX_RELEASE} bytes")
    try:
        content = cbor.decode(data)
        _FIELDS(content, "release")
    except CborError as error:
        raise VaultFormatError("release", str(error)) from None
    except StatementError as error:
        raise VaultFormatError(error.field, error.reason) from None
    fields = cast("dict[str, bytes]", content)
    try:
        release = Release(
            requests.decode(fields["request"]),
            attributes.decode_disclosure(fields["disclosure"]),
            statement.decode(fields["custody"]),
            attributes.decode_disclosure(fields["recorded"]),
        )
    except FormatError as error:
        raise VaultFormatError(f"release.{error.field}", error.reason) from None
    _check_opened(release)
    _check_recorded(release)
    return release


def _check_opened(release: Release) -> None:
    """L2: openings of exactly what was asked for, which belong to the capture."""
    opened = release.disclosure
    if opened.key is not None:
        raise VaultFormatError("release.disclosure", "holds K, and so more than was asked for")
    if tuple(each.name for each in opened.openings) != release.request.attributes:
        raise VaultFormatError("release.disclosure", "does not open exactly the attributes that were asked for")
    try:
        opened.verified(release.request.root)
    except ProofError as error:
        raise VaultFormatError("release.disclosure", f"of another capture: {error.reason}") from None


def _check_recorded(release: Release) -> None:
    """L3 and L4: the custody statement records this release of this capture to this request, and nothing else."""
    custody, payload = release.custody, release.custody.payload
    if custody.kind != "custody" or payload["event"] != "accessed":
        raise VaultFormatError("release.custody", "not a custody statement of the event accessed")
    if payload["of"] != release.request.capture.id:
        raise VaultFormatError("release.custody.of", "records another capture")
    digest = hashlib.sha256(release.disclosure.to_bytes()).digest()
    if payload.get("digests") != {"file": {SHA256: digest}}:
        raise VaultFormatError("release.custody.digests", "records that something else was handed over")
    try:
        found = release.recorded.verified(cast("bytes", payload.get("attributes", b"")))
    except PlatemarkError as error:
        raise VaultFormatError("release.recorded", error.reason) from None
    if release.recorded.key is not None or found != {"remark": remark(release.request)}:
        raise VaultFormatError("release.recorded", "the custody statement records another request")
