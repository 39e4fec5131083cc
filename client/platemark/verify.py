"""Evidence, trust and the measured image in; a verdict out. Opens no file and no socket.

The numbers of the checks are those of proto/evidence.md section 4, which is the algorithm; this module follows it step
by step. Every check is PASS, FAIL or NOT CHECKED with a reason. Nothing passes because it was absent: no trust, no
proof or no measurement is NOT CHECKED, and a required check that is NOT CHECKED leaves the result INCONCLUSIVE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from platemark import keyrule, lineage, statement, tlog_proof
from platemark.agreement import check_receipt
from platemark.comparison import check_header, check_image, compare_attributes
from platemark.declared import declared
from platemark.disclosed import Disclosed, open_disclosed
from platemark.errors import FormatError, PlatemarkError, UnknownKindError
from platemark.keys import ALGORITHM_NAMES
from platemark.merkle import leaf_hash
from platemark.standing import keystate_of, revocation_of
from platemark.trust import TrustedLog
from platemark.verdict import FAIL, NOT_CHECKED, PASS, TITLES, Check, Verdict, conclude, record_fault
from platemark.witnessed import check_witnesses

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.frame_proofs import FrameProofs
    from platemark.lineage import KeyRecord, Policies, Positioned
    from platemark.rungs import Measurement
    from platemark.statement import Statement
    from platemark.trust import Trust
    from platemark.verdict import Fact

__all__ = ["verify"]


def verify(
    evidence: Evidence, *, trust: Trust | None, image: Measurement | None, at: int, disclosure: bytes | None = None
) -> Verdict:
    """Judge `image` against `evidence`, believing only `trust`, as of `at` (Unix ns).

    Same input, same verdict. Raises nothing for bad evidence: that is a verdict. `trust` or `image` None leaves the
    result INCONCLUSIVE at best. `disclosure` was handed over beside the evidence, and joins the one in it (B9).
    """
    return _Verification(evidence, trust, image, at, disclosure).run()


class _Verification:
    """One run through the numbered checks; a check that an earlier one stops is NOT CHECKED and says so."""

    def __init__(
        self, evidence: Evidence, trust: Trust | None, image: Measurement | None, at: int, disclosure: bytes | None
    ) -> None:
        self.evidence, self.trust, self.image, self.at = evidence, trust, image, at
        self.handed_over = disclosure
        self.checks: dict[int, Check] = {}
        self.shown: FrameProofs | None = None
        self.believed = False
        self.asked: frozenset[int] = frozenset()
        self.facts: dict[str, Fact] = {}

    def run(self) -> Verdict:
        record: Statement | None = None
        disclosed: Disclosed | None = None
        rung: str | None = None
        try:
            record = self._statement()
            self._ledger(record)
        except _StoppedError:
            pass
        if record is not None:
            disclosed = open_disclosed(self.evidence, record, self.handed_over)
            self.checks[13] = disclosed.check
            rung = self._image(record, disclosed)
        self._chain()
        for number in TITLES:
            if number not in self.checks:
                self._note(number, NOT_CHECKED, "an earlier check that this one rests on did not pass")
        checks = tuple(self.checks[number] for number in sorted(self.checks))
        result, reason = conclude(checks, rung, asked=self.asked)
        fault = record_fault(checks, asked=self.asked)
        facts = self.facts if all(self.checks[number].status == PASS for number in range(1, 8)) else {}
        return Verdict(
            result=result,
            reason=reason,
            rung=rung,
            checks=checks,
            at=self.at,
            conditions=self.evidence.conditions,
            facts=facts,
            disclosed=disclosed.attributes if disclosed and facts else {},
            attributes=compare_attributes(self.image, disclosed.attributes, self.shown) if disclosed and facts else {},
            object_says=declared(rung, self.image, disclosed.attributes) if disclosed and facts else {},
            unread=tuple(self.evidence.unknown or ()),
            fault=None if fault is None else fault[1],
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
        version = cast("int", last.payload["version"])
        if version < trusted.policy_version:
            # As with a missing post-quantum signature: the checks go on, and none of them passes.
            self.believed = False
            asked = f"the trust file asks for version {trusted.policy_version}"
            self._note(3, NOT_CHECKED, f"{asked} of the policy, and the evidence shows no later one than {version}")
        else:
            self._pass(3, f"policy version {version} of {trusted.origin}, signed by its policy keys")
        self._checkpoint(proof, policies, trusted)
        self._inclusion(proof, record, policies)
        keys = policies.at(proof.checkpoint.checkpoint.size).signers()
        self._take(check_witnesses(proof.checkpoint, trusted.witness_policy, log_keys=keys))
        proven = self._time(proof, policies)
        self._key(lineage.Positioned(record, proof.index), proof, policies, proven)

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
            if named.witness_policy is not None and named.witness_policy.quorum is not None:
                self.asked = frozenset({10})
            self._note(2, PASS, f"the trust file names the log {named.origin}, id {named.id.hex()}")
            return named
        why = "the trust file does not name this log" if self.trust else "no trust file was given"
        self._note(2, NOT_CHECKED, f"{why}: the evidence says its log is {first.id.hex()}, and nobody vouches for that")
        keys = frozenset(cast("list[bytes]", first.payload["keys"]))
        return TrustedLog(first.id, cast("str", first.payload["origin"]), keys, cast("int", first.payload["threshold"]))

    def _checkpoint(self, proof: tlog_proof.TlogProof, policies: Policies, trusted: TrustedLog) -> None:
        """4: the checkpoint is of this origin and signed by a log key of the policy in force at its size."""
        covered = proof.checkpoint.checkpoint
        try:
            if covered.origin != policies.origin:
                raise FormatError("checkpoint.origin", f"{covered.origin} is not {policies.origin}")
            quantum = policies.at(covered.size).verify_checkpoint(proof.checkpoint)
        except PlatemarkError as error:
            self._fail(4, error)
        signatures = "Ed25519 and ML-DSA-44" if quantum else "Ed25519"
        if trusted.post_quantum and not quantum:
            # The checks go on, so that faults are still found, and none of them passes.
            self.believed = False
            self._note(4, NOT_CHECKED, "the trust file asks for an ML-DSA-44 signature of the log, and there is none")
        else:
            self._pass(4, f"the log signed size {covered.size}, root {covered.root.hex()}, with {signatures}")
        self.facts |= {
            "log": policies.origin,
            "log_id": policies.log.hex(),
            "log_size": covered.size,
            "log_signatures": signatures,
        }

    def _inclusion(self, proof: tlog_proof.TlogProof, record: Statement, policies: Policies) -> None:
        """5: the record's entry is the leaf that the proof names."""
        try:
            proof.verify_leaf(leaf_hash(record.entry))
            for number, raw in enumerate(self.evidence.receipts):
                check_receipt(raw, record, proof, policies, f"receipt/{number}")
        except PlatemarkError as error:
            self._fail(5, error)
        count = len(self.evidence.receipts)
        agreeing = f", and {count} COSE receipts say the same" if count else ""
        self._pass(5, f"the statement is leaf {proof.index}{agreeing}")
        self.facts |= {"index": proof.index, "statement_id": record.id.hex()}

    def _time(self, proof: tlog_proof.TlogProof, policies: Policies) -> int | None:
        """11: the proven upper time (Unix ns), by the time stamps of authorities that the trust file names."""
        if self.evidence.stamped is None:
            self._note(11, NOT_CHECKED, "the evidence carries no time stamp: the stated time is the device's own")
            return None
        # Certificates come with modules that know of sockets, which a bundle without time stamps does not load.
        from platemark.existence import open_stamped

        authorities = self.trust.authorities if self.trust else ()
        try:
            found = open_stamped(
                self.evidence.stamped,
                index=proof.index,
                covering=proof.checkpoint,
                policies=policies,
                authorities=authorities,
                at=self.at,
            )
        except PlatemarkError as error:
            self._note(11, FAIL, str(error))
            return None
        bound = found.not_later_than
        if bound is None:
            self._note(11, NOT_CHECKED, found.text)
            return None
        self._pass(11, found.text)
        self.facts |= {"not_later_than": bound}
        return bound if self.believed else None

    def _key(self, record: Positioned, proof: tlog_proof.TlogProof, policies: Policies, proven: int | None) -> None:
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
        self._standing(record, key, proof, policies, proven)

    def _standing(
        self, record: Positioned, key: KeyRecord, proof: tlog_proof.TlogProof, policies: Policies, proven: int | None
    ) -> None:
        """8 and 9: the key rule, over what is proven of the key's dates, its revocation and its later state."""
        fault: PlatemarkError | None = None
        revocation = state = None
        try:
            revocation = revocation_of(self.evidence, key, proof.checkpoint, policies)
            state = keystate_of(self.evidence, key, proof.checkpoint, policies)
        except PlatemarkError as error:
            fault = error
        found = keyrule.judge(
            key=keyrule.Validity(key.not_before, key.not_after),
            stated=record.statement.time or 0,
            index=record.index,
            at=self.at,
            proven=proven,
            revocation=revocation,
            keystate=state,
        )
        self._take(found.validity)
        if isinstance(fault, UnknownKindError):
            # An unreadable revocation must not be the better case for whoever hands it over.
            self._note(8, NOT_CHECKED, "the evidence shows a statement about the key that this release cannot read")
        if fault is not None:
            self._fail(9, fault)
        self._take(found.revocation)
        if found.known_to is not None:
            self.facts |= {"key_status_known_to": found.known_to}

    def _take(self, check: Check) -> None:
        """A check that another module made; PASS as `_pass`."""
        if check.status == PASS:
            self._pass(check.number, check.reason)
        else:
            self.checks[check.number] = check

    def _chain(self) -> None:
        """12: what the ledger reported of the key's chain; a replay of the log would prove it."""
        reported = ", ".join(self.evidence.conditions) or "no condition"
        self._note(12, NOT_CHECKED, f"the ledger reported {reported}; an audit of the log would prove it")

    def _image(self, record: Statement, disclosed: Disclosed) -> str | None:
        """14 and 15: the image is the recorded one, or frames of it, and its header too."""
        found = check_image(record, self.image, disclosed.frames)
        self.checks[14] = found.check
        self.shown = found.shown
        if found.rung is not None and self.image is not None:
            accept = self.trust.accept_pixels if self.trust else False
            self.checks[15] = check_header(
                found.rung, self.image, disclosed.attributes, accept_pixels=accept, shown=found.shown
            )
        if found.shown is not None:
            self.facts |= {"frame": found.shown.numbers}
        return found.rung

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


def _facts(record: Statement, key: KeyRecord) -> dict[str, Fact]:
    """What the signature covers, for the report."""
    facts: dict[str, Fact] = {"device": key.device, "role": key.role, "kid": key.key.kid.hex()}
    if record.time is not None:
        facts["stated_time"] = record.time
    for name in ("media", "origin", "meaning", "frames"):
        value = record.payload.get(name)
        if isinstance(value, (str, int)):
            facts[name] = value
    parents = record.payload.get("parents")
    if isinstance(parents, list):
        facts["parents"] = tuple(cast("bytes", each).hex() for each in parents)
    clock = record.payload.get("clock")
    if isinstance(clock, dict):
        facts["clock"] = str(clock["source"])
        if isinstance(clock["error_ns"], int):
            facts["clock_error_ns"] = clock["error_ns"]
    return facts
