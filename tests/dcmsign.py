"""dcmtk's dcmsign and openssl, run for real, with keys of their own."""

import datetime as dt
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

__all__ = ["KINDS", "MACS", "OPERATIONS", "KeyFiles", "environment", "key_files", "openssl_authority", "run", "sign"]

KINDS = ("rsa2048", "p256", "rsa3072", "p384", "p521")
MACS = {"SHA256": "+m2", "SHA384": "+m3", "SHA512": "+m5"}
OPERATIONS: dict[str, tuple[str, ...] | None] = {
    "as it is": None,
    "explicit": ("dcmconv", "+te"),
    "implicit": ("dcmconv", "+ti", "-e"),
    "big endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "run lengths": ("dcmcrle",),
}
"""The encodings that dcmsign signs, and what makes them."""
_TSA = """
[req]
distinguished_name = dn
[dn]
[ext]
basicConstraints = critical,CA:true
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = here
[here]
serial = {0}/serial
crypto_device = builtin
signer_cert = {0}/tsa.crt
signer_key = {0}/tsa.key
certs = {0}/tsa.crt
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.2
digests = sha256,sha384,sha512
signer_digest = sha256
ess_cert_id_alg = sha256
"""
_CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}


@dataclass(frozen=True)
class KeyFiles:
    """A private key and its self-signed certificate, as PEM files."""

    key: Path
    certificate: Path


def environment() -> dict[str, str]:
    """With these dcmtk knows the standard's tags and no private ones: what an implicit file then means is the same everywhere."""
    dictionaries = [str(path) for path in Path("/usr/share").glob("libdcmtk*/dicom.dic")]
    return {**os.environ, **({"DCMDICTPATH": dictionaries[0]} if dictionaries else {})}


def run(*command: str | Path, private: bool = False) -> subprocess.CompletedProcess[str]:
    """One program to its end; it has a minute. With `private` dcmtk uses its dictionary of private elements, too."""
    known = dict(os.environ) if private else environment()
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=known)


def sign(source: Path, out: Path, keys: KeyFiles, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run dcmsign +s: `out` is the signed copy of `source`."""
    return run("dcmsign", "+s", keys.key, keys.certificate, *options, source, out)


@cache
def _private_key(kind: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(_CURVES[kind])


def key_files(directory: Path, kind: str, *, name: str = "", years: int = 20) -> KeyFiles:
    """A key of `kind`, the same in every call of one run, and a certificate for `name`, valid from 2020."""
    private = _private_key(kind)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name or f"Scanner {kind}")])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin.replace(year=2020 + years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    files = KeyFiles(directory / f"{kind}-{name}.key", directory / f"{kind}-{name}.crt")
    files.key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return files


def openssl_authority(directory: Path) -> tuple[Path, Path]:
    """The configuration of a time-stamping authority for `openssl ts -reply`, and its certificate."""
    configuration, certificate = directory / "tsa.cnf", directory / "tsa.crt"
    configuration.write_text(_TSA.format(directory), encoding="ascii")
    (directory / "serial").write_text("01\n", encoding="ascii")
    made = run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=TSA"),
        *("-keyout", directory / "tsa.key", "-out", certificate, "-config", configuration, "-extensions", "ext"),
    )
    assert made.returncode == 0, made.stderr
    return configuration, certificate
