"""What a recorder does behind its intake: rows into the journal, statements into the spool, windows by the spool's room."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from platemark.robot.line import SegmentLine
from platemark.robot.segmenter import Closed
from platemark.schema import MAX_INTEGER
from platemark.signing import CLOCK_SOURCES, Clock

if TYPE_CHECKING:
    from platemark.robot.intake import Intake
    from platemark.robot.journal import RecordingJournal, SegmentJournal
    from platemark.spool import Spool

__all__ = ["LONGEST", "Keeping", "lengthened"]

LONGEST = 64
"""How many times its length a window may come to while the spool has no room."""
_BEHIND = 128  # segments that may wait without windows becoming longer
_AT_ONCE = 32  # segments signed in one step, so that the rows of others that have ended meanwhile come onto disk soon
_UNKNOWN = Clock("unknown", None)
_LOG = logging.getLogger("platemark.robot")


class Keeping:
    """For one thread. `unfinished`: recordings that an earlier run left behind; they come first."""

    def __init__(
        self,
        *,
        recording: bytes,
        journal: SegmentJournal,
        intake: Intake,
        line: SegmentLine,
        spool: Spool,
        clock: Callable[[], Clock],
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.line = line
        self._recording = recording
        self._journal = journal
        self._intake = intake
        self._spool = spool
        self._clock = clock
        self._now = now
        self._shortest = intake.segmenter.window_ns
        self._writing: RecordingJournal | None = None
        self._saving: list[Closed] = []
        for each in journal.unfinished():
            if each.torn:
                _LOG.warning("torn rows cut off", extra={"recording": each.recording.hex(), "bytes": each.torn})
            line.add(each, each.waiting)
            if not each.waiting:
                each.finish()

    @property
    def idle(self) -> bool:
        """Whether nothing that was taken from the intake is on its way."""
        return not self._saving and not self.line.waiting

    def step(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Bring what has ended onto disk and some of it, while there is room, into the spool: how many segments.

        Raises what the line raises.
        """
        self._saving += self._intake.take()
        if self._saving:
            self._save()
        try:
            return self.line.step(stopping, most=_AT_ONCE)
        finally:
            self._adapt()

    def finish(self) -> None:
        """Nothing follows. What is not in the spool waits in the journal for the next run. Raises RecordingError."""
        if self._writing is not None:
            self._writing.ended = True
            if not self._writing.waiting:
                self._writing.finish()

    def _save(self) -> None:
        """The rows first: whoever has a statement without them could never show a message."""
        if self._writing is None:
            self._writing = self._journal.begin(self._recording, self._now())
        saving = self._saving
        try:
            self._writing.append(saving, self._stated_clock())
        finally:
            # Those of a part that was written before another one failed are on disk, too.
            durable = {each.place: each for each in self._writing.waiting}
            places = [(each.channel.topic, each.number) for each in saving]
            self._saving = [each for each, place in zip(saving, places, strict=True) if place not in durable]
            self.line.add(self._writing, [durable[place] for place in places if place in durable])
            done = sum(each.tree.count for each in saving) - sum(each.tree.count for each in self._saving)
            self._intake.saved(done, len(saving) - len(self._saving))

    def _stated_clock(self) -> Clock:
        """What the device says of its clock now; a clock that cannot be asked, or answers nonsense, is unknown."""
        try:
            clock: object = self._clock()
        except Exception:  # noqa: BLE001 - the owner's code, which must not stop the recording
            _LOG.exception("the clock's state cannot be had")
            return _UNKNOWN
        if not isinstance(clock, Clock) or not _can_be_stated(clock.source, clock.error_ns):
            _LOG.error("not a clock's state", extra={"clock": repr(clock)})
            return _UNKNOWN
        return clock

    def _adapt(self) -> None:
        room = self._spool.room()
        window_ns = lengthened(self._shortest, room=room.left, capacity=room.capacity)
        # A key or a disk that signs more slowly than segments end: fewer of them.
        window_ns = max(
            window_ns, min(self._shortest << (self.line.waiting // _BEHIND).bit_length(), self._shortest * LONGEST)
        )
        segmenter = self._intake.segmenter
        if window_ns != segmenter.window_ns:
            facts = {"window_ns": window_ns, "unsent": room.unsent, "waiting": self.line.waiting}
            said = "window set to %g s: %d statements unsent, %d segments waiting for key or spool"
            _LOG.warning(said, window_ns / 1e9, room.unsent, self.line.waiting, extra=facts)
            segmenter.window_ns = window_ns


def _can_be_stated(source: object, error_ns: object) -> bool:
    """Whether a statement can carry this: neither has been checked by anybody."""
    if type(source) is not str or source not in CLOCK_SOURCES:
        return False
    return error_ns is None or (type(error_ns) is int and 0 <= error_ns <= MAX_INTEGER)


def lengthened(window_ns: int, *, room: int, capacity: int) -> int:
    """The window while a spool has this much room: twice as long each time the room has halved, at most LONGEST times."""
    if room <= 0:
        return window_ns * LONGEST
    halved = (capacity // room).bit_length() - 1
    return min(window_ns << halved, window_ns * LONGEST)
