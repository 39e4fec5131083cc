"""A time-stamping authority (RFC 3161) in bytes: certificates, keys, answers. For the demo and the tests.

It proves nothing to anybody: its keys lie in a directory, its time is whatever its caller says, and in the demo it runs
beside the log that it stamps. Its certificates say so: demo, no independence. asn1crypto builds the CMS that
cryptography cannot make.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from asn1crypto import algos, cms, tsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["POLICY", "REJECTED", "Founded", "Stamper", "found", "respond", "signed"]

POLICY = "2.999.3161"
"""The policy in its tokens: below 2.999, the arc for examples (ITU-T X.660)."""
MAX_QUERY = 4096
_HASHES = {"sha256": 32, "sha384": 48, "sha512": 64}
_YEARS = timedelta(days=3652)
# PKIStatusInfo alone: status 2, rejection, with the failures badAlg (0), badRequest (2) and badDataFormat (5).
REJECTED = {
    "badAlg": bytes.fromhex("3009300702010203020780"),
    "badRequest": bytes.fromhex("3009300702010203020520"),
    "badDataFormat": bytes.fromhex("3009300702010203020204"),
}


@dataclass(frozen=True)
class Stamper:
    """What signs tokens. `chain` are further certificates that each token carries."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True)
class Founded:
    """A new authority: its root, its stamper, and a list on which nothing is revoked. The root's key is gone."""

    root: x509.Certificate
    stamper: Stamper
    crl: bytes


def found(*, now: int) -> Founded:
    """A root and a stamping certificate, both P-256 and valid for ten years from a day before `now` (Unix ns)."""
    start = datetime.fromtimestamp(now // 10**9, UTC) - timedelta(days=1)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name("root"), _name("time stamps")
    root = (
        _certificate(root_name, root_name, root_key.public_key(), start)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _certificate(name, root_name, key.public_key(), start)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        # RFC 5280 4.2.1.1 asks for it, and readers of C2PA take no certificate without it.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root_name)
        .last_update(start)
        .next_update(start + _YEARS)
        .sign(root_key, hashes.SHA256())
    )
    return Founded(root, Stamper(leaf, key), crl.public_bytes(Encoding.DER))


def respond(query: bytes, *, stamper: Stamper, now: int) -> bytes:
    """The TimeStampResp (DER) that answers `query`, dated `now` (Unix ns): a token, or a rejection."""
    if len(query) > MAX_QUERY:
        return REJECTED["badDataFormat"]
    try:
        asked = tsp.TimeStampReq.load(query, strict=True)
        imprint, nonce = asked["message_imprint"], asked["nonce"].native
        algorithm, digest = imprint["hash_algorithm"]["algorithm"].native, imprint["hashed_message"].native
        plain = (
            asked["version"].native == "v1" and not asked["extensions"].native and asked["req_policy"].native is None
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        return REJECTED["badDataFormat"]
    if algorithm not in _HASHES:
        return REJECTED["badAlg"]
    if not plain or len(digest) != _HASHES[algorithm]:
        return REJECTED["badRequest"]
    whole = datetime.fromtimestamp(now // 10**9, UTC)
    info = {
        "version": "v1",
        "policy": POLICY,
        "message_imprint": tsp.MessageImprint(
            {"hash_algorithm": algos.DigestAlgorithm({"algorithm": algorithm}), "hashed_message": digest}
        ),
        "serial_number": secrets.randbits(63),
        "gen_time": whole,
        "accuracy": tsp.Accuracy({"seconds": 1}),
    }
    if nonce is not None:
        info["nonce"] = nonce
    return signed(tsp.TSTInfo(info).dump(), stamper=stamper)


def signed(info: bytes, *, stamper: Stamper) -> bytes:
    """A granted TimeStampResp (DER) around `info`, the DER of a TSTInfo, signed as it is."""
    certificate = stamper.certificate.public_bytes(Encoding.DER)
    sha256 = algos.DigestAlgorithm({"algorithm": "sha256"})
    attributes = cms.CMSAttributes(
        [
            cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(info).digest()]}),
            cms.CMSAttribute({"type": "signing_certificate_v2", "values": [_commitment(certificate)]}),
        ]
    )
    mine = asn1.Certificate.load(certificate)
    signer = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                name="issuer_and_serial_number",
                value=cms.IssuerAndSerialNumber({"issuer": mine.issuer, "serial_number": mine.serial_number}),
            ),
            "digest_algorithm": sha256,
            "signed_attrs": attributes,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            # What is signed is the SET OF itself, not the [0] that stands for it (RFC 5652 section 5.4).
            "signature": stamper.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)),
        }
    )
    embedded = sorted((certificate, *(each.public_bytes(Encoding.DER) for each in stamper.chain)))
    data = cms.SignedData(
        {
            "version": "v3",
            "digest_algorithms": [sha256],
            "encap_content_info": {"content_type": "tst_info", "content": cms.ParsableOctetString(info)},
            "certificates": [asn1.Certificate.load(each) for each in embedded],
            "signer_infos": [signer],
        }
    )
    token = cms.ContentInfo({"content_type": "signed_data", "content": data})
    response: bytes = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump()
    return response


def _commitment(certificate: bytes) -> tsp.SigningCertificateV2:
    """The signer's certificate, named within what it signs (RFC 5035)."""
    return tsp.SigningCertificateV2({"certs": [{"cert_hash": hashlib.sha256(certificate).digest()}]})


def _name(purpose: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Platemark demo"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"demo {purpose}, one operator, no independence"),
        ]
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _YEARS)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=not ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
