"""Segments: runs of sensor messages under one signed root (rules R43 to R49 of proto/statement.md).

A message is a leaf; a segment is a tree over the messages of one recording and topic, in the order of observation; one
statement signs its root. So one signature covers thousands of frames, and any single frame is provable. No input or output;
standard library only, because the offline verifier needs it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from platemark import cbor
from platemark.errors import FormatError, SegmentError
from platemark.merkle import GrowingTree
from platemark.rungs import SHA256
from platemark.schema import MAX_INTEGER, text

if TYPE_CHECKING:
    from platemark.cbor import Value

__all__ = ["MAX_COUNT", "ROW_SIZE", "Channel", "Row", "SegmentTree", "digest_of_root", "pack_rows", "unpack_rows"]

MAX_COUNT = (1 << 32) - 1
"""The most messages of one segment."""
_DOMAIN = b"PXM-ROOT\0"
_ROW = struct.Struct(">QQ32s")
ROW_SIZE = _ROW.size
"""Bytes of one packed row (rule R48)."""
_MAX_TEXT = 255
_SMALL = 1 << 32  # from here to 2^63 a time is one byte of head and eight of integer
_TAIL = struct.Struct(">BQBQ2s32s")


@dataclass(frozen=True, slots=True)
class Row:
    """One message: log and publish time (Unix ns) and SHA-256 of its data as published, 32 bytes."""

    log_time: int
    publish_time: int
    digest: bytes

    def pack(self) -> bytes:
        """48 bytes: u64 log time, u64 publish time, digest (R48)."""
        return _ROW.pack(self.log_time, self.publish_time, self.digest)


@dataclass(frozen=True)
class Channel:
    """What all messages of a segment have in common. `schema` is SHA-256 of the schema's data, of nothing where there is none.

    Raw frames without a schema have "" for `type_name` and `schema_encoding`; `encoding` then says what a frame is, such as
    "image/jpeg" or "rgb8 1920x1080". Raises SegmentError: a text that a statement cannot carry, a digest of another size.
    """

    topic: str
    type_name: str
    schema_encoding: str
    schema: bytes
    encoding: str

    def __post_init__(self) -> None:
        for name, least in (("topic", 1), ("type_name", 0), ("schema_encoding", 0), ("encoding", 0)):
            _check_text(name, getattr(self, name), least)
        if type(self.schema) is not bytes or len(self.schema) != hashlib.sha256().digest_size:
            raise SegmentError("schema", "not a SHA-256 of 32 bytes")

    @classmethod
    def of(
        cls, topic: str, *, type_name: str = "", schema_encoding: str = "", schema: bytes = b"", encoding: str = ""
    ) -> Channel:
        """The channel whose schema has these bytes. Raises SegmentError: text, or what no statement can carry."""
        try:
            digest = hashlib.sha256(schema).digest()
        except TypeError:
            raise SegmentError("schema", "not bytes; those that the recording has (of text: UTF-8)") from None
        return cls(topic, type_name, schema_encoding, digest, encoding)

    def value(self) -> list[Value]:
        """As CBOR has it: topic, type, schema encoding, schema digest, encoding."""
        return [self.topic, self.type_name, self.schema_encoding, self.schema, self.encoding]

    @cached_property
    def _prefix(self) -> bytes:
        """The leaf's hash input up to the times: 0x00, an array of eight, the five values of the channel."""
        return b"\x00\x88" + b"".join(map(cbor.encode, self.value()))

    def leaf_hashes(self, rows: bytes | bytearray | memoryview) -> list[bytes]:
        """The leaves of packed rows (R48) whose times are known to be right."""
        prefix, hashed, pack, leaf = self._prefix, hashlib.sha256, _TAIL.pack, self.leaf
        return [
            hashed(prefix + pack(0x1B, log_time, 0x1B, publish_time, b"\x58\x20", digest)).digest()
            if log_time >= _SMALL and publish_time >= _SMALL
            else leaf(log_time, publish_time, digest)
            for log_time, publish_time, digest in _ROW.iter_unpack(rows)
        ]

    def leaf_hash(self, row: Row) -> bytes:
        """The leaf of a message (R44)."""
        return self.leaf(row.log_time, row.publish_time, row.digest)

    def leaf(self, log_time: int, publish_time: int, digest: bytes) -> bytes:
        """As `leaf_hash`, for values that are known to be right: times 0..2^63 - 1, a digest of 32 bytes."""
        if log_time >= _SMALL and publish_time >= _SMALL:
            tail = _TAIL.pack(0x1B, log_time, 0x1B, publish_time, b"\x58\x20", digest)
        else:
            tail = cbor.encode(log_time) + cbor.encode(publish_time) + cbor.encode(digest)
        return hashlib.sha256(self._prefix + tail).digest()


class SegmentTree:
    """The digests of a segment whose messages come one by one, in memory logarithmic in their number.

    `count`, `first`, `last` (least and greatest log time, Unix ns) and `size` (bytes of data) are those of the statement.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.size = 0
        self.first = MAX_INTEGER
        self.last = 0
        self._tree = GrowingTree()

    @property
    def count(self) -> int:
        """Messages so far."""
        return self._tree.size

    def add(self, row: Row, size: int) -> None:
        """Append a message of `size` bytes."""
        self._tree.add(self.channel.leaf(row.log_time, row.publish_time, row.digest))
        self.first = min(self.first, row.log_time)
        self.last = max(self.last, row.log_time)
        self.size += size

    def extend(self, rows: bytes | bytearray | memoryview, *, first: int, last: int, size: int) -> None:
        """Append the messages of packed rows; their least and greatest log time and the bytes of their data are known."""
        self._tree.extend(self.channel.leaf_hashes(rows))
        self.first = min(self.first, first)
        self.last = max(self.last, last)
        self.size += size

    def digest(self) -> bytes:
        """The SHA-256 digest of the rung `messages` (R45). ValueError: no message."""
        if not self.count:
            message = "a segment has at least one message"
            raise ValueError(message)
        return digest_of_root(self.count, self._tree.root())

    def fields(self, *, recording: bytes, number: int, window_ns: int) -> dict[str, Value]:
        """The fields of the statement that the messages decide; `clock` and those of the chain are the signer's."""
        return {
            "recording": recording,
            "topic": self.channel.topic,
            "number": number,
            "window_ns": window_ns,
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "bytes": self.size,
            "digests": {"messages": {SHA256: self.digest()}},
        }


def digest_of_root(count: int, root: bytes) -> bytes:
    """The SHA-256 digest of the rung `messages` over a tree of `count` leaves with this root (R45)."""
    return hashlib.sha256(_DOMAIN + count.to_bytes(8, "big") + root).digest()


def pack_rows(rows: Iterable[Row]) -> bytes:
    """Rows end to end, 48 bytes each (R48)."""
    return b"".join(row.pack() for row in rows)


def unpack_rows(data: bytes) -> Iterator[Row]:
    """The rows in `data`. Raises SegmentError: not whole rows, a time above 2^63 - 1."""
    if len(data) % ROW_SIZE:
        raise SegmentError("messages", f"{len(data)} bytes are not rows of {ROW_SIZE}")
    for number, (log_time, publish_time, digest) in enumerate(_ROW.iter_unpack(data)):
        if log_time > MAX_INTEGER or publish_time > MAX_INTEGER:
            raise SegmentError(f"messages[{number}]", "a time above 2^63 - 1")
        yield Row(log_time, publish_time, digest)


def _check_text(name: str, value: str, least: int) -> None:
    try:
        if least or value != "":
            text(_MAX_TEXT)(value, name)
        cbor.encode(value)
    except FormatError as error:
        raise SegmentError(name, error.reason) from None
