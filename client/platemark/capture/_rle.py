"""RLE Lossless frames (PS3.5 annex G), decoded with the standard library alone."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._samples import canonical_words, interleave

if TYPE_CHECKING:
    from platemark.capture._pixel_module import PixelModule

__all__ = ["decode_rle_frame", "unpack_runs"]

_HEADER = 64
_NO_OPERATION = 128


def decode_rle_frame(data: bytes, module: PixelModule) -> bytes:
    """The canonical samples of one frame. Raises MalformedError."""
    count = module.samples * module.width
    if len(data) < _HEADER:
        raise MalformedError("truncated within an RLE header")
    segments, *offsets = struct.unpack("<16I", data[:_HEADER])
    if segments != count:
        raise MalformedError(f"an RLE frame has {segments} segments, the header says {count}")
    bounds = [*offsets[:count], len(data)]
    if bounds[0] != _HEADER or any(a > b for a, b in pairwise(bounds)):
        raise MalformedError("the offsets of the RLE segments are out of order")
    pixels = module.rows * module.columns
    bytes_of = [unpack_runs(data[bounds[i] : bounds[i + 1]], pixels) for i in range(count)]
    words = []
    for sample in range(module.samples):
        planes = bytes_of[sample * module.width : (sample + 1) * module.width]
        # Segments go from the most significant byte to the least (PS3.5 G.2).
        plain = interleave(planes[::-1], 1)
        words.append(
            canonical_words(
                plain, width=module.width, stored=module.stored, high=module.high, signed=module.representation == 1
            )
        )
    return interleave(words, module.width)


def unpack_runs(data: bytes, expected: int) -> bytes:
    """The first `expected` bytes of run-length data (PS3.5 G.3.2; TIFF 6.0 section 9, PackBits). Raises MalformedError."""
    out = bytearray()
    position, end = 0, len(data)
    while len(out) < expected and position < end:
        control = data[position]
        position += 1
        if control < _NO_OPERATION:
            out += data[position : position + control + 1]
            position += control + 1
        elif control > _NO_OPERATION:
            out += data[position : position + 1] * (257 - control)
            position += 1
    if len(out) < expected:
        raise MalformedError(f"run-length data holds {len(out)} bytes, the header says {expected}")
    return bytes(out[:expected])
