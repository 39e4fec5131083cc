"""What the log says later of a record's key: its revocation, and its place in a keystate; each proven to be in the log.

The proofs of check 9 of proto/evidence.md; what follows from them is platemark.keyrule's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from platemark import keystate, lineage
from platemark.errors import EvidenceError
from platemark.keyrule import Revocation

if TYPE_CHECKING:
    from platemark.checkpoint import SignedCheckpoint
    from platemark.evidence import Evidence
    from platemark.keyrule import KeyState
    from platemark.lineage import KeyRecord, Policies

__all__ = ["keystate_of", "revocation_of"]


def revocation_of(
    evidence: Evidence, key: KeyRecord, checkpoint: SignedCheckpoint, policies: Policies
) -> Revocation | None:
    """The revocation that the evidence shows, by a registrar that was allowed to; None where it shows none.

    Raises FormatError, SignatureError, ProofError; UnknownKindError for one that only a later release can read.
    """
    if not evidence.revocation:
        return None
    first, *chain = evidence.revocation
    revoke = lineage.place(first, checkpoint, "revocation/0")
    if revoke.statement.kind != "revoke" or revoke.statement.payload["kid"] != key.key.kid:
        raise EvidenceError("revocation/0", "does not revoke the record's key")
    if revoke.statement.log != policies.log:
        raise EvidenceError("revocation/0", "names another log")
    lineage.authority(revoke, chain, checkpoint, policies, folder="revocation")
    return Revocation(revoke.index, cast("int", revoke.statement.payload["effective"]))


def keystate_of(
    evidence: Evidence, key: KeyRecord, checkpoint: SignedCheckpoint, policies: Policies
) -> KeyState | None:
    """What a keystate of this log, signed by its log key, says of the record's key; None where the evidence has none.

    Raises FormatError, SignatureError, ProofError, also for a leaf that contradicts the key's enrolment; UnknownKindError
    for a statement that only a later release can read.
    """
    if evidence.keystate is None:
        return None
    stated = lineage.place(evidence.keystate.proven, checkpoint, "keystate/0")
    if stated.statement.kind != "keystate":
        raise EvidenceError("keystate/0", f"the statement is of kind {stated.statement.kind}, not keystate")
    if stated.statement.log != policies.log:
        raise EvidenceError("keystate/0", "names another log")
    lineage.authority(stated, (), checkpoint, policies, folder="keystate")
    shown = keystate.decode_shown(evidence.keystate.leaf)
    leaf = shown.leaf
    said = (leaf.kid, leaf.role, leaf.device, leaf.not_before, leaf.not_after, leaf.enrolled)
    if said != (key.key.kid, key.role, key.device, key.not_before, key.not_after, key.index):
        raise EvidenceError("keystate/leaf.cbor", "does not say of the record's key what its enrolment says")
    return keystate.key_state(shown, stated.statement, index=stated.index)
