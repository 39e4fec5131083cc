"""What one pass over an MCAP file's data section finds, for the comparison with its indexes and its summary."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._mcap_records import Fields

if TYPE_CHECKING:
    from platemark.capture._mcap_records import (
        AttachmentFacts,
        ChannelRecord,
        ChunkIndexRecord,
        ChunkRecord,
        SchemaRecord,
    )
    from platemark.capture._message_rows import Faults

__all__ = ["ChunkFacts", "DataFacts", "chunk_name"]

_U64_MAX = (1 << 64) - 1


def chunk_name(offset: int) -> str:
    """What a chunk is called in a fault."""
    return f"chunk at byte {offset}"


@dataclass(slots=True)
class ChunkFacts:
    """A chunk and the message indexes behind it. `messages`: per channel, times and offsets by turns, until `settle`."""

    offset: int
    length: int
    record: ChunkRecord
    messages: dict[int, array[int]] = field(default_factory=dict)
    indexes: dict[int, int] = field(default_factory=dict)
    index_length: int = 0
    whole: bool = True
    first: int = _U64_MAX
    last: int = 0

    @property
    def end(self) -> int:
        """Where the next message index would be."""
        return self.offset + self.length + self.index_length

    def add_index(self, offset: int, body: bytes, faults: Faults) -> None:
        """A message index record at `offset`: it must name this chunk's messages of its channel, all of them, and no others."""
        where = f"message index at byte {offset}"
        try:
            fields = Fields(body)
            channel = fields.u16()
            entries = bytes(fields.take(fields.u32()))
            fields.end()
        except MalformedError as error:
            faults.note(where, str(error))
            return
        if channel in self.indexes:
            faults.note(where, f"the {chunk_name(self.offset)} has two of them for channel {channel}")
        self.indexes[channel] = offset
        self.index_length += 9 + len(body)
        if self.whole and not _same_entries(self.messages.get(channel, array("Q")), entries):
            faults.note(where, f"it does not name the messages of channel {channel} in the {chunk_name(self.offset)}")

    def settle(self, faults: Faults) -> None:
        """All its message indexes have been met."""
        where = chunk_name(self.offset)
        if self.whole and self.indexes:
            for channel in self.messages.keys() - self.indexes.keys():
                faults.note(where, f"there are message indexes, and none for channel {channel}")
        if self.messages and (self.first < self.record.start or self.last > self.record.end):
            faults.note(
                where, "it has messages outside the times that it announces, where readers do not look for them"
            )
        self.messages = dict.fromkeys(self.messages, array("Q"))
        self.record = self.record._replace(data=memoryview(b""))

    def agrees(self, index: ChunkIndexRecord) -> bool:
        """Whether the summary says the same of it."""
        record = self.record
        return (
            (index.start, index.end, index.length) == (record.start, record.end, self.length)
            and (index.compression, index.uncompressed_size) == (record.compression, record.uncompressed_size)
            and index.compressed_size == self.stored
            and index.message_indexes == self.indexes
            and index.message_index_length == self.index_length
        )

    @property
    def stored(self) -> int:
        """Bytes of data as stored: the record without its other fields."""
        return self.length - 9 - 8 * 3 - 4 - 4 - len(self.record.compression.encode()) - 8


def _same_entries(found: array[int], entries: bytes) -> bool:
    if len(entries) % 16:
        return False
    named = array("Q")
    named.frombytes(entries)
    if sys.byteorder == "big":
        named.byteswap()
    if named == found:
        return True
    return len(named) == len(found) and _pairs(named) == _pairs(found)


def _pairs(numbers: array[int]) -> list[tuple[int, int]]:
    return sorted(zip(numbers[::2], numbers[1::2], strict=True))


@dataclass(slots=True)
class DataFacts:
    """The data section: everything up to and with its DataEnd record, which ends at `end` (0: there is none)."""

    schemas: dict[int, SchemaRecord] = field(default_factory=dict)
    channels: dict[int, ChannelRecord] = field(default_factory=dict)
    chunks: dict[int, ChunkFacts] = field(default_factory=dict)
    attachments: list[AttachmentFacts] = field(default_factory=list)
    metadata: dict[int, tuple[int, str]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    outside: int = 0
    first: int = _U64_MAX
    last: int = 0
    end: int = 0
    complete: bool = True

    def count(self, channel: int, log_time: int) -> None:
        """One more message."""
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.first = min(self.first, log_time)
        self.last = max(self.last, log_time)
