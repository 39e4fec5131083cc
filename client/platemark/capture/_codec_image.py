"""Decoding of PNG files and TIFF pages in the child process, and writing of PNG files: the only importer of imagecodecs.

imagecodecs (BSD) wraps libpng and has wheels for every platform that platemark runs on. Of TIFF it does only LZW:
strips, tiles, planes, predictor and palette are put together here, so that a short strip is an error and
never silently filled with zeros.
"""

from __future__ import annotations

import zlib
from typing import Any

import imagecodecs
import numpy as np

from platemark.capture._faults import MalformedError
from platemark.capture._rle import unpack_runs

__all__ = ["decode_png", "decode_tiff_page", "encode_png"]


def decode_png(job: dict[str, Any], blobs: list[bytes]) -> bytes:
    """The canonical samples of a PNG file.

    libpng expands the palette and fewer than 8 bits, and turns tRNS into alpha; it applies neither gamma nor profile.
    """
    array = imagecodecs.png_decode(blobs[0])
    expected = (job["rows"], job["columns"], job["samples"])
    shape = array.shape if array.ndim == 3 else (*array.shape, 1)
    if shape != expected or array.dtype != np.dtype(f"u{job['width']}"):
        raise MalformedError(f"the PNG decoder returned {array.dtype} of shape {shape}, not {expected}")
    samples: bytes = array.astype(f"<u{job['width']}", copy=False).tobytes()
    return samples


def decode_tiff_page(job: dict[str, Any], blobs: list[bytes]) -> bytes:
    """The canonical samples of one TIFF page; `blobs` are its strips or tiles in the order of the file."""
    rows, columns, samples = job["rows"], job["columns"], job["stored_samples"]
    planes = samples if job["planar"] == 2 else 1
    in_segment = samples // planes
    page = np.empty((rows, columns, samples), dtype=_dtype(job["depth"]))
    across, down = -(-columns // job["segment_columns"]), -(-rows // job["segment_rows"])
    for number, blob in enumerate(blobs):
        plane, place = divmod(number, across * down)
        top, left = (place // across) * job["segment_rows"], (place % across) * job["segment_columns"]
        height = job["segment_rows"] if job["tiled"] else min(job["segment_rows"], rows - top)
        segment = _segment(job, blob, height, in_segment)
        target = page[top : top + height, left : left + job["segment_columns"], plane : plane + in_segment]
        target[...] = segment[: target.shape[0], : target.shape[1]]
    return _canonical(job, page)


def encode_png(
    data: bytes, size: tuple[int, int, int], sample: tuple[int, int], *, order: tuple[int, ...], big_endian: bool
) -> bytes:
    """A PNG of raw samples, unchanged. `size`: rows, columns, bytes from row to row; `sample`: per pixel, bytes of each.

    `order` puts the channels in that of PNG. The sizes have been checked: `data` has rows times bytes from row to row.
    """
    (rows, columns, step), (samples, width) = size, sample
    lines = np.frombuffer(data, dtype=np.uint8).reshape(rows, step)[:, : columns * samples * width]
    words = np.ascontiguousarray(lines).view(f"{'>' if big_endian else '<'}u{width}").astype(f"=u{width}")
    pixels = words.reshape(rows, columns, samples)[:, :, list(order or range(samples))]
    image = np.ascontiguousarray(pixels[:, :, 0] if samples == 1 else pixels)
    return bytes(imagecodecs.png_encode(image))


def _dtype(depth: int) -> str:
    return f"<u{max(1, depth // 8)}"


def _segment(job: dict[str, Any], blob: bytes, height: int, samples: int) -> Any:
    """One strip or tile as an array of (height, columns, samples)."""
    columns, depth = job["segment_columns"], job["depth"]
    row_bytes = -(-columns * samples * depth // 8)
    data = _unpack(job["compression"], blob, height * row_bytes)
    if len(data) < height * row_bytes:
        raise MalformedError(f"a TIFF strip or tile decodes to {len(data)} bytes, the header says {height * row_bytes}")
    raw = np.frombuffer(data, dtype=np.uint8, count=height * row_bytes).reshape(height, row_bytes)
    if depth < 8:
        bits = np.unpackbits(raw, axis=1).reshape(height, -1, depth)
        weights = (1 << np.arange(depth - 1, -1, -1)).astype(np.uint8)
        words = (bits * weights).sum(axis=2, dtype=np.uint8)[:, : columns * samples]
    else:
        order = "<" if job["little"] else ">"
        words = raw.view(f"{order}u{depth // 8}").astype(_dtype(depth))
    segment = words.reshape(height, columns, samples)
    if job["predictor"] == 2:  # TIFF 6.0 section 14: differences along each row, modulo the depth
        segment = np.cumsum(segment, axis=1, dtype=segment.dtype)
    return segment


def _unpack(compression: str, blob: bytes, expected: int) -> bytes:
    if compression == "none":
        return blob
    if compression == "deflate":
        inflater = zlib.decompressobj()
        try:
            return inflater.decompress(blob, expected)
        except zlib.error as error:
            raise MalformedError(f"a TIFF strip or tile is corrupt ({error})") from error
    if compression == "packbits":
        return unpack_runs(blob, expected)
    return bytes(imagecodecs.lzw_decode(blob, out=expected))


def _canonical(job: dict[str, Any], page: Any) -> bytes:
    if job["palette"]:
        table = np.array(job["palette"], dtype="<u2").reshape(3, -1).T
        page = table[page[:, :, 0]]
    elif job["depth"] < 8:
        # Replication: 1 bit to 0 or 255, 2 bits times 85, 4 bits times 17.
        page = page * np.uint8(255 // ((1 << job["depth"]) - 1))
    samples: bytes = np.ascontiguousarray(page).tobytes()
    return samples
