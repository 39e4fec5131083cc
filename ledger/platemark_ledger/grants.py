"""Keys and policies as the registry keeps them, and their rows in CBOR."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor

if TYPE_CHECKING:
    from platemark.cbor import Value

__all__ = [
    "Grant",
    "KeyRecord",
    "Policy",
    "Registrar",
    "Revocation",
    "decode_key",
    "decode_policy",
    "encode_key",
    "registrars_of",
]


@dataclass(frozen=True, slots=True)
class Grant:
    """`role` under the URI `issuer`, for stated times from not_before to not_after (Unix ns, inclusive).

    In force for statements at since < index <= until (None: still). `since` is the place of the enrol statement, or of the
    statement with which the policy came into force; -1 for the policy keys of version 0.
    """

    role: str
    issuer: str
    not_before: int
    not_after: int
    since: int
    until: int | None
    by_policy: bool

    def covers(self, index: int) -> bool:
        """Whether the grant is in force for a statement at `index`."""
        return self.since < index and (self.until is None or index <= self.until)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A revoke statement at `index`: not to be trusted from `effective` (Unix ns) on, for `reason`."""

    index: int
    effective: int
    reason: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Everything that the log says of one key. `number` is local to this ledger and counts keys from 0."""

    number: int
    spki: bytes
    grants: tuple[Grant, ...]
    revocations: tuple[Revocation, ...]

    @property
    def kid(self) -> bytes:
        """SHA-256 of the key, 32 bytes."""
        return hashlib.sha256(self.spki).digest()

    def at(self, index: int) -> tuple[Grant, ...]:
        """The grants in force for a statement at `index`."""
        return tuple(grant for grant in self.grants if grant.covers(index))


@dataclass(frozen=True, slots=True)
class Registrar:
    """A registrar as a policy names it."""

    key: bytes
    issuer: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force: `statements` are the places of the statements that made it so, `effective` the last of them."""

    version: int
    origin: str
    keys: tuple[bytes, ...]
    threshold: int
    log_keys: tuple[bytes, ...]
    registrars: tuple[Registrar, ...]
    max_statement: int
    skew_ns: int
    statements: tuple[int, ...]
    first_id: bytes

    @property
    def effective(self) -> int:
        """The policy is in force for statements above this index."""
        return self.statements[-1]


def registrars_of(payload: Mapping[str, Value]) -> tuple[Registrar, ...]:
    """The registrars that a policy payload names."""
    return tuple(
        Registrar(
            cast("bytes", each["key"]),
            cast("str", each["issuer"]),
            cast("int", each["not_before"]),
            cast("int", each["not_after"]),
        )
        for each in cast("list[dict[str, Value]]", payload["registrars"])
    )


def encode_key(record: KeyRecord) -> bytes:
    """The row of a key."""
    grants = [
        [grant.role, grant.issuer, grant.not_before, grant.not_after, grant.since, grant.until, grant.by_policy]
        for grant in record.grants
    ]
    revocations = [[each.index, each.effective, each.reason] for each in record.revocations]
    return cbor.encode([record.number, record.spki, grants, revocations])


def decode_key(value: bytes) -> KeyRecord:
    """The key of a row that this ledger wrote."""
    number, spki, grants, revocations = cast(
        "tuple[int, bytes, list[list[Value]], list[list[Value]]]", cbor.decode(value)
    )
    return KeyRecord(
        number,
        spki,
        tuple(Grant(*cast("tuple[str, str, int, int, int, int | None, bool]", each)) for each in grants),
        tuple(Revocation(*cast("tuple[int, int, str]", each)) for each in revocations),
    )


def decode_policy(version: int, value: bytes) -> Policy:
    """The policy of a row that this ledger wrote."""
    row = cast("dict[str, Value]", cbor.decode(value))
    payload = cast("dict[str, Value]", cbor.decode(cast("bytes", row["payload"])))
    limits = cast("dict[str, int]", payload["limits"])
    return Policy(
        version=version,
        origin=cast("str", payload["origin"]),
        keys=tuple(cast("list[bytes]", payload["keys"])),
        threshold=cast("int", payload["threshold"]),
        log_keys=tuple(cast("list[bytes]", payload["log_keys"])),
        registrars=registrars_of(payload),
        max_statement=limits["statement"],
        skew_ns=limits["skew_ns"],
        statements=tuple(cast("list[int]", row["statements"])),
        first_id=cast("bytes", row["first"]),
    )
