"""The next version of a log's policy, made from the one in force (rules Y2 and Y3 of proto/statement.md).

A *proposal* is the payload alone, unsigned, in the bytes that every policy key signs: statements with byte-equal payloads are one
version. It lies in a file that may travel to machines that have no network; whoever signs it reads it first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor, statement
from platemark.errors import CborError, FormatError, SignatureError
from platemark.keys import load_public

if TYPE_CHECKING:
    from platemark.cbor import Value
    from platemark.keys import Signer
    from platemark.statement import Statement

__all__ = [
    "MAX_PROPOSAL",
    "Changes",
    "RegistrarEntry",
    "decode_proposal",
    "encode_proposal",
    "propose",
    "sign_proposal",
]

MAX_PROPOSAL = statement.MAX_STATEMENT


@dataclass(frozen=True, slots=True)
class RegistrarEntry:
    """A registrar as a policy names it: `key` is its SubjectPublicKeyInfo, times are Unix nanoseconds."""

    key: bytes
    issuer: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a proposal changes. Keys to add are SubjectPublicKeyInfo, keys to drop are named by their kid."""

    add_keys: Sequence[bytes] = ()
    drop_keys: Sequence[bytes] = ()
    threshold: int | None = None
    add_log_keys: Sequence[bytes] = ()
    drop_log_keys: Sequence[bytes] = ()
    add_registrars: Sequence[RegistrarEntry] = ()
    drop_registrars: Sequence[bytes] = ()


def propose(in_force: Sequence[Statement], log: bytes, changes: Changes) -> dict[str, Value]:
    """The payload of the next version. Raises FormatError naming the field: what changes nothing, or cannot be.

    `in_force` are the statements of the version in force in log order, `log` is leaf 0's id.
    """
    current = in_force[0].payload
    registrars = cast("list[dict[int | str, Value]]", current["registrars"])
    kept = _without([cast("bytes", each["key"]) for each in registrars], changes.drop_registrars, "registrars")
    named = [each for each in registrars if each["key"] in kept]
    payload: dict[int | str, Value] = {
        **cast("dict[int | str, Value]", current),
        "version": cast("int", current["version"]) + 1,
        "log": log,
        "prev": in_force[0].id,
        "keys": _changed(cast("list[bytes]", current["keys"]), changes.add_keys, changes.drop_keys, "keys"),
        "threshold": current["threshold"] if changes.threshold is None else changes.threshold,
        "log_keys": _changed(
            cast("list[bytes]", current["log_keys"]), changes.add_log_keys, changes.drop_log_keys, "log_keys"
        ),
        "registrars": [*named, *map(_entry, changes.add_registrars)],
    }
    unchanged = ("keys", "threshold", "log_keys", "registrars")
    if all(payload[name] == current[name] for name in unchanged):
        raise FormatError("policy", "nothing would change")
    return decode_proposal(cbor.encode(payload))


def encode_proposal(payload: Mapping[str, Value]) -> bytes:
    """The bytes of a proposal file."""
    return cbor.encode(cast("dict[int | str, Value]", payload))


def decode_proposal(data: bytes) -> dict[str, Value]:
    """The payload in a proposal file. Raises FormatError naming the field."""
    if len(data) > MAX_PROPOSAL:
        raise FormatError("proposal", f"more than {MAX_PROPOSAL} bytes")
    try:
        payload = cbor.decode(data)
    except CborError as error:
        raise FormatError("proposal", str(error)) from None
    if not isinstance(payload, dict):
        raise FormatError("proposal", "not a policy payload")
    statement.check_payload("policy", payload)
    if payload["version"] == 0:
        raise FormatError("proposal.version", "version 0 is signed when a log is founded")
    return cast("dict[str, Value]", payload)


def sign_proposal(payload: Mapping[str, Value], signer: Signer) -> Statement:
    """The policy statement of one policy key. Raises StatementError and what the signer raises."""
    issuer = statement.policy_issuer(cast("str", payload["origin"]))
    signed = statement.decode(statement.build("policy", payload, signer=signer, issuer=issuer))
    if signed.message.payload != encode_proposal(payload):
        raise SignatureError("the signed payload is not the proposal's")
    return signed


def _entry(each: RegistrarEntry) -> dict[int | str, Value]:
    return {"key": each.key, "issuer": each.issuer, "not_before": each.not_before, "not_after": each.not_after}


def _changed(current: Iterable[bytes], add: Iterable[bytes], drop: Iterable[bytes], field: str) -> list[Value]:
    kept = _without(current, drop, field)
    for key in add:
        if key in kept:
            raise FormatError(f"policy.{field}", f"{load_public(key).kid.hex()} is named already")
        kept.append(key)
    return [*sorted(kept)]


def _without(current: Iterable[bytes], drop: Iterable[bytes], field: str) -> list[bytes]:
    named = {hashlib.sha256(key).digest(): key for key in current}
    for kid in drop:
        if named.pop(kid, None) is None:
            raise FormatError(f"policy.{field}", f"names no key {kid.hex()}")
    return list(named.values())
