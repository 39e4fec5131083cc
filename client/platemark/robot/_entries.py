"""What stands in the records of a recording's journal: segments with their rows, and the statements that were made of them.

A body is a u32 (the length of its head), the head in strict CBOR and, for segments, their rows end to end (48 bytes each, R48).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from platemark import cbor
from platemark.errors import FormatError, RecordingError, StatementError
from platemark.kinds import KINDS
from platemark.robot._records import Record
from platemark.robot.model import JournaledSegment
from platemark.robot.segmenter import Closed
from platemark.schema import integer, text
from platemark.segment import ROW_SIZE, Channel
from platemark.signing import Clock

__all__ = ["KEPT", "SEGMENTS", "Head", "encode_kept", "encode_segments", "kept_in", "read_head", "segments_in"]

SEGMENTS, KEPT = 1, 2
_LENGTH = struct.Struct(">I")
_MAX_HEAD = 64 << 20
_FIELDS = 10


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a record, and where what follows it begins and ends in the file."""

    kind: int
    value: cbor.Value
    at: int
    end: int


def encode_segments(closed: Sequence[Closed], clock: Clock) -> bytes:
    """The head of a record of these segments; their rows follow it."""
    return _encoded(
        [
            [
                each.channel.value(),
                each.number,
                each.window_ns,
                each.tree.first,
                each.tree.last,
                each.tree.count,
                each.tree.size,
                each.tree.digest(),
                clock.source,
                clock.error_ns,
            ]
            for each in closed
        ]
    )


def encode_kept(statements: Sequence[tuple[str, int, bytes]]) -> bytes:
    """A record of the statements (signed) of segments, by topic and number."""
    return _encoded([list(each) for each in statements])


def read_head(path: Path, record: Record, read: Callable[[int, int], bytes]) -> Head:
    """The head of a whole record; `read` gives the bytes at a place. Raises RecordingError."""
    prefix = read(record.at, min(_LENGTH.size, record.length))
    length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else _MAX_HEAD
    at = record.at + _LENGTH.size + length
    if length > _MAX_HEAD or at > record.end:
        raise _malformed(path, record)
    try:
        value = cbor.decode(read(record.at + _LENGTH.size, length))
    except FormatError:
        raise _malformed(path, record) from None
    return Head(record.kind, value, at, record.end)


def segments_in(path: Path, recording: bytes, head: Head) -> Iterator[JournaledSegment]:
    """The segments of a record; none if it is one of another kind. Raises RecordingError: malformed."""
    if head.kind != SEGMENTS:
        return
    at = head.at
    for fields in _lists(path, head, _FIELDS):
        try:
            segment = _segment(recording, fields, at)
        except (FormatError, TypeError, ValueError):
            raise _malformed(path, head) from None
        at += segment.count * ROW_SIZE
        if at > head.end:
            raise _malformed(path, head)
        yield segment
    if at != head.end:
        raise _malformed(path, head)


def kept_in(path: Path, head: Head) -> Iterator[tuple[str, int, bytes]]:
    """Topic, number and signed statement of the segments that a record says are in the spool. Raises RecordingError."""
    if head.kind != KEPT:
        return
    for topic, number, raw in _lists(path, head, 3):
        try:
            text(255)(topic, "topic")
            integer()(number, "number")
        except FormatError:
            raise _malformed(path, head) from None
        if not isinstance(raw, bytes):
            raise _malformed(path, head)
        yield cast("str", topic), cast("int", number), raw


def _segment(recording: bytes, fields: list[cbor.Value], at: int) -> JournaledSegment:
    channel, number, window_ns, first, last, count, size, digest, source, error_ns = fields
    if not isinstance(channel, list):
        raise StatementError("channel", "not a list")
    segment = JournaledSegment(
        recording=recording,
        channel=Channel(*cast("list[str]", channel)),  # type: ignore[arg-type]
        number=cast("int", number),
        window_ns=cast("int", window_ns),
        first=cast("int", first),
        last=cast("int", last),
        count=cast("int", count),
        size=cast("int", size),
        digest=cast("bytes", digest),
        clock=Clock(cast("str", source), cast("int | None", error_ns)),
        at=at,
    )
    # Its fields are those that a statement has to have, so that nothing is signed that a ledger would refuse.
    payload: dict[int | str, cbor.Value] = {"v": 1, "epoch": 0, "seq": 0, "prev": None}
    payload.update(segment.payload())
    KINDS["segment"](payload, "segment")
    return segment


def _lists(path: Path, head: Head, length: int) -> Iterator[list[cbor.Value]]:
    entries = head.value if isinstance(head.value, list) else None
    if entries is None:
        raise _malformed(path, head)
    for each in entries:
        if not isinstance(each, list) or len(each) != length:
            raise _malformed(path, head)
        yield each


def _encoded(value: list[list[cbor.Value]]) -> bytes:
    head = cbor.encode(value)
    return _LENGTH.pack(len(head)) + head


def _malformed(path: Path, where: Head | Record) -> RecordingError:
    return RecordingError(path, f"the record at byte {where.at} is not what this release writes")
