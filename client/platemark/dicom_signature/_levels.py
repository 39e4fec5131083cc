"""Where a DICOM object has room for signatures, and has them: the data set itself and every item of a sequence.

A signature signs elements of the level that it stands in (PS3.3 C.12.1.1.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platemark.capture._elements import (
    ITEM,
    ITEM_END,
    MAX_DEPTH,
    SEQUENCE_END,
    UNDEFINED,
    Walker,
    name_of,
)
from platemark.capture._faults import MalformedError
from platemark.capture._mac_stream import BIG, IMPLICIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["MAC_PARAMETERS", "SIGNATURES", "Level", "Sequence", "find_levels"]

MAC_PARAMETERS, SIGNATURES = 0x4FFE0001, 0xFFFAFFFA
_ORIGINAL_ATTRIBUTES = 0x04000561
_PIXEL_REPRESENTATION = 0x00280103
Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Offsets of one sequence element: its first byte, its value, the end of the items, the end of all of it.

    `length` is UNDEFINED or what its length field says; `items` are start and end of each item's data set, which is encoded
    in `transfer_syntax`: implicit little endian where the sequence has the VR UN.
    """

    begin: int
    value: int
    items_end: int
    end: int
    length: int
    items: tuple[tuple[int, int], ...]
    transfer_syntax: str


@dataclass(slots=True)
class Level:
    """One data set: `path` leads to it by (tag of a sequence, number of its item), and is empty for the object itself.

    `tags` are its elements in order and `begins` their offsets; `transfer_syntax` is what its elements are encoded in,
    which differs from the file's within UN. `signed_pixels` is whether Pixel Representation around it is 1. `original`
    is within Original Attributes, where signatures are those of an earlier state.
    """

    path: Path
    start: int
    transfer_syntax: str
    signed_pixels: bool
    end: int = 0
    tags: list[int] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    sequences: dict[int, Sequence] = field(default_factory=dict)

    @property
    def original(self) -> bool:
        return any(tag == _ORIGINAL_ATTRIBUTES for tag, _ in self.path)

    @property
    def place(self) -> str:
        """The path for a person: (0008,1140)[0]; nothing for the object itself."""
        return ">".join(f"{name_of(tag)}[{number}]" for tag, number in self.path)


def find_levels(
    file: BinaryIO, start: int, end: int, *, transfer_syntax: str, vr_of: Callable[[int], bytes] | None
) -> tuple[Level, list[Level]]:
    """The object's own level, and those below it that have a sequence of signatures. Raises MalformedError."""
    finder = _Finder(file, start, end, transfer_syntax, vr_of)
    return finder.level(), finder.below


class _Finder(Walker):
    def __init__(
        self, file: BinaryIO, start: int, end: int, transfer_syntax: str, vr_of: Callable[[int], bytes] | None
    ) -> None:
        explicit, little = transfer_syntax != IMPLICIT, transfer_syntax != BIG
        super().__init__(file, start, end, explicit=explicit, little=little, wanted=frozenset())
        self._syntax, self._vr_of = transfer_syntax, vr_of or (lambda _: b"")
        self.below: list[Level] = []

    def level(self) -> Level:
        """Walk the whole data set."""
        return self._level((), self._end, signed=False, delimited=False)

    def _level(self, path: Path, end: int, *, signed: bool, delimited: bool) -> Level:
        level = Level(path, self._position, self._syntax, signed)
        seen: set[int] = set()
        while self._position < end:
            begin = self._position
            tag = self._tag(end)
            if tag == ITEM_END and delimited:
                self._length_zero(end)
                level.end = begin
                return level
            if tag >> 16 == 0xFFFE:
                raise MalformedError(f"{name_of(tag)} at byte {begin} stands outside a sequence")
            if tag in seen:
                raise MalformedError(f"{name_of(tag)} appears twice in one data set")
            seen.add(tag)
            level.tags.append(tag)
            level.begins.append(begin)
            signed = self._step(level, tag, begin, end, signed=signed)
        if delimited:
            raise MalformedError("truncated within an item of a sequence")
        level.end = end
        return level

    def _step(self, level: Level, tag: int, begin: int, end: int, *, signed: bool) -> bool:
        """Step over one element; whether Pixel Representation is 1 for what follows."""
        vr, length = self._head(tag, end)
        value = self._position
        if length == UNDEFINED and vr not in (b"SQ", b"UN", b""):
            self._fragments(end)
            return signed
        if length != UNDEFINED:
            self._fits(tag, length, end)
            end = value + length
        if length == UNDEFINED or vr == b"SQ" or (not vr and self._is_sequence(tag)):
            sequence = self._items(level, tag, begin, end, length, unknown=vr == b"UN", signed=signed)
            if tag in (MAC_PARAMETERS, SIGNATURES):
                level.sequences[tag] = sequence
        elif tag == _PIXEL_REPRESENTATION and length == 2:
            signed = self._u16(end) == 1
        else:
            self._seek(end)
        return signed

    def _items(
        self, level: Level, tag: int, begin: int, end: int, length: int, *, unknown: bool, signed: bool
    ) -> Sequence:
        if len(level.path) >= MAX_DEPTH:
            raise MalformedError(f"sequences are nested more than {MAX_DEPTH} deep at {name_of(tag)}")
        encoding = self._explicit, self._order, self._syntax
        if unknown:
            self._explicit, self._order, self._syntax = False, "<", IMPLICIT
        value, delimited = self._position, length == UNDEFINED
        items: list[tuple[int, int]] = []
        syntax = self._syntax
        items_end = end
        while self._position < end:
            items_end = self._position
            marker = self._tag(end)
            if marker == SEQUENCE_END and delimited:
                self._length_zero(end)
                break
            if marker != ITEM:
                raise MalformedError(f"{name_of(marker)} where an item of {name_of(tag)} was expected")
            items.append(self._item(level, tag, len(items), end, signed=signed))
            items_end = self._position
        else:
            if delimited:
                raise MalformedError(f"truncated within the sequence {name_of(tag)}")
        self._explicit, self._order, self._syntax = encoding
        return Sequence(begin, value, items_end, self._position, length, tuple(items), syntax)

    def _item(self, level: Level, tag: int, number: int, end: int, *, signed: bool) -> tuple[int, int]:
        length = self._u32(end)
        if length != UNDEFINED:
            self._fits(tag, length, end)
            end = self._position + length
        inner = self._level((*level.path, (tag, number)), end, signed=signed, delimited=length == UNDEFINED)
        if SIGNATURES in inner.sequences:
            self.below.append(inner)
        return inner.start, inner.end

    def _is_sequence(self, tag: int) -> bool:
        return tag in (MAC_PARAMETERS, SIGNATURES) or self._vr_of(tag) == b"SQ"

    def _u16(self, end: int) -> int:
        return int.from_bytes(self._read(2, end), "little" if self._order == "<" else "big")
