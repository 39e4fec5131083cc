"""The vault's database: its schema, and a connection whose every commit is on disk when it returns."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from platemark.errors import VaultError

__all__ = ["check_version", "connect", "erased_at", "faults", "new_database"]

_APPLICATION = 0x504D5631  # "PMV1"
_VERSION = 1
_PATIENCE_MS = 30_000
# A sealed disclosure of 2 kB: three to a page of 8192 bytes, and only one to a page of SQLite's usual 4096.
_SCHEMA = f"""
PRAGMA page_size = 8192;
CREATE TABLE disclosures (number INTEGER PRIMARY KEY, root BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);
CREATE TABLE tokens (token BLOB NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (token, number)) WITHOUT ROWID;
CREATE TABLE statements (root BLOB PRIMARY KEY NOT NULL, id BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE erased (root BLOB PRIMARY KEY NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
"""
# FULL: a commit syncs the write-ahead log. secure_delete: what is erased is overwritten. trusted_schema: a database that
# somebody prepared runs no functions.
_SETTINGS = (
    f"busy_timeout = {_PATIENCE_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "trusted_schema = OFF",
)


def new_database() -> bytes:
    """The bytes of an empty database."""
    # Not sqlite3's serialize(), which needs a newer SQLite than some systems have.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vault.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
        return path.read_bytes()


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode to a database that is there. Raises VaultError: missing, or not a vault's."""
    with faults(path):
        # `rw`: a database that is missing is a fault, and never made anew.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            for setting in _SETTINGS:
                connection.execute(f"PRAGMA {setting}")
            check_version(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse the database of something else or of a later release. Raises VaultError."""
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if (application, version) != (_APPLICATION, _VERSION):
        raise VaultError(f"{path}: not the database of a vault of version {_VERSION}")


def erased_at(connection: sqlite3.Connection, root: bytes) -> int | None:
    """When a root was erased, Unix ns; None if it was not."""
    row = connection.execute("SELECT at FROM erased WHERE root = ?", (root,)).fetchone()
    return None if row is None else int(row[0])


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Every fault of SQLite as a VaultError, which names the file and no value."""
    try:
        yield
    except sqlite3.Error as error:
        raise VaultError(f"{path}: {error}") from None
