"""A sealed disclosure: HPKE (RFC 9180) base mode, single shot, to the vault's public key. Rules S1 to S6 of proto/vault.md.

The attribute root is bound into the seal, and whoever opens recomputes it: a sealed disclosure under another root, or
changed in a single bit, does not open. HPKE's base mode proves no sender; the root in a signed statement does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke

from platemark import attributes, cbor
from platemark.errors import AttributeTreeError, CborError, VaultError, VaultFormatError

if TYPE_CHECKING:
    from platemark.attributes import Disclosure
    from platemark.vault.keys import Recipient, RecipientKey

__all__ = ["INFO", "MAX_SEALED", "SUITE", "seal", "unseal"]

SUITE = (0x0020, 0x0001, 0x0002)
"""DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: identifiers of RFC 9180 section 7."""
INFO = b"platemark vault disclosure v1\x00"
"""Followed by the 32 bytes of the attribute root, it is HPKE's `info`."""

_HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
# A length says something of the values in it, so that lengths are a multiple of this.
_BLOCK = 1024
_MAX_PLAIN = 512 * 1024 + _BLOCK
_OVERHEAD = 32 + 16  # the encapsulated key and the tag
MAX_SEALED = _MAX_PLAIN + _OVERHEAD + 256
_FIELDS = {"v", "suite", "kid", "root", "sealed"}


def seal(disclosure: Disclosure, recipient: Recipient) -> bytes:
    """The sealed form of a whole disclosure (one with K). Every call gives other bytes. Raises AttributeTreeError."""
    root = disclosure.root()
    sealed = _HPKE.encrypt(_padded(disclosure.to_bytes()), recipient.key, INFO + root)
    return cbor.encode({"v": 1, "suite": list(SUITE), "kid": recipient.kid, "root": root, "sealed": sealed})


def unseal(data: bytes, key: RecipientKey, *, root: bytes) -> Disclosure:
    """The disclosure in `data`, proven to belong to `root`.

    Raises VaultFormatError: malformed, or of another root; VaultError: sealed to another key, or damaged.
    """
    content = _decode(data)
    if content["root"] != root:
        raise VaultFormatError("sealed.root", "another root than the one asked for")
    if content["kid"] != key.recipient.kid:
        raise VaultError("sealed to another key than this one")
    sealed = content["sealed"]
    assert isinstance(sealed, bytes)
    try:
        plain = _HPKE.decrypt(sealed, key.secret, INFO + root)
    except (InvalidTag, ValueError):
        raise VaultError("the sealed disclosure is damaged: it does not open under the key that it names") from None
    return _opened(plain, root)


def _opened(plain: bytes, root: bytes) -> Disclosure:
    try:
        disclosure = attributes.decode_disclosure(_unpadded(plain))
    except AttributeTreeError as error:
        raise VaultFormatError(error.field, error.reason) from None
    # Whoever has the public key can seal anything under any root.
    if disclosure.key is None or disclosure.root() != root:
        raise VaultFormatError("sealed.root", "what was sealed does not belong to this root")
    return disclosure


def _decode(data: bytes) -> dict[int | str, cbor.Value]:
    if len(data) > MAX_SEALED:
        raise VaultFormatError("sealed", f"more than {MAX_SEALED} bytes")
    try:
        content = cbor.decode(data)
    except CborError as error:
        raise VaultFormatError("sealed", str(error)) from None
    if not isinstance(content, dict) or content.get("v") != 1 or isinstance(content.get("v"), bool):
        raise VaultFormatError("sealed.v", "not a sealed disclosure of version 1")
    if set(content) != _FIELDS:
        raise VaultFormatError("sealed", f"not exactly {', '.join(sorted(_FIELDS))}")
    if cbor.encode(content["suite"]) != cbor.encode(SUITE):
        raise VaultFormatError("sealed.suite", "a suite of HPKE that this release does not know")
    for name in ("kid", "root"):
        value = content[name]
        if not isinstance(value, bytes) or len(value) != 32:
            raise VaultFormatError(f"sealed.{name}", "not 32 bytes")
    sealed = content["sealed"]
    if not isinstance(sealed, bytes) or len(sealed) < _BLOCK + _OVERHEAD or (len(sealed) - _OVERHEAD) % _BLOCK:
        raise VaultFormatError("sealed.sealed", f"not {_OVERHEAD} bytes and a multiple of {_BLOCK}")
    return content


def _padded(content: bytes) -> bytes:
    """U32 length, content, zeros up to a multiple of the block."""
    framed = len(content).to_bytes(4, "big") + content
    return framed + bytes(-len(framed) % _BLOCK)


def _unpadded(plain: bytes) -> bytes:
    size = int.from_bytes(plain[:4], "big")
    content = plain[4 : 4 + size]
    if len(content) != size or _padded(content) != plain:
        raise VaultFormatError("sealed.sealed", "not a length, a disclosure and zeros")
    return content
