"""Revocation lists (RFC 5280 section 5): which certificates of the client authorities are no longer believed.

One file holds one list in DER or any number in PEM, at most one of each issuer. A list counts only when an authority of
`tls_client_ca` signed it, and one that is out of date goes on counting: what it revokes stays revoked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from platemark.errors import FormatError

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["RevocationError", "Revoked", "read_lists"]

_PEM = b"-----BEGIN X509 CRL-----"
_END = b"-----END X509 CRL-----"


class RevocationError(FormatError):
    """A revocation list that cannot be used."""

    code = "revocation-list"


@dataclass(frozen=True, slots=True)
class Revoked:
    """Serial numbers by issuer (DER of its name). `due`: when the first of the lists should have been replaced, if it says."""

    serials: Mapping[bytes, frozenset[int]]
    due: dt.datetime | None

    def holds(self, issuer: bytes, serial: int) -> bool:
        """Whether that certificate is revoked."""
        return serial in self.serials.get(issuer, frozenset())


def read_lists(contents: Sequence[bytes]) -> Revoked:
    """The lists in contents[0] under the authorities (PEM) in contents[1]. Raises RevocationError and ValueError."""
    authorities = x509.load_pem_x509_certificates(contents[1])
    serials: dict[bytes, frozenset[int]] = {}
    due: list[dt.datetime] = []
    for each in _lists(contents[0]):
        issuer = each.issuer.public_bytes()
        _check(each, [one for one in authorities if one.subject == each.issuer])
        if issuer in serials:
            raise RevocationError("issuer", f"two lists of {each.issuer.rfc4514_string()}")
        serials[issuer] = frozenset(entry.serial_number for entry in each)
        if each.next_update_utc is not None:
            due.append(each.next_update_utc)
    return Revoked(serials, min(due, default=None))


def _lists(data: bytes) -> list[x509.CertificateRevocationList]:
    if _PEM not in data:
        return [x509.load_der_x509_crl(data)]
    blocks = data.split(_PEM)[1:]
    if any(_END not in block for block in blocks):
        raise RevocationError("pem", "it ends in the middle")
    return [x509.load_pem_x509_crl(_PEM + block) for block in blocks]


def _check(crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> None:
    """RFC 5280 6.3.3, for whole lists of the certificates' own issuer: what else there is, is marked critical."""
    name = crl.issuer.rfc4514_string()
    for extension in crl.extensions:
        if extension.critical:
            # A delta, an indirect or a partial list, read as a whole one, would let revoked certificates pass.
            raise RevocationError("extension", f"{extension.oid.dotted_string} of the list of {name} is not understood")
    if not any(_signed(crl, each) for each in authorities):
        raise RevocationError("signature", f"no authority of tls_client_ca signed the list of {name}")


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    if not isinstance(
        key,
        rsa.RSAPublicKey
        | ec.EllipticCurvePublicKey
        | ed25519.Ed25519PublicKey
        | ed448.Ed448PublicKey
        | dsa.DSAPublicKey,
    ):
        return False
    return crl.is_signature_valid(key)
