"""A log's public tree from files: a directory laid out as C2SP tlog-tiles serves it, or one signed checkpoint alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files
from platemark.audit.source import MissingTileError, cut, size_of
from platemark.files import FileError
from platemark.note import MAX_NOTE
from platemark.tiles import FULL_WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CheckpointFile", "DirectorySource"]


class DirectorySource:
    """A directory with `checkpoint` and `tile/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def checkpoint(self) -> bytes:
        """As TileSource. Raises FileError."""
        return files.read(self.path / "checkpoint", limit=MAX_NOTE)

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[bytes]:
        """As TileSource."""
        return map(self._tile, wanted)

    def _tile(self, tile: Tile) -> bytes:
        full = Tile(tile.level, tile.number)
        path = self.path / tile.path
        if tile.width < FULL_WIDTH and not path.exists():
            return cut(tile, self._read(full))
        return self._read(tile)

    def _read(self, tile: Tile) -> bytes:
        try:
            return files.read(self.path / tile.path, limit=size_of(tile))
        except FileError as error:
            raise MissingTileError(error.reason) from None


class CheckpointFile:
    """One signed checkpoint: a view to compare, without tiles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def checkpoint(self) -> bytes:
        """As TileSource. Raises FileError."""
        return files.read(self.path, limit=MAX_NOTE)
