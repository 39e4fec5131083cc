"""What goes into a ledger client and what comes out: frozen values, no protobuf.

Ids, entries, roots and hashes of paths are 32-byte `bytes`; indices count from 0; times are Unix nanoseconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platemark import evidence
    from platemark.checkpoint import SignedCheckpoint
    from platemark.rpc.errors import Violation

__all__ = [
    "Appended",
    "Condition",
    "ConsistencyProof",
    "Evidence",
    "InclusionProof",
    "Listed",
    "Logged",
    "LoggedStatement",
    "Outcome",
    "Page",
    "Refused",
    "Stored",
    "Wait",
    "What",
]


class Wait(enum.Enum):
    """Until when an append waits."""

    LOGGED = "logged"
    WITNESSED = "witnessed"


class What(enum.Enum):
    """Which newest checkpoint: the anchored one, the published one, or the one that a quorum of witnesses has cosigned."""

    LATEST = "latest"
    PUBLISHED = "published"
    WITNESSED = "witnessed"


@dataclass(frozen=True, slots=True)
class Condition:
    """What the ledger noticed about a statement that it logged nevertheless: a stable code such as `gap` or `fork`."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class LoggedStatement:
    """A statement and its place in the log.

    `statement` is the bytes that the log accepted first. `received` is when it took them (Unix ns), by its own clock, which
    nobody signs. `inclusion_path` leads to the checkpoint that came along; listings leave it empty.
    """

    index: int
    id: bytes
    statement: bytes
    conditions: tuple[Condition, ...]
    received: int
    inclusion_path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """The statement is in the log, durably. `duplicate`: it was there before, and all of this is from the first time."""

    statement: LoggedStatement
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The statement is not in the log.

    `status` is the name of a gRPC code, `info` the ledger's stable code, `reason` one sentence for a person. `again` is True
    when the fault was the ledger's own and the same bytes may succeed later.
    """

    status: str
    info: str
    reason: str
    violations: tuple[Violation, ...]
    again: bool


Outcome = Logged | Refused


@dataclass(frozen=True, slots=True)
class Appended:
    """One outcome per statement, in the order sent; every logged one is proven against `checkpoint`."""

    outcomes: tuple[Outcome, ...]
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Stored:
    """One statement, proven against `checkpoint`."""

    statement: LoggedStatement
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Page:
    """Statements in ascending order of index, each proven against `checkpoint`; `next_index` is None on the last page."""

    statements: tuple[LoggedStatement, ...]
    next_index: int | None
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of a listing: statements without inclusion paths. `next_index`: where to go on, when the ledger stopped early."""

    statements: tuple[LoggedStatement, ...]
    next_index: int | None
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence about one statement: `content.to_bytes()` is the bundle. Every proof in it leads to `checkpoint`."""

    content: evidence.Evidence
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """RFC 9162 2.1.3.1: `path` leads from the leaf of `entry` at `index` to the root of the tree of `size` leaves.

    Verified against `checkpoint` when `size` is its size, else by nobody yet: verify it against the root you hold.
    """

    index: int
    size: int
    entry: bytes
    path: tuple[bytes, ...]
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """RFC 9162 2.1.4.1: the tree of `new_size` leaves begins with the tree of `old_size` leaves."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]
    checkpoint: SignedCheckpoint
