"""Keys in files: PKCS#8 PEM (encrypted when a passphrase is given) and SubjectPublicKeyInfo PEM.

A private key file is created with mode 0600, is never overwritten, and is on disk (fsync) when `write_private` returns.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from platemark import files
from platemark.errors import KeyFileError, KeyFormatError
from platemark.keys import PrivateKey, Signer, Verifier, load_public, private_key

__all__ = [
    "MAX_KEY_FILE",
    "public_pem",
    "read_private",
    "read_public",
    "read_secret",
    "write_private",
    "write_public",
    "write_secret",
]

MAX_KEY_FILE = 64 * 1024


def write_private(path: Path, key: PrivateKey, passphrase: bytes | None = None) -> None:
    """Create `path` with the PKCS#8 PEM of `key`. Raises KeyFileError when it exists or cannot be written."""
    write_secret(path, key.secret, passphrase)


def write_secret(path: Path, secret: PrivateKeyTypes, passphrase: bytes | None = None) -> None:
    """As `write_private`, for a key of any type that `cryptography` has."""
    _check_passphrase(path, passphrase)
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    _create(path, pem, 0o600)


def write_public(path: Path, key: Verifier | Signer) -> None:
    """Create `path` with the public key of `key`. Raises KeyFileError when it exists or cannot be written."""
    _create(path, public_pem(key.spki).encode(), 0o644)


def public_pem(spki: bytes) -> str:
    """The PEM text of a SubjectPublicKeyInfo."""
    # The one accepted DER goes through cryptography unchanged: it writes the same bytes.
    key = serialization.load_der_public_key(spki)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode("ascii")


def read_private(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The private key in `path`. Raises KeyFileError: missing, unreadable, another type, wrong or no passphrase."""
    try:
        return private_key(read_secret(path, passphrase))
    except KeyFormatError as error:
        raise KeyFileError(f"{path}: {error.reason}") from None


def read_secret(path: Path, passphrase: bytes | None = None) -> object:
    """As `read_private`, for a key of any type: the object of `cryptography`. Raises KeyFileError."""
    _check_passphrase(path, passphrase)
    data = _read(path)
    try:
        return serialization.load_pem_private_key(data, passphrase)
    except TypeError:
        if passphrase is None:
            raise KeyFileError(
                f"{path}: the key is encrypted and no passphrase was given "
                "(--passphrase-file FILE or PLATEMARK_PASSPHRASE)"
            ) from None
        return _unencrypted(path, data)
    except (ValueError, UnsupportedAlgorithm):
        if b"-----BEGIN PUBLIC KEY-----" in data:
            raise KeyFileError(f"{path}: this is a public key; the private one is needed") from None
        if passphrase is not None and b"ENCRYPTED" in data:
            raise KeyFileError(f"{path}: the passphrase is wrong or the file is damaged") from None
        raise KeyFileError(f"{path}: not a private key in PKCS#8 PEM") from None


def read_public(path: Path) -> Verifier:
    """The public key in `path` (SubjectPublicKeyInfo PEM). Raises KeyFileError."""
    data = _read(path)
    try:
        key = serialization.load_pem_public_key(data)
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return load_public(spki)
    except (ValueError, UnsupportedAlgorithm):
        if b"PRIVATE KEY-----" in data:
            raise KeyFileError(f"{path}: this is a private key; give the public one (.pub)") from None
        raise KeyFileError(f"{path}: not a public key in PEM") from None
    except KeyFormatError as error:
        raise KeyFileError(f"{path}: {error.reason}") from None


def _check_passphrase(path: Path, passphrase: bytes | None) -> None:
    """An empty passphrase is a mistake (an unset variable), never a wish to write the key in the clear."""
    if passphrase is not None and not passphrase:
        raise KeyFileError(f"{path}: the passphrase is empty")


def _unencrypted(path: Path, data: bytes) -> object:
    """A passphrase for a key without one is no reason to fail: the same environment serves both kinds."""
    try:
        return serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: not a private key in PKCS#8 PEM") from None


def _read(path: Path) -> bytes:
    try:
        return files.read(path, limit=MAX_KEY_FILE)
    except files.FileError as error:
        raise KeyFileError(error.reason) from None


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    except FileExistsError:
        raise KeyFileError(f"{path}: exists already and a key is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # Half a key is worse than none: it would block the next try and could never be used.
        with contextlib.suppress(OSError):
            path.unlink()
        raise KeyFileError(f"{path}: {error.strerror or error}") from None
