"""Signing keys: what signs, what verifies, and which public keys and signatures the formats accept.

Three COSE algorithms, each fixing its key type (RFC 9053, RFC 9964): ES256 (-7) with P-256, EdDSA (-8) with Ed25519,
ML-DSA-44 (-48). A key is named by its kid, SHA-256 over its SubjectPublicKeyInfo in DER. Every key has exactly one
accepted SubjectPublicKeyInfo and every signature one accepted form, so that nobody can make a second name for either.
Rules K1 to K9 of proto/statement.md. Keys in files are platemark.key_files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias, runtime_checkable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from platemark.errors import KeyFormatError, SignatureError

__all__ = [
    "ALGORITHM_NAMES",
    "ED25519_PREFIX",
    "EDDSA",
    "ES256",
    "ML_DSA_44",
    "ML_DSA_44_PREFIX",
    "Ed25519Verifier",
    "MlDsa44Verifier",
    "P256Verifier",
    "PrivateKey",
    "Signer",
    "Verifier",
    "generate",
    "load_public",
    "low_s",
    "private_key",
]

ES256, EDDSA, ML_DSA_44 = -7, -8, -48
ALGORITHM_NAMES = {ES256: "ES256 (P-256)", EDDSA: "EdDSA (Ed25519)", ML_DSA_44: "ML-DSA-44"}

_P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
ML_DSA_44_PREFIX = bytes.fromhex("30820532300b06096086480165030403110382052100")
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Made once: making them takes a tenth of the time of a verification.
_ES256 = ec.ECDSA(hashes.SHA256())
_ES256_HASHED = ec.ECDSA(Prehashed(hashes.SHA256()))
_ED25519_ORDER = (1 << 252) + 27742317777372353535851937790883648493
_ED25519_PRIME = (1 << 255) - 19
_ED25519_D = -121665 * pow(121666, -1, _ED25519_PRIME) % _ED25519_PRIME

_Private: TypeAlias = "ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey"


@runtime_checkable
class Verifier(Protocol):
    """A public key. Immutable and safe to share between threads."""

    @property
    def alg(self) -> int:
        """The COSE algorithm that this key fixes."""

    @property
    def spki(self) -> bytes:
        """The SubjectPublicKeyInfo, DER."""

    @property
    def kid(self) -> bytes:
        """SHA-256 of `spki`, 32 bytes."""

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return None when `signature` over `message` is valid and in its one accepted form, else SignatureError."""


@runtime_checkable
class Signer(Protocol):
    """Something that signs: a key in a file, or later in a PKCS#11 token. Safe to share between threads."""

    @property
    def alg(self) -> int:
        """The COSE algorithm."""

    @property
    def spki(self) -> bytes:
        """The SubjectPublicKeyInfo of the public half, DER."""

    @property
    def kid(self) -> bytes:
        """SHA-256 of `spki`, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The COSE signature over `message`: 64 bytes for ES256 and EdDSA, 2420 for ML-DSA-44.

        ES256 and ML-DSA-44 signatures differ from call to call. Raises KeyFileError where a token refuses.
        """


@dataclass(frozen=True)
class _Public:
    spki: bytes

    @cached_property
    def kid(self) -> bytes:
        return hashlib.sha256(self.spki).digest()


@dataclass(frozen=True)
class P256Verifier(_Public):
    """ES256: ECDSA on P-256 with SHA-256, signature r || s of 32 bytes each, 1 <= r < n, 1 <= s <= n/2."""

    key: ec.EllipticCurvePublicKey
    alg: int = ES256

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return None or raise SignatureError."""
        self._verify(message, signature, _ES256)

    def verify_hashed(self, digest: bytes, signature: bytes) -> None:
        """As `verify`, for the message whose SHA-256 is `digest`, 32 bytes."""
        self._verify(digest, signature, _ES256_HASHED)

    def _verify(self, data: bytes, signature: bytes, algorithm: ec.ECDSA) -> None:
        if len(signature) != 64:
            raise SignatureError(f"an ES256 signature has 64 bytes, this one {len(signature)}")
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if not (0 < r < _P256_ORDER and s > 0):
            raise SignatureError("the ES256 signature is out of range")
        if s > _P256_ORDER // 2:
            raise SignatureError("the ES256 signature has a high s")
        try:
            self.key.verify(encode_dss_signature(r, s), data, algorithm)
        except InvalidSignature:
            raise SignatureError("the ES256 signature does not verify") from None


@dataclass(frozen=True)
class Ed25519Verifier(_Public):
    """EdDSA: Ed25519 of RFC 8032, checked without cofactor, 64 bytes, S < L."""

    key: ed25519.Ed25519PublicKey
    alg: int = EDDSA

    @property
    def raw(self) -> bytes:
        """The 32-byte public key."""
        return self.spki[-32:]

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return None or raise SignatureError."""
        if len(signature) != 64:
            raise SignatureError(f"an Ed25519 signature has 64 bytes, this one {len(signature)}")
        if int.from_bytes(signature[32:], "little") >= _ED25519_ORDER:
            raise SignatureError("the Ed25519 signature has S not below L")
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            raise SignatureError("the Ed25519 signature does not verify") from None


@dataclass(frozen=True)
class MlDsa44Verifier(_Public):
    """ML-DSA-44 of FIPS 204 with the empty context, 2420 bytes."""

    key: mldsa.MLDSA44PublicKey
    alg: int = ML_DSA_44

    @property
    def raw(self) -> bytes:
        """The 1312-byte public key."""
        return self.spki[-1312:]

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return None or raise SignatureError."""
        if len(signature) != 2420:
            raise SignatureError(f"an ML-DSA-44 signature has 2420 bytes, this one {len(signature)}")
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            raise SignatureError("the ML-DSA-44 signature does not verify") from None


def load_public(spki: bytes, *, field: str = "key") -> P256Verifier | Ed25519Verifier | MlDsa44Verifier:
    """The key of a SubjectPublicKeyInfo in DER, which must be the one accepted encoding of a key of the three types.

    Raises KeyFormatError naming `field`: another type or curve, a compressed point, a point off the curve, a
    non-canonical or small-order Ed25519 point, other bytes.
    """
    if spki.startswith(_P256_PREFIX) and len(spki) == len(_P256_PREFIX) + 64:
        return _load_p256(spki, field)
    if spki.startswith(ED25519_PREFIX) and len(spki) == len(ED25519_PREFIX) + 32:
        return _load_ed25519(spki, field)
    if spki.startswith(ML_DSA_44_PREFIX) and len(spki) == len(ML_DSA_44_PREFIX) + 1312:
        return MlDsa44Verifier(spki, mldsa.MLDSA44PublicKey.from_public_bytes(spki[len(ML_DSA_44_PREFIX) :]))
    raise KeyFormatError(field, "not the SubjectPublicKeyInfo of an uncompressed P-256, an Ed25519 or an ML-DSA-44 key")


def _load_p256(spki: bytes, field: str) -> P256Verifier:
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), spki[len(_P256_PREFIX) - 1 :])
    except ValueError:
        raise KeyFormatError(field, "the point is not on P-256") from None
    return P256Verifier(spki, key)


def _load_ed25519(spki: bytes, field: str) -> Ed25519Verifier:
    raw = spki[len(ED25519_PREFIX) :]
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= _ED25519_PRIME:
        raise KeyFormatError(field, "the Ed25519 point is not in canonical form")
    u, v = (y * y - 1) % _ED25519_PRIME, (_ED25519_D * y * y + 1) % _ED25519_PRIME
    if pow(u * v, (_ED25519_PRIME - 1) // 2, _ED25519_PRIME) == _ED25519_PRIME - 1:
        raise KeyFormatError(field, "the Ed25519 point is not on the curve")
    if _has_small_order(y):
        raise KeyFormatError(field, "the Ed25519 point has small order")
    return Ed25519Verifier(spki, ed25519.Ed25519PublicKey.from_public_bytes(raw))


def _has_small_order(y: int) -> bool:
    """Whether the point with this y lies in the 8-torsion subgroup: doubling it three times gives the identity.

    On the curve y(2P) = (x^2 + y^2) / (2 + x^2 - y^2) with x^2 = (y^2 - 1) / (d y^2 + 1), so x itself is not needed.
    """
    prime = _ED25519_PRIME
    for _ in range(3):
        yy = y * y % prime
        xx = (yy - 1) * pow(_ED25519_D * yy + 1, -1, prime) % prime
        y = (xx + yy) * pow(2 + xx - yy, -1, prime) % prime
    return y == 1


@dataclass(frozen=True)
class PrivateKey:
    """A private key in memory: a Signer. Its repr never shows the secret."""

    public: P256Verifier | Ed25519Verifier | MlDsa44Verifier
    secret: _Private

    def __repr__(self) -> str:
        return f"PrivateKey({ALGORITHM_NAMES[self.alg]}, kid={self.kid.hex()})"

    @property
    def alg(self) -> int:
        """The COSE algorithm."""
        return self.public.alg

    @property
    def spki(self) -> bytes:
        """The SubjectPublicKeyInfo of the public half, DER."""
        return self.public.spki

    @property
    def kid(self) -> bytes:
        """SHA-256 of `spki`, 32 bytes."""
        return self.public.kid

    def sign(self, message: bytes) -> bytes:
        """The COSE signature over `message`, in its one accepted form."""
        if isinstance(self.secret, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.secret.sign(message, _ES256))
            return low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return self.secret.sign(message)


def private_key(secret: object, *, field: str = "key") -> PrivateKey:
    """A PrivateKey over a key object of `cryptography`. Raises KeyFormatError for another type or curve."""
    if isinstance(secret, ec.EllipticCurvePrivateKey) and not isinstance(secret.curve, ec.SECP256R1):
        raise KeyFormatError(field, f"the curve is {secret.curve.name}, not P-256")
    if not isinstance(secret, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, mldsa.MLDSA44PrivateKey)):
        raise KeyFormatError(field, "the key is not P-256, Ed25519 or ML-DSA-44")
    spki = secret.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PrivateKey(load_public(spki, field=field), secret)


def low_s(signature: bytes) -> bytes:
    """The accepted form of an ES256 signature whose s may be high: the same signer signed both, nobody needs a key."""
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + (_P256_ORDER - s if s > _P256_ORDER // 2 else s).to_bytes(32, "big")


def generate(algorithm: str = "p256") -> PrivateKey:
    """A new key from the system's random source; `algorithm` is p256, ed25519 or mldsa44."""
    if algorithm == "p256":
        return private_key(ec.generate_private_key(ec.SECP256R1()))
    if algorithm == "ed25519":
        return private_key(ed25519.Ed25519PrivateKey.generate())
    if algorithm == "mldsa44":
        return private_key(mldsa.MLDSA44PrivateKey.generate())
    message = f"unknown algorithm {algorithm!r}: p256, ed25519 or mldsa44"
    raise ValueError(message)
