"""The bytes that a MAC of PS3.15 covers (PS3.15 annex C, PS3.3 C.12.1.1.3.1.1; proto/dicom-signatures.md, MAC stream).

They are the signable elements of one data set in explicit VR little endian, or in the file's own transfer syntax when
that is encapsulated, without the lengths and the delimiters of sequences and items that a re-encoder may choose.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from platemark.capture._elements import (
    ITEM,
    ITEM_END,
    MAX_DEPTH,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    Walker,
    name_of,
)
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._file_meta import DEFLATED
from platemark.capture._implicit_vr import ImplicitVr, Scope
from platemark.capture._spans import Spans

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import BinaryIO

__all__ = ["BIG", "EXPLICIT", "IMPLICIT", "NATIVE", "MacStream", "mac_stream", "signable"]

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT, EXPLICIT, BIG, DEFLATED})
_WORDS = {
    **dict.fromkeys((b"AT", b"OW", b"SS", b"US"), 2),
    **dict.fromkeys((b"FL", b"OF", b"OL", b"SL", b"UL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
"""Bytes of the words that a value of each value representation consists of (PS3.5 7.3)."""
_TEXT = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_TAIL = 64


class MacStream(Spans):
    """The MAC byte stream of one data set.

    `covered` are the tags of the data set whose elements are in the stream, in order. `unknown` are those left out
    because their value representation, or that of an element within them, is UN or is not known: another copy of the
    object may tell it, so their absence says nothing.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.covered: list[int] = []
        self.unknown: list[int] = []


def signable(tag: int) -> bool:
    """Whether PS3.15 allows an element of this tag in a signature; its value representation must allow it too."""
    group, element = tag >> 16, tag & 0xFFFF
    if group < 8 or element == 0 or group in (0xFFFA, 0xFFFE):
        return False
    return tag not in (0x00080001, 0x4FFE0001, 0xFFFCFFFC)


def mac_stream(
    file: BinaryIO,
    start: int,
    end: int,
    *,
    transfer_syntax: str,
    vr_of: Callable[[int], bytes] | None = None,
    tags: Collection[int] | None = None,
    without: Collection[int] = (),
    signed_pixels: bool = False,
    inherit: bool = True,
    private_vr_of: Callable[[int, str], bytes] | None = None,
) -> MacStream:
    """The MAC byte stream of the data set, or the data set of an item, at `start` to `end` (exclusive) of `file`.

    It covers all signable elements of that level, or those of `tags`, but none of `without`. A deflated data set is
    given inflated. `vr_of` is `_dictionary.dictionary()`, which implicit VR needs: without it every element of an
    implicit file is unknown. Where the dictionary says "US or SS", Pixel Representation decides: that of the data set
    itself, else with `inherit` that of the data sets around it, for which `signed_pixels` tells whether it is 1 around
    an item. Without `inherit` they and palette descriptors are US, which is how DCMTK reads them. Private elements of
    implicit VR are unknown unless `private_vr_of` tells them by tag and creator.

    The data set is walked now and its bytes are read when the stream is. Raises MalformedError as `Walker` does, for
    encapsulated data in a native transfer syntax, and for a value that ends within a word; UndefinedRungError when tags
    do not ascend, since the stream is defined in their order.
    """
    implicit = ImplicitVr(vr_of or (lambda _: b""), private_vr_of, inherit)
    walker = _MacWalker(file, start, end, transfer_syntax, implicit)
    walker.scope = implicit.within(Scope(signed=signed_pixels))
    walker.cover(tags, without)
    return walker.stream


def _bytes_of(tag: int) -> bytes:
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF)


class _MacWalker(Walker):
    """A walk that appends every element to a stream, and cuts off again what turns out not to belong there."""

    def __init__(self, file: BinaryIO, start: int, end: int, transfer_syntax: str, implicit: ImplicitVr) -> None:
        explicit, little = transfer_syntax != IMPLICIT, transfer_syntax != BIG
        super().__init__(file, start, end, explicit=explicit, little=little, wanted=frozenset())
        self.stream = MacStream(file)
        self.scope = Scope()
        self._implicit = implicit
        self._native = transfer_syntax in NATIVE

    def cover(self, tags: Collection[int] | None, without: Collection[int]) -> None:
        """Walk the data set; the stream then has what it covers."""
        for tag in self._ascending(self._end, delimited=False):
            mark = self.stream.mark()
            known = self._append(tag, self._end, 0)
            if not signable(tag) or tag in without or (tags is not None and tag not in tags):
                self.stream.cut(mark)
            elif known:
                self.stream.covered.append(tag)
            else:
                self.stream.cut(mark)
                self.stream.unknown.append(tag)

    def _ascending(self, end: int, *, delimited: bool) -> Iterator[int]:
        """The tag of each element; the caller steps over the element."""
        previous = -1
        while self._position < end:
            tag = self._tag(end)
            if tag == ITEM_END and delimited:
                self._length_zero(end)
                return
            if tag >> 16 == 0xFFFE:
                raise MalformedError(f"{name_of(tag)} at byte {self._position - 4} stands outside a sequence")
            if tag == previous:
                raise MalformedError(f"{name_of(tag)} appears twice in one data set")
            if tag < previous:
                raise UndefinedRungError(f"{name_of(tag)} stands after {name_of(previous)}: elements are out of order")
            previous = tag
            yield tag
        if delimited:
            raise MalformedError("truncated within an item of a sequence")

    def _append(self, tag: int, end: int, depth: int) -> bool:
        """Append one element; whether its value representation, and that of all within it, is known."""
        vr, length = self._head(tag, end)
        vr = vr or self._implicit.of(self.scope, tag, length)
        offset = self._position
        if length == UNDEFINED and vr == b"UN":
            return self._append_unknown_items(tag, end, depth)
        if length == UNDEFINED and vr != b"SQ":
            self._append_fragments(tag, end)
            return True
        if length != UNDEFINED:
            self._fits(tag, length, end)
            end = offset + length
        if vr == b"SQ":
            return self._append_items(tag, end, depth, delimited=length == UNDEFINED)
        self._seek(end)
        if vr == b"UN":
            return False
        self._append_value(tag, vr, offset, length)
        return True

    def _append_items(self, tag: int, end: int, depth: int, *, delimited: bool) -> bool:
        if depth >= MAX_DEPTH:
            raise MalformedError(f"sequences are nested more than {MAX_DEPTH} deep at {name_of(tag)}")
        self.stream.literal(_bytes_of(tag) + b"SQ\0\0")
        known = True
        outer = self.scope
        while self._position < end:
            marker = self._tag(end)
            if marker == SEQUENCE_END and delimited:
                self._length_zero(end)
                break
            if marker != ITEM:
                raise MalformedError(f"{name_of(marker)} where an item of {name_of(tag)} was expected")
            self.scope = self._implicit.within(outer)
            known &= self._append_item(tag, end, depth)
            self.scope = outer
        else:
            if delimited:
                raise MalformedError(f"truncated within the sequence {name_of(tag)}")
        self.stream.literal(_bytes_of(SEQUENCE_END))
        return known

    def _append_unknown_items(self, tag: int, end: int, depth: int) -> bool:
        """UN of undefined length is a sequence in implicit VR little endian (PS3.5 6.2.2 note 2)."""
        encoding = self._explicit, self._order
        self._explicit, self._order = False, "<"
        known = self._append_items(tag, end, depth, delimited=True)
        self._explicit, self._order = encoding
        return known

    def _append_item(self, tag: int, end: int, depth: int) -> bool:
        length = self._u32(end)
        if length != UNDEFINED:
            self._fits(tag, length, end)
            end = self._position + length
        self.stream.literal(_bytes_of(ITEM))
        known = True
        for inner in self._ascending(end, delimited=length == UNDEFINED):
            mark = self.stream.mark()
            known &= self._append(inner, end, depth + 1)
            if not signable(inner):
                self.stream.cut(mark)
        return known

    def _append_fragments(self, tag: int, end: int) -> None:
        if self._native:
            raise MalformedError(f"{name_of(tag)} is encapsulated in spite of a native transfer syntax")
        self.stream.literal(_bytes_of(tag) + b"OB\0\0")
        for offset, length in self._fragments(end):
            self.stream.literal(_bytes_of(ITEM))
            self.stream.span(offset, length)
        self.stream.literal(_bytes_of(SEQUENCE_END))

    def _append_value(self, tag: int, vr: bytes, offset: int, length: int) -> None:
        word = _WORDS.get(vr, 1)
        if length % word:
            raise MalformedError(f"{name_of(tag)} is {length} bytes long, not a multiple of {word}")
        end = offset + length
        if vr == b"UI" or (vr in _TEXT and length % 2 == 0):
            length = self._trimmed(offset, length, b" " if vr != b"UI" else b"\0 ")
            pad = b" " if vr != b"UI" else b"\0"
        else:
            pad = b"\0"
        even = length + length % 2
        if vr in SHORT and even > 0xFFFF:
            raise MalformedError(f"{name_of(tag)} is {length} bytes long, which is odd and cannot be padded")
        form, reserved = ("<H", b"") if vr in SHORT else ("<I", b"\0\0")
        self.stream.literal(_bytes_of(tag) + vr + reserved + struct.pack(form, even))
        self.stream.span(offset, length, word if self._order == ">" else 1)
        self.stream.literal(pad[: length % 2])
        if self.scope.matters(tag, length):
            self._seek(offset)
            self.scope.note(tag, self._read(length, offset + length), little=self._order == "<")
            self._seek(end)

    def _trimmed(self, offset: int, length: int, padding: bytes) -> int:
        """The length of a text without its trailing padding, of which there may be too much (PS3.5 6.2)."""
        end = offset + length
        while length:
            count = min(_TAIL, length)
            self._seek(offset + length - count)
            kept = len(self._read(count, end).rstrip(padding))
            length -= count - kept
            if kept:
                break
        self._seek(end)
        return length
