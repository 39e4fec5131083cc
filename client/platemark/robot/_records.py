"""The file of one recording's journal: records one after another, each whole and on disk before the next is begun.

A head of 36 bytes (`PMSEGJ1` and a line feed, 16 bytes recording, u64 created in Unix ns, CRC-32), then records: `PMrc`, u8
kind, u32 length, CRC-32 over kind, length and body; body. All integers big-endian. Because every record is synced before the
next one is written, only the last can be torn by a crash: one that is followed by a whole one has been damaged since, which is
an error. CRC-32 finds damage, no more; what a message was is proven by the signed statement.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platemark import files
from platemark.errors import RecordingError

__all__ = ["HEAD_SIZE", "MAX_BODY", "Record", "RecordFile", "create", "read_at", "read_head", "records"]

MAX_BODY = 1 << 30
_FORMAT = b"PMSEGJ1\n"
_HEAD = struct.Struct(">8s16sQI")
HEAD_SIZE = _HEAD.size
_MARK = b"PMrc"
_FRAME = struct.Struct(">4sBII")
_KIND_AND_LENGTH = struct.Struct(">BI")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record: its body is `length` bytes from `at`."""

    kind: int
    at: int
    length: int

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.at + self.length


def create(path: Path, recording: bytes, created_ns: int) -> None:
    """A new file with its head, whole or not there, on disk when this returns. Raises RecordingError: it exists, the disk."""
    head = _HEAD.pack(_FORMAT, recording, created_ns, 0)[:-4]
    try:
        files.create(path, head + zlib.crc32(head).to_bytes(4, "big"), mode=0o600)
    except files.FileError as error:
        raise RecordingError(path, error.reason.removeprefix(f"{path}: ")) from None


def read_head(path: Path, descriptor: int) -> tuple[bytes, int]:
    """Recording and time of creation. Raises RecordingError, OSError."""
    data = read_at(descriptor, 0, HEAD_SIZE)
    if len(data) < HEAD_SIZE or data[:8] != _FORMAT:
        raise RecordingError(path, "is not the journal of a recording")
    _, recording, created_ns, crc = _HEAD.unpack(data)
    if zlib.crc32(data[:-4]) != crc:
        raise RecordingError(path, "damaged in its head")
    return recording, created_ns


def read_at(descriptor: int, at: int, length: int) -> bytes:
    """Up to `length` bytes from `at`; fewer only at the end of the file. Raises OSError."""
    os.lseek(descriptor, at, os.SEEK_SET)
    pieces = []
    while length and (piece := os.read(descriptor, length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def records(path: Path, descriptor: int) -> Iterator[Record]:
    """The whole records of the file, each read once in pieces of 1 MiB; ends before a torn one.

    Raises RecordingError: damage that is followed by a whole record, so that no crash has made it. OSError.
    """
    at = HEAD_SIZE
    while True:
        found = _record(descriptor, at)
        if found is None:
            later = _next(descriptor, at + 1)
            if later is not None:
                raise RecordingError(path, f"damaged between byte {at} and byte {later}; what follows is whole")
            return
        yield found
        at = found.end


class RecordFile:
    """The file of a recording that goes on, for one writer. What a crash has torn at its end is cut off when it is opened.

    `torn` is how many bytes that were, `records` what is in it. Raises RecordingError, as `append` does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise _sentence(path, error) from None
        try:
            self.recording, self.created_ns = read_head(path, self._descriptor)
            self.records = list(records(path, self._descriptor))
            self._end = self.records[-1].end if self.records else HEAD_SIZE
            self.torn = os.fstat(self._descriptor).st_size - self._end
            self._cut = self.torn > 0
            self._repair()
        except OSError as error:
            os.close(self._descriptor)
            raise _sentence(path, error) from None
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, kind: int, *parts: bytes) -> Record:
        """Write a record whose body is these parts; it is on disk when this returns. When it raises nothing was appended."""
        length = sum(map(len, parts))
        if length > MAX_BODY:
            raise RecordingError(self.path, f"a record of {length} bytes, and {MAX_BODY} is the most")
        crc = zlib.crc32(_KIND_AND_LENGTH.pack(kind, length))
        for part in parts:
            crc = zlib.crc32(part, crc)
        try:
            self._repair()
            self._cut = True
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            for part in (_FRAME.pack(_MARK, kind, length, crc), *parts):
                _write(self._descriptor, part)
            # Crash before this returns: a torn record at the end, which is cut off, or a whole one, which counts. Its writer
            # was told of neither.
            os.fsync(self._descriptor)
        except OSError as error:
            raise _sentence(self.path, error) from None
        record = Record(kind, self._end + _FRAME.size, length)
        self._end = record.end
        self._cut = False
        return record

    def read(self, at: int, length: int) -> bytes:
        """Some bytes of the file. Raises RecordingError."""
        try:
            data = read_at(self._descriptor, at, length)
        except OSError as error:
            raise _sentence(self.path, error) from None
        if len(data) < length:
            raise RecordingError(self.path, "was cut while it was read")
        return data

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _repair(self) -> None:
        """Cut off what an append that failed, or a crash, may have left behind the last whole record."""
        if self._cut:
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
            self._cut = False


def _record(descriptor: int, at: int) -> Record | None:
    """The whole record at a place, None if there is none."""
    frame = read_at(descriptor, at, _FRAME.size)
    if len(frame) < _FRAME.size:
        return None
    mark, kind, length, expected = _FRAME.unpack(frame)
    if mark != _MARK or length > MAX_BODY:
        return None
    crc, place, rest = zlib.crc32(_KIND_AND_LENGTH.pack(kind, length)), at + _FRAME.size, length
    while rest:
        piece = read_at(descriptor, place, min(rest, _PIECE))
        if not piece:
            return None
        crc, place, rest = zlib.crc32(piece, crc), place + len(piece), rest - len(piece)
    return Record(kind, at + _FRAME.size, length) if crc == expected else None


def _next(descriptor: int, at: int) -> int | None:
    """Where the first whole record from `at` on begins, None if there is none."""
    while piece := read_at(descriptor, at, _PIECE):
        found = piece.find(_MARK)
        while found >= 0:
            if _record(descriptor, at + found) is not None:
                return at + found
            found = piece.find(_MARK, found + 1)
        if len(piece) < len(_MARK):
            return None
        at += len(piece) - len(_MARK) + 1
    return None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sentence(path: Path, error: OSError) -> RecordingError:
    return RecordingError(path, error.strerror or str(error))
