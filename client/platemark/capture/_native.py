"""Frames of native (not encapsulated) DICOM pixel data, read in blocks (PS3.5 chapter 8, PX2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._samples import canonical_words, expand_422, interleave, swap_words, unpack_bits
from platemark.capture._source import Digester

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from typing import BinaryIO

    from platemark.capture._pixel_module import PixelModule

__all__ = ["native_frames"]

_BLOCK = 1 << 17
"""Pixels per block; every block is a whole number of bytes, words and 4:2:2 pairs."""
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")


def native_frames(file: BinaryIO, module: PixelModule, *, little: bool) -> Iterator[dict[int, bytes]]:
    """The digest of every frame, in order.

    Raises MalformedError when the pixel data is shorter than the header says (before anything is read), and
    UndefinedRungError where the stored form is not covered.
    """
    photometric = module.photometric
    if photometric in _SUBSAMPLED:
        if photometric != "YBR_FULL_422" or module.allocated != 8 or module.samples != 3 or module.columns % 2:
            raise UndefinedRungError(f"native {photometric} of this shape has no canonical form")
        photometric = "YBR_FULL"
    if module.samples > 1 and module.planar is None:
        raise MalformedError("Planar Configuration is missing from an image of several samples per pixel")
    if module.allocated == 1 and module.samples != 1:
        raise UndefinedRungError("1-bit images of several samples per pixel have no canonical form")
    needed = -(-_frame_bits(module) * module.frames // 8)
    if module.element.length < needed:
        raise MalformedError(f"pixel data is {module.element.length} bytes, the header says {needed}")
    source = _Stored(file, module, little=little)
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        for index in range(module.frames):
            digester = Digester(module.prefix(photometric))
            if module.rows * module.columns <= _BLOCK:
                digester.update(b"".join(source.frame(index)))
            else:
                _update_ahead(digester, source.frame(index), pool)
            yield digester.digests()


def _update_ahead(digester: Digester, blocks: Iterator[bytes], pool: ThreadPoolExecutor) -> None:
    """Hash one block while the next is made."""
    pending: Future[None] | None = None
    for block in blocks:
        if pending is not None:
            pending.result()
        pending = pool.submit(digester.update, block)
    if pending is not None:
        pending.result()


def _frame_bits(module: PixelModule) -> int:
    if module.photometric == "YBR_FULL_422":
        return module.rows * module.columns * 16
    return module.frame_samples * module.allocated


class _Stored:
    """The stored bytes of pixel data as canonical blocks."""

    def __init__(self, file: BinaryIO, module: PixelModule, *, little: bool) -> None:
        self._file, self._module = file, module
        # In big endian, OW is a row of 16-bit words even where samples are smaller (PS3.5 A.3 and 8.2).
        self._pairs = not little and module.element.vr == b"OW" and module.allocated <= 8
        self._swap = not little and module.allocated > 8

    def frame(self, index: int) -> Iterator[bytes]:
        module = self._module
        if module.allocated == 1:
            return self._bits(index)
        start = index * _frame_bits(module) // 8
        if module.photometric == "YBR_FULL_422":
            return self._subsampled(start)
        if module.samples > 1 and module.planar == 1:
            return self._planes(start)
        return self._words(start)

    def _words(self, start: int) -> Iterator[bytes]:
        module = self._module
        total, step = module.frame_samples * module.width, _BLOCK * module.samples * module.width
        for offset in range(0, total, step):
            yield self._canonical(start + offset, min(step, total - offset))

    def _planes(self, start: int) -> Iterator[bytes]:
        module = self._module
        plane, step = module.rows * module.columns * module.width, _BLOCK * module.width
        for offset in range(0, plane, step):
            count = min(step, plane - offset)
            planes = [self._canonical(start + sample * plane + offset, count) for sample in range(module.samples)]
            yield interleave(planes, module.width)

    def _subsampled(self, start: int) -> Iterator[bytes]:
        total = self._module.rows * self._module.columns * 2
        for offset in range(0, total, 2 * _BLOCK):
            yield expand_422(self._canonical(start + offset, min(2 * _BLOCK, total - offset)))

    def _bits(self, index: int) -> Iterator[bytes]:
        """Frames follow each other bit by bit, without padding between them (PS3.5 8.1.1, PS3.3 C.7.6.3.1.3)."""
        position, end = index * self._module.frame_samples, (index + 1) * self._module.frame_samples
        while position < end:
            count = min(_BLOCK, end - position)
            first, last = position // 8, -(-(position + count) // 8)
            bits = unpack_bits(self._read(first, last - first))
            yield bits[position - 8 * first :][:count]
            position += count

    def _canonical(self, offset: int, count: int) -> bytes:
        module = self._module
        data = self._read(offset, count)
        if self._swap:
            data = swap_words(data, module.width)
        return canonical_words(
            data, width=module.width, stored=module.stored, high=module.high, signed=module.representation == 1
        )

    def _read(self, offset: int, count: int) -> bytes:
        """`count` bytes of the pixel data from `offset`, with 16-bit words put in little-endian order."""
        if not self._pairs:
            return self._exactly(offset, count)
        first = offset & ~1
        last = offset + count + 1 & ~1
        return swap_words(self._exactly(first, last - first), 2)[offset - first :][:count]

    def _exactly(self, offset: int, count: int) -> bytes:
        if offset + count > self._module.element.length:
            raise MalformedError("the last 16-bit word of the pixel data is incomplete")
        self._file.seek(self._module.element.offset + offset)
        data = self._file.read(count)
        if len(data) != count:
            raise MalformedError("truncated within the pixel data")
        return data
