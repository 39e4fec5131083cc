"""HPKE in base mode for the one suite of the vault, written from RFC 9180 sections 4, 5 and 6.1 alone."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["open_base", "seal_base"]

_KEM = b"KEM" + (0x0020).to_bytes(2, "big")
_HPKE = b"HPKE" + b"".join(each.to_bytes(2, "big") for each in (0x0020, 0x0001, 0x0002))


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    # One block of HKDF-Expand is enough: no output here is longer than 32 bytes.
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.new(prk, labeled + b"\x01", hashlib.sha256).digest()[:length]


def _schedule(dh: bytes, enc: bytes, recipient: bytes, info: bytes) -> tuple[bytes, bytes]:
    """AEAD key and base nonce."""
    shared = _expand(_extract(b"", _KEM, b"eae_prk", dh), _KEM, b"shared_secret", enc + recipient, 32)
    context = b"\x00" + _extract(b"", _HPKE, b"psk_id_hash", b"") + _extract(b"", _HPKE, b"info_hash", info)
    secret = _extract(shared, _HPKE, b"secret", b"")
    return _expand(secret, _HPKE, b"key", context, 32), _expand(secret, _HPKE, b"base_nonce", context, 12)


def seal_base(plain: bytes, recipient: X25519PublicKey, info: bytes) -> bytes:
    """The encapsulated key and the ciphertext with its tag."""
    ephemeral = X25519PrivateKey.generate()
    enc = ephemeral.public_key().public_bytes_raw()
    key, nonce = _schedule(ephemeral.exchange(recipient), enc, recipient.public_bytes_raw(), info)
    return enc + AESGCM(key).encrypt(nonce, plain, b"")


def open_base(sealed: bytes, secret: X25519PrivateKey, info: bytes) -> bytes:
    """The plaintext; InvalidTag if it is not one."""
    enc = sealed[:32]
    dh = secret.exchange(X25519PublicKey.from_public_bytes(enc))
    key, nonce = _schedule(dh, enc, secret.public_key().public_bytes_raw(), info)
    return AESGCM(key).decrypt(nonce, sealed[32:], b"")
