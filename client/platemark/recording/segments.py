"""A segment as a recording proof shows it: whole, or single messages of it (proto/segments.md sections 1 and 2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from platemark import cbor, statement
from platemark.errors import FormatError, SegmentError
from platemark.evidence import CONDITIONS
from platemark.merkle import inclusion_path
from platemark.segment import ROW_SIZE, Channel, Row, unpack_rows

if TYPE_CHECKING:
    from platemark.statement import Statement

__all__ = ["ProvenSegment", "ShownMessage", "check_segment", "decode_statement", "show"]


@dataclass(frozen=True)
class ShownMessage:
    """One message of a segment, shown without the others: its place from 0, its row, its path in the segment, and its data."""

    place: int
    row: Row
    path: tuple[bytes, ...]
    data: bytes | None = None

    def value(self) -> list[cbor.Value]:
        """As CBOR has it."""
        return [self.place, self.row.pack(), list(self.path), self.data]


@dataclass(frozen=True)
class ProvenSegment:
    """A segment's statement, its leaf and path in the log, what the ledger reported, its channel, and what is shown of it.

    `shown`: all rows, 48 bytes each, or single messages.
    """

    statement: bytes
    index: int
    path: tuple[bytes, ...]
    conditions: tuple[str, ...]
    channel: Channel
    shown: bytes | tuple[ShownMessage, ...]

    @cached_property
    def said(self) -> Statement:
        """The statement. Raises FormatError."""
        return statement.decode(self.statement)

    @property
    def number(self) -> int:
        """Its number within its recording and topic."""
        return cast("int", self.said.payload["number"])

    @property
    def count(self) -> int:
        """How many messages it has, by its statement."""
        return cast("int", self.said.payload["count"])

    @property
    def place(self) -> tuple[str, int]:
        """Topic and number, by which segments are in order."""
        return self.channel.topic, self.number

    @property
    def whole(self) -> bool:
        """Whether all of its messages are shown."""
        return isinstance(self.shown, bytes)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """What is shown: place in the segment, and row."""
        if isinstance(self.shown, bytes):
            return enumerate(unpack_rows(self.shown))
        return ((each.place, each.row) for each in self.shown)

    def value(self) -> list[cbor.Value]:
        """As CBOR has it."""
        shown: cbor.Value = (
            self.shown if isinstance(self.shown, bytes) else cast("cbor.Value", [each.value() for each in self.shown])
        )
        return [self.statement, self.index, list(self.path), list(self.conditions), self.channel.value()[1:], shown]


def decode_statement(raw: bytes, field: str) -> Statement:
    """The statement of a segment. Raises SegmentError naming `field`."""
    try:
        said = statement.decode(raw)
    except FormatError as error:
        raise SegmentError(f"{field}: {error.field}", error.reason) from None
    if said.kind != "segment":
        raise SegmentError(field, f"a statement of kind {said.kind}, not segment")
    return said


def check_segment(segment: ProvenSegment, recording: bytes, field: str) -> None:
    """What its parts have to agree on (G3, G4, G6, G7). Raises SegmentError naming `field`."""
    try:
        said = segment.said
    except FormatError as error:
        raise SegmentError(f"{field}.statement: {error.field}", error.reason) from None
    if said.kind != "segment":
        raise SegmentError(f"{field}.statement", f"a statement of kind {said.kind}, not segment")
    if said.payload["recording"] != recording:
        raise SegmentError(f"{field}.statement", "of another recording")
    if said.payload["topic"] != segment.channel.topic:
        raise SegmentError(f"{field}.channel", "of another topic than the statement")
    if len(set(segment.conditions)) != len(segment.conditions) or not set(segment.conditions) <= set(CONDITIONS):
        raise SegmentError(f"{field}.conditions", "a condition that this release does not know, or one twice")
    _check_shown(segment, f"{field}.shown")


def _check_shown(segment: ProvenSegment, field: str) -> None:
    if isinstance(segment.shown, bytes):
        if len(segment.shown) != segment.count * ROW_SIZE:
            raise SegmentError(field, f"{len(segment.shown)} bytes are not {segment.count} rows of {ROW_SIZE}")
        return
    if not segment.shown:
        raise SegmentError(field, "no message")
    if any(one.place >= other.place for one, other in itertools.pairwise(segment.shown)):
        raise SegmentError(field, "not in ascending order of place, each once")
    if segment.shown[-1].place >= segment.count:
        raise SegmentError(field, f"place {segment.shown[-1].place} in a segment of {segment.count}")


def show(segment: ProvenSegment, place: int) -> ShownMessage:
    """One message of a segment by itself, without its data. Raises SegmentError where it is not there or not shown."""
    if not isinstance(segment.shown, bytes):
        found = next((each for each in segment.shown if each.place == place), None)
        if found is None:
            raise SegmentError("segments", f"message {place} of segment {segment.number} is not shown")
        return found
    if not 0 <= place < segment.count:
        raise SegmentError("segments", f"segment {segment.number} has {segment.count} messages, and no place {place}")
    rows = list(unpack_rows(segment.shown))
    leaves = [segment.channel.leaf_hash(row) for row in rows]
    return ShownMessage(place, rows[place], tuple(inclusion_path(leaves, place)))
