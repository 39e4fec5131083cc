"""The messages of a file against those that segments prove: each in exactly one class (proto/segments.md section 3).

Every step goes over messages and entries once, with look-ups by what has to be equal: many messages that are alike cost no more
than as many that are not.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from platemark.recording.recorded import RecordedTopic, recorded_topics
from platemark.segment import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from platemark.recording.judging import Judged
    from platemark.recording.model import Message
    from platemark.recording.recorded import Entry, Gap

    SameDefinition: TypeAlias = Callable[[Channel, bytes, Channel], bool]

__all__ = ["CLASSES", "Range", "TopicFinding", "compare"]

PROVEN, OTHER_SCHEMA, REORDERED = "proven", "other-schema", "reordered"
ALTERED, MOVED, DUPLICATED, INSERTED, UNRECORDED = "altered", "moved", "duplicated", "inserted", "unrecorded"
DROPPED, CUT = "dropped", "cut"
CLASSES = (
    PROVEN, ALTERED, MOVED, DUPLICATED, INSERTED, REORDERED, DROPPED, OTHER_SCHEMA, UNRECORDED, CUT,
)  # fmt: skip
"""What a message of the file is, or, for dropped and cut, a recorded one that is not in it."""
_AT_PLACE = frozenset({PROVEN, OTHER_SCHEMA, REORDERED, ALTERED})
_MOST_SCHEMAS = 16


@dataclass(frozen=True, slots=True)
class Range:
    """`count` messages of one class that follow each other in time, log times `first` to `last` (Unix ns).

    `recorded`: least and greatest log time at which moved ones were recorded.
    """

    kind: str
    first: int
    last: int
    count: int
    recorded: tuple[int, int] | None = None


@dataclass(frozen=True)
class TopicFinding:
    """What is found of one topic. `ranges` are in order of time; `counts` has every class.

    `publish_times_dropped`: of the proven messages, those whose file says the log time for publish time, as tools do that
    keep one time only. `schemas_rewritten`: those whose schema is another text of the same definition. `cut_between`: of the
    cut ones, those between messages of the file, which are of other recordings.
    """

    topic: str
    segments: int
    counts: Mapping[str, int]
    ranges: tuple[Range, ...]
    gaps: tuple[Gap, ...] = ()
    publish_times_dropped: int = 0
    schemas_rewritten: int = 0
    cut_between: int = 0

    @property
    def absent(self) -> bool:
        """Whether it is recorded, and the file has no message of it."""
        return not any(self.counts[name] for name in CLASSES if name not in {CUT, DROPPED})


def compare(
    messages: Iterable[Message], judged: Sequence[Judged], *, same_definition: SameDefinition | None = None
) -> tuple[TopicFinding, ...]:
    """By topic, in order of their names, what the messages are to the segments that are relied on.

    `messages` are in the order of a Source. `same_definition(recorded, schema, found)` says whether the schema of the
    file's channel `found` defines the same messages as `schema`, the data of that of `recorded`; where nothing says so,
    another text is another schema. Raises what iterating raises.
    """
    topics = recorded_topics(judged)
    schemas = {Channel.of("x", schema=data).schema: data for each in judged for data in each.proof.schemas}
    by_topic: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        by_topic[message.channel.topic].append(message)
    return tuple(
        _Comparison(by_topic.get(topic, []), topics.get(topic) or RecordedTopic(), schemas, same_definition).finding(
            topic
        )
        for topic in sorted(topics.keys() | by_topic.keys())
    )


@dataclass
class _Comparison:
    """One topic. `kinds` is the class of each message, `paired` the recorded message that it is found to be."""

    messages: Sequence[Message]
    recorded: RecordedTopic
    schemas: Mapping[bytes, bytes]
    same_definition: SameDefinition | None
    kinds: dict[int, str] = field(default_factory=dict)
    paired: dict[int, Entry] = field(default_factory=dict)

    def finding(self, topic: str) -> TopicFinding:
        rewritten, dropped = self._find()
        self._rest()
        self._order()
        missing = list(self._missing())
        ranges = tuple(self._ranges(missing))
        counts = dict.fromkeys(CLASSES, 0)
        for each in ranges:
            counts[each.kind] += each.count
        return TopicFinding(
            topic=topic,
            segments=self.recorded.segments,
            counts=counts,
            ranges=ranges,
            gaps=tuple(self.recorded.gaps()),
            publish_times_dropped=dropped,
            schemas_rewritten=rewritten,
            cut_between=self._cut_between(missing),
        )

    def _find(self) -> tuple[int, int]:
        """D5 to D8: messages whose data is recorded for their time. How many have another text of their schema, one time only."""
        self._pair(PROVEN, _full, lambda e: ((e.log_time, e.digest, p, c) for p, c in e.variants))
        if len(self.kinds) == len(self.messages):
            return 0, 0
        same = self._same_channels()
        first = len(self.kinds)
        self._pair(
            PROVEN,
            lambda m: ((m.log_time, m.digest, m.publish_time, c) for c in same[m.channel]),
            lambda e: ((e.log_time, e.digest, p, c) for p, c in e.variants),
        )
        second = len(self.kinds)
        self._pair(
            PROVEN,
            lambda m: (
                ((m.log_time, m.digest, c) for c in (m.channel, *same[m.channel]))
                if m.publish_time == m.log_time
                else ()
            ),
            lambda e: ((e.log_time, e.digest, c) for _, c in e.variants),
        )
        third = len(self.kinds)
        self._pair(
            OTHER_SCHEMA,
            lambda m: (
                (m.log_time, m.digest, p, _reading(m.channel))
                for p in ((m.publish_time, None) if m.publish_time == m.log_time else (m.publish_time,))
            ),
            lambda e: ((e.log_time, e.digest, p, _reading(c)) for publish, c in e.variants for p in (publish, None)),
        )
        return second - first, third - second

    def _rest(self) -> None:
        """D9 to D13: the other messages."""
        if len(self.kinds) == len(self.messages):
            return
        self._pair(ALTERED, lambda m: ((m.log_time, m.digest),), lambda e: ((e.log_time, e.digest),))
        times: dict[bytes, int] = defaultdict(int)
        exact = set()
        for entry in self.recorded.entries:
            times[entry.digest] += 1
            exact.add((entry.log_time, entry.digest))
        covered = {n: self.recorded.covers(m.log_time) for n, m in enumerate(self.messages) if n not in self.kinds}
        for n in covered:
            if (self.messages[n].log_time, self.messages[n].digest) in exact:
                self.kinds[n] = DUPLICATED
        known = {m.log_time for n, m in enumerate(self.messages) if covered.get(n)}
        self._pair(
            MOVED,
            lambda m: (m.digest,) if m.log_time in known or times[m.digest] == 1 else (),
            lambda e: (e.digest,),
        )
        self._pair(ALTERED, lambda m: (m.log_time,), lambda e: (e.log_time,))
        for n, inside in covered.items():
            if n not in self.kinds:
                copied = DUPLICATED if times.get(self.messages[n].digest) else INSERTED
                self.kinds[n] = copied if inside else UNRECORDED

    def _pair(
        self,
        kind: str,
        of_message: Callable[[Message], Iterable[Hashable]],
        of_entry: Callable[[Entry], Iterable[Hashable]],
    ) -> None:
        """Give messages without a class the first unused entry with a key of theirs, in the order of both."""
        index: dict[Hashable, deque[Entry]] = defaultdict(deque)
        for entry in self.recorded.entries:
            if not entry.used:
                for key in of_entry(entry):
                    index[key].append(entry)
        for number, message in enumerate(self.messages):
            if number in self.kinds:
                continue
            for key in of_message(message):
                waiting = index.get(key, deque())
                while waiting and waiting[0].used:
                    waiting.popleft()
                if waiting:
                    entry = waiting.popleft()
                    entry.used, entry.anchor = True, kind in _AT_PLACE
                    self.kinds[number], self.paired[number] = kind, entry
                    break

    def _same_channels(self) -> dict[Channel, tuple[Channel, ...]]:
        """By channel of the file, the recorded ones whose schema is another text of the same definition."""
        by_reading: dict[Hashable, dict[Channel, None]] = defaultdict(dict)
        for entry in self.recorded.entries:
            for _, channel in entry.variants:
                by_reading[_reading(channel)][channel] = None
        found: dict[Channel, tuple[Channel, ...]] = {}
        for channel in {message.channel for message in self.messages}:
            candidates = sorted(by_reading[_reading(channel)], key=lambda each: each.schema)
            found[channel] = tuple(each for each in candidates[:_MOST_SCHEMAS] if self._same(each, channel))
        return found

    def _same(self, recorded: Channel, found: Channel) -> bool:
        schema = self.schemas.get(recorded.schema)
        if self.same_definition is None or schema is None or recorded == found:
            return False
        return self.same_definition(recorded, schema, found)

    def _order(self) -> None:
        """D14: of messages of one log time, those that stand behind one that was recorded later."""
        furthest: dict[object, tuple[int, int]] = {}
        time = -1
        for number, message in enumerate(self.messages):
            if self.kinds[number] != PROVEN:
                continue
            if message.log_time != time:
                time, furthest = message.log_time, {}
            for track, segment, place in self.paired[number].positions:
                if furthest.get(track, (-1, -1)) > (segment, place):
                    self.kinds[number] = REORDERED
                furthest[track] = max(furthest.get(track, (-1, -1)), (segment, place))

    def _missing(self) -> Iterator[tuple[int, str]]:
        """D15: log time and class of every recorded message that is not in the file."""
        bounds = {track: self.recorded.bounds(track) for track in self.recorded.tracks()}
        for entry in self.recorded.entries:
            if entry.used:
                continue
            within = [limits for track, _, _ in entry.positions if (limits := bounds[track]) is not None]
            between = any(first <= entry.log_time <= last for first, last in within)
            yield entry.log_time, DROPPED if between else CUT

    def _cut_between(self, missing: Sequence[tuple[int, str]]) -> int:
        """D15: cut messages of one recording, with messages of the file on both sides that are others'."""
        times = [entry.log_time for entry in self.recorded.entries if entry.anchor]
        return sum(kind == CUT and times[0] <= time <= times[-1] for time, kind in missing) if times else 0

    def _ranges(self, missing: Sequence[tuple[int, str]]) -> Iterator[Range]:
        """Runs of one class, of messages and of what is missing between them, in order of log time."""
        here = (
            (message.log_time, self.kinds[number], self._recorded_time(number))
            for number, message in enumerate(self.messages)
        )
        run: Range | None = None
        for time, kind, recorded in heapq.merge(
            here, ((time, kind, None) for time, kind in missing), key=lambda e: e[0]
        ):
            if run is not None and run.kind == kind:
                run = Range(kind, run.first, time, run.count + 1, _joined(run.recorded, recorded))
                continue
            if run is not None:
                yield run
            run = Range(kind, time, time, 1, _joined(None, recorded))
        if run is not None:
            yield run

    def _recorded_time(self, number: int) -> int | None:
        return self.paired[number].log_time if self.kinds[number] == MOVED else None


def _full(message: Message) -> Iterator[Hashable]:
    yield message.log_time, message.digest, message.publish_time, message.channel


def _reading(channel: Channel) -> Hashable:
    """What a reader goes by, but for the text of the schema."""
    return channel.type_name, channel.schema_encoding, channel.encoding


def _joined(span: tuple[int, int] | None, time: int | None) -> tuple[int, int] | None:
    if time is None:
        return span
    return (time, time) if span is None else (min(span[0], time), max(span[1], time))
