"""The SQLite file of a spool: its schema, how it is made and opened, and its faults in sentences.

Journal mode WAL with synchronous=FULL: a commit returns after an fsync of the write-ahead log, and SQLite syncs the directory
when it makes that file. The database itself is made whole beside its place and moved there, so that a crash leaves none or
all of it; and an empty or foreign file in its place is an error, never a fresh start.

SQLite's own locks let two processes write and checkpoint at the same instant, in which releases before 3.51.3 can damage the
file (https://www.sqlite.org/wal.html#walresetbug). Whoever writes, opens or closes holds the spool's lock file, so that this
never happens.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from platemark import files
from platemark.errors import PlatemarkError
from platemark.spool.errors import SpoolBusyError, SpoolDamagedError, SpoolError
from platemark.spool.model import Entry, State

__all__ = ["connect", "entries", "first", "make_directory", "sentences", "sync_log", "unsent"]

_APPLICATION = 0x504D5350  # "PMSP"
_VERSION = 1
_COLUMNS = "number, id, raw, key, put_ns, state, settled_ns, log_index, code, reason"
_WAIT = 30.0  # seconds that a transaction waits for another program
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SCHEMA = """
CREATE TABLE entry (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE CHECK (typeof(id) = 'blob' AND length(id) = 32),
  raw BLOB NOT NULL CHECK (typeof(raw) = 'blob'),
  key TEXT UNIQUE CHECK (typeof(key) IN ('text', 'null')),
  put_ns INTEGER NOT NULL CHECK (typeof(put_ns) = 'integer'),
  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'acknowledged', 'set-aside', 'discarded')),
  settled_ns INTEGER CHECK (typeof(settled_ns) IN ('integer', 'null')),
  log_index INTEGER CHECK (typeof(log_index) IN ('integer', 'null') AND log_index >= 0),
  code TEXT,
  reason TEXT,
  CHECK ((state = 'pending') = (settled_ns IS NULL)),
  CHECK ((state = 'acknowledged') = (log_index IS NOT NULL)),
  CHECK ((state IN ('set-aside', 'discarded')) = (code IS NOT NULL AND reason IS NOT NULL))
);
CREATE INDEX pending ON entry (number) WHERE state = 'pending';
CREATE INDEX set_aside ON entry (number) WHERE state = 'set-aside';
CREATE INDEX settled ON entry (settled_ns) WHERE state IN ('acknowledged', 'discarded');
CREATE TABLE tally (state TEXT PRIMARY KEY NOT NULL, entries INTEGER NOT NULL CHECK (entries >= 0)) WITHOUT ROWID;
INSERT INTO tally VALUES ('pending', 0), ('acknowledged', 0), ('set-aside', 0), ('discarded', 0);
CREATE TRIGGER counted_in AFTER INSERT ON entry
BEGIN UPDATE tally SET entries = entries + 1 WHERE state = NEW.state; END;
CREATE TRIGGER counted_out AFTER DELETE ON entry
BEGIN UPDATE tally SET entries = entries - 1 WHERE state = OLD.state; END;
CREATE TRIGGER counted_over AFTER UPDATE OF state ON entry WHEN NEW.state IS NOT OLD.state
BEGIN
  UPDATE tally SET entries = entries - 1 WHERE state = OLD.state;
  UPDATE tally SET entries = entries + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER kept BEFORE DELETE ON entry WHEN OLD.state NOT IN ('acknowledged', 'discarded')
BEGIN SELECT RAISE(ABORT, 'a statement that no ledger has taken is never removed'); END;
CREATE TRIGGER fixed BEFORE UPDATE OF number, id, raw, key, put_ns ON entry
BEGIN SELECT RAISE(ABORT, 'a statement in the spool never changes'); END;
CREATE TRIGGER taken BEFORE UPDATE OF state, log_index ON entry WHEN OLD.state = 'acknowledged'
BEGIN SELECT RAISE(ABORT, 'a statement keeps its index'); END;
"""


def make_directory(directory: Path) -> None:
    """The directory, durably, with those above it that are missing. Mode 0700. Raises SpoolError."""
    try:
        missing = [each for each in (directory, *directory.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
            files.sync_directory(each.parent)
        if not directory.is_dir():
            raise SpoolError(f"{directory}: is not a directory")
    except OSError as error:
        raise SpoolError(f"{directory}: {error.strerror or error}") from None


def connect(path: Path) -> sqlite3.Connection:
    """The database at `path`, made if there is none. The caller holds the spool's lock, and shares it between threads.

    Raises SpoolDamagedError, SpoolError.
    """
    if not path.exists():
        _create(path)
    with sentences(path):
        # mode=rw never creates a file.
        uri = f"{path.resolve().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        try:
            _check(connection, path)
            _configure(connection, path)
            # What a process wrote that was killed before its fsync is visible now: it is synced before anybody relies on it.
            sync_log(path)
        except BaseException:
            connection.close()
            raise
    return connection


def sync_log(path: Path) -> None:
    """Sync the write-ahead log of the database at `path`, if there is one. Raises OSError."""
    try:
        descriptor = os.open(f"{path}-wal", os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Faults of SQLite and of the system as SpoolError."""
    try:
        yield
    except PlatemarkError:
        raise
    except sqlite3.ProgrammingError:
        raise  # ours, not the world's
    except sqlite3.Error as error:
        raise _sentence(path, error) from None
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror or error}") from None


def unsent(connection: sqlite3.Connection) -> int:
    """How many count against the capacity: pending and set aside. Costs the same however many there are."""
    query = "SELECT sum(entries) FROM tally WHERE state IN ('pending', 'set-aside')"
    return int(connection.execute(query).fetchone()[0])


def first(connection: sqlite3.Connection, identity: bytes, key: str | None) -> Entry | None:
    """The entry under the key or, failing that, of the id."""
    found = None if key is None else next(entries(connection, "WHERE key = ?", (key,)), None)
    return found or next(entries(connection, "WHERE id = ?", (identity,)), None)


def entries(
    connection: sqlite3.Connection, where: str, values: tuple[bytes | str | int | None, ...]
) -> Iterator[Entry]:
    """The rows that a WHERE clause selects, all read at once."""
    query = f"SELECT {_COLUMNS} FROM entry {where}"  # noqa: S608 - `where` is ours
    for number, identity, raw, key, put_ns, state, *rest in connection.execute(query, values).fetchall():
        yield Entry(number, identity, raw, key, put_ns, State(state), *rest)


def _sentence(path: Path, error: sqlite3.Error) -> SpoolError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    primary = code & 0xFF
    if primary in _DAMAGE or not isinstance(error, sqlite3.OperationalError):
        return SpoolDamagedError(
            f"{path}: the database is damaged ({error}); keep the directory as it is, and put the statements that you "
            "hold as files into a new spool: what was logged before keeps its index"
        )
    if primary == sqlite3.SQLITE_FULL:
        return SpoolError(f"{path}: the disk is full; nothing was changed, and what is in the spool stays")
    if primary == sqlite3.SQLITE_BUSY:
        return SpoolBusyError(f"{path}: another program has been writing for {_WAIT:g} s")
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return SpoolError(f"{path}: cannot be written ({error}); the directory has to be writable too")
    return SpoolError(f"{path}: {error}")


def _create(path: Path) -> None:
    """A new database, whole or not there, durable when this returns."""
    if Path(f"{path}-wal").exists():
        raise SpoolDamagedError(f"{path}: is gone, and the log beside it ({path.name}-wal) is not: bring it back")
    with sentences(path), closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        memory.executescript(_SCHEMA)
        memory.execute(f"PRAGMA application_id = {_APPLICATION}")
        memory.execute(f"PRAGMA user_version = {_VERSION}")
        content = memory.serialize()
    try:
        files.create(path, content, mode=0o600)
    except files.FileError as error:
        raise SpoolError(error.reason) from None


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != _APPLICATION:
        raise SpoolDamagedError(f"{path}: is not the database of a spool")
    if version != _VERSION:
        raise SpoolError(f"{path}: of version {version}, and this release knows {_VERSION}")


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise SpoolError(f"{path}: this file system cannot hold a write-ahead log; a spool needs a local disk")
    connection.execute("PRAGMA journal_size_limit = 67108864")
