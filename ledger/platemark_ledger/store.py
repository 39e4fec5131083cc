"""The LMDB schema and its transactions: the only importer of lmdb.

One environment with a map of 1 TiB of address space, always synchronous (never NOSYNC, NOMETASYNC, WRITEMAP or MAPASYNC): when
`commit` returns, everything in the transaction is on disk. LMDB has one writer at a time across all processes, and a
reader sees the state of one commit until it ends. All numbers in keys are big-endian, so that bytewise order is numeric order.

statements  index u64                                    -> received u64 ns | conditions u16 | the COSE bytes
rows        level u8, row u64                            -> up to 256 hashes (platemark_ledger.rows)
chain       key number u32, epoch u64, seq u64, id 32    -> index u64, prev 32 (zeros for none): duplicates and forks
heads       key number u32                               -> epoch u64, seq u64, id 32, time u64, index u64
kinds       kind u8, index u64                           -> (nothing)
keys        kid 32                                       -> platemark_ledger.registry, CBOR
policies    by platemark_ledger.registry                 -> CBOR
refused     slot u16                                     -> platemark_ledger.refused, CBOR
pending, runs, manifest                                     platemark_ledger.digests
published   size u64                                     -> platemark_ledger.published, CBOR
crls        SHA-256 32                                   -> a DER CRL that published rows name
meta        name                                         -> schema, head, and one counter or value of each part
"""

from __future__ import annotations

import enum
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import lmdb

from platemark.merkle import EMPTY_ROOT
from platemark_ledger.anchor import sync_directory
from platemark_ledger.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["SCHEMA", "ChainHead", "Head", "ReadTransaction", "Store", "Stored", "Table", "WriteTransaction"]

SCHEMA = b"platemark-ledger 3"
MAP_SIZE = 1 << 40  # address space, not disk; fixed, because growing a map under open readers is not safe
MAX_READERS = 1024  # one per thread that reads at the same moment, over all worker processes

_U64 = struct.Struct(">Q")
_STATEMENT = struct.Struct(">QH")
_ROW = struct.Struct(">BQ")
_PLACE = struct.Struct(">IQQ")
_CHAIN = struct.Struct(">IQQ32s")
_CHAIN_VALUE = struct.Struct(">Q32s")
_HEAD = struct.Struct(">Q32sQ")
_CHAIN_HEAD = struct.Struct(">QQ32sQQ")
_NUMBER = struct.Struct(">I")
_NO_PREV = bytes(32)
_KIND = struct.Struct(">BQ")


class Table(enum.Enum):
    """The named databases."""

    STATEMENTS = b"statements"
    ROWS = b"rows"
    CHAIN = b"chain"
    HEADS = b"heads"
    KINDS = b"kinds"
    KEYS = b"keys"
    POLICIES = b"policies"
    REFUSED = b"refused"
    PENDING = b"pending"
    RUNS = b"runs"
    MANIFEST = b"manifest"
    PUBLISHED = b"published"
    CRLS = b"crls"
    META = b"meta"


@dataclass(frozen=True, slots=True)
class Head:
    """The state of the data: `root` of the first `size` leaves; `received` is the latest time of receipt, Unix ns."""

    size: int
    root: bytes
    received: int


@dataclass(frozen=True, slots=True)
class Stored:
    """One statement as it was accepted; `conditions` is the bitset of platemark_ledger.conditions."""

    received: int
    conditions: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The furthest statement of a key: greatest (epoch, seq), and of a fork the one that was logged first."""

    epoch: int
    seq: int
    id: bytes
    time: int
    index: int


class ReadTransaction:
    """One consistent state of the data. For one thread, inside the `with` block that made it, never across an await.

    `get` and `scan` are for the modules that own a table; the other methods own theirs.
    """

    def __init__(self, transaction: lmdb.Transaction[bytes], databases: dict[Table, lmdb._Database]) -> None:
        self._transaction = transaction
        self._databases = databases
        self._statements = databases[Table.STATEMENTS]
        self._rows = databases[Table.ROWS]
        self._chain = databases[Table.CHAIN]
        self._seen_rows: dict[tuple[int, int], bytes | None] = {}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return self._transaction.get(key, db=self._databases[table])

    def scan(self, table: Table, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) from `start` on, in key order. Do not write to the table while it runs."""
        with self._transaction.cursor(self._databases[table]) as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return
            yield from cursor

    def before(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """The last (key, value) whose key is at or before `key`."""
        with self._transaction.cursor(self._databases[table]) as cursor:
            if cursor.set_range(key):
                if cursor.key() == key or cursor.prev():
                    return cursor.item()
                return None
            return cursor.item() if cursor.last() else None

    def count(self, table: Table) -> int:
        """How many keys a table has."""
        return self._transaction.stat(self._databases[table])["entries"]

    def head(self) -> Head:
        """The state of the data; a new store has size 0."""
        value = self.get(Table.META, b"head")
        return Head(0, EMPTY_ROOT, 0) if value is None else Head(*_HEAD.unpack(value))

    def statement(self, index: int) -> Stored:
        """The statement at `index`. Raises StoreError when the data does not hold it."""
        value = self._transaction.get(_U64.pack(index), db=self._statements)
        if value is None:
            raise StoreError(f"statement {index} is missing from the data")
        received, conditions = _STATEMENT.unpack_from(value)
        return Stored(received, conditions, value[_STATEMENT.size :])

    def statements(self, start: int, stop: int) -> list[Stored]:
        """The statements start <= index < stop. Raises StoreError when the data does not hold them all."""
        found: list[Stored] = []
        for key, value in islice(self.scan(Table.STATEMENTS, _U64.pack(start)), stop - start):
            if key != _U64.pack(start + len(found)):
                break
            received, conditions = _STATEMENT.unpack_from(value)
            found.append(Stored(received, conditions, value[_STATEMENT.size :]))
        if len(found) != stop - start:
            raise StoreError(f"statement {start + len(found)} is missing from the data")
        return found

    def row(self, level: int, row: int) -> bytes | None:
        """One row of hashes, as platemark_ledger.rows reads it."""
        # A proof asks the same few rows again and again. LMDB leaves Python's lock in every call, so that under load each one may
        # cost a wait for some other thread; the state that this transaction sees does not change.
        place = (level, row)
        if place not in self._seen_rows:
            self._seen_rows[place] = self._transaction.get(_ROW.pack(level, row), db=self._rows)
        return self._seen_rows[place]

    def chain_index(self, number: int, epoch: int, seq: int, id: bytes) -> int | None:
        """The index of a statement that the log holds already, or None."""
        value = self._transaction.get(_CHAIN.pack(number, epoch, seq, id), db=self._chain)
        return None if value is None else int.from_bytes(value[:8], "big")

    def chain_holds(self, number: int, epoch: int, seq: int) -> bool:
        """Whether the log holds any statement at one place of a key's chain; one search, however many there are."""
        place = _PLACE.pack(number, epoch, seq)
        key, _ = next(self.scan(Table.CHAIN, place), (b"", b""))
        return key.startswith(place)

    def chain_prevs(self, number: int, epoch: int, seq: int, *, most: int) -> dict[bytes, bytes | None]:
        """Id -> `prev` of the statements at one place of a key's chain; of more than `most`, those with the least ids."""
        place = _PLACE.pack(number, epoch, seq)
        found: dict[bytes, bytes | None] = {}
        for key, value in islice(self.scan(Table.CHAIN, place), most):
            if not key.startswith(place):
                break
            found[key[len(place) :]] = value[8:] if seq else None  # null exactly at seq 0
        return found

    def chain_head(self, number: int) -> ChainHead | None:
        """The furthest statement of a key, or None before its first."""
        value = self.get(Table.HEADS, _NUMBER.pack(number))
        return None if value is None else ChainHead(*_CHAIN_HEAD.unpack(value))

    def of_kind(self, kind: int, start: int) -> Iterator[int]:
        """The indices of the statements of a kind from `start` on, ascending."""
        prefix = bytes([kind])
        for key, _ in self.scan(Table.KINDS, prefix + _U64.pack(start)):
            if not key.startswith(prefix):
                return
            yield int.from_bytes(key[-8:], "big")

    def last_of_kind(self, kind: int, below: int) -> int | None:
        """The greatest index below `below` of a statement of a kind, or None."""
        prefix = bytes([kind])
        found = self.before(Table.KINDS, prefix + _U64.pack(below - 1)) if below else None
        return int.from_bytes(found[0][1:], "big") if found is not None and found[0].startswith(prefix) else None


class WriteTransaction(ReadTransaction):
    """The one write transaction. Nothing of it exists until `commit` returns."""

    committed = False

    def __init__(self, transaction: lmdb.Transaction[bytes], databases: dict[Table, lmdb._Database]) -> None:
        super().__init__(transaction, databases)
        # What `add_to_chain` has added and `write_chain` has not written yet: place -> id -> index, prev.
        self._new_chain: dict[tuple[int, int, int], dict[bytes, tuple[int, bytes | None]]] = {}

    def chain_index(self, number: int, epoch: int, seq: int, id: bytes) -> int | None:
        """As ReadTransaction, with what this transaction has added."""
        added = self._new_chain.get((number, epoch, seq), {}).get(id)
        return added[0] if added is not None else super().chain_index(number, epoch, seq, id)

    def chain_holds(self, number: int, epoch: int, seq: int) -> bool:
        """As ReadTransaction, with what this transaction has added."""
        return (number, epoch, seq) in self._new_chain or super().chain_holds(number, epoch, seq)

    def chain_prevs(self, number: int, epoch: int, seq: int, *, most: int) -> dict[bytes, bytes | None]:
        """As ReadTransaction, with what this transaction has added."""
        added = self._new_chain.get((number, epoch, seq), {})
        found = super().chain_prevs(number, epoch, seq, most=most) | {id: prev for id, (_, prev) in added.items()}
        return dict(sorted(found.items())[:most]) if added else found

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Set a key."""
        if not self._transaction.put(key, value, db=self._databases[table]):
            raise StoreError(f"a row of {table.name.lower()} was not written")

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a key, which must be there."""
        if not self._transaction.delete(key, db=self._databases[table]):
            raise StoreError(f"a row of {table.name.lower()} that should be there is not")

    def set_head(self, head: Head) -> None:
        """Set the state of the data."""
        self.put(Table.META, b"head", _HEAD.pack(head.size, head.root, head.received))

    def add_statements(self, first: int, statements: Iterable[Stored]) -> None:
        """Add statements from index `first` on, which is the size so far. Raises StoreError when it is not."""
        items = [
            (_U64.pack(index), _STATEMENT.pack(each.received, each.conditions) + each.raw)
            for index, each in enumerate(statements, first)
        ]
        # LMDB answers an append that is out of order with False, not with an error.
        with self._transaction.cursor(self._statements) as cursor:
            consumed, added = cursor.putmulti(items, append=True)
        if (consumed, added) != (len(items), len(items)):
            raise StoreError(f"only {added} of {len(items)} statements from index {first} could be added")

    def put_row(self, level: int, row: int, hashes: bytes) -> None:
        """Set one row of hashes."""
        self._put(self._rows, _ROW.pack(level, row), hashes)
        self._seen_rows[level, row] = hashes

    def add_to_chain(self, number: int, epoch: int, seq: int, id: bytes, index: int, *, prev: bytes | None) -> None:
        """Note a statement in its key's chain; its place and id are new. The chain methods see it at once."""
        self._new_chain.setdefault((number, epoch, seq), {})[id] = (index, prev)

    def write_chain(self) -> None:
        """Write what was noted, in the order of the keys and in one call."""
        items = sorted(
            (_CHAIN.pack(*place, id), _CHAIN_VALUE.pack(index, prev or _NO_PREV))
            for place, added in self._new_chain.items()
            for id, (index, prev) in added.items()
        )
        with self._transaction.cursor(self._chain) as cursor:
            consumed, added = cursor.putmulti(items, overwrite=False)
        if (consumed, added) != (len(items), len(items)):
            raise StoreError(f"only {added} of {len(items)} new places of chains could be written")
        self._new_chain.clear()

    def set_chain_head(self, number: int, head: ChainHead) -> None:
        """Set the furthest statement of a key."""
        self.put(
            Table.HEADS, _NUMBER.pack(number), _CHAIN_HEAD.pack(head.epoch, head.seq, head.id, head.time, head.index)
        )

    def add_kinds(self, rows: Iterable[tuple[int, int]]) -> None:
        """Note (kind, index) of new statements."""
        keys = sorted(_KIND.pack(kind, index) for kind, index in rows)
        with self._transaction.cursor(self._databases[Table.KINDS]) as cursor:
            consumed, added = cursor.putmulti([(key, b"") for key in keys], overwrite=False)
        if (consumed, added) != (len(keys), len(keys)):
            raise StoreError(f"only {added} of {len(keys)} new rows of kinds could be written")

    def commit(self) -> None:
        """Make everything of this transaction durable. Raises StoreError; whether it then is on disk is unknown."""
        try:
            self._transaction.commit()
        except lmdb.Error as error:
            raise StoreError(f"the commit failed: {_said(error)}") from error
        self.committed = True

    def _put(self, database: lmdb._Database, key: bytes, value: bytes) -> None:
        if not self._transaction.put(key, value, db=database):
            raise StoreError("a row was not written")


class Store:
    """An open environment. One per process and directory; safe to share between threads.

    Errors of LMDB inside a `with` block come out as StoreError.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        try:
            self._environment = lmdb.open(
                str(path),
                map_size=MAP_SIZE,
                max_dbs=len(Table),
                max_readers=MAX_READERS,
                max_spare_txns=8,
                readahead=False,  # reads are random and the file outgrows the memory
                create=create,
                mode=0o640,
            )
            self._databases = {table: self._environment.open_db(table.value, create=create) for table in Table}
            self._environment.reader_check()  # slots of workers that were killed
        except lmdb.Error as error:
            raise StoreError(f"the data in {path} cannot be opened: {_said(error)}") from error

    @classmethod
    def create(cls, path: Path) -> Store:
        """A new store in an empty directory. If we crash here, it has no statement and no anchor, and nothing starts on it."""
        store = cls(path, create=True)
        with store.write() as transaction:
            transaction.put(Table.META, b"schema", SCHEMA)
            transaction.commit()
        sync_directory(path)
        return store

    @classmethod
    def open(cls, path: Path) -> Store:
        """An existing store. Raises StoreError: absent, damaged, another schema."""
        store = cls(path)
        with store.read() as transaction:
            schema = transaction.get(Table.META, b"schema")
        if schema != SCHEMA:
            store.close()
            raise StoreError(f"the data in {path} has another schema than {SCHEMA.decode()!r}")
        return store

    def close(self) -> None:
        """Close the environment; no transaction may be open."""
        self._environment.close()

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """The state of the newest commit."""
        with _translated():
            transaction = self._environment.begin()
            try:
                yield ReadTransaction(transaction, self._databases)
            finally:
                transaction.abort()

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """Wait for the writer's place; without `commit` inside the block, nothing happened."""
        with _translated():
            transaction = self._environment.begin(write=True)
            writing = WriteTransaction(transaction, self._databases)
            try:
                yield writing
            finally:
                if not writing.committed:
                    transaction.abort()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise StoreError(f"the data cannot be read or written: {_said(error)}") from error


def _said(error: lmdb.Error) -> str:
    return str(error).rstrip(".")
