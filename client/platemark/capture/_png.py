"""The chunks of a PNG file (ISO/IEC 15948, third edition): checked end to end without decoding."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._source import CHUNK

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["SIGNATURE", "PngFile", "read_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PALETTE = 3
_MAX_EXIF = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PngFile:
    """Sizes in pixels, `depth` in bits per stored sample; `samples` and `width` (bytes) once expanded.

    `length` is the number of bytes from the signature to the end of IEND: what follows is not part of the image.
    `provenance` are the spans of the first two `caBX` chunks, whole.
    """

    rows: int
    columns: int
    depth: int
    colour: int
    samples: int
    width: int
    animated: bool
    exif: bytes
    length: int
    provenance: tuple[tuple[int, int], ...]

    @property
    def photometric(self) -> str:
        return {1: "GRAY", 2: "GRAYA", 3: "RGB", 4: "RGBA"}[self.samples]


def read_png(file: BinaryIO, size: int) -> PngFile:
    """Walk every chunk to IEND and check its CRC. Raises MalformedError."""
    position, header = len(SIGNATURE), b""
    kinds: set[bytes] = set()
    exif = b""
    provenance: list[tuple[int, int]] = []
    while True:
        kind, length = _chunk_head(file, position, size)
        keep = kind == b"IHDR" or (kind == b"eXIf" and not exif and length <= _MAX_EXIF)
        body = _checked_body(file, position, kind, length, keep=keep)
        if (kind == b"IHDR") != (not header):
            raise MalformedError("IHDR is not the first chunk, or not the only one")
        if kind == b"IHDR":
            header = body
            if length != 13:
                raise MalformedError("IHDR is not 13 bytes long")
        if kind == b"eXIf":
            exif = exif or body
        if kind == b"caBX" and len(provenance) < 2:
            provenance.append((position, length + 12))
        kinds.add(kind)
        position += length + 12
        if kind == b"IEND":
            break
    if b"IDAT" not in kinds:
        raise MalformedError("the file has no image data (IDAT)")
    return _describe(header, kinds, exif, position, tuple(provenance))


def _describe(
    header: bytes, kinds: set[bytes], exif: bytes, length: int, provenance: tuple[tuple[int, int], ...]
) -> PngFile:
    columns, rows, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if not 0 < rows < 1 << 31 or not 0 < columns < 1 << 31:
        raise MalformedError(f"the image is {rows} x {columns}")
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise MalformedError("IHDR holds a combination that PNG does not define")
    if colour == _PALETTE and b"PLTE" not in kinds:
        raise MalformedError("the palette (PLTE) is missing")
    samples = _SAMPLES[colour] + (1 if b"tRNS" in kinds and colour in (0, 2, 3) else 0)
    return PngFile(
        rows=rows,
        columns=columns,
        depth=depth,
        colour=colour,
        samples=samples,
        width=2 if depth == 16 else 1,
        animated=b"acTL" in kinds,
        exif=exif,
        length=length,
        provenance=provenance,
    )


def _chunk_head(file: BinaryIO, position: int, size: int) -> tuple[bytes, int]:
    file.seek(position)
    head = file.read(8)
    if len(head) < 8:
        raise MalformedError(f"truncated at byte {size}: there is no IEND chunk")
    length, kind = struct.unpack(">I4s", head)
    if not kind.isalpha():
        raise MalformedError(f"byte {position} does not begin a PNG chunk")
    if length > size - position - 12:
        raise MalformedError(f"truncated: a chunk of {length} bytes at byte {position} goes past the end")
    return kind, length


def _checked_body(file: BinaryIO, position: int, kind: bytes, length: int, *, keep: bool) -> bytes:
    crc, kept, left = zlib.crc32(kind), [], length
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise MalformedError(f"truncated within a chunk at byte {position}")
        crc = zlib.crc32(data, crc)
        left -= len(data)
        if keep:
            kept.append(data)
    if file.read(4) != struct.pack(">I", crc):
        raise MalformedError(f"the checksum of the {kind.decode('ascii')} chunk at byte {position} is wrong")
    return b"".join(kept)
