"""Signers of DICOM objects, and an object to sign: keys are test keys, times are given."""

import datetime as dt
import struct
from functools import cache

from commands import ct
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import stamps
from capture_writers import BIG, EXPLICIT, element
from platemark.dicom_signature import Credential

__all__ = ["CURVE_KEY", "NOW", "SHOP", "YEAR", "certificate", "credential", "rsa_key", "series"]

NOW = 1_780_000_000 * 10**9
YEAR = 365 * 86400 * 10**9
SHOP = stamps.shop(since=NOW - YEAR, until=NOW + YEAR)


def moment(ns: int) -> dt.datetime:
    """Unix ns as a time."""
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key of that size in each run."""
    return rsa.generate_private_key(65537, bits)


CURVE_KEY = ec.derive_private_key(7, ec.SECP256R1())


def certificate(
    holder: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    name: str = "Scanner",
    since: int = NOW - YEAR,
    until: int = NOW + YEAR,
    usage: bool = True,
    issuer: Credential | None = None,
) -> x509.Certificate:
    """A certificate, self-signed or by `issuer`; without `usage` it is for encrypting keys alone."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(holder.public_key())
        .serial_number(9)
        .not_valid_before(moment(since))
        .not_valid_after(moment(until))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=usage,
                content_commitment=False,
                key_encipherment=not usage,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=issuer is None and usage,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    return builder.sign(holder if issuer is None else issuer.key, hashes.SHA256())


@cache
def credential(kind: str = "p256") -> Credential:
    """A key with a self-signed certificate."""
    key = CURVE_KEY if kind == "p256" else rsa_key()
    return Credential(key, certificate(key, name=f"Scanner {kind}"))


def series(syntax: str = EXPLICIT) -> bytes:
    """A slice with the series that the Creator RSA profile wants."""
    whole = ct(syntax=syntax)
    added = element(0x0020000E, "UI", b"2.25.8\0\0", syntax=syntax)
    mark = struct.pack(">HH" if syntax == BIG else "<HH", 0x0028, 0x0002)
    at = whole.index(mark)
    return whole[:at] + added + whole[at:]
