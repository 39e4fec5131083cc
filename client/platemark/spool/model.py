"""What goes into a spool and what comes out: frozen values. Times are Unix nanoseconds, ids 32 bytes."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Counts", "Entry", "Full", "Room", "State"]


class Full(enum.Enum):
    """What becomes of new statements when the spool is full: the owner's choice. None ever drops a statement.

    REFUSE: `put` raises. BLOCK: it waits for room. LENGTHEN, for owners of segments: `put` raises, as with REFUSE, and it does
    not come to that, because the owner looks at `Spool.room()` and makes longer segments instead of more statements.
    """

    REFUSE = "refuse"
    BLOCK = "block"
    LENGTHEN = "lengthen"


class State(enum.StrEnum):
    """Where a statement is on its way."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    SET_ASIDE = "set-aside"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Entry:
    """A statement in the spool.

    `number` is its place in the order of putting, from 1, never used twice. `raw` is the statement as it was put. `key` is
    the unique name that its owner gave it, if any. `settled_ns` is when it left the state pending; `index` its place in the
    log once it is acknowledged; `code` and `reason` say why it was set aside.
    """

    number: int
    id: bytes
    raw: bytes
    key: str | None
    put_ns: int
    state: State
    settled_ns: int | None
    index: int | None
    code: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Room:
    """How full a spool is: `unsent` statements of at most `capacity` that no ledger has taken, pending and set aside."""

    unsent: int
    capacity: int

    @property
    def left(self) -> int:
        """How many more have room."""
        return max(0, self.capacity - self.unsent)

    @property
    def filled(self) -> float:
        """0 when empty, 1 when full; above 1 when the capacity was made smaller."""
        return self.unsent / self.capacity


@dataclass(frozen=True, slots=True)
class Counts:
    """How many statements are in which state. `oldest_ns`: when the oldest pending one was put, None if none is pending."""

    depth: int
    oldest_ns: int | None
    set_aside: int
    acknowledged: int
    discarded: int
    capacity: int

    @property
    def unsent(self) -> int:
        """What counts against `capacity`: pending and set aside."""
        return self.depth + self.set_aside
