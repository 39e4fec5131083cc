"""How many statements were logged with each condition: what an alarm watches, so that nobody has to list the log to see a fork.

Counted in the transaction that logs the statement, so a crash or a second worker neither loses one nor counts it twice. A
ledger of an earlier release begins to count at the first statement with a condition that this one logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark_ledger.conditions import CONDITIONS, conditions_of
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platemark_ledger.store import ReadTransaction, WriteTransaction

__all__ = ["add", "counts"]

_PREFIX = "condition "


def add(transaction: WriteTransaction, bitsets: Iterable[int]) -> None:
    """Count the conditions of new statements; statements without any cost nothing."""
    found: dict[str, int] = {}
    for bits in bitsets:
        for condition in conditions_of(bits):
            found[condition.code] = found.get(condition.code, 0) + 1
    for code, count in found.items():
        transaction.put(Table.META, _key(code), (_count(transaction, code) + count).to_bytes(8, "big"))


def counts(transaction: ReadTransaction) -> dict[str, int]:
    """Statements with each condition that this release knows, by code."""
    return {condition.code: _count(transaction, condition.code) for condition in CONDITIONS}


def _count(transaction: ReadTransaction, code: str) -> int:
    return int.from_bytes(transaction.get(Table.META, _key(code)) or b"", "big")


def _key(code: str) -> bytes:
    return (_PREFIX + code).encode()
