"""Recordings in memory with the proofs of their segments, built by the product's own code over builders.Log.

A recording is a list of messages for each topic; `proof` proves the segments that
`recorded` has logged. Deterministic: the same call, the same bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from builders import CAMERA, NOW, Log, Party, Payload
from platemark import merkle, statement
from platemark.recording.model import Fault, Message
from platemark.recording.proof import ProvenSegment, RecordingProof
from platemark.segment import Channel, Row, SegmentTree, pack_rows

__all__ = [
    "LEFT",
    "RECORDING",
    "RIGHT",
    "SCHEMA",
    "STEP",
    "Given",
    "MemorySource",
    "frames",
    "identity",
    "log_of_sensor",
    "message",
    "proof",
    "recorded",
    "say_segment",
    "with_segment",
]

RECORDING = bytes(range(16))
STEP = 100_000_000
"""Nanoseconds between two messages: ten of them make a window."""
SCHEMA = b"uint8[] data\n"
LEFT = Channel.of("/left", type_name="cam/Image", schema_encoding="ros2msg", schema=SCHEMA, encoding="cdr")
RIGHT = Channel.of("/right", type_name="cam/Image", schema_encoding="ros2msg", schema=SCHEMA, encoding="cdr")


@dataclass
class MemorySource:
    """A Source whose messages are these, in any order."""

    messages: Sequence[Message]
    faults: list[Fault] = field(default_factory=list)
    proofs: list[bytes] = field(default_factory=list)
    path: str = "memory"

    def __iter__(self) -> Iterator[Message]:
        return iter(sorted(self.messages, key=lambda each: each.log_time))


def message(channel: Channel, number: int, data: bytes | None = None, *, publish: int = 1000) -> Message:
    """Message `number`, from NOW on, published `publish` ns before it was logged."""
    content = data if data is not None else f"{channel.topic} {number}".encode()
    time = NOW + number * STEP
    return Message(channel, time, time - publish, hashlib.sha256(content).digest(), len(content))


def frames(channel: Channel, count: int, first: int = 0) -> list[Message]:
    """`count` messages with different data."""
    return [message(channel, number) for number in range(first, first + count)]


def log_of_sensor(who: Party = CAMERA, **options: Any) -> Log:
    """A log in which leaf 1 enrols `who` as a sensor."""
    log = Log()
    log.enrol(who, role="sensor", **options)
    return log


@dataclass(frozen=True)
class Given:
    """A segment of these messages and where it was logged."""

    index: int
    channel: Channel
    messages: tuple[Message, ...]


def say_segment(
    log: Log,
    messages: Sequence[Message],
    number: int,
    *,
    by: Party = CAMERA,
    recording: bytes = RECORDING,
    **changes: Any,
) -> Given:
    """Log the segment of these messages."""
    tree = SegmentTree(messages[0].channel)
    for each in messages:
        tree.add(each.row, each.size)
    payload = tree.fields(recording=recording, number=number, window_ns=10 * STEP)
    clock: Payload = {"clock": {"source": "ptp", "error_ns": 1000}}
    index = log.say("segment", {**payload, **clock, **changes}, by=by)
    return Given(index, messages[0].channel, tuple(messages))


def proof(
    log: Log,
    given: Iterable[Given],
    *,
    recording: bytes = RECORDING,
    enrolment: int = 1,
    schemas: tuple[bytes, ...] = (),
    revocation: Sequence[int] = (),
    conditions: tuple[str, ...] = (),
) -> RecordingProof:
    """The proof of these segments under the log's checkpoint of now."""
    leaves, found = log.leaves, sorted(given, key=lambda each: each.index)
    segments = [
        ProvenSegment(
            statement=log.statements[each.index],
            index=each.index,
            path=tuple(merkle.inclusion_path(leaves, each.index)),
            conditions=conditions,
            channel=each.channel,
            shown=pack_rows(Row(m.log_time, m.publish_time, m.digest) for m in each.messages),
        )
        for each in found
    ]
    evidence = log.evidence(found[-1].index, enrolments=[enrolment], revocation=revocation, conditions=conditions)
    ordered = tuple(sorted(segments, key=lambda each: each.place))
    return RecordingProof(recording, evidence.to_bytes(), ordered, schemas)


def recorded(
    log: Log, messages: Sequence[Message], *, size: int = 10, by: Party = CAMERA, recording: bytes = RECORDING
) -> list[Given]:
    """Log segments of at most `size` messages of every channel, in the order of their first message."""
    runs: list[tuple[int, list[Message]]] = []
    for topic in dict.fromkeys(each.channel.topic for each in messages):
        mine = [each for each in messages if each.channel.topic == topic]
        runs += [(n, mine[n * size : (n + 1) * size]) for n in range((len(mine) + size - 1) // size)]
    runs.sort(key=lambda run: run[1][0].log_time)
    return [say_segment(log, run, number, by=by, recording=recording) for number, run in runs]


def with_segment(given: RecordingProof, at: int, **changes: Any) -> RecordingProof:
    """The proof with one of its segments changed."""
    segments = list(given.segments)
    segments[at] = replace(segments[at], **changes)
    return replace(given, segments=tuple(segments))


def identity(raw: bytes) -> bytes:
    """The statement id."""
    return statement.decode(raw).id
