"""The right edge of a growing RFC 9162 tree, kept as the partial tiles of proto/log.md section 4.

`rows[L]` are the hashes of the partial tile at level L: at most 255, so that a log of any size fits in some 64 KiB. Leaves
come a tile at a time, which is what makes a million of them a matter of seconds.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from platemark.errors import ProofError
from platemark.merkle import EMPTY_ROOT, HASH_SIZE
from platemark.tiles import FULL_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Frontier"]

_MAX_SIZE = 1 << 63


class Frontier:
    """The accumulator. `size` leaves so far."""

    def __init__(self) -> None:
        self.size = 0
        self.rows: list[bytes] = []

    @classmethod
    def restore(cls, size: int, rows: Sequence[bytes]) -> Frontier:
        """From a size and its rows. Raises ProofError unless every row has the width that the size gives it."""
        if not 0 <= size < _MAX_SIZE:
            raise ProofError("the size is not from 0 to 2^63 - 1")
        widths = []
        left = size
        while left:
            widths.append(left % FULL_WIDTH * HASH_SIZE)
            left //= FULL_WIDTH
        if [len(row) for row in rows] != widths:
            raise ProofError(f"the right edge does not have the widths of a tree of {size}")
        restored = cls()
        restored.size, restored.rows = size, list(rows)
        return restored

    def copy(self) -> Frontier:
        """An independent one of the same size."""
        return Frontier.restore(self.size, self.rows)

    def add(self, leaf_hashes: bytes) -> list[tuple[int, bytes]]:
        """Append leaf hashes (32 bytes each, end to end), no further than to the end of the tile that is open.

        Returns the tiles that this completed, lowest level first: (level, 8192 bytes). ValueError: past the end of the tile.
        """
        if len(leaf_hashes) % HASH_SIZE:
            message = "leaf hashes have 32 bytes"
            raise ValueError(message)
        count = len(leaf_hashes) // HASH_SIZE
        if self.size % FULL_WIDTH + count > FULL_WIDTH:
            message = "leaves past the end of the open tile"
            raise ValueError(message)
        self.size += count
        completed: list[tuple[int, bytes]] = []
        level, added = 0, leaf_hashes
        while added:
            if level == len(self.rows):
                self.rows.append(b"")
            row = self.rows[level] + added
            if len(row) < FULL_WIDTH * HASH_SIZE:
                self.rows[level] = row
                break
            self.rows[level] = b""
            completed.append((level, row))
            level, added = level + 1, _perfect_root(row)
        return completed

    def root(self) -> bytes:
        """The RFC 9162 root of the leaves so far."""
        # Perfect subtrees from right to left, which is from small to large: the lowest row first, each by its low bits.
        digest = b""
        for row in self.rows:
            end = len(row)
            width = end // HASH_SIZE
            bit = 1
            while width:
                if width & bit:
                    start = end - bit * HASH_SIZE
                    subtree = _perfect_root(row[start:end])
                    digest = sha256(b"\x01" + subtree + digest).digest() if digest else subtree
                    end, width = start, width - bit
                bit <<= 1
        return digest or EMPTY_ROOT


def _perfect_root(row: bytes) -> bytes:
    """The root over a power of two of hashes."""
    while len(row) > HASH_SIZE:
        row = b"".join([sha256(b"\x01" + row[at : at + 64]).digest() for at in range(0, len(row), 64)])
    return row
