"""A certificate authority of one test: server and client certificates, SPIFFE ids, expiry, revocation lists."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Issued"]

_PEM, _DAY = serialization.Encoding.PEM, dt.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key in files."""

    certificate: Path
    key: Path

    @property
    def parsed(self) -> x509.Certificate:
        """What the file holds."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())


class Authority:
    """Signs with a key of its own; `ca` is its certificate."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._now = dt.datetime.now(dt.UTC)
        self.ca = directory / f"{name}.pem"
        certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.ca.write_bytes(certificate.public_bytes(_PEM))

    def issue(self, name: str, *, uris: Sequence[str] = (), expired: bool = False) -> Issued:
        """A leaf certificate for loopback, its subject CN=name; `uris` go into the alternative names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        until = self._now - _DAY / 2 if expired else self._now + _DAY
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        certificate = self._sign(subject, key, constraints, uris=uris, until=until)
        issued = Issued(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        issued.certificate.write_bytes(certificate.public_bytes(_PEM))
        issued.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return issued

    def revocation_list(
        self, *revoked: Issued, critical: x509.ExtensionType | None = None, overdue: bool = False
    ) -> x509.CertificateRevocationList:
        """A list of these certificates, signed; with a critical extension, or due already, where asked."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(self._now - _DAY)
            .next_update(self._now - _DAY / 2 if overdue else self._now + _DAY)
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.parsed.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(self._now - _DAY).build())
        if critical is not None:
            builder = builder.add_extension(critical, critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        constraints: x509.BasicConstraints,
        *,
        uris: Sequence[str] = (),
        until: dt.datetime | None = None,
    ) -> x509.Certificate:
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.DNSName("ledger.test"),
            *map(x509.UniformResourceIdentifier, uris),
        ]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _DAY)
            .not_valid_after(until or self._now + _DAY)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
