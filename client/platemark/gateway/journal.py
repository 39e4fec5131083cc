"""The journal of the gateway: every object that was acknowledged to a modality, and how far it is.

One SQLite file in WAL mode with synchronous=FULL: every change is on disk when its method returns, and a kill at any point
leaves either all of it or none. The receiver, the signing process and the forwarder each open it; changes take turns.
A row is made by `add` and moves forward: waiting, then captured or failed; waiting, then done or never, with `sent` between
where the destination has to commit. `retry_*` are an operator's word, `not_committed` the destination's, to go back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from platemark.gateway import _rows
from platemark.gateway._journal_file import JOURNAL, LONGEST_NS, JournalError, StateFile
from platemark.gateway._rows import RECEIVED, Capture, Counts, Delivery, DeliveryState, Received, Standing

__all__ = ["Capture", "Counts", "Delivery", "DeliveryState", "Journal", "JournalError", "Received", "Standing"]

_UNDONE = (
    "object.removed_ns IS NULL AND (object.capture = 'waiting' OR EXISTS "
    "(SELECT 1 FROM delivery WHERE delivery.number = object.number AND delivery.state IN ('waiting', 'sent')))"
)
# Nothing is left to do with the file; what failed for good stays for the operator.
_SETTLED = (
    "object.removed_ns IS NULL AND object.capture = 'captured' AND NOT EXISTS "
    "(SELECT 1 FROM delivery WHERE delivery.number = object.number AND delivery.state <> 'done')"
)


class Journal(StateFile):
    """The journal at `path`, made if it is not there. Safe to share between threads; any number of processes.

    `destinations` are the names of the peers that every object added from now on has to reach; empty in mode `copy`.
    `now` gives Unix nanoseconds. Raises JournalError, as every method does.
    """

    def __init__(self, path: Path, *, destinations: Sequence[str] = (), now: Callable[[], int] = time.time_ns) -> None:
        super().__init__(path, *JOURNAL)
        self._destinations = tuple(destinations)
        self._now = now

    def add(self, received: Received) -> None:
        """A new object. Call it once the file is durable under its path, and answer the modality after it returned."""
        row = _rows.values(received, self.path.parent)
        marks = ", ".join("?" * len(row))
        with self._change() as connection:
            cursor = connection.execute(f"INSERT INTO object ({', '.join(row)}) VALUES ({marks})", [*row.values()])  # noqa: S608
            for each in self._destinations:
                connection.execute("INSERT INTO delivery (number, destination) VALUES (?, ?)", (cursor.lastrowid, each))
            # Crash before the commit: the file has no row, was never acknowledged, and the next start removes it.

    def to_capture(self, limit: int) -> list[Received]:
        """The objects without a statement, in the order of their arrival."""
        return self._received(
            "WHERE object.capture = 'waiting' AND object.removed_ns IS NULL ORDER BY object.number LIMIT ?", (limit,)
        )

    def captured(
        self,
        object_id: str,
        statement_id: bytes,
        *,
        digest: bytes | None = None,
        study_uid: str | None = None,
        accession: str | None = None,
    ) -> None:
        """The statement of the object is in the spool. `digest`: SHA-256 of its `dataset` rung, for `same`."""
        self._capture(
            "UPDATE object SET capture = 'captured', statement_id = ?, digest = ?, study_uid = ?, accession = ?, "
            "reason = NULL WHERE object_id = ? AND capture <> 'captured'",
            (statement_id, digest, study_uid, accession, object_id),
        )

    def capture_failed(self, object_id: str, reason: str) -> None:
        """The object itself cannot be captured, ever: it is kept, counted and never blocks the others."""
        self._capture(
            "UPDATE object SET capture = 'failed', reason = ? WHERE object_id = ? AND capture = 'waiting'",
            (reason, object_id),
        )

    def retry_capture(self, object_id: str) -> None:
        """The operator's word: try a failed one again."""
        self._capture(
            "UPDATE object SET capture = 'waiting', reason = NULL WHERE object_id = ? AND capture = 'failed'",
            (object_id,),
        )

    def retry_failed(self) -> None:
        """As `retry_capture`, for all of them: what a start does, since it may have been the machine's fault."""
        self._capture("UPDATE object SET capture = 'waiting', reason = NULL WHERE capture = 'failed'", ())

    def same(self, received: Received, digest: bytes) -> bytes | None:
        """The statement of an earlier object that is this very one, sent again by the same sender; else None.

        A modality that did not hear "success" sends again. Same means: SOP instance, bytes of the data set, AE title and
        certificate.
        """
        rows = self._rows(
            "SELECT statement_id FROM object WHERE sop_instance = ? AND digest = ? AND calling = ? AND certificate IS ? "
            "AND capture = 'captured' AND object_id <> ? ORDER BY number LIMIT 1",
            (received.sop_instance, digest, received.calling, received.certificate, received.object_id),
        )
        return bytes(rows[0][0]) if rows else None

    def to_forward(self, destination: str, limit: int) -> list[Delivery]:
        """What waits for this destination and whose time has come, in the order of arrival."""
        return self._due(destination, "waiting", limit)

    def forwarded(self, object_id: str, destination: str) -> None:
        """The destination has answered success."""
        self._deliver(
            "UPDATE delivery SET state = 'done', attempts = attempts + 1, reason = NULL", (), object_id, destination
        )

    def forward_failed(
        self, object_id: str, destination: str, reason: str, *, again: bool, not_before_ns: int = 0
    ) -> None:
        """It did not take it: `again` waits until `not_before_ns` (Unix), else it is kept and named to the operator."""
        self._deliver(
            "UPDATE delivery SET state = ?, attempts = attempts + 1, reason = ?, not_before_ns = ?",
            (DeliveryState.WAITING if again else DeliveryState.NEVER, reason, not_before_ns if again else 0),
            object_id,
            destination,
        )

    def sent(self, object_id: str, destination: str) -> None:
        """The destination has answered success, and is to commit to it."""
        self._deliver(
            "UPDATE delivery SET state = 'sent', attempts = attempts + 1, reason = NULL, not_before_ns = 0",
            (),
            object_id,
            destination,
        )

    def to_commit(self, destination: str, limit: int) -> list[Delivery]:
        """What this destination is to be asked to commit to and was not asked lately, in the order of arrival."""
        return self._due(destination, "sent", limit)

    def asked(self, object_id: str, destination: str, not_before_ns: int) -> None:
        """It was asked; without an answer it is asked again from then on (Unix)."""
        change = "UPDATE delivery SET not_before_ns = ?"
        self._deliver(change, (not_before_ns,), object_id, destination, state="sent")

    def committed(self, object_id: str, destination: str) -> None:
        """The destination has committed to it."""
        self._deliver("UPDATE delivery SET state = 'done', reason = NULL", (), object_id, destination, state="sent")

    def not_committed(self, object_id: str, destination: str, reason: str, not_before_ns: int) -> None:
        """The destination does not have it after all: it is sent again, from then on (Unix)."""
        change = "UPDATE delivery SET state = 'waiting', reason = ?, not_before_ns = ?"
        self._deliver(change, (reason, not_before_ns), object_id, destination, state="sent")

    def retry_forward(self, object_id: str, destination: str) -> None:
        """The operator's word: try a refused one again."""
        self._deliver(
            "UPDATE delivery SET state = 'waiting', not_before_ns = 0", (), object_id, destination, state="never"
        )

    def refused(self, destination: str, limit: int) -> list[Delivery]:
        """What this destination has refused for good, in the order of arrival."""
        return self._due(destination, "never", limit)

    def find(self, sop_class: str, sop_instance: str) -> list[Standing]:
        """All objects of that class and instance which the journal still knows, the newest first."""
        return self._standings(
            "WHERE sop_instance = ? AND sop_class = ? ORDER BY number DESC", (sop_instance, sop_class)
        )

    def newest(self, sop_class: str, sop_instance: str, calling: str) -> Standing | None:
        """The newest object of that class and instance which this AE title sent, else the newest of all; None: none came.

        However often an instance came, few rows are read: who asks for many is no burden to others.
        """
        for where, values in (("AND calling = ? ", (calling,)), ("", ())):
            found = self._standings(
                f"WHERE sop_instance = ? AND sop_class = ? {where}ORDER BY number DESC LIMIT 1",
                (sop_instance, sop_class, *values),
            )
            if found:
                return found[0]
        return None

    def knows(self, sop_instance: str) -> bool:
        """Whether an instance of this UID came, of whatever class."""
        return bool(self._rows("SELECT 1 FROM object WHERE sop_instance = ? LIMIT 1", (sop_instance,)))

    def get(self, object_id: str) -> Standing | None:
        """The object of that id."""
        return next(iter(self._standings("WHERE object_id = ?", (object_id,))), None)

    def captured_from(self, calling: str, *, since_ns: int, after: int, limit: int) -> list[tuple[int, Standing]]:
        """What an AE title sent since then (Unix ns) and has a statement, in order of arrival, each with its number.

        `after` leaves out the numbers up to it. Of an object that was sent twice each arrival is there, with one statement.
        """
        rows = self._rows(
            "SELECT number, object_id FROM object WHERE calling = ? AND received_ns >= ? AND number > ? "
            "AND capture = 'captured' ORDER BY number LIMIT ?",
            (calling, since_ns, after, limit),
        )
        found = [(int(row["number"]), self.get(row["object_id"])) for row in rows]
        return [(number, standing) for number, standing in found if standing is not None]

    def first_uncaptured(self, calling: str, *, since_ns: int, after: int) -> int | None:
        """The number of the first object of these that has no statement, and may yet get one; None when all have one."""
        rows = self._rows(
            "SELECT number FROM object WHERE calling = ? AND received_ns >= ? AND number > ? "
            "AND capture <> 'captured' ORDER BY number LIMIT 1",
            (calling, since_ns, after),
        )
        return next((int(row["number"]) for row in rows), None)

    def superseded(self, received: Received, destination: str) -> bool:
        """Whether the destination has a newer object of that instance, with other bytes: the older one would replace it."""
        return bool(self._rows(_rows.NEWER, (received.object_id, destination)))

    def unsettled(self) -> list[Received]:
        """Every object whose file is still needed."""
        return self._received("WHERE object.removed_ns IS NULL ORDER BY object.number", ())

    def settled(self, limit: int) -> list[Received]:
        """Captured, and delivered everywhere: the file is no longer needed."""
        return self._received(f"WHERE {_SETTLED} ORDER BY object.number LIMIT ?", (limit,))

    def removed(self, object_ids: Sequence[str]) -> None:
        """Their files are gone, or are about to be: call it first. The rows stay, for Storage Commitment.

        Crash between this and the removal: a file without a need, which the next start removes.
        """
        with self._change() as connection:
            connection.executemany(
                "UPDATE object SET removed_ns = ? WHERE object_id = ?", [(self._now(), each) for each in object_ids]
            )

    def forget(self, before_ns: int) -> int:
        """Drop the rows of removed objects that were received before then; how many."""
        with self._change() as connection:
            cursor = connection.execute(
                "DELETE FROM object WHERE removed_ns IS NOT NULL AND received_ns < ?", (before_ns,)
            )
            return cursor.rowcount

    def waiting(self) -> tuple[int, int]:
        """Objects and bytes in objects/: what the limits of back-pressure are about."""
        row = self._rows("SELECT count(*), coalesce(sum(bytes), 0) FROM object WHERE removed_ns IS NULL", ())[0]
        return row[0], row[1]

    def counts(self) -> Counts:
        """The numbers of this moment."""
        objects, size = self.waiting()
        of_capture = "SELECT capture, count(*) FROM object WHERE removed_ns IS NULL GROUP BY capture"
        by_capture: dict[str, int] = {row[0]: row[1] for row in self._rows(of_capture, ())}
        oldest = self._rows(f"SELECT min(received_ns) FROM object WHERE {_UNDONE}", ())[0][0]  # noqa: S608
        of_state = (
            "SELECT destination, count(*) FROM delivery WHERE state IN (?, ?) GROUP BY destination ORDER BY destination"
        )
        return Counts(
            objects=objects,
            bytes=size,
            uncaptured=by_capture.get("waiting", 0),
            failed=by_capture.get("failed", 0),
            oldest_ns=oldest,
            undelivered=tuple(
                (row[0], row[1]) for row in self._rows(of_state, (DeliveryState.WAITING, DeliveryState.SENT))
            ),
            refused=tuple((row[0], row[1]) for row in self._rows(of_state, (DeliveryState.NEVER,) * 2)),
        )

    def _capture(self, change: str, values: tuple[object, ...]) -> None:
        with self._change() as connection:
            connection.execute(change, values)

    def _deliver(
        self, change: str, values: tuple[object, ...], object_id: str, destination: str, state: str = "waiting"
    ) -> None:
        where = "WHERE destination = ? AND state = ? AND number = (SELECT number FROM object WHERE object_id = ?)"
        with self._change() as connection:
            connection.execute(f"{change} {where}", (*values, destination, state, object_id))

    def _due(self, destination: str, state: str, limit: int) -> list[Delivery]:
        rows = self._rows(
            f"SELECT {RECEIVED}, delivery.* FROM delivery JOIN object USING (number) "  # noqa: S608
            f"WHERE delivery.destination = ? AND delivery.state = '{state}' "
            "AND NOT delivery.not_before_ns BETWEEN ? AND ? ORDER BY delivery.number LIMIT ?",
            (destination, self._now() + 1, self._now() + LONGEST_NS, limit),
        )
        return [_rows.delivery(_rows.received(row, self.path.parent), row) for row in rows]

    def _received(self, where: str, values: tuple[object, ...]) -> list[Received]:
        rows = self._rows(f"SELECT {RECEIVED} FROM object {where}", values)  # noqa: S608
        return [_rows.received(row, self.path.parent) for row in rows]

    def _standings(self, where: str, values: tuple[object, ...]) -> list[Standing]:
        found = []
        for row in self._rows(f"SELECT * FROM object {where}", values):  # noqa: S608
            received = _rows.received(row, self.path.parent)
            ways = self._rows("SELECT * FROM delivery WHERE number = ? ORDER BY destination", (row["number"],))
            found.append(
                Standing(
                    received=received,
                    capture=Capture(row["capture"]),
                    statement_id=None if row["statement_id"] is None else bytes(row["statement_id"]),
                    reason=row["reason"],
                    deliveries=tuple(_rows.delivery(received, each) for each in ways),
                )
            )
        return found
