"""The file meta information of a DICOM Part 10 file (PS3.10 chapter 7): where the data set begins, and its encoding."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["FileMeta", "read_file_meta"]

_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_GROUP_LENGTH, _TRANSFER_SYNTAX = 0x00020000, 0x00020010
_START = 132
_LIMIT = 1 << 20
# PS3.5 chapter 9 but for leading zeros of a component, which occur. What begins the `dataset` rung has to end at its
# NUL: a UID that could hold one would pass the front of a data set off as its own.
_UID = re.compile(rb"[0-9]+(?:\.[0-9]+)*")
_MAX_UID = 64
DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class FileMeta:
    """The transfer syntax UID without its padding, and the offset of the first byte of the data set."""

    transfer_syntax: str
    data_set_offset: int


def read_file_meta(file: BinaryIO, size: int) -> FileMeta:
    """Read the elements of group 0002 from byte 132, explicit VR little endian; the data set begins after the last.

    The data set begins at the first element of another group; for the deflated transfer syntax, whose compressed bytes
    could look like an element of group 0002, at the latest where Group Length (0002,0000) says. A Group Length that says
    anything else is refused: readers that believe it find another data set, in another place.
    Raises MalformedError: truncated, no or several transfer syntaxes, one that is no UID, no data set, a wrong length.
    """
    position, announced_end = _START, None
    syntaxes: list[bytes] = []
    file.seek(position)
    while True:
        deflated = [value.rstrip(b"\0 ") for value in syntaxes] == [DEFLATED.encode()]
        if deflated and announced_end is not None and position >= announced_end:
            break
        head = file.read(8)
        if head[:2] != b"\x02\x00":
            break
        first = position == _START
        position, tag, value = _element(file, position, head, size)
        if tag == _GROUP_LENGTH:
            announced_end = position + int.from_bytes(value, "little") if first and len(value) == 4 else 0
        if tag == _TRANSFER_SYNTAX:
            syntaxes.append(value)
    uid = _uid(syntaxes)
    _require_end(position, announced_end, size)
    return FileMeta(uid, position)


def _require_end(position: int, announced: int | None, size: int) -> None:
    """Refuse an end that (0002,0000) does not announce; 0 stands for one that is not the first element, or malformed."""
    if announced not in (None, position):
        says = f"says {announced}" if announced else "is not its first element, of four bytes"
        raise MalformedError(f"the file meta information ends at byte {position}, and its length (0002,0000) {says}")
    if position >= size:
        raise MalformedError("truncated: there is no data set after the file meta information")


def _uid(syntaxes: list[bytes]) -> str:
    """The one transfer syntax."""
    if len(syntaxes) != 1:
        counted = f"{len(syntaxes)} transfer syntaxes" if syntaxes else "no transfer syntax"
        raise MalformedError(f"the file meta information names {counted}, not one")
    uid = syntaxes[0].rstrip(b"\0 ")
    if len(uid) > _MAX_UID or _UID.fullmatch(uid) is None:
        raise MalformedError("the transfer syntax is not a UID: at most 64 characters, digits between points")
    return uid.decode("ascii")


def _element(file: BinaryIO, start: int, head: bytes, size: int) -> tuple[int, int, bytes]:
    """End offset, tag and value of the element whose first 8 bytes are `head`."""
    if len(head) < 8:
        raise MalformedError("truncated within the file meta information")
    element, vr, short = struct.unpack("<2xH2sH", head)
    position, length = start + 8, short
    if vr in _LONG:
        wide = file.read(4)
        if len(wide) < 4:
            raise MalformedError("truncated within the file meta information")
        position, length = start + 12, int(struct.unpack("<I", wide)[0])
    elif not (vr.isalpha() and vr.isupper()):
        raise MalformedError(f"the file meta information has no value representation at byte {start + 4}")
    if length > min(size, 132 + _LIMIT) - position:
        raise MalformedError(f"truncated: (0002,{element:04X}) needs {length} bytes, which are not there")
    return position + length, 0x00020000 | element, file.read(length)
