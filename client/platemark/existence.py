"""By when a record existed: time stamps of independent authorities over a checkpoint that covers it.

Check 11 of proto/evidence.md. The time that a stamp proves is an upper bound, and the only one: the device's clock and
the order of the log are reported beside it and never mixed with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark import cbor, checkpoint, proven_time, renewal
from platemark.errors import EvidenceError, PlatemarkError
from platemark.merkle import verify_consistency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.checkpoint import SignedCheckpoint
    from platemark.evidence import Stamped
    from platemark.lineage import Policies
    from platemark.proven_time import ProvenTime
    from platemark.timestamp import Authority

__all__ = ["open_stamped"]


def open_stamped(
    stamped: Stamped,
    *,
    index: int,
    covering: SignedCheckpoint,
    policies: Policies,
    authorities: Sequence[Authority],
    at: int,
) -> ProvenTime:
    """What the time stamps prove of when leaf `index`, which `covering` covers, existed, as of `at` (Unix ns).

    Raises FormatError, SignatureError, ProofError: the stamped checkpoint is not of this log, does not cover the record,
    or is no earlier state of the tree under `covering`. Raises TimeStampError: a stamp over other bytes, or one that is at
    fault. A stamp of an authority that nobody named is none of these; the result says why it does not count.
    """
    signed = checkpoint.parse(stamped.checkpoint)
    told = signed.checkpoint
    if told.origin != policies.origin:
        raise EvidenceError("time/checkpoint", f"its origin is {told.origin}, not {policies.origin}")
    if told.size <= index:
        raise EvidenceError("time/checkpoint", f"its size {told.size} does not cover leaf {index}")
    policies.at(told.size).verify_checkpoint(signed)
    verify_consistency(
        old_size=told.size,
        new_size=covering.checkpoint.size,
        old_root=told.root,
        new_root=covering.checkpoint.root,
        path=_path(stamped.consistency, told.size, covering.checkpoint.size),
    )
    given = [
        (
            renewal.Stamped(told.size, signed.log_note, each.response, each.crls),
            [renewal.decode_proof(proof) for proof in each.renewals],
        )
        for each in stamped.stamps
    ]
    return proven_time.prove(given, authorities=authorities, at=at)


def _path(data: bytes, old_size: int, new_size: int) -> list[bytes]:
    """The hashes of time/consistency.cbor, which names these sizes."""
    field = "time/consistency.cbor"
    try:
        content = cbor.decode(data)
    except PlatemarkError as error:
        raise EvidenceError(field, str(error)) from None
    if not isinstance(content, list) or len(content) != 3 or content[:2] != [old_size, new_size]:
        raise EvidenceError(field, f"not the path from size {old_size} to size {new_size}")
    hashes = content[2]
    if not isinstance(hashes, list) or not all(isinstance(each, bytes) for each in hashes):
        raise EvidenceError(field, "not an array of hashes")
    return [each for each in hashes if isinstance(each, bytes)]
