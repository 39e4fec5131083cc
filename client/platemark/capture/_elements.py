"""A strict walk over the data elements of a DICOM data set (PS3.5 chapter 7), with the standard library alone.

It finds where the wanted elements are and copies nothing else. It is stricter than most viewers on purpose: a tag that
appears twice is refused, because two readers would pick different values and only one of them was registered.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = [
    "ITEM",
    "ITEM_END",
    "LONG",
    "MAX_DEPTH",
    "PIXEL_DATA",
    "PIXEL_TAGS",
    "SEQUENCE_END",
    "SHORT",
    "UNDEFINED",
    "DataSet",
    "Element",
    "Walker",
    "name_of",
]

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
PIXEL_TAGS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
MAX_DEPTH = 32
_MAX_ELEMENTS = 4_000_000
_MAX_VALUE = 1 << 16


@dataclass(frozen=True, slots=True)
class Element:
    """One data element: where its value is, or the items of a wanted sequence, or the fragments of pixel data."""

    tag: int
    vr: bytes
    offset: int
    length: int
    items: tuple[DataSet, ...] = ()
    fragments: tuple[tuple[int, int], ...] | None = field(default=None, repr=False)


DataSet = dict[int, Element]
"""The wanted elements of one data set, by tag."""


def name_of(tag: int) -> str:
    """(gggg,eeee)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Walker:
    """Walks one data set from `start` to `end` (exclusive) of `file`.

    Only elements whose tag is in `wanted` are kept; other sequences are skipped or stepped through. Every length is
    checked against the bytes that are there before it is used. Raises MalformedError. After `walk`, `fragmented` says
    whether any pixel data, of an icon too, is encapsulated.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, *, explicit: bool, little: bool, wanted: frozenset[int]
    ) -> None:
        self._file, self._position, self._end = file, start, end
        self._wanted = wanted
        self._explicit = explicit
        self._order = "<" if little else ">"
        self._budget = _MAX_ELEMENTS
        self.fragmented = False
        file.seek(start)

    def walk(self) -> DataSet:
        """The wanted elements of the whole data set."""
        return self._data_set(self._end, 0, delimited=False, keep=True)

    def value(self, element: Element, *, limit: int = _MAX_VALUE) -> bytes:
        """The stored value of an element, at most `limit` bytes."""
        if element.length > limit:
            raise MalformedError(f"{name_of(element.tag)} is {element.length} bytes long, above the limit of {limit}")
        self._file.seek(element.offset)
        data = self._file.read(element.length)
        if len(data) != element.length:
            raise MalformedError(f"truncated within {name_of(element.tag)}")
        return data

    def integer(self, element: Element) -> int:
        """The value of an element of VR US with one value."""
        if element.length != 2:
            raise MalformedError(f"{name_of(element.tag)} is not one 16-bit integer")
        return int(struct.unpack(self._order + "H", self.value(element))[0])

    def _data_set(self, end: int, depth: int, *, delimited: bool, keep: bool) -> DataSet:
        """Elements up to `end`, or up to the item delimiter when `delimited`."""
        found: DataSet = {}
        seen: set[int] = set()
        while self._position < end:
            tag = self._tag(end)
            if tag == ITEM_END and delimited:
                self._length_zero(end)
                return found
            if tag >> 16 == 0xFFFE:
                raise MalformedError(f"{name_of(tag)} at byte {self._position - 4} stands outside a sequence")
            if tag in seen:
                raise MalformedError(f"{name_of(tag)} appears twice in one data set")
            seen.add(tag)
            element = self._element(tag, end, depth, keep=keep and tag in self._wanted)
            if element is not None:
                found[tag] = element
        if delimited:
            raise MalformedError("truncated within an item of a sequence")
        return found

    def _element(self, tag: int, end: int, depth: int, *, keep: bool) -> Element | None:
        vr, length = self._head(tag, end)
        offset = self._position
        if tag == PIXEL_DATA and depth == 0 and length == UNDEFINED:
            return Element(tag, vr, offset, length, fragments=self._fragments(end))
        if length == UNDEFINED:
            if vr not in (b"SQ", b"UN", b""):
                # Encapsulated data below the top level, such as that of an icon (PS3.3 F.7).
                self._fragments(end)
                return Element(tag, vr, offset, length, fragments=()) if keep else None
            items = self._sequence(tag, end, depth, vr, delimited=True, keep=keep)
            return Element(tag, vr, offset, length, items) if keep else None
        if length > end - offset:
            raise MalformedError(
                f"truncated: {name_of(tag)} at byte {offset} needs {length} bytes and {end - offset} remain"
            )
        items = ()
        if keep and (vr == b"SQ" or tag in _SEQUENCES) and length:
            items = self._sequence(tag, offset + length, depth, vr, delimited=False, keep=True)
        self._seek(offset + length)
        return Element(tag, vr, offset, length, items) if keep else None

    def _sequence(
        self, tag: int, end: int, depth: int, vr: bytes, *, delimited: bool, keep: bool
    ) -> tuple[DataSet, ...]:
        """The items of a sequence (PS3.5 7.5); inside UN they are implicit VR little endian (PS3.5 6.2.2 note 2)."""
        if depth >= MAX_DEPTH:
            raise MalformedError(f"sequences are nested more than {MAX_DEPTH} deep at {name_of(tag)}")
        encoding = self._explicit, self._order
        if vr == b"UN":
            self._explicit, self._order = False, "<"
        items: list[DataSet] = []
        while self._position < end:
            marker = self._tag(end)
            if marker == SEQUENCE_END and delimited:
                self._length_zero(end)
                break
            if marker != ITEM:
                raise MalformedError(f"{name_of(marker)} where an item of {name_of(tag)} was expected")
            length = self._u32(end)
            if length == UNDEFINED:
                item = self._data_set(end, depth + 1, delimited=True, keep=keep)
            else:
                self._fits(tag, length, end)
                item = self._data_set(self._position + length, depth + 1, delimited=False, keep=keep)
            if keep:
                items.append(item)
        else:
            if delimited:
                raise MalformedError(f"truncated within the sequence {name_of(tag)}")
        self._explicit, self._order = encoding
        return tuple(items)

    def _fragments(self, end: int) -> tuple[tuple[int, int], ...]:
        """Offset and length of every item of encapsulated pixel data, the offset table first (PS3.5 A.4)."""
        self.fragmented = True
        fragments: list[tuple[int, int]] = []
        while True:
            if self._position >= end:
                raise MalformedError("truncated within the encapsulated pixel data")
            marker = self._tag(end)
            if marker == SEQUENCE_END:
                self._length_zero(end)
                break
            if marker != ITEM:
                raise MalformedError(f"{name_of(marker)} where a fragment of pixel data was expected")
            length = self._u32(end)
            self._fits(PIXEL_DATA, length, end)
            fragments.append((self._position, length))
            self._seek(self._position + length)
        if not fragments:
            raise MalformedError("the encapsulated pixel data has no offset table item")
        return tuple(fragments)

    def _head(self, tag: int, end: int) -> tuple[bytes, int]:
        if not self._explicit:
            return b"", self._u32(end)
        vr = self._read(2, end)
        if vr in SHORT:
            return vr, int(struct.unpack(self._order + "H", self._read(2, end))[0])
        if vr in LONG:
            self._read(2, end)
            return vr, self._u32(end)
        raise MalformedError(f"{name_of(tag)} at byte {self._position - 6} has no known value representation")

    def _fits(self, tag: int, length: int, end: int) -> None:
        if length > end - self._position:
            raise MalformedError(
                f"truncated: an item of {name_of(tag)} needs {length} bytes and {end - self._position} remain"
            )

    def _length_zero(self, end: int) -> None:
        if self._u32(end) != 0:
            raise MalformedError(f"the delimiter at byte {self._position - 8} has a length")

    def _tag(self, end: int) -> int:
        self._budget -= 1
        if self._budget < 0:
            raise MalformedError(f"more than {_MAX_ELEMENTS} data elements")
        group, element = struct.unpack(self._order + "HH", self._read(4, end))
        return int(group) << 16 | int(element)

    def _u32(self, end: int) -> int:
        return int(struct.unpack(self._order + "I", self._read(4, end))[0])

    def _read(self, count: int, end: int) -> bytes:
        if count > end - self._position:
            raise MalformedError(f"truncated at byte {end}")
        data = self._file.read(count)
        if len(data) != count:
            raise MalformedError(f"truncated at byte {self._position + len(data)}")
        self._position += count
        return data

    def _seek(self, position: int) -> None:
        self._file.seek(position)
        self._position = position


_SEQUENCES = frozenset(
    {0x00081072, 0x00401101, 0x52009229, 0x52009230, 0x00209116, 0x00209071, 0x00209450, 0x00082112, 0x00089124}
    | {0x04000401, 0x4FFE0001, 0xFFFAFFFA}
)
"""Wanted sequences, recognised by tag where the encoding is implicit or the VR was lost to UN."""
