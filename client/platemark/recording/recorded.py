"""What relied-on segments say of one topic: its messages, once each, where they stand, and what is not known between them.

proto/segments.md section 3, D1 to D4. Two proofs may cover the same messages (a recorder's and that of whoever sealed the file
later): a message counts as often as the one recording has it that has it most often, and never as often as all together.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, cast

from platemark.schema import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from platemark.recording.judging import Judged, JudgedSegment
    from platemark.recording.segments import ProvenSegment
    from platemark.segment import Channel, Row

__all__ = ["Entry", "Gap", "Position", "RecordedTopic", "forks", "recorded_topics"]

Identity: TypeAlias = tuple[bytes, bytes, bytes]
"""Log, key and recording."""
Track: TypeAlias = tuple[Identity, int]
"""A recording, and which of the statements it is that a number has: 0 but for forks (D4)."""
Position: TypeAlias = tuple[Track, int, int]
"""Track; number of the segment; place in it."""


@dataclass(eq=False, slots=True)
class Entry:
    """A recorded message. `variants` are the publish times and channels under which recordings have it.

    `used`: a message of the file has been found to be it; `anchor`: that message stands at its place.
    """

    log_time: int
    digest: bytes
    variants: dict[tuple[int, Channel], None] = field(default_factory=dict)
    positions: list[Position] = field(default_factory=list)
    used: bool = False
    anchor: bool = False


Known: TypeAlias = dict[tuple[int, bytes], list[Entry]]


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of one recording that the evidence does not show: segments `first` to `last`, whole or in part.

    `between`: messages of the file stand on both sides of it. `after` and `before` are their log times (Unix ns) in the
    evidence on its two sides.
    """

    first: int
    last: int
    after: int
    before: int
    between: bool


@dataclass
class RecordedTopic:
    """One topic. `entries` in ascending order of log time, those of one time as recorded."""

    entries: list[Entry] = field(default_factory=list)
    cover: list[tuple[int, int]] = field(default_factory=list)
    segments: int = 0
    # By segment that is shown whole: the first of those that follow each other without a gap.
    _runs: dict[tuple[Track, int], tuple[Track, int]] = field(default_factory=dict)
    _tracks: dict[Track, list[tuple[ProvenSegment, list[tuple[int, Entry]]]]] = field(default_factory=dict)

    def covers(self, time: int) -> bool:
        """Whether whole, consecutive segments say which messages there were at this log time."""
        at = bisect.bisect_right(self.cover, (time, MAX_INTEGER)) - 1
        return at >= 0 and time <= self.cover[at][1]

    def tracks(self) -> list[Track]:
        """The recordings that have the topic, and their forks."""
        return sorted(self._tracks)

    def bounds(self, track: Track) -> tuple[int, int] | None:
        """Least and greatest log time of messages of the file that are at their place in this recording."""
        times = [entry.log_time for _, shown in self._tracks[track] for _, entry in shown if entry.anchor]
        return (min(times), max(times)) if times else None

    def gaps(self) -> Iterator[Gap]:
        """Where the evidence leaves out messages, by recording and in its order."""
        for key in self.tracks():
            if key[1]:
                continue  # a fork is named as one, and what lies between two of them is not its own
            track = [(segment, place, entry) for segment, shown in self._tracks[key] for place, entry in shown]
            anchored = [at for at, (_, _, entry) in enumerate(track) if entry.anchor]
            for at in range(1, len(track)):
                (left, after, one), (right, before, other) = track[at - 1], track[at]
                ends = after == left.count - 1 and before == 0
                if (left is right and before == after + 1) or (ends and right.number == left.number + 1):
                    continue
                first = left.number + (after == left.count - 1)
                last = right.number - (before == 0)
                between = bool(anchored) and anchored[0] < at <= anchored[-1]
                between = between and not self._joined(one, other)
                yield Gap(min(first, last), max(first, last), one.log_time, other.log_time, between)

    def _joined(self, one: Entry, other: Entry) -> bool:
        """Whether another recording has both messages, and shows whatever it has between them.

        That it has messages at these times would not do: it may be of another sensor, whose messages are others.
        """
        runs = {self._runs.get((track, number)) for track, number, _ in one.positions} - {None}
        return any(self._runs.get((track, number)) in runs for track, number, _ in other.positions)

    def finish(self) -> None:
        """Once every segment is in."""
        self.entries.sort(key=lambda entry: (entry.log_time, entry.positions[0]))
        spans: list[tuple[int, int]] = []
        for key, track in self._tracks.items():
            previous: ProvenSegment | None = None
            for segment, _ in track:
                first, last = cast("int", segment.said.payload["first"]), cast("int", segment.said.payload["last"])
                if segment.whole:
                    if previous is not None and previous.number + 1 == segment.number:
                        first, last = min(first, spans[-1][0]), max(last, spans[-1][1])
                        spans.pop()
                        self._runs[key, segment.number] = self._runs[key, previous.number]
                    else:
                        self._runs[key, segment.number] = (key, segment.number)
                    spans.append((first, last))
                previous = segment if segment.whole else None
        self.cover = _merged(spans)

    def take(self, track: Track, segment: ProvenSegment, known: Known, nth: dict[tuple[int, bytes], int]) -> None:
        """Add what a segment shows. `known` are the entries by log time and digest, `nth` how many this track has."""
        shown: list[tuple[int, Entry]] = []
        for place, row in segment.rows():
            entry = self._entry(row, known, nth)
            entry.variants[row.publish_time, segment.channel] = None
            entry.positions.append((track, segment.number, place))
            shown.append((place, entry))
        self._tracks.setdefault(track, []).append((segment, shown))
        self.segments += 1

    def _entry(self, row: Row, known: Known, nth: dict[tuple[int, bytes], int]) -> Entry:
        key = (row.log_time, row.digest)
        entries = known[key]
        turn = nth[key]
        nth[key] = turn + 1
        if turn == len(entries):
            entries.append(Entry(row.log_time, row.digest))
            self.entries.append(entries[-1])
        return entries[turn]


def recorded_topics(judged: Iterable[Judged]) -> dict[str, RecordedTopic]:
    """By topic, what the segments that are relied on show; a segment that several proofs have counts once."""
    topics: dict[str, RecordedTopic] = {}
    known: dict[str, Known] = defaultdict(lambda: defaultdict(list))
    numbered: dict[tuple[str, Identity, int], list[ProvenSegment]] = defaultdict(list)
    for recording, each in _distinct(judged):
        numbered[each.segment.channel.topic, recording, each.segment.number].append(each.segment)
    nth: dict[tuple[str, Track], dict[tuple[int, bytes], int]] = defaultdict(lambda: defaultdict(int))
    for (topic, recording, _), segments in sorted(numbered.items(), key=lambda item: item[0]):
        for branch, segment in enumerate(sorted(segments, key=lambda each: each.index)):
            track = (recording, branch)
            topics.setdefault(topic, RecordedTopic()).take(track, segment, known[topic], nth[topic, track])
    for found in topics.values():
        found.finish()
    return topics


def forks(judged: Iterable[Judged]) -> list[tuple[Identity, str, int]]:
    """Numbers of a recording and topic that two different statements of one key have (D4)."""
    seen: dict[tuple[Identity, str, int], set[bytes]] = defaultdict(set)
    for recording, each in _relied(judged):
        seen[recording, each.segment.channel.topic, each.segment.number].add(each.segment.said.id)
    return sorted(place for place, ids in seen.items() if len(ids) > 1)


def _relied(judged: Iterable[Judged]) -> Iterator[tuple[Identity, JudgedSegment]]:
    return ((each.recording, segment) for each in judged for segment in each.segments if segment.relied)


def _distinct(judged: Iterable[Judged]) -> Iterator[tuple[Identity, JudgedSegment]]:
    """Each segment once: of those that show it, the one that shows all of it, else all single messages that are shown."""
    best: dict[tuple[Identity, bytes], JudgedSegment] = {}
    for recording, each in _relied(judged):
        key = (recording, each.segment.said.id)
        kept = best.get(key)
        best[key] = each if kept is None else _fuller(kept, each)
    return ((recording, each) for (recording, _), each in best.items())


def _fuller(one: JudgedSegment, other: JudgedSegment) -> JudgedSegment:
    if isinstance(one.segment.shown, bytes) or isinstance(other.segment.shown, bytes):
        return one if isinstance(one.segment.shown, bytes) else other
    # Both are proven under one signed root, so that they agree on every place that both show.
    joined = {each.place: each for each in (*one.segment.shown, *other.segment.shown)}
    shown = tuple(joined[place] for place in sorted(joined))
    return replace(one, segment=replace(one.segment, shown=shown))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
