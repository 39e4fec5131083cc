"""The evidence bundle: one ZIP file in one form, with everything about a record but the trust to believe it.

Reading is bounded before anything is allocated, and a bundle that is not byte for byte what `to_bytes` would write is
refused: there is no second way to say the same thing, and nothing to smuggle in comments, gaps or extra fields.
Rules B1 to B9 of proto/evidence.md.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace

from platemark import cbor
from platemark.errors import CborError, EvidenceError

__all__ = ["CONDITIONS", "MAX_BUNDLE", "MIMETYPE", "Evidence", "Proven", "from_bytes", "from_members"]

MIMETYPE = "application/vnd.platemark.evidence+zip"
MAX_BUNDLE = 16 * 1024 * 1024
_MAX_MEMBERS = 512
_MAX_CHAIN = 64
_END = struct.Struct("<4s4H2LH")
_REPACKED = "not as it was written (packed again by another program?): ask for the original file"
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
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*|README\.txt")
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
        return _write(self.members())


def from_bytes(data: bytes) -> Evidence:
    """The evidence in a bundle. Raises EvidenceError naming the member and the limit or rule that it breaks."""
    if len(data) > MAX_BUNDLE:
        raise EvidenceError("bundle", f"{len(data)} bytes, more than {MAX_BUNDLE}")
    members = _read(data)
    evidence = from_members(members)
    if members.get("README.txt") != README.encode():
        raise EvidenceError("README.txt", "not the text of this format")
    # One form: whatever differs from what we would write (order, dates, comments, gaps, a lying directory) is refused.
    if evidence.to_bytes() != data:
        raise EvidenceError("bundle", _REPACKED)
    return evidence


def from_members(members: Mapping[str, bytes]) -> Evidence:
    """The evidence in named members, as a bundle or a ledger's reply holds them. Raises EvidenceError."""
    _check_names(members)
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


def _check_names(members: Mapping[str, bytes]) -> None:
    """The names that a bundle may have (B2, B3): a ledger's reply ends up as a file that people unpack."""
    if len(members) >= _MAX_MEMBERS:
        raise EvidenceError("bundle", f"more than {_MAX_MEMBERS} members")
    for name in members:
        if len(name) > 100 or name == "mimetype" or not _NAME.fullmatch(name):
            raise EvidenceError("bundle", f"member name {name[:80]!r} is refused")


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


def _write(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        for name, content in [("mimetype", MIMETYPE.encode()), *members.items()]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            bundle.writestr(info, content)
    return buffer.getvalue()


def _check_end(data: bytes) -> None:
    """The number of members, before zipfile makes an object of each: in the end record, which ends the file (B4)."""
    end = data[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        if data.startswith(b"PK"):
            raise EvidenceError("bundle", _REPACKED)
        raise EvidenceError("bundle", "not a readable ZIP file")
    count, length = _END.unpack(end)[4:6]
    if count > _MAX_MEMBERS:
        raise EvidenceError("bundle", f"more than {_MAX_MEMBERS} members")
    if length > 512 * _MAX_MEMBERS:
        raise EvidenceError("bundle", _REPACKED)


def _read(data: bytes) -> dict[str, bytes]:
    """The members after `mimetype`, names checked; nothing here is compressed, so no member exceeds the bundle."""
    members: dict[str, bytes] = {}
    try:
        _check_end(data)
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            infos = bundle.infolist()
            if len(infos) > _MAX_MEMBERS:
                raise EvidenceError("bundle", f"more than {_MAX_MEMBERS} members")
            if sum(info.file_size for info in infos) > len(data):
                raise EvidenceError("bundle", _REPACKED)
            for info in infos:
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                    raise EvidenceError(info.filename[:80], f"compressed; {_REPACKED}")
                if info.filename in members or len(info.filename) > 100 or not _NAME.fullmatch(info.filename):
                    raise EvidenceError("bundle", f"member name {info.filename[:80]!r} is refused")
                members[info.filename] = bundle.read(info)
    except (
        zipfile.BadZipFile,
        struct.error,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OverflowError,
    ) as error:
        raise EvidenceError("bundle", f"not a readable ZIP file ({error})") from None
    if next(iter(members), None) != "mimetype" or members.pop("mimetype") != MIMETYPE.encode():
        raise EvidenceError("mimetype", f"the first member is not {MIMETYPE}")
    return members
