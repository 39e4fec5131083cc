"""RFC 9162 section 2.1 as its text defines it: recursive, slow and obvious. The oracle for every tree in this project.

`leaves` are leaf hashes. Nothing here is shared with platemark or pymerkle, so that an error would have to be made twice.
"""

import hashlib
from collections.abc import Sequence

__all__ = ["consistency_path", "inclusion_path", "leaf", "root"]


def leaf(entry: bytes, algorithm: str = "sha256") -> bytes:
    """The hash of one entry: H(0x00 || entry)."""
    return hashlib.new(algorithm, b"\x00" + entry).digest()


def root(leaves: Sequence[bytes], algorithm: str = "sha256") -> bytes:
    """MTH(D[n]) of 2.1.1."""
    if not leaves:
        return hashlib.new(algorithm, b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return hashlib.new(algorithm, b"\x01" + root(leaves[:k], algorithm) + root(leaves[k:], algorithm)).digest()


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(m, D[n]) of 2.1.3.1, leaf sibling first."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_path(leaves[:k], index), root(leaves[k:])]
    return [*inclusion_path(leaves[k:], index - k), root(leaves[:k])]


def consistency_path(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """PROOF(m, D[n]) of 2.1.4.1 for 0 < m <= n."""
    return _subproof(old_size, leaves, known=True)


def _subproof(old_size: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b); `known` is the b of the text."""
    if old_size == len(leaves):
        return [] if known else [root(leaves)]
    k = _split(len(leaves))
    if old_size <= k:
        return [*_subproof(old_size, leaves[:k], known=known), root(leaves[k:])]
    return [*_subproof(old_size - k, leaves[k:], known=False), root(leaves[:k])]


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1
