"""What a witness has cosigned: one SQLite file that only ever moves forward.

One transaction checks and persists (BEGIN IMMEDIATE), so that threads and processes on one file take turns. `changing` returns
once the new state is on disk: synchronous=EXTRA, which is FULL and also syncs the directory once the rollback journal is gone;
with FULL alone a power failure just after a commit could bring the journal back, and with it the old size.

`create` makes the file, and nothing else ever does. Rows of logs cannot be removed and sizes cannot shrink: triggers in the
file itself see to that, whatever program opens it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from platemark import checkpoint as checkpoints
from platemark import note
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureVerifier, cosignatures, parse_vkey
from platemark.errors import FormatError, PlatemarkError
from platemark.note import NoteVerifier

__all__ = ["Latest", "Log", "Store", "WitnessError"]

_Key = TypeVar("_Key")
_APPLICATION = 0x504D5754  # "PMWT"
_VERSION = 1
_WAIT = 30.0  # seconds that a transaction waits for another
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE witness (vkey TEXT PRIMARY KEY NOT NULL);
CREATE TABLE log (
  origin TEXT PRIMARY KEY NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  size INTEGER CHECK (typeof(size) IN ('integer', 'null') AND size >= 0),
  root BLOB CHECK (typeof(root) IN ('blob', 'null') AND length(root) = 32),
  time_s INTEGER CHECK (typeof(time_s) IN ('integer', 'null') AND time_s > 0),
  note BLOB CHECK (typeof(note) IN ('blob', 'null')),
  CHECK ((size IS NULL) = (root IS NULL) AND (size IS NULL) = (time_s IS NULL) AND (size IS NULL) = (note IS NULL))
);
CREATE TABLE log_key (origin TEXT NOT NULL REFERENCES log, vkey TEXT NOT NULL, PRIMARY KEY (origin, vkey));
CREATE TRIGGER forward BEFORE UPDATE ON log
WHEN NEW.origin IS NOT OLD.origin OR NEW.hash IS NOT OLD.hash OR OLD.size IS NOT NULL AND (
  NEW.size IS NULL OR NEW.size < OLD.size OR NEW.time_s < OLD.time_s OR NEW.size = OLD.size AND NEW.root IS NOT OLD.root
)
BEGIN SELECT RAISE(ABORT, 'a witness never goes back'); END;
CREATE TRIGGER kept_log BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'a log is never removed'); END;
CREATE TRIGGER kept_key BEFORE DELETE ON log_key BEGIN SELECT RAISE(ABORT, 'a key is never removed'); END;
"""


class WitnessError(PlatemarkError):
    """The files of a witness cannot be used."""

    code = "witness"


@dataclass(frozen=True)
class Latest:
    """What was cosigned last for a log: `note` carries the log's lines and ours, `time_s` is the time in ours."""

    checkpoint: Checkpoint
    time_s: int
    note: bytes


@dataclass(frozen=True)
class Log:
    """A log of this witness; every verifier has the origin as its name."""

    origin: str
    verifiers: tuple[NoteVerifier, ...]
    latest: Latest | None


class Store:
    """The database at a path. Safe to share between threads; any number of processes may have one each."""

    def __init__(self, path: Path) -> None:
        """Opens and checks all of it. Raises WitnessError: missing, damaged, or another file."""
        self.path = path
        # SQLite polls for its lock; threads of this process wait in line instead.
        self._turn = threading.Lock()
        self._reached: dict[str, Checkpoint] = {}  # what this process has cosigned last; guarded by _turn
        with self._connection() as connection:
            self._check(connection)
            rows = connection.execute("SELECT vkey FROM witness ORDER BY rowid").fetchall()
            self.verifiers = tuple(_cosigner(vkey) for (vkey,) in rows)
        if not self.verifiers:
            raise WitnessError(f"{path}: names no key of a witness")
        for each in self.logs():
            _check_latest(path, each, self.verifiers)

    @classmethod
    def create(cls, path: Path, verifiers: Sequence[CosignatureVerifier]) -> Store:
        """A new database, where nothing may be yet, for the witness with these keys. Raises WitnessError."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise WitnessError(f"{path}: exists already; the database of a witness is never made again") from None
        except OSError as error:
            raise WitnessError(f"{path}: {error.strerror or error}") from None
        with _sentences(path), closing(_connect(path)) as connection:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            connection.executemany("INSERT INTO witness VALUES (?)", [(each.vkey,) for each in verifiers])
            connection.execute("COMMIT")
        return cls(path)

    @property
    def name(self) -> str:
        """The witness's own."""
        return self.verifiers[0].name

    def add_log(self, verifiers: Sequence[NoteVerifier]) -> None:
        """Make known the keys of logs, each under its name. What is known stays as it is: no size is ever reset."""
        with self._transaction() as connection:
            for each in verifiers:
                digest = hashlib.sha256(each.name.encode()).hexdigest()
                connection.execute("INSERT OR IGNORE INTO log (origin, hash) VALUES (?, ?)", (each.name, digest))
                connection.execute("INSERT OR IGNORE INTO log_key VALUES (?, ?)", (each.name, each.vkey))

    def log(self, origin: str) -> Log | None:
        """The log of this origin, if it is one of ours."""
        with self._connection() as connection:
            return next(_logs(connection, "WHERE origin = ?", (origin,)), None)

    def log_of(self, digest: str) -> Log | None:
        """The log the SHA-256 of whose origin is `digest`, in hex."""
        with self._connection() as connection:
            return next(_logs(connection, "WHERE hash = ?", (digest,)), None)

    def logs(self) -> tuple[Log, ...]:
        """All of them, by origin."""
        with self._connection() as connection:
            return tuple(_logs(connection))

    def advance(self, origin: str, step: Callable[[Latest | None], Latest]) -> Latest:
        """Put what `step` makes of the latest state of a log in its place, in one transaction; on disk when this returns.

        What `step` raises goes through and changes nothing. Raises WitnessError.
        """
        with self._transaction() as connection:
            known = next(_logs(connection, "WHERE origin = ?", (origin,)), None)
            latest = known.latest if known is not None else None
            self._check_reached(origin, latest)
            new = step(latest)
            found = new.checkpoint
            changed = connection.execute(
                "UPDATE log SET size = ?, root = ?, time_s = ?, note = ? WHERE origin = ?",
                (found.size, found.root, new.time_s, new.note, origin),
            )
            if changed.rowcount != 1:
                raise WitnessError(f"{self.path}: has no log {origin}")
        # Crash before the commit: nothing happened and nobody has the cosignatures. After it: they can be had again.
        with self._turn:
            reached = self._reached.setdefault(origin, found)
            if found.size > reached.size:
                self._reached[origin] = found
        return new

    def _check_reached(self, origin: str, latest: Latest | None) -> None:
        """A copy from before that somebody puts in the place of the file while we run must not take us back."""
        reached = self._reached.get(origin)
        if reached is None:
            return
        found = latest.checkpoint if latest is not None else None
        if found is None or found.size < reached.size or (found.size == reached.size and found.root != reached.root):
            raise WitnessError(
                f"{self.path}: is older than what was cosigned, and a witness that lost its database is retired"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            # Whatever is not committed is rolled back when the connection closes.
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one step. One each: a file that is gone is noticed, and no state is shared between threads."""
        if not self.path.is_file():
            raise WitnessError(
                f"{self.path}: there is no such database, and a witness that lost its database is retired"
            )
        with _sentences(self.path), closing(_connect(self.path)) as connection:
            yield connection

    def _check(self, connection: sqlite3.Connection) -> None:
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != _APPLICATION:
            raise WitnessError(f"{self.path}: is not the database of a witness")
        if version != _VERSION:
            raise WitnessError(f"{self.path}: of version {version}, and this release knows {_VERSION}")
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise _damaged(self.path, str(found).partition("\n")[0])


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw never creates a file.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_WAIT, isolation_level=None)
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise WitnessError(f"{path}: {error}") from None
    except sqlite3.Error as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, what: str) -> WitnessError:
    return WitnessError(f"{path}: the database is damaged ({what}), and a witness that lost its database is retired")


def _logs(connection: sqlite3.Connection, where: str = "", values: tuple[str, ...] = ()) -> Iterator[Log]:
    query = f"SELECT origin, size, root, time_s, note FROM log {where} ORDER BY origin"  # noqa: S608 - `where` is ours
    for origin, size, root, time_s, raw in connection.execute(query, values).fetchall():
        keys = connection.execute("SELECT vkey FROM log_key WHERE origin = ? ORDER BY rowid", (origin,)).fetchall()
        verifiers = tuple(_log_key(vkey) for (vkey,) in keys)
        latest = None if size is None else Latest(Checkpoint(origin, size, root), time_s, raw)
        yield Log(origin, verifiers, latest)


def _cosigner(vkey: str) -> CosignatureVerifier:
    verifier = _parsed(parse_vkey, vkey)
    if not isinstance(verifier, CosignatureVerifier):
        raise sqlite3.DatabaseError("a key of the witness is not one that cosigns")
    return verifier


def _log_key(vkey: str) -> NoteVerifier:
    return _parsed(note.parse_vkey, vkey)


def _parsed(parse: Callable[[str], _Key], vkey: str) -> _Key:
    try:
        return parse(vkey)
    except FormatError as error:
        raise sqlite3.DatabaseError(str(error)) from None


def _check_latest(path: Path, log: Log, own: Sequence[CosignatureVerifier]) -> None:
    """The stored state is the one that the log and we have signed: a changed byte in a row is found."""
    if log.latest is None:
        return
    try:
        signed = checkpoints.parse(log.latest.note)
        signed.verify(log.verifiers)
        times = [each.time_s for each in cosignatures(signed, own)]
    except PlatemarkError as error:
        raise _damaged(path, f"{log.origin}: {error}") from None
    if signed.checkpoint != log.latest.checkpoint or times != [log.latest.time_s] * len(own):
        raise _damaged(path, f"{log.origin}: the state is not the one that was cosigned")
