"""The hashes of the tree as they are stored: every level, in rows of 256. Pure arithmetic over a function that reads rows.

Node i of level l is the RFC 9162 2.1.1 hash of the 2^l leaves from i * 2^l. Row (l, r) holds nodes 256 r to 256 r + 255 of
level l, 32 bytes each, as many as are complete; nodes only ever get added. The rows of levels 0, 8, 16, ... are the tiles of
C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeAlias

from platemark.merkle import EMPTY_ROOT, HASH_SIZE
from platemark_ledger.errors import StoreError

__all__ = ["WIDTH", "ReadRow", "extend", "leaf_hashes", "node", "paths", "root", "tails"]

WIDTH = 256
_NODE = b"\x01"

ReadRow: TypeAlias = Callable[[int, int], "bytes | None"]  # (level, row) -> the row, None where there is none yet


def node(read: ReadRow, level: int, index: int) -> bytes:
    """One complete node, 32 bytes. Raises StoreError when the store does not hold it."""
    row, place = divmod(index, WIDTH)
    data = read(level, row)
    found = b"" if data is None else data[place * HASH_SIZE : (place + 1) * HASH_SIZE]
    if len(found) != HASH_SIZE:
        raise StoreError(f"node {index} of level {level} is missing from the stored tree")
    return found


def leaf_hashes(read: ReadRow, start: int, stop: int) -> list[bytes]:
    """The leaf hashes from `start` up to and without `stop`."""
    return [node(read, 0, index) for index in range(start, stop)]


def extend(read: ReadRow, size: int, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """The rows that change when `leaves` (leaf hashes) are added to a tree of `size`: (level, row) -> the whole new row.

    Raises StoreError when the right edge of the stored tree is not what `size` says.
    """
    changed: dict[tuple[int, int], bytes] = {}
    level, start, added = 0, size, b"".join(leaves)
    while added:
        row, place = divmod(start, WIDTH)
        before = (read(level, row) or b"")[: place * HASH_SIZE] if place else b""
        if len(before) != place * HASH_SIZE:
            raise StoreError(f"row {row} of level {level} is shorter than a tree of {size} has it")
        whole = before + added
        for cut in range(0, len(whole), WIDTH * HASH_SIZE):
            changed[level, row + cut // (WIDTH * HASH_SIZE)] = whole[cut : cut + WIDTH * HASH_SIZE]
        # WIDTH is even, so the left sibling of an odd first node is in `before`.
        paired = whole[-len(added) - HASH_SIZE * (start & 1) :]
        added = b"".join(
            [sha256(_NODE + paired[cut : cut + 64]).digest() for cut in range(0, len(paired) - HASH_SIZE, 64)]
        )
        level, start = level + 1, start >> 1
    return changed


def tails(read: ReadRow, size: int) -> list[bytes]:
    """For each level, the hash over the leaves from the last node's first leaf to the end of a tree of `size` >= 1.

    The last of them is the root. The last node of a level may be incomplete: its hash is then not in any row.
    """
    last = size - 1
    found = [node(read, 0, last)]
    level = 0
    while last:
        tail = found[-1]
        if last & 1:
            tail = sha256(_NODE + node(read, level, last - 1) + tail).digest()
        found.append(tail)
        level, last = level + 1, last >> 1
    return found


def root(read: ReadRow, size: int) -> bytes:
    """The RFC 9162 root of the first `size` leaves, from at most 2 log2(size) rows."""
    return tails(read, size)[-1] if size else EMPTY_ROOT


def paths(read: ReadRow, size: int, start: int, stop: int) -> list[tuple[bytes, ...]]:
    """The RFC 9162 2.1.3.1 inclusion paths of leaves start <= i < stop <= size in the tree of `size`.

    Built from the top down, so that what neighbours share is made once: some 2 (stop - start) small tuples in all.
    """
    if start >= stop:
        return []
    edge = tails(read, size)
    above: list[tuple[bytes, ...]] = [()]
    above_first = 0
    for level in range(len(edge) - 2, -1, -1):
        first, final, last = start >> level, (stop - 1) >> level, (size - 1) >> level
        here: list[tuple[bytes, ...]] = []
        for place in range(first, final + 1):
            rest = above[(place >> 1) - above_first]
            sibling = place ^ 1
            if sibling < last:
                rest = (node(read, level, sibling), *rest)
            elif sibling == last:
                rest = (edge[level], *rest)
            here.append(rest)
        above, above_first = here, first
    return above
