"""RFC 9162 section 2.1 Merkle trees, verified with the standard library alone.

Leaf hash = H(0x00 || entry), node hash = H(0x01 || left || right), empty root = H(""). Indices are 0-based, sizes are
below 2^63, every digest of a proof is exactly 32 bytes of `bytes`. The verifiers return None or raise `ProofError`;
there is no boolean to forget. Rules: proto/log.md section 1.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from platemark.errors import ProofError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "GrowingTree",
    "PathVerifier",
    "inclusion_path",
    "leaf_hash",
    "node_hash",
    "root",
    "root_from_consistency",
    "root_from_inclusion",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
_MAX_SIZE = 1 << 63
# Called directly: `hashlib.new` looks its algorithm up each time, for as long as the hashing of a node takes.
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


def leaf_hash(entry: bytes, *, algorithm: str = "sha256") -> bytes:
    """The hash of one entry's leaf (RFC 9162 2.1.1)."""
    return _HASHES[algorithm](b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes, *, algorithm: str = "sha256") -> bytes:
    """The hash of an interior node over its two children (RFC 9162 2.1.1)."""
    return _HASHES[algorithm](b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes], *, algorithm: str = "sha256") -> bytes:
    """The Merkle tree hash over leaf hashes (RFC 9162 2.1.1), in memory logarithmic in their number."""
    growing = GrowingTree(algorithm=algorithm)
    for leaf in leaf_hashes:
        growing.add(leaf)
    return growing.root()


class GrowingTree:
    """The root of a tree whose leaf hashes come one by one, in memory logarithmic in their number."""

    def __init__(self, *, algorithm: str = "sha256") -> None:
        self.size = 0
        self._hash = _HASHES[algorithm]
        # The roots of the perfect subtrees, greatest first: one for each bit of `size`.
        self._peaks: list[bytes] = []

    def add(self, leaf_hash: bytes) -> None:
        """Append a leaf hash."""
        self._append(leaf_hash, 1)

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Append leaf hashes in this order; half the time of one by one, in blocks that are perfect subtrees."""
        at = 0
        while at < len(leaf_hashes):
            width = 1 << (len(leaf_hashes) - at).bit_length() - 1
            if self.size:
                width = min(width, self.size & -self.size)
            self._append(self._perfect(leaf_hashes[at : at + width]), width)
            at += width

    def _perfect(self, row: Sequence[bytes]) -> bytes:
        """The root over a power of two of leaf hashes."""
        hashed = self._hash
        while len(row) > 1:
            pairs = iter(row)
            row = [hashed(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
        return row[0]

    def _append(self, digest: bytes, width: int) -> None:
        """Append a perfect subtree of `width` leaves, which divides `size`."""
        size = self.size // width
        while size & 1:
            digest = self._hash(b"\x01" + self._peaks.pop() + digest).digest()
            size >>= 1
        self._peaks.append(digest)
        self.size += width

    def root(self) -> bytes:
        """The root over the leaves so far (RFC 9162 2.1.1)."""
        if not self._peaks:
            return self._hash(b"").digest()
        digest = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            digest = self._hash(b"\x01" + peak + digest).digest()
        return digest


def inclusion_path(leaf_hashes: Sequence[bytes], index: int, *, algorithm: str = "sha256") -> list[bytes]:
    """The audit path of leaf `index` (RFC 9162 2.1.3.1), leaf sibling first; for trees small enough to hold."""
    if not 0 <= index < len(leaf_hashes):
        message = f"index {index} is outside a tree of {len(leaf_hashes)}"
        raise ValueError(message)
    path: list[bytes] = []
    row, position = list(leaf_hashes), index
    while len(row) > 1:
        if position ^ 1 < len(row):
            path.append(row[position ^ 1])
        paired = [node_hash(row[i], row[i + 1], algorithm=algorithm) for i in range(0, len(row) - 1, 2)]
        row = paired + row[len(row) & ~1 :]
        position >>= 1
    return path


def verify_inclusion(*, index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf_hash` is leaf `index` of the tree of `size` leaves with `root` (RFC 9162 2.1.3.2).

    Raises ProofError: index not below size, a digest that is not 32 bytes, a path too short or too long, another root.
    """
    _digest("root", root)
    computed = root_from_inclusion(index=index, size=size, leaf_hash=leaf_hash, path=path)
    if not hmac.compare_digest(computed, root):
        raise ProofError("the inclusion path leads to another root")


def root_from_inclusion(
    *, index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], algorithm: str = "sha256"
) -> bytes:
    """The root that an inclusion path leads to; trusted only once a signed checkpoint carries it."""
    length = _HASHES[algorithm]().digest_size
    _position("index", index)
    _position("size", size)
    if index >= size:
        raise ProofError(f"index {index} is not below size {size}")
    digest = _digest("leaf hash", leaf_hash, length)
    node, last = index, size - 1
    for sibling in path:
        _digest("path", sibling, length)
        if last == 0:
            raise ProofError("the inclusion path is too long")
        if node & 1 or node == last:
            digest = node_hash(sibling, digest, algorithm=algorithm)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling, algorithm=algorithm)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the inclusion path is too short")
    return digest


class PathVerifier:
    """Verifies inclusion paths to one root; what two paths share is hashed once.

    Accepts exactly what `verify_inclusion` accepts (RFC 9162 2.1.3.2): a path is followed until it meets a node from which a
    verified path went on with the same digest and the same rest. Remembers some two nodes for each leaf that it verified.
    """

    def __init__(self, size: int, root: bytes) -> None:
        self._size = size
        self._root = root
        self._known: dict[tuple[int, int], tuple[bytes, tuple[bytes, ...]]] = {}

    def verify(self, index: int, leaf_hash: bytes, path: tuple[bytes, ...]) -> None:
        """Check that `leaf_hash` is leaf `index` of the tree. Raises ProofError, as `verify_inclusion` does."""
        _position("index", index)
        # With 32 bytes here, a sibling of another length makes an input of another length, which meets no known node.
        _digest("leaf hash", leaf_hash)
        level, node, last = 0, index, self._size - 1
        digest, rest = leaf_hash, path
        trail: dict[tuple[int, int], tuple[bytes, tuple[bytes, ...]]] = {}
        while (known := self._known.get((level, node))) is None:
            if last == 0 or not rest or node > last:
                verify_inclusion(index=index, size=self._size, leaf_hash=leaf_hash, path=path, root=self._root)
                break
            trail[level, node] = (digest, rest)
            if node & 1:
                digest, rest = node_hash(rest[0], digest), rest[1:]
            elif node < last:
                digest, rest = node_hash(digest, rest[0]), rest[1:]
            level, node, last = level + 1, node >> 1, last >> 1
        else:
            if known != (digest, rest):
                verify_inclusion(index=index, size=self._size, leaf_hash=leaf_hash, path=path, root=self._root)
                raise ProofError("two inclusion paths contradict each other")
        self._known.update(trail)


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree of `new_size` extends the tree of `old_size` (RFC 9162 2.1.4.2).

    Raises ProofError: old size 0 or above the new one, a digest that is not 32 bytes, a path of the wrong length,
    another root.
    """
    _position("old size", old_size)
    _position("new size", new_size)
    _digest("old root", old_root)
    _digest("new root", new_root)
    for sibling in path:
        _digest("path", sibling)
    if old_size == 0:
        raise ProofError("old size 0 is refused: an empty tree is a prefix of every tree and proves nothing")
    if old_size > new_size:
        raise ProofError(f"old size {old_size} is above new size {new_size}")
    if old_size == new_size:
        if path:
            raise ProofError("equal sizes have an empty consistency path")
        _same("old root", old_root, new_root)
        return
    _same("new root", new_root, _walk_consistency(old_size, new_size, old_root, path))


def root_from_consistency(*, old_size: int, new_size: int, old_root: bytes, path: Sequence[bytes]) -> bytes:
    """The newer root that a consistency path from `old_root` leads to; trusted only once a signature covers it.

    Raises ProofError: sizes that are not 0 < old < new, a digest that is not 32 bytes, a path of the wrong length, or one
    that leads to another old root.
    """
    _position("old size", old_size)
    _position("new size", new_size)
    _digest("old root", old_root)
    for sibling in path:
        _digest("path", sibling)
    if not 0 < old_size < new_size:
        raise ProofError(f"old size {old_size} and new size {new_size} are not 0 < old < new")
    return _walk_consistency(old_size, new_size, old_root, path)


def _walk_consistency(old_size: int, new_size: int, old_root: bytes, path: Sequence[bytes]) -> bytes:
    """Steps 2 to 7 of RFC 9162 2.1.4.2 for 0 < old_size < new_size; the newer root."""
    if not path:
        raise ProofError("the consistency path is empty")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    # Step 2: an old tree that is a perfect subtree is its own first component.
    rest = list(path) if old_size & (old_size - 1) else [old_root, *path]
    old = new = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            raise ProofError("the consistency path is too long")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the consistency path is too short")
    _same("old root", old_root, old)
    return new


def _position(name: str, value: int) -> None:
    if type(value) is not int or not 0 <= value < _MAX_SIZE:
        raise ProofError(f"{name} is not an integer from 0 to 2^63 - 1")


def _digest(name: str, value: bytes, length: int = HASH_SIZE) -> bytes:
    if type(value) is not bytes or len(value) != length:
        raise ProofError(f"{name} is not a digest of {length} bytes")
    return value


def _same(name: str, expected: bytes, computed: bytes) -> None:
    if not hmac.compare_digest(expected, computed):
        raise ProofError(f"the consistency path leads to another {name}")
