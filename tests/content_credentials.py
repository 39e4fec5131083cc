"""An authority of our own that certifies signers of C2PA manifests, and pictures to sign."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c2pa
import imagecodecs
import numpy as np
from commands import Case
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import capture_writers as writers
from platemark import evidence, trust
from platemark.c2pa import LABEL, Checked, Credential, Proof, check, sign
from platemark.c2pa._reader import SETTINGS

__all__ = [
    "ALGORITHMS",
    "CA",
    "MEDIA",
    "PICTURES",
    "Owner",
    "assertion",
    "checked",
    "foreign",
    "held",
    "jpeg",
    "leaf",
    "owner",
    "pem",
    "png",
    "signed",
]

ALGORITHMS = ("Es256", "Ed25519", "Ps256")
_NOW = dt.datetime.now(dt.UTC)


def png(*, shade: int = 100) -> bytes:
    """A grey PNG of 64 x 48 pixels with a text chunk."""
    made = writers.png(
        [bytes((shade + x + y) % 256 for x in range(64)) for y in range(48)], columns=64, depth=8, colour=0
    )
    return made[:33] + writers.chunk(b"tEXt", b"Comment\0of a test") + made[33:]


def jpeg(*, seed: int = 1) -> bytes:
    """A JPEG of 64 x 48 pixels."""
    samples = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return bytes(imagecodecs.jpeg8_encode(samples))


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


_CA_KEY = ec.generate_private_key(ec.SECP256R1())


def _builder(common: str, public: CertificateIssuerPublicKeyTypes, *, ca: bool) -> x509.CertificateBuilder:
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(_name("Example CA"))
        .public_key(public)
        .serial_number(1 if ca else 2)
        .not_valid_before(_NOW - dt.timedelta(days=1))
        .not_valid_after(_NOW + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
                **dict.fromkeys(unused, False),
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


CA = _builder("Example CA", _CA_KEY.public_key(), ca=True).sign(_CA_KEY, hashes.SHA256())


def leaf(public: CertificateIssuerPublicKeyTypes, *, purpose: bool = True) -> x509.Certificate:
    """A certificate of the owner's key; without `purpose` it says nothing of what it is for, which C2PA refuses."""
    builder = _builder("Owner", public, ca=False).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(_CA_KEY.public_key()), critical=False
    )
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(_CA_KEY, hashes.SHA256())


@dataclass(frozen=True)
class Owner:
    """Whoever signs manifests: a credential and the same as files."""

    credential: Credential
    chain: Path
    key: Path
    anchors: Path


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates in PEM."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def owner(folder: Path, algorithm: str = "Es256") -> Owner:
    """A new key, certified, with its files in `folder`."""
    match algorithm:
        case "Es256":
            secret: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey = (
                ec.generate_private_key(ec.SECP256R1())
            )
        case "Ed25519":
            secret = ed25519.Ed25519PrivateKey.generate()
        case _:
            secret = rsa.generate_private_key(65537, 2048)
    chain = (leaf(secret.public_key()), CA)
    made = Owner(
        Credential.of_secret(chain, secret), folder / "chain.pem", folder / "owner.pem", folder / "anchors.pem"
    )
    made.chain.write_bytes(pem(*chain))
    made.anchors.write_bytes(pem(CA))
    plain = serialization.NoEncryption()
    made.key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    made.key.chmod(0o600)
    return made


PICTURES = {"png": png(), "jpg": jpeg()}
MEDIA = {"png": "image/png", "jpg": "image/jpeg"}


def held(desk: Case) -> evidence.Evidence:
    """The evidence beside the picture."""
    return evidence.from_bytes(desk.evidence.read_bytes())


def signed(desk: Case, me: Owner, *, sidecar: bool = False) -> Path:
    """The picture, or the side-car, that `c2pa sign` makes."""
    out = desk.image.with_name("out.c2pa" if sidecar else f"out{desk.image.suffix}")
    sign(desk.image, out, held(desk), me.credential, now_ns=int(desk.at), sidecar=sidecar)
    return out


def checked(desk: Case, path: Path, me: Owner | None = None, manifest: bytes | None = None) -> Checked:
    """Both judgements, as of the case's time; C2PA trusts `me`."""
    return check(
        path,
        manifest=manifest,
        anchors=None if me is None else me.anchors.read_bytes(),
        trust=trust.parse(desk.trust.read_bytes()),
        at=int(desk.at),
    )


def foreign(desk: Case, *assertions: dict[str, Any], me: Owner, remote: str | None = None) -> bytes:
    """The picture with a manifest that c2pa-python made without us."""
    made = io.BytesIO()
    info = c2pa.C2paSignerInfo("es256", me.chain.read_bytes(), me.key.read_bytes(), None)
    definition = {"claim_generator_info": [{"name": "other"}], "assertions": list(assertions)}
    with (
        c2pa.Context.from_dict(SETTINGS) as context,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(definition, context=context) as builder,
    ):
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        if remote is not None:
            builder.set_remote_url(remote)
            builder.set_no_embed()
        builder.sign(signer, MEDIA[desk.image.suffix[1:]], io.BytesIO(desk.image.read_bytes()), made)
    return made.getvalue()


def assertion(desk: Case, **changed: object) -> dict[str, Any]:
    """Our assertion for c2pa-python's builder, with changed members."""
    return {"label": LABEL, "data": {**Proof.of(held(desk)).data(), **changed}, "kind": "Json", "created": True}
