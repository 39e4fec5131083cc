"""One batch of examined statements: into the log inside a write transaction, and checked again from what was written."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from platemark.kinds import SIGNERS
from platemark.merkle import leaf_hash
from platemark_ledger import digests, noticed, rows
from platemark_ledger.admission import Duplicate, Enters, Examined, Judge, place_of
from platemark_ledger.errors import Refusal, StoreError
from platemark_ledger.store import Head, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark_ledger.anchor import Anchored
    from platemark_ledger.registry import Registry
    from platemark_ledger.store import ReadTransaction, WriteTransaction

__all__ = ["KIND_NUMBERS", "Batch", "Placed", "Tail", "append", "check_tail"]

# Stored for ever: rows are only ever added at the end.
_KINDS = (
    "capture",
    "segment",
    "heartbeat",
    "attest",
    "custody",
    "note",
    "enrol",
    "revoke",
    "policy",
    "keystate",
)
KIND_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
if set(KIND_NUMBERS) != set(SIGNERS):
    raise RuntimeError("every kind needs its number before anything of it can be logged")


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a statement is in the log; `duplicate` when it was there before this one came."""

    index: int
    duplicate: bool


class Batch:
    """Decides on statements in order and writes those that enter, inside one write transaction.

    The caller commits, and need not when `write` says that nothing was new. `now` is Unix ns; the time of receipt that is stored
    never runs backwards. `log_kids` are the keys that this server signs checkpoints with.
    """

    def __init__(
        self, transaction: WriteTransaction, registry: Registry, *, log_kids: frozenset[bytes], now: int
    ) -> None:
        self._transaction = transaction
        self._registry = registry
        self._before = transaction.head()
        self._received = max(now, self._before.received)
        self._judge = Judge(transaction, registry, holds_id=self._holds, log_kids=log_kids)
        self._new: list[tuple[Examined, Enters]] = []
        self._ids: set[bytes] = set()

    def consider(self, examined: Examined) -> Placed | Refusal:
        """What becomes of an examined statement; a refusal leaves no trace in the log."""
        statement = examined.statement
        index = self._before.size + len(self._new)
        try:
            decision = self._judge.decide(examined, index=index, received=self._received)
        except Refusal as refusal:
            return refusal.as_value()
        if isinstance(decision, Duplicate):
            return Placed(decision.index, duplicate=True)
        place = place_of(statement)
        if place is not None:
            # At once, so that a repeat or a fork later in this batch finds it.
            self._transaction.add_to_chain(decision.number, *place, statement.id, index, prev=statement.prev)
        self._registry.apply(statement, index)
        self._judge.entered(statement, decision)
        self._new.append((examined, decision))
        self._ids.add(statement.id)
        return Placed(index, duplicate=False)

    def write(self) -> bool:
        """Write what entered; False when nothing did."""
        if not self._new:
            return False
        self._transaction.write_chain()
        for number, head in self._judge.changed_heads.items():
            self._transaction.set_chain_head(number, head)
        stored = [Stored(self._received, entering.conditions, each.statement.raw) for each, entering in self._new]
        append(self._transaction, self._before, [each for each, _ in self._new], stored)
        noticed.add(self._transaction, (each.conditions for each in stored if each.conditions))
        return True

    def _holds(self, statement_id: bytes) -> bool:
        return (
            statement_id in self._ids or digests.find_id(self._transaction, statement_id, self._before.size) is not None
        )


def append(transaction: WriteTransaction, before: Head, examined: Sequence[Examined], stored: Sequence[Stored]) -> None:
    """Write statements that may enter, with their kinds, names and rows, and the new head."""
    transaction.add_statements(before.size, stored)
    numbered = list(enumerate(examined, before.size))
    transaction.add_kinds((KIND_NUMBERS[each.statement.kind], index) for index, each in numbered)
    digests.add(transaction, before.size, ((index, each.names) for index, each in numbered))
    changed = rows.extend(transaction.row, before.size, [leaf_hash(each.statement.entry) for each in examined])
    for (level, row), hashes in changed.items():
        transaction.put_row(level, row, hashes)
    size = before.size + len(examined)
    transaction.set_head(Head(size, rows.root(transaction.row, size), stored[-1].received))


@dataclass(frozen=True, slots=True)
class Tail:
    """What the data has above the anchor, as read back: statements and leaf hashes from index `start` up to the head."""

    head: Head
    start: int
    stored: list[Stored]
    leaves: list[bytes]


def check_tail(transaction: ReadTransaction, anchored: Anchored) -> Tail:
    """What lies above the anchor, once all of it has been hashed again from the stored bytes.

    1. the stored tree still has the released root at the released size
    2. every statement above it, hashed anew, gives the stored rows and the stored root

    Raises StoreError. This runs over fresh reads after every commit and at every start, before anything is signed: a bit that
    flipped between hashing and storing, or a lost write, is found before a checkpoint vouches for it.
    """
    head = transaction.head()
    if head.size < anchored.size:
        raise StoreError(f"the data ends at size {head.size}, below the released checkpoint of size {anchored.size}")
    if rows.root(transaction.row, anchored.size) != anchored.root:
        raise StoreError(f"the stored tree has another root at the released size {anchored.size}")
    stored = transaction.statements(anchored.size, head.size)
    leaves = [leaf_hash(sha256(each.raw).digest()) for each in stored]
    expected = rows.extend(transaction.row, anchored.size, leaves)
    for (level, row), hashes in expected.items():
        if transaction.row(level, row) != hashes:
            raise StoreError(f"row {row} of level {level} is not what the stored statements hash to")
    if rows.root(transaction.row, head.size) != head.root:
        raise StoreError(f"the stored tree has another root at size {head.size} than its head says")
    return Tail(head, anchored.size, stored, leaves)
