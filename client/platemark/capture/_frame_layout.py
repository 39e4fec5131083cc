"""How the samples of an image message lie, and as which PNG they are drawn: never scaled, converted or demosaiced."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["MAX_PIXELS", "Layout", "layout_of", "refusal_of"]

MAX_PIXELS = 1 << 28
"""A frame of more is not drawn: 16384 x 16384."""


class Layout(NamedTuple):
    """`samples` of `width` bytes per pixel, in this order of channels ("" as they lie), and what a viewer should know."""

    samples: int
    width: int
    order: tuple[int, ...] = ()
    note: str = ""


_PLAIN = {
    "mono8": Layout(1, 1),
    "mono16": Layout(1, 2),
    "rgb8": Layout(3, 1),
    "rgba8": Layout(4, 1),
    "bgr8": Layout(3, 1, (2, 1, 0)),
    "bgra8": Layout(4, 1, (2, 1, 0, 3)),
    "rgb16": Layout(3, 2),
    "rgba16": Layout(4, 2),
    "bgr16": Layout(3, 2, (2, 1, 0)),
    "bgra16": Layout(4, 2, (2, 1, 0, 3)),
}
_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
_TYPED = re.compile(r"(8|16)UC([134])")
_VIDEO = re.compile(r"h\.?26[45]|hevc|avc|av1|vp[89]", re.IGNORECASE)
_RAW = "take the message as it was published instead"


def layout_of(encoding: str) -> Layout | None:
    """Of an encoding of sensor_msgs/msg/Image; None for one that is not drawn (`refusal_of` says why)."""
    if encoding in _PLAIN:
        return _PLAIN[encoding]
    if found := _BAYER.fullmatch(encoding):
        note = f"Bayer mosaic {found[1].upper()} as the sensor gave it: one channel, not demosaiced"
        return Layout(1, int(found[2]) // 8, note=note)
    if found := _TYPED.fullmatch(encoding):
        samples = int(found[2])
        note = (
            ""
            if samples == 1
            else "its encoding does not name the channels: they are drawn in the order in which they lie"
        )
        return Layout(samples, int(found[1]) // 8, note=note)
    return None


def refusal_of(encoding: str) -> str:
    """Why a frame of this encoding is not drawn, and the way out."""
    named = repr(encoding[:64])
    if _VIDEO.search(encoding):
        return f"{named} is video: its packets need each other and a decoder, so that one is no picture; {_RAW}"
    if encoding.startswith(("32F", "64F")):
        return f"{named} has floating-point samples, which a PNG cannot hold unchanged; {_RAW}"
    if "compressedDepth" in encoding:
        return f"{named} has a header of its transport before the picture; {_RAW}"
    return f"{named} is not an encoding that is drawn without changing samples; {_RAW}"
