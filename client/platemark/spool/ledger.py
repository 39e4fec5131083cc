"""Delivery to a real ledger over gRPC. Needs the extra `platemark[rpc]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from platemark.errors import PlatemarkError
from platemark.rpc import (
    DeadlineError,
    LedgerFaultError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    Wait,
)
from platemark.rpc import model as rpc
from platemark.rpc.sync import LedgerClient
from platemark.spool.delivery import Cause, DeliveryError, Logged, Outcome, Refused

__all__ = ["LedgerDelivery", "judge"]

# Reasons for which a ledger refuses a whole call because of what is in it, not because of who asks.
_OF_THE_BATCH = {"TOO_LARGE", "MALFORMED_MESSAGE", "INVALID_ARGUMENT", "OUT_OF_RANGE"}


class LedgerDelivery:
    """Sends batches by a client that `connect` opens: for the first batch, and anew after any failure.

    So a ledger that was away is looked for at once when its turn comes, and one that has to prove who it is does so again.
    Use it in a `with`, or close it. One thread.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[LedgerClient]], *, wait: Wait = Wait.LOGGED
    ) -> None:
        self._connect = connect
        self._wait = wait
        self._stack = ExitStack()
        self._client: LedgerClient | None = None

    def __call__(self, raws: Sequence[bytes]) -> Sequence[Outcome]:
        """As platemark.spool.delivery.Deliver."""
        try:
            if self._client is None:
                self._client = self._stack.enter_context(self._connect())
            return [_outcome(each) for each in self._client.append(raws, wait=self._wait).outcomes]
        except PlatemarkError as error:
            self.close()
            raise judge(error) from error

    def close(self) -> None:
        """Give back the connection. The next batch opens another."""
        self._client = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def judge(error: PlatemarkError) -> DeliveryError:
    """What a failed call says about the batch, the sender and the ledger."""
    return DeliveryError(str(error), cause=_cause(error), word=error.code)


def _cause(error: PlatemarkError) -> Cause:
    if isinstance(error, UnavailableError):
        return Cause.AWAY
    if isinstance(error, DeadlineError | LedgerFaultError):
        return Cause.FAILED
    if isinstance(error, TooLargeError) or (isinstance(error, RefusedError) and error.info in _OF_THE_BATCH):
        return Cause.REFUSED
    # A role or certificate that is missing, a ledger that the trust file does not name, an answer that does not verify, an
    # extra that is not installed.
    return Cause.HELD


def _outcome(outcome: rpc.Outcome) -> Outcome:
    if isinstance(outcome, rpc.Refused):
        # As the specification writes codes.
        return Refused(outcome.info.lower().replace("_", "-"), outcome.reason, outcome.again)
    return Logged(outcome.statement.index)
