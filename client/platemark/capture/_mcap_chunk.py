"""Decompression of MCAP chunks, never past the size that the chunk announces.

Both libraries allocate what a hostile frame's own header announces, so that is compared first (zstd), or the output is bounded
(lz4). Exactly one frame must make up the chunk: readers disagree on what follows it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError, NoCodecError

if TYPE_CHECKING:
    from platemark.capture._mcap_records import ChunkRecord

__all__ = ["crc_fault", "unpack_chunk", "unpack_zstd"]


def unpack_chunk(chunk: ChunkRecord, limit: int) -> memoryview:
    """The records of a chunk, of at most `limit` bytes. MalformedError: not what it announces. NoCodecError."""
    size = chunk.uncompressed_size
    if size > limit:
        raise MalformedError(f"it announces {size} bytes, above the limit of {limit}")
    if chunk.compression == "zstd":
        return memoryview(unpack_zstd(chunk.data, size))
    if chunk.compression == "lz4":
        return memoryview(_unpack_lz4(chunk.data, size))
    if chunk.compression:
        raise MalformedError(
            f"compression {chunk.compression[:32]!r} is not one of MCAP's, and some readers pass over it"
        )
    if len(chunk.data) != size:
        raise MalformedError(f"it announces {size} bytes and has {len(chunk.data)}")
    return chunk.data


def unpack_zstd(data: bytes | memoryview, size: int) -> bytes:
    """One zstd frame of exactly `size` bytes. MalformedError, NoCodecError."""
    try:
        import zstandard
    except ModuleNotFoundError:
        raise NoCodecError("robot", "reading zstd") from None
    try:
        announced = zstandard.frame_content_size(data)
        if announced not in (-1, size):
            raise MalformedError(f"its zstd frame announces {announced} bytes, the chunk {size}")
        if size == 0:
            return _unpack_nothing(zstandard.ZstdDecompressor(), data)
        unpacked = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedError(f"it does not decompress ({error})") from None
    except MemoryError:
        raise MalformedError(f"there is no memory for its {size} bytes") from None
    if len(unpacked) != size:
        raise MalformedError(f"it decompresses to {len(unpacked)} bytes, not {size}")
    return bytes(unpacked)


def _unpack_nothing(decompressor: object, data: bytes | memoryview) -> bytes:
    """A frame without content, which the one-shot call takes for one of unknown size."""
    reader = decompressor.stream_reader(data, read_across_frames=True)  # type: ignore[attr-defined]
    if reader.read(1):
        raise MalformedError("it decompresses to more than the nothing that it announces")
    return b""


def _unpack_lz4(data: memoryview, size: int) -> bytes:
    try:
        import lz4.frame
    except ModuleNotFoundError:
        raise NoCodecError("robot", "reading lz4") from None
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        # One byte more than announced: the frame's end is read as well, and a longer frame is noticed.
        unpacked = bytes(decompressor.decompress(data, max_length=size + 1))
    except (RuntimeError, ValueError) as error:
        raise MalformedError(f"it does not decompress ({error})") from None
    except MemoryError:
        raise MalformedError(f"there is no memory for its {size} bytes") from None
    if len(unpacked) != size or not decompressor.eof:
        more = "more" if len(unpacked) > size else "less"
        raise MalformedError(f"it decompresses to {more} than the {size} bytes that it announces")
    if decompressor.unused_data:
        raise MalformedError(f"{len(decompressor.unused_data)} bytes follow its lz4 frame")
    return unpacked


def crc_fault(expected: int, data: bytes | memoryview) -> str | None:
    """What is wrong with a CRC-32; 0 means that none was written."""
    if expected == 0 or (found := zlib.crc32(data)) == expected:
        return None
    return f"its CRC is {found:08x}, not {expected:08x}"
