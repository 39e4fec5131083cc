"""What a `keystate` statement is the root of: the state of every key that a log has enrolled (proto/statement.md section 5.3).

Whoever replays a log computes the same tree: `KeyStates` reads enrolments and revocations in log order, `KeyTree` is the state
at one size, and `ShownKey` is one key's leaf with its path, which evidence carries as `keystate/leaf.cbor`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

from platemark import cbor, merkle
from platemark.errors import CborError, EvidenceError, ProofError, StatementError
from platemark.keyrule import KeyState, Revocation
from platemark.kinds import ROLES
from platemark.schema import Check, array, blob, choice, integer, nullable, uri

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.statement import Statement

__all__ = ["MAX_SHOWN", "KeyLeaf", "KeyStates", "KeyTree", "ShownKey", "decode_shown", "key_state"]

MAX_SHOWN = 4096
_MEMBER = "keystate/leaf.cbor"
_FIELDS: tuple[tuple[str, Check], ...] = (
    ("kid", blob(32)),
    ("role", choice(*ROLES)),
    ("device", uri),
    ("not_before", integer()),
    ("not_after", integer()),
    ("enrolled", integer()),
    ("revoked", nullable(integer())),
    ("effective", nullable(integer())),
    ("index", integer()),
    ("count", integer(1)),
    ("path", array(blob(32), 0, 63)),
)


@dataclass(frozen=True)
class KeyLeaf:
    """One enrolled key: its kid, what it was enrolled for, by which leaf, and the leaf and effective time of its revocation.

    Times are Unix nanoseconds. `revoked` and `effective` are None together.
    """

    kid: bytes
    role: str
    device: str
    not_before: int
    not_after: int
    enrolled: int
    revoked: int | None = None
    effective: int | None = None

    def fields(self) -> list[Value]:
        """The leaf's values in the order of the format."""
        dates: list[Value] = [self.not_before, self.not_after]
        return [self.kid, self.role, self.device, *dates, self.enrolled, self.revoked, self.effective]

    @cached_property
    def hash(self) -> bytes:
        """The leaf hash (rule Z1)."""
        return merkle.leaf_hash(cbor.encode(self.fields()))


@dataclass(frozen=True)
class ShownKey:
    """A key's leaf and its path in a tree of `count` keys, of which it is number `index` by kid."""

    leaf: KeyLeaf
    index: int
    count: int
    path: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """The member `keystate/leaf.cbor` (rule Z3)."""
        return cbor.encode([*self.leaf.fields(), self.index, self.count, [*self.path]])

    def verify(self, *, root: bytes, count: int) -> None:
        """Check that the leaf is in the tree that a keystate of this `root` and `count` states. Raises ProofError."""
        if count != self.count:
            raise ProofError(f"the key's path is for {self.count} keys, and the keystate counts {count}")
        merkle.verify_inclusion(index=self.index, size=self.count, leaf_hash=self.leaf.hash, path=self.path, root=root)


def key_state(shown: ShownKey, stated: Statement, *, index: int) -> KeyState:
    """What a keystate logged as leaf `index` says of the key, for the key rule. Raises ProofError: it does not show this leaf.

    That the statement is in the log, names it and is signed by its log key is for the caller to check, and that the leaf says of
    the record's key what its enrolment says.
    """
    payload, leaf = stated.payload, shown.leaf
    shown.verify(root=cast("bytes", payload["root"]), count=cast("int", payload["count"]))
    revocation = None
    if leaf.revoked is not None and leaf.effective is not None:
        revocation = Revocation(leaf.revoked, leaf.effective)
    return KeyState(index, cast("int", payload["size"]), cast("int", stated.time), revocation)


def decode_shown(data: bytes) -> ShownKey:
    """The key in a member `keystate/leaf.cbor`, in form only: `ShownKey.verify` is what proves it. Raises EvidenceError."""
    if len(data) > MAX_SHOWN:
        raise EvidenceError(_MEMBER, f"more than {MAX_SHOWN} bytes")
    try:
        found = cbor.decode(data)
        if not isinstance(found, list) or len(found) != len(_FIELDS):
            raise EvidenceError(_MEMBER, f"not an array of {len(_FIELDS)} items")
        for (name, check), value in zip(_FIELDS, found, strict=True):
            check(value, f"{_MEMBER}.{name}")
    except CborError as error:
        raise EvidenceError(_MEMBER, str(error)) from None
    except StatementError as error:
        raise EvidenceError(error.field, error.reason) from None
    *fields, index, count, path = found
    leaf = KeyLeaf(*cast("tuple[bytes, str, str, int, int, int, int | None, int | None]", tuple(fields)))
    if (leaf.revoked is None) != (leaf.effective is None):
        raise EvidenceError(f"{_MEMBER}.effective", "a revocation has both a leaf and an effective time")
    return ShownKey(leaf, cast("int", index), cast("int", count), tuple(cast("list[bytes]", path)))


class KeyTree:
    """The tree over the keys of one log size, ascending by kid. Immutable; safe to share between threads."""

    def __init__(self, leaves: Iterable[KeyLeaf]) -> None:
        self.leaves = tuple(sorted(leaves, key=lambda leaf: leaf.kid))
        self._places = {leaf.kid: index for index, leaf in enumerate(self.leaves)}
        # Every level of the tree, so that a path is a handful of look-ups: two hashes for each key.
        self._levels = [[leaf.hash for leaf in self.leaves]]
        while len(row := self._levels[-1]) > 1:
            paired = [merkle.node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
            self._levels.append(paired + row[len(row) & ~1 :])

    @property
    def count(self) -> int:
        """How many keys there are. A keystate has at least one."""
        return len(self.leaves)

    @property
    def root(self) -> bytes:
        """The RFC 9162 root; that of the empty tree when there is no key."""
        return self._levels[-1][0] if self.leaves else merkle.EMPTY_ROOT

    def show(self, kid: bytes) -> ShownKey | None:
        """The leaf of a key with its path; None for a key that was not enrolled at this size."""
        index = self._places.get(kid)
        if index is None:
            return None
        place = index
        path: list[bytes] = []
        for row in self._levels[:-1]:
            if place ^ 1 < len(row):
                path.append(row[place ^ 1])
            place >>= 1
        return ShownKey(self.leaves[index], index, self.count, tuple(path))


class KeyStates:
    """The enrolled keys of a log, from its statements in log order. For one thread."""

    def __init__(self, leaves: Iterable[KeyLeaf] = ()) -> None:
        self._leaves = {leaf.kid: leaf for leaf in leaves}

    def apply(self, decoded: Statement, index: int) -> None:
        """Take note of the statement at `index`, which a ledger accepted; kinds that change no enrolled key change nothing."""
        payload = decoded.payload
        if decoded.kind == "enrol":
            leaf = KeyLeaf(
                kid=hashlib.sha256(cast("bytes", payload["key"])).digest(),
                role=cast("str", payload["role"]),
                device=cast("str", payload["device"]),
                not_before=cast("int", payload["not_before"]),
                not_after=cast("int", payload["not_after"]),
                enrolled=index,
            )
            self._leaves.setdefault(leaf.kid, leaf)
        elif decoded.kind == "revoke":
            # A registrar that a policy names has no leaf, and a key is revoked once.
            known = self._leaves.get(cast("bytes", payload["kid"]))
            if known is not None and known.revoked is None:
                effective = cast("int", payload["effective"])
                self._leaves[known.kid] = replace(known, revoked=index, effective=effective)

    def tree(self) -> KeyTree:
        """The state now."""
        return KeyTree(self._leaves.values())
