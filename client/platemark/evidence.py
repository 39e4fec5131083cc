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

__all__ = [
    "CONDITIONS",
    "MAX_BUNDLE",
    "MIMETYPE",
    "Evidence",
    "Keystate",
    "Proven",
    "Stamp",
    "Stamped",
    "from_bytes",
    "from_members",
]

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
_DIVIDER = b"\n\n"
_NUMBER = "(?:0|[1-9][0-9]?)"
_NUMBERED = re.compile(
    rf"(?:enrolment|policy|revocation)/{_NUMBER}\.(?:cose|proof)|keystate/0\.(?:cose|proof)"
    rf"|receipt/{_NUMBER}\.receipt|time/{_NUMBER}\.tsr|time/{_NUMBER}-{_NUMBER}\.(?:crl|renewal)"
)
_SINGLE = frozenset(
    {
        "README.txt",
        "conditions.cbor",
        "disclosure.cbor",
        "frames.cbor",
        "keystate/leaf.cbor",
        "proof.tlog-proof",
        "statement.cose",
        "time/checkpoint",
        "time/consistency.cbor",
    }
)
README = """\
This is a Platemark evidence bundle: what a transparency ledger recorded about one image.

statement.cose     what the capturing device signed: digests of the image, its time, its key
proof.tlog-proof   that this statement is in the ledger, under a signed checkpoint
receipt/           the same as COSE receipts, for other verifiers
enrolment/         who allowed the device's key, nearest first, each with its proof
policy/            the ledger's own rules, signed by its policy keys, each with its proof
revocation/        the statement that revoked the device's key, if there is one
keystate/          what the ledger says of the device's key at a later time
time/              time stamps of independent authorities over an earlier checkpoint
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
class Stamp:
    """A whole RFC 3161 response (DER), the revocation lists (DER) that were kept with it, and its renewals, in order."""

    response: bytes
    crls: tuple[bytes, ...] = ()
    renewals: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Stamped:
    """Time stamps over a published checkpoint that covers the record.

    `checkpoint` is its signed note, `consistency` the path from it to the checkpoint of the proofs (proto/evidence.md
    section 1), and `stamps`, at least one, are over its log note.
    """

    checkpoint: bytes
    consistency: bytes
    stamps: tuple[Stamp, ...]


@dataclass(frozen=True)
class Keystate:
    """A keystate statement with its proof, and the leaf of the record's key in the tree whose root it states."""

    proven: Proven
    leaf: bytes


@dataclass(frozen=True)
class Evidence:
    """The content of a bundle; only its form has been checked.

    `enrolments[0]` enrols the record's key, each next one its predecessor's registrar; `policies` are all policy
    statements of the log in log order, leaf 0 first. `revocation` is empty, or the statement that revoked the record's
    key followed by the enrolments of its registrar as in `enrolments`. `receipts` say the same as the record's proof, in
    COSE. `frames` proves single frames. `unknown` holds members of a later release, which are not read.
    """

    record: Proven
    enrolments: tuple[Proven, ...]
    policies: tuple[Proven, ...]
    revocation: tuple[Proven, ...] = ()
    conditions: tuple[str, ...] = ()
    disclosure: bytes | None = None
    receipts: tuple[bytes, ...] = ()
    keystate: Keystate | None = None
    stamped: Stamped | None = None
    frames: bytes | None = None
    unknown: Mapping[str, bytes] | None = None

    def with_disclosure(self, disclosure: bytes | None) -> Evidence:
        """The same evidence with other disclosed attributes."""
        return replace(self, disclosure=disclosure)

    def with_frames(self, frames: bytes | None) -> Evidence:
        """The same evidence with proofs of other single frames."""
        return replace(self, frames=frames)

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
        if self.frames is not None:
            members["frames.cbor"] = self.frames
        for folder, chain in (
            ("enrolment", self.enrolments),
            ("policy", self.policies),
            ("revocation", self.revocation),
        ):
            for index, proven in enumerate(chain):
                members |= _proven_members(f"{folder}/{index}", proven, _checkpoint_of(self.record))
        members |= {f"receipt/{index}.receipt": each for index, each in enumerate(self.receipts)}
        if self.keystate is not None:
            members |= _proven_members("keystate/0", self.keystate.proven, _checkpoint_of(self.record))
            members["keystate/leaf.cbor"] = self.keystate.leaf
        members |= _stamped_members(self.stamped)
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
    record = Proven(_member(members, "statement.cose"), _member(members, "proof.tlog-proof"))
    checkpoint = _checkpoint_of(record)
    return Evidence(
        record=record,
        enrolments=_chain(members, "enrolment", checkpoint),
        policies=_chain(members, "policy", checkpoint),
        revocation=_chain(members, "revocation", checkpoint),
        conditions=_conditions(_member(members, "conditions.cbor")),
        disclosure=members.get("disclosure.cbor"),
        receipts=_run(members, "receipt/{}.receipt"),
        keystate=_keystate(members, checkpoint),
        stamped=_stamped(members),
        frames=members.get("frames.cbor"),
        unknown=unknown or None,
    )


def _member(members: Mapping[str, bytes], name: str) -> bytes:
    if name not in members:
        raise EvidenceError(name, "missing")
    return members[name]


def _chain(members: Mapping[str, bytes], folder: str, checkpoint: bytes) -> tuple[Proven, ...]:
    count = sum(1 for name in members if _NUMBERED.fullmatch(name) and name.startswith(folder + "/"))
    if count % 2:
        raise EvidenceError(folder, "a statement without its proof, or a proof without its statement")
    if count // 2 > _MAX_CHAIN:
        raise EvidenceError(folder, f"more than {_MAX_CHAIN} statements")
    return tuple(_proven(members, f"{folder}/{index}", checkpoint) for index in range(count // 2))


def _checkpoint_of(record: Proven) -> bytes:
    """The checkpoint of the record's proof, verbatim: what stands behind the empty line (log.md F1)."""
    return record.proof.partition(_DIVIDER)[2]


def _proven(members: Mapping[str, bytes], name: str, checkpoint: bytes) -> Proven:
    return Proven(_member(members, f"{name}.cose"), _member(members, f"{name}.proof") + checkpoint)


def _proven_members(name: str, proven: Proven, checkpoint: bytes) -> dict[str, bytes]:
    """A statement and its proof without the checkpoint, which stands in the bundle once (B6)."""
    if not proven.proof.endswith(checkpoint):
        raise EvidenceError(f"{name}.proof", "its proof carries another checkpoint than the record's")
    return {f"{name}.cose": proven.statement, f"{name}.proof": proven.proof[: len(proven.proof) - len(checkpoint)]}


def _run(members: Mapping[str, bytes], name: str) -> tuple[bytes, ...]:
    """The members called `name` with 0, 1 and so on, which have no gap."""
    pattern = re.compile(re.escape(name).replace(r"\{\}", _NUMBER))
    count = sum(1 for each in members if pattern.fullmatch(each))
    if count > _MAX_CHAIN:
        raise EvidenceError(name.format("N"), f"more than {_MAX_CHAIN} of these")
    return tuple(_member(members, name.format(index)) for index in range(count))


def _keystate(members: Mapping[str, bytes], checkpoint: bytes) -> Keystate | None:
    if not {"keystate/0.cose", "keystate/0.proof", "keystate/leaf.cbor"} & set(members):
        return None
    return Keystate(_proven(members, "keystate/0", checkpoint), _member(members, "keystate/leaf.cbor"))


def _stamped(members: Mapping[str, bytes]) -> Stamped | None:
    responses = _run(members, "time/{}.tsr")
    stamps = tuple(
        Stamp(response, _run(members, f"time/{index}-{{}}.crl"), _run(members, f"time/{index}-{{}}.renewal"))
        for index, response in enumerate(responses)
    )
    given = {name for name in members if name.startswith("time/") and (name in _SINGLE or _NUMBERED.fullmatch(name))}
    if not given:
        return None
    if not stamps:
        raise EvidenceError("time/0.tsr", "missing")
    stamped = Stamped(_member(members, "time/checkpoint"), _member(members, "time/consistency.cbor"), stamps)
    stray = given - set(_stamped_members(stamped))
    if stray:
        raise EvidenceError(min(stray), "a revocation list or a renewal of no time stamp, or out of its order")
    return stamped


def _stamped_members(stamped: Stamped | None) -> dict[str, bytes]:
    if stamped is None:
        return {}
    members = {"time/checkpoint": stamped.checkpoint, "time/consistency.cbor": stamped.consistency}
    for number, stamp in enumerate(stamped.stamps):
        members[f"time/{number}.tsr"] = stamp.response
        members |= {f"time/{number}-{index}.crl": crl for index, crl in enumerate(stamp.crls)}
        members |= {f"time/{number}-{index}.renewal": each for index, each in enumerate(stamp.renewals)}
    return members


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
