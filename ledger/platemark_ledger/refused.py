"""The last statements that were refused, for the operator who asks why a device's captures do not arrive.

A ring of 4096 rows, so that no flood of refusals fills a disk. No promise: rows ride along with the next commit and are lost with
a process that dies before it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platemark_ledger.store import ReadTransaction, WriteTransaction

__all__ = ["RING", "RefusedEntry", "add", "newest"]

RING = 4096
_SLOT = struct.Struct(">H")
_U64 = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """One refusal: `sha256` is of the bytes that were refused, `time` the log's clock in Unix ns."""

    code: str
    field: str
    reason: str
    time: int
    sha256: bytes


def add(transaction: WriteTransaction, entries: Iterable[RefusedEntry]) -> None:
    """Note refusals, over the oldest ones."""
    count = _count(transaction)
    for entry in entries:
        row = cbor.encode([entry.code, entry.field[:128], entry.reason[:512], entry.time, entry.sha256])
        transaction.put(Table.REFUSED, _SLOT.pack(count % RING), row)
        count += 1
    transaction.put(Table.META, b"refused", _U64.pack(count))


def newest(transaction: ReadTransaction, limit: int) -> list[RefusedEntry]:
    """The last refusals, newest first."""
    count = _count(transaction)
    found = []
    for number in range(count - 1, max(count - 1 - min(limit, RING), -1), -1):
        row = transaction.get(Table.REFUSED, _SLOT.pack(number % RING))
        assert row is not None
        found.append(RefusedEntry(*cast("tuple[str, str, str, int, bytes]", cbor.decode(row))))
    return found


def _count(transaction: ReadTransaction) -> int:
    value = transaction.get(Table.META, b"refused")
    return 0 if value is None else int.from_bytes(value, "big")
