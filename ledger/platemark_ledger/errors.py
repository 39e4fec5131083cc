"""Every error of the ledger's own.

LedgerError                (PlatemarkError) the root; `str()` is one sentence for a person, `code` one stable word
├── Refusal                a statement that may not enter; `field` and `reason` name what is wrong with it
├── RequestError           a question that has no answer in this log: an argument out of range
├── NotFoundError          no such statement at or below the checkpoint
├── UnavailableError       not now; nothing is promised about the statements of the call, sending them again is safe
│   ├── OverloadedError    the queue is full
│   ├── StoppedError       draining or closed
│   ├── BatchError         a failure that was this batch's own; the next batch goes on
│   └── PoisonedError      a worker met a fatal error: this process must end and start again from disk
├── FatalError             stop, reload from disk; the sequencer marks the ledger poisoned
│   ├── AnchorError        the anchor file
│   ├── LockError          the lock file
│   └── StoreError         the data
├── StartRefusedError      the ledger will not start; `remedy` says what its operator does
└── GenesisError           a new ledger cannot be made
"""

from __future__ import annotations

from platemark.errors import PlatemarkError

__all__ = [
    "REFUSALS",
    "AnchorError",
    "BatchError",
    "FatalError",
    "GenesisError",
    "LedgerError",
    "LockError",
    "NotFoundError",
    "OverloadedError",
    "PoisonedError",
    "Refusal",
    "RequestError",
    "StartRefusedError",
    "StoppedError",
    "StoreError",
    "UnavailableError",
]

REFUSALS = frozenset(
    {
        "too-large",  # more bytes than the policy in force allows
        "malformed",  # not a statement of this release's formats
        "unknown-kind",  # a version or kind that this release does not know
        "unknown-key",  # the log has enrolled no such key before this place
        "bad-signature",  # does not verify under the enrolled key
        "wrong-role",  # the key's role may not sign this kind or state this origin
        "wrong-issuer",  # not the URI that the key was enrolled for
        "wrong-log",  # names another log
        "not-yet-valid",  # its own stated time is before the key's validity
        "expired",  # its own stated time is after the key's validity
        "revoked",  # the key was revoked, or dropped by a policy, at an earlier place in the log
        "already-enrolled",  # one key is enrolled once, ever
        "unknown-target",  # a revocation of a key that no enrolment and no registrar entry names
        "already-revoked",  # once is for good
        "bad-policy",  # a policy that does not follow the one in force
    }
)


class LedgerError(PlatemarkError):
    """The root of the tree above."""


class Refusal(LedgerError):  # noqa: N818 -- an outcome that is returned as often as it is raised
    """A statement that may not enter; it leaves no trace in the log. `code` is one of REFUSALS."""

    def __init__(self, code: str, field: str, reason: str) -> None:
        if code not in REFUSALS:
            message = f"no such refusal: {code}"
            raise ValueError(message)
        super().__init__(reason)
        self.code = code  # type: ignore[misc] # the one error whose code is its instance's
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"

    def as_value(self) -> Refusal:
        """This refusal without the frames it came through, which would keep a transaction and a whole batch alive."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)


class RequestError(LedgerError):
    """An argument that this log cannot answer. `code` is invalid-argument (never will) or out-of-range (not yet)."""

    def __init__(self, field: str, reason: str, *, later: bool = False) -> None:
        super().__init__(reason)
        self.field = field
        self.code = "out-of-range" if later else "invalid-argument"  # type: ignore[misc] # two codes, one meaning

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class NotFoundError(LedgerError):
    """No such statement at or below the checkpoint."""

    code = "not-found"


class UnavailableError(LedgerError):
    """Not now. Nothing is promised about the statements of the call; sending them again is safe."""

    code = "unavailable"


class OverloadedError(UnavailableError):
    """The queue is full."""

    code = "overloaded"


class StoppedError(UnavailableError):
    """Draining or closed."""

    code = "stopped"


class BatchError(UnavailableError):
    """A failure that was this batch's own; the next one goes on."""

    code = "batch-failed"


class PoisonedError(UnavailableError):
    """A worker met a fatal error: this process must end and start again from disk."""

    code = "poisoned"


class FatalError(LedgerError):
    """Stop and reload from disk."""

    code = "fatal"


class AnchorError(FatalError):
    """The anchor cannot be read, written or moved as asked."""

    code = "anchor"


class LockError(FatalError):
    """The lock file cannot be used."""

    code = "lock"


class StoreError(FatalError):
    """The data cannot be read, written or trusted."""

    code = "store"


class StartRefusedError(LedgerError):
    """The ledger will not start. `remedy` says what its operator does."""

    code = "start-refused"

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"


class WrongLogKeyError(StartRefusedError):
    """The configured log key is not one that the log's policy lists. Data and anchor are not at fault."""

    code = "wrong-log-key"


class GenesisError(LedgerError):
    """A new ledger cannot be made."""

    code = "genesis"
