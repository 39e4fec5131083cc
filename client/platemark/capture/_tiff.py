"""The pages of a TIFF file: which are losslessly stored integers, and where their strips or tiles are (TIFF 6.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platemark.capture._exif import orientation_of
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._frames import pxi_prefix

if TYPE_CHECKING:
    from platemark.capture._ifd import Directory, TiffReader
    from platemark.capture._limits import Limits

__all__ = ["Page", "read_page"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _COLOR_MAP, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 317, 320, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
_COMPRESSIONS = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
_COLOURS = {_WHITE_IS_ZERO: ("GRAY-INVERTED", 1), _BLACK_IS_ZERO: ("GRAY", 1), _RGB: ("RGB", 3), _PALETTE: ("RGB", 1)}
_ALPHAS = {1: "A-PREMULTIPLIED", 2: "A"}
_DEPTHS = (1, 2, 4, 8, 16, 32)
_PALETTE_DEPTHS = (1, 2, 4, 8, 16)
_MAX_SEGMENTS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page. `segments` are offset and length of its strips or tiles, plane by plane when `planar` is 2.

    `depth` is in bits per stored sample, `samples` and `width` (bytes) are those of the canonical form, and
    `stored_samples` those of the file: a palette turns one into three.
    """

    rows: int
    columns: int
    depth: int
    stored_samples: int
    samples: int
    width: int
    photometric: str
    orientation: int
    compression: str
    predictor: int
    planar: int
    segment_rows: int
    segment_columns: int
    tiled: bool
    palette: tuple[int, ...]
    little: bool
    segments: tuple[tuple[int, int], ...]

    @property
    def canonical_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.width

    def job(self) -> dict[str, Any]:
        """What the decoding child needs to know."""
        prefix = pxi_prefix(
            rows=self.rows,
            columns=self.columns,
            samples=self.samples,
            width=self.width,
            orientation=self.orientation,
            photometric=self.photometric,
        )
        names = (
            "rows columns depth stored_samples width compression predictor planar segment_rows segment_columns"
            " tiled palette little"
        )
        facts = {name: getattr(self, name) for name in names.split()}
        return {"codec": "tiff", "blobs": len(self.segments), "prefix": prefix.hex(), **facts}


def read_page(reader: TiffReader, directory: Directory, size: int, limits: Limits) -> Page:
    """Describe one page of a file of `size` bytes.

    Raises UndefinedRungError for what has no canonical form (lossy, float, CMYK ...) and MalformedError for what
    contradicts itself or the file.
    """
    return _PageReader(reader, directory).page(size, limits)


class _PageReader:
    def __init__(self, reader: TiffReader, directory: Directory) -> None:
        self._reader, self._directory = reader, directory

    def page(self, size: int, limits: Limits) -> Page:
        rows, columns = self._one(_HEIGHT), self._one(_WIDTH)
        if not rows or not columns:
            raise MalformedError(f"a TIFF page is {rows} x {columns}")
        compression = self._one(_COMPRESSION, 1)
        if compression not in _COMPRESSIONS:
            raise UndefinedRungError(f"TIFF compression {compression} is lossy or not covered")
        stored_samples, depth = self._samples()
        colour = self._one(_PHOTOMETRIC)
        photometric, samples = self._photometric(colour, stored_samples)
        palette = self._palette(colour, depth)
        predictor = self._one(_PREDICTOR, 1)
        if predictor not in (1, 2) or (predictor == 2 and depth < 8):
            raise UndefinedRungError(f"TIFF predictor {predictor} with {depth} bits is not covered")
        planar = self._one(_PLANAR, 1)
        if planar not in (1, 2):
            raise MalformedError(f"TIFF planar configuration is {planar}")
        segment_rows, segment_columns, tiled = self._geometry(rows, columns)
        page = Page(
            rows=rows,
            columns=columns,
            depth=depth,
            stored_samples=stored_samples,
            samples=samples,
            width=2 if palette else max(1, depth // 8),
            photometric=photometric,
            orientation=orientation_of(self._reader, self._directory),
            compression=_COMPRESSIONS[compression],
            predictor=predictor,
            planar=1 if stored_samples == 1 else planar,
            segment_rows=segment_rows,
            segment_columns=segment_columns,
            tiled=tiled,
            palette=palette,
            little=self._reader.order == "<",
            segments=(),
        )
        _check_size(page, limits)
        return Page(**{**vars(page), "segments": self._segments(page, size, limits)})

    def _one(self, tag: int, default: int | None = None) -> int:
        """An entry of exactly one integer."""
        entry = self._directory.get(tag)
        if entry is None and default is not None:
            return default
        if entry is None or entry.count != 1:
            raise MalformedError(f"TIFF tag {tag} is missing or not one number")
        return self._reader.integers(entry)[0]

    def _many(self, tag: int, default: list[int] | None = None) -> list[int]:
        if tag not in self._directory:
            if default is None:
                raise MalformedError(f"TIFF tag {tag} is missing")
            return default
        return self._reader.integers(self._directory[tag], limit=_MAX_SEGMENTS)

    def _samples(self) -> tuple[int, int]:
        """Stored samples per pixel, and their common depth."""
        samples = self._one(_SAMPLES, 1)
        depths = self._many(_BITS, [1])
        if len(depths) not in (1, samples):
            raise MalformedError("TIFF bits per sample do not fit the samples per pixel")
        formats = set(self._many(_SAMPLE_FORMAT, [1]))
        if len(set(depths)) != 1 or depths[0] not in _DEPTHS or formats != {1}:
            raise UndefinedRungError("TIFF samples that are not unsigned integers of 1 to 32 bits are not covered")
        if self._one(_FILL_ORDER, 1) != 1:
            raise UndefinedRungError("TIFF fill order 2 is not covered")
        return samples, depths[0]

    def _photometric(self, colour: int, stored_samples: int) -> tuple[str, int]:
        """The photometric text of PXI and the samples per canonical pixel."""
        if colour not in _COLOURS:
            raise UndefinedRungError(f"TIFF photometric interpretation {colour} is not covered")
        text, base = _COLOURS[colour]
        extra = self._many(_EXTRA_SAMPLES, [])
        if stored_samples != base + len(extra):
            raise UndefinedRungError(
                f"TIFF photometric interpretation {colour} with {stored_samples} samples is not covered"
            )
        if extra and (len(extra) > 1 or extra[0] not in _ALPHAS or colour == _PALETTE):
            raise UndefinedRungError("TIFF extra samples other than one alpha are not covered")
        suffix = _ALPHAS[extra[0]] if extra else ""
        return text + suffix, 3 if colour == _PALETTE else stored_samples

    def _palette(self, colour: int, depth: int) -> tuple[int, ...]:
        if colour != _PALETTE:
            return ()
        if depth not in _PALETTE_DEPTHS:
            raise UndefinedRungError(f"a TIFF palette of {depth} bits is not covered")
        entries = self._many(_COLOR_MAP)
        if len(entries) != 3 << depth or max(entries) > 0xFFFF:
            raise MalformedError("the TIFF colour map does not fit the depth")
        return tuple(entries)

    def _geometry(self, rows: int, columns: int) -> tuple[int, int, bool]:
        """Rows and columns of a strip or tile."""
        if _TILE_WIDTH in self._directory:
            width, length = self._one(_TILE_WIDTH), self._one(_TILE_LENGTH)
            if not width or not length:
                raise MalformedError("TIFF tiles have no size")
            return length, width, True
        height = self._one(_ROWS_PER_STRIP, rows)
        if not height:
            raise MalformedError("TIFF strips have no rows")
        return min(rows, height), columns, False

    def _segments(self, page: Page, size: int, limits: Limits) -> tuple[tuple[int, int], ...]:
        offsets = self._many(_TILE_OFFSETS if page.tiled else _STRIP_OFFSETS)
        counts = self._many(_TILE_COUNTS if page.tiled else _STRIP_COUNTS)
        across, down = -(-page.columns // page.segment_columns), -(-page.rows // page.segment_rows)
        needed = across * down * (page.stored_samples if page.planar == 2 else 1)
        if len(offsets) != needed or len(counts) != needed:
            raise MalformedError(f"a TIFF page lists {len(offsets)} strips or tiles, the header says {needed}")
        for offset, count in zip(offsets, counts, strict=True):
            if not count or offset > size or count > size - offset:
                raise MalformedError(f"truncated: a TIFF strip or tile of {count} bytes at byte {offset} of {size}")
        if sum(counts) > limits.encoded_bytes:
            raise MalformedError(f"a TIFF page is {sum(counts)} bytes, above the limit of {limits.encoded_bytes}")
        return tuple(zip(offsets, counts, strict=True))


def _check_size(page: Page, limits: Limits) -> None:
    tile = page.segment_rows * page.segment_columns * page.stored_samples * max(1, page.depth // 8)
    if max(page.canonical_bytes, tile) > limits.frame_bytes:
        raise MalformedError(f"a page decodes to {page.canonical_bytes} bytes, above the limit of {limits.frame_bytes}")
