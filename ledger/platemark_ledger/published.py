"""Published checkpoints as they are stored: with post-quantum signature, cosignatures and time stamps.

Rows: size u64 -> CBOR {v 1, at Unix ns, root 32, note: the log note, cosignatures: [signature line], witnessed, stamps:
[[authority, response DER, [SHA-256 of a CRL]]]}. META `witnessed`: the size of the newest witnessed row. CRLs are stored once:
an authority's stays the same for days, and its stamps come by the minute.

Which rows stay: every row with a time stamp, for ever, because evidence about an index rests on the earliest stamped row that
covers it; the newest row; the newest witnessed row. Any other row is removed when a newer one is stored. So the table grows
by one row for each interval of time stamps in which the log grew, and not by one a second.

Only the publisher writes, one process at a time (seat.py); anyone may read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from platemark import cbor
from platemark.errors import CborError
from platemark_ledger.anchor import Anchored
from platemark_ledger.errors import StoreError
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark_ledger.store import ReadTransaction, WriteTransaction

__all__ = [
    "Published",
    "Stamp",
    "at_size",
    "decode",
    "earliest_stamped",
    "encode",
    "newest",
    "newest_witnessed",
    "put",
    "sizes",
]

_U64 = struct.Struct(">Q")
_WITNESSED = b"witnessed"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What one time-stamping authority answered: the whole RFC 3161 TimeStampResp, and CRLs of then, all DER."""

    authority: str
    response: bytes
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """One published checkpoint.

    `log_note` is the note with the log's own signature lines and no others: what authorities stamp. `cosignatures` are whole
    signature lines in the order of the witness policy. `witnessed`: they met its quorum when this was stored. `at` is Unix ns.
    """

    size: int
    root: bytes
    log_note: bytes
    at: int
    cosignatures: tuple[str, ...] = ()
    witnessed: bool = False
    stamps: tuple[Stamp, ...] = ()

    @property
    def note(self) -> bytes:
        """The note with every signature."""
        return self.log_note + "".join(self.cosignatures).encode()

    @property
    def released(self) -> Anchored:
        """As the checkpoint of answers; `sequence` 0, because it is in no anchor file."""
        return Anchored(0, self.size, self.root, self.note)


def encode(row: Published) -> bytes:
    """The value of a row, without the CRLs themselves."""
    value: dict[str, Value] = {
        "v": 1,
        "at": row.at,
        "root": row.root,
        "note": row.log_note,
        "cosignatures": [*row.cosignatures],
        "witnessed": row.witnessed,
        "stamps": [[each.authority, each.response, [sha256(crl).digest() for crl in each.crls]] for each in row.stamps],
    }
    return cbor.encode(value)


def decode(size: int, data: bytes, crl: Callable[[bytes], bytes | None]) -> Published:
    """The row of a size; `crl` finds a CRL by its SHA-256. Raises StoreError: it is not what `encode` writes."""
    try:
        value = cast("dict[str, Value]", cbor.decode(data))
        if value["v"] != 1:
            raise StoreError(f"the published checkpoint of size {size} is of a later release")
        stamps = cast("list[list[Value]]", value["stamps"])
        return Published(
            size=size,
            root=cast("bytes", value["root"]),
            log_note=cast("bytes", value["note"]),
            at=cast("int", value["at"]),
            cosignatures=tuple(cast("list[str]", value["cosignatures"])),
            witnessed=cast("bool", value["witnessed"]),
            stamps=tuple(
                Stamp(
                    cast("str", authority),
                    cast("bytes", response),
                    tuple(_found(size, crl(name)) for name in cast("list[bytes]", crls)),
                )
                for authority, response, crls in stamps
            ),
        )
    except (CborError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the published checkpoint of size {size} is damaged") from error


def at_size(transaction: ReadTransaction, size: int) -> Published | None:
    """The published checkpoint of exactly this size."""
    data = transaction.get(Table.PUBLISHED, _U64.pack(size))
    return None if data is None else _row(transaction, size, data)


def newest(transaction: ReadTransaction) -> Published | None:
    """The published checkpoint of the greatest size."""
    found = transaction.before(Table.PUBLISHED, b"\xff" * 8)
    return None if found is None else _row(transaction, _size(found[0]), found[1])


def newest_witnessed(transaction: ReadTransaction) -> Published | None:
    """The published checkpoint of the greatest size for which the quorum had cosigned."""
    key = transaction.get(Table.META, _WITNESSED)
    return None if key is None else at_size(transaction, _size(key))


def sizes(transaction: ReadTransaction) -> tuple[int, int]:
    """The sizes of the newest published and of the newest witnessed checkpoint, 0 where there is none; no row is read."""
    found = transaction.before(Table.PUBLISHED, b"\xff" * 8)
    key = transaction.get(Table.META, _WITNESSED)
    return (0 if found is None else _size(found[0])), (0 if key is None else _size(key))


def earliest_stamped(transaction: ReadTransaction, index: int, most: int) -> Published | None:
    """The smallest published checkpoint with a time stamp that covers `index` and has at most `most` leaves."""
    for key, data in transaction.scan(Table.PUBLISHED, _U64.pack(index + 1)):
        if _size(key) > most:
            return None
        row = _row(transaction, _size(key), data)
        if row.stamps:
            return row
    return None


def put(transaction: WriteTransaction, row: Published) -> Published:
    """Store a row, joined with what is stored for its size, and remove what need not stay; returns what is stored now.

    One size has one log note for ever, since stamps are over it. Raises StoreError for another one.
    """
    stored = at_size(transaction, row.size)
    if stored is not None:
        row = _joined(stored, row)
    before, witnessed = newest(transaction), newest_witnessed(transaction)
    for crl in {crl for stamp in row.stamps for crl in stamp.crls}:
        transaction.put(Table.CRLS, sha256(crl).digest(), crl)
    transaction.put(Table.PUBLISHED, _U64.pack(row.size), encode(row))
    if row.witnessed and (witnessed is None or row.size >= witnessed.size):
        transaction.put(Table.META, _WITNESSED, _U64.pack(row.size))
        stays = row.size
    else:
        stays = -1 if witnessed is None else witnessed.size
    greatest = row.size if before is None else max(before.size, row.size)
    for size, each in {each.size: each for each in (before, witnessed, row) if each is not None}.items():
        if size not in {greatest, stays} and not each.stamps:
            transaction.delete(Table.PUBLISHED, _U64.pack(size))
    return row


def _joined(stored: Published, new: Published) -> Published:
    """Nothing that was published is taken back: the newer cosignatures if they are a quorum's, and every stamp."""
    if (stored.log_note, stored.root) != (new.log_note, new.root):
        raise StoreError(f"refused a second published checkpoint of size {new.size}")
    kept = stored if stored.witnessed and not new.witnessed else new
    named = {each.authority: each for each in (*new.stamps, *stored.stamps)}
    return replace(kept, at=stored.at, stamps=tuple(named.values()))


def _row(transaction: ReadTransaction, size: int, data: bytes) -> Published:
    return decode(size, data, lambda name: transaction.get(Table.CRLS, name))


def _found(size: int, crl: bytes | None) -> bytes:
    if crl is None:
        raise StoreError(f"a CRL of the published checkpoint of size {size} is missing from the data")
    return crl


def _size(key: bytes) -> int:
    return int.from_bytes(key, "big")
