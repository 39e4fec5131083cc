"""Keys and certificates of signers, from PEM files."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from platemark import files
from platemark.certificates import foreign, load
from platemark.dicom_signature._cipher import PrivateKey
from platemark.errors import DicomSignatureError, KeyFileError, TimeStampError

__all__ = ["read_certificates", "read_key"]

_MAX_KEY_FILE = 64 * 1024


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The private key in a PEM file. Raises KeyFileError: another type, encrypted without a passphrase, or with another."""
    data = files.read(path, limit=_MAX_KEY_FILE)
    encrypted = b"ENCRYPTED" in data
    if encrypted and passphrase is None:
        raise KeyFileError(
            f"{path}: the key is encrypted and no passphrase was given (--passphrase-file FILE or PLATEMARK_PASSPHRASE)"
        )
    try:
        key = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = "or the passphrase is wrong" if encrypted else "in PEM"
        raise KeyFileError(f"{path}: no private key that can be read, {reason}") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path}: DICOM signatures are made with RSA or ECDSA keys")
    return key


def read_certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    """The certificates of a PEM file called `name`, one or more. Raises DicomSignatureError."""
    try:
        loaded = foreign(lambda: x509.load_pem_x509_certificates(pem), name, "holds no certificate in PEM")
        return [load(each.public_bytes(Encoding.DER), name) for each in loaded]
    except TimeStampError as error:
        raise DicomSignatureError(str(error)) from None
