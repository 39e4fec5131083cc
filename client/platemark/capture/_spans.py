"""A byte string put together from pieces of a file and from bytes in memory, read in chunks."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._source import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["Spans"]

_LITERAL = 0
"""The unit of a span whose offset counts within the bytes in memory."""
_WORDS = {2: "H", 4: "I", 8: "Q"}


class Spans:
    """Appended piece by piece; iterate over it for the bytes, in chunks of at most 1 MiB.

    The file must stay open and unchanged while the bytes are read; they may be read more than once. Iterating raises
    MalformedError when the file ends before a span does. A span costs 17 bytes of memory, and adjacent ones are one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._literals = bytearray()
        self._units, self._offsets, self._lengths = array.array("B"), array.array("Q"), array.array("Q")

    @property
    def length(self) -> int:
        """The number of bytes."""
        return sum(self._lengths)

    @property
    def literals(self) -> bytes:
        """Those of the bytes that are not in the file."""
        return bytes(self._literals)

    def __iter__(self) -> Iterator[bytes]:
        pending = bytearray()
        for unit, offset, length in zip(self._units, self._offsets, self._lengths, strict=True):
            for start in range(offset, offset + length, CHUNK):
                count = min(CHUNK, offset + length - start)
                if len(pending) + count > CHUNK:
                    yield bytes(pending)
                    pending.clear()
                data = self._read(unit, start, count)
                if count == CHUNK:  # most of an image is such chunks, which are not copied
                    yield bytes(data)
                else:
                    pending += data
        if pending:
            yield bytes(pending)

    def literal(self, data: bytes) -> None:
        """Append bytes that are not in the file."""
        self._append(_LITERAL, len(self._literals), len(data))
        self._literals += data

    def span(self, offset: int, length: int, word: int = 1) -> None:
        """Append bytes of the file; the byte order of each word of `word` bytes is reversed when that is 2, 4 or 8."""
        self._append(word, offset, length)

    def mark(self) -> tuple[int, int, int]:
        """Where the byte string ends now, for `cut`."""
        return len(self._units), self._lengths[-1] if self._lengths else 0, len(self._literals)

    def cut(self, mark: tuple[int, int, int]) -> None:
        """Forget everything that was appended after `mark`."""
        spans, last, literals = mark
        del self._units[spans:], self._offsets[spans:], self._lengths[spans:], self._literals[literals:]
        if spans:
            self._lengths[-1] = last

    def _append(self, unit: int, offset: int, length: int) -> None:
        if not length:
            return
        if self._units and self._units[-1] == unit and self._offsets[-1] + self._lengths[-1] == offset:
            self._lengths[-1] += length
            return
        self._units.append(unit)
        self._offsets.append(offset)
        self._lengths.append(length)

    def _read(self, unit: int, offset: int, count: int) -> bytes | bytearray:
        if unit == _LITERAL:
            return self._literals[offset : offset + count]
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            raise MalformedError(f"truncated at byte {offset + len(data)}")
        if unit == 1:
            return data
        words = array.array(_WORDS[unit], data)
        words.byteswap()
        return words.tobytes()
