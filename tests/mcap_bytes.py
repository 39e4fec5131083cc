"""MCAP files record by record, so that a test can write what no writer writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lz4.frame
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Chunk, ChunkIndex, DataEnd, Footer, Header, Message, MessageIndex, Schema, Statistics

__all__ = ["CAMERA", "MAGIC", "RAW", "SCHEMA", "Draft", "message", "packed", "record", "written"]

MAGIC = b"\x89MCAP0\r\n"
SCHEMA = Schema(id=1, name="lab_msgs/msg/Reading", encoding="ros2msg", data=b"uint8[] data\n")
CAMERA = Channel(id=1, topic="/camera", message_encoding="cdr", metadata={"k": "v"}, schema_id=1)
RAW = Channel(id=2, topic="/raw", message_encoding="image/jpeg", metadata={}, schema_id=0)
_PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, "lz4": lz4.frame.compress, "zstd": zstandard.compress}


def written(value: Any) -> bytes:
    """A record of mcap's classes as bytes."""
    builder = RecordBuilder()
    value.write(builder)
    return bytes(builder.end())  # type: ignore[no-untyped-call]


def record(opcode: int, body: bytes, *, length: int | None = None) -> bytes:
    """Any record; `length` other than that of the body is a lie."""
    return bytes([opcode]) + (len(body) if length is None else length).to_bytes(8, "little") + body


def message(time: int, data: bytes | None = None, *, channel: int = 1) -> Message:
    """A message, published 5 ns before it was logged."""
    content = b"data of %d" % time if data is None else data
    return Message(channel_id=channel, log_time=time, data=content, publish_time=max(0, time - 5), sequence=0)


def packed(compression: str, data: bytes) -> bytes:
    """As a chunk stores it."""
    return _PACK[compression](data)


class Draft:
    """A file that grows; everything that the summary should say is kept in `indexes` and `counts` until `finish`."""

    def __init__(self) -> None:
        self.content = bytearray(MAGIC + written(Header("ros2", "draft")))
        self.indexes: list[ChunkIndex] = []
        self.counts: dict[int, int] = {}
        self.times: list[int] = []

    @property
    def at(self) -> int:
        """Where the next record goes."""
        return len(self.content)

    def add(self, *values: Any) -> int:
        """Append records, bytes or of mcap's classes; the offset of the first."""
        offset = self.at
        for value in values:
            if isinstance(value, Message):
                self._count(value)
            self.content += value if isinstance(value, bytes) else written(value)
        return offset

    def _count(self, value: Message) -> None:
        self.counts[value.channel_id] = self.counts.get(value.channel_id, 0) + 1
        self.times.append(value.log_time)

    def chunk(
        self, values: Sequence[Any], *, compression: str = "", indexed: bool = True,
        index: Callable[[list[MessageIndex]], Iterable[MessageIndex]] = list, data: bytes | None = None,
        **changes: Any,
    ) -> ChunkIndex:  # fmt: skip
        """A chunk with its message indexes; `index` changes those, `data` and `changes` what the chunk record says."""
        inner, entries, times = bytearray(), dict[int, MessageIndex](), []
        for value in values:
            if isinstance(value, Message):
                self._count(value)
                times.append(value.log_time)
                entry = entries.setdefault(value.channel_id, MessageIndex(value.channel_id, []))
                entry.records.append((value.log_time, len(inner)))
            inner += value if isinstance(value, bytes) else written(value)
        facts = {"message_start_time": min(times, default=0), "message_end_time": max(times, default=0)}
        facts |= {"uncompressed_size": len(inner), "uncompressed_crc": 0, **changes}
        stored = packed(compression, bytes(inner)) if data is None else data
        record_of_chunk = written(Chunk(compression=compression, data=stored, **facts))
        offset = self.add(record_of_chunk)
        start, offsets = self.at, {}
        for entry in index(list(entries.values())) if indexed else ():
            offsets[entry.channel_id] = self.add(entry)
        del facts["uncompressed_crc"]
        made = ChunkIndex(
            chunk_length=len(record_of_chunk), chunk_start_offset=offset, compression=compression,
            compressed_size=len(stored), message_index_length=self.at - start, message_index_offsets=offsets, **facts,
        )  # fmt: skip
        self.indexes.append(made)
        return made

    def statistics(self, **changes: Any) -> Statistics:
        """Right ones, but for `changes`."""
        facts: dict[str, Any] = {
            "attachment_count": 0, "channel_count": 2, "channel_message_counts": dict(self.counts),
            "chunk_count": len(self.indexes), "message_count": sum(self.counts.values()), "metadata_count": 0,
            "message_end_time": max(self.times, default=0), "message_start_time": min(self.times, default=0),
            "schema_count": 1,
        }  # fmt: skip
        return Statistics(**facts | changes)

    def finish(self, summary: Sequence[Any] | None = None, *, start: int | None = None, after: bytes = b"") -> bytes:
        """DataEnd, this summary (by default a right one), a footer that points to it or to `start`, and `after`."""
        self.add(DataEnd(0))
        begin = self.at
        records = (SCHEMA, CAMERA, RAW, *self.indexes, self.statistics()) if summary is None else summary
        self.add(*records)
        self.add(Footer((begin if records else 0) if start is None else start, 0, 0))
        return bytes(self.content + MAGIC + after)
