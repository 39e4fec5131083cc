"""Receipts of a small test log: twenty entries, deterministic keys, any position in any tree over the first of them."""

import reference
from builders import Algorithm, key
from platemark import merkle, receipt

__all__ = ["ENTRIES", "ISSUED", "LOG", "MOVED", "consistency", "inclusion"]

ISSUED = 1_800_000_000
ENTRIES = [bytes([number]) * 32 for number in range(20)]
LOG = key("log", "ed25519")
# Positions that RFC 9942 alone takes for leaf 5 of 8: one path, one root, one signature.
MOVED = [(5, 7), (9, 11), (9, 12), (17, 19)]


def inclusion(index: int = 5, size: int = 8, *, algorithm: Algorithm = "ed25519") -> bytes:
    """The receipt of an entry by the test log."""
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES[:size]]
    return receipt.sign_inclusion(
        signer=key("log", algorithm),
        issuer="https://ledger.example/xray",
        subject="urn:uuid:00000000-0000-4000-8000-000000000000",
        issued_s=ISSUED,
        entry=ENTRIES[index],
        index=index,
        size=size,
        path=merkle.inclusion_path(leaves, index),
        root=merkle.root(leaves),
    )


def consistency(old: int = 3, new: int = 8, *, algorithm: Algorithm = "ed25519") -> bytes:
    """The receipt of growth by the test log."""
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES[:new]]
    return receipt.sign_consistency(
        signer=key("log", algorithm),
        issuer="https://ledger.example/xray",
        subject="https://ledger.example/xray",
        issued_s=ISSUED,
        old_size=old,
        new_size=new,
        path=reference.consistency_path(leaves, old),
        old_root=merkle.root(leaves[:old]),
        new_root=merkle.root(leaves),
    )
