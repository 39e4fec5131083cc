"""Where messages are taken: a hash, a look at the room, an append. Nothing here waits for a disk, a network or a lock.

The bound: half of the memory is for messages that wait to be put into a segment, half for the rows of segments until they are
on disk. A message that finds no room is counted as unobserved; it is in no segment, and the state says how many there were.
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from platemark.errors import SegmentError
from platemark.robot.segmenter import Closed, Segmenter
from platemark.schema import MAX_INTEGER
from platemark.segment import Channel

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["LEAST_MEMORY", "MEMORY", "Data", "Intake", "check_digest"]


class _Array(Protocol):
    """A numpy array, which type checkers take for a buffer since Python 3.12 alone."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


Data: TypeAlias = "Buffer | _Array"
"""The data of a message: bytes, bytearray, memoryview, a contiguous numpy array, any buffer."""

MEMORY = 64 << 20
LEAST_MEMORY = 1 << 20
_QUEUED_SIZE = 400  # bytes of a message in the queue: a tuple, a digest, three integers, a slot of the queue
_ROW_SIZE = 2 * 48  # bytes of a message in a segment: its row, and once more while a segment ends
_SEGMENT_ROWS = 6  # rows for which an ended segment counts itself: its tree and its objects, some 600 bytes
_DIGEST_SIZE = 32
# Bytes of one message. So many of the most messages of a segment together are still a size that a statement can carry.
_MAX_SIZE = 1 << 42


class Intake:
    """`put` may be called from any number of threads; the rest, but for `take` and `saved`, from one. `memory` is in bytes."""

    def __init__(self, segmenter: Segmenter, *, memory: int = MEMORY) -> None:
        if memory < LEAST_MEMORY:
            message = f"memory of at least {LEAST_MEMORY} bytes, not {memory}"
            raise ValueError(message)
        self.segmenter = segmenter
        self.most_queued = memory // 2 // _QUEUED_SIZE
        self.most_rows = memory // 2 // _ROW_SIZE
        self.busy = threading.Event()
        """Set when the queue is half full, for whoever waits to drain it."""
        self.taken = 0
        """Messages that were put into a segment."""
        self.ended = 0
        """Segments that have ended."""
        self.unobserved = 0
        self._queue: deque[tuple[Channel, int, int, bytes, int]] = deque()
        self._half = self.most_queued // 2
        self._lock = threading.Lock()  # owns what follows, and `unobserved`
        self._closed: list[Closed] = []
        self._unsaved = 0
        self._unsaved_segments = 0

    @property
    def queued(self) -> int:
        """Messages that wait to be put into a segment."""
        return len(self._queue)

    @property
    def has_ended(self) -> bool:
        """Whether a segment has ended that was not taken."""
        return bool(self._closed)

    @property
    def unsaved(self) -> int:
        """Messages of segments that have ended and are not on disk."""
        return self._unsaved

    def put(self, channel: Channel, log_time: int, publish_time: int, digest: bytes, size: int) -> bool:
        """Take a message; False: there was no room, and it is counted. Raises SegmentError."""
        if type(log_time) is not int or type(publish_time) is not int:
            log_time, publish_time = _integer("log_time", log_time), _integer("publish_time", publish_time)
        if not 0 <= log_time <= MAX_INTEGER:
            raise SegmentError("log_time", "outside 0..2^63 - 1 ns")
        if not 0 <= publish_time <= MAX_INTEGER:
            raise SegmentError("publish_time", "outside 0..2^63 - 1 ns")
        queue = self._queue
        queued = len(queue)
        if queued >= self._half:
            self.busy.set()
            if queued >= self.most_queued:
                with self._lock:
                    self.unobserved += 1
                return False
        queue.append((channel, log_time, publish_time, digest, size))
        return True

    def drain(self, now: int, *, cut: bool = False) -> bool:
        """Put what waits into segments; `now` as for `Segmenter.due`. Whether all was, `cut`: and no segment is open.

        Stops where the rows have no room until others are on disk.
        """
        segmenter, queue = self.segmenter, self._queue
        whole = True
        for _ in range(len(queue)):
            if segmenter.held >= self.most_rows // 2:
                self._end(segmenter.close())
            if segmenter.held + self._unsaved + _SEGMENT_ROWS * self._unsaved_segments >= self.most_rows:
                whole = False
                break
            closed = segmenter.take(*queue.popleft())
            self.taken += 1
            if closed:
                self._end(closed)
        self._end(segmenter.due(now))
        if cut and whole:
            self._end(segmenter.close())
        return whole

    def take(self) -> list[Closed]:
        """The segments that have ended since the last call. Their rows count as unsaved until `saved`."""
        with self._lock:
            closed, self._closed = self._closed, []
        return closed

    def saved(self, messages: int, segments: int) -> None:
        """So many of their messages, in so many segments, are on disk."""
        with self._lock:
            self._unsaved -= messages
            self._unsaved_segments -= segments

    def _end(self, closed: list[Closed]) -> None:
        if closed:
            with self._lock:
                self._closed += closed
                self._unsaved += sum(each.tree.count for each in closed)
                self._unsaved_segments += len(closed)
                self.ended += len(closed)


def check_digest(digest: bytes, size: int) -> int:
    """The size, as an int. Raises SegmentError: not 32 bytes, a size outside 0..2^42."""
    if type(digest) is not bytes or len(digest) != _DIGEST_SIZE:
        raise SegmentError("digest", "not a SHA-256 of 32 bytes")
    size = _integer("size", size)
    if not 0 <= size <= _MAX_SIZE:
        raise SegmentError("size", "outside 0..2^42")
    return size


def _integer(field: str, value: object) -> int:
    """An integer of another type (numpy's) as an int; a fraction or a text would stop the segment that it is in for good."""
    try:
        return operator.index(value)  # type: ignore[arg-type] # that is the question
    except TypeError:
        raise SegmentError(
            field, f"a {type(value).__name__}, not a whole number (of nanoseconds: time.time_ns)"
        ) from None
