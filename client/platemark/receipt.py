"""COSE receipts (RFC 9942) over RFC 9162 trees: what a log signs to say that a leaf, or an older tree, is in its tree.

A receipt signs the root alone: leaf index and tree size stand beside it, unsigned, and one path leads to one root from
several (index, size). Ours repeat them in the signed header as private claims, and a reader refuses a receipt whose two
tellings differ. Receipts of other implementations lack them; `foreign=True` reads those and says so in `position_signed`.
Rules G1 to G13 of proto/receipts.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor, cose, merkle
from platemark.errors import ReceiptError
from platemark.keys import ES256, low_s
from platemark.receipt_parts import (
    CONSISTENCY,
    IAT,
    INCLUSION,
    ISS,
    LEAF_INDEX,
    MAX_RECEIPT,
    OLD_SIZE,
    RFC9162_SHA256,
    SUB,
    TREE_SIZE,
    VDP,
    VDS,
    Consistency,
    Inclusion,
    check_claims,
    position_signed,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.keys import Signer, Verifier

__all__ = [
    "LEAF_INDEX",
    "MAX_RECEIPT",
    "OLD_SIZE",
    "TREE_SIZE",
    "Consistency",
    "Inclusion",
    "Receipt",
    "parse",
    "sign_consistency",
    "sign_inclusion",
]


@dataclass(frozen=True)
class Receipt:
    """A well-formed receipt. Nothing in it is believed before one of the two `verify_` methods returned.

    `issued_s` is the log's own clock in Unix seconds. `position_signed` says whether the index and sizes of `proof` are
    repeated in the signed header, equal; if not, a signature proves the root and says nothing about them. `kid`, `issuer`,
    `subject` and `issued_s` are None only in a foreign receipt that lacks them.
    """

    protected_bytes: bytes
    signature: bytes
    alg: int
    kid: bytes | None
    issuer: str | None
    subject: str | None
    issued_s: int | None
    proof: Inclusion | Consistency
    position_signed: bool
    foreign: bool

    def verify_inclusion(self, entry: bytes, key: Verifier) -> bytes:
        """Check that the log of `key` signed a tree with the leaf of `entry`; the root, 32 bytes.

        Raises ReceiptError (a receipt of consistency, another key), ProofError, SignatureError.
        """
        proof = self.proof
        if not isinstance(proof, Inclusion):
            raise ReceiptError("unprotected.396", "the receipt proves consistency, not inclusion")
        leaf = merkle.leaf_hash(entry)
        root = merkle.root_from_inclusion(index=proof.index, size=proof.size, leaf_hash=leaf, path=proof.path)
        self._verify(root, key)
        return root

    def verify_consistency(self, old_root: bytes, key: Verifier) -> bytes:
        """Check that the log of `key` signed a tree that extends the one of `old_root`; the newer root, 32 bytes.

        Raises ReceiptError (a receipt of inclusion, another key), ProofError, SignatureError.
        """
        proof = self.proof
        if not isinstance(proof, Consistency):
            raise ReceiptError("unprotected.396", "the receipt proves inclusion, not consistency")
        root = merkle.root_from_consistency(
            old_size=proof.old_size, new_size=proof.new_size, old_root=old_root, path=proof.path
        )
        self._verify(root, key)
        return root

    def _verify(self, root: bytes, key: Verifier) -> None:
        if key.alg != self.alg:
            raise ReceiptError("protected.1", f"algorithm {self.alg} is not the key's, which is {key.alg}")
        if not self.foreign and key.kid != self.kid:
            raise ReceiptError("protected.4", f"signed by the key {(self.kid or b'').hex()}, not by {key.kid.hex()}")
        # Others do not choose between the two forms of an ES256 signature, so that theirs has a high s half of the time.
        signature = low_s(self.signature) if self.foreign and self.alg == ES256 else self.signature
        key.verify(cose.sig_structure(self.protected_bytes, root), signature)


def sign_inclusion(
    *,
    signer: Signer,
    issuer: str,
    subject: str,
    issued_s: int,
    entry: bytes,
    index: int,
    size: int,
    path: Sequence[bytes],
    root: bytes,
) -> bytes:
    """The receipt that `entry` is leaf `index` of the tree of `size` leaves with `root`. Raises ProofError if it is not.

    `issuer` is the log's URI, `subject` the statement's, `issued_s` Unix seconds. Raises ReceiptError for these.
    """
    merkle.verify_inclusion(index=index, size=size, leaf_hash=merkle.leaf_hash(entry), path=path, root=root)
    header = _header(signer, issuer, subject, issued_s, Inclusion(index, size, tuple(path)))
    return _signed(signer, header, root, INCLUSION, [size, index, list(path)])


def sign_consistency(
    *,
    signer: Signer,
    issuer: str,
    subject: str,
    issued_s: int,
    old_size: int,
    new_size: int,
    path: Sequence[bytes],
    old_root: bytes,
    new_root: bytes,
) -> bytes:
    """The receipt that the tree of `new_size` leaves extends the one of `old_size`. Raises ProofError if it does not.

    The sizes differ: a tree's consistency with itself has no path and nothing to sign. Raises ReceiptError as above.
    """
    if old_size == new_size:
        raise ReceiptError("old size", "equal to the new size: there is nothing to prove")
    merkle.verify_consistency(old_size=old_size, new_size=new_size, old_root=old_root, new_root=new_root, path=path)
    header = _header(signer, issuer, subject, issued_s, Consistency(old_size, new_size, tuple(path)))
    return _signed(signer, header, new_root, CONSISTENCY, [old_size, new_size, list(path)])


def _header(signer: Signer, issuer: str, subject: str, issued_s: int, proof: Inclusion | Consistency) -> bytes:
    claims: dict[int | str, cbor.Value] = {ISS: issuer, SUB: subject, IAT: issued_s, **proof.claims}
    check_claims(claims)
    return cbor.encode({cose.ALG: signer.alg, cose.KID: signer.kid, cose.CWT_CLAIMS: claims, VDS: RFC9162_SHA256})


def _signed(signer: Signer, header: bytes, root: bytes, kind: int, proof: list[object]) -> bytes:
    signature = signer.sign(cose.sig_structure(header, root))
    return cose.TAG + cbor.encode([header, {VDP: {kind: [cbor.encode(proof)]}}, None, signature])


def parse(data: bytes, *, foreign: bool = False) -> Receipt:
    """The receipt in `data`. Raises ReceiptError naming the part, UnsupportedReceiptError for another data structure.

    `foreign` reads the receipts of other implementations, which may lack the signed position: see platemark.receipt_parts.
    """
    parts = read(data, foreign=foreign)
    signed = position_signed(parts, foreign=foreign)
    return Receipt(
        protected_bytes=parts.protected_bytes,
        signature=parts.signature,
        alg=parts.alg,
        kid=cast("bytes | None", parts.protected.get(cose.KID)),
        issuer=cast("str | None", parts.claims.get(ISS)),
        subject=cast("str | None", parts.claims.get(SUB)),
        issued_s=cast("int | None", parts.claims.get(IAT)),
        proof=parts.proof,
        position_signed=signed,
        foreign=foreign,
    )
