"""Strict COSE_Sign1 (RFC 9052 section 4.2): tag 18, protected header, empty unprotected header, payload, signature.

One message has one encoding: the CBOR is the strict subset, the unprotected header is the empty map, the payload is
attached, and the signature has the length that its algorithm fixes. Rules S1 to S8 of proto/statement.md. Written by
hand because the COSE packages for Python either cannot decode with a current CBOR library or pin an old one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from platemark import cbor
from platemark.errors import CborError, CoseError
from platemark.keys import EDDSA, ES256, ML_DSA_44, P256Verifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.keys import Signer, Verifier

__all__ = [
    "ALG",
    "CONTENT_TYPE",
    "CWT_CLAIMS",
    "KID",
    "SIGNATURE_SIZES",
    "TAG",
    "Sign1",
    "complete",
    "decode",
    "identify",
    "sig_structure",
    "sign",
]

ALG, CONTENT_TYPE, KID, CWT_CLAIMS = 1, 3, 4, 15
TAG = b"\xd2"  # tag 18
_SIGNATURE1 = b"\x84\x6aSignature1"  # the head of an array of four and its first item
_NO_AAD = b"\x40"  # h''
_NO_HEADER = b"\xa0"  # the empty map
SIGNATURE_SIZES = {ES256: 64, EDDSA: 64, ML_DSA_44: 2420}
# Heads of byte strings that do not hold their length themselves: the bytes of length that follow, and the least length that
# has no shorter head (RFC 8949 section 4.2.1).
_LONG_HEADS = {0x58: (1, 24), 0x59: (2, 1 << 8), 0x5A: (4, 1 << 16), 0x5B: (8, 1 << 32)}


@dataclass(frozen=True)
class Sign1:
    """A decoded COSE_Sign1; `protected` is the decoded header, `protected_bytes` the bytes that were signed."""

    protected_bytes: bytes
    protected: Mapping[int | str, cbor.Value]
    payload: bytes
    signature: bytes

    @property
    def alg(self) -> int:
        """The COSE algorithm; `decode` has checked that it is one of the three."""
        return cast("int", self.protected[ALG])

    @cached_property
    def to_be_signed(self) -> bytes:
        """The Sig_structure: the very bytes that the signature is over (RFC 9052 section 4.4)."""
        return sig_structure(self.protected_bytes, self.payload)

    @cached_property
    def id(self) -> bytes:
        """SHA-256 of the Sig_structure, 32 bytes: the statement id, which no second signature can change."""
        return hashlib.sha256(self.to_be_signed).digest()

    def verify(self, verifier: Verifier) -> None:
        """Check the signature under `verifier`. Raises SignatureError, CoseError when the algorithms differ."""
        if verifier.alg != self.alg:
            raise CoseError("protected.1", f"algorithm {self.alg} is not the key's, which is {verifier.alg}")
        if isinstance(verifier, P256Verifier):
            # ES256 signs the SHA-256 of the Sig_structure, and that is the id: it need not be hashed a second time.
            verifier.verify_hashed(self.id, self.signature)
        else:
            verifier.verify(self.to_be_signed, self.signature)


def sig_structure(protected: bytes, payload: bytes) -> bytes:
    """["Signature1", protected, external_aad = h'', payload] in CBOR."""
    return _SIGNATURE1 + cbor.encode(protected) + _NO_AAD + cbor.encode(payload)


def sign(protected: Mapping[int | str, cbor.Value], payload: bytes, signer: Signer) -> bytes:
    """The COSE_Sign1 over `payload`; `protected` gets the signer's algorithm."""
    header = cbor.encode({**protected, ALG: signer.alg})
    signature = signer.sign(sig_structure(header, payload))
    return TAG + cbor.encode([header, {}, payload, signature])


def complete(to_be_signed: bytes, signature: bytes) -> bytes:
    """The COSE_Sign1 of a Sig_structure and a signature over it. Raises CoseError: not a Sig_structure of ours."""
    try:
        structure = cbor.decode(to_be_signed)
    except CborError as error:
        raise CoseError("Sig_structure", str(error)) from None
    if not isinstance(structure, list) or len(structure) != 4 or structure[0] != "Signature1" or structure[2] != b"":
        raise CoseError("Sig_structure", "not an array of Signature1, header, h'' and payload")
    return TAG + cbor.encode([structure[1], {}, structure[3], signature])


def decode(data: bytes) -> Sign1:
    """The COSE_Sign1 in `data`, in its one encoding. Raises CoseError naming the part that is wrong."""
    if data[:1] != TAG:
        raise CoseError("tag", "the message does not begin with tag 18 (COSE_Sign1)")
    try:
        message = cbor.decode(data[1:])
    except CborError as error:
        raise CoseError("message", str(error)) from None
    if not isinstance(message, list) or len(message) != 4:
        raise CoseError("message", "not an array of four")
    header, unprotected, payload, signature = message
    if not isinstance(header, bytes):
        raise CoseError("protected", "not a byte string")
    if unprotected != {}:
        raise CoseError("unprotected", "not the empty map")
    if not isinstance(payload, bytes):
        raise CoseError("payload", "not an attached byte string")
    if not isinstance(signature, bytes):
        raise CoseError("signature", "not a byte string")
    protected = _protected(header)
    _check_signature_size(cast("int", protected[ALG]), signature)
    return Sign1(header, protected, payload, signature)


def identify(data: bytes) -> bytes:
    """The id of the message in `data`, 32 bytes, by its framing alone: `decode(data).id` wherever `decode` accepts.

    An id is a hash over two of the four parts, so finding it does not take judging what is in them: header, payload and
    signature are byte strings in their shortest form here and nothing more. Raises CoseError naming the part that is not.
    """
    if data[:1] != TAG:
        raise CoseError("tag", "the message does not begin with tag 18 (COSE_Sign1)")
    if data[1:2] != _SIGNATURE1[:1]:
        raise CoseError("message", "not an array of four")
    header_end = _end_of_bytes(data, 2, "protected")
    if data[header_end : header_end + 1] != _NO_HEADER:
        raise CoseError("unprotected", "not the empty map")
    payload_end = _end_of_bytes(data, header_end + 1, "payload")
    if _end_of_bytes(data, payload_end, "signature") != len(data):
        raise CoseError("message", "trailing bytes")
    signed = _SIGNATURE1 + data[2:header_end] + _NO_AAD + data[header_end + 1 : payload_end]
    return hashlib.sha256(signed).digest()


def _end_of_bytes(data: bytes, at: int, field: str) -> int:
    """Where the byte string ends whose head is at `at`."""
    if at >= len(data):
        raise CoseError(field, "the data ends before it")
    initial = data[at]
    if 0x40 <= initial < 0x58:
        end = at + 1 + initial - 0x40
    elif initial in _LONG_HEADS:
        width, least = _LONG_HEADS[initial]
        end = at + 1 + width
        length = int.from_bytes(data[at + 1 : end], "big")
        if length < least:
            raise CoseError(field, "its length is not in the shortest form")
        end += length
    else:
        raise CoseError(field, "not a byte string")
    if end > len(data):
        raise CoseError(field, "the data ends inside it")
    return end


def _protected(header: bytes) -> dict[int | str, cbor.Value]:
    try:
        protected = cbor.decode(header)
    except CborError as error:
        raise CoseError("protected", str(error)) from None
    if not isinstance(protected, dict):
        raise CoseError("protected", "not a map")
    alg = protected.get(ALG)
    if isinstance(alg, bool) or not isinstance(alg, int) or alg not in SIGNATURE_SIZES:
        raise CoseError("protected.1", "the algorithm is not ES256, EdDSA or ML-DSA-44")
    return protected


def _check_signature_size(alg: int, signature: bytes) -> None:
    if len(signature) != SIGNATURE_SIZES[alg]:
        raise CoseError("signature", f"{len(signature)} bytes, not the {SIGNATURE_SIZES[alg]} of algorithm {alg}")
