"""Pictures that the demo draws itself, and a small PNG writer (PNG 3rd edition, W3C)."""

from __future__ import annotations

import functools
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

__all__ = ["Drawing", "drawings"]

_Paint: TypeAlias = "Callable[[int, int], tuple[int, ...]]"
_WIDTH, _HEIGHT = 160, 120


@dataclass(frozen=True)
class Drawing:
    """A picture: `colour` is the PNG colour type (0 grey, 2 RGB, 6 RGBA), `depth` bits of a sample (8 or 16)."""

    colour: int
    depth: int
    rows: tuple[tuple[tuple[int, ...], ...], ...]

    def to_png(self, *, level: int = 6) -> bytes:
        """The PNG file; `level` of compression changes the bytes and no pixel."""
        sample = ">H" if self.depth == 16 else ">B"
        lines = b"".join(
            b"\0" + b"".join(struct.pack(sample, value) for pixel in row for value in pixel) for row in self.rows
        )
        header = struct.pack(">IIBBBBB", len(self.rows[0]), len(self.rows), self.depth, self.colour, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, level)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)

    def with_one_step(self, x: int, y: int) -> Drawing:
        """The same picture with the lowest bit of one sample of one pixel changed."""
        row = self.rows[y]
        first, *others = row[x]
        changed = (*row[:x], (first ^ 1, *others), *row[x + 1 :])
        return replace(self, rows=(*self.rows[:y], changed, *self.rows[y + 1 :]))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _draw(paint: _Paint, *, colour: int, depth: int = 8) -> Drawing:
    rows = tuple(tuple(paint(x, y) for x in range(_WIDTH)) for y in range(_HEIGHT))
    return Drawing(colour, depth, rows)


def _checks(x: int, y: int) -> tuple[int, ...]:
    return (230 if (x // 20 + y // 20) % 2 else 25,)


def _ramp(x: int, y: int) -> tuple[int, ...]:
    return ((x * 65535 // (_WIDTH - 1) + y) % 65536,)


def _conveyor(x: int, y: int) -> tuple[int, ...]:
    box = 45 < x % 80 < 75 and 40 < y < 80
    return (196, 140, 72) if box else (90, 90, 96) if 30 < y < 90 else (28, 32, 40)


def _target(x: int, y: int) -> tuple[int, ...]:
    ring = int(math.hypot(x - _WIDTH / 2, y - _HEIGHT / 2)) // 10
    return (200, 30, 30) if ring % 2 else (250, 250, 250)


def _lens(x: int, y: int) -> tuple[int, ...]:
    near = max(0.0, 1 - math.hypot(x - _WIDTH / 2, y - _HEIGHT / 2) / 70)
    return (40, 120, 200, int(255 * near))


def _lanes(x: int, y: int) -> tuple[int, ...]:
    middle, edge = abs(x - 80) < 2 and y % 24 < 12, abs(abs(x - 80) - y // 2 - 10) < 2
    return (240, 240, 200) if middle or edge else (60, 60, 64)


@functools.cache
def drawings() -> Mapping[str, Drawing]:
    """File name to picture, drawn once: grey, RGB, RGBA, and grey with 16 bits."""
    return {
        "checks.png": _draw(_checks, colour=0),
        "conveyor.png": _draw(_conveyor, colour=2),
        "lanes.png": _draw(_lanes, colour=2),
        "lens.png": _draw(_lens, colour=6),
        "ramp16.png": _draw(_ramp, colour=0, depth=16),
        "target.png": _draw(_target, colour=2),
    }
