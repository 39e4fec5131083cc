"""Delivery to a real ledger over gRPC. Needs the extra `platemark[rpc]`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Self

from platemark.errors import PlatemarkError
from platemark.rpc import (
    DeadlineError,
    LedgerFaultError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
    Wait,
)
from platemark.rpc import model as rpc
from platemark.rpc.sync import AppendStream, LedgerClient
from platemark.spool.delivery import Cause, DeliveryError, Logged, Outcome, Refused

__all__ = ["LedgerDelivery", "judge"]

# Reasons for which a ledger refuses a whole call because of what is in it, not because of who asks.
_OF_THE_BATCH = {"TOO_LARGE", "MALFORMED_MESSAGE", "INVALID_ARGUMENT", "OUT_OF_RANGE"}


class LedgerDelivery:
    """Sends batches by a client that `connect` opens: for the first batch, and anew after any failure.

    So a ledger that was away is looked for at once when its turn comes, and one that has to prove who it is does so again.
    A call is one Append. `send` and `receive` use AppendStream; with a ledger that does not know it, an Append for each batch
    when its answer is asked for. Use it in a `with`, or close it. One thread.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[LedgerClient]], *, wait: Wait = Wait.LOGGED
    ) -> None:
        self._connect = connect
        self._wait = wait
        self._stack = ExitStack()
        self._client: LedgerClient | None = None
        self._stream: AppendStream | None = None
        self._on_way: deque[Sequence[bytes]] = deque()
        self._unary = False  # until the next connection: the ledger behind it may be a newer one

    def __call__(self, raws: Sequence[bytes]) -> Sequence[Outcome]:
        """As platemark.spool.delivery.Deliver."""
        with self._judging():
            return self._append(raws)

    def send(self, raws: Sequence[bytes]) -> None:
        """As platemark.spool.delivery.Streamed."""
        with self._judging():
            client = self._connected()
            if not self._unary:
                if self._stream is None:
                    self._stream = client.open_append_stream(wait=self._wait)
                self._stream.send(raws)
        self._on_way.append(raws)

    def receive(self) -> Sequence[Outcome]:
        """As platemark.spool.delivery.Streamed."""
        with self._judging():
            outcomes = self._received()
        self._on_way.popleft()
        return outcomes

    def abandon(self) -> None:
        """As platemark.spool.delivery.Streamed."""
        self._on_way.clear()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def close(self) -> None:
        """Give back the connection. The next batch opens another."""
        self._on_way.clear()
        self._client = self._stream = None
        self._unary = False
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _received(self) -> Sequence[Outcome]:
        if self._stream is not None:
            try:
                return [_outcome(each) for each in self._stream.receive().outcomes]
            except UnsupportedError:
                self._stream, self._unary = None, True
        return self._append(self._on_way[0])

    def _append(self, raws: Sequence[bytes]) -> Sequence[Outcome]:
        return [_outcome(each) for each in self._connected().append(raws, wait=self._wait).outcomes]

    def _connected(self) -> LedgerClient:
        if self._client is None:
            self._client = self._stack.enter_context(self._connect())
        return self._client

    @contextmanager
    def _judging(self) -> Iterator[None]:
        try:
            yield
        except PlatemarkError as error:
            self.close()
            raise judge(error) from error


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
