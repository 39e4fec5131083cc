"""Canonical samples of native DICOM pixel data, with the standard library alone.

Input is the stored bytes, output the samples that PX2 hashes: little-endian words of 1, 2 or 4 bytes that hold the
BitsStored bits of each sample, zero- or sign-extended, colour by pixel. Blocks are treated as one big integer with a
lane per sample where a table of bytes does not do, so that numpy is not needed to verify.
"""

from __future__ import annotations

import array
import functools

__all__ = ["canonical_words", "expand_422", "interleave", "swap_words", "unpack_bits"]

_WORD_TYPES = {2: "H", 4: "I" if array.array("I").itemsize == 4 else "L"}
_BITS = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]


def swap_words(data: bytes, width: int) -> bytes:
    """Reverse the byte order of every word of `width` bytes (2 or 4)."""
    words = array.array(_WORD_TYPES[width])
    words.frombytes(data)
    words.byteswap()
    return words.tobytes()


def unpack_bits(data: bytes) -> bytes:
    """One byte, 0 or 1, for every bit of `data`, least significant bit first (PS3.5 8.1.1)."""
    return b"".join([_BITS[byte] for byte in data])


def expand_422(data: bytes) -> bytes:
    """Y1 Y2 Cb Cr to Y1 Cb Cr Y2 Cb Cr, 8 bits per sample (PS3.3 C.7.6.3.1.2, YBR_FULL_422)."""
    out = bytearray(len(data) // 4 * 6)
    out[0::6], out[3::6] = data[0::4], data[1::4]
    out[1::6] = out[4::6] = data[2::4]
    out[2::6] = out[5::6] = data[3::4]
    return bytes(out)


def interleave(planes: list[bytes], width: int) -> bytes:
    """Colour by plane to colour by pixel; every plane is of the same length, samples are `width` bytes."""
    step = width * len(planes)
    out = bytearray(sum(map(len, planes)))
    for sample, plane in enumerate(planes):
        for byte in range(width):
            out[sample * width + byte :: step] = plane[byte::width]
    return bytes(out)


def canonical_words(data: bytes, *, width: int, stored: int, high: int, signed: bool) -> bytes:
    """Little-endian words of `width` bytes (1, 2, 4) reduced to the `stored` bits that end at bit `high`.

    The bits are moved down to bit 0, everything else (overlays, padding) is dropped, and the value is sign-extended
    when `signed`, else zero-extended.
    """
    shift = high + 1 - stored
    if stored == 8 * width:
        return data
    if width == 1:
        return data.translate(_byte_table(stored, shift, signed))
    if shift == 0 and 8 * (width - 1) < stored:
        # Only the top byte holds unused bits: a table for it is enough, and mostly it changes nothing.
        top = data[width - 1 :: width]
        if not top.translate(None, _unchanged(stored - 8 * (width - 1), signed)):
            return data
        out = bytearray(data)
        out[width - 1 :: width] = top.translate(_byte_table(stored - 8 * (width - 1), 0, signed))
        return bytes(out)
    return _by_lanes(data, width, stored, shift, signed=signed)


@functools.lru_cache(maxsize=64)
def _byte_table(stored: int, shift: int, signed: bool) -> bytes:  # a cache key
    table = bytearray()
    for byte in range(256):
        value = byte >> shift & (1 << stored) - 1
        if signed and value >> stored - 1:
            value |= 0xFF << stored & 0xFF
        table.append(value)
    return bytes(table)


@functools.lru_cache(maxsize=64)
def _unchanged(stored: int, signed: bool) -> bytes:  # a cache key
    """The bytes that the table leaves as they are."""
    return bytes(byte for byte, mapped in enumerate(_byte_table(stored, 0, signed)) if byte == mapped)


def _by_lanes(data: bytes, width: int, stored: int, shift: int, *, signed: bool) -> bytes:
    count = len(data) // width
    lanes = int.from_bytes(data, "little") >> shift & _repeat((1 << stored) - 1, width, count)
    if signed:
        signs = lanes & _repeat(1 << stored - 1, width, count)
        # A sign bit 2^(s-1) times this factor is 2^(8w) - 2^s: every bit above the sign, within the lane.
        lanes |= signs * ((1 << 8 * width - stored + 1) - 2)
    return lanes.to_bytes(len(data), "little")


@functools.lru_cache(maxsize=8)
def _repeat(word: int, width: int, count: int) -> int:
    return int.from_bytes(word.to_bytes(width, "little") * count, "little")
