"""Where an audit reads, and what it takes of what it reads: sizes are fixed by the formats, and nothing larger is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from platemark.errors import NoteError, PlatemarkError
from platemark.merkle import HASH_SIZE
from platemark.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ENTRY_SIZE",
    "LoggedEntry",
    "MissingTileError",
    "SourceError",
    "StatementSource",
    "TileSource",
    "bundle_hashes",
    "cut",
    "size_of",
]

ENTRY_SIZE = 2 + HASH_SIZE
"""Bytes of an entry in a bundle (rule L5): u16 length, always 32, and the entry."""


class SourceError(PlatemarkError):
    """The source cannot be read now. Nothing is known about the log; later may help."""

    code = "unreachable"


class MissingTileError(SourceError):
    """The source answers and has no such tile, or one past the size that its path gives it."""

    code = "tile-missing"


class TileSource(Protocol):
    """One view of a log: its checkpoint, and its tiles unless it is a checkpoint alone."""

    name: str

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint, at most platemark.note.MAX_NOTE bytes. Raises SourceError."""

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[bytes]:
        """The bytes of each tile in the order wanted, none over `size_of`. Raises SourceError, MissingTileError.

        A partial tile that is gone is cut from the full one, as C2SP tlog-tiles lets a log delete it then.
        """


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """A statement as a ledger lists it. `conditions` are the codes that the ledger reports; `received` is Unix ns."""

    index: int
    raw: bytes
    received: int
    conditions: tuple[str, ...]


class StatementSource(Protocol):
    """Statements in log order. Needs rights that the public tiles do not."""

    def statements(self, *, size: int) -> Iterator[LoggedEntry]:
        """Those below `size`, ascending."""


def size_of(tile: Tile) -> int:
    """How many bytes a tile or bundle has; here both are fixed."""
    return tile.width * (ENTRY_SIZE if tile.level is None else HASH_SIZE)


def cut(tile: Tile, full: bytes) -> bytes:
    """A partial tile, or bundle, from the full one at its place."""
    return full[: size_of(tile)]


def bundle_hashes(data: bytes, width: int) -> tuple[bytes, bytes]:
    """The entries and the leaf hashes of a bundle, each end to end. Raises NoteError unless it is `width` entries of 32 bytes."""
    if len(data) != width * ENTRY_SIZE:
        raise NoteError("bundle", f"{len(data)} bytes, not {width * ENTRY_SIZE}")
    # Both bytes of every length at once: 00 20.
    if data[0::ENTRY_SIZE] != bytes(width) or data[1::ENTRY_SIZE] != b"\x20" * width:
        raise NoteError("bundle", "an entry that has not 32 bytes")
    entries = [data[at + 2 : at + ENTRY_SIZE] for at in range(0, len(data), ENTRY_SIZE)]
    return b"".join(entries), b"".join([sha256(b"\0" + entry).digest() for entry in entries])
