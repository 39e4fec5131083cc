"""The summary of an MCAP file, held against its data section.

Readers that seek take chunks, times, topics and types from the summary; readers that go through the file do not. A file on
whose messages they disagree means two things, and each disagreement is a fault. mcap's and rosbags' readers look for the
summary from the footer at the end of the file; it is the bytes between the end of the data and that footer, or a fault.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from platemark.capture._faults import MalformedError
from platemark.capture._mcap_facts import chunk_name
from platemark.capture._mcap_records import (
    HEAD,
    MAGIC,
    AttachmentIndexRecord,
    ChannelRecord,
    ChunkIndexRecord,
    Fields,
    MetadataIndexRecord,
    Opcode,
    SchemaRecord,
    StatisticsRecord,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark.capture._mcap_facts import DataFacts
    from platemark.capture._message_rows import Faults

__all__ = ["FOOTER_SIZE", "Footer", "Summary", "disagreements", "read_footer"]

_FOOTER = struct.Struct("<QQI")
FOOTER_SIZE = HEAD.size + _FOOTER.size + len(MAGIC)
"""Bytes of a footer with the magic behind it, the end of every whole file."""
_DATA_END_SIZE = HEAD.size + 4
_WHERE = "summary"
_T = TypeVar("_T", SchemaRecord, ChannelRecord)


@dataclass(frozen=True, slots=True)
class Footer:
    """Where a file says that its summary begins (0: it has none) and where the offsets of its groups do (0: none)."""

    summary_start: int
    offsets_start: int
    crc: int


def read_footer(data: bytes | memoryview) -> Footer:
    """From the last FOOTER_SIZE bytes of a file. MalformedError."""
    if len(data) != FOOTER_SIZE or bytes(data[-len(MAGIC) :]) != MAGIC:
        raise MalformedError("the file does not end with the mark of a whole one")
    if HEAD.unpack_from(data) != (Opcode.FOOTER, _FOOTER.size):
        raise MalformedError("the file does not end with a footer")
    return Footer(*_FOOTER.unpack_from(data, HEAD.size))


@dataclass(slots=True)
class Summary:
    """Everything between the end of the data section, which is byte `base` of the file, and the end of the file."""

    base: int
    footer: Footer
    records: list[tuple[int, int, memoryview]]
    data: memoryview
    schemas: dict[int, SchemaRecord] = field(default_factory=dict)
    channels: dict[int, ChannelRecord] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes | memoryview, base: int) -> Summary:
        """MalformedError: there is no footer at its end, or something that is no summary before it."""
        view = memoryview(data)
        if len(view) < FOOTER_SIZE:
            raise MalformedError("the file ends before its footer does")
        footer, body = read_footer(view[-FOOTER_SIZE:]), view[:-FOOTER_SIZE]
        if footer.summary_start not in ((base,) if len(body) else (0, base)):
            raise MalformedError(
                f"the footer says that it begins at byte {footer.summary_start}; the data ends at byte {base}"
            )
        return cls(base, footer, list(split(body, base)), body)

    def of(self, opcode: int) -> Iterator[memoryview]:
        """The bodies of the records with this opcode."""
        return (body for found, _, body in self.records if found == opcode)

    def crc(self) -> int:
        """As its footer should have it."""
        head = HEAD.pack(Opcode.FOOTER, _FOOTER.size) + struct.pack(
            "<QQ", self.footer.summary_start, self.footer.offsets_start
        )
        return zlib.crc32(head, zlib.crc32(self.data))

    def definitions(self) -> tuple[dict[int, ChannelRecord], dict[int, SchemaRecord]]:
        """Its channels and schemas, the first of each number; none if one is damaged."""
        try:
            channels = [ChannelRecord.read(body) for body in self.of(Opcode.CHANNEL)]
            schemas = [SchemaRecord.read(body) for body in self.of(Opcode.SCHEMA)]
        except MalformedError:
            return {}, {}
        return {each.id: each for each in channels[::-1]}, {each.id: each for each in schemas[::-1]}

    def places(self) -> list[int]:
        """Where it says that chunks begin, and where the data ends; none if a chunk index is damaged."""
        try:
            return [
                *(ChunkIndexRecord.read(body).offset for body in self.of(Opcode.CHUNK_INDEX)),
                self.base - _DATA_END_SIZE,
            ]
        except MalformedError:
            return []

    def groups(self) -> dict[int, tuple[int, int]]:
        """Start and end of the records of each opcode. MalformedError: they do not lie together."""
        found: dict[int, tuple[int, int]] = {}
        for opcode, offset, body in self.records:
            end = offset + HEAD.size + len(body)
            start, before = found.get(opcode, (offset, offset))
            if before != offset:
                raise MalformedError(f"its records of {_name(opcode)} do not lie together")
            found[opcode] = (start, end)
        return found


def disagreements(summary: Summary, facts: DataFacts, faults: Faults) -> None:
    """Note everything in which it differs from the data section, as far as that was read (`facts.complete`)."""
    try:
        _check_form(summary)
        _check_offsets(summary)
        _check_definitions(summary, facts, faults)
        _check_chunks(summary, facts, faults)
        _check_extras(summary, facts)
        if facts.complete:
            _check_statistics(summary, facts, faults)
    except MalformedError as error:
        faults.note(_WHERE, str(error))


def _name(opcode: int) -> str:
    return Opcode.NAMES[opcode] if opcode < len(Opcode.NAMES) else f"opcode {opcode}"


def _check_form(summary: Summary) -> None:
    expected = {
        Opcode.SCHEMA,
        Opcode.CHANNEL,
        Opcode.CHUNK_INDEX,
        Opcode.ATTACHMENT_INDEX,
        Opcode.STATISTICS,
        Opcode.METADATA_INDEX,
        Opcode.SUMMARY_OFFSET,
    }
    for opcode, offset, _ in summary.records:
        if opcode <= Opcode.DATA_END and opcode not in expected:
            raise MalformedError(f"there is a {_name(opcode)} record at byte {offset}, which only the data section has")
    if summary.footer.crc and summary.footer.crc != (found := summary.crc()):
        raise MalformedError(f"its CRC is {found:08x}, not {summary.footer.crc:08x}")


def _check_offsets(summary: Summary) -> None:
    """A reader that looks up one group finds all of its records, and nothing else."""
    groups = None
    for body in summary.of(Opcode.SUMMARY_OFFSET):
        groups = summary.groups() if groups is None else groups
        fields = Fields(body)
        opcode, start, length = fields.take(1)[0], fields.u64(), fields.u64()
        fields.end()
        found = groups.get(opcode)
        if (start, start + length) != found and (length or found):
            raise MalformedError(f"the offset of its records of {_name(opcode)} points elsewhere")
    offsets = [offset for opcode, offset, _ in summary.records if opcode == Opcode.SUMMARY_OFFSET]
    if offsets and any(
        offset > offsets[0] and opcode != Opcode.SUMMARY_OFFSET for opcode, offset, _ in summary.records
    ):
        raise MalformedError("records follow its offsets, where some readers stop")
    begin = summary.footer.offsets_start
    end_of_records = summary.base + len(summary.data)
    if begin and begin != (offsets[0] if offsets else end_of_records):
        raise MalformedError("the footer's place of its offsets is another one")


def _check_definitions(summary: Summary, facts: DataFacts, faults: Faults) -> None:
    for body in summary.of(Opcode.SCHEMA):
        schema = SchemaRecord.read(body)
        _same(f"schema {schema.id}", schema, facts.schemas, summary.schemas, faults)
    for body in summary.of(Opcode.CHANNEL):
        channel = ChannelRecord.read(body)
        _same(f"channel {channel.id}", channel, facts.channels, summary.channels, faults)
    if summary.channels:
        for number in facts.counts.keys() - summary.channels.keys():
            faults.note(_WHERE, f"it lists channels, and not channel {number}, which has messages")
    opcodes = [opcode for opcode, _, _ in summary.records if opcode in (Opcode.SCHEMA, Opcode.CHANNEL)]
    if opcodes != sorted(opcodes):
        faults.note(_WHERE, "channels stand before schemas there, which some readers then do not know")
    if summary.schemas:
        for channel in summary.channels.values():
            if channel.schema_id and channel.schema_id not in summary.schemas:
                faults.note(
                    _WHERE, f"it lists schemas, and not schema {channel.schema_id} of topic {channel.topic[:80]}"
                )


def _same(what: str, record: _T, data: dict[int, _T], seen: dict[int, _T], faults: Faults) -> None:
    if data.get(record.id, record) != record or seen.setdefault(record.id, record) != record:
        faults.note(_WHERE, f"{what} is another one there than in the data")


def _check_chunks(summary: Summary, facts: DataFacts, faults: Faults) -> None:
    named = set()
    for body in summary.of(Opcode.CHUNK_INDEX):
        index = ChunkIndexRecord.read(body)
        chunk = facts.chunks.get(index.offset)
        if chunk is None:
            faults.note(
                _WHERE, f"its chunk index points to byte {index.offset}, where a reader of the file meets no chunk"
            )
        elif index.offset in named:
            faults.note(_WHERE, f"it lists the {chunk_name(index.offset)} twice")
        elif not chunk.agrees(index):
            faults.note(_WHERE, f"it says something else of the {chunk_name(index.offset)} than is there")
        named.add(index.offset)
    if not named:  # every reader goes through the file
        return
    for offset in facts.chunks.keys() - named:
        faults.note(_WHERE, f"it lists chunks, and not the {chunk_name(offset)}")
    if facts.outside:
        faults.note(_WHERE, f"it lists chunks, and {facts.outside} messages lie outside of them")
    with_messages = [chunk for chunk in facts.chunks.values() if chunk.messages]
    without = [chunk for chunk in with_messages if not chunk.indexes]
    if without and len(without) != len(with_messages):
        faults.note(chunk_name(without[0].offset), "it has no message index, and other chunks have")


def _check_extras(summary: Summary, facts: DataFacts) -> None:
    attachments = {facts[:7] for facts in facts.attachments}
    for body in summary.of(Opcode.ATTACHMENT_INDEX):
        attached = AttachmentIndexRecord.read(body)
        if tuple(attached) not in attachments:
            raise MalformedError(f"its attachment index points to byte {attached.offset}, where it is not")
    for body in summary.of(Opcode.METADATA_INDEX):
        index = MetadataIndexRecord.read(body)
        if facts.metadata.get(index.offset) != (index.length, index.name):
            raise MalformedError(f"its metadata index points to byte {index.offset}, where it is not")


def _check_statistics(summary: Summary, facts: DataFacts, faults: Faults) -> None:
    for number, body in enumerate(summary.of(Opcode.STATISTICS)):
        said = StatisticsRecord.read(body)
        if number:
            raise MalformedError("it has statistics twice")
        total = sum(facts.counts.values())
        counts = {channel: count for channel, count in said.channel_message_counts.items() if count}
        if said.message_count != total or (counts and counts != facts.counts):
            faults.note(_WHERE, f"it counts {said.message_count} messages, and there are {total}")
        if said.chunk_count != len(facts.chunks):
            faults.note(_WHERE, f"it counts {said.chunk_count} chunks, and there are {len(facts.chunks)}")
        if total and (facts.first < said.start or facts.last > said.end):
            faults.note(_WHERE, f"it says that messages are from {said.start} to {said.end}, and there are others")
