"""Codestreams of encapsulated DICOM pixel data (PS3.5 A.4): which fragments make which frame."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from platemark.capture._elements import DataSet, Walker
    from platemark.capture._limits import Limits

__all__ = ["VIDEO", "Span", "frame_spans", "read_codestreams", "read_span", "trimmed"]

_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
_END = b"\xff\xd9"
_JPEG_STARTS = (b"\xff\xd8", b"\xff\x4f")
_BLOCK = 1 << 20
VIDEO = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))
"""Transfer syntaxes of MPEG-2, MPEG-4 AVC and HEVC begin so: all frames are one codestream (PS3.5 8.2.5 to 8.2.9)."""
Span = tuple[tuple[int, int], ...]
"""Offset in the file and length of each fragment of one frame."""


def frame_spans(
    file: BinaryIO, walker: Walker, data_set: DataSet, table_and_fragments: Span, frames: int
) -> list[Span]:
    """The fragments of every frame; all of them for 0 frames, which stands for a video.

    Frames are told apart by the extended offset table, else by the basic one when it is not empty. Without any, one frame
    takes all fragments, and several one each when the numbers agree; else a frame ends where a fragment ends with the
    JPEG marker EOI and at most one byte of padding (PS3.5 A.4). A table of a single frame has to be right as well: there
    are readers that believe it.
    Raises MalformedError when the tables do not fit the fragments or frames cannot be told apart.
    """
    table, *fragments = table_and_fragments
    if not fragments:
        raise MalformedError("the encapsulated pixel data has no fragments")
    offsets = _offsets(file, walker, data_set, table, frames) if frames else None
    if offsets is not None:
        spans = _by_offsets(fragments, offsets, frames)
        _check_lengths(walker, data_set, spans)
        return spans
    if frames <= 1:
        return [tuple(fragments)]
    if len(fragments) == frames:
        return [(fragment,) for fragment in fragments]
    return _by_end_of_image(file, fragments, frames)


def read_codestreams(file: BinaryIO, spans: list[Span], limits: Limits) -> Iterator[bytes]:
    """The codestream of every frame: its fragments joined, without item headers."""
    for span in spans:
        length = sum(count for _, count in span)
        if length > limits.encoded_bytes:
            raise MalformedError(f"a compressed frame is {length} bytes, above the limit of {limits.encoded_bytes}")
        parts = []
        for offset, count in span:
            file.seek(offset)
            parts.append(file.read(count))
        codestream = b"".join(parts)
        if len(codestream) != length:
            raise MalformedError("truncated within the pixel data")
        yield codestream


def read_span(file: BinaryIO, span: Span) -> Iterator[bytes]:
    """The bytes of a span in blocks of at most 1 MiB."""
    for offset, length in span:
        file.seek(offset)
        remaining = length
        while remaining:
            block = file.read(min(remaining, _BLOCK))
            if not block:
                raise MalformedError("truncated within the pixel data")
            remaining -= len(block)
            yield block


def trimmed(file: BinaryIO, span: Span) -> Span:
    """The span without its padding: a codestream, as `codestream` digests it. Raises MalformedError when nothing is left.

    One byte after the end marker of a JPEG or JPEG 2000 codestream, whatever its value; else trailing zeros (PS3.5 A.4).
    """
    length = sum(count for _, count in span)
    if _slice(file, span, 0, 2) in _JPEG_STARTS and _slice(file, span, length - 3, length - 1) == _END:
        return _cut(span, length - 1)
    return _without_zeros(file, span)


def _without_zeros(file: BinaryIO, span: Span) -> Span:
    kept = list(span)
    while kept:
        offset, count = kept.pop()
        while count:
            start = max(0, count - _BLOCK)
            file.seek(offset + start)
            data = file.read(count - start).rstrip(b"\0")
            if data:
                return (*kept, (offset, start + len(data)))
            count = start
    raise MalformedError("a compressed frame is empty")


def _slice(file: BinaryIO, span: Span, start: int, end: int) -> bytes:
    """Bytes `start` (not below 0) to `end` (exclusive) of a span; no more than there are."""
    parts = []
    position = 0
    for offset, count in span:
        first, last = max(start, position), min(end, position + count)
        if first < last:
            file.seek(offset + first - position)
            parts.append(file.read(last - first))
        position += count
    return b"".join(parts)


def _cut(span: Span, length: int) -> Span:
    """The first `length` bytes of a span."""
    kept = []
    for offset, count in span:
        kept.append((offset, min(count, length)))
        length -= kept[-1][1]
    return tuple(kept)


def _offsets(
    file: BinaryIO, walker: Walker, data_set: DataSet, table: tuple[int, int], frames: int
) -> list[int] | None:
    if extended := data_set.get(_EXTENDED_OFFSETS):
        if extended.length != 8 * frames:
            raise MalformedError(f"the extended offset table is {extended.length} bytes long, not 8 for each frame")
        return list(struct.unpack(f"<{frames}Q", walker.value(extended, limit=8 * frames)))
    if table[1] == 0:
        return None
    if table[1] != 4 * frames:
        raise MalformedError(f"the basic offset table is {table[1]} bytes long, not 4 for each frame")
    file.seek(table[0])
    return list(struct.unpack(f"<{frames}I", file.read(table[1])))


def _check_lengths(walker: Walker, data_set: DataSet, spans: list[Span]) -> None:
    """Refuse an extended table of lengths that cuts a frame short or goes beyond it, by more than a byte of padding."""
    lengths = data_set.get(_EXTENDED_LENGTHS)
    if lengths is None:
        return
    if lengths.length != 8 * len(spans):
        raise MalformedError(f"the extended offset table has {lengths.length} bytes of lengths, not 8 for each frame")
    stated = struct.unpack(f"<{len(spans)}Q", walker.value(lengths, limit=8 * len(spans)))
    totals = (sum(count for _, count in span) for span in spans)
    if any(total - length not in (0, 1) for total, length in zip(totals, stated, strict=True)):
        raise MalformedError("the extended offset table has lengths that are not those of the frames")


def _by_offsets(fragments: list[tuple[int, int]], offsets: list[int], frames: int) -> list[Span]:
    """Offsets count from the item header of the first fragment."""
    origin = fragments[0][0] - 8
    index = {offset - 8 - origin: number for number, (offset, _) in enumerate(fragments)}
    starts = [index.get(offset, -1) for offset in offsets]
    if starts[0] != 0 or -1 in starts or any(a >= b for a, b in pairwise(starts)):
        raise MalformedError("the offset table does not point at fragments in order")
    ends = [*starts[1:], len(fragments)]
    return [tuple(fragments[starts[i] : ends[i]]) for i in range(frames)]


def _by_end_of_image(file: BinaryIO, fragments: list[tuple[int, int]], frames: int) -> list[Span]:
    spans: list[Span] = []
    current: list[tuple[int, int]] = []
    for offset, length in fragments:
        current.append((offset, length))
        file.seek(offset + max(0, length - 3))
        tail = file.read(min(3, length))
        if _END in (tail[-2:], tail[:-1]):
            spans.append(tuple(current))
            current = []
    if current or len(spans) != frames:
        raise MalformedError(f"{len(fragments)} fragments cannot be divided into {frames} frames")
    return spans
