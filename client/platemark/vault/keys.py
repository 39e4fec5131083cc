"""The key pair that a vault is sealed to: X25519 (RFC 7748), as PKCS#8 and SubjectPublicKeyInfo (RFC 8410) in PEM.

It signs nothing, and a signing key seals nothing: the two are different types and never the same file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from platemark import files, key_files
from platemark.errors import KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Recipient", "RecipientKey", "generate", "parse_public", "read_private", "read_public", "write_private"]

_SPKI_PREFIX = bytes.fromhex("302a300506032b656e032100")
_SPKI_SIZE = len(_SPKI_PREFIX) + 32
_MAX_PEM = 4096
_NOT = "not the public key of a vault (X25519 in PEM)"


@dataclass(frozen=True)
class Recipient:
    """The public half: whoever has it can seal, and open nothing. `spki` is its SubjectPublicKeyInfo, 44 bytes of DER."""

    spki: bytes

    @cached_property
    def kid(self) -> bytes:
        """SHA-256 of `spki`, 32 bytes."""
        return hashlib.sha256(self.spki).digest()

    @cached_property
    def key(self) -> X25519PublicKey:
        """The key object."""
        return X25519PublicKey.from_public_bytes(self.spki[len(_SPKI_PREFIX) :])

    def to_pem(self) -> str:
        """The PEM text of `spki`."""
        pem = self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return pem.decode("ascii")


@dataclass(frozen=True)
class RecipientKey:
    """The private half, in memory. Its repr never shows the secret."""

    secret: X25519PrivateKey

    def __repr__(self) -> str:
        return f"RecipientKey(kid={self.recipient.kid.hex()})"

    @cached_property
    def recipient(self) -> Recipient:
        """The public half."""
        public = self.secret.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return Recipient(der)


def generate() -> RecipientKey:
    """A new key from the system's random source."""
    return RecipientKey(X25519PrivateKey.generate())


def parse_public(pem: str | bytes, *, name: str = "recipient") -> Recipient:
    """The recipient in a PEM text; `name` begins the sentence of the error. Raises KeyFileError.

    Keys of small order, to which everybody could open, are refused.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    if b"PRIVATE KEY-----" in data:
        raise KeyFileError(f"{name}: this is a private key; whoever writes a vault gets the public one (.pub) alone")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{name}: {_NOT}") from None
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if not spki.startswith(_SPKI_PREFIX) or len(spki) != _SPKI_SIZE:
        raise KeyFileError(f"{name}: {_NOT}, but of another type")
    recipient = Recipient(spki)
    try:
        X25519PrivateKey.generate().exchange(recipient.key)
    except ValueError:
        raise KeyFileError(
            f"{name}: the X25519 key has small order, so everybody could open what is sealed to it"
        ) from None
    return recipient


def read_public(path: Path) -> Recipient:
    """The recipient in a file. Raises KeyFileError."""
    try:
        data = files.read(path, limit=_MAX_PEM)
    except files.FileError as error:
        raise KeyFileError(error.reason) from None
    return parse_public(data, name=str(path))


def read_private(path: Path, passphrase: bytes | None = None) -> RecipientKey:
    """The private key in a file. Raises KeyFileError: missing, unreadable, another type, wrong or no passphrase."""
    secret = key_files.read_secret(path, passphrase)
    if not isinstance(secret, X25519PrivateKey):
        raise KeyFileError(
            f"{path}: a signing key; a vault is opened by the X25519 key that `platemark vault init` made"
        )
    return RecipientKey(secret)


def write_private(path: Path, key: RecipientKey, passphrase: bytes | None = None) -> None:
    """Create `path`, mode 0600, on disk when this returns. Raises KeyFileError when it exists or cannot be written."""
    key_files.write_secret(path, key.secret, passphrase)
