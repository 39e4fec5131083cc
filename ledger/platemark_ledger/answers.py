"""The answers of one batch: every path built together, every path verified before it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from platemark import merkle
from platemark.errors import ProofError
from platemark_ledger import rows
from platemark_ledger.conditions import Condition, conditions_of
from platemark_ledger.errors import Refusal

if TYPE_CHECKING:
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.batch import Placed, Tail
    from platemark_ledger.store import ReadTransaction

__all__ = ["Answers", "Appended", "Logged", "Outcome", "PathVerifier"]


@dataclass(frozen=True, slots=True)
class Logged:
    """A statement that is in the log, durably. Everything but the path is from the first time, where `duplicate`.

    `raw` are the bytes accepted first: SHA-256 of them is the entry. `received` is the log's clock, Unix ns. `path` leads from
    the leaf at `index` to the checkpoint of the same answer and has been verified.
    """

    index: int
    id: bytes
    raw: bytes
    received: int
    conditions: tuple[Condition, ...]
    duplicate: bool
    path: tuple[bytes, ...]


Outcome = Logged | Refusal


@dataclass(frozen=True, slots=True)
class Appended:
    """One outcome per statement of a call, in its order, and the released checkpoint that covers every logged one."""

    outcomes: tuple[Outcome, ...]
    checkpoint: Anchored


class PathVerifier:
    """Verifies inclusion paths to one root; what two paths share is hashed once.

    Accepts exactly what `merkle.verify_inclusion` accepts (RFC 9162 2.1.3.2): a path is followed until it meets a node from which
    a verified path went on with the same digest and the same rest.
    """

    def __init__(self, size: int, root: bytes) -> None:
        self._size = size
        self._root = root
        self._known: dict[tuple[int, int], tuple[bytes, tuple[bytes, ...]]] = {}

    def verify(self, index: int, leaf_hash: bytes, path: tuple[bytes, ...]) -> None:
        """Raises ProofError unless `leaf_hash` is leaf `index` of the tree."""
        level, node, last = 0, index, self._size - 1
        digest, rest = leaf_hash, path
        trail: dict[tuple[int, int], tuple[bytes, tuple[bytes, ...]]] = {}
        while (known := self._known.get((level, node))) is None:
            if last == 0 or not rest or node > last:
                merkle.verify_inclusion(index=index, size=self._size, leaf_hash=leaf_hash, path=path, root=self._root)
                break
            trail[level, node] = (digest, rest)
            if node & 1:
                digest, rest = merkle.node_hash(rest[0], digest), rest[1:]
            elif node < last:
                digest, rest = merkle.node_hash(digest, rest[0]), rest[1:]
            level, node, last = level + 1, node >> 1, last >> 1
        else:
            if known != (digest, rest):
                merkle.verify_inclusion(index=index, size=self._size, leaf_hash=leaf_hash, path=path, root=self._root)
                raise ProofError("two inclusion paths contradict each other")
        self._known.update(trail)


class Answers:
    """Makes the answers of one batch under the checkpoint that it released, over one read transaction.

    `indices` are the places of everything that will be asked for.
    """

    def __init__(self, transaction: ReadTransaction, released: Anchored, tail: Tail, indices: Sequence[int]) -> None:
        self._transaction = transaction
        self._tail = tail
        self._verifier = PathVerifier(released.size, released.root)
        self._paths = _paths(transaction, sorted(set(indices)), released.size)

    def logged(self, placed: Placed, statement_id: bytes) -> Logged:
        """The answer for one statement, from what is stored. Raises ProofError unless its path leads to the released root."""
        place = placed.index - self._tail.start
        if 0 <= place < len(self._tail.stored):
            stored, leaf = self._tail.stored[place], self._tail.leaves[place]
        else:
            stored = self._transaction.statement(placed.index)
            leaf = merkle.leaf_hash(sha256(stored.raw).digest())
        path = self._paths[placed.index]
        self._verifier.verify(placed.index, leaf, path)
        return Logged(
            index=placed.index,
            id=statement_id,
            raw=stored.raw,
            received=stored.received,
            conditions=conditions_of(stored.conditions),
            duplicate=placed.duplicate,
            path=path,
        )


def _paths(transaction: ReadTransaction, indices: Sequence[int], size: int) -> dict[int, tuple[bytes, ...]]:
    """The inclusion path of each index in the tree of `size`; neighbours are made together."""
    found: dict[int, tuple[bytes, ...]] = {}
    start = 0
    for stop in range(1, len(indices) + 1):
        if stop == len(indices) or indices[stop] != indices[stop - 1] + 1:
            run = indices[start:stop]
            found.update(zip(run, rows.paths(transaction.row, size, run[0], run[-1] + 1), strict=True))
            start = stop
    return found
