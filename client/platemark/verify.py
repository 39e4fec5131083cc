"""Evidence, trust and the measured image in; a verdict out. Opens no file and no socket.

The numbers of the checks are those of proto/evidence.md section 4, which is the algorithm; this module follows it step
by step. Every check is PASS, FAIL or NOT CHECKED with a reason. Nothing passes because it was absent: no trust, no
proof or no measurement is NOT CHECKED, and a required check that is NOT CHECKED leaves the result INCONCLUSIVE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from platemark import attributes, lineage, statement, tlog_proof
from platemark.comparison import check_header, check_image
from platemark.errors import FormatError, PlatemarkError, UnknownKindError
from platemark.keys import ALGORITHM_NAMES
from platemark.merkle import leaf_hash
from platemark.trust import TrustedLog
from platemark.verdict import FAIL, NOT_CHECKED, PASS, TITLES, Check, Verdict, conclude

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.evidence import Evidence
    from platemark.lineage import KeyRecord, Policies, Positioned
    from platemark.rungs import Measurement
    from platemark.statement import Statement
    from platemark.trust import Trust

__all__ = ["verify"]


def verify(evidence: Evidence, *, trust: Trust | None, image: Measurement | None, at: int) -> Verdict:
    """Judge `image` against `evidence`, believing only `trust`, as of `at` (Unix ns).

    Same input, same verdict. Raises nothing for bad evidence: that is a verdict. `trust` or `image` None leaves the
    result INCONCLUSIVE at best.
    """
    return _Verification(evidence, trust, image, at).run()


class _Verification:
    """One run through the numbered checks; a check that an earlier one stops is NOT CHECKED and says so."""

    def __init__(self, evidence: Evidence, trust: Trust | None, image: Measurement | None, at: int) -> None:
        self.evidence, self.trust, self.image, self.at = evidence, trust, image, at
        self.checks: dict[int, Check] = {}
        self.believed = False
        self.facts: dict[str, str | int] = {}

    def run(self) -> Verdict:
        record: Statement | None = None
        disclosed: dict[str, AttributeValue] = {}
        rung: str | None = None
        try:
            record = self._statement()
            self._ledger(record)
        except _StoppedError:
            pass
        if record is not None:
            disclosed = self._disclosure(record)
            rung = self._image(record, disclosed)
        self._chain()
        for number in TITLES:
            if number not in self.checks:
                self._note(number, NOT_CHECKED, "an earlier check that this one rests on did not pass")
        checks = tuple(self.checks[number] for number in sorted(self.checks))
        result, reason = conclude(checks, rung)
        facts = self.facts if all(self.checks[number].status == PASS for number in range(1, 8)) else {}
        return Verdict(
            result=result,
            reason=reason,
            rung=rung,
            checks=checks,
            at=self.at,
            conditions=self.evidence.conditions,
            facts=facts,
            disclosed=disclosed if facts else {},
            unread=tuple(self.evidence.unknown or ()),
        )

    def _statement(self) -> Statement:
        """1: the record is one well-formed statement of a kind and version that this release knows."""
        try:
            record = statement.decode(self.evidence.record.statement)
        except FormatError as error:
            self._fail(1, error)
        self._note(1, PASS, f"a well-formed statement of kind {record.kind}, id {record.id.hex()}")
        return record

    def _ledger(self, record: Statement) -> None:
        """2 to 11: the log, its policy and the key. Raises _StoppedError at the first that fails."""
        try:
            proof = tlog_proof.parse(self.evidence.record.proof)
        except FormatError as error:
            self._fail(4, error)
        trusted = self._trust()
        # 3: leaf 0 and every later policy, under the checkpoint that 4 then ties to the policy's own log key.
        try:
            policies = lineage.open_policies(self.evidence.policies, proof.checkpoint, trusted)
        except PlatemarkError as error:
            self._fail(3, error)
        last = policies.versions[-1]
        self._pass(3, f"policy version {last.payload['version']!r} of {trusted.origin}, signed by its policy keys")
        self._checkpoint(proof, policies)
        self._inclusion(proof, record)
        self._key(lineage.Positioned(record, proof.index), proof, policies)

    def _trust(self) -> TrustedLog:
        """2: the log is one that the trust file names. Without that, go on to find faults, but let nothing pass."""
        try:
            first = statement.decode(self.evidence.policies[0].statement) if self.evidence.policies else None
        except FormatError as error:
            self._fail(3, error)
        if first is None or first.kind != "policy":
            self._note(3, FAIL, "policy/0: missing, or not a policy statement")
            raise _StoppedError
        named = self.trust.log(first.id) if self.trust else None
        if named is not None:
            self.believed = True
            self._note(2, PASS, f"the trust file names the log {named.origin}, id {named.id.hex()}")
            return named
        why = "the trust file does not name this log" if self.trust else "no trust file was given"
        self._note(2, NOT_CHECKED, f"{why}: the evidence says its log is {first.id.hex()}, and nobody vouches for that")
        keys = frozenset(cast("list[bytes]", first.payload["keys"]))
        return TrustedLog(first.id, cast("str", first.payload["origin"]), keys, cast("int", first.payload["threshold"]))

    def _checkpoint(self, proof: tlog_proof.TlogProof, policies: Policies) -> None:
        """4: the checkpoint is of this origin and signed by a log key of the policy in force at its size."""
        covered = proof.checkpoint.checkpoint
        try:
            if covered.origin != policies.origin:
                raise FormatError("checkpoint.origin", f"{covered.origin} is not {policies.origin}")
            proof.checkpoint.verify(policies.at(covered.size).log_keys(policies.origin))
        except PlatemarkError as error:
            self._fail(4, error)
        self._pass(4, f"the log signed size {covered.size}, root {covered.root.hex()}")
        self.facts |= {"log": policies.origin, "log_id": policies.log.hex(), "log_size": covered.size}

    def _inclusion(self, proof: tlog_proof.TlogProof, record: Statement) -> None:
        """5: the record's entry is the leaf that the proof names."""
        try:
            proof.verify_leaf(leaf_hash(record.entry))
        except PlatemarkError as error:
            self._fail(5, error)
        self._pass(5, f"the statement is leaf {proof.index}")
        self.facts |= {"index": proof.index, "statement_id": record.id.hex()}

    def _key(self, record: Positioned, proof: tlog_proof.TlogProof, policies: Policies) -> None:
        """6 and 7: an unbroken, proven chain leads from the policy to the key, and every signature on it verifies."""
        if record.statement.log not in {None, policies.log}:
            self._fail(6, FormatError("statement.cose", "names another log"))
        if record.statement.kind == "policy":
            self._note(6, NOT_CHECKED, "a policy is judged by check 3 alone")
            raise _StoppedError
        try:
            key = lineage.authority(record, self.evidence.enrolments, proof.checkpoint, policies, folder="enrolment")
        except PlatemarkError as error:
            self._fail(6, error)
        self._pass(6, f"{key.device} was enrolled as {key.role} at leaf {key.index}")
        self._pass(7, f"{ALGORITHM_NAMES[key.key.alg]} signature of key {key.key.kid.hex()}")
        self.facts |= _facts(record.statement, key)
        self._validity(record.statement, key)
        self._revocation(record, key, proof, policies)
        self._note(10, NOT_CHECKED, "no witness is named in the trust file")
        self._note(11, NOT_CHECKED, "the evidence carries no time stamp: the stated time is the device's own")

    def _validity(self, record: Statement, key: KeyRecord) -> None:
        """8: the stated time and the proven time are within the key's validity.

        Without a time stamp the proven upper time is the time of this verification: the record exists by now.
        """
        stated = record.time or 0
        if not key.not_before <= stated <= key.not_after:
            self._note(8, FAIL, "the stated time is outside the key's validity")
        elif self.at > key.not_after:
            self._note(8, NOT_CHECKED, "the key has expired and nothing proves that the record existed before that")
        elif self.at < stated:
            self._note(
                8, NOT_CHECKED, "the time of verification is before the stated time, when there was no record yet"
            )
        else:
            self._pass(8, "the stated time is within the key's validity, which has not ended")

    def _revocation(self, record: Positioned, key: KeyRecord, proof: tlog_proof.TlogProof, policies: Policies) -> None:
        """9: the key rule. Without a later keystate nobody can say that a revocation was not held back."""
        if not self.evidence.revocation:
            self._note(9, NOT_CHECKED, "no revocation is shown, and nothing proves that there is none")
            return
        first, *chain = self.evidence.revocation
        try:
            revoke = lineage.place(first, proof.checkpoint, "revocation/0")
            if revoke.statement.kind != "revoke" or revoke.statement.payload["kid"] != key.key.kid:
                raise FormatError("revocation/0", "does not revoke the record's key")
            if revoke.statement.log != policies.log:
                raise FormatError("revocation/0", "names another log")
            lineage.authority(revoke, chain, proof.checkpoint, policies, folder="revocation")
        except UnknownKindError as error:
            # An unreadable revocation must not be the better case for whoever hands it over.
            self._note(8, NOT_CHECKED, "the evidence shows a revocation that this release cannot read")
            self._fail(9, error)
        except PlatemarkError as error:
            self._fail(9, error)
        if revoke.index < record.index:
            self._note(9, FAIL, f"the key was revoked at leaf {revoke.index}, before this record")
        else:
            # A time of verification that the reader chose is no proof that the record is older than the revocation.
            self._note(9, NOT_CHECKED, "disputed: the key was revoked later, and no time stamp shows which came first")
            self._note(8, NOT_CHECKED, "disputed: the key was revoked and no time stamp shows that the record is older")

    def _chain(self) -> None:
        """12: what the ledger reported of the key's chain; a replay of the log would prove it."""
        reported = ", ".join(self.evidence.conditions) or "no condition"
        self._note(12, NOT_CHECKED, f"the ledger reported {reported}; an audit of the log would prove it")

    def _disclosure(self, record: Statement) -> dict[str, AttributeValue]:
        """13: every shown attribute belongs to the attribute root that the record signed."""
        root = record.payload.get("attributes")
        if self.evidence.disclosure is None or not isinstance(root, bytes):
            self._note(13, NOT_CHECKED, "no attribute was disclosed")
            return {}
        try:
            disclosed = attributes.decode_disclosure(self.evidence.disclosure).verified(root)
        except PlatemarkError as error:
            self._note(13, FAIL, str(error))
            return {}
        self._note(13, PASS, f"{len(disclosed)} disclosed attributes are the ones that were signed")
        return disclosed

    def _image(self, record: Statement, disclosed: dict[str, AttributeValue]) -> str | None:
        """14 and 15: the image is the recorded one, and its header too."""
        self.checks[14], rung = check_image(record, self.image)
        if rung is not None and self.image is not None:
            accept = self.trust.accept_pixels if self.trust else False
            self.checks[15] = check_header(rung, self.image, disclosed, accept_pixels=accept)
        return rung

    def _pass(self, number: int, reason: str) -> None:
        """PASS, but only under a log that the trust file names."""
        if self.believed:
            self._note(number, PASS, reason)
        else:
            self._note(number, NOT_CHECKED, f"holds only if the log is believed: {reason}")

    def _note(self, number: int, status: str, reason: str) -> None:
        self.checks[number] = Check(number, status, reason)

    def _fail(self, number: int, error: PlatemarkError) -> NoReturn:
        """FAIL, or NOT CHECKED where a statement is of a version or kind that only a later release knows."""
        self._note(number, NOT_CHECKED if isinstance(error, UnknownKindError) else FAIL, str(error))
        raise _StoppedError from None


class _StoppedError(Exception):
    """A check failed that the following ones rest on."""


def _facts(record: Statement, key: KeyRecord) -> dict[str, str | int]:
    """What the signature covers, for the report."""
    facts: dict[str, str | int] = {"device": key.device, "role": key.role, "kid": key.key.kid.hex()}
    if record.time is not None:
        facts["stated_time"] = record.time
    for name in ("media", "origin", "meaning", "frames"):
        value = record.payload.get(name)
        if isinstance(value, (str, int)):
            facts[name] = value
    clock = record.payload.get("clock")
    if isinstance(clock, dict):
        facts["clock"] = str(clock["source"])
        if isinstance(clock["error_ns"], int):
            facts["clock_error_ns"] = clock["error_ns"]
    return facts
