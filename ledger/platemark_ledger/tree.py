"""The log as a pymerkle tree over one read transaction: the only importer of pymerkle.

pymerkle lays out the ranges of a proof and folds them; the hashes come from the stored rows, so that nothing is computed
twice and nothing is cached across transactions. Three traps of pymerkle 7.0.0 shape this module: its indices count from 1;
its consistency proofs are not those of RFC 9162; `disable_cache` and `disable_optimizations` would silently replace the
methods that we override.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pymerkle import BaseMerkleTree

from platemark_ledger import rows

if TYPE_CHECKING:
    from platemark_ledger.rows import ReadRow

__all__ = ["LogView"]


class LogView(BaseMerkleTree):  # type: ignore[misc] # pymerkle has no type information
    """The tree of the first `size` leaves of the rows that `read` reads. Indices count from 0, as everywhere in Platemark."""

    def __init__(self, read: ReadRow, size: int) -> None:
        super().__init__("sha256", capacity=0)
        self._read = read
        self._leaves = size

    def root(self, size: int | None = None) -> bytes:
        """The RFC 9162 root of the first `size` leaves."""
        return bytes(self.get_root(size))

    def inclusion_path(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The RFC 9162 2.1.3.1 path of leaf `index`, leaf sibling first. Raises pymerkle.InvalidChallenge out of range."""
        # pymerkle puts the leaf itself first.
        return tuple(self.prove_inclusion(index + 1, size).path[1:])

    def consistency_path(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The RFC 9162 2.1.4.1 path for 0 < old_size <= new_size. pymerkle's own has another layout that no verifier takes."""
        path: list[bytes] = []
        start, end, old, whole = 0, new_size, old_size, True
        while old != end - start:
            split = 1 << (end - start - 1).bit_length() - 1
            if old <= split:
                path.append(self._get_root(start + split, end))
                end = start + split
            else:
                path.append(self._get_root(start, start + split))
                start, old, whole = start + split, old - split, False
        if not whole:
            path.append(self._get_root(start, end))
        return tuple(reversed(path))

    # pymerkle's storage interface.

    def _get_size(self) -> int:
        return self._leaves

    def _get_leaf(self, index: int) -> bytes:
        return rows.node(self._read, 0, index - 1)

    def _get_leaves(self, offset: int, width: int) -> list[bytes]:
        return rows.leaf_hashes(self._read, offset, offset + width)

    def _get_subroot(self, offset: int, width: int) -> bytes:
        """The stored node over `width` leaves from `offset`; `width` is a power of two and divides `offset`."""
        level = width.bit_length() - 1
        return rows.node(self._read, level, offset >> level)

    def _encode_entry(self, data: object) -> NoReturn:
        message = "a log is appended to through its sequencer"
        raise TypeError(message)

    def _store_leaf(self, data: object, digest: bytes) -> NoReturn:
        self._encode_entry(data)
