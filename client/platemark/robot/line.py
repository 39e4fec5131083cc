"""The line from the journal to the spool: signs segments whose rows are on disk and puts their statements into the spool, once.

For one segment, whose rows are durable already: the next place of the chain; the spool, under the key of the segment; the
journal. A crash, or a fault, between any two of these is mended by taking the same segment again:

- before the chain has reserved a place: nothing has happened;
- after it, before the spool has the statement: `Chain.last` signs the very same statement again, no gap, no fork;
- after that: the spool gives the statement under the segment's key, and only the journal is behind.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platemark.chain import Chain
    from platemark.robot.journal import RecordingJournal
    from platemark.robot.model import JournaledSegment
    from platemark.spool import Spool
    from platemark.statement import Statement

__all__ = ["OnKept", "SegmentLine"]

OnKept = Callable[["JournaledSegment", bytes], None]
"""Told that a segment is kept: its statement (signed) is in the spool. After a crash it may be told so once more."""
_LOG = logging.getLogger("platemark.robot")


class SegmentLine:
    """One line, for one thread: what is added first is signed first. `kept`, `kept_messages`: what came into the spool."""

    def __init__(self, *, chain: Chain, spool: Spool, on_kept: OnKept | None = None) -> None:
        self.kept = 0
        self.kept_messages = 0
        self._chain = chain
        self._spool = spool
        self._on_kept = on_kept
        self._waiting: deque[tuple[RecordingJournal, JournaledSegment]] = deque()
        self._spooled: list[tuple[RecordingJournal, JournaledSegment, bytes]] = []  # the journal does not know it yet
        self._made: Statement | None = None  # signed for the first in the line, and refused by the spool
        # Whether the chain's last place may be that of a statement which the spool does not have.
        self._unsure = True

    @property
    def waiting(self) -> int:
        """Segments that are not kept, or of which the journal does not know it."""
        return len(self._waiting) + len(self._spooled)

    def add(self, journal: RecordingJournal, segments: Sequence[JournaledSegment]) -> None:
        """Segments whose rows are on disk in this journal."""
        self._waiting.extend((journal, each) for each in segments)

    def step(self, stopping: Callable[[], bool] = lambda: False, *, most: int | None = None) -> int:
        """Bring what waits, `most` of it, into the spool while it has room: how many. `stopping` is asked before each.

        Raises StateError, SpoolError, RecordingError and what the signer raises: the machine's faults, after which the same step
        is tried again.
        """
        self._mark()
        if self._unsure and self._waiting:
            self._interrupted_first()
        room = self._spool.room().left
        room = room if most is None else min(room, most)
        brought = 0
        while self._waiting and brought < room and not stopping():
            journal, segment = self._waiting[0]
            raw = self._put(segment)
            self._waiting.popleft()
            self._spooled.append((journal, segment, raw))
            self._keep(segment, raw)
            brought += 1
        self._mark()
        return brought

    def _put(self, segment: JournaledSegment) -> bytes:
        """The signed statement of the segment, which is in the spool."""
        entry = self._spool.get(key=segment.key)
        if entry is None:
            made = self._made or self._reserved(segment)
            self._unsure = True
            self._made = made = made or self._chain.sign("segment", segment.payload())
            entry = self._spool.put(made.raw, key=segment.key)
            self._unsure = False
        # Crash here: the spool has it, and the journal is told so when the segment is taken again.
        self._made = None
        return entry.raw

    def _keep(self, segment: JournaledSegment, raw: bytes) -> None:
        self.kept += 1
        self.kept_messages += segment.count
        if self._on_kept is None:
            return
        try:
            self._on_kept(segment, raw)
        except Exception:  # noqa: BLE001 - the owner's code, which must not stop the line
            _LOG.exception("on_kept failed", extra={"segment": segment.key})

    def _reserved(self, segment: JournaledSegment) -> Statement | None:
        """The statement at the last place of the chain, if it is of this segment and never came into the spool."""
        last = self._chain.last() if self._unsure else None
        return last if last is not None and _states(last, segment) else None

    def _interrupted_first(self) -> None:
        """The segment whose statement a crash kept from the spool, before any other one is signed: no gap."""
        last = self._chain.last()
        if last is None or self._spool.get(id=last.id) is not None:
            return
        for place, (_, segment) in enumerate(self._waiting):
            if _states(last, segment):
                first = self._waiting[place]
                del self._waiting[place]
                # Behind those that the spool has and only the journal does not know of: they were signed before it.
                spooled = (self._spool.get(key=each.key) is not None for _, each in self._waiting)
                self._waiting.insert(sum(itertools.takewhile(bool, spooled)), first)
                return

    def _mark(self) -> None:
        """Tell the journals what the spool has; a recording that nothing is written to any more is finished."""
        while self._spooled:
            journal = self._spooled[0][0]
            mine = [(segment, raw) for owner, segment, raw in self._spooled if owner is journal]
            journal.kept(mine)
            self._spooled = [each for each in self._spooled if each[0] is not journal]
            if journal.ended and not journal.waiting:
                journal.finish()


def _states(last: Statement, segment: JournaledSegment) -> bool:
    return last.kind == "segment" and all(last.payload.get(name) == value for name, value in segment.payload().items())
