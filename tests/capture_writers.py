"""Tiny writers of DICOM, PNG and TIFF files: every byte is chosen here, so that tests can break any of them."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import starmap

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
_LONG = ("OB", "OV", "OW", "SQ", "UN", "UT")
Elements = dict[int, tuple[str, bytes]]


def element(tag: int, vr: str, value: bytes, *, syntax: str = EXPLICIT, length: int | None = None) -> bytes:
    """One data element; `length` overrides the length field."""
    order = ">" if syntax == BIG else "<"
    count = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", count) + value
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", count) + value
    return head + vr.encode() + struct.pack(order + "H", count) + value


def file_meta(syntax: str) -> bytes:
    """Preamble, DICM and group 0002."""
    uid = syntax.encode()
    body = element(0x00020010, "UI", uid + b"\0" * (len(uid) % 2))
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(body))) + body


def dicom(elements: Elements, *, syntax: str = EXPLICIT) -> bytes:
    """A Part 10 file of these elements in tag order."""
    data = b"".join(element(tag, vr, value, syntax=syntax) for tag, (vr, value) in sorted(elements.items()))
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    return file_meta(syntax) + data


def text(value: str | bytes) -> bytes:
    """Padded to even length with a space."""
    data = value.encode() if isinstance(value, str) else value
    return data + b" " * (len(data) % 2)


def us(value: int, *, syntax: str = EXPLICIT) -> bytes:
    """One unsigned short."""
    return struct.pack(">H" if syntax == BIG else "<H", value)


def image_elements(  # one keyword for each element of the module
    pixels: bytes,
    *,
    rows: int,
    columns: int,
    samples: int = 1,
    planar: int | None = None,
    photometric: str = "MONOCHROME2",
    frames: int | None = None,
    allocated: int = 16,
    stored: int | None = None,
    high: int | None = None,
    representation: int = 0,
    vr: str = "OW",
    syntax: str = EXPLICIT,
) -> Elements:
    """The elements of an Image Pixel module."""
    bits = allocated if stored is None else stored
    numbers = {
        0x00280002: samples,
        0x00280010: rows,
        0x00280011: columns,
        0x00280100: allocated,
        0x00280101: bits,
        0x00280102: bits - 1 if high is None else high,
        0x00280103: representation,
    }
    if planar is not None:
        numbers[0x00280006] = planar
    elements: Elements = {tag: ("US", us(value, syntax=syntax)) for tag, value in numbers.items()}
    elements[0x00280004] = ("CS", text(photometric))
    if frames is not None:
        elements[0x00280008] = ("IS", text(str(frames)))
    elements[0x7FE00010] = (vr, pixels)
    return elements


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    rows: Sequence[bytes],
    *,
    columns: int,
    depth: int,
    colour: int,
    between: bytes = b"",
    interlace: int = 0,
    idat: int = 1 << 16,
) -> bytes:
    """A PNG of unfiltered rows (or of the rows of the Adam7 passes); `between` is put before IDAT."""
    return png_of_passes([rows], columns=columns, height=len(rows), depth=depth, colour=colour, between=between,
                         interlace=interlace, idat=idat)  # fmt: skip


def png_of_passes(
    passes: Sequence[Sequence[bytes]],
    *,
    columns: int,
    height: int,
    depth: int,
    colour: int,
    between: bytes = b"",
    interlace: int = 0,
    idat: int = 1 << 16,
) -> bytes:
    """A PNG of rows grouped in passes."""
    header = struct.pack(">IIBBBBB", columns, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for rows in passes for row in rows))
    parts = b"".join(chunk(b"IDAT", data[at : at + idat]) for at in range(0, len(data), idat))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + parts + chunk(b"IEND", b"")


def ifd(entries: Mapping[int, tuple[int, Sequence[int]]], *, order: str, at: int, after: int = 0) -> bytes:
    """One classic directory placed at offset `at`, its long values behind it; rationals are pairs of numbers."""
    letters = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I"}
    head = struct.pack(order + "H", len(entries))
    room = at + 2 + 12 * len(entries) + 4
    tail = b""
    for tag, (kind, values) in sorted(entries.items()):
        data = b"".join(struct.pack(order + letters[kind], value) for value in values)
        count = len(values) // 2 if kind == 5 else len(values)
        if len(data) > 4:
            head += struct.pack(order + "HHII", tag, kind, count, room + len(tail))
            tail += data
        else:
            head += struct.pack(order + "HHI", tag, kind, count) + data.ljust(4, b"\0")
    return head + struct.pack(order + "I", after) + tail


def tiff(strips: Sequence[bytes], entries: Mapping[int, tuple[int, Sequence[int]]], *, order: str = "<") -> bytes:
    """A classic TIFF of one page: strips first, then the directory; offsets and counts are filled in."""
    offsets, data = [], b""
    for strip in strips:
        offsets.append(8 + len(data))
        data += strip + b"\0" * (len(strip) % 2)
    at = 8 + len(data)
    full = {273: (4, offsets), 279: (4, list(map(len, strips))), **entries}
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, at) + data + ifd(full, order=order, at=at)


def encapsulated(fragments: Sequence[bytes], *, table: bytes = b"") -> bytes:
    """The value of encapsulated pixel data, its delimiter included: write it with length 0xFFFFFFFF."""
    parts = starmap(lambda tag, data: struct.pack("<HHI", 0xFFFE, tag, len(data)) + data,
                    [(0xE000, table), *((0xE000, each) for each in fragments), (0xE0DD, b"")])  # fmt: skip
    return b"".join(parts)
