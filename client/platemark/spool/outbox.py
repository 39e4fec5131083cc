"""The spool: a durable, bounded, ordered outbox of signed statements, in one directory of the writer's machine.

Capture puts a statement and goes on; a sender (platemark.spool.sender) brings it to a ledger when there is one. A statement is
in exactly one state: pending, then acknowledged (with its index) or set aside (with the ledger's reason), from where an
operator releases or discards it. Nothing that no ledger has taken is ever removed, except by that discarding.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from platemark import statement
from platemark.locks import FileLock
from platemark.spool import database
from platemark.spool.errors import SpoolBusyError, SpoolError, SpoolFullError
from platemark.spool.model import Counts, Entry, Full, Room, State

__all__ = ["CAPACITY", "DATABASE", "DAY_NS", "KEEP_NS", "Spool"]

CAPACITY = 1_000_000
DAY_NS = 86_400 * 10**9
KEEP_NS = 30 * DAY_NS
DATABASE = "spool.sqlite"
_LOCK = "spool.lock"
_PATIENCE = 30.0  # seconds for a transaction of another process
_POLL = 0.05  # seconds between two looks for room that another process may have made
_PRUNED = 2_000  # rows that one transaction removes
_Item = tuple[bytes, bytes, str | None]  # id, statement, key


class Spool:
    """The spool in a directory, which is made if it is not there. Close it, or use it in a `with`.

    Safe to share between threads, and any number of processes may have one each (not one across a fork). `capacity` bounds
    the statements that no ledger has taken, pending and set aside; `keep_ns` is how long the acknowledged ones are kept;
    `now` gives Unix nanoseconds. Every method raises SpoolError when the directory cannot be read or written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        capacity: int = CAPACITY,
        keep_ns: int = KEEP_NS,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        if capacity < 1 or keep_ns < 0:
            msg = f"capacity at least 1 and keep_ns at least 0, not {capacity} and {keep_ns}"
            raise ValueError(msg)
        self.directory = directory
        self.path = directory / DATABASE
        self.capacity = capacity
        self.keep_ns = keep_ns
        self.now = now
        self._process = os.getpid()
        self._room = threading.Condition()
        self._turn = threading.RLock()  # of the connection, between threads
        database.make_directory(directory)
        with database.sentences(directory / _LOCK):
            self._lock = FileLock(directory / _LOCK)
        try:
            with self._locked():
                self._connection: sqlite3.Connection | None = database.connect(self.path)
                self._file = self.path.stat()
        except BaseException:
            self._lock.close()
            raise

    def put(
        self, raw: bytes, *, key: str | None = None, full: Full = Full.REFUSE, patience: float | None = None
    ) -> Entry:
        """Keep one signed statement; it is on disk, and will be sent, once this returns.

        One entry per statement id, and one per `key`, a name of what the statement is about: a second put returns the first
        entry, whatever its state. When the spool is full, `full` says whether to raise or to wait for room, at most
        `patience` seconds (None: for ever). Raises FormatError (not one statement, as platemark.statement.decode says),
        SpoolFullError, SpoolError.
        """
        if key is not None and not key:
            msg = "key: not empty"
            raise ValueError(msg)
        (entry,) = self._put_patiently([(statement.decode(raw).id, raw, key)], full, patience)
        return entry

    def put_many(
        self, raws: Sequence[bytes], *, full: Full = Full.REFUSE, patience: float | None = None
    ) -> list[Entry]:
        """As `put` for several statements, in this order, for the price of one: all are on disk when this returns.

        When it raises, none is there that was not before. More than `capacity` new ones never have room.
        """
        return self._put_patiently([(statement.decode(raw).id, raw, None) for raw in raws], full, patience)

    def room(self) -> Room:
        """How full it is, for an owner that decides by it what to put; one small read, however many wait."""
        with self._reading() as connection:
            return Room(database.unsent(connection), self.capacity)

    def get(self, *, id: bytes | None = None, key: str | None = None, number: int | None = None) -> Entry | None:
        """The entry of a statement: by its id, by the key it was put under, or by its number."""
        given = [(name, value) for name, value in (("id", id), ("key", key), ("number", number)) if value is not None]
        if len(given) != 1:
            msg = "one of id, key and number"
            raise ValueError(msg)
        ((column, value),) = given
        with self._reading() as connection:
            return next(database.entries(connection, f"WHERE {column} = ?", (value,)), None)

    def pending(self, limit: int, *, after: int = 0) -> list[Entry]:
        """What is to be sent, oldest first; `after` leaves out the numbers up to it."""
        return self.entries(State.PENDING, limit, after=after)

    def entries(self, state: State, limit: int, *, after: int = 0) -> list[Entry]:
        """The entries in a state in the order of putting; `after` leaves out the numbers up to it."""
        with self._reading() as connection:
            # The state stands in the query itself, because a partial index is not used for a parameter.
            where = f"WHERE state = '{state.value}' AND number > ? ORDER BY number LIMIT ?"
            return list(database.entries(connection, where, (after, limit)))

    def acknowledge(self, logged: Sequence[tuple[bytes, int]]) -> None:
        """These ids are in the log at these indices: all of them or, when this raises, none. On disk when this returns.

        Raises SpoolError: no such statement, or it has another index already.
        """
        with self._transaction() as connection:
            for identity, index in logged:
                self._acknowledge(connection, identity, index)
        # Crash before the commit: they are sent again, and the ledger answers with the same indices. After it: done.
        with self._room:
            self._room.notify_all()

    def set_aside(self, id: bytes, code: str, reason: str) -> None:
        """The ledger will not have this statement: it is kept with the reason, and no longer sent. Raises SpoolError."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE entry SET state = 'set-aside', settled_ns = ?, code = ?, reason = ? WHERE id = ? AND state = 'pending'",
                (self.now(), code, reason, id),
            )
            if changed.rowcount != 1:
                raise self._not_so(connection, id, "pending")

    def release(self, id: bytes) -> None:
        """Send a statement again that was set aside or discarded, at its old place in the order. Raises SpoolError."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE entry SET state = 'pending', settled_ns = NULL, code = NULL, reason = NULL "
                "WHERE id = ? AND state IN ('set-aside', 'discarded')",
                (id,),
            )
            if changed.rowcount != 1:
                raise self._not_so(connection, id, "set aside")

    def discard(self, id: bytes) -> None:
        """Give up a statement that was set aside: it is kept as long as acknowledged ones, then pruned. Raises SpoolError."""
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE entry SET state = 'discarded', settled_ns = ? WHERE id = ? AND state = 'set-aside'",
                (self.now(), id),
            )
            if changed.rowcount != 1:
                raise self._not_so(connection, id, "set aside")
        with self._room:
            self._room.notify_all()

    def prune(self) -> int:
        """Remove what was acknowledged or discarded longer than `keep_ns` ago; how many. In short transactions."""
        before, removed = self.now() - self.keep_ns, 0
        while True:
            with self._transaction() as connection:
                count = connection.execute(
                    "DELETE FROM entry WHERE number IN (SELECT number FROM entry WHERE state IN ('acknowledged', "
                    "'discarded') AND settled_ns < ? ORDER BY settled_ns LIMIT ?)",
                    (before, _PRUNED),
                ).rowcount
            removed += count
            if count < _PRUNED:
                return removed

    def counts(self) -> Counts:
        """How many are in which state, and since when the oldest waits. Costs the same however many there are."""
        with self._reading() as connection:
            tally = dict(connection.execute("SELECT state, entries FROM tally").fetchall())
            oldest = connection.execute(
                "SELECT put_ns FROM entry WHERE state = 'pending' ORDER BY number LIMIT 1"
            ).fetchone()
        return Counts(
            depth=tally["pending"],
            oldest_ns=oldest[0] if oldest is not None else None,
            set_aside=tally["set-aside"],
            acknowledged=tally["acknowledged"],
            discarded=tally["discarded"],
            capacity=self.capacity,
        )

    def close(self) -> None:
        """Close the database. Closing twice is fine."""
        with self._turn:
            if self._connection is None:
                return
            # SQLite checkpoints when the last one closes, so this takes the lock as a writer does.
            with self._lock.held(_PATIENCE), database.sentences(self.path):
                self._connection.close()
            self._connection = None
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put_patiently(self, items: Sequence[_Item], full: Full, patience: float | None) -> list[Entry]:
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            entries = self._put(items)
            if entries is not None:
                return entries
            if full is not Full.BLOCK or (deadline is not None and time.monotonic() >= deadline):
                raise SpoolFullError(self._full())
            with self._room:
                self._room.wait(_POLL)

    def _put(self, items: Sequence[_Item]) -> list[Entry] | None:
        """The entries, new or the first ones; None, and nothing was put, when there is no room for the new ones."""
        entries: list[Entry] = []
        fresh: dict[bytes, Entry] = {}
        with self._transaction() as connection:
            left = self.capacity - database.unsent(connection)
            known = [database.first(connection, identity, key) for identity, _, key in items]
            # Those that come twice among the items are counted once.
            if len({item[0] for item, first in zip(items, known, strict=True) if first is None}) > max(0, left):
                return None
            for (identity, raw, key), first in zip(items, known, strict=True):
                if first is None and identity not in fresh:
                    fresh[identity] = self._insert(connection, identity, raw, key)
                entries.append(first or fresh[identity])
        # Crash before the commit: nothing was put and nobody was told. After it: they are there, told or not; the owner puts
        # them again under the same ids or keys and gets these entries.
        if any(known):
            # A process that was killed between writing and syncing it may have put it.
            with database.sentences(self.path):
                database.sync_log(self.path)
        return entries

    def _insert(self, connection: sqlite3.Connection, identity: bytes, raw: bytes, key: str | None) -> Entry:
        put_ns = self.now()
        number = connection.execute(
            "INSERT INTO entry (id, raw, key, put_ns) VALUES (?, ?, ?, ?)", (identity, raw, key, put_ns)
        ).lastrowid
        assert number is not None
        return Entry(number, identity, raw, key, put_ns, State.PENDING, None, None, None, None)

    def _acknowledge(self, connection: sqlite3.Connection, identity: bytes, index: int) -> None:
        changed = connection.execute(
            "UPDATE entry SET state = 'acknowledged', settled_ns = ?, log_index = ?, code = NULL, reason = NULL "
            "WHERE id = ? AND state != 'acknowledged'",
            (self.now(), index, identity),
        )
        if changed.rowcount == 1:
            return
        found = connection.execute("SELECT log_index FROM entry WHERE id = ?", (identity,)).fetchone()
        if found is None:
            raise SpoolError(f"{self.path}: has no statement {identity.hex()}")
        if found[0] != index:
            raise SpoolError(f"{self.path}: statement {identity.hex()} has index {found[0]}, so it cannot get {index}")

    def _not_so(self, connection: sqlite3.Connection, identity: bytes, expected: str) -> SpoolError:
        found = connection.execute("SELECT state FROM entry WHERE id = ?", (identity,)).fetchone()
        if found is None:
            return SpoolError(f"{self.path}: has no statement {identity.hex()}")
        return SpoolError(f"{self.path}: statement {identity.hex()} is {found[0]}, not {expected}")

    def _full(self) -> str:
        counts = self.counts()
        aside = f", {counts.set_aside} of them set aside: platemark spool list" if counts.set_aside else ""
        return f"{self.directory}: full: {counts.unsent} statements wait for a ledger{aside}; nothing was put"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.held(_PATIENCE) as had:
            if not had:
                raise SpoolBusyError(f"{self.directory / _LOCK}: another process has been writing for {_PATIENCE:g} s")
            yield

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, database.sentences(self.path):
            yield self._checked()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction; committed, and on disk, when the block has ended without an error."""
        with self._turn, database.sentences(self.path):
            connection = self._checked()
            with self._locked():
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

    def _checked(self) -> sqlite3.Connection:
        """The connection, if it still leads to the file at our path: what is put into a removed one would be lost."""
        if self._connection is None or self._process != os.getpid():
            msg = "this spool is closed, or was opened before a fork"
            raise RuntimeError(msg)
        try:
            same = os.path.samestat(self._file, self.path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise SpoolError(f"{self.path}: was removed or replaced while it was in use; nothing was changed")
        return self._connection
