"""The life of an append: many callers, one write transaction, one fsync, one anchor write, and then the answers.

1. `submit` queues a call; the examiner's threads check form and signature.
2. The commit thread takes every call that is ready, in the order in which they came.
3. Under the sequencer lock: decide, write, commit.
   Crash before the commit: nothing happened, the sender sends again. Crash after it: the data is ahead of the anchor by one
   batch; whoever takes the lock next anchors it, and the repeat gets the same index.
4. Still under the lock: read back what was written, hash it again, sign the checkpoint, write the anchor.
   Crash after the anchor: released, and the repeat gets the same index.
5. Off the lock: build the inclusion paths, verify them, answer.

Two classes of failure. Fatal: a commit, a re-read or an anchor write that failed; what is on disk is unknown, so the ledger is
marked poisoned, every worker stops, and a fresh start reads from disk. The batch's own: anything before the commit, and a signer
that fails; nothing was released, the callers are told, the next batch goes on and anchors what the data has ahead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from platemark.checkpoint import Checkpoint
from platemark.errors import ProofError
from platemark_ledger import digests, refused
from platemark_ledger.answers import Answers, Appended, Logged, Outcome
from platemark_ledger.batch import Batch, Placed, Tail, check_tail
from platemark_ledger.errors import (
    BatchError,
    LedgerError,
    LockError,
    OverloadedError,
    PoisonedError,
    Refusal,
    RequestError,
    StoppedError,
    StoreError,
)
from platemark_ledger.examiner import Call, Examiner, Order
from platemark_ledger.refused import RefusedEntry
from platemark_ledger.registry import Registry, RegistryCache
from platemark_ledger.signing import sign_checkpoint

if TYPE_CHECKING:
    from platemark_ledger.admission import Examined
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.opening import Ledger
    from platemark_ledger.store import WriteTransaction

__all__ = ["MAX_REFERENCES", "Appended", "Logged", "Order", "Outcome", "Sequencer"]

_log = logging.getLogger(__name__)

# Each costs a search under the lock, some 0.3 ms in a log of millions: together a second, and the lock is for milliseconds.
MAX_REFERENCES = 4096


class Sequencer:
    """The one door through which statements enter, for this process; other processes have their own on the same ledger.

    `queue` is how many statements may wait and `batch` how many are committed at once and the most one call may bring.
    `on_failure` is called once, from the commit thread, when this sequencer has stopped for good.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        queue: int = 8192,
        batch: int = 1024,
        examiners: int = 2,
        index_limits: digests.Limits | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._most_waiting = queue
        self._most_at_once = batch
        self._index_limits = index_limits or digests.Limits()
        self._on_failure = on_failure
        self._log_kids = frozenset(signer.signer.kid for signer in ledger.signers)
        self._condition = threading.Condition()
        # Guarded by _condition.
        self._calls: deque[Call[Appended]] = deque()
        self._waiting = 0
        self._stopping = False
        self.failed: str | None = None
        # Owned by the commit thread.
        self._cache = RegistryCache()
        self._refused: deque[RefusedEntry] = deque(maxlen=refused.RING)
        self._untidy = True
        # Held by whoever runs Python at length: a decoder, or the commit thread outside its system calls.
        self._turn = threading.Lock()
        self._examiner: Examiner[Appended] = Examiner(
            ledger.store, threads=examiners, turn=self._turn, finished=self._examined
        )
        self._thread = threading.Thread(target=self._run, name="platemark-sequencer", daemon=True)

    # The callers' side: any thread.

    def start(self) -> None:
        """Start the threads."""
        self._examiner.start()
        self._thread.start()

    async def append(self, statements: Sequence[bytes]) -> Appended:
        """Append statements and wait until they are durable under an anchored checkpoint.

        One outcome per statement: Logged, or a Refusal as a value. Statements of one call are considered in their order, and
        calls in the order in which they came. A caller that is cancelled gives its place up if its batch has not begun, and
        otherwise changes nothing. Raises UnavailableError for the whole call: sending it again is safe.
        """
        return await asyncio.wrap_future(self.submit(statements))

    def submit(self, statements: Sequence[bytes], *, order: Order | None = None) -> Future[Appended]:
        """As `append`, for threads.

        `order`: of a caller that makes a call before the one before it is answered (see Order) and bounds what it has here by
        itself; `queue` is not for these calls.
        """
        count = len(statements)
        if not 1 <= count <= self._most_at_once:
            raise RequestError("statements", f"{count} statements, not 1 to {self._most_at_once}")
        call: Call[Appended] = Call(statements, order)
        with self._condition:
            if self.failed is not None:
                raise PoisonedError(self.failed)
            if self._stopping:
                raise StoppedError("the ledger is stopping")
            if order is None:
                if self._waiting + count > self._most_waiting:
                    raise OverloadedError(f"{self._waiting} statements are waiting")
                self._waiting += count
            self._calls.append(call)
            self._examiner.submit(call)
        return call.future

    def stop(self, *, timeout: float | None = None) -> bool:
        """Answer the calls that were accepted, refuse new ones, end the threads; False when `timeout` seconds were not enough.

        Blocks: call it from a thread of its own.
        """
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self._examiner.stop()
        return True

    def _examined(self, call: Call[Appended]) -> None:
        with self._condition:
            call.ready = True
            if self._calls and self._calls[0].ready:
                self._condition.notify()

    # The commit thread.

    def _run(self) -> None:
        try:
            while (calls := self._take()) is not None:
                if calls:
                    self._handle(calls)
                self._tidy(at_least=0 if calls else 1)
            if self._refused:
                self._tidy(at_least=1)
        except PoisonedError as error:
            self._fail(error.reason)
        except BaseException as error:  # noqa: BLE001 -- whatever stops this thread stops the ledger
            reason = _reason(error)
            _log.critical("stopping for good: %s", reason, exc_info=error)
            self._fail(reason)

    @contextmanager
    def _holding_the_lock(self) -> Iterator[None]:
        """Hold the sequencer lock; what is not the batch's own failure marks the ledger before the lock is let go.

        If we crash before the mark is written, the kernel lets the lock go and another worker goes on from what it reads. It
        hashes everything above the anchor again before it signs, as it would after any crash.
        """
        with self._ledger.lock.hold():
            try:
                yield
            except BatchError:
                raise
            except BaseException as error:
                with suppress(LockError):
                    self._ledger.lock.poison(_reason(error))
                raise

    def _take(self) -> list[Call[Appended]] | None:
        """The calls that are ready, in their order; none when there is tidying to do instead; None when all is done."""
        with self._condition:
            while (call := self._next_ready()) is None:
                if self._stopping and not self._calls:
                    return None
                if self._untidy and not self._calls:
                    return []
                self._condition.wait()
            taken: list[Call[Appended]] = []
            count = references = 0
            while call is not None and count + len(call.raws) <= self._most_at_once:
                if taken and references + call.references > MAX_REFERENCES:
                    break
                self._calls.popleft()
                self._waiting -= len(call.raws) if call.order is None else 0
                # From here on a caller can no longer cancel.
                if call.future.set_running_or_notify_cancel():
                    if call.order is not None and call.order.broken:
                        call.fail(BatchError("an earlier call of this order failed"))
                    elif call.references > MAX_REFERENCES:
                        reason = f"they refer to {call.references} statements, more than {MAX_REFERENCES} in one call"
                        call.fail(RequestError("statements", reason))
                    else:
                        taken.append(call)
                        count += len(call.raws)
                        references += call.references
                call = self._next_ready()
            return taken

    def _next_ready(self) -> Call[Appended] | None:
        """The first call in the queue if it has been examined; calls keep their order. Under _condition."""
        return self._calls[0] if self._calls and self._calls[0].ready else None

    def _handle(self, calls: list[Call[Appended]]) -> None:
        """Commit, release and answer one batch; every call gets an answer, whatever happens."""
        try:
            try:
                with self._holding_the_lock():
                    before = self._ledger.anchor.read()
                    placed = self._log_batch([call.outcomes() for call in calls], before)
                    released, tail = self._release(before)
                self._answer(calls, placed, released, tail)
            except BatchError as error:
                _log.warning("a batch failed: %s", error, exc_info=error.__cause__)
                for call in calls:
                    call.fail(BatchError(error.reason))
        except BaseException as error:
            _abandon(calls, _reason(error))
            raise
        self._untidy = True

    def _log_batch(self, calls: list[list[Examined | Refusal]], before: Anchored) -> list[list[Placed | Refusal]]:
        """Step 3: decide, write, commit. Raises BatchError up to the commit, StoreError from there on."""
        with self._ledger.store.write() as transaction:
            if transaction.head().size < before.size:
                raise StoreError("the data has fallen behind the anchor while the ledger was running")
            try:
                with self._turn:
                    registry = Registry(transaction, self._cache)
                    batch = Batch(transaction, registry, log_kids=self._log_kids, now=self._ledger.now_ns())
                    placed = [
                        [each if isinstance(each, Refusal) else batch.consider(each) for each in outcomes]
                        for outcomes in calls
                    ]
                    changed = batch.write()
                    if changed:
                        self._write_refused(transaction)
            except Exception as error:
                raise BatchError("the ledger failed before anything was written; send the statements again") from error
            if changed:
                transaction.commit()
        return placed

    def _release(self, before: Anchored) -> tuple[Anchored, Tail]:
        """Step 4: check what is above the anchor, sign it, anchor it. Raises BatchError for the signer, FatalError for the rest.

        This covers what a batch before this one, or a worker that died, left between data and anchor.
        """
        with self._turn, self._ledger.store.read() as transaction:
            tail = check_tail(transaction, before)
        head = tail.head
        if head.size == before.size:
            return before, tail
        try:
            note = sign_checkpoint(self._ledger.signers, Checkpoint(self._ledger.origin, head.size, head.root))
        except Exception as error:
            raise BatchError("the checkpoint could not be signed; send the statements again") from error
        return self._ledger.anchor.advance(size=head.size, root=head.root, note=note), tail

    def _answer(
        self, calls: list[Call[Appended]], placed: list[list[Placed | Refusal]], released: Anchored, tail: Tail
    ) -> None:
        """Step 5, off the lock: what is at or below the anchor stays as it is for ever."""
        now = self._ledger.now_ns()
        with self._turn, self._ledger.store.read() as transaction:
            indices = [each.index for outcomes in placed for each in outcomes if isinstance(each, Placed)]
            answers = Answers(transaction, released, tail, indices)
            for call, outcomes in zip(calls, placed, strict=True):
                try:
                    answered = tuple(_answered(answers, *each) for each in zip(outcomes, call.outcomes(), strict=True))
                except ProofError as error:
                    # The roots are sound, so the log is; a row inside it is damaged. Only who asked for it is told.
                    _log.critical("a proof of the ledger's own does not verify: %s", error)
                    call.fail(BatchError("the ledger could not prove a statement that it holds"))
                    continue
                call.future.set_result(Appended(answered, released))
                for outcome, raw in zip(answered, call.raws, strict=True):
                    if isinstance(outcome, Refusal):
                        digest = sha256(raw).digest()
                        self._refused.append(RefusedEntry(outcome.code, outcome.field, outcome.reason, now, digest))

    def _tidy(self, *, at_least: int) -> None:
        """Some work on the digest index: `at_least` steps while idle, and under load as many as keep it from falling behind."""
        if not self._untidy and not self._refused:
            return
        with self._ledger.store.read() as transaction:
            backlog = digests.backlog(transaction, self._index_limits)
        steps = max(at_least, min(backlog, 1 + backlog // 8, 4))
        for _ in range(steps):
            with self._holding_the_lock(), self._ledger.store.write() as transaction:
                try:
                    worked = digests.step(transaction, self._index_limits)
                    changed = worked or bool(self._refused)
                    self._write_refused(transaction)
                except Exception:  # noqa: BLE001 -- whatever it is, the log does not depend on its index
                    # The index is behind the log and stays so; lookups read what is pending. Nothing was written.
                    _log.exception("the digest index could not be kept")
                    worked = changed = False
                if changed:
                    transaction.commit()
            if not worked:
                self._untidy = False
                return

    def _write_refused(self, transaction: WriteTransaction) -> None:
        if self._refused:
            refused.add(transaction, self._refused)
            self._refused.clear()

    def _fail(self, reason: str) -> None:
        with self._condition:
            self.failed = reason
            calls = list(self._calls)
            self._calls.clear()
            self._waiting = 0
        _abandon([call for call in calls if call.future.set_running_or_notify_cancel()], reason)
        if self._on_failure is not None:
            self._on_failure(reason)


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, LedgerError) else repr(error)


def _abandon(calls: list[Call[Appended]], reason: str) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(PoisonedError(f"the ledger stopped: {reason}"))


def _answered(answers: Answers, outcome: Placed | Refusal, examined: Examined | Refusal) -> Outcome:
    if isinstance(outcome, Refusal):
        return outcome
    if isinstance(examined, Refusal):
        message = "what was refused has no place"
        raise TypeError(message)
    return answers.logged(outcome, examined.statement.id)
