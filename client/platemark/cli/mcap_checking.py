"""The work behind `platemark mcap verify` for recordings: the verdict, the frames that it is about, and how both are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from platemark.cli import output
from platemark.cli.mcap_opening import open_recording
from platemark.cli.mcap_proofs import gathered
from platemark.errors import DecoderMissingError
from platemark.recording import comparing, timeline
from platemark.recording.conclusion import check_recording
from platemark.recording.verdict import NOT_PROVEN
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.recording.verdict import RecordingVerdict
    from platemark.segment import Channel
    from platemark.trust import Trust

__all__ = ["Checked", "Named", "fact", "say_not_proven", "verify_recording"]

_EACH = 5  # frames named of each class and topic
_SHOWN = tuple(each for each in comparing.CLASSES if each not in {comparing.PROVEN, comparing.CUT})
_HEADER = b"std_msgs/Header header"
_SECOND = 1_000_000_000
_MOST_TEXT = 4 << 20
_TIMES = frozenset({"first", "last", "stated_time", "not_later_than", "key_status_known_to"})


@dataclass(frozen=True)
class Named:
    """A message that is not simply proven. `stamp`: its header.stamp (Unix ns), None where there is none to read."""

    topic: str
    kind: str
    log_time: int
    until: int
    count: int
    stamp: int | None = None
    recorded: tuple[int, int] | None = None


@dataclass(frozen=True)
class Checked:
    """The verdict on one recording and the first frames of every class but proven, by topic."""

    verdict: RecordingVerdict
    named: tuple[Named, ...]

    def facts(self) -> dict[str, Any]:
        """For --json."""
        content: dict[str, Any] = json.loads(self.verdict.to_json())
        content["named"] = [
            {
                "topic": each.topic,
                "kind": each.kind,
                "log_time": each.log_time,
                "until": each.until,
                "count": each.count,
                "stamp": each.stamp,
                "recorded": list(each.recorded) if each.recorded else None,
            }
            for each in self.named
        ]
        return content

    def say(self) -> None:
        """For a person."""
        verdict = self.verdict
        output.say(verdict.result)
        output.say(output.printable(verdict.reason))
        output.say(f"\n{verdict.advice}\n")
        self._say_topics()
        self._say_named()
        for each in verdict.recordings:
            output.say(f"\nRecording {each.recording}: {each.relied} of {each.segments} segments relied on")
            for reason, count in each.reasons:
                output.say(f"  not relied on ({count}): {output.printable(reason)}")
            for name, value in each.facts.items():
                output.say(f"  {name:<20} {fact(name, value)}")
            if each.conditions:
                said = ", ".join(f"{word} ({count})" for word, count in each.conditions)
                output.say(f"  reported by the ledger, not proven here: {said}")
        for fault in verdict.faults[:_EACH]:
            output.say(f"\nDamage: {output.printable(fault.where)}: {output.printable(fault.reason)}")
        for recording, topic, number in verdict.forks[:_EACH]:
            output.say(
                f"\nTwo statements of one key: recording {recording}, {output.printable(topic)}, segment {number}"
            )
        say_not_proven(verdict.at)

    def _say_topics(self) -> None:
        verdict = self.verdict
        occurring = [kind for kind in comparing.CLASSES if any(each.counts[kind] for each in verdict.topics)]
        output.say_table(
            ("topic", *occurring), ((each.topic, *(each.counts[kind] for kind in occurring)) for each in verdict.topics)
        )
        span = timeline.span(verdict.topics)
        if span is not None:
            rows = timeline.rows(verdict.topics)
            output.say(f"\n{format_time(span[0])} to {format_time(span[1])}")
            output.say_styled([*(_mark(cell) for cell in row.cells), ("  " + row.topic, "")] for row in rows)
            output.say_styled([_mark(kind), (f" {timeline.LEGEND[kind].meaning}", "")] for kind in occurring)
        for each in verdict.topics:
            for gap in each.gaps:
                numbers = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
                output.say(f"{output.printable(each.topic)}: segments missing from the evidence: {numbers}")
            if each.publish_times_dropped:
                output.say(
                    f"{output.printable(each.topic)}: {each.publish_times_dropped} publish times were dropped by a tool"
                )
            if each.schemas_rewritten:
                output.say(
                    f"{output.printable(each.topic)}: {each.schemas_rewritten} messages under another text of the same schema"
                )

    def _say_named(self) -> None:
        if self.named:
            output.say("")
            output.say_table(
                ("what", "topic", "messages", "log time", "until", "header.stamp", "recorded at"),
                (
                    (
                        each.kind,
                        each.topic,
                        each.count,
                        format_time(each.log_time),
                        format_time(each.until) if each.until != each.log_time else "",
                        "" if each.stamp is None else format_time(each.stamp),
                        "" if each.recorded is None else format_time(each.recorded[0]),
                    )
                    for each in self.named
                ),
            )

    def svg(self) -> bytes:
        """The timeline as a picture."""
        return timeline.svg(self.verdict).encode()


def verify_recording(
    path: Path, named: Sequence[Path] | None, *, trust: Trust | None, at: int, allow_missing: bool
) -> Checked:
    """The verdict on the recording at `path`. Raises FileError, RecordingError, SegmentError."""
    source = open_recording(path)
    proofs = gathered(path, source.proofs, named)
    verdict = check_recording(
        source, proofs, trust=trust, at=at, allow_missing=allow_missing, same_definition=_Definitions(path)
    )
    return Checked(verdict, tuple(_named(path, verdict)))


class _Definitions:
    """Whether another schema of the file defines the same messages; the file's schemas are read once, when one is asked for.

    Texts of more than _MOST_TEXT bytes together are not parsed, which takes seconds for each 256 KiB: they are others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schemas: dict[bytes, bytes] | None = None
        self._tried: set[bytes] = set()
        self._left = _MOST_TEXT

    def __call__(self, recorded: Channel, schema: bytes, found: Channel) -> bool:
        from platemark.capture.rosbag import same_definition

        if found.schema_encoding != "ros2msg":
            return False
        if self._schemas is None:
            # A source of its own: the one that is being judged keeps its faults.
            self._schemas = {each.channel.schema: each.schema for each in open_recording(self._path).recorded()}
        text = self._schemas.get(found.schema, b"")
        if found.schema not in self._tried:
            self._tried.add(found.schema)
            self._left -= len(text)
        if self._left < 0:
            return False
        try:
            return same_definition(recorded.type_name, schema.decode(), text.decode())
        except (UnicodeDecodeError, DecoderMissingError):
            return False


def _named(path: Path, verdict: RecordingVerdict) -> Iterator[Named]:
    found = []
    for topic in verdict.topics:
        for kind in _SHOWN:
            runs = [each for each in topic.ranges if each.kind == kind][:_EACH]
            found += [Named(topic.topic, kind, each.first, each.last, each.count, None, each.recorded) for each in runs]
    stamps = _stamps(path, {(each.topic, each.log_time) for each in found if each.kind != comparing.DROPPED})
    for each in found:
        stamp = stamps.get((each.topic, each.log_time))
        yield Named(each.topic, each.kind, each.log_time, each.until, each.count, stamp, each.recorded)


def _stamps(path: Path, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The header.stamp of messages of the file, by topic and log time."""
    found: dict[tuple[str, int], int] = {}
    if not wanted:
        return found
    for each in open_recording(path).recorded():
        place = (each.channel.topic, each.log_time)
        if place in wanted:
            stamp = _stamp(each.channel, each.schema, bytes(each.data[:12]))
            if stamp is not None:
                found[place] = stamp
    return found


def _stamp(channel: Channel, schema: bytes, begin: bytes) -> int | None:
    """Unix ns of the std_msgs/Header with which a message in CDR begins, if it does."""
    if channel.encoding != "cdr" or not schema.lstrip().startswith(_HEADER) or len(begin) < 12 or begin[0]:
        return None
    order: Literal["little", "big"] = "little" if begin[1] & 1 else "big"
    seconds = int.from_bytes(begin[4:8], order, signed=True)
    stamp = seconds * _SECOND + int.from_bytes(begin[8:12], order)
    return stamp if stamp >= 0 else None


def _mark(kind: str | None) -> tuple[str, str]:
    """A cell of the timeline and its style."""
    if kind is None:
        return " ", ""
    mark = timeline.LEGEND[kind]
    return mark.cell, mark.style


def say_not_proven(at: int) -> None:
    """What no proof of a recording says, for a person."""
    output.say(f"\nAs of {format_time(at)}. Not proven:")
    for sentence in NOT_PROVEN:
        output.say(f"  {sentence}")


def fact(name: str, value: object) -> str:
    """A fact of a verdict as text: times as RFC 3339 has them."""
    if name in _TIMES and isinstance(value, int):
        return format_time(value)
    return ", ".join(map(output.printable, value)) if isinstance(value, tuple) else output.printable(value)
