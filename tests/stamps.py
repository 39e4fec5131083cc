"""Time-stamping authorities for tests, sound ones and such with one fault each; keys are random, times are given."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from asn1crypto import algos, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from platemark.timestamp import Authority
from platemark_ledger.demo import stamping
from platemark_ledger.demo.stamping import Stamper

SECOND = 10**9
Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
YEAR = 365 * 86400 * SECOND
NOON = 1_780_000_000 * SECOND
"""The time of tokens here, Unix ns: in May 2026."""


def key(label: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of a name: a test key, which protects nothing."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(label.encode()).digest()) >> 1, ec.SECP256R1())


class Holder(Protocol):
    """Who has a certificate: a key pair, or a public key alone."""

    def public_key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """The key that the certificate is for."""


@dataclass(frozen=True)
class Shop:
    """A root, perhaps an intermediate, and what stamps below it. `issuer` is whoever issued the stamper's certificate."""

    root: x509.Certificate
    issuer: x509.Certificate
    issuer_key: Key
    stamper: Stamper

    @property
    def authority(self) -> Authority:
        """What a reader trusts."""
        return Authority("test", (self.root.public_bytes(Encoding.DER),))

    def stamp(self, message: bytes, *, at: int = NOON, algorithm: str = "sha256", **changes: object) -> bytes:
        """A whole response over `message`, with fields of its TSTInfo changed."""
        return stamping.signed(info(message, at=at, algorithm=algorithm, **changes), stamper=self.stamper)


def shop(
    *,
    since: int = NOON - YEAR,
    until: int = NOON + YEAR,
    leaf_until: int | None = None,
    usage: tuple[x509.ObjectIdentifier, ...] | None = (ExtendedKeyUsageOID.TIME_STAMPING,),
    critical: bool = True,
    between: bool = False,
    curve: ec.EllipticCurve | None = None,
    ca: bool = True,
    root_key: Key | None = None,
    label: str | None = None,
) -> Shop:
    """An authority; `usage` None leaves the extended key usage out, `between` adds an intermediate that tokens embed.

    With a `label` it is the same every time, but for `curve` and `root_key`; without one it is another every time.
    """
    label = label or secrets.token_hex()
    root_key = root_key or key(f"{label} root")
    leaf_key = ec.generate_private_key(curve) if curve else key(f"{label} stamps")
    root = certificate("root", "root", root_key, root_key, since=since, until=until, ca=True)
    issuer, issuer_key = root, root_key
    if between:
        issuer_key = key(f"{label} between")
        issuer = certificate("between", "root", issuer_key, root_key, since=since, until=until, ca=ca)
    leaf = certificate(
        "stamps",
        "between" if between else "root",
        leaf_key,
        issuer_key,
        since=since,
        until=until if leaf_until is None else leaf_until,
        usage=usage,
        critical=critical,
    )
    return Shop(root, issuer, issuer_key, Stamper(leaf, leaf_key, (issuer,) if between else ()))


def certificate(
    subject: str,
    issuer: str,
    holder: Holder,
    signer: Key,
    *,
    since: int,
    until: int,
    ca: bool = False,
    usage: tuple[x509.ObjectIdentifier, ...] | None = None,
    critical: bool = True,
) -> x509.Certificate:
    """A certificate of the common name `subject` by `issuer`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(holder.public_key())
        .serial_number(_serial(holder))
        .not_valid_before(moment(since))
        .not_valid_after(moment(until))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=critical)
    return builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=_repeatable(signer))


def crl(
    shop_: Shop,
    *,
    made: int = NOON,
    following: int | None = NOON + YEAR,
    revoked: int | None = None,
    reason: x509.ReasonFlags | None = x509.ReasonFlags.superseded,
    signer: Key | None = None,
    delta: bool = False,
) -> bytes:
    """A list by the issuer of the shop's stamper, which `revoked` (Unix ns) puts on it."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(shop_.issuer.subject).last_update(moment(made))
    builder = builder.next_update(moment(NOON + 9 * YEAR if following is None else following))
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    if revoked is not None:
        entry = x509.RevokedCertificateBuilder().serial_number(shop_.stamper.certificate.serial_number)
        entry = entry.revocation_date(moment(revoked))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    by = signer or shop_.issuer_key
    return builder.sign(by, hashes.SHA256(), ecdsa_deterministic=_repeatable(by)).public_bytes(Encoding.DER)


def info(message: bytes, *, at: int = NOON, algorithm: str = "sha256", **changes: object) -> bytes:
    """The DER of a TSTInfo over `message`."""
    digest = changes.pop("digest", hashlib.new(algorithm, message).digest())
    fields = {
        "version": "v1",
        "policy": stamping.POLICY,
        "message_imprint": tsp.MessageImprint(
            {"hash_algorithm": algos.DigestAlgorithm({"algorithm": algorithm}), "hashed_message": digest}
        ),
        "serial_number": 7,
        "gen_time": moment(at),
        **changes,
    }
    encoded: bytes = tsp.TSTInfo(fields).dump()
    return encoded


def accuracy(**parts: int) -> tsp.Accuracy:
    """An accuracy of `seconds`, `millis` and `micros`."""
    return tsp.Accuracy(parts) if parts else tsp.Accuracy.load(b"\x30\x00")


def name(common: str) -> x509.Name:
    """A distinguished name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def moment(time_ns: int) -> datetime:
    """Unix ns as a datetime in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)


def _serial(holder: Holder) -> int:
    numbers = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return int.from_bytes(hashlib.sha256(numbers).digest()[:8]) >> 1 | 1


def _repeatable(signer: Key) -> bool | None:
    """The nonces of RFC 6979 for a curve, so that the same builder gives the same bytes; no question for RSA."""
    return None if isinstance(signer, rsa.RSAPrivateKey) else True
