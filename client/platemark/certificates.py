"""X.509 as far as time stamps need it: the path from a signer to a named root, its algorithms, its revocation.

Everything is judged at a time that the caller gives. What a library raises about bytes from outside becomes a
TimeStampError here, and nothing else does. Rules Z8 to Z14 and Z35 of proto/time.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from platemark import algorithms
from platemark.errors import TimeStampError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "MAX_CRL",
    "MAX_CRLS",
    "MAX_VERIFICATIONS",
    "Paths",
    "check_crls",
    "check_dates",
    "check_usage",
    "foreign",
    "key_name",
    "load",
    "load_crl",
    "nanoseconds",
    "path_algorithms",
    "paths",
    "revocation_known",
]

Path = tuple[x509.Certificate, ...]
_T = TypeVar("_T")
MAX_CRL, MAX_CRLS = 1024 * 1024, 16
"""Bytes of one list of revoked certificates, and lists for one response (rule Z12)."""
MAX_VERIFICATIONS = 32
"""Signatures of certificates that are checked for one response, and signatures of lists for one path (rule Z35)."""
_MAX_EXPONENT = (1 << 33) - 1
_HASHES: Mapping[str, str] = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
_CURVES: Mapping[str, str] = {"secp256r1": "ECDSA P-256", "secp384r1": "ECDSA P-384"}
_RSA = ((4096, "RSA 4096"), (3072, "RSA 3072"), (2048, "RSA 2048"))
# RFC 3161 section 4 item 1: with these reasons, what was stamped before the revocation stays valid.
_MILD = {
    x509.ReasonFlags.unspecified,
    x509.ReasonFlags.affiliation_changed,
    x509.ReasonFlags.superseded,
    x509.ReasonFlags.cessation_of_operation,
}


def foreign(call: Callable[[], _T], field: str, reason: str) -> _T:
    """The result of a library's call on bytes from outside; whatever it raises is a TimeStampError."""
    try:
        return call()
    except (TimeStampError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException:  # noqa: BLE001 - a panic of a library in Rust is a BaseException and comes from its input
        raise TimeStampError(field, reason) from None


def load(der: bytes, field: str) -> x509.Certificate:
    """A certificate of which subject, issuer, dates, key and extensions can be read. Raises TimeStampError."""

    def read() -> x509.Certificate:
        loaded = x509.load_der_x509_certificate(der)
        _ = (
            loaded.subject.public_bytes(),
            loaded.issuer.public_bytes(),
            loaded.extensions,
            loaded.public_key(),
            loaded.signature_hash_algorithm,
        )
        return loaded

    return foreign(read, field, "not an X.509 certificate of a kind that this release reads")


@dataclass(frozen=True)
class Paths:
    """Where a signer's certificate leads: certificate -> the one below it that it issued, None for the signer itself.

    `verifications` are the signatures that were checked; `whole` is False where the limit ended the search.
    """

    below: Mapping[x509.Certificate, x509.Certificate | None]
    verifications: int
    whole: bool

    def to(self, roots: Sequence[x509.Certificate]) -> Path:
        """The shortest path from the signer up to one of `roots`, both included; empty if there is none."""
        return min((_unwound(root, self.below) for root in roots if root in self.below), key=len, default=())


def paths(
    signer: x509.Certificate,
    embedded: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate] = (),
    *,
    most: int = MAX_VERIFICATIONS,
) -> Paths:
    """Every way up from `signer` over `embedded` certificates to any of `roots`, looked for once and in order of length.

    Each certificate is issued by the next, by name and signature, and the next is a CA with a key of the table. Dates are not
    looked at. No more than `most` signatures are checked, and none under a key that could make that slow.
    """
    issuers = [each for each in dict.fromkeys((*roots, *embedded)) if _may_issue(each)]
    by_name: dict[bytes, list[x509.Certificate]] = {}
    for each in issuers:
        by_name.setdefault(each.subject.public_bytes(), []).append(each)
    carried = set(embedded)
    below: dict[x509.Certificate, x509.Certificate | None] = {signer: None}
    waiting, count = [signer], 0
    for current in waiting:
        for each in by_name.get(current.issuer.public_bytes(), ()):
            if each in below:
                continue
            if count == most:
                return Paths(below, count, whole=False)
            count += 1
            if _issued(current, each):
                below[each] = current
                if each in carried:  # a root that the token does not carry ends a path and is on no other
                    waiting.append(each)
    return Paths(below, count, whole=True)


def check_dates(path: Path, at_ns: int) -> None:
    """Every certificate is within its dates at `at_ns`. Raises TimeStampError."""
    for index, each in enumerate(path):
        if not nanoseconds(each.not_valid_before_utc) <= at_ns < nanoseconds(each.not_valid_after_utc) + 10**9:
            raise TimeStampError("genTime", f"outside the validity of certificate {index} of the chain")


def check_usage(signer: x509.Certificate) -> None:
    """The certificate is for time stamping alone. Raises TimeStampError."""
    try:
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise TimeStampError("certificate", "no extended key usage") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TimeStampError("certificate", "its extended key usage is not critical and timeStamping alone")


def path_algorithms(path: Path) -> tuple[str, ...]:
    """The names of every key and, but for the root's own signature, of every signature's hash, each once."""
    names = [key_name(each) for each in path]
    signed = [each.signature_hash_algorithm for each in path[:-1]]
    names += [_HASHES.get(algorithm.name, algorithm.name) for algorithm in signed if algorithm is not None]
    return tuple(dict.fromkeys(names))


def revocation_known(path: Path, crls: Sequence[bytes], at_ns: int) -> int | None:
    """Up to when it is known that nothing on the path was revoked for `at_ns`; None: not checked. Unix ns.

    A CRL counts if the issuer on the path signed it and it has no critical extension; it checks a certificate if it was
    in force at `at_ns` or made later, but not after the certificate's end. Raises TimeStampError: a certificate that is
    revoked for that time, or a CRL that is none.
    """
    lists = _loaded(crls)
    named = [(subject, [each for each in lists if each.issuer == issuer.subject]) for subject, issuer in pairwise(path)]
    count = sum(len(found) for _, found in named)
    if count > MAX_VERIFICATIONS:
        raise TimeStampError("crls", f"{count} signatures to check, more than {MAX_VERIFICATIONS}")
    known: list[int | None] = []
    for (subject, found), issuer in zip(named, path[1:], strict=True):
        times = [_checked(crl, subject, at_ns) for crl in found if _signed_by(crl, issuer)]
        known.append(max((time for time in times if time is not None), default=None))
    return None if not known or None in known else min(time for time in known if time is not None)


def check_crls(certificates: Sequence[x509.Certificate], crls: Sequence[bytes], at_ns: int) -> None:
    """No list by the name of a certificate's issuer revokes it for `at_ns`, whoever signed the list.

    For whoever cannot know the issuers. Raises TimeStampError as `revocation_known` does.
    """
    for crl in _loaded(crls):
        for each in certificates:
            if crl.issuer == each.issuer and not any(extension.critical for extension in crl.extensions):
                _checked(crl, each, at_ns)


def load_crl(der: bytes, field: str) -> x509.CertificateRevocationList:
    """A list of which issuer, dates and extensions can be read, of at most MAX_CRL bytes. Raises TimeStampError."""
    if len(der) > MAX_CRL:
        raise TimeStampError(field, f"{len(der)} bytes, more than {MAX_CRL}")

    def read() -> x509.CertificateRevocationList:
        loaded = x509.load_der_x509_crl(der)
        _ = (loaded.issuer, loaded.extensions, loaded.last_update_utc, loaded.next_update_utc)
        _ = loaded.signature_hash_algorithm
        return loaded

    return foreign(read, field, "not a DER certificate revocation list")


def nanoseconds(time: datetime) -> int:
    """Unix nanoseconds of a time with whole seconds, also before 1970."""
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 10**9


def _unwound(root: x509.Certificate, below: Mapping[x509.Certificate, x509.Certificate | None]) -> Path:
    path, current = [], below.get(root)
    while current is not None:
        path.append(current)
        current = below[current]
    return (*reversed(path), root)


def _may_issue(each: x509.Certificate) -> bool:
    """A CA whose key is in the table of algorithms, whenever it was acceptable: what checks a signature in little time."""
    try:
        return (
            each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            and key_name(each) in algorithms.TABLE
        )
    except x509.ExtensionNotFound:
        return False


def _issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        foreign(lambda: subject.verify_directly_issued_by(issuer), "certificates", "not issued by this one")
    except TimeStampError:
        return False
    return True


def key_name(each: x509.Certificate) -> str:
    """What the table of algorithms calls the key, or a name that it does not have. Nothing is computed with the key."""
    key = each.public_key()
    if isinstance(key, RSAPublicKey):
        if key.public_numbers().e > _MAX_EXPONENT:
            return "RSA with a public exponent of 2^33 or more"
        fits = key.key_size <= _RSA[0][0]
        return next((name for bits, name in _RSA if fits and key.key_size >= bits), f"RSA of {key.key_size} bits")
    if isinstance(key, EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, f"ECDSA {key.curve.name}")
    return "Ed25519" if isinstance(key, Ed25519PublicKey) else "a key of an unknown kind"


def _loaded(crls: Sequence[bytes]) -> list[x509.CertificateRevocationList]:
    if len(crls) > MAX_CRLS:
        raise TimeStampError("crls", f"{len(crls)} of them, more than {MAX_CRLS}")
    return [load_crl(der, f"crls[{index}]") for index, der in enumerate(crls)]


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    if crl.issuer != issuer.subject or crl.signature_hash_algorithm is None:
        return False
    if crl.signature_hash_algorithm.name not in _HASHES or any(each.critical for each in crl.extensions):
        return False
    try:
        return foreign(lambda: crl.is_signature_valid(issuer.public_key()), "crl", "unreadable")  # type: ignore[arg-type]
    except TimeStampError:
        return False


def _checked(crl: x509.CertificateRevocationList, subject: x509.Certificate, at_ns: int) -> int | None:
    """When the list that does not revoke `subject` for `at_ns` was made; None if it says nothing about that time."""
    entry = foreign(lambda: crl.get_revoked_certificate_by_serial_number(subject.serial_number), "crl", "unreadable")
    if entry is not None:
        reason = foreign(lambda: _reason(entry), "crl", "an entry that cannot be read")
        if reason not in _MILD:
            raise TimeStampError("certificate", "revoked for a reason that ends what it stamped before as well")
        if nanoseconds(entry.revocation_date_utc) <= at_ns:
            raise TimeStampError("certificate", "revoked at or before the time of the token")
    made, following = nanoseconds(crl.last_update_utc), crl.next_update_utc
    if made > nanoseconds(subject.not_valid_after_utc):  # a list need not name certificates that have expired
        return None
    if made >= at_ns or (following is not None and nanoseconds(following) >= at_ns):
        return made
    return None


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None
