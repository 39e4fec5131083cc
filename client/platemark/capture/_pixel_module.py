"""The Image Pixel module of a DICOM object (PS3.3 C.7.6.3), checked against what is there before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from platemark.capture import _values
from platemark.capture._charset import decode_text
from platemark.capture._elements import (
    DOUBLE_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    PIXEL_TAGS,
    Element,
    name_of,
)
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._frames import px2_prefix, pxc_prefix

if TYPE_CHECKING:
    from platemark.capture._elements import DataSet, Walker
    from platemark.capture._limits import Limits

__all__ = ["PixelModule", "read_pixel_module"]

_ROWS, _COLUMNS, _SAMPLES, _PLANAR = 0x00280010, 0x00280011, 0x00280002, 0x00280006
_PHOTOMETRIC, _FRAMES = 0x00280004, 0x00280008
_ALLOCATED, _STORED, _HIGH, _REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_WIDTHS = {1: 1, 8: 1, 16: 2, 32: 4}
_MAX_SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class PixelModule:
    """How samples are stored: sizes in pixels, depths in bits; `planar` is None when the object does not say."""

    rows: int
    columns: int
    samples: int
    planar: int | None
    photometric: str
    frames: int
    allocated: int
    stored: int
    high: int
    representation: int
    element: Element

    @property
    def width(self) -> int:
        """Bytes of one canonical sample: 1, 2 or 4."""
        return _WIDTHS[self.allocated]

    def require_depths(self) -> None:
        """UndefinedRungError where samples have no canonical width, MalformedError where their bits do not fit into it."""
        if self.allocated not in _WIDTHS:
            raise UndefinedRungError(f"Bits Allocated {self.allocated} has no canonical form")
        if not 1 <= self.stored <= self.allocated:
            raise MalformedError(f"Bits Stored is {self.stored} of {self.allocated} allocated")
        if not self.stored - 1 <= self.high < self.allocated:
            raise MalformedError(f"High Bit is {self.high} with {self.stored} of {self.allocated} bits stored")

    @property
    def frame_samples(self) -> int:
        return self.rows * self.columns * self.samples

    def prefix(self, photometric: str) -> bytes:
        """The PX2 header of a frame."""
        return px2_prefix(
            rows=self.rows,
            columns=self.columns,
            samples=self.samples,
            width=self.width,
            representation=self.representation,
            photometric=photometric,
        )

    def codestream_prefix(self, transfer_syntax: str) -> bytes:
        """The PXC header of a compressed frame."""
        return pxc_prefix(
            rows=self.rows,
            columns=self.columns,
            samples=self.samples,
            representation=self.representation,
            photometric=self.photometric,
            transfer_syntax=transfer_syntax,
        )


def read_pixel_module(
    walker: Walker, data_set: DataSet, limits: Limits, *, one_codestream: bool = False
) -> PixelModule:
    """The module, checked for sense; with `one_codestream` its frames are in one, as those of videos, and count as one.

    Raises UndefinedRungError where there are no frames to digest (no pixel data at all, floats) and MalformedError where
    the header contradicts itself.
    """
    present = [tag for tag in PIXEL_TAGS if tag in data_set]
    if not present:
        if _ROWS in data_set and _COLUMNS in data_set:
            raise MalformedError("the header describes an image and there is no pixel data")
        raise UndefinedRungError("the object has no pixel data")
    if FLOAT_PIXEL_DATA in present or DOUBLE_PIXEL_DATA in present:
        raise UndefinedRungError("float pixel data has no canonical form")
    module = _read(walker, data_set)
    if one_codestream:
        module = replace(module, frames=1)
    if module.frames > limits.frames:
        raise MalformedError(f"{module.frames} frames are above the limit of {limits.frames}")
    _check(module)
    return module


def _read(walker: Walker, data_set: DataSet) -> PixelModule:
    def integer(tag: int) -> int:
        if tag not in data_set:
            raise MalformedError(f"{name_of(tag)} is missing from an object with pixel data")
        return walker.integer(data_set[tag])

    def text(tag: int) -> str:
        return _values.text(decode_text(walker.value(data_set[tag]), "")) if tag in data_set else ""

    stored = integer(_STORED)
    return PixelModule(
        rows=integer(_ROWS),
        columns=integer(_COLUMNS),
        samples=integer(_SAMPLES),
        planar=integer(_PLANAR) if _PLANAR in data_set and data_set[_PLANAR].length else None,
        photometric=text(_PHOTOMETRIC),
        frames=_frame_count(text(_FRAMES)),
        allocated=integer(_ALLOCATED),
        stored=stored,
        high=integer(_HIGH) if _HIGH in data_set else stored - 1,
        representation=integer(_REPRESENTATION),
        element=data_set[PIXEL_DATA],
    )


def _frame_count(stated: str) -> int:
    if not stated:
        return 1
    number = _values.canonical_decimal(stated)
    # An IS has at most 12 characters, and Python refuses to convert more than 4300 digits.
    if not (number.isascii() and number.isdigit()) or number == "0" or len(number) > 12:
        raise MalformedError(f"Number of Frames is {stated[:40]!r}, not a positive integer")
    return int(number)


def _check(module: PixelModule) -> None:
    if not module.rows or not module.columns:
        raise MalformedError(f"the image is {module.rows} x {module.columns}")
    if not 1 <= module.samples <= _MAX_SAMPLES:
        raise MalformedError(f"Samples per Pixel is {module.samples}")
    if module.representation not in (0, 1):
        raise MalformedError(f"Pixel Representation is {module.representation}, not 0 or 1")
    if not module.photometric or not module.photometric.isascii() or not module.photometric.isprintable():
        raise MalformedError(f"Photometric Interpretation is {module.photometric!r}")
    if module.planar not in (None, 0, 1):
        raise MalformedError(f"Planar Configuration is {module.planar}, not 0 or 1")
