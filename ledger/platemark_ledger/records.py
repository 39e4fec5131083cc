"""What readers get: records, proofs and pages, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from platemark import statement
from platemark_ledger.conditions import Condition

if TYPE_CHECKING:
    from platemark.keystate import ShownKey
    from platemark.statement import Statement
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.published import Published

__all__ = ["Consistency", "EvidenceMembers", "Found", "Inclusion", "Listing", "Page", "Proven", "Record", "TimeProof"]


@dataclass(frozen=True)
class Record:
    """A statement as the log holds it: `raw` are the bytes accepted first, `received` the log's clock in Unix ns."""

    index: int
    received: int
    conditions: tuple[Condition, ...]
    raw: bytes

    @cached_property
    def statement(self) -> Statement:
        """The decoded statement."""
        return statement.decode(self.raw)

    @property
    def entry(self) -> bytes:
        """The log entry, 32 bytes."""
        return sha256(self.raw).digest()


@dataclass(frozen=True, slots=True)
class Proven:
    """A record and its inclusion path (RFC 9162 2.1.3.1) to the checkpoint of the same answer, verified."""

    record: Record
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One statement under a checkpoint."""

    proven: Proven
    checkpoint: Anchored


@dataclass(frozen=True, slots=True)
class Page:
    """Statements, earliest first, under a checkpoint; `next` is the start of the next page, None when there is none."""

    proven: tuple[Proven, ...]
    next: int | None
    checkpoint: Anchored


@dataclass(frozen=True, slots=True)
class Listing:
    """Statements in log order, without paths; `next` is where to go on, None at the end. `records` may be empty before it."""

    records: tuple[Record, ...]
    next: int | None
    checkpoint: Anchored


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The path of `entry` at `index` to the root of the first `size` leaves; `checkpoint` is the newest."""

    index: int
    size: int
    entry: bytes
    path: tuple[bytes, ...]
    checkpoint: Anchored


@dataclass(frozen=True, slots=True)
class Consistency:
    """The path (RFC 9162 2.1.4.1) by which `new_size` leaves extend the first `old_size`; `checkpoint` is the newest."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]
    checkpoint: Anchored


@dataclass(frozen=True, slots=True)
class TimeProof:
    """The earliest published checkpoint with a time stamp that covers a statement, and how it leads to the evidence's own.

    `path` is the RFC 9162 2.1.4.1 consistency path from `row.size` to the size of the evidence's checkpoint, verified; empty
    when they are equal. `renewals` are those of each of the row's stamps, in order (proto/time.md section 5).
    """

    row: Published
    path: tuple[bytes, ...]
    renewals: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True, slots=True)
class EvidenceMembers:
    """What a verifier needs about one statement, all under one checkpoint.

    `policies`: every statement that brought a policy into force, version 0 first. `enrolments`: of the subject's key, then of the
    registrar that enrolled it, and so on up to a registrar of a policy; empty when a policy names the key itself.
    `revocation`: empty, or the first one of the subject's key followed by the enrolments of who signed it.
    `keystate`: the newest, if there is one that agrees with the log; `keystate_leaf` is the subject's key in it, None when it was
    not enrolled at that size. `published`: the row whose checkpoint this is; None when it is the anchored one. `time`: the
    earliest proof of when the subject existed, if there is one.
    """

    subject: Proven
    policies: tuple[Proven, ...]
    enrolments: tuple[Proven, ...]
    revocation: tuple[Proven, ...]
    keystate: Proven | None
    keystate_leaf: ShownKey | None
    checkpoint: Anchored
    published: Published | None = None
    time: TimeProof | None = None
    receipts: tuple[bytes, ...] = ()
