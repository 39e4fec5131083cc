"""Roles: the one table of which call needs which, and the file that says who has them.

The file (setting `access`) is TOML and is read again whenever it changes:

    [[caller]]
    spiffe = "spiffe://hospital.example/device/ct-1"    # exactly this id
    roles = ["writer"]

    [[caller]]
    spiffe_prefix = "spiffe://hospital.example/viewer/" # every id below it; ends in /
    roles = ["reader"]

    [[caller]]
    subject = "CN=archive,O=Hospital"                   # exactly this subject, RFC 4514
    roles = ["reader", "operator"]

A caller has the roles of every entry that names it. Roles do not contain each other. `public` needs no entry.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from platemark.errors import FormatError
from platemark_ledger.access_peer import SPIFFE_ID, subject_text

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from platemark_ledger.access_peer import Peer

__all__ = ["EVERY_ROLE", "RULES", "Access", "AccessFileError", "Role", "Rule", "read_access", "rule_of"]


class Role(StrEnum):
    """What a caller may do."""

    WRITER = "writer"
    READER = "reader"
    OPERATOR = "operator"
    PUBLIC = "public"


EVERY_ROLE = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Rule:
    """The role that a call needs, and whether it reads statements, so that the access log must have it."""

    role: Role
    recorded: bool = False


# The one table. A method that is missing here is refused to everybody, and a test compares it with ledger.proto.
# `index 0`: the statement at index 0 is the founding policy, with which every client begins to believe anything; it speaks of
# the log's keys alone. By id: whoever has neither the id nor the digest learns nothing about any image.
RULES: Mapping[str, Rule] = {
    "Append": Rule(Role.WRITER),
    "AppendStream": Rule(Role.WRITER),
    "Lookup": Rule(Role.READER, recorded=True),
    "GetStatement": Rule(Role.READER, recorded=True),
    "GetStatement index 0": Rule(Role.PUBLIC),
    "GetEvidence": Rule(Role.READER, recorded=True),
    "GetEvidence index 0": Rule(Role.PUBLIC),
    "ListStatements": Rule(Role.OPERATOR, recorded=True),
    "GetInclusionProof id": Rule(Role.READER),
    "GetInclusionProof index": Rule(Role.PUBLIC),
    "GetConsistencyProof": Rule(Role.PUBLIC),
    "GetCheckpoint": Rule(Role.PUBLIC),
    "WatchCheckpoints": Rule(Role.PUBLIC),
}


def rule_of(method: str, request: Message) -> Rule:
    """The row for a call. Raises KeyError for a method without one."""
    if method in {"GetStatement", "GetEvidence"} and request.WhichOneof("statement") == "index":
        return RULES[method if request.index else f"{method} index 0"]  # type: ignore[attr-defined] # named just above
    if method == "GetInclusionProof":
        # A request that names neither is refused by the service; until then it is the lesser question.
        return RULES[f"{method} {request.WhichOneof('statement') or 'index'}"]
    return RULES[method]


class AccessFileError(FormatError):
    """An access file that says something else than entries of callers."""

    code = "access-file"


@dataclass(frozen=True, slots=True)
class Access:
    """Who has which roles, by exact id, by prefix of ids, by exact subject."""

    ids: Mapping[str, frozenset[Role]]
    prefixes: Mapping[str, frozenset[Role]]
    subjects: Mapping[str, frozenset[Role]]

    def roles(self, peer: Peer | None) -> frozenset[Role]:
        """The roles of a caller; everybody has `public`."""
        granted = frozenset({Role.PUBLIC})
        if peer is None:
            return granted
        if peer.spiffe is None:
            return granted | self.subjects.get(peer.subject or "", frozenset())
        below = (roles for prefix, roles in self.prefixes.items() if peer.spiffe.startswith(prefix))
        return granted.union(self.ids.get(peer.spiffe, frozenset()), *below)


def read_access(contents: Sequence[bytes]) -> Access:
    """The access file in contents[0]. Raises AccessFileError naming the entry."""
    try:
        document = tomllib.loads(contents[0].decode())
    # ValueError: TOMLDecodeError, not UTF-8, and numbers of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise AccessFileError("toml", str(error)) from None
    entries = document.pop("caller", [])
    if document:
        raise AccessFileError(next(iter(document)), "the file holds nothing but [[caller]] entries")
    if not isinstance(entries, list):
        raise AccessFileError("caller", "write [[caller]]")
    found: dict[str, dict[str, frozenset[Role]]] = {kind: {} for kind in _NAMES}
    for position, entry in enumerate(entries):
        where = f"caller[{position}]"
        if not isinstance(entry, dict):
            raise AccessFileError(where, "write [[caller]]")
        kind, name = _name(where, entry)
        if name in found[kind]:
            raise AccessFileError(f"{where}.{kind}", f"{name} has an entry already")
        found[kind][name] = _roles(where, entry)
    return Access(found["spiffe"], found["spiffe_prefix"], found["subject"])


def _name(where: str, entry: dict[str, Any]) -> tuple[str, str]:
    unknown = set(entry) - {*_NAMES, "roles"}
    if unknown:
        raise AccessFileError(f"{where}.{min(unknown)}", f"unknown; there are {', '.join(_NAMES)} and roles")
    kinds = [kind for kind in _NAMES if kind in entry]
    if len(kinds) != 1:
        raise AccessFileError(where, f"exactly one of {', '.join(_NAMES)} is needed")
    kind, name = kinds[0], entry[kinds[0]]
    if not isinstance(name, str):
        raise AccessFileError(f"{where}.{kind}", "a string is needed")
    return kind, _NAMES[kind](f"{where}.{kind}", name)


def _roles(where: str, entry: dict[str, Any]) -> frozenset[Role]:
    roles = entry.get("roles")
    if not isinstance(roles, list) or not roles:
        raise AccessFileError(f"{where}.roles", f"a list of {', '.join(Role)} is needed")
    for each in roles:
        if not isinstance(each, str) or each not in set(Role):
            raise AccessFileError(f"{where}.roles", f"{each!r} is none of {', '.join(Role)}")
    return frozenset(map(Role, roles))


def _spiffe(where: str, name: str) -> str:
    if not SPIFFE_ID.fullmatch(name):
        raise AccessFileError(where, f"{name!r} is not a SPIFFE id: spiffe://TRUST-DOMAIN/PATH")
    return name


def _prefix(where: str, name: str) -> str:
    # Without the slash, .../ct would take in .../ct-of-somebody-else.
    if not name.endswith("/") or not SPIFFE_ID.fullmatch(name[:-1]):
        raise AccessFileError(where, f"{name!r} is not a SPIFFE id followed by /")
    return name


def _subject(where: str, name: str) -> str:
    try:
        text = subject_text(name)
    except ValueError:
        raise AccessFileError(where, f"{name!r} is not RFC 4514 text like CN=archive,O=Hospital") from None
    if not text:
        raise AccessFileError(where, "an empty subject names nobody")
    return text


_NAMES = {"spiffe": _spiffe, "spiffe_prefix": _prefix, "subject": _subject}
