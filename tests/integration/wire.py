"""What a failed call says on the wire: code, reason, and the fields to blame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class Said:
    """The parts of google.rpc.Status that ledger.proto promises."""

    code: grpc.StatusCode
    domain: str
    reason: str
    fields: tuple[str, ...]


def said(error: grpc.RpcError) -> Said:
    """Read from the trailing metadata, as any client in any language would; empty where the transport itself refused."""
    call = cast("grpc.Call", error)
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for name, value in call.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            assert (status.code, status.message) == (call.code().value[0], call.details())
            for detail in status.details:
                assert detail.Unpack(info) or detail.Unpack(violations)
    return Said(call.code(), info.domain, info.reason, tuple(each.field for each in violations.field_violations))
