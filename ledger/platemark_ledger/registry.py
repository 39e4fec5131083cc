"""Which keys may write: derived from the policy, enrol and revoke statements of the log, by their place in it and nothing else.

A key's record is a list of grants. A grant is in force for the statements at since < index <= until; it was made by an
enrolment or by a policy. Whoever replays the log through `apply` gets the same rows, byte for byte, which is how an audit
checks the stored ones.

keys        kid 32                        -> the record of the key
policies    "current"                     -> the version in force, u64
            "v" version u64               -> a policy that is or was in force: payload, statements, first id
            "c" SHA-256 of the payload    -> the signatures that a policy has so far: kid, index, id
            "i" id 32                     -> the index of a policy statement
            "u" SHA-256 of issuer, kid 32 -> (nothing): a key of this issuer
meta        keys: how many there are; registry: the revision
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from platemark import cbor
from platemark.schema import MAX_INTEGER
from platemark.statement import policy_issuer
from platemark_ledger.errors import Refusal, StoreError
from platemark_ledger.grants import (
    Grant,
    KeyRecord,
    Policy,
    Revocation,
    decode_key,
    decode_policy,
    encode_key,
    registrars_of,
)
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.statement import Statement

__all__ = ["MemoryRows", "Registry", "RegistryCache", "Rows", "WritableRows"]

_U64 = struct.Struct(">Q")
_NOT_BY_REVOKE = frozenset({"policy", "log"})  # roles that a policy gives and only a policy takes


class Rows(Protocol):
    """Where the registry reads its rows: a transaction, or memory."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def scan(self, table: Table, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) from `start` on, in key order."""


class WritableRows(Rows, Protocol):
    """Where the registry writes its rows."""

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Set a key."""


class MemoryRows:
    """Rows in memory, to rebuild a registry from the log and compare it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Table, bytes], bytes] = {}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """As Rows."""
        return self.rows.get((table, key))

    def scan(self, table: Table, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As Rows."""
        named = ((key, value) for (owner, key), value in self.rows.items() if owner is table and key >= start)
        return iter(sorted(named))

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """As WritableRows."""
        self.rows[table, key] = value


class RegistryCache:
    """Decoded records of committed data, from one transaction to the next. For one thread."""

    def __init__(self) -> None:
        self.revision = -1
        self.keys: dict[bytes, KeyRecord] = {}
        self.policy: Policy | None = None
        self.log_id: bytes | None = None

    def renew(self, revision: int) -> None:
        """Forget everything unless it is of this revision."""
        if revision != self.revision:
            self.revision, self.policy = revision, None
            self.keys.clear()


class Registry:
    """The registry as one transaction sees it; make one per transaction.

    What this transaction changes stays in this object, and what it did not change is as committed: so an aborted transaction
    leaves nothing in the cache.
    """

    def __init__(self, rows: Rows, cache: RegistryCache | None = None) -> None:
        self._rows = rows
        self._cache = cache or RegistryCache()
        self._cache.renew(self.revision)
        self._changed: dict[bytes, KeyRecord] = {}
        self._new_policy: Policy | None = None

    @property
    def revision(self) -> int:
        """Changes whenever any key or policy does: the index of the last statement that changed one, plus 1."""
        value = self._rows.get(Table.META, b"registry")
        return 0 if value is None else int.from_bytes(value, "big")

    def log_id(self) -> bytes:
        """The log's identity: the id of leaf 0."""
        if self._cache.log_id is None:
            self._cache.log_id = self.policy_version(0).first_id
        return self._cache.log_id

    def key(self, kid: bytes) -> KeyRecord | None:
        """What the log says of a key, or None when it has never named it."""
        record = self._changed.get(kid) or self._cache.keys.get(kid)
        if record is None:
            value = self._rows.get(Table.KEYS, kid)
            if value is not None:
                record = self._cache.keys[kid] = decode_key(value)
        return record

    def kids_of(self, issuer: str) -> list[bytes]:
        """The kids of every key that was ever granted anything under the URI `issuer`."""
        prefix = _issuer_row(issuer, b"")
        found = []
        for key, _ in self._rows.scan(Table.POLICIES, prefix):
            if not key.startswith(prefix):
                break
            found.append(key[len(prefix) :])
        return found

    def policy(self) -> Policy:
        """The policy in force at the end of the log."""
        if self._new_policy is not None:
            return self._new_policy
        if self._cache.policy is None:
            value = self._rows.get(Table.POLICIES, b"current")
            if value is None:
                raise StoreError("the log has no policy")
            self._cache.policy = self.policy_version(int.from_bytes(value, "big"))
        return self._cache.policy

    def policy_version(self, version: int) -> Policy:
        """A policy that is or was in force. Raises StoreError for another version."""
        value = self._rows.get(Table.POLICIES, b"v" + _U64.pack(version))
        if value is None:
            raise StoreError(f"policy version {version} is missing from the data")
        return decode_policy(version, value)

    def policy_statement(self, id: bytes) -> int | None:
        """The index of a policy statement that the log holds already, or None."""
        value = self._rows.get(Table.POLICIES, b"i" + id)
        return None if value is None else int.from_bytes(value, "big")

    # What may change the registry.

    def check(self, statement: Statement) -> None:
        """Whether an enrol, revoke or policy statement may be applied next. Raises Refusal; other kinds pass.

        That its signer may sign the kind and names this log has been checked before.
        """
        if statement.kind == "enrol":
            if self.key(_kid(_bytes(statement, "key"))) is not None:
                raise Refusal("already-enrolled", "payload.key", "the log has named this key before")
        elif statement.kind == "revoke":
            self._check_revoke(statement)
        elif statement.kind == "policy":
            self._check_policy(statement)

    def _check_revoke(self, statement: Statement) -> None:
        record = self.key(_bytes(statement, "kid"))
        if record is None:
            raise Refusal("unknown-target", "payload.kid", "the log has enrolled no such key")
        in_force = [grant for grant in record.grants if grant.until is None]
        if any(grant.role in _NOT_BY_REVOKE for grant in in_force or record.grants):
            raise Refusal("unknown-target", "payload.kid", "a policy key or log key is withdrawn by a policy")
        # An earlier effective time would take back what had been proven under the one that is logged.
        if record.revocations:
            raise Refusal(
                "already-revoked", "payload.kid", f"the key was revoked at leaf {record.revocations[0].index}"
            )

    def _check_policy(self, statement: Statement) -> None:
        current = self.policy()
        wanted: dict[str, Value] = {
            "version": current.version + 1,
            "origin": current.origin,
            "prev": current.first_id,
        }
        for name, value in wanted.items():
            if statement.payload[name] != value:
                shown = value.hex() if isinstance(value, bytes) else value
                raise Refusal("bad-policy", f"payload.{name}", f"not {shown}")
        if statement.kid in {kid for kid, _, _ in self._signatures(statement)}:
            raise Refusal("bad-policy", "protected.4", "this key has signed this policy already")
        granted = _grants_of(statement, statement.issuer)
        for spki, _ in granted:
            record = self.key(_kid(spki))
            if record is None:
                continue
            if record.revocations:
                raise Refusal("bad-policy", "payload", f"key {record.kid.hex()} is revoked")
            if any(not grant.by_policy for grant in record.grants):
                raise Refusal("bad-policy", "payload", f"key {record.kid.hex()} is enrolled already")

    # Changes.

    def begin(self, statements: list[Statement]) -> None:
        """Found the registry on the version 0 policy, whose statements are the first leaves. They have been checked."""
        first = statements[0]
        for index, statement in enumerate(statements):
            self._writable().put(Table.POLICIES, b"i" + statement.id, _U64.pack(index))
        signatures = [(statement.kid, index, statement.id) for index, statement in enumerate(statements)]
        self._put_in_force(first, signatures)

    def apply(self, statement: Statement, index: int) -> None:
        """Take note of the statement at `index`, which `check` has passed."""
        if statement.kind == "enrol":
            self._apply_enrol(statement, index)
        elif statement.kind == "revoke":
            self._apply_revoke(statement, index)
        elif statement.kind == "policy":
            self._apply_policy(statement, index)
        else:
            return
        self._writable().put(Table.META, b"registry", _U64.pack(index + 1))

    def _apply_enrol(self, statement: Statement, index: int) -> None:
        grant = Grant(
            role=_text(statement, "role"),
            issuer=_text(statement, "device"),
            not_before=_int(statement, "not_before"),
            not_after=_int(statement, "not_after"),
            since=index,
            until=None,
            by_policy=False,
        )
        self._grant(_bytes(statement, "key"), grant)

    def _apply_revoke(self, statement: Statement, index: int) -> None:
        record = self.key(_bytes(statement, "kid"))
        assert record is not None
        revocation = Revocation(index, _int(statement, "effective"), _text(statement, "reason"))
        grants = tuple(_ended(grant, index) for grant in record.grants)
        self._put_key(replace(record, grants=grants, revocations=(*record.revocations, revocation)))

    def _apply_policy(self, statement: Statement, index: int) -> None:
        rows = self._writable()
        rows.put(Table.POLICIES, b"i" + statement.id, _U64.pack(index))
        signatures = [*self._signatures(statement), (statement.kid, index, statement.id)]
        rows.put(Table.POLICIES, _candidate(statement), cbor.encode([list(each) for each in signatures]))
        if len(signatures) >= self.policy().threshold:
            self._put_in_force(statement, signatures)

    def _signatures(self, statement: Statement) -> list[tuple[bytes, int, bytes]]:
        """(kid, index, id) of every statement logged so far whose payload is byte-equal to this one's."""
        value = self._rows.get(Table.POLICIES, _candidate(statement))
        if value is None:
            return []
        return [(each[0], each[1], each[2]) for each in cast("list[tuple[bytes, int, bytes]]", cbor.decode(value))]

    def _put_in_force(self, statement: Statement, signatures: list[tuple[bytes, int, bytes]]) -> None:
        indices = [index for _, index, _ in signatures]
        version, effective = _int(statement, "version"), indices[-1]
        rows = self._writable()
        row = {"payload": statement.message.payload, "statements": indices, "first": signatures[0][2]}
        rows.put(Table.POLICIES, b"v" + _U64.pack(version), cbor.encode(row))
        granted = {
            _kid(spki): (spki, replace(grant, since=effective))
            for spki, grant in _grants_of(statement, policy_issuer(_text(statement, "origin")))
        }
        if version == 0:
            granted = {
                kid: (spki, replace(grant, since=-1) if grant.role == "policy" else grant)
                for kid, (spki, grant) in granted.items()
            }
        else:
            self._withdraw(effective, granted)
        for spki, grant in granted.values():
            self._grant(spki, grant)
        rows.put(Table.POLICIES, b"current", _U64.pack(version))
        rows.put(Table.META, b"registry", _U64.pack(effective + 1))
        self._new_policy = self.policy_version(version)

    def _withdraw(self, index: int, granted: dict[bytes, tuple[bytes, Grant]]) -> None:
        """End what the policy in force grants and the next one does not; what both grant alike goes on untouched."""
        current = self.policy()
        named = [*current.keys, *current.log_keys, *(registrar.key for registrar in current.registrars)]
        for spki in named:
            record = self.key(_kid(spki))
            assert record is not None
            old = next((grant for grant in record.grants if grant.by_policy and grant.until is None), None)
            if old is None:  # a registrar that was revoked
                continue
            new = granted.get(record.kid, (spki, None))[1]
            if new is not None and replace(new, since=old.since) == old:
                del granted[record.kid]
            else:
                grants = tuple(_ended(grant, index) for grant in record.grants)
                self._put_key(replace(record, grants=grants))

    def _grant(self, spki: bytes, grant: Grant) -> None:
        record = self.key(_kid(spki))
        if record is None:
            count = self._rows.get(Table.META, b"keys")
            number = 0 if count is None else int.from_bytes(count, "big")
            self._writable().put(Table.META, b"keys", _U64.pack(number + 1))
            record = KeyRecord(number, spki, (), ())
        self._put_key(replace(record, grants=(*record.grants, grant)))
        self._writable().put(Table.POLICIES, _issuer_row(grant.issuer, record.kid), b"")

    def _put_key(self, record: KeyRecord) -> None:
        self._changed[record.kid] = record
        self._writable().put(Table.KEYS, record.kid, encode_key(record))

    def _writable(self) -> WritableRows:
        return cast("WritableRows", self._rows)


def _ended(grant: Grant, index: int) -> Grant:
    return grant if grant.until is not None else replace(grant, until=index)


def _issuer_row(issuer: str, kid: bytes) -> bytes:
    return b"u" + hashlib.sha256(issuer.encode()).digest() + kid


def _candidate(statement: Statement) -> bytes:
    return b"c" + hashlib.sha256(statement.message.payload).digest()


def _grants_of(statement: Statement, issuer: str) -> list[tuple[bytes, Grant]]:
    """(key, grant) for every key that a policy statement names; `since` is still to be filled in."""
    payload = statement.payload

    def grant(role: str, uri: str, low: int, high: int) -> Grant:
        return Grant(role, uri, low, high, since=-1, until=None, by_policy=True)

    granted = [(spki, grant("policy", issuer, 0, MAX_INTEGER)) for spki in cast("list[bytes]", payload["keys"])]
    granted += [(spki, grant("log", issuer, 0, MAX_INTEGER)) for spki in cast("list[bytes]", payload["log_keys"])]
    granted += [
        (each.key, grant("registrar", each.issuer, each.not_before, each.not_after)) for each in registrars_of(payload)
    ]
    return granted


def _kid(spki: bytes) -> bytes:
    return hashlib.sha256(spki).digest()


def _bytes(statement: Statement, name: str) -> bytes:
    return cast("bytes", statement.payload[name])


def _int(statement: Statement, name: str) -> int:
    return cast("int", statement.payload[name])


def _text(statement: Statement, name: str) -> str:
    return cast("str", statement.payload[name])
