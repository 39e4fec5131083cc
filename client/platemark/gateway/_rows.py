"""What a row of the journal says: see `journal`, which alone changes them."""

from __future__ import annotations

import enum
import sqlite3
from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ["Capture", "Counts", "Delivery", "DeliveryState", "Received", "Standing"]


class Capture(enum.StrEnum):
    """How far the record of an object is: `captured` means that its statement is in the spool."""

    WAITING = "waiting"
    CAPTURED = "captured"
    FAILED = "failed"


class DeliveryState(enum.StrEnum):
    """How far the way of an object to one destination is.

    `sent`: it was stored and has not been committed to yet. `never`: it was refused for good and is kept.
    """

    WAITING = "waiting"
    SENT = "sent"
    DONE = "done"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Received:
    """One object as it arrived, a Part 10 file at `path` whose data set is what the sender sent, byte for byte.

    `object_id` is 32 random hex digits. `received_ns` is the time of receipt in Unix nanoseconds. `calling` and `called`
    are AE titles, `address` the sender's IP address, `certificate` the identity in its client certificate, None without
    TLS. `study_uid` and `accession` are None until the object was measured. UIDs are the sender's own text.
    """

    object_id: str
    path: Path
    bytes: int
    received_ns: int
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling: str
    called: str
    address: str
    certificate: str | None = None
    study_uid: str | None = None
    accession: str | None = None


RECEIVED = ", ".join(f"object.{field.name}" for field in fields(Received))
NEWER = (
    "SELECT 1 FROM object AS old JOIN object AS new ON new.sop_instance = old.sop_instance "
    "JOIN delivery ON delivery.number = new.number WHERE old.object_id = ? AND new.number > old.number "
    "AND delivery.destination = ? AND delivery.state IN ('sent', 'done') "
    "AND (old.digest IS NULL OR new.digest IS NOT old.digest) LIMIT 1"
)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One object on its way to one destination: `attempts` were made before, `reason` is that of the last failure."""

    received: Received
    destination: str
    state: DeliveryState
    attempts: int
    not_before_ns: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far one object is: its capture, and its way to every destination (empty in mode `copy`)."""

    received: Received
    capture: Capture
    statement_id: bytes | None
    reason: str | None
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers for limits, metrics and alarms. `objects` and `bytes` count what is still in objects/.

    `undelivered` and `refused` are (destination, number) of objects that wait for it, or that it refused for good.
    `oldest_ns` is the time of receipt of the oldest object that is not captured or not delivered everywhere.
    """

    objects: int
    bytes: int
    uncaptured: int
    failed: int
    oldest_ns: int | None
    undelivered: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, int], ...]


def received(row: sqlite3.Row, base: Path) -> Received:
    """The object of a row that was selected with RECEIVED; `base` is the directory of the journal."""
    values = {field.name: row[field.name] for field in fields(Received)}
    return Received(**{**values, "path": base / values["path"]})


def values(of: Received, base: Path) -> dict[str, object]:
    """The columns of an object. A path below `base` is kept relative to it, so that all of it can be moved together."""
    columns = {field.name: getattr(of, field.name) for field in fields(Received)}
    return {**columns, "path": str(of.path.relative_to(base) if of.path.is_relative_to(base) else of.path)}


def delivery(of: Received, row: sqlite3.Row) -> Delivery:
    """The delivery of a row of that table."""
    return Delivery(
        received=of,
        destination=row["destination"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        not_before_ns=row["not_before_ns"],
        reason=row["reason"],
    )
