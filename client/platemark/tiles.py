"""Coordinates and paths of C2SP tlog-tiles (c2sp.org/tlog-tiles): pure arithmetic, no input or output.

A tile at level L and number N holds up to 256 hashes; its hash i is the root of the 256^L leaves that begin at leaf
(N * 256 + i) * 256^L. Rules L1 to L6 of proto/log.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from platemark.errors import NoteError

__all__ = ["FULL_WIDTH", "Tile", "parse_path", "partial_width", "tiles_of"]

FULL_WIDTH = 256
_MAX_LEVEL = 63
_MAX_NUMBER = 1 << 63
_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True)
class Tile:
    """A tile of hashes, or a bundle of entries when `level` is None. `width` is 1..256; 256 is a full tile."""

    level: int | None
    number: int
    width: int = FULL_WIDTH

    @property
    def path(self) -> str:
        """The path below the log's prefix, such as `tile/0/x001/234` or `tile/entries/000.p/5`."""
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == FULL_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_number_path(self.number)}{partial}"


def partial_width(size: int, level: int) -> int:
    """How many hashes the partial tile at `level` holds in a tree of `size`: 0..255."""
    return (size >> 8 * level) % FULL_WIDTH


def tiles_of(size: int) -> list[tuple[int, int, int]]:
    """For each level of a tree of `size` leaves: (level, number of full tiles, width of the partial tile)."""
    levels: list[tuple[int, int, int]] = []
    level = 0
    while size >> 8 * level:
        count = size >> 8 * level
        levels.append((level, count // FULL_WIDTH, count % FULL_WIDTH))
        level += 1
    return levels


def parse_path(path: str) -> Tile:
    """The tile that a path names, in its one form. Raises NoteError."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise NoteError("tile path", "not of the form tile/L/N or tile/L/N.p/W")
    level = None if match[1] == "entries" else int(match[1])
    number = int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else FULL_WIDTH
    if level is not None and level > _MAX_LEVEL:
        raise NoteError("tile path", f"level {level} is above {_MAX_LEVEL}")
    if number >= _MAX_NUMBER or (match[3] and width >= FULL_WIDTH):
        raise NoteError("tile path", "a number or width out of range")
    tile = Tile(level, number, width)
    if tile.path != path:
        raise NoteError("tile path", "a number with leading groups of zeros")
    return tile


def _number_path(number: int) -> str:
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03}")
    return "/".join(reversed(groups))
