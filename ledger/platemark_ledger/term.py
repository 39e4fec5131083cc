"""One holder's term in the publisher's seat: the rounds that platemark_ledger.publisher describes."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from platemark import merkle
from platemark.checkpoint import Checkpoint
from platemark.errors import PlatemarkError
from platemark_ledger import published, rollback, rows
from platemark_ledger.asking import AskingError
from platemark_ledger.errors import FatalError, LockError, StoreError
from platemark_ledger.opening import log_verifiers
from platemark_ledger.published import Published
from platemark_ledger.seat import PublisherState
from platemark_ledger.signing import with_cosigner
from platemark_ledger.stamping import Authorities, StampSchedule
from platemark_ledger.tree import LogView
from platemark_ledger.witnessing import Lines, Question, RollbackError, Witness

if TYPE_CHECKING:
    import httpx

    from platemark.note import NoteVerifier
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.lock import SequencerLock
    from platemark_ledger.opening import Ledger
    from platemark_ledger.quorum import Quorum
    from platemark_ledger.seat import Seat
    from platemark_ledger.settings import Settings

__all__ = ["CommitError", "Term"]

_log = logging.getLogger("platemark.publisher")
_TICK = 0.02  # seconds between looks at the anchor and at who waits
_GRACE = 0.5  # seconds for more cosignatures once there is a quorum
_SHORT_GRACE = 0.1  # the same when somebody waits
_RETRY = 0.2  # seconds before another round when somebody waits and there was no quorum


class CommitError(StoreError):
    """A commit failed: what is on disk is unknown, and the ledger is marked poisoned."""


class Term:
    """What one holder of the seat knows and does. Owned by the publisher's event loop."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        quorum: Quorum | None,
        *,
        seat: Seat,
        lock: SequencerLock,
        client: httpx.AsyncClient,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._quorum = quorum
        self._seat = seat
        self._lock = lock
        self._witnesses: dict[Witness, asyncio.Task[Lines] | None] = {
            Witness(client, url, verifiers, timeout=settings.witness_timeout, pause=settings.publish_interval): None
            for url, verifiers in (quorum.addresses if quorum is not None else {}).items()
        }
        self._stamps = StampSchedule(
            Authorities(client, timeout=settings.tsa_timeout, crls=settings.tsa_crl, now_ns=ledger.now_ns),
            settings.tsa,
            interval=settings.tsa_interval,
            now_ns=ledger.now_ns,
        )
        with ledger.store.read() as transaction:
            self._reached = _size(
                published.newest_witnessed(transaction) if self._fails_closed else published.newest(transaction)
            )
        before = seat.told()
        self._has_quorum: bool | None = None if not self._fails_closed else before.quorum is not False
        self._rollback = rollback.kept(settings.rollback)
        self._kept = self._rollback is not None
        if self._rollback is not None:
            _log.critical("PUBLISHING HAS STOPPED, as before: %s (%s)", self._rollback.reason, settings.rollback)
        self._told: PublisherState | None = None
        self._draft: Published | None = None
        self._next_round = 0.0

    @property
    def _fails_closed(self) -> bool:
        return self._quorum is not None and self._quorum.demanded

    async def hold(self, stopping: threading.Event) -> None:
        """Publish until told to stop, or until a fatal error."""
        clock = asyncio.get_running_loop().time
        try:
            while not stopping.is_set():
                if self._rollback is None and self._due(clock()):
                    await self._round()
                for stamped in self._stamps.answers(clock()):
                    self._store(stamped)
                if self._stamps.due(clock()):
                    self._stamps.ask(self._to_be_stamped(), clock())
                self._tell()
                self._keep(clock())
                await asyncio.sleep(_TICK)
        finally:
            tasks = [task for task in self._witnesses.values() if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stamps.give_up()

    # Steps 1 to 3.

    def _due(self, now: float) -> bool:
        if self._ledger.anchor.read().size <= self._reached:
            return False
        if now >= self._next_round:
            return True
        waited_for = self._seat.asked() > self._reached
        return waited_for and now >= self._next_round - max(0.0, self._settings.publish_interval - _RETRY)

    async def _round(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_round = loop.time() + self._settings.publish_interval
        try:
            draft = self._drafted(self._ledger.anchor.read())
            found = await self._cosignatures(draft)
        except RollbackError as error:
            self._rollback = rollback.Mark(error.reason, error.url, error.note)
            self._keep(self._next_round)
            _log.critical("PUBLISHING HAS STOPPED. %s. This log's past has been seen, and this is another one", error)
            return
        except PlatemarkError as error:
            if isinstance(error, FatalError):
                raise
            _log.error("a checkpoint could not be published: %s", error)
            return
        met = self._quorum is not None and self._quorum.met(found)
        lines = tuple(self._quorum.ordered(found)) if self._quorum is not None else ()
        draft = replace(draft, at=self._ledger.now_ns(), cosignatures=lines, witnessed=met)
        self._note_quorum(found)
        self._draft = draft
        if met or not self._fails_closed:
            self._store(draft)
            self._reached = draft.size

    def _drafted(self, anchored: Anchored) -> Published:
        """Step 1. One size has one log note, because stamps are over it: what was made for it once is taken again."""
        if self._draft is not None and self._draft.size == anchored.size:
            return replace(self._draft, cosignatures=(), witnessed=False)
        with self._ledger.store.read() as transaction:
            stored = published.at_size(transaction, anchored.size)
        if stored is not None:
            return replace(stored, cosignatures=(), witnessed=False, stamps=())
        now = self._ledger.now_ns()
        note = with_cosigner(anchored.note, self._ledger.cosigner, time_s=now // 10**9)
        self._draft = Published(anchored.size, anchored.root, note, now)
        return self._draft

    async def _cosignatures(self, draft: Published) -> Lines:
        """Step 2. What the witnesses have signed once there is a quorum, or nobody is left to wait for.

        Whoever still has a question of an earlier round is not asked another one.
        """
        if self._quorum is None:
            return {}
        question = Question(
            Checkpoint(self._ledger.origin, draft.size, draft.root),
            draft.log_note,
            partial(self._proof, draft.size, draft.root),
            lambda: self._ledger.anchor.read().size,
            self._root_at,
            self._log_keys,
        )
        loop = asyncio.get_running_loop()
        asked: set[asyncio.Task[Lines]] = set()
        for witness, task in self._witnesses.items():
            if task is not None and task.done():
                self._witnesses[witness] = None
                _raise_rollback(task)
            if self._witnesses[witness] is None and not witness.rests(loop.time()):
                started = loop.create_task(witness.cosign(question, now_ns=self._ledger.now_ns))
                self._witnesses[witness] = started
                asked.add(started)
        found: Lines = {}
        # Where no quorum is demanded there is nothing to wait for but a moment.
        ends = None if self._fails_closed else loop.time() + _GRACE
        while asked:
            left = None if ends is None else max(0.0, ends - loop.time())
            done, asked = await asyncio.wait(asked, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _raise_rollback(task)
                with suppress(AskingError):
                    found.update(task.result())
            if not done:
                break
            if ends is None and self._quorum.met(found):
                ends = loop.time() + (_SHORT_GRACE if self._seat.asked() > self._reached else _GRACE)
        return found

    def _proof(self, size: int, root: bytes, old: int) -> tuple[bytes, ...]:
        """The consistency path from `old`, verified before it leaves."""
        with self._ledger.store.read() as transaction:
            view = LogView(transaction.row, size)
            path = view.consistency_path(old, size)
            merkle.verify_consistency(old_size=old, new_size=size, old_root=view.root(old), new_root=root, path=path)
        return path

    def _root_at(self, size: int) -> bytes:
        with self._ledger.store.read() as transaction:
            return rows.root(transaction.row, size)

    def _log_keys(self) -> list[NoteVerifier]:
        with self._ledger.store.read() as transaction:
            return log_verifiers(transaction)

    def _keep(self, now: float) -> None:
        """Make the reason outlive this process; on a disk that does not take it, again with each interval."""
        if self._rollback is None or self._kept or now < self._next_round:
            return
        self._next_round = now + self._settings.publish_interval
        try:
            rollback.keep(self._settings.rollback, self._rollback)
            self._kept = True
        except OSError as error:
            _log.critical("the mark %s cannot be written: %s", self._settings.rollback, error.strerror or error)

    def _note_quorum(self, found: Lines) -> None:
        """One line in the log for each change."""
        if self._quorum is None or not self._fails_closed:
            return
        met = self._quorum.met(found)
        if met != self._has_quorum:
            if met:
                _log.info("the witnesses' quorum cosigns")
            else:
                names = ", ".join(sorted({name for name, _ in found})) or "nobody"
                _log.critical("NO QUORUM OF WITNESSES: %s cosigned; nothing is published until there is one", names)
        self._has_quorum = met

    # Step 4.

    def _to_be_stamped(self) -> Published | None:
        """The newest published checkpoint. Time does not wait for witnesses: without a quorum, what they were asked to cosign.

        After another past was shown nobody is asked, and the newest anchored one is stamped, unwitnessed as well.
        """
        with self._ledger.store.read() as transaction:
            row = published.newest(transaction)
        stopped = self._fails_closed and self._rollback is not None
        draft = self._drafted(self._ledger.anchor.read()) if stopped else self._draft
        unwitnessed = stopped or self._has_quorum is False
        if draft is not None and (row is None or draft.size > row.size) and unwitnessed:
            row = self._store(draft)
        return row

    def _store(self, row: Published) -> Published:
        """Steps 3 and 4: durable when this returns. It takes the lock and the disk for one commit, as a batch does.

        A failed commit leaves unknown what is on disk: the ledger is marked, and every worker stops (CommitError). Any other
        StoreError comes before the commit, when nothing has happened to the data.
        """
        with self._lock.hold(), self._ledger.store.write() as transaction:
            stored = published.put(transaction, row)
            try:
                transaction.commit()
            except StoreError as error:
                with suppress(LockError):
                    self._lock.poison(error.reason)
                raise CommitError(error.reason) from error
        return stored

    def _tell(self) -> None:
        state = PublisherState(
            quorum=self._has_quorum,
            rollback=None if self._rollback is None else self._rollback.reason,
            witnesses={witness.name: witness.state for witness in self._witnesses},
            authorities=self._stamps.states,
        )
        if state != self._told:
            self._seat.tell(state)
            self._told = state


def _raise_rollback(task: asyncio.Task[Lines]) -> None:
    """A late answer counts for nothing, but what it says of another past does."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, AskingError):
        raise error


def _size(row: Published | None) -> int:
    return 0 if row is None else row.size
