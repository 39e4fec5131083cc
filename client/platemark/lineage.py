"""Who allowed a key: the log's policy and the enrolments, each proven to be in the log, down from the trust file.

Checks 3, 4 and 6 of proto/evidence.md. Everything here returns None or raises FormatError, SignatureError or
ProofError; positions are those that the proofs under the one signed checkpoint show.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import statement, tlog_proof
from platemark.cosignature import CosignatureVerifier, cosignatures
from platemark.errors import EvidenceError, ProofError, SignatureError
from platemark.keys import Ed25519Verifier, MlDsa44Verifier, load_public
from platemark.kinds import ORIGINS, SIGNERS
from platemark.merkle import leaf_hash
from platemark.note import NoteVerifier
from platemark.schema import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from platemark.cbor import Value
    from platemark.checkpoint import SignedCheckpoint
    from platemark.evidence import Proven
    from platemark.keys import Verifier
    from platemark.statement import Statement
    from platemark.trust import TrustedLog

__all__ = ["KeyRecord", "Policies", "Policy", "Positioned", "authority", "check_may_sign", "open_policies", "place"]


@dataclass(frozen=True)
class Positioned:
    """A statement that is proven to be leaf `index` under the bundle's one checkpoint."""

    statement: Statement
    index: int


@dataclass(frozen=True)
class Policy:
    """A policy in force from position `since` on: the place after the statement that completed its signatures."""

    payload: Mapping[str, Value]
    since: int

    def log_keys(self, origin: str) -> tuple[NoteVerifier, ...]:
        """The Ed25519 note keys that may sign the log's checkpoints."""
        return tuple(NoteVerifier(origin, key) for key in self.signers() if isinstance(key, Ed25519Verifier))

    def signers(self) -> tuple[Verifier, ...]:
        """Every key that signs for the log."""
        return tuple(load_public(spki) for spki in cast("list[bytes]", self.payload["log_keys"]))

    def verify_checkpoint(self, signed: SignedCheckpoint) -> bool:
        """Check the log's own signatures; whether an ML-DSA-44 one is among them.

        Raises SignatureError: none of an Ed25519 log key, or one of a log key that fails (rules P3 and N7).
        """
        origin = signed.checkpoint.origin
        signed.verify(self.log_keys(origin))
        quantum = [CosignatureVerifier(origin, key) for key in self.signers() if isinstance(key, MlDsa44Verifier)]
        return bool(cosignatures(signed, quantum))

    def key(self, kid: bytes, origin: str) -> KeyRecord | None:
        """The registrar or log key with this kid that the policy itself names."""
        for spki in cast("list[bytes]", self.payload["log_keys"]):
            key = load_public(spki)
            if key.kid == kid:
                return KeyRecord(key, statement.policy_issuer(origin), "log", 0, MAX_INTEGER, 0)
        for entry in cast("list[Mapping[str, Value]]", self.payload["registrars"]):
            key = load_public(cast("bytes", entry["key"]))
            if key.kid == kid:
                dates = cast("int", entry["not_before"]), cast("int", entry["not_after"])
                return KeyRecord(key, cast("str", entry["issuer"]), "registrar", *dates, 0)
        return None


@dataclass(frozen=True)
class Policies:
    """All versions of a log's policy in the order in which they came into force."""

    log: bytes
    origin: str
    versions: tuple[Policy, ...]

    def at(self, position: int) -> Policy:
        """The policy in force for the statement at `position`. Raises ProofError before the first."""
        for policy in reversed(self.versions):
            if policy.since <= position:
                return policy
        raise ProofError(f"no policy was in force at position {position}")


@dataclass(frozen=True)
class KeyRecord:
    """A key and what its enrolment, or the policy for a registrar, allows it."""

    key: Verifier
    device: str
    role: str
    not_before: int
    not_after: int
    index: int


def place(proven: Proven, checkpoint: SignedCheckpoint, name: str) -> Positioned:
    """Decode a statement and check its inclusion under `checkpoint`. Raises FormatError, ProofError."""
    decoded = statement.decode(proven.statement)
    proof = tlog_proof.parse(proven.proof)
    if proof.checkpoint.raw != checkpoint.raw:
        raise EvidenceError(name, "its proof carries another checkpoint than the record's")
    try:
        proof.verify_leaf(leaf_hash(decoded.entry))
    except ProofError as error:
        raise ProofError(f"{name} is not in the log under this checkpoint: {error.reason}") from None
    return Positioned(decoded, proof.index)


def open_policies(proven: Sequence[Proven], checkpoint: SignedCheckpoint, trusted: TrustedLog) -> Policies:
    """The policies of the trusted log. Raises FormatError, SignatureError, ProofError.

    Version 0 is believed because leaf 0's id and the policy keys are the trust file's; each later version because the
    previous version's keys signed it, one statement for each signer, as many as that version's threshold.
    """
    placed = [place(each, checkpoint, f"policy/{index}") for index, each in enumerate(proven)]
    _check_order(placed)
    first = placed[0].statement
    if first.id != trusted.id or placed[0].index != 0:
        raise EvidenceError("policy/0", "not the leaf 0 that the trust file names")
    payload = first.payload
    if payload["origin"] != trusted.origin:
        raise EvidenceError("policy/0", f"the origin is {payload['origin']!r}, the trust file says {trusted.origin}")
    keys, threshold = trusted.policy_keys, trusted.threshold
    if keys != frozenset(cast("list[bytes]", payload["keys"])) or threshold != payload["threshold"]:
        raise EvidenceError("policy/0", "its keys or threshold are not the trust file's")
    opened = _PolicyHistory(trusted, keys, threshold)
    for each in placed:
        opened.read(each)
    if not opened.versions:
        raise SignatureError(f"the first policy has fewer than the {threshold} signatures that it needs")
    return Policies(trusted.id, trusted.origin, tuple(opened.versions))


class _PolicyHistory:
    """Policy statements in log order; a version comes into force when the threshold of the one before it is met.

    A proposal that never gets its signatures changes nothing, and two proposals may be signed in turns.
    """

    def __init__(self, trusted: TrustedLog, keys: frozenset[bytes], threshold: int) -> None:
        self.trusted, self.keys, self.threshold = trusted, keys, threshold
        self.versions: list[Policy] = []
        self.previous: bytes | None = None  # the id that the next version names in prev
        self.signed: dict[bytes, dict[bytes, bytes]] = {}  # payload -> kid -> statement id, in log order

    def read(self, each: Positioned) -> None:
        decoded = each.statement
        if self.versions and decoded.payload == self.versions[-1].payload:
            return  # one signature more than the version in force needed
        self._check_successor(decoded)
        key = {key.kid: key for key in map(load_public, self.keys)}.get(decoded.kid)
        if key is None:
            raise SignatureError("a policy is signed by a key that is not a policy key")
        if decoded.issuer != statement.policy_issuer(self.trusted.origin):
            raise EvidenceError("policy", "signed under another name than the log's")
        decoded.verify(key)
        signers = self.signed.setdefault(decoded.message.payload, {})
        signers.setdefault(key.kid, decoded.id)
        if len(signers) >= self.threshold:
            self.versions.append(Policy(decoded.payload, each.index + 1))
            self.previous = next(iter(signers.values()))
            self.keys = frozenset(cast("list[bytes]", decoded.payload["keys"]))
            self.threshold = cast("int", decoded.payload["threshold"])
            self.signed = {}

    def _check_successor(self, decoded: Statement) -> None:
        payload = decoded.payload
        if payload["version"] != len(self.versions):
            raise EvidenceError("policy", f"version {payload['version']!r} where {len(self.versions)} is due")
        if payload["origin"] != self.trusted.origin:
            raise EvidenceError("policy", "a later version names another origin")
        if payload["prev"] != self.previous:
            raise EvidenceError("policy", "a later version does not follow from the one before it")
        if self.versions and payload["log"] != self.trusted.id:
            raise EvidenceError("policy", "a later version names another log")


def authority(
    subject: Positioned, proven: Sequence[Proven], checkpoint: SignedCheckpoint, policies: Policies, *, folder: str
) -> KeyRecord:
    """Prove that `subject` was signed by a key that was allowed to, and return that key's enrolment.

    `proven` are enrolments, nearest first, up to one that a registrar of the policy signed; none when `subject` is
    itself signed by such a registrar. Every signature on the way is verified. Raises FormatError, SignatureError,
    ProofError naming `folder` and the number.
    """
    nearest: KeyRecord | None = None
    for number, each in enumerate(proven):
        name = f"{folder}/{number}"
        enrolment = place(each, checkpoint, name)
        found = _enrolment(enrolment, subject, policies.log, name)
        check_may_sign(subject, found, name)
        subject.statement.verify(found.key)
        nearest, subject = nearest or found, enrolment
    anchored = _policy_key(subject, policies, folder)
    return nearest or anchored


def _check_order(placed: Sequence[Positioned]) -> None:
    for number, (left, right) in enumerate(itertools.pairwise(placed)):
        if left.index >= right.index:
            raise EvidenceError(f"policy/{number + 1}", "not in log order")
    for number, each in enumerate(placed):
        if each.statement.kind != "policy":
            raise EvidenceError(f"policy/{number}", f"the statement is of kind {each.statement.kind}, not policy")


def _enrolment(enrolment: Positioned, subject: Positioned, log: bytes, name: str) -> KeyRecord:
    decoded = enrolment.statement
    if decoded.kind != "enrol":
        raise EvidenceError(name, f"the statement is of kind {decoded.kind}, not enrol")
    if decoded.log != log:
        raise EvidenceError(name, "names another log")
    key = load_public(cast("bytes", decoded.payload["key"]))
    if key.kid != subject.statement.kid:
        raise EvidenceError(name, "enrols another key")
    if enrolment.index >= subject.index:
        raise EvidenceError(name, "is later in the log than what its key signed")
    return KeyRecord(
        key=key,
        device=cast("str", decoded.payload["device"]),
        role=cast("str", decoded.payload["role"]),
        not_before=cast("int", decoded.payload["not_before"]),
        not_after=cast("int", decoded.payload["not_after"]),
        index=enrolment.index,
    )


def check_may_sign(subject: Positioned, found: KeyRecord, name: str) -> None:
    """Check that a key of this record may say what `subject` says, under its issuer and, but for a capture, at its time.

    Raises EvidenceError naming `name`.
    """
    decoded = subject.statement
    if found.role not in SIGNERS[decoded.kind]:
        raise EvidenceError(name, f"role {found.role} may not sign a statement of kind {decoded.kind}")
    if decoded.kind == "capture" and found.role not in ORIGINS[cast("str", decoded.payload["origin"])]:
        raise EvidenceError(name, f"role {found.role} may not state the origin {decoded.payload['origin']!r}")
    if decoded.issuer != found.device:
        raise EvidenceError(name, f"enrols {found.device}, the statement says {decoded.issuer}")
    if decoded.kind != "capture" and not found.not_before <= cast("int", decoded.time) <= found.not_after:
        raise EvidenceError(name, "the key was not enrolled for the time that the statement gives")


def _policy_key(subject: Positioned, policies: Policies, folder: str) -> KeyRecord:
    """The registrar or log key of the policy in force that signed `subject`, whose signature is verified here."""
    found = policies.at(subject.index).key(subject.statement.kid, policies.origin)
    if found is None:
        raise EvidenceError(folder, "does not lead to a registrar that the log's policy names")
    check_may_sign(subject, found, folder)
    subject.statement.verify(found.key)
    return found
