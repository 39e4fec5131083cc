"""What can go wrong in a call to a ledger.

RpcError                    (platemark.errors) the root
├── UnavailableError        draining, overloaded or stopped: the same call may be made again
│   └── UnreachableError    nothing that speaks gRPC answers at the address
├── DeadlineError           no answer in time; an append may have been logged, and appending again is safe
├── RefusedError            the ledger will not do this; `info` is its stable code, `violations` name fields
│   ├── NotFoundError       it has no such statement
│   └── TooLargeError       the message is over a size limit
├── LedgerFaultError        the ledger failed or speaks another protocol; its operator's log says more
│   └── UnsupportedError    it does not know the call: a ledger of an earlier release
└── BadReplyError           the answer does not verify: treat the ledger as faulty or hostile, and keep the reply

Each is raised `from` the grpc error it stands for, if there was one.
"""

from __future__ import annotations

from dataclasses import dataclass

from platemark.errors import RpcError

__all__ = [
    "BadReplyError",
    "DeadlineError",
    "LedgerFaultError",
    "NotFoundError",
    "RefusedError",
    "RpcError",
    "TooLargeError",
    "UnavailableError",
    "UnreachableError",
    "UnsupportedError",
    "Violation",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of the request that is to blame: google.rpc.BadRequest.FieldViolation."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class UnavailableError(RpcError):
    """The ledger cannot be reached or takes no calls now. The same call may be made again.

    `info` is its stable code, if it gave one.
    """

    code = "unavailable"

    def __init__(self, reason: str, *, info: str = "") -> None:
        super().__init__(reason)
        self.info = info


class UnreachableError(UnavailableError):
    """No ledger answers at the address."""

    code = "unreachable"


class DeadlineError(RpcError):
    """No answer in the time given. Whether an append was logged is unknown; appending again is safe.

    `info` NOT_WITNESSED: the ledger itself says that the statements are logged, and that no quorum has cosigned in time.
    """

    code = "deadline"

    def __init__(self, reason: str, *, info: str = "") -> None:
        super().__init__(reason)
        self.info = info


class RefusedError(RpcError):
    """The ledger understood the call and refuses it. Repeating it unchanged is of no use."""

    code = "refused"

    def __init__(self, reason: str, *, info: str = "", violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(reason)
        self.info = info
        self.violations = violations


class NotFoundError(RefusedError):
    """The ledger has no such statement at or below its checkpoint."""

    code = "not-found"


class TooLargeError(RefusedError):
    """The request or the reply is over a size limit of one of the two sides."""

    code = "too-large"


class LedgerFaultError(RpcError):
    """The ledger failed inside, or is not a ledger of this protocol."""

    code = "ledger-fault"


class UnsupportedError(LedgerFaultError):
    """The ledger does not know the call: it is of an earlier release, or no ledger."""

    code = "unsupported"


class BadReplyError(RpcError):
    """A reply that does not verify. Never retried: a second answer would not make the first one true."""

    code = "bad-reply"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field

    def __str__(self) -> str:
        return f"the ledger's reply does not verify: {self.field}: {self.reason}"
