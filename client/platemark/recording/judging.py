"""Which segments of a recording proof are relied on (proto/segments.md section 2).

A segment is judged as an ordinary record is, by checks 1 to 13 of proto/evidence.md. All segments of a proof share its
checkpoint, policies, key, revocation and time stamps: these are judged once, with the record of the bundle. What differs
from segment to segment is judged for each: its statement, inclusion, signature, dates, and what is shown of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

from platemark import keyrule, lineage, statement, tlog_proof
from platemark.errors import EvidenceError, FormatError, PlatemarkError, ProofError, SegmentError
from platemark.lineage import Positioned
from platemark.merkle import PathVerifier, leaf_hash, root_from_inclusion
from platemark.rungs import SHA256
from platemark.segment import SegmentTree, digest_of_root
from platemark.standing import keystate_of, revocation_of
from platemark.trust import TrustedLog
from platemark.verdict import FAIL, PASS, Verdict, record_fault
from platemark.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.evidence import Evidence
    from platemark.keyrule import KeyState, Revocation
    from platemark.lineage import KeyRecord
    from platemark.recording.proof import RecordingProof
    from platemark.recording.segments import ProvenSegment
    from platemark.trust import Trust

__all__ = ["Judged", "JudgedSegment", "judge"]

_VALIDITY = 8


@dataclass(frozen=True, slots=True)
class JudgedSegment:
    """A segment and why it is not relied on; `fault` None: it is. `invalid`: a check FAILed, others could not be made."""

    segment: ProvenSegment
    fault: str | None
    invalid: bool

    @property
    def relied(self) -> bool:
        """Whether what it shows is proven."""
        return self.fault is None


@dataclass(frozen=True)
class Judged:
    """A proof and its segments, in its order. `record` is the verdict on the bundle's own record."""

    proof: RecordingProof
    record: Verdict
    segments: tuple[JudgedSegment, ...]

    @cached_property
    def recording(self) -> tuple[bytes, bytes, bytes]:
        """What the segments are of: the log (its id), the key (kid) and the recording."""
        policies = self.proof.held.policies
        try:
            log = statement.decode(policies[0].statement).id if policies else b""
        except FormatError:
            log = b""  # nothing of it is relied on
        return log, self.proof.record.said.kid, self.proof.recording

    @property
    def invalid(self) -> bool:
        """Whether any check of the bundle or of a segment FAILed."""
        return any(check.status == FAIL for check in self.record.checks) or any(each.invalid for each in self.segments)


def judge(proof: RecordingProof, *, trust: Trust | None, at: int) -> Judged:
    """Judge every segment, believing only `trust`, as of `at` (Unix ns). Raises nothing for bad evidence: that is a verdict.

    Takes time in proportion to the proof.
    """
    evidence = proof.evidence_of(proof.record)
    record = verify(evidence, trust=trust, image=None, at=at)
    failed = next((check for check in record.checks if check.status == FAIL), None)
    if failed is not None:
        fault = f"{failed.title}: {failed.reason}"
        return Judged(proof, record, tuple(JudgedSegment(each, fault, invalid=True) for each in proof.segments))
    try:
        common = _Common.of(evidence, proof.record, trust, record, at)
    except PlatemarkError as error:
        # Nothing FAILed, so this is a statement of a later release among those that all segments rest on.
        fault = record.fault or str(error)
        return Judged(proof, record, tuple(JudgedSegment(each, fault, invalid=False) for each in proof.segments))
    return Judged(proof, record, tuple(common.judge(each) for each in proof.segments))


@dataclass(frozen=True)
class _Common:
    """What the record's verdict rests on and all segments share."""

    paths: PathVerifier
    key: KeyRecord
    revocation: Revocation | None
    keystate: KeyState | None
    proven: int | None
    at: int
    fault: str | None  # of a check that is the same for every segment

    @classmethod
    def of(cls, evidence: Evidence, record: ProvenSegment, trust: Trust | None, verdict: Verdict, at: int) -> _Common:
        """Raises what `verify` has made checks of, and nothing where it has not."""
        checkpoint = tlog_proof.parse(evidence.record.proof).checkpoint
        policies = lineage.open_policies(evidence.policies, checkpoint, _log(evidence, trust))
        subject = Positioned(record.said, record.index)
        key = lineage.authority(subject, evidence.enrolments, checkpoint, policies, folder="enrolment")
        covered = checkpoint.checkpoint
        # The record's own dates (8) are judged for each segment, so they are left out of what is common. Witnesses (10)
        # count where the trust file asks for them: `verify` has put that into its own fault.
        others = tuple(replace(check, status=PASS) if check.number == _VALIDITY else check for check in verdict.checks)
        asked = frozenset({10}) if _asks_for_witnesses(evidence, trust) else frozenset[int]()
        found = record_fault(others, asked=asked)
        return cls(
            paths=PathVerifier(covered.size, covered.root),
            key=key,
            revocation=revocation_of(evidence, key, checkpoint, policies),
            keystate=keystate_of(evidence, key, checkpoint, policies),
            proven=cast("int | None", verdict.facts.get("not_later_than")),
            at=at,
            fault=None if found is None else found[1],
        )

    def judge(self, segment: ProvenSegment) -> JudgedSegment:
        said = segment.said
        try:
            self._check_in_log(segment)
            _check_shown(segment)
        except PlatemarkError as error:
            return JudgedSegment(segment, str(error), invalid=True)
        found = keyrule.judge(
            key=keyrule.Validity(self.key.not_before, self.key.not_after),
            stated=said.time or 0,
            index=segment.index,
            at=self.at,
            proven=self.proven,
            revocation=self.revocation,
            keystate=self.keystate,
        )
        for check in (found.validity, found.revocation):
            if check.status == FAIL:
                return JudgedSegment(segment, f"{check.title}: {check.reason}", invalid=True)
        if self.fault is None and found.validity.status != PASS:
            return JudgedSegment(segment, f"{found.validity.title}: {found.validity.reason}", invalid=False)
        return JudgedSegment(segment, self.fault, invalid=False)

    def _check_in_log(self, segment: ProvenSegment) -> None:
        """5 to 7. Raises ProofError, EvidenceError, SignatureError."""
        subject = Positioned(segment.said, segment.index)
        try:
            self.paths.verify(segment.index, leaf_hash(segment.said.entry), segment.path)
        except ProofError as error:
            raise ProofError(f"inclusion: {error.reason}") from None
        if self.key.index >= segment.index:
            raise EvidenceError("enrolment/0", "is later in the log than what its key signed")
        lineage.check_may_sign(subject, self.key, "enrolment/0")
        segment.said.verify(self.key.key)


def _log(evidence: Evidence, trust: Trust | None) -> TrustedLog:
    """The log that the trust file names, or what the bundle says of itself, to find faults by (V7)."""
    first = statement.decode(evidence.policies[0].statement)
    named = trust.log(first.id) if trust else None
    if named is not None:
        return named
    keys = frozenset(cast("list[bytes]", first.payload["keys"]))
    return TrustedLog(first.id, cast("str", first.payload["origin"]), keys, cast("int", first.payload["threshold"]))


def _asks_for_witnesses(evidence: Evidence, trust: Trust | None) -> bool:
    policy = _log(evidence, trust).witness_policy
    return policy is not None and policy.quorum is not None


def _check_shown(segment: ProvenSegment) -> None:
    """G8 and G9: what is shown is what was signed. Raises SegmentError, ProofError."""
    payload = segment.said.payload
    digests = cast("Mapping[str, Mapping[int, bytes]]", payload["digests"])
    signed = digests["messages"][SHA256]
    try:
        if isinstance(segment.shown, bytes):
            _check_rows(segment, signed)
            return
        for each in segment.shown:
            leaf = segment.channel.leaf_hash(each.row)
            root = root_from_inclusion(index=each.place, size=segment.count, leaf_hash=leaf, path=each.path)
            if digest_of_root(segment.count, root) != signed:
                raise SegmentError("messages", f"message {each.place} is not one of the signed segment")
            if not cast("int", payload["first"]) <= each.row.log_time <= cast("int", payload["last"]):
                raise SegmentError("messages", f"message {each.place} is outside the signed times")
            if each.data is not None and hashlib.sha256(each.data).digest() != each.row.digest:
                raise SegmentError("messages", f"the data of message {each.place} is not what its digest says")
    except (FormatError, ProofError) as error:
        topic, number = segment.place
        raise SegmentError(f"segment {number} of {topic!r}", str(error)) from None


def _check_rows(segment: ProvenSegment, signed: bytes) -> None:
    tree = SegmentTree(segment.channel)
    for _, row in segment.rows():
        tree.add(row, 0)
    if tree.digest() != signed:
        raise SegmentError("messages", "the rows, or their channel, are not those of the signed segment")
    if (tree.first, tree.last) != (segment.said.payload["first"], segment.said.payload["last"]):
        raise SegmentError("messages", "the signed times are not the least and the greatest of the messages")
