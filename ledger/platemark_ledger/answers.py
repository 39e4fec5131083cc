"""The answers of one batch: every path built together, every path verified before it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from platemark import merkle
from platemark_ledger import rows
from platemark_ledger.conditions import Condition, conditions_of
from platemark_ledger.errors import Refusal

if TYPE_CHECKING:
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.batch import Placed, Tail
    from platemark_ledger.store import ReadTransaction

__all__ = ["Answers", "Appended", "Logged", "Outcome"]


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


class Answers:
    """Makes the answers of one batch under the checkpoint that it released, over one read transaction.

    `indices` are the places of everything that will be asked for.
    """

    def __init__(self, transaction: ReadTransaction, released: Anchored, tail: Tail, indices: Sequence[int]) -> None:
        self._transaction = transaction
        self._tail = tail
        self._verifier = merkle.PathVerifier(released.size, released.root)
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
