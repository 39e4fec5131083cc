"""Measuring PNG, JPEG and TIFF files: rung `file` always, `pixels` (PXI) where decoding is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from platemark.capture._child import DecodeChild
from platemark.capture._exif import exif_attributes, orientation_of, segment_attributes
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._frames import frame_tree, pxi_prefix
from platemark.capture._ifd import TiffReader
from platemark.capture._jpeg import read_jpeg
from platemark.capture._png import read_png
from platemark.capture._tiff import read_page
from platemark.capture.provenance import jpeg_store, png_store, provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from platemark.capture._frames import FrameTree
    from platemark.capture._ifd import Directory
    from platemark.capture._limits import Limits
    from platemark.capture._png import PngFile
    from platemark.capture._tiff import Page
    from platemark.capture.provenance import Span, Store
    from platemark.rungs import AttributeValue

__all__ = ["Jpeg", "Png", "Tiff"]

_PHOTOMETRICS = {0: "GRAY-INVERTED", 1: "GRAY", 2: "RGB", 3: "RGB"}
_MAX_SEGMENTS = 1 << 22
_PAGE_WIDTH, _PAGE_HEIGHT, _PAGE_BITS, _PAGE_COLOUR = 256, 257, 258, 262


class Png:
    """A PNG file whose chunks have been checked. Raises MalformedError on construction."""

    media = "image/png"

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._png: PngFile = read_png(file, size)
        self._orientation, self._exif = segment_attributes(self._png.exif)
        self._provenance = _provenance(file, png_store, self._png.provenance)

    def attributes(self) -> dict[str, AttributeValue]:
        """What the header, Exif and an embedded manifest store say."""
        facts = self._png
        return (
            self._exif
            | self._provenance
            | {
                "rows": facts.rows,
                "columns": facts.columns,
                "frames": 1,
                "bits_stored": facts.depth,
                "photometric_interpretation": facts.photometric,
            }
        )

    def pixels(self, limits: Limits) -> FrameTree:
        """The `pixels` rung: one frame."""
        facts = self._png
        if facts.animated:
            raise UndefinedRungError("an animated PNG has no one image")
        decoded = facts.rows * facts.columns * facts.samples * facts.width
        if decoded > limits.frame_bytes or facts.length > limits.encoded_bytes:
            raise MalformedError(f"the image decodes to {decoded} bytes, above the limit of {limits.frame_bytes}")
        prefix = pxi_prefix(
            rows=facts.rows,
            columns=facts.columns,
            samples=facts.samples,
            width=facts.width,
            orientation=self._orientation,
            photometric=facts.photometric,
        )
        job: dict[str, Any] = {
            "codec": "png",
            "blobs": 1,
            "prefix": prefix.hex(),
            "rows": facts.rows,
            "columns": facts.columns,
            "samples": facts.samples,
            "width": facts.width,
        }
        self._file.seek(0)
        with DecodeChild("image", limits) as child:
            frame = child.digest(job, [self._file.read(facts.length)])
        return frame_tree(b"PXI-ROOT\0", [frame])


class Jpeg:
    """A JPEG file that reaches its end marker. Raises MalformedError on construction."""

    media = "image/jpeg"

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._jpeg = read_jpeg(file, size)
        _, self._exif = segment_attributes(self._jpeg.exif)
        self._provenance = _provenance(file, jpeg_store, self._jpeg.provenance)

    def attributes(self) -> dict[str, AttributeValue]:
        """What the header, Exif and an embedded manifest store say."""
        facts = self._jpeg
        return (
            self._exif
            | self._provenance
            | {
                "rows": facts.rows,
                "columns": facts.columns,
                "frames": 1,
                "bits_stored": facts.precision,
            }
        )

    def pixels(self, limits: Limits) -> FrameTree:
        """Always UndefinedRungError: decoders do not agree on the samples of a lossy image."""
        del limits
        raise UndefinedRungError("JPEG is lossy: decoders do not agree on its samples")


class Tiff:
    """A TIFF or BigTIFF file whose directories have been read. Raises MalformedError on construction."""

    media = "image/tiff"

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._reader = TiffReader(file, size)
        self._directories: list[Directory] = self._reader.chain()

    def attributes(self) -> dict[str, AttributeValue]:
        """Of the first page, and the number of pages."""
        first = self._directories[0]
        found = exif_attributes(self._reader, first)
        found["frames"] = len(self._directories)
        found["orientation"] = orientation_of(self._reader, first)
        for name, tag in (("rows", _PAGE_HEIGHT), ("columns", _PAGE_WIDTH), ("bits_stored", _PAGE_BITS)):
            if tag in first:
                found[name] = self._reader.integers(first[tag])[0]
        if _PAGE_COLOUR in first:
            colour = self._reader.integers(first[_PAGE_COLOUR])[0]
            found["photometric_interpretation"] = _PHOTOMETRICS.get(colour, f"TIFF {colour}")
        return found

    def pixels(self, limits: Limits) -> FrameTree:
        """The `pixels` rung: a frame for every page."""
        if len(self._directories) > limits.frames:
            raise MalformedError(f"{len(self._directories)} pages are above the limit of {limits.frames}")
        # Every page has to qualify before one is decoded. Its segments are forgotten in between: pages may share theirs,
        # so that all of them together could be far more than the file.
        segments = 0
        for page in self._pages(limits):
            segments += len(page.segments)
            if segments > _MAX_SEGMENTS:
                raise MalformedError(f"more than {_MAX_SEGMENTS} TIFF strips or tiles")
        with DecodeChild("image", limits) as child:
            pages = (child.digest(page.job(), self._blobs(page.segments)) for page in self._pages(limits))
            return frame_tree(b"PXI-ROOT\0", pages)

    def _pages(self, limits: Limits) -> Iterator[Page]:
        for directory in self._directories:
            yield read_page(self._reader, directory, self._size, limits)

    def _blobs(self, segments: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
        for offset, length in segments:
            self._file.seek(offset)
            data = self._file.read(length)
            if len(data) != length:
                raise MalformedError("truncated within a TIFF strip or tile")
            yield data


def _provenance(
    file: BinaryIO, find: Callable[[BinaryIO, tuple[Span, ...]], Store | None], spans: tuple[Span, ...]
) -> dict[str, AttributeValue]:
    """The digest of the file's C2PA manifest store. As with Exif, a broken one counts as absent."""
    try:
        return provenance(file, find(file, spans))
    except MalformedError:
        return {}
