"""Who a caller is, by the certificate that TLS has verified: one name, and what a revocation list calls it.

The name is the SPIFFE id (SPIFFE-ID section 2, X509-SVID section 2) when the certificate carries one, else its subject as
RFC 4514 text. Never both: a certificate with a SPIFFE id cannot pass as its subject.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["SPIFFE_ID", "Peer", "peer_of", "subject_text"]

_DOMAIN = r"[a-z0-9._-]{1,255}"
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
# A trust domain and a path without empty, `.` or `..` segments; no port, user, query or fragment.
SPIFFE_ID = re.compile(rf"spiffe://{_DOMAIN}(?:/{_SEGMENT})*")
_MAX_SPIFFE = 2048
# What cryptography raises besides ValueError for a certificate that TLS has accepted.
_UNREADABLE = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class Peer:
    """A verified certificate. `spiffe` and `subject`: at most one is there; neither when it names nobody.

    `issuer` is the DER of the issuer's name, `fingerprint` SHA-256 of the certificate in hex; validity in UTC.
    """

    spiffe: str | None
    subject: str | None
    issuer: bytes
    serial: int
    not_before: dt.datetime
    not_after: dt.datetime
    fingerprint: str

    @property
    def name(self) -> str:
        """Whom the access file may name; empty when nobody."""
        return self.spiffe or self.subject or ""


def peer_of(auth_context: Mapping[str, Iterable[bytes]]) -> Peer | None:
    """The caller of a gRPC call, None when it showed no certificate. Raises ValueError for one that cannot be read."""
    found = tuple(auth_context.get("x509_pem_cert", ()))
    try:
        return _parse(found[0]) if found else None
    except _UNREADABLE as error:
        raise ValueError(str(error)) from None


def subject_text(text: str) -> str:
    """The one form of a subject that is written in RFC 4514. Raises ValueError."""
    return x509.Name.from_rfc4514_string(text).rfc4514_string()


@lru_cache(maxsize=4096)
def _parse(pem: bytes) -> Peer:
    certificate = x509.load_pem_x509_certificate(pem)
    uris = _uris(certificate)
    spiffe = [uri for uri in uris if uri.lower().startswith("spiffe:")]
    return Peer(
        spiffe=_spiffe(spiffe[0]) if len(uris) == len(spiffe) == 1 else None,
        subject=None if spiffe else certificate.subject.rfc4514_string() or None,
        issuer=certificate.issuer.public_bytes(),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
    )


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _spiffe(uri: str) -> str | None:
    return uri if len(uri) <= _MAX_SPIFFE and SPIFFE_ID.fullmatch(uri) else None
