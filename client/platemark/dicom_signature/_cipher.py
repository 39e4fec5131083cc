"""The public-key side of a signature: RSA with PKCS#1 v1.5 and ECDSA, over a MAC that was computed before.

PS3.15 C.1 and C.2 allow RSA alone; ECDSA is what DCMTK adds to it, and no profile.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from platemark.certificates import foreign
from platemark.errors import TimeStampError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "MACS",
    "Mac",
    "PrivateKey",
    "PublicKey",
    "digest",
    "is_costly",
    "key_words",
    "sign",
    "trim",
    "value",
    "verify",
]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_LEAST_RSA, _MOST_RSA, _MOST_EXPONENT = 2048, 16384, (1 << 33) - 1


@dataclass(frozen=True)
class Mac:
    """A MAC algorithm of PS3.3: its hash, what PKCS#1 puts before the digest, and whether it is broken."""

    name: str
    prefix: bytes
    hash: hashes.HashAlgorithm | None
    weak: bool = False


# RFC 8017 section 9.2 note 1; RIPEMD-160 by the object identifier 1.3.36.3.2.1.
MACS: Mapping[str, Mac] = {
    "SHA256": Mac("sha256", bytes.fromhex("3031300d060960864801650304020105000420"), hashes.SHA256()),
    "SHA384": Mac("sha384", bytes.fromhex("3041300d060960864801650304020205000430"), hashes.SHA384()),
    "SHA512": Mac("sha512", bytes.fromhex("3051300d060960864801650304020305000440"), hashes.SHA512()),
    "SHA1": Mac("sha1", bytes.fromhex("3021300906052b0e03021a05000414"), hashes.SHA1(), weak=True),  # noqa: S303
    "MD5": Mac("md5", bytes.fromhex("3020300c06082a864886f70d020505000410"), hashes.MD5(), weak=True),  # noqa: S303
    # ECDSA takes any digest of its length, and cryptography has no name for this one.
    "RIPEMD160": Mac("ripemd160", bytes.fromhex("3021300906052b2403020105000414"), hashes.SHA1(), weak=True),  # noqa: S303
}


def digest(mac: Mac, chunks: Iterable[bytes]) -> bytes | None:
    """The MAC over `chunks`; None where this machine cannot compute it (RIPEMD-160 without OpenSSL's old algorithms)."""
    try:
        hashed = hashlib.new(mac.name, usedforsecurity=False)
    except ValueError:
        return None
    for chunk in chunks:
        hashed.update(chunk)
    return hashed.digest()


def key_words(key: object) -> tuple[str, str]:
    """What a public key is called, and why it is weak or not one that this release uses; empty if it is sound."""
    if isinstance(key, rsa.RSAPublicKey):
        name = f"RSA {key.key_size}"
        if is_costly(key):
            return name, "its modulus or exponent is larger than any in use"
        return name, "" if key.key_size >= _LEAST_RSA else f"RSA of less than {_LEAST_RSA} bits is weak"
    if isinstance(key, ec.EllipticCurvePublicKey):
        known = _CURVES.get(key.curve.name)
        return f"ECDSA {known or key.curve.name}", "" if known else "a curve other than P-256, P-384 and P-521"
    return "a key of another kind", "neither RSA nor ECDSA"


def is_costly(key: PublicKey) -> bool:
    """Whether a signature under the key would take far longer to check than those that are in use."""
    return isinstance(key, rsa.RSAPublicKey) and (key.key_size > _MOST_RSA or key.public_numbers().e > _MOST_EXPONENT)


def trim(value: bytes) -> bytes:
    """DER without the byte 00 that makes its length even; anything else as it is."""
    if len(value) < 2 or value[0] != 0x30:
        return value
    head, length = 2, value[1]
    if length & 0x80:
        head += length & 0x7F
        length = int.from_bytes(value[2:head], "big")
    return value[: head + length] if value[head + length :] == b"\0" else value


def value(key: object, stored: bytes) -> bytes:
    """The Signature value without padding: what was made, and what a time stamp is over."""
    if not isinstance(key, rsa.RSAPublicKey):
        return trim(stored)
    size = (key.key_size + 7) // 8
    return stored[:-1] if len(stored) == size + 1 and size % 2 and stored.endswith(b"\0") else stored


def sign(key: PrivateKey, mac: Mac, hashed: bytes) -> bytes:
    """The Signature value over a MAC, without padding.

    An ECDSA signature is made again until its DER has even length: DCMTK 3.6.7 cannot check one of P-521 that is padded.
    """
    assert mac.hash is not None
    assert not mac.weak
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(hashed, padding.PKCS1v15(), Prehashed(mac.hash))
    while True:
        made = key.sign(hashed, ec.ECDSA(Prehashed(mac.hash)))
        if len(made) % 2 == 0:
            return made


def verify(key: PublicKey, mac: Mac, hashed: bytes, signature: bytes) -> bool:
    """Whether `signature`, a Signature value as it is stored, is one of `hashed` under `key`. Never raises for its content."""
    try:
        return foreign(lambda: _verify(key, mac, hashed, signature), "signature", "unreadable")
    except TimeStampError:
        return False


def _verify(key: PublicKey, mac: Mac, hashed: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            # Compared whole: what is recovered has no room for anything beside the digest.
            opened = key.recover_data_from_signature(value(key, signature), padding.PKCS1v15(), None)
            return hmac.compare_digest(opened, mac.prefix + hashed)
        assert mac.hash is not None
        key.verify(value(key, signature), hashed, ec.ECDSA(Prehashed(mac.hash)))
    except InvalidSignature:
        return False
    return True
