"""The sender: brings what a spool holds to a ledger, in order, in batches, for as long as it takes.

Batches are sent, answered and settled in one order, so the order of putting is the order of the log. While all goes well and the
delivery can (Streamed), a few are on their way at once; otherwise one is settled before the next one is sent. A statement that
the ledger refuses is set aside at once. A batch that fails as a whole is halved until it passes or is one statement. One
statement that fails again and again without being refused is a suspect: it is set aside only when the ledger took others in
between, twice, and failed over it each time; while it takes none, the ledger is at fault and everything waits.

Nothing here is remembered on disk but by the spool: a sender that dies sends the batch again, and a ledger gives a statement
that it has the same index.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from platemark import cose
from platemark.errors import CoseError
from platemark.locks import FileLock
from platemark.spool import database
from platemark.spool.backoff import Backoff
from platemark.spool.delivery import Cause, Deliver, DeliveryError, Logged, Outcome, Refused, Streamed
from platemark.spool.errors import SpoolBusyError, SpoolDamagedError, SpoolError
from platemark.spool.model import Entry
from platemark.spool.outbox import Spool
from platemark.spool.suspects import Suspects

__all__ = ["AHEAD", "BATCH", "Did", "Sender", "Traffic", "Wait", "at_work"]

BATCH = 256
MAX_BYTES = 2 * 1024 * 1024  # of one batch; a ledger takes at least this much in one call
_LOCK = "sender.lock"
AHEAD = 4  # batches on their way at once
_RUN = (
    64  # batches sent in a row before the spool is looked at from its start again, where `retry` puts statements back
)
_IDLE = 0.25  # seconds between two looks at an empty spool
_PRUNE_NS = 3600 * 10**9
_GIVE_UP = 12  # failures in a row after which `drain` ends

Wait = Callable[[float], bool]
"""Waits so many seconds at most; True means stop. `threading.Event.wait` is one."""


class Did(enum.Enum):
    """What one step of a sender came to."""

    SENT = "sent"
    IDLE = "idle"
    FAILED = "failed"


@dataclass(slots=True)
class Traffic:
    """What a sender has done since it was made. `failures` is in a row, `error` the last of them while they last."""

    logged: int = 0
    set_aside: int = 0
    failed: int = 0
    failures: int = 0
    error: DeliveryError | SpoolError | None = None
    success_ns: int | None = None


class Sender:
    """Sends what is pending in `spool` by `deliver`. Use it in a `with`: it holds the spool's sender lock meanwhile.

    `batch` is the greatest number of statements in one call; `draw` gives random numbers in [0, 1). Time passes only in the
    `wait` that `run` and `drain` are given. One thread.
    """

    def __init__(
        self,
        spool: Spool,
        deliver: Deliver,
        *,
        batch: int = BATCH,
        backoff: Backoff | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.spool = spool
        self.traffic = Traffic()
        self._deliver = deliver
        self._most = batch
        self._limit = batch
        self._backoff = backoff or Backoff()
        self._draw = draw
        self._suspects = Suspects()
        self._probing = False
        delivery: object = deliver
        self._stream = delivery if isinstance(delivery, Streamed) else None
        self._on_way: deque[list[Entry]] = deque()
        self._run = 0
        self._pruned_ns: int | None = None
        self._lock: FileLock | None = None

    def __enter__(self) -> Self:
        """Raises SpoolBusyError when another sender serves the spool: two would send out of order."""
        path = self.spool.directory / _LOCK
        with database.sentences(path):
            lock = FileLock(path)
        if not lock.acquire():
            lock.close()
            raise SpoolBusyError(f"{self.spool.directory}: another sender is at work on this spool")
        self._lock = lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._recall()
            self._lock.release()
            self._lock.close()
            self._lock = None

    def run(self, wait: Wait) -> None:
        """Send until `wait` says stop; it is asked between any two steps. Raises SpoolDamagedError."""
        while True:
            did = self.step()
            if did is Did.IDLE:
                self._prune()
            if wait(self._pause(did)):
                return

    def drain(self, wait: Wait) -> bool:
        """Send until nothing is pending (True), or no ledger takes it, or `wait` says stop. Raises SpoolDamagedError."""
        while True:
            did = self.step()
            if did is Did.IDLE:
                self._prune()
                return True
            if did is Did.FAILED and (self._hopeless() or self.traffic.failures >= _GIVE_UP):
                return False
            if wait(self._pause(did)):
                return False

    def step(self) -> Did:
        """Send one batch and settle it; or send some ahead and settle the oldest."""
        if self._lock is None:
            msg = "a sender works in a `with`"
            raise RuntimeError(msg)
        try:
            if self._on_way or self._undisturbed():
                return self._step_ahead()
            batch = self._next()
            if not batch:
                return Did.IDLE
            return self._send(batch)
        except SpoolDamagedError:
            raise
        except SpoolError as error:
            # The batches may be logged and not settled here: they are sent again, and get the same indices.
            self._recall()
            return self._failed(error)

    def _undisturbed(self) -> bool:
        """Whether to send ahead: not while batches fail, or a statement is under suspicion, which has to stand alone."""
        return self._stream is not None and self._limit == self._most and not self.traffic.failures

    def _step_ahead(self) -> Did:
        assert self._stream is not None
        try:
            self._send_ahead(self._stream)
            if not self._on_way:
                return Did.IDLE
            outcomes = self._stream.receive()
            batch = self._on_way[0]
            _check_count(batch, outcomes)
        except DeliveryError as error:
            # Without a batch the connection itself failed.
            batch = self._on_way[0] if self._on_way else []
            self._recall()
            return self._whole_batch(batch, error) if batch else self._failed(error)
        self._on_way.popleft()
        # Crash here, or between two of these: what is not settled is sent again, in its order, and gets the same indices.
        did = self._settle(batch, outcomes)
        if did is Did.FAILED or not self._undisturbed():
            self._recall()
        return did

    def _send_ahead(self, stream: Streamed) -> None:
        if not self._on_way:
            self._run = 0
        while len(self._on_way) < AHEAD and self._run < _RUN:
            after = self._on_way[-1][-1].number if self._on_way else 0
            batch = _within(self.spool.pending(self._most, after=after), MAX_BYTES)
            damaged = [entry for entry in batch if not _whole(entry)]
            for entry in damaged:
                self._set_aside_damaged(entry)
            batch = [entry for entry in batch if entry not in damaged]
            if batch:
                stream.send([entry.raw for entry in batch])
                self._on_way.append(batch)
                self._run += 1
            elif not damaged:
                return

    def _recall(self) -> None:
        """What is on its way is as if it had not been sent: it is still pending."""
        self._on_way.clear()
        self._run = 0
        if self._stream is not None:
            self._stream.abandon()

    def _next(self) -> list[Entry]:
        """The oldest ones; or, now and then while the oldest one alone fails for long, one that may show why."""
        batch = _within(self.spool.pending(self._limit), MAX_BYTES)
        if len(batch) == 1 and self._suspects.spent(batch[0]):
            self._probing = not self._probing
            if self._probing:
                return self._beyond(batch[0]) or batch
        return batch

    def _beyond(self, entry: Entry) -> list[Entry]:
        after = entry.number
        while page := self.spool.pending(self._most, after=after):
            fresh = [each for each in page if not self._suspects.spent(each)]
            if fresh:
                return fresh[:1]
            after = page[-1].number
        return []

    def _send(self, batch: list[Entry]) -> Did:
        for entry in batch:
            if not _whole(entry):
                self._set_aside_damaged(entry)
                return Did.SENT
        try:
            outcomes = self._deliver([entry.raw for entry in batch])
            _check_count(batch, outcomes)
        except DeliveryError as error:
            return self._whole_batch(batch, error)
        return self._settle(batch, outcomes)

    def _settle(self, batch: list[Entry], outcomes: Sequence[Outcome]) -> Did:
        pairs = list(zip(batch, outcomes, strict=True))
        logged = [(entry.id, outcome.index) for entry, outcome in pairs if isinstance(outcome, Logged)]
        refused = [(entry, outcome) for entry, outcome in pairs if isinstance(outcome, Refused)]
        self.spool.acknowledge(logged)
        # Crash here: the refused ones are sent again and refused again.
        for entry, outcome in refused:
            if not outcome.again:
                self._set_aside(entry, outcome.code, outcome.reason)
        failed = [(entry, outcome) for entry, outcome in refused if outcome.again]
        if len(failed) == len(batch):
            _, first = failed[0]
            return self._whole_batch(batch, DeliveryError(first.reason, cause=Cause.FAILED, word=first.code))
        if logged:
            self.traffic.logged += len(logged)
            self.traffic.success_ns = self.spool.now()
        self._suspects.worked(batch, {entry.id for entry in batch} - {entry.id for entry, _ in failed})
        for entry, outcome in failed:
            if self._suspects.strike(entry):
                self._set_aside(entry, outcome.code, outcome.reason)
        self._grow()
        if failed:
            return self._failed(DeliveryError(failed[0][1].reason, cause=Cause.FAILED, word=failed[0][1].code))
        self.traffic.failures, self.traffic.error = 0, None
        return Did.SENT

    def _whole_batch(self, batch: list[Entry], error: DeliveryError) -> Did:
        """Nothing of a batch was taken."""
        if error.cause in {Cause.AWAY, Cause.HELD}:
            return self._failed(error)
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return Did.SENT if error.cause is Cause.REFUSED else self._failed(error)
        entry = batch[0]
        if error.cause is Cause.REFUSED or self._suspects.strike(entry):
            self._set_aside(entry, error.word, error.reason)
            self._suspects.worked((), {entry.id})
            self._grow()
            return Did.SENT
        return self._failed(error)

    def _grow(self) -> None:
        """By an eighth: a ledger that takes smaller batches than ours refuses one call in a few, not one in two."""
        self._limit = min(self._most, self._limit + self._limit // 8 + 1)

    def _set_aside(self, entry: Entry, code: str, reason: str) -> None:
        self.spool.set_aside(entry.id, code, reason)
        self.traffic.set_aside += 1

    def _set_aside_damaged(self, entry: Entry) -> None:
        self._set_aside(entry, "damaged", "its bytes in the spool are no longer those that were put")

    def _failed(self, error: DeliveryError | SpoolError) -> Did:
        self.traffic.failed += 1
        self.traffic.failures += 1
        self.traffic.error = error
        return Did.FAILED

    def _hopeless(self) -> bool:
        error = self.traffic.error
        return not isinstance(error, DeliveryError) or error.cause in {Cause.AWAY, Cause.HELD}

    def _pause(self, did: Did) -> float:
        if did is Did.FAILED:
            return self._backoff.pause(self.traffic.failures, self._draw())
        return _IDLE if did is Did.IDLE else 0.0

    def _prune(self) -> None:
        now = self.spool.now()
        if self._pruned_ns is None or now - self._pruned_ns >= _PRUNE_NS:
            self.spool.prune()
            self._pruned_ns = now


def at_work(spool: Spool) -> bool:
    """Whether a sender, of this or another process, serves the spool now."""
    path = spool.directory / _LOCK
    with database.sentences(path):
        lock = FileLock(path)
    try:
        with lock.held(0.0) as had:
            return not had
    finally:
        lock.close()


def _within(entries: list[Entry], most: int) -> list[Entry]:
    """As many from the front as have at most `most` bytes together, at least one."""
    total = 0
    for count, entry in enumerate(entries):
        total += len(entry.raw)
        if total > most and count:
            return entries[:count]
    return entries


def _check_count(batch: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
    if len(outcomes) != len(batch):
        reason = f"{len(outcomes)} answers for {len(batch)} statements"
        raise DeliveryError(reason, cause=Cause.HELD, word="bad-reply")


def _whole(entry: Entry) -> bool:
    try:
        return cose.identify(entry.raw) == entry.id
    except CoseError:
        return False
