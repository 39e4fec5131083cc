"""Whether a COSE receipt says of a record what its proof says. Part of check 5 of proto/evidence.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark import receipt
from platemark.errors import EvidenceError
from platemark.receipt import Inclusion
from platemark.statement import policy_issuer

if TYPE_CHECKING:
    from platemark.lineage import Policies
    from platemark.statement import Statement
    from platemark.tlog_proof import TlogProof

__all__ = ["check_receipt"]


def check_receipt(raw: bytes, record: Statement, proof: TlogProof, policies: Policies, name: str) -> None:
    """Return None for an inclusion receipt of this log for this record, at the index and under the tree of `proof`.

    Raises FormatError naming `name`, ProofError, SignatureError.
    """
    covered = proof.checkpoint.checkpoint
    read = receipt.parse(raw)
    key = next((each for each in policies.at(covered.size).signers() if each.kid == read.kid), None)
    if key is None:
        raise EvidenceError(name, "signed by a key that is no log key of the policy in force")
    root = read.verify_inclusion(record.entry, key)
    if read.issuer != policy_issuer(policies.origin) or read.subject != record.subject:
        raise EvidenceError(name, "names another log or another statement")
    said = read.proof
    if not isinstance(said, Inclusion) or (said.index, said.size, root) != (proof.index, covered.size, covered.root):
        raise EvidenceError(name, "says another index, size or root than the record's proof")
