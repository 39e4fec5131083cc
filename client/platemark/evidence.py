"""The evidence bundle: one ZIP file in one form, with everything about a record but the trust to believe it.

Reading is bounded before anything is allocated, and a bundle that is not byte for byte what `to_bytes` would write is
refused: there is no second way to say the same thing, and nothing to smuggle in comments, gaps or extra fields.
Rules B1 to B9 of proto/evidence.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from platemark import bundle, cbor
from platemark.bundle import MAX_BUNDLE, MIMETYPE
from platemark.errors import CborError, EvidenceError

__all__ = ["CONDITIONS", "MAX_BUNDLE", "MIMETYPE", "Evidence", "Proven", "from_bytes", "from_members"]

_MAX_CHAIN = 64
# What a ledger may report of the key's chain, in the order in which verdicts show it (proto/statement.md section 6).
CONDITIONS = (
    "gap",
    "late",
    "fork",
    "prev-mismatch",
    "old-epoch",
    "clock-backwards",
    "clock-future",
    "unknown-reference",
)
_NUMBERED = re.compile(r"(enrolment|policy|revocation)/(0|[1-9][0-9]?)\.(cose|tlog-proof)")
_SINGLE = frozenset({"README.txt", "conditions.cbor", "disclosure.cbor", "proof.tlog-proof", "statement.cose"})
README = """\
This is a Platemark evidence bundle: what a transparency ledger recorded about one image.

statement.cose     what the capturing device signed: digests of the image, its time, its key
proof.tlog-proof   that this statement is in the ledger, under a signed checkpoint
enrolment/         who allowed the device's key, nearest first, each with its proof
policy/            the ledger's own rules, signed by its policy keys, each with its proof
revocation/        the statement that revoked the device's key, if there is one
conditions.cbor    what the ledger reported about the device's chain of statements (not signed)
disclosure.cbor    attributes that the holder of the image chose to show, if any

To check an image against it, with a trust file from a source that you trust:

    platemark verify IMAGE --evidence THIS-FILE --trust trust.toml

It does not prove that the scene was real, that the right patient lay there, or that the device was honest.
"""


@dataclass(frozen=True)
class Proven:
    """A statement (COSE_Sign1 bytes) and its tlog-proof@v1."""

    statement: bytes
    proof: bytes


@dataclass(frozen=True)
class Evidence:
    """The content of a bundle; only its form has been checked.

    `enrolments[0]` enrols the record's key, each next one its predecessor's registrar; `policies` are all policy
    statements of the log in log order, leaf 0 first. `revocation` is empty, or the statement that revoked the record's
    key followed by the enrolments of its registrar as in `enrolments`. `unknown` holds members of a later release,
    which are not read.
    """

    record: Proven
    enrolments: tuple[Proven, ...]
    policies: tuple[Proven, ...]
    revocation: tuple[Proven, ...] = ()
    conditions: tuple[str, ...] = ()
    disclosure: bytes | None = None
    unknown: Mapping[str, bytes] | None = None

    def with_disclosure(self, disclosure: bytes | None) -> Evidence:
        """The same evidence with other disclosed attributes."""
        return replace(self, disclosure=disclosure)

    def members(self) -> dict[str, bytes]:
        """Member name -> content, in the order of the bundle."""
        members = {
            "README.txt": README.encode(),
            "conditions.cbor": cbor.encode({"v": 1, "conditions": list(self.conditions)}),
            "proof.tlog-proof": self.record.proof,
            "statement.cose": self.record.statement,
            **(self.unknown or {}),
        }
        if self.disclosure is not None:
            members["disclosure.cbor"] = self.disclosure
        for folder, chain in (
            ("enrolment", self.enrolments),
            ("policy", self.policies),
            ("revocation", self.revocation),
        ):
            for index, proven in enumerate(chain):
                members[f"{folder}/{index}.cose"] = proven.statement
                members[f"{folder}/{index}.tlog-proof"] = proven.proof
        return {name: members[name] for name in sorted(members)}

    def to_bytes(self) -> bytes:
        """The bundle: the same content gives the same bytes everywhere."""
        return bundle.write(self.members())


def from_bytes(data: bytes) -> Evidence:
    """The evidence in a bundle. Raises EvidenceError naming the member and the limit or rule that it breaks."""
    members = bundle.read(data)
    evidence = from_members(members)
    if members.get("README.txt") != README.encode():
        raise EvidenceError("README.txt", "not the text of this format")
    # One form: whatever differs from what we would write (order, dates, comments, gaps, a lying directory) is refused.
    if evidence.to_bytes() != data:
        raise EvidenceError("bundle", bundle.REPACKED)
    return evidence


def from_members(members: Mapping[str, bytes]) -> Evidence:
    """The evidence in named members, as a bundle or a ledger's reply holds them. Raises EvidenceError."""
    bundle.check_names(members)
    unknown = {name: members[name] for name in members if name not in _SINGLE and not _NUMBERED.fullmatch(name)}
    return Evidence(
        record=Proven(_member(members, "statement.cose"), _member(members, "proof.tlog-proof")),
        enrolments=_chain(members, "enrolment"),
        policies=_chain(members, "policy"),
        revocation=_chain(members, "revocation"),
        conditions=_conditions(_member(members, "conditions.cbor")),
        disclosure=members.get("disclosure.cbor"),
        unknown=unknown or None,
    )


def _member(members: Mapping[str, bytes], name: str) -> bytes:
    if name not in members:
        raise EvidenceError(name, "missing")
    return members[name]


def _chain(members: Mapping[str, bytes], folder: str) -> tuple[Proven, ...]:
    count = sum(1 for name in members if _NUMBERED.fullmatch(name) and name.startswith(folder + "/"))
    if count % 2:
        raise EvidenceError(folder, "a statement without its proof, or a proof without its statement")
    if count // 2 > _MAX_CHAIN:
        raise EvidenceError(folder, f"more than {_MAX_CHAIN} statements")
    return tuple(
        Proven(_member(members, f"{folder}/{index}.cose"), _member(members, f"{folder}/{index}.tlog-proof"))
        for index in range(count // 2)
    )


def _conditions(data: bytes) -> tuple[str, ...]:
    try:
        content = cbor.decode(data)
    except CborError as error:
        raise EvidenceError("conditions.cbor", str(error)) from None
    if (
        not isinstance(content, dict)
        or set(content) != {"v", "conditions"}
        or content["v"] != 1
        or content["v"] is True
    ):
        raise EvidenceError("conditions.cbor", "not a map of v = 1 and conditions")
    items = content["conditions"]
    if not isinstance(items, list) or len(items) > len(CONDITIONS):
        raise EvidenceError("conditions.cbor", "not a short array")
    names = tuple(item for item in items if isinstance(item, str) and item in CONDITIONS)
    if len(names) != len(items) or len(set(names)) != len(names):
        raise EvidenceError("conditions.cbor", "a condition that this release does not know, or one twice")
    return names
