"""The records of MCAP, read strictly (the format's specification: mcap.dev/spec, version 0).

mcap's own reader takes a field that ends early for a short one, allocates whatever a length announces, and steps over bytes
behind the fields of some records only. What is read here is read by every reader alike, or it is a fault: a field within
its record, a record that ends with its last field.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from platemark.capture._faults import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HEAD",
    "MAGIC",
    "MESSAGE_HEAD",
    "AttachmentFacts",
    "AttachmentIndexRecord",
    "ChannelRecord",
    "ChunkIndexRecord",
    "ChunkRecord",
    "Fields",
    "MetadataIndexRecord",
    "Opcode",
    "SchemaRecord",
    "StatisticsRecord",
    "split",
]

MAGIC = b"\x89MCAP0\r\n"
HEAD = struct.Struct("<BQ")
"""Of every record: opcode, length of what follows."""
MESSAGE_HEAD = struct.Struct("<HIQQ")
"""Of a message: channel, sequence, log time, publish time; its data follows."""
_U16, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


class Opcode:
    """The first byte of a record. From 0x80 on they are private; readers pass over those that they do not know."""

    HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
    ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(9, 16)
    NAMES = (
        "invalid", "header", "footer", "schema", "channel", "message", "chunk", "message index", "chunk index", "attachment",
        "attachment index", "statistics", "metadata", "metadata index", "summary offset", "data end",
    )  # fmt: skip


class Fields:
    """The fields of one record, in order. MalformedError: one goes past the record's end, or bytes are left."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        if size > len(self._data) - self._at:
            raise MalformedError("a field goes past the end of its record")
        self._at += size
        return self._data[self._at - size : self._at]

    def u16(self) -> int:
        """Two bytes, little-endian."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """Four bytes, little-endian."""
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """Eight bytes, little-endian."""
        return int(_U64.unpack(self.take(8))[0])

    def text(self) -> str:
        """UTF-8 after its length."""
        try:
            return str(self.take(self.u32()), "utf-8")
        except UnicodeDecodeError:
            raise MalformedError("a text is not UTF-8") from None

    def texts(self) -> dict[str, str]:
        """A map of texts after its length in bytes."""
        inner = Fields(self.take(self.u32()))
        found = {}
        while inner.left:
            name = inner.text()
            found[name] = inner.text()
        return found

    def numbers(self) -> dict[int, int]:
        """A map of u16 to u64 after its length in bytes. MalformedError: a key twice, which readers resolve differently."""
        inner = Fields(self.take(self.u32()))
        found: dict[int, int] = {}
        while inner.left:
            key = inner.u16()
            if key in found:
                raise MalformedError(f"channel {key} is named twice")
            found[key] = inner.u64()
        return found

    @property
    def left(self) -> int:
        """Bytes behind the last field that was read."""
        return len(self._data) - self._at

    @property
    def at(self) -> int:
        """Bytes up to there."""
        return self._at

    def end(self) -> None:
        """MalformedError if anything is left: some readers would take it for the next record."""
        if self.left:
            raise MalformedError(f"{self.left} bytes follow its last field")


class SchemaRecord(NamedTuple):
    """The definition of a type."""

    id: int
    name: str
    encoding: str
    data: bytes

    @classmethod
    def read(cls, body: bytes | memoryview) -> SchemaRecord:
        """MalformedError."""
        fields = Fields(body)
        record = cls(fields.u16(), fields.text(), fields.text(), bytes(fields.take(fields.u32())))
        fields.end()
        if record.id == 0:
            raise MalformedError("its id is 0, which means no schema")
        return record


class ChannelRecord(NamedTuple):
    """A topic; its metadata is checked for form and not kept, since no reader takes a message's meaning from it."""

    id: int
    schema_id: int
    topic: str
    encoding: str

    @classmethod
    def read(cls, body: bytes | memoryview) -> ChannelRecord:
        """MalformedError."""
        fields = Fields(body)
        record = cls(fields.u16(), fields.u16(), fields.text(), fields.text())
        fields.texts()
        fields.end()
        return record


class ChunkRecord(NamedTuple):
    """A chunk; `data` as stored."""

    start: int
    end: int
    uncompressed_size: int
    uncompressed_crc: int
    compression: str
    data: memoryview

    @classmethod
    def read(cls, body: bytes | memoryview) -> ChunkRecord:
        """MalformedError."""
        fields = Fields(body)
        head = fields.u64(), fields.u64(), fields.u64(), fields.u32(), fields.text()
        record = cls(*head, fields.take(fields.u64()))
        fields.end()
        return record


class ChunkIndexRecord(NamedTuple):
    """What the summary says of a chunk."""

    start: int
    end: int
    offset: int
    length: int
    message_indexes: dict[int, int]
    message_index_length: int
    compression: str
    compressed_size: int
    uncompressed_size: int

    @classmethod
    def read(cls, body: bytes | memoryview) -> ChunkIndexRecord:
        """MalformedError."""
        fields = Fields(body)
        head = fields.u64(), fields.u64(), fields.u64(), fields.u64(), fields.numbers(), fields.u64(), fields.text()
        record = cls(*head, fields.u64(), fields.u64())
        fields.end()
        return record


class AttachmentFacts(NamedTuple):
    """An attachment without its data, which lies at `data_offset` of the file."""

    offset: int
    length: int
    log_time: int
    create_time: int
    data_size: int
    name: str
    media_type: str
    data_offset: int

    @classmethod
    def read(cls, head: bytes, offset: int, length: int) -> AttachmentFacts:
        """From the first bytes of the record's body; the record lies at `offset`, its body has `length`. MalformedError."""
        fields = Fields(head)
        log_time, create_time, name, media_type = fields.u64(), fields.u64(), fields.text(), fields.text()
        size = fields.u64()
        if fields.at + size + 4 != length:
            raise MalformedError("its data does not end with the record")
        place = offset + HEAD.size
        return cls(offset, HEAD.size + length, log_time, create_time, size, name, media_type, place + fields.at)


class AttachmentIndexRecord(NamedTuple):
    """What the summary says of an attachment: the first seven of AttachmentFacts."""

    offset: int
    length: int
    log_time: int
    create_time: int
    data_size: int
    name: str
    media_type: str

    @classmethod
    def read(cls, body: bytes | memoryview) -> AttachmentIndexRecord:
        """MalformedError."""
        fields = Fields(body)
        numbers = fields.u64(), fields.u64(), fields.u64(), fields.u64(), fields.u64()
        record = cls(*numbers, fields.text(), fields.text())
        fields.end()
        return record


class MetadataIndexRecord(NamedTuple):
    """What the summary says of a metadata record."""

    offset: int
    length: int
    name: str

    @classmethod
    def read(cls, body: bytes | memoryview) -> MetadataIndexRecord:
        """MalformedError."""
        fields = Fields(body)
        record = cls(fields.u64(), fields.u64(), fields.text())
        fields.end()
        return record


class StatisticsRecord(NamedTuple):
    """What the summary counts."""

    message_count: int
    schema_count: int
    channel_count: int
    attachment_count: int
    metadata_count: int
    chunk_count: int
    start: int
    end: int
    channel_message_counts: dict[int, int]

    @classmethod
    def read(cls, body: bytes | memoryview) -> StatisticsRecord:
        """MalformedError."""
        fields = Fields(body)
        counts = fields.u64(), fields.u16(), fields.u32(), fields.u32(), fields.u32(), fields.u32()
        record = cls(*counts, fields.u64(), fields.u64(), fields.numbers())
        fields.end()
        return record


def split(data: bytes | memoryview, base: int = 0) -> Iterator[tuple[int, int, memoryview]]:
    """Records end to end as (opcode, offset from `base` on, body). MalformedError: the last one is not whole."""
    view = memoryview(data)
    at, end = 0, len(view)
    while at < end:
        if end - at < HEAD.size:
            raise MalformedError(f"{end - at} bytes at its end are no record")
        opcode, length = HEAD.unpack_from(view, at)
        body = at + HEAD.size
        if length > end - body:
            raise MalformedError(f"the record at byte {base + at} goes past the end")
        yield opcode, base + at, view[body : body + length]
        at = body + length
