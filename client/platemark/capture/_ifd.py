"""Image file directories of TIFF 6.0, BigTIFF and Exif, read with the standard library alone.

Every offset, count and type is checked against the bytes that are there; a directory that is reached twice ends the
reading. The source is a file or, for Exif in JPEG and PNG, the bytes of one segment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Directory", "Entry", "TiffReader"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_RATIONAL, _SIGNED_RATIONAL, _ASCII, _UNDEFINED = 5, 10, 2, 7
_MAX_ENTRIES = 4096
_MAX_PAGES = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a directory: its type, how many values, and where they are."""

    tag: int
    type: int
    count: int
    offset: int


Directory = dict[int, Entry]


class TiffReader:
    """The directories of a TIFF structure that begins at byte 0 of `file` and is `size` bytes long.

    Raises MalformedError.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        head = self._at(0, 8)
        if head[:2] not in (b"II", b"MM"):
            raise MalformedError("the TIFF header has no byte order")
        self.order = "<" if head[:2] == b"II" else ">"
        (version,) = struct.unpack_from(self.order + "H", head, 2)
        self._big = version == 43
        if version not in (42, 43):
            raise MalformedError(f"the TIFF version is {version}, not 42 or 43")
        if self._big:
            (width, zero) = struct.unpack_from(self.order + "HH", head, 4)
            if (width, zero) != (8, 0):
                raise MalformedError("the BigTIFF header is not of 8-byte offsets")
            self._first = self._number("Q", 8)
        else:
            self._first = self._number("I", 4)

    def chain(self) -> list[Directory]:
        """The directories of the main chain, in order."""
        directories: list[Directory] = []
        seen: set[int] = set()
        offset = self._first
        while offset:
            if offset in seen:
                raise MalformedError("the chain of TIFF directories runs in a circle")
            if len(seen) >= _MAX_PAGES:
                raise MalformedError(f"more than {_MAX_PAGES} TIFF directories")
            seen.add(offset)
            directory, offset = self._directory(offset)
            directories.append(directory)
        if not directories:
            raise MalformedError("the TIFF file has no directory")
        return directories

    def first(self) -> Directory:
        """The first directory alone."""
        return self._directory(self._first)[0]

    def sub(self, directory: Directory, tag: int) -> Directory:
        """The directory that an entry of one LONG points at; empty when there is none."""
        entry = directory.get(tag)
        return self._directory(self.integers(entry)[0])[0] if entry and entry.count == 1 else {}

    def _directory(self, offset: int) -> tuple[Directory, int]:
        wide = self._big
        count = self._number("Q" if wide else "H", offset)
        if count > _MAX_ENTRIES:
            raise MalformedError(f"a TIFF directory has {count} entries, above the limit of {_MAX_ENTRIES}")
        start, step = offset + (8 if wide else 2), 20 if wide else 12
        data = self._at(start, count * step)
        directory: Directory = {}
        for index in range(count):
            tag, kind, number = struct.unpack_from(self.order + ("HHQ" if wide else "HHI"), data, index * step)
            room, at = (8, start + index * step + 12) if wide else (4, start + index * step + 8)
            if _SIZES.get(kind, 1) * number > room:
                at = self._number("Q" if wide else "I", at)
            if tag in directory:
                raise MalformedError(f"TIFF tag {tag} appears twice in one directory")
            directory[tag] = Entry(tag, kind, number, at)
        return directory, self._number("Q" if wide else "I", start + count * step)

    def integers(self, entry: Entry, *, limit: int = 1 << 22) -> list[int]:
        """The values of an integer entry; MalformedError for another type or more than `limit` values."""
        letter = _LETTERS.get(entry.type)
        if letter is None or entry.count > limit or not entry.count:
            raise MalformedError(f"TIFF tag {entry.tag} is not a list of 1 to {limit} integers")
        data = self._at(entry.offset, entry.count * _SIZES[entry.type])
        return list(struct.unpack(f"{self.order}{entry.count}{letter}", data))

    def rationals(self, entry: Entry | None, count: int) -> list[Fraction] | None:
        """Exactly `count` rationals, None when the entry is absent, another type or has a zero denominator."""
        if entry is None or entry.type not in (_RATIONAL, _SIGNED_RATIONAL) or entry.count != count:
            return None
        letter = "I" if entry.type == _RATIONAL else "i"
        numbers = struct.unpack(f"{self.order}{2 * count}{letter}", self._at(entry.offset, 8 * count))
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        return [Fraction(a, b) for a, b in pairs] if all(b for _, b in pairs) else None

    def text(self, entry: Entry | None, *, limit: int = 1 << 12) -> bytes:
        """The bytes of an ASCII entry up to the first NUL; empty when it is absent, of another type or too long."""
        if entry is None or entry.type not in (_ASCII, _UNDEFINED, 1) or entry.count > limit:
            return b""
        return self._at(entry.offset, entry.count).split(b"\0")[0]

    def _number(self, letter: str, offset: int) -> int:
        size = struct.calcsize(self.order + letter)
        return int(struct.unpack(self.order + letter, self._at(offset, size))[0])

    def _at(self, offset: int, count: int) -> bytes:
        if offset > self._size or count > self._size - offset:
            raise MalformedError(f"truncated: {count} bytes are needed at byte {offset} of {self._size}")
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            raise MalformedError(f"truncated at byte {offset + len(data)}")
        return data
