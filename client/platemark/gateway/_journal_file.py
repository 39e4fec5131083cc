"""The file of the journal: its tables; and how every file of the gateway's state is opened, read and changed."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from platemark.errors import PlatemarkError

__all__ = ["JOURNAL", "LONGEST_NS", "VERSION", "JournalError", "StateFile", "sentences"]

_WAIT = 30.0  # seconds that a change waits for another process
_APPLICATION = 0x504D474A  # "PMGJ"
VERSION = 1
LONGEST_NS = 2 * 24 * 3600 * 10**9
"""No wait is set longer than this: what is due later than that was put off by a clock that went wrong, and is due now."""
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE object (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  object_id TEXT NOT NULL UNIQUE,
  path TEXT NOT NULL,
  bytes INTEGER NOT NULL CHECK (bytes >= 0),
  received_ns INTEGER NOT NULL,
  sop_class TEXT NOT NULL,
  sop_instance TEXT NOT NULL,
  transfer_syntax TEXT NOT NULL,
  calling TEXT NOT NULL,
  called TEXT NOT NULL,
  address TEXT NOT NULL,
  certificate TEXT,
  study_uid TEXT,
  accession TEXT,
  digest BLOB,
  capture TEXT NOT NULL DEFAULT 'waiting' CHECK (capture IN ('waiting', 'captured', 'failed')),
  statement_id BLOB,
  reason TEXT,
  removed_ns INTEGER,
  CHECK ((capture = 'captured') = (statement_id IS NOT NULL))
);
CREATE INDEX object_capture ON object (number) WHERE capture = 'waiting';
CREATE INDEX object_instance ON object (sop_instance, number);
CREATE INDEX object_kept ON object (number, bytes) WHERE removed_ns IS NULL;
CREATE INDEX object_received ON object (received_ns) WHERE removed_ns IS NOT NULL;
CREATE TABLE delivery (
  number INTEGER NOT NULL REFERENCES object ON DELETE CASCADE,
  destination TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'done', 'never')),
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before_ns INTEGER NOT NULL DEFAULT 0,
  reason TEXT,
  PRIMARY KEY (number, destination)
) WITHOUT ROWID;
CREATE INDEX delivery_waiting ON delivery (destination, number) WHERE state = 'waiting';
CREATE INDEX delivery_sent ON delivery (destination, number) WHERE state = 'sent';
CREATE INDEX delivery_never ON delivery (destination) WHERE state = 'never';
"""
JOURNAL = (_APPLICATION, _SCHEMA, "the journal of a gateway")
"""What a journal is to `StateFile`."""


class JournalError(PlatemarkError):
    """The journal cannot be read or written; nothing that it was asked for has happened."""

    code = "journal"


class StateFile:
    """A file of the gateway's state at `path`, made with these tables if it is not there.

    `application` is its application id, `what` names it when the file turns out to be another one. Safe to share between
    threads; any number of processes. Raises JournalError, as everything does that works on it.
    """

    def __init__(self, path: Path, application: int, schema: str, what: str) -> None:
        self.path = path
        self._lock = threading.Lock()  # owns _connection: one connection, one caller at a time
        with sentences(path):
            self._connection = _open(path, application, schema, what)

    def close(self) -> None:
        """Let go of the file; what was done stays done."""
        with self._lock:
            self._connection.close()

    def _rows(self, query: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        with self._lock, sentences(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on disk when the block is left, undone when it raises."""
        with self._lock, sentences(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _open(path: Path, application: int, schema: str, what: str) -> sqlite3.Connection:
    if not path.exists():
        _create(path, schema)
    connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        _check(path, connection, application, what)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: every commit is synced before it returns
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(path: Path, connection: sqlite3.Connection, application: int, what: str) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != application:
        raise JournalError(f"{path}: not {what}")
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        raise JournalError(f"{path}: {what}, of another release")


def _create(path: Path, schema: str) -> None:
    """A new file under another name, moved into place whole, so that no process ever opens a part of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
            connection.executescript(schema)
        os.link(beside, path)
    except FileExistsError:
        return  # another process was faster
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """What SQLite and the system say, as JournalError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"{path}: {error}") from None
