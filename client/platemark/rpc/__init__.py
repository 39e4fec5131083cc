"""Talk to a ledger: an asyncio client here, its blocking twin in platemark.rpc.sync. Needs the extra `platemark[rpc]`."""

from __future__ import annotations

from platemark.rpc.channel import Tls
from platemark.rpc.client import LedgerClient
from platemark.rpc.errors import (
    BadReplyError,
    DeadlineError,
    LedgerFaultError,
    NotFoundError,
    RefusedError,
    RpcError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
    UnsupportedError,
    Violation,
)
from platemark.rpc.model import (
    Appended,
    Condition,
    ConsistencyProof,
    Evidence,
    InclusionProof,
    Listed,
    Logged,
    LoggedStatement,
    Outcome,
    Page,
    Refused,
    Stored,
    Wait,
    What,
)
from platemark.rpc.retry import Retry
from platemark.rpc.streaming import AppendStream
from platemark.rpc.trusted import Trusted

__all__ = [
    "AppendStream",
    "Appended",
    "BadReplyError",
    "Condition",
    "ConsistencyProof",
    "DeadlineError",
    "Evidence",
    "InclusionProof",
    "LedgerClient",
    "LedgerFaultError",
    "Listed",
    "Logged",
    "LoggedStatement",
    "NotFoundError",
    "Outcome",
    "Page",
    "Refused",
    "RefusedError",
    "Retry",
    "RpcError",
    "Stored",
    "Tls",
    "TooLargeError",
    "Trusted",
    "UnavailableError",
    "UnreachableError",
    "UnsupportedError",
    "Violation",
    "Wait",
    "What",
]
