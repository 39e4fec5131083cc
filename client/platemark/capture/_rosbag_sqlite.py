"""The sqlite3 storage of rosbag2, read without trust: its schema, its sizes and its indexes are all somebody's claims.

The file is opened immutable and read-only, so that nothing is written to it or beside it. The tables must be plain ones, and
sqlite's own integrity check must find its indexes in agreement with them, since some readers go by an index and some do not.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.capture._mcap_data import Recorded
from platemark.capture._source import open_regular, require_unchanged
from platemark.errors import RecordingError, SegmentError
from platemark.schema import MAX_INTEGER
from platemark.segment import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark.capture._message_rows import Faults
    from platemark.capture._recording_limits import RecordingLimits

__all__ = ["SQLITE_MAGIC", "Database"]

SQLITE_MAGIC = b"SQLite format 3\0"
_STEPS = 1_000_000
_COLUMNS = {
    "messages": {"id", "topic_id", "timestamp", "data"},
    "topics": {"id", "name", "type", "serialization_format"},
    "message_definitions": {"topic_type", "encoding", "encoded_message_definition"},
}
_MAX_TOPICS = 1 << 16
_WITH_DEFINITIONS = 4
_MAX_OBJECTS = 1000
_EXPRESSION = re.compile(r"\b(CHECK|VIRTUAL|AS)\b\s*", re.IGNORECASE)
_INDEX = re.compile(r"\s*CREATE\s+(UNIQUE\s+)?INDEX\s[^()]+\([^()]*\)\s*;?\s*", re.IGNORECASE)


class Database:
    """One .db3 file."""

    def __init__(self, path: Path, limits: RecordingLimits, faults: Faults) -> None:
        self._path, self._limits, self._faults = path, limits, faults

    def recorded(self) -> Iterator[Recorded]:
        """The messages with their data, by id, which is the order in which they were written. Raises RecordingError."""
        file, before = open_regular(self._path)
        with file:
            if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
                raise RecordingError(self._path, "is not a sqlite3 file")
            self._look_beside()
            with self._connection(before.st_size) as connection:
                self._require_plain_tables(connection)
                self._check_integrity(connection)
                channels = self._channels(connection)
                yield from self._messages(connection, channels)
            require_unchanged(self._path, file, before)

    def _look_beside(self) -> None:
        for ending, what in (("-wal", "a write-ahead log"), ("-journal", "a rollback journal")):
            with suppress(OSError):
                if self._path.with_name(self._path.name + ending).stat().st_size:
                    self._faults.note(self._path.name, f"{what} lies beside it with changes that are not in the file")

    @contextmanager
    def _connection(self, size: int) -> Iterator[sqlite3.Connection]:
        """Opened for reading, its work bounded by the size of the file. RecordingError for whatever sqlite finds."""
        try:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        except sqlite3.Error as error:
            raise RecordingError(self._path, f"cannot be opened: {error}") from None
        left = 100 + 20 * size // _STEPS

        def step() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._limits.message_bytes)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_progress_handler(step, _STEPS)
            for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "query_only=ON"):
                connection.execute(f"PRAGMA {pragma}")
            yield connection
        except (sqlite3.Error, sqlite3.Warning, UnicodeDecodeError) as error:
            raise RecordingError(self._path, f"sqlite cannot read it: {_sentence(error)}") from None
        finally:
            connection.close()

    def _require_plain_tables(self, connection: sqlite3.Connection) -> None:
        self._require_no_expressions(connection)
        for table, wanted in _COLUMNS.items():
            found = connection.execute(
                "SELECT type, sql FROM sqlite_master WHERE lower(name) = ? AND type IN ('table', 'view') LIMIT 2",
                (table,),
            ).fetchall()
            if not found and table == "message_definitions":
                continue
            if len(found) != 1:
                raise RecordingError(self._path, f"has not one table {table}, as a rosbag2 file has")
            kind, sql = found[0]
            words = str(sql).upper().split()
            if kind != "table" or words[:2] != ["CREATE", "TABLE"] or "WITHOUT" in words:
                raise RecordingError(self._path, f"{table} is not a plain table")
            columns = connection.execute(f"PRAGMA table_xinfo({table})").fetchmany(100)
            if not wanted <= {column[1] for column in columns} or any(column[6] for column in columns):
                raise RecordingError(self._path, f"table {table} has not the columns of rosbag2, or computed ones")
            if "id" in wanted and ("id", "INTEGER", 1) not in {
                (one[1], str(one[2]).upper(), one[5]) for one in columns
            }:
                raise RecordingError(self._path, f"id is not the primary key of table {table}")

    def _require_no_expressions(self, connection: sqlite3.Connection) -> None:
        """The integrity check computes those of every row, and one call of a function may take a second and is one step."""
        objects = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        for number, (kind, name, sql) in enumerate(objects):
            if number >= _MAX_OBJECTS:
                raise RecordingError(self._path, f"has more than {_MAX_OBJECTS} tables and indexes")
            computed = _EXPRESSION.search(str(sql)) if kind == "table" else not _INDEX.fullmatch(str(sql))
            if kind in {"table", "index"} and computed:
                raise RecordingError(self._path, f"{kind} {str(name)[:80]!r} has expressions, as no rosbag2 file has")

    def _check_integrity(self, connection: sqlite3.Connection) -> None:
        (first,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if first != "ok":
            self._faults.note(self._path.name, f"sqlite finds its tables and indexes damaged: {str(first)[:200]}")

    def _channels(self, connection: sqlite3.Connection) -> dict[int, tuple[Channel, bytes]]:
        definitions = self._definitions(connection)
        channels: dict[int, tuple[Channel, bytes]] = {}
        query = "SELECT id, name, type, serialization_format FROM topics NOT INDEXED ORDER BY id"
        for number, name, kind, encoding in connection.execute(query):
            if len(channels) >= _MAX_TOPICS:
                raise RecordingError(self._path, f"more than {_MAX_TOPICS} topics")
            if not all(isinstance(value, str) for value in (name, kind, encoding)):
                raise RecordingError(self._path, f"topic {number} is not described by texts")
            schema_encoding, schema = definitions.get(kind, ("", b""))
            try:
                channel = Channel.of(
                    name, type_name=kind, schema_encoding=schema_encoding, schema=schema, encoding=encoding
                )
            except SegmentError as error:
                raise RecordingError(self._path, f"topic {number}: {error}") from None
            channels[number] = (channel, schema)
        return channels

    def _definitions(self, connection: sqlite3.Connection) -> dict[str, tuple[str, bytes]]:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE lower(name) = 'message_definitions'").fetchone():
            return {}
        found: dict[str, tuple[str, bytes]] = {}
        left = self._limits.definition_bytes
        query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions NOT INDEXED"
        for kind, encoding, text in connection.execute(query):
            if not all(isinstance(value, str) for value in (kind, encoding, text)):
                raise RecordingError(self._path, "a message definition is not text")
            left -= len(text)
            if left < 0:
                raise RecordingError(self._path, f"its definitions are more than {self._limits.definition_bytes} bytes")
            definition = (encoding, text.encode())
            if found.setdefault(kind, definition) != definition:
                self._faults.note(self._path.name, f"type {kind[:80]} is defined twice, differently")
        if found and self._version(connection) < _WITH_DEFINITIONS:
            reason = f"it has definitions, and not the schema version {_WITH_DEFINITIONS} from which on readers look for them"
            self._faults.note(self._path.name, reason)
        return found

    def _version(self, connection: sqlite3.Connection) -> int:
        """That of the table `schema`, 0 where there is not one row of it."""
        named = "SELECT 1 FROM sqlite_master WHERE lower(name) = 'schema' AND type = 'table'"
        if not connection.execute(named).fetchone():
            return 0
        rows = connection.execute("SELECT schema_version FROM schema LIMIT 2").fetchall()
        return rows[0][0] if len(rows) == 1 and type(rows[0][0]) is int else 0

    def _messages(
        self, connection: sqlite3.Connection, channels: dict[int, tuple[Channel, bytes]]
    ) -> Iterator[Recorded]:
        cursor = connection.execute("SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED ORDER BY id")
        while True:
            try:
                row = cursor.fetchone()
            except sqlite3.DatabaseError as error:
                self._faults.note(self._path.name, f"its messages end early: {_sentence(error)}")
                return
            if row is None:
                return
            number, topic, time, data = row
            where = f"{self._path.name}, message {number}"
            if not isinstance(data, bytes) or type(time) is not int or not 0 <= time <= MAX_INTEGER:
                self._faults.note(where, "its data or its time is of another kind; it is not read")
            elif type(topic) is not int or topic not in channels:
                self._faults.note(where, f"its topic {str(topic)[:20]} is not described; it is not read")
            else:
                yield Recorded(*channels[topic], time, time, memoryview(data))


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
