"""COSE receipts (proto/receipts.md) of what Receipts has proven: one by each key of the log, read back before it leaves.

Pure functions: the clock is an argument, the signers are the log's, and nothing is read from the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark import receipt
from platemark.keys import load_public
from platemark.statement import policy_issuer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.keys import Signer
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.records import Consistency, Proven

__all__ = ["consistency_receipts", "inclusion_receipts"]


def inclusion_receipts(
    proven: Proven, checkpoint: Anchored, *, origin: str, signers: Sequence[Signer], issued_s: int
) -> tuple[bytes, ...]:
    """A receipt by each of `signers`, in their order, that the record is in the tree of `checkpoint`.

    `issued_s` is the ledger's clock in Unix seconds. Raises ProofError for a path that does not lead to the checkpoint's
    root, before anything is signed; SignatureError and whatever a signer raises when one signs wrongly.
    """
    record = proven.record
    made = []
    for signer in signers:
        raw = receipt.sign_inclusion(
            signer=signer,
            issuer=policy_issuer(origin),
            subject=record.statement.subject,
            issued_s=issued_s,
            entry=record.entry,
            index=record.index,
            size=checkpoint.size,
            path=proven.path,
            root=checkpoint.root,
        )
        receipt.parse(raw).verify_inclusion(record.entry, load_public(signer.spki))
        made.append(raw)
    return tuple(made)


def consistency_receipts(
    grown: Consistency, *, old_root: bytes, new_root: bytes, origin: str, signers: Sequence[Signer], issued_s: int
) -> tuple[bytes, ...]:
    """A receipt by each of `signers` that the newer tree extends the older one; the sizes differ. Raises as above."""
    made = []
    for signer in signers:
        raw = receipt.sign_consistency(
            signer=signer,
            issuer=policy_issuer(origin),
            subject=policy_issuer(origin),
            issued_s=issued_s,
            old_size=grown.old_size,
            new_size=grown.new_size,
            path=grown.path,
            old_root=old_root,
            new_root=new_root,
        )
        receipt.parse(raw).verify_consistency(old_root, load_public(signer.spki))
        made.append(raw)
    return tuple(made)
