"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of itself, read before any codec sees it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from platemark.capture._faults import MalformedError, UndefinedRungError

__all__ = ["JPEG_2000", "JPEG_LOSSLESS", "JPEG_LS", "LOSSLESS", "CodestreamHeader", "read_codestream_header"]

JPEG_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
JPEG_LS = frozenset({"1.2.840.10008.1.2.4.80"})
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202"})
LOSSLESS = JPEG_LOSSLESS | JPEG_LS | JPEG_2000
"""Compressed transfer syntaxes whose decoding is exact."""

_SOF3, _SOF_LS, _SOS, _EOI = 0xC3, 0xF7, 0xDA, 0xD9
_SIZ, _COD, _SOT = 0x51, 0x52, 0x90
_FRAME_HEADERS = frozenset(set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7})
_COMPONENT_SIGN, _COMPONENT_DEPTH = 0x80, 0x7F
_REVERSIBLE = 1
_END = b"\xff\xd9"


@dataclass(frozen=True)
class CodestreamHeader:
    """Sizes in pixels, `precision` in bits per sample."""

    rows: int
    columns: int
    samples: int
    precision: int


def read_codestream_header(data: bytes, transfer_syntax: str) -> CodestreamHeader:
    """The header of one frame of a transfer syntax in LOSSLESS.

    Raises MalformedError for what is not such a codestream and UndefinedRungError for one that is lossy in spite of its
    transfer syntax: decoders need not agree on it.
    """
    # OpenJPEG fills in what a truncated codestream lacks, so that truncation must be found here. One byte of padding may
    # follow the end marker, and writers choose it freely; some pad with zeros to a block.
    if not data[:-1].endswith(_END) and not data.rstrip(b"\0").endswith(_END):
        raise MalformedError("truncated: a compressed frame has no end marker")
    try:
        if transfer_syntax in JPEG_2000:
            return _jpeg_2000(data)
        return _jpeg(data, near_lossless=transfer_syntax in JPEG_LS)
    except (struct.error, IndexError) as error:
        raise MalformedError("truncated within the header of a compressed frame") from error


def _segments(data: bytes, position: int) -> list[tuple[int, int]]:
    """Marker and offset of the body of every marker segment up to the first scan or tile."""
    found = []
    while True:
        if data[position] != 0xFF:
            raise MalformedError("a compressed frame has no marker where one belongs")
        while data[position + 1] == 0xFF:  # fill bytes
            position += 1
        marker = data[position + 1]
        found.append((marker, position + 4))
        if marker in (_SOS, _SOT, _EOI):
            return found
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])


def _jpeg(data: bytes, *, near_lossless: bool) -> CodestreamHeader:
    if data[:2] != b"\xff\xd8":
        raise MalformedError("a compressed frame does not begin with the JPEG marker SOI")
    wanted = _SOF_LS if near_lossless else _SOF3
    header: CodestreamHeader | None = None
    for marker, body in _segments(data, 2):
        if marker in _FRAME_HEADERS:
            if marker != wanted:
                raise UndefinedRungError(f"the codestream is not lossless JPEG (marker FF{marker:02X})")
            precision, rows, columns, samples = struct.unpack_from(">BHHB", data, body)
            header = CodestreamHeader(rows, columns, samples, precision)
        elif marker == _SOS:
            # ITU-T T.81 B.2.3 and T.87 C.2.3: after the components Ss (T.87: NEAR), Se (ILV) and Ah/Al (point transform).
            start = body + 1 + 2 * data[body]
            loss = data[start] if near_lossless else data[start + 2] & 0x0F
            if loss:
                raise UndefinedRungError("the codestream is near-lossless in spite of its transfer syntax")
    if header is None:
        raise MalformedError("a compressed frame has no JPEG frame header")
    return header


def _jpeg_2000(data: bytes) -> CodestreamHeader:
    if data[:4] != b"\xff\x4f\xff\x51":
        raise UndefinedRungError("a compressed frame is not a bare JPEG 2000 codestream, as PS3.5 A.4.4 asks")
    header: CodestreamHeader | None = None
    for marker, body in _segments(data, 2):
        if marker == _SIZ:
            x, y, x0, y0 = struct.unpack_from(">4I", data, body + 2)
            (samples,) = struct.unpack_from(">H", data, body + 34)
            depths = {data[body + 36 + 3 * i] for i in range(samples)}
            steps = {data[body + 36 + 3 * i + j] for i in range(samples) for j in (1, 2)}
            if len(depths) != 1 or steps != {1}:
                raise UndefinedRungError("the components of the JPEG 2000 codestream differ")
            header = CodestreamHeader(y - y0, x - x0, samples, (depths.pop() & _COMPONENT_DEPTH) + 1)
        elif marker == _COD and data[body + 9] != _REVERSIBLE:
            raise UndefinedRungError("the codestream is irreversible JPEG 2000 in spite of its transfer syntax")
    if header is None:  # pragma: no cover  # SOC and SIZ were required above
        raise MalformedError("a compressed frame has no JPEG 2000 header")
    return header
