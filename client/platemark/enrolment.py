"""Asking for a key to be enrolled, and the payload of the enrolment that answers (rules T5 and T10 of proto/statement.md).

A device that keeps its key to itself makes a *request*: strict CBOR of exactly v, log, device, role, key and proof, where
the proof is the new key's own signature over log, device and role. A registrar reads it and signs the enrolment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor
from platemark.errors import CborError, FormatError, KeyFormatError, SignatureError, StatementError
from platemark.keys import load_public
from platemark.kinds import ROLES
from platemark.schema import blob, choice, integer, key, record, uri
from platemark.statement import enrolment_proof_input

if TYPE_CHECKING:
    from platemark.keys import Signer, Verifier

__all__ = ["MAX_REQUEST", "EnrolmentRequest", "decode_request", "enrolment_payload", "request_enrolment"]

MAX_REQUEST = 16 * 1024
_FIELDS = record(
    {
        "v": integer(1, 1),
        "log": blob(32),
        "device": uri,
        "role": choice(*ROLES),
        "key": key,
        "proof": blob(64, 2420),
    }
)


@dataclass(frozen=True)
class EnrolmentRequest:
    """A request whose proof has been verified: the holder of `key` (SPKI DER) asked for this URI, role and log."""

    log: bytes
    device: str
    role: str
    key: bytes
    proof: bytes

    @property
    def verifier(self) -> Verifier:
        """The key."""
        return load_public(self.key)

    def to_bytes(self) -> bytes:
        """The request file."""
        return cbor.encode(
            {"v": 1, "log": self.log, "device": self.device, "role": self.role, "key": self.key, "proof": self.proof}
        )


def request_enrolment(signer: Signer, *, log: bytes, device: str, role: str) -> EnrolmentRequest:
    """Ask that `signer`'s key be enrolled in `log` (leaf 0's id) as `device` in `role`. Raises FormatError."""
    proof = signer.sign(enrolment_proof_input(log=log, device=device, role=role))
    return decode_request(EnrolmentRequest(log, device, role, signer.spki, proof).to_bytes())


def decode_request(data: bytes) -> EnrolmentRequest:
    """The request in `data`, its proof verified. Raises FormatError naming the field."""
    if len(data) > MAX_REQUEST:
        raise FormatError("request", f"more than {MAX_REQUEST} bytes")
    try:
        content = cbor.decode(data)
        _FIELDS(content, "request")
    except CborError as error:
        raise FormatError("request", str(error)) from None
    except StatementError as error:
        raise FormatError(error.field, error.reason) from None
    fields = cast("dict[str, bytes]", content)
    device, role = str(fields["device"]), str(fields["role"])
    request = EnrolmentRequest(fields["log"], device, role, fields["key"], fields["proof"])
    try:
        proven = enrolment_proof_input(log=request.log, device=device, role=role)
        request.verifier.verify(proven, request.proof)
    except (SignatureError, KeyFormatError) as error:
        raise FormatError("request.proof", error.reason) from None
    return request


def enrolment_payload(
    request: EnrolmentRequest, *, at: int, not_before: int, not_after: int, attributes: bytes
) -> dict[str, cbor.Value]:
    """The payload of the `enrol` statement without its chain fields; times in Unix nanoseconds, `attributes` a root."""
    return {
        "at": at,
        "log": request.log,
        "device": request.device,
        "key": request.key,
        "role": request.role,
        "not_before": not_before,
        "not_after": not_after,
        "attributes": attributes,
        "proof": request.proof,
    }
