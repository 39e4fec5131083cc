"""From messages to segments: which message goes into which, when each one ends, and in which order they are signed.

Pure: no input or output, no clock. One key signs the segments of all topics, and a ledger marks a statement whose stated
time (the `last` of a segment) lies before one that the key has stated already. So all topics share one grid of windows of log
time; a window ends for all of them at once, when some topic is past its end by a grace; and what ends together is handed out
in ascending order of `last`. Whatever the clocks of the topics do, every message is in exactly one segment, and no segment spans
more of its own log time than a window and the grace.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from platemark.errors import SegmentError
from platemark.schema import MAX_INTEGER
from platemark.segment import MAX_COUNT, ROW_SIZE, Channel, Row, SegmentTree

__all__ = ["GRACE_NS", "MOST", "WINDOW_NS", "Closed", "Segmenter"]

WINDOW_NS = 10**9
GRACE_NS = 200_000_000
MOST = 1 << 20
_DIGEST_SIZE = 32
_BLOCK = 1024  # rows that are hashed at once
_ROW = struct.Struct(">QQ32s")


@dataclass(frozen=True, slots=True)
class Closed:
    """A segment that has ended.

    `number` counts those of its topic from 0 without gaps; `rows` are its messages in the order in which they were observed,
    48 bytes each (R48); `window_ns` is the window by which it ended at the latest.
    """

    channel: Channel
    number: int
    window_ns: int
    tree: SegmentTree
    rows: bytes


class Segmenter:
    """The open segments of one recording.

    A message goes into the earliest open window that ends after its log time, so one that comes late stays in what is open.
    All open segments end when one of them has `most` messages, when a topic's channel changes, and when a segment would span
    more than `window_ns` and `grace_ns` of log time: a clock that has jumped. Memory: 48 bytes a message of the open segments
    (`held`), and a little for every topic. Not for several threads at once.

    `window_ns` may be set while it works, for the windows that begin later. ValueError: a window below 1 ns, a grace below 0 or
    longer than the window, `most` outside 1..2^32 - 1.
    """

    def __init__(self, *, window_ns: int = WINDOW_NS, most: int = MOST, grace_ns: int | None = None) -> None:
        if window_ns < 1 or not 1 <= most <= MAX_COUNT:
            message = f"a window of at least 1 ns and 1 to {MAX_COUNT} messages, not {window_ns} and {most}"
            raise ValueError(message)
        self.window_ns = window_ns
        self.grace_ns = min(GRACE_NS, window_ns) if grace_ns is None else grace_ns
        if not 0 <= self.grace_ns <= window_ns:
            message = f"a grace of 0 to {window_ns} ns, the window, not {grace_ns}"
            raise ValueError(message)
        self.held = 0
        self._most = most
        self._windows: list[_Window] = []  # what is open, in ascending order of their ends
        self._latest: dict[str, _Open] = {}  # by topic: what its last message went into, as long as nothing has ended
        self._frontier = 0  # the end of the latest window that has ended
        self._numbers: dict[str, int] = {}

    def add(self, channel: Channel, row: Row, size: int) -> list[Closed]:
        """Take a message of `size` bytes; the segments that ended by it, in the order of signing.

        Raises SegmentError: a time outside 0..2^63 - 1, a digest that is not 32 bytes; nothing was taken.
        """
        _check(row, size)
        return self.take(channel, row.log_time, row.publish_time, row.digest, size)

    def take(self, channel: Channel, log_time: int, publish_time: int, digest: bytes, size: int) -> list[Closed]:
        """As `add`, for values that are known to be right."""
        segment = self._latest.get(channel.topic)
        if segment is None or segment.channel is not channel or not segment.last <= log_time < segment.limit:
            closed = self._until(log_time - self.grace_ns)
            segment = self._segment(channel, log_time)
            if not segment.takes(channel, log_time, self.grace_ns):
                jumped = segment.channel == channel
                closed += self.close()
                if jumped:
                    self._frontier = 0  # the grid goes on from where the clock is now
                segment = self._segment(channel, log_time)
            segment.first = min(segment.first, log_time)
            # Up to here another message of the same channel needs no second thought.
            ends = (segment.end, self._windows[0].end + self.grace_ns)
            segment.limit = min(*ends, segment.first + segment.window_ns + self.grace_ns)
            self._latest[channel.topic] = segment
        else:
            closed = []
        segment.last = max(segment.last, log_time)
        segment.size += size
        segment.count += 1
        segment.rows += _ROW.pack(log_time, publish_time, digest)
        self.held += 1
        if segment.count >= self._most:
            closed += self.close()
        elif not segment.count % _BLOCK:
            segment.hash()
        return closed

    def due(self, now: int) -> list[Closed]:
        """The segments that end because no topic has brought a time past their end, in the order of signing.

        `now` is nanoseconds of any steady clock, whatever the log times are of: a window ends once it has been open for its
        own length and the grace since a call first found it open.
        """
        ends = 0
        for window in self._windows:
            if window.found is None:
                window.found = now
            elif now - window.found >= window.window_ns + self.grace_ns:
                ends = window.end
        return self._until(ends)

    def close(self) -> list[Closed]:
        """All that is open ends, in the order of signing. Another message opens the next segment of its topic."""
        return self._until(self._windows[-1].end) if self._windows else []

    def _segment(self, channel: Channel, log_time: int) -> _Open:
        """The open segment of the topic to which this time belongs, opened if there is none."""
        window = next((each for each in self._windows if log_time < each.end), None)
        if window is None:
            begin = max(log_time, self._frontier) // self.window_ns * self.window_ns
            window = _Window(begin + self.window_ns, self.window_ns)
            self._windows.append(window)
        segment = window.segments.get(channel.topic)
        if segment is None:
            segment = _Open(channel, window.window_ns, window.end, SegmentTree(channel))
            window.segments[channel.topic] = segment
        return segment

    def _until(self, time: int) -> list[Closed]:
        """End the windows whose end is not after `time`."""
        windows = self._windows
        if not windows or windows[0].end > time:
            return []
        self._latest.clear()
        ended: list[_Open] = []
        while windows and windows[0].end <= time:
            window = windows.pop(0)
            self._frontier = max(self._frontier, window.end)
            ended += window.segments.values()
        ended.sort(key=lambda each: (each.last, each.channel.topic))
        return [self._closed(each) for each in ended]

    def _closed(self, segment: _Open) -> Closed:
        number = self._numbers.get(segment.channel.topic, 0)
        self._numbers[segment.channel.topic] = number + 1
        segment.hash()
        self.held -= segment.count
        return Closed(segment.channel, number, segment.window_ns, segment.tree, bytes(segment.rows))


@dataclass(slots=True)
class _Open:
    """A segment that goes on."""

    channel: Channel
    window_ns: int
    end: int
    tree: SegmentTree
    rows: bytearray = field(default_factory=bytearray)
    first: int = MAX_INTEGER
    last: int = 0
    count: int = 0
    size: int = 0
    limit: int = 0

    def takes(self, channel: Channel, log_time: int, grace_ns: int) -> bool:
        """Whether a message may be one of this segment."""
        if not self.count:
            return True
        if channel is not self.channel and channel != self.channel:
            return False
        return max(self.last, log_time) - min(self.first, log_time) <= self.window_ns + grace_ns

    def hash(self) -> None:
        """Bring the tree up to the rows."""
        rows = self.rows[self.tree.count * ROW_SIZE :]
        if rows:
            self.tree.extend(rows, first=self.first, last=self.last, size=self.size - self.tree.size)


@dataclass(slots=True)
class _Window:
    """A span of log time that ends, before `end`, for all topics at once. `found`: when `due` first found it open."""

    end: int
    window_ns: int
    segments: dict[str, _Open] = field(default_factory=dict)
    found: int | None = None


def _check(row: Row, size: int) -> None:
    if not 0 <= row.log_time <= MAX_INTEGER:
        raise SegmentError("log_time", "outside 0..2^63 - 1 ns")
    if not 0 <= row.publish_time <= MAX_INTEGER:
        raise SegmentError("publish_time", "outside 0..2^63 - 1 ns")
    if len(row.digest) != _DIGEST_SIZE:
        raise SegmentError("digest", f"{len(row.digest)} bytes, not {_DIGEST_SIZE}")
    if size < 0:
        raise SegmentError("bytes", "below 0")
