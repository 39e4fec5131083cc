"""A log's public tree from files: a directory as C2SP tlog-tiles serves it, or a signed checkpoint, alone or in evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from platemark import evidence, files, tlog_proof
from platemark.audit.source import MissingTileError, cut, size_of
from platemark.files import FileError
from platemark.note import MAX_NOTE
from platemark.tiles import FULL_WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CheckpointFile", "DirectorySource"]

_ZIP = b"PK"


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
    """One signed checkpoint, or an evidence bundle, which carries one: a view to compare, without tiles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def checkpoint(self) -> bytes:
        """As TileSource. Raises FileError; FormatError for what begins like a bundle and is none."""
        data = files.read(self.path, limit=evidence.MAX_BUNDLE)
        if not data.startswith(_ZIP):
            return data
        return tlog_proof.parse(evidence.from_bytes(data).record.proof).checkpoint.raw
