"""The markers of a JPEG file (ITU-T T.81 annex B): that it is whole, its size and its Exif segment."""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._source import CHUNK

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["JpegFile", "read_jpeg"]

_FRAME_HEADERS = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SOS, _EOI, _APP1, _APP11 = 0xDA, 0xD9, 0xE1, 0xEB
_EXIF = b"Exif\0\0"
# In entropy-coded data FF is followed by 00 or a restart marker; anything else begins a marker segment.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_NO_FILL = re.compile(rb"[^\xff]", re.DOTALL)
_MAX_MARKERS = 1 << 16
_FIRST_READ = 1 << 8


@dataclass(frozen=True, kw_only=True)
class JpegFile:
    """Sizes in pixels, precision in bits per sample; `provenance` are the spans of the APP11 segments, with their markers."""

    rows: int
    columns: int
    samples: int
    precision: int
    exif: bytes
    provenance: tuple[tuple[int, int], ...]


def read_jpeg(file: BinaryIO, size: int) -> JpegFile:
    """Walk the markers to EOI. Raises MalformedError when the file ends before it or has no frame and scan.

    The time is linear in `size`, whatever the markers are: this runs before any time limit holds. A file of more than
    65536 markers outside of scans is refused; the largest that cameras write have some thousand.
    """
    position, scans, exif = 2, 0, b""
    frame: tuple[int, int, int, int] | None = None
    provenance: list[tuple[int, int]] = []
    for count in itertools.count():
        if count == _MAX_MARKERS:
            raise MalformedError(f"the JPEG file has more than {_MAX_MARKERS} markers")
        marker, position = _marker(file, position, size)
        if marker == _EOI:
            break
        if marker in _STANDALONE:
            continue
        length = _length(file, position, size)
        if marker in _FRAME_HEADERS:
            frame = _frame(file, length)
        elif marker == _APP1 and not exif:
            exif = _exif(file.read(length - 2))
        elif marker == _APP11:
            provenance.append((position - 2, length + 2))
        position += length
        if marker == _SOS:
            scans += 1
            position = _find(file, position, _MARKER)
    if frame is None or not scans:
        raise MalformedError("the JPEG file has no image")
    precision, rows, columns, samples = frame
    return JpegFile(
        rows=rows,
        columns=columns,
        samples=samples,
        precision=precision,
        exif=exif,
        provenance=tuple(provenance),
    )


def _frame(file: BinaryIO, length: int) -> tuple[int, int, int, int]:
    if length < 8:
        raise MalformedError("the frame header of the JPEG file is too short")
    precision, rows, columns, samples = struct.unpack(">BHHB", file.read(6))
    return precision, rows, columns, samples


def _exif(segment: bytes) -> bytes:
    return segment[len(_EXIF) :] if segment.startswith(_EXIF) else b""


def _marker(file: BinaryIO, position: int, size: int) -> tuple[int, int]:
    """The marker at `position`, after any fill bytes, and the offset behind it."""
    file.seek(position)
    if file.read(1) != b"\xff":
        if position >= size:
            raise MalformedError("truncated: the JPEG file has no end marker (EOI)")
        raise MalformedError(f"byte {position} of the JPEG file is not a marker")
    position = _find(file, position, _NO_FILL)
    file.seek(position)
    return int.from_bytes(file.read(1), "big"), position + 1


def _length(file: BinaryIO, position: int, size: int) -> int:
    data = file.read(2)
    length = int.from_bytes(data, "big")
    if len(data) < 2 or length < 2 or length > size - position:
        raise MalformedError(f"truncated within the marker segment at byte {position} of the JPEG file")
    return length


def _find(file: BinaryIO, position: int, pattern: re.Pattern[bytes]) -> int:
    """Offset of the first match at or after `position` of a pattern of at most two bytes, which may begin with FF.

    What is read grows with what has been searched, so that many short searches do not read the file many times.
    """
    file.seek(position)
    last, step = b"", _FIRST_READ
    while data := file.read(step):
        if found := pattern.search(last + data):
            return position - len(last) + found.start()
        position += len(data)
        last = data[-1:] if data.endswith(b"\xff") else b""
        step = min(2 * step, CHUNK)
    raise MalformedError("truncated: the JPEG file has no end marker (EOI)")
