"""The one table from the ledger's errors to gRPC, and google.rpc.Status made from it.

What a caller learns is in the table: a code, a stable reason, a field where one is to blame. Faults of the ledger itself are
one coarse sentence; what happened goes to the ledger's own log, next to whoever can mend it.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from platemark.errors import PlatemarkError
from platemark_ledger.errors import (
    NotFoundError,
    Refusal,
    RequestError,
    UnavailableError,
)

__all__ = ["DOMAIN", "CallError", "Told", "classify", "refusal", "to_status"]

DOMAIN = "platemark"
_Code = grpc.StatusCode


class CallError(PlatemarkError):
    """The call itself cannot be served, before any question of what it asks. `code` is one of the table's.

    `role`: the one that the caller would need.
    """

    def __init__(self, code: str, reason: str, *, role: str | None = None) -> None:
        super().__init__(reason)
        self.role = role
        self.code = code  # type: ignore[misc] # the table below knows a few of these; a class for each would say no more


# The stable code of an error -> the gRPC code. The comment at the end of ledger.proto is the public copy of this table.
_CODES: dict[str, grpc.StatusCode] = {
    "too-large": _Code.INVALID_ARGUMENT,
    "malformed": _Code.INVALID_ARGUMENT,
    "unknown-kind": _Code.INVALID_ARGUMENT,
    "bad-signature": _Code.INVALID_ARGUMENT,
    "bad-policy": _Code.INVALID_ARGUMENT,
    "wrong-log": _Code.INVALID_ARGUMENT,
    "unknown-key": _Code.PERMISSION_DENIED,
    "wrong-role": _Code.PERMISSION_DENIED,
    "wrong-issuer": _Code.PERMISSION_DENIED,
    "not-yet-valid": _Code.PERMISSION_DENIED,
    "expired": _Code.PERMISSION_DENIED,
    "revoked": _Code.PERMISSION_DENIED,
    "already-enrolled": _Code.ALREADY_EXISTS,
    "already-revoked": _Code.ALREADY_EXISTS,
    "unknown-target": _Code.FAILED_PRECONDITION,
    "invalid-argument": _Code.INVALID_ARGUMENT,
    "malformed-message": _Code.INVALID_ARGUMENT,
    "out-of-range": _Code.OUT_OF_RANGE,
    "not-found": _Code.NOT_FOUND,
    "no-witnesses": _Code.FAILED_PRECONDITION,
    "not-witnessed": _Code.DEADLINE_EXCEEDED,
    "deadline-passed": _Code.DEADLINE_EXCEEDED,
    "unauthenticated": _Code.UNAUTHENTICATED,
    "bad-certificate": _Code.UNAUTHENTICATED,
    "missing-role": _Code.PERMISSION_DENIED,
    "access-log": _Code.UNAVAILABLE,
    "overloaded": _Code.UNAVAILABLE,
    "stream-ended": _Code.UNAVAILABLE,
    "stopped": _Code.UNAVAILABLE,
    "batch-failed": _Code.UNAVAILABLE,
    "poisoned": _Code.UNAVAILABLE,
    "unavailable": _Code.UNAVAILABLE,
}
# Errors whose own sentence is meant for the caller. Of the others only the code is told.
_SPEAKABLE = (CallError, Refusal, RequestError, NotFoundError)
_COARSE = {
    "overloaded": "too many statements wait already; nothing was done, send again",
    "stopped": "the ledger is stopping; send again",
    "batch-failed": "the commit of this batch failed; send again",
    "poisoned": "the ledger stopped after a fault; send again once it is back",
    "unavailable": "the ledger takes no calls now; send again",
}
_INTERNAL = "a fault of the ledger; its log says more"


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller is told. `fault`: it is the ledger's own, so that the log must have the rest."""

    code: grpc.StatusCode
    reason: str
    text: str
    field: str | None = None
    fault: bool = False
    role: str | None = None


def classify(error: BaseException) -> Told:
    """The table's row for an error. Whatever the table does not know is INTERNAL."""
    name = error.code if isinstance(error, PlatemarkError) else ""
    code = _CODES.get(name)
    if code is None or not isinstance(error, (*_SPEAKABLE, UnavailableError)):
        return Told(_Code.INTERNAL, "INTERNAL", _INTERNAL, fault=True)
    reason = name.upper().replace("-", "_")
    if isinstance(error, UnavailableError):
        return Told(code, reason, _COARSE[name], fault=name in {"batch-failed", "poisoned"})
    field = error.field if isinstance(error, (Refusal, RequestError)) else None
    role = error.role if isinstance(error, CallError) else None
    return Told(code, reason, str(error), field, role=role)


def refusal(error: Refusal, position: int) -> status_pb2.Status:
    """The outcome of one refused statement, its field named from the request: statements[3].payload.digests."""
    told = classify(error)
    path = f"statements[{position}]" + (f".{error.field}" if error.field else "")
    return to_status(Told(told.code, told.reason, told.text, path), violation=error.reason)


def to_status(told: Told, *, violation: str | None = None) -> status_pb2.Status:
    """google.rpc.Status with ErrorInfo, whose metadata name a missing role, and, when a field is to blame, BadRequest."""
    metadata = {} if told.role is None else {"role": told.role}
    details = [_packed(error_details_pb2.ErrorInfo(reason=told.reason, domain=DOMAIN, metadata=metadata))]
    if told.field is not None:
        named = error_details_pb2.BadRequest.FieldViolation(field=told.field, description=violation or told.text)
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[named])))
    return status_pb2.Status(code=told.code.value[0], message=told.text, details=details)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail
