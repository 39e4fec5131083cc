"""Time-stamping authorities for tests, sound ones and such with one fault each; keys are random, times are given."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asn1crypto import algos, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from platemark.timestamp import Authority
from platemark_ledger.demo import stamping
from platemark_ledger.demo.stamping import Stamper

SECOND = 10**9
YEAR = 365 * 86400 * SECOND
NOON = 1_780_000_000 * SECOND
"""The time of tokens here, Unix ns: in May 2026."""


@dataclass(frozen=True)
class Shop:
    """A root, perhaps an intermediate, and what stamps below it. `issuer` is whoever issued the stamper's certificate."""

    root: x509.Certificate
    issuer: x509.Certificate
    issuer_key: ec.EllipticCurvePrivateKey
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
) -> Shop:
    """An authority; `usage` None leaves the extended key usage out, `between` adds an intermediate that tokens embed."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(curve or ec.SECP256R1())
    root = certificate("root", "root", root_key, root_key, since=since, until=until, ca=True)
    issuer, issuer_key = root, root_key
    if between:
        issuer_key = ec.generate_private_key(ec.SECP256R1())
        issuer = certificate("between", "root", issuer_key, root_key, since=since, until=until, ca=ca)
    leaf = certificate(
        "stamps",
        "between" if between else "root",
        key,
        issuer_key,
        since=since,
        until=until if leaf_until is None else leaf_until,
        usage=usage,
        critical=critical,
    )
    return Shop(root, issuer, issuer_key, Stamper(leaf, key, (issuer,) if between else ()))


def certificate(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
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
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(since))
        .not_valid_after(moment(until))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=critical)
    return builder.sign(signer, hashes.SHA256())


def crl(
    shop_: Shop,
    *,
    made: int = NOON,
    following: int | None = NOON + YEAR,
    revoked: int | None = None,
    reason: x509.ReasonFlags | None = x509.ReasonFlags.superseded,
    key: ec.EllipticCurvePrivateKey | None = None,
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
    return builder.sign(key or shop_.issuer_key, hashes.SHA256()).public_bytes(Encoding.DER)


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


def name(common: str) -> x509.Name:
    """A distinguished name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def moment(time_ns: int) -> datetime:
    """Unix ns as a datetime in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)
