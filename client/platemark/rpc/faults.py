"""gRPC's errors and google.rpc.Status to ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from platemark.rpc import model
from platemark.rpc.errors import (
    BadReplyError,
    DeadlineError,
    LedgerFaultError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
    Violation,
)

if TYPE_CHECKING:
    from grpc.aio import AioRpcError

    from platemark.errors import RpcError

__all__ = ["BROKEN_WRITE", "may_repeat", "refused", "translate"]

# gRPC's own words; what follows the last colon is the operating system's.
_CLOSED = ("Socket closed", "Connection reset", "Broken pipe", "EOF")
_NO_CONNECTION = "failed to connect to all addresses"
# What grpc.aio itself says of a call that ended while a request was being written.
BROKEN_WRITE = "Internal error from Core"
_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
_REFUSALS = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
}


def translate(error: AioRpcError, target: str = "the address") -> RpcError:
    """Our error for a failed call to `target`."""
    code, text = error.code(), error.details() or error.code().name
    # CANCELLED from the other side (our own cancelling raises CancelledError) is how a server's shutdown drops a call that it
    # had not looked at yet.
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED} or text == BROKEN_WRITE:
        return _unavailable(text, target, _details(error)[0])
    info, violations = _details(error)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(text, info=info)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # The transport says both in this code: a message over the limit (never again), and too many calls (again).
        if "larger than" in text:
            return TooLargeError(text, info=info, violations=violations)
        return UnavailableError(text)
    if code in _REFUSALS:
        kind = NotFoundError if code is grpc.StatusCode.NOT_FOUND else RefusedError
        return kind(text, info=info, violations=violations)
    fault = UnsupportedError if code is grpc.StatusCode.UNIMPLEMENTED else LedgerFaultError
    return fault(f"{code.name}: {text}")


def _unavailable(text: str, target: str, info: str) -> UnavailableError:
    if _NO_CONNECTION not in text:
        return UnavailableError(text, info=info)
    reason = text.rpartition(": ")[2]
    # A port that wants TLS, or a client certificate, closes the connection of whoever comes without.
    closed = ", and does it want TLS or a client certificate?" if any(each in reason for each in _CLOSED) else "?"
    return UnreachableError(f"no ledger answers at {target} ({reason}): is it running, is the address right{closed}")


def may_repeat(error: RpcError) -> bool:
    """Whether the same call may succeed if made again: see platemark.rpc.retry."""
    return isinstance(error, UnavailableError | DeadlineError)


def refused(status: status_pb2.Status) -> model.Refused:
    """The refusal of one statement."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    try:
        info, violations = _unpack(status)
    except DecodeError as error:
        raise BadReplyError("refused.details", "not the messages that their types say") from error
    return model.Refused(code.name, info, status.message, violations, again=code in _AGAIN)


def _details(error: AioRpcError) -> tuple[str, tuple[Violation, ...]]:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            try:
                return _unpack(status_pb2.Status.FromString(value))
            except DecodeError:
                break  # the code and the text of the error stand without their details
    return "", ()


def _unpack(status: status_pb2.Status) -> tuple[str, tuple[Violation, ...]]:
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        # Unpack is false for another type and leaves the message as it was; unknown details are for newer readers.
        if not detail.Unpack(info):
            detail.Unpack(violations)
    return info.reason, tuple(Violation(each.field, each.description) for each in violations.field_violations)
