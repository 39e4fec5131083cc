"""The durable side of Storage Commitment: who asked us, what we asked the PACS, and what was decided.

One SQLite file beside the journal, in WAL mode with synchronous=FULL: a change is on disk when its method returns. An
N-ACTION is answered with success only after `request` returned, so that a restart forgets no modality.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from platemark.gateway._commitment_sets import Failure, Reference, Report, new_transaction
from platemark.gateway._journal_file import LONGEST_NS, VERSION, JournalError, StateFile
from platemark.gateway._rows import Delivery

__all__ = ["COMMITTED", "Commitments", "FullError", "Request", "Requester"]

COMMITTED = 0
"""The outcome of a reference that we commit to; every other number is a Failure Reason."""
_MOST_REQUESTS = 10_000
_MOST_OF_ONE = 1_000  # of one AE title, so that nobody takes the places of all
_MOST_REFERENCES = 1_000_000  # of all open requests
_APPLICATION = 0x504D4743  # "PMGC"
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE request (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  transaction_uid TEXT NOT NULL,
  calling TEXT NOT NULL,
  address TEXT NOT NULL,
  certificate TEXT,
  requested_ns INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  not_before_ns INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX request_due ON request (not_before_ns);
CREATE TABLE reference (
  number INTEGER NOT NULL REFERENCES request ON DELETE CASCADE,
  position INTEGER NOT NULL,
  sop_class TEXT NOT NULL,
  sop_instance TEXT NOT NULL,
  outcome INTEGER,
  PRIMARY KEY (number, position)
) WITHOUT ROWID;
CREATE TABLE ask (
  transaction_uid TEXT PRIMARY KEY,
  destination TEXT NOT NULL,
  asked_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE asked (
  transaction_uid TEXT NOT NULL REFERENCES ask ON DELETE CASCADE,
  object_id TEXT NOT NULL,
  sop_class TEXT NOT NULL,
  sop_instance TEXT NOT NULL,
  PRIMARY KEY (transaction_uid, object_id)
) WITHOUT ROWID;
"""


class FullError(JournalError):
    """So many requests are open that no other is taken."""

    code = "commitments-full"


@dataclass(frozen=True)
class Requester:
    """Who asked: AE title, IP address, and the identity in its certificate (None without TLS)."""

    calling: str
    address: str
    certificate: str | None = None


@dataclass(frozen=True)
class Request:
    """A modality's request. `outcomes` has one entry per reference: COMMITTED, a Failure Reason, None while undecided."""

    number: int
    transaction_uid: str
    requester: Requester
    requested_ns: int
    attempts: int
    references: tuple[Reference, ...]
    outcomes: tuple[int | None, ...]

    @property
    def decided(self) -> bool:
        """Whether the report can be made."""
        return None not in self.outcomes

    def report(self) -> Report:
        """The report of a decided request."""
        pairs = list(zip(self.references, self.outcomes, strict=True))
        return Report(
            self.transaction_uid,
            tuple(reference for reference, outcome in pairs if outcome == COMMITTED),
            tuple(Failure(reference, outcome) for reference, outcome in pairs if outcome),
        )


class Commitments(StateFile):
    """The file at `path`, made if it is not there. Safe to share between threads; any number of processes.

    `now` gives Unix nanoseconds. Every method raises JournalError.
    """

    def __init__(self, path: Path, *, now: Callable[[], int] = time.time_ns) -> None:
        super().__init__(path, _APPLICATION, _SCHEMA, "the storage commitments of a gateway")
        self._now = now

    # --- requests of modalities ---

    def request(
        self, transaction_uid: str, requester: Requester, references: Sequence[Reference], *, refused: int
    ) -> int:
        """Keep a request; its number. A transaction UID that is in use gets `refused` for every reference.

        Raises FullError.
        """
        with self._change() as connection:
            _require_room(connection, requester, len(references))
            used = connection.execute(
                "SELECT 1 FROM request WHERE transaction_uid = ? AND calling = ? LIMIT 1",
                (transaction_uid, requester.calling),
            ).fetchone()
            number = connection.execute(
                "INSERT INTO request (transaction_uid, calling, address, certificate, requested_ns) "
                "VALUES (?, ?, ?, ?, ?)",
                (transaction_uid, requester.calling, requester.address, requester.certificate, self._now()),
            ).lastrowid
            outcome = refused if used else None
            connection.executemany(
                "INSERT INTO reference VALUES (?, ?, ?, ?, ?)",
                [(number, at, each.sop_class, each.sop_instance, outcome) for at, each in enumerate(references)],
            )
        # Crash before the commit: the modality gets no answer, and asks again.
        assert number is not None
        return number

    def due(self, limit: int) -> list[Request]:
        """Open requests whose time has come, the oldest first."""
        rows = self._rows(
            "SELECT * FROM request WHERE NOT not_before_ns BETWEEN ? AND ? ORDER BY number LIMIT ?",
            (self._now() + 1, self._now() + LONGEST_NS, limit),
        )
        return [self._built(row) for row in rows]

    def open_requests(self) -> int:
        """How many requests are not reported yet."""
        return int(self._rows("SELECT count(*) FROM request", ())[0][0])

    def decide(self, number: int, outcomes: Mapping[int, int], *, not_before_ns: int) -> None:
        """Outcomes by position; the request comes back from then on (Unix)."""
        with self._change() as connection:
            connection.executemany(
                "UPDATE reference SET outcome = ? WHERE number = ? AND position = ?",
                [(outcome, number, position) for position, outcome in outcomes.items()],
            )
            connection.execute("UPDATE request SET not_before_ns = ? WHERE number = ?", (not_before_ns, number))

    def not_reported(self, number: int, *, not_before_ns: int) -> None:
        """The report did not reach the modality; it is tried again from then on (Unix)."""
        with self._change() as connection:
            connection.execute(
                "UPDATE request SET attempts = attempts + 1, not_before_ns = ? WHERE number = ?",
                (not_before_ns, number),
            )

    def wake(self, requester: Requester) -> None:
        """The modality is there: what it asked for is looked at now."""
        with self._change() as connection:
            connection.execute(
                "UPDATE request SET not_before_ns = 0 WHERE calling = ? AND address = ? AND certificate IS ?",
                (requester.calling, requester.address, requester.certificate),
            )

    def reported(self, number: int) -> None:
        """The modality has taken the report, or nobody will: the request is done."""
        with self._change() as connection:
            connection.execute("DELETE FROM request WHERE number = ?", (number,))

    # --- what we ask of a PACS ---

    def ask(self, destination: str, deliveries: Sequence[Delivery]) -> str:
        """Note that the destination is about to be asked; the transaction UID. Call it before the N-ACTION."""
        transaction_uid = new_transaction()
        with self._change() as connection:
            connection.execute("INSERT INTO ask VALUES (?, ?, ?)", (transaction_uid, destination, self._now()))
            connection.executemany(
                "INSERT INTO asked VALUES (?, ?, ?, ?)",
                [
                    (transaction_uid, each.received.object_id, each.received.sop_class, each.received.sop_instance)
                    for each in deliveries
                ],
            )
        return transaction_uid

    def asked(self, transaction_uid: str) -> tuple[str, dict[Reference, list[str]]] | None:
        """Destination, and the object ids of every reference, of what we asked; None for what we did not ask."""
        found = self._rows("SELECT destination FROM ask WHERE transaction_uid = ?", (transaction_uid,))
        if not found:
            return None
        objects: dict[Reference, list[str]] = {}
        for row in self._rows("SELECT * FROM asked WHERE transaction_uid = ?", (transaction_uid,)):
            objects.setdefault(Reference(row["sop_class"], row["sop_instance"]), []).append(row["object_id"])
        return str(found[0]["destination"]), objects

    def forget(self, before_ns: int) -> None:
        """Drop what was asked of a PACS before then: what it reports of that late is not known any more."""
        with self._change() as connection:
            connection.execute("DELETE FROM ask WHERE asked_ns < ?", (before_ns,))

    def _built(self, row: sqlite3.Row) -> Request:
        rows = self._rows("SELECT * FROM reference WHERE number = ? ORDER BY position", (row["number"],))
        return Request(
            number=row["number"],
            transaction_uid=row["transaction_uid"],
            requester=Requester(row["calling"], row["address"], row["certificate"]),
            requested_ns=row["requested_ns"],
            attempts=row["attempts"],
            references=tuple(Reference(each["sop_class"], each["sop_instance"]) for each in rows),
            outcomes=tuple(each["outcome"] for each in rows),
        )


def _require_room(connection: sqlite3.Connection, requester: Requester, more: int) -> None:
    """Raises FullError: what is kept for modalities is bounded, in all and for each."""
    of_all, of_one = connection.execute(
        "SELECT count(*), count(CASE WHEN calling = ? THEN 1 END) FROM request", (requester.calling,)
    ).fetchone()
    if of_all >= _MOST_REQUESTS:
        raise FullError(f"{_MOST_REQUESTS} requests for storage commitment are open")
    if of_one >= _MOST_OF_ONE:
        raise FullError(f"{_MOST_OF_ONE} requests of this AE title for storage commitment are open")
    if connection.execute("SELECT count(*) FROM reference").fetchone()[0] + more > _MOST_REFERENCES:
        raise FullError(f"the open requests for storage commitment name {_MOST_REFERENCES} instances")
