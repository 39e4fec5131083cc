"""Putting our proof into a picture's C2PA manifest, signed with the owner's certificate and key, without a network.

The key signs here and never enters the native library: a key in a token works as one in a file does. What was made is
read again before it is handed out: the store that our own reader finds is the one that was signed, and the picture without
it still matches the record.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from platemark import __version__, files
from platemark.c2pa.assertion import LABEL, Proof
from platemark.c2pa.picture import Picture, open_picture, store_bytes, without_store
from platemark.capture import measure
from platemark.comparison import check_image
from platemark.errors import ContentCredentialsError, KeyFileError, PlatemarkError
from platemark.keys import EDDSA, ES256, Signer
from platemark.statement import decode
from platemark.verdict import PASS
from platemark.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from platemark.evidence import Evidence

__all__ = ["MAX_PICTURE", "Credential", "Signed", "sign"]

MAX_PICTURE = 512 << 20
_EVIDENCE_INVALID = 4
_INSTEAD = "hand over the evidence beside the picture (platemark verify)"
_OCCUPIED = "carries a C2PA manifest already, which a side-car cannot stand beside; embed the new one instead"
_REWRITTEN = f"c2pa-python writes a picture like this anew, so that a side-car would not be of this file; {_INSTEAD}"
_LOST = (
    "with a manifest embedded the picture could not be told from another one, because embedding changes more than it adds "
    "(a manifest that is there already, unusual JPEG markers) and no recorded rung but `file` is there; "
    f"try --sidecar, or {_INSTEAD}"
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain, the signer's first, and what signs under it: `alg` is C2PA's name of the algorithm."""

    chain: tuple[x509.Certificate, ...]
    alg: str
    raw: Callable[[bytes], bytes]

    @classmethod
    def of_secret(cls, chain: tuple[x509.Certificate, ...], secret: object) -> Credential:
        """For a key in memory: P-256 (ES256), Ed25519, RSA of 2048 bits or more (PS256). Raises KeyFileError."""
        match secret:
            case ec.EllipticCurvePrivateKey() if isinstance(secret.curve, ec.SECP256R1):
                alg, raw = "Es256", _ecdsa(secret)
            case ed25519.Ed25519PrivateKey():
                alg, raw = "Ed25519", secret.sign
            case rsa.RSAPrivateKey() if secret.key_size >= 2048:
                alg, raw = "Ps256", _pss(secret)
            case _:
                raise KeyFileError("C2PA manifests are signed with P-256, Ed25519 or RSA (2048 bits or more) keys here")
        _require_pair(chain, secret.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return cls(chain, alg, raw)

    @classmethod
    def of_signer(cls, chain: tuple[x509.Certificate, ...], signer: Signer) -> Credential:
        """For a key in a token: P-256 or Ed25519. Raises KeyFileError."""
        names = {ES256: "Es256", EDDSA: "Ed25519"}
        if signer.alg not in names:
            raise KeyFileError("C2PA manifests are signed with P-256, Ed25519 or RSA (2048 bits or more) keys here")
        _require_pair(chain, signer.spki)
        return cls(chain, names[signer.alg], signer.sign)


@dataclass(frozen=True, slots=True)
class Signed:
    """What was made. `rung` is the strongest one on which the picture, without its manifest, is the recorded one.

    `recorded_rung` is that of the picture before.
    """

    path: Path
    proof: Proof
    embedded: bool
    rung: str
    recorded_rung: str
    manifest_size: int


def sign(
    path: Path,
    out: Path,
    held: Evidence,
    credential: Credential,
    *,
    now_ns: int,
    sidecar: bool = False,
    tsa: str | None = None,
    replace: bool = False,
) -> Signed:
    """Write `out`: the picture with a manifest that carries `held`, or with `sidecar` the manifest alone.

    `tsa` is the URL of an RFC 3161 authority, which is asked for a time stamp; None opens no connection. Raises
    ContentCredentialsError: another picture than the evidence is of, evidence that fails a check, what the certificate does
    not allow, a picture that could not be told from another one afterwards; ManifestError, CaptureError, FileError,
    KeyFileError.
    """
    if not replace and out.exists():
        raise files.FileError(f"{out}: exists already (--force overwrites it)")
    picture = open_picture(path)
    proof = Proof.of(held)
    data = proof.data()
    before = _matching(path, held, now_ns=now_ns)
    original = files.read(path, limit=MAX_PICTURE)
    made, store = _build(picture.media, original, data, credential, sidecar=sidecar, tsa=tsa)
    if sidecar:
        if made != original:
            raise ContentCredentialsError(f"{path}: {_REWRITTEN if picture.store is None else _OCCUPIED}")
        _put(out, store, replace=replace)
        return Signed(out, proof, embedded=False, rung=before, recorded_rung=before, manifest_size=len(store))
    rung = _after(path, made, store, proof)
    _put(out, made, replace=replace)
    return Signed(out, proof, embedded=True, rung=rung, recorded_rung=before, manifest_size=len(store))


def _matching(path: Path, held: Evidence, *, now_ns: int) -> str:
    """The rung on which the picture is the recorded one; no manifest is made for another picture, or for bad evidence."""
    measured = measure(path)
    verdict = verify(held, trust=None, image=measured, at=now_ns)
    if verdict.exit_code == _EVIDENCE_INVALID:
        raise ContentCredentialsError(f"{path}: the evidence fails a check: {verdict.reason}")
    found = check_image(decode(held.record.statement), measured)
    if found.check.status != PASS or found.rung is None:
        raise ContentCredentialsError(
            f"{path}: the evidence does not show that it is of this picture: {found.check.reason}"
        )
    return found.rung


def _after(path: Path, made: bytes, store: bytes, proof: Proof) -> str:
    """The rung on which the signed picture, with the store cut out again, is the recorded one."""
    with tempfile.TemporaryDirectory(prefix="platemark-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(made)
        picture: Picture = open_picture(copy)
        if picture.store is None or store_bytes(picture) != store:
            raise ContentCredentialsError(f"{path}: the manifest that was embedded is not found in the picture again")
        with without_store(picture) as bare:
            found = check_image(decode(proof.evidence.record.statement), measure(bare))
    if found.check.status != PASS or found.rung is None:
        raise ContentCredentialsError(f"{path}: {_LOST}")
    return found.rung


def _build(
    media: str, original: bytes, data: dict[str, object], credential: Credential, *, sidecar: bool, tsa: str | None
) -> tuple[bytes, bytes]:
    """The picture that c2pa-python writes, and the manifest store."""
    try:
        import c2pa
    except ModuleNotFoundError:
        raise ContentCredentialsError('C2PA manifests need their own library: pip install "platemark[c2pa]"') from None
    from platemark.c2pa._reader import SETTINGS

    definition = {
        "claim_generator_info": [{"name": "Platemark", "version": __version__}],
        "assertions": [{"label": LABEL, "data": data, "kind": "Json", "created": True}],
    }
    failed: list[PlatemarkError] = []

    def signature(message: bytes) -> bytes:
        try:
            return credential.raw(message)
        except PlatemarkError as error:
            failed.append(error)  # the library would say only that signing failed
            return b""

    chain = "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in credential.chain)
    algorithm = getattr(c2pa.C2paSigningAlg, credential.alg.upper())
    made = io.BytesIO()
    try:
        with (
            c2pa.Context.from_dict(SETTINGS) as context,
            c2pa.Signer.from_callback(signature, algorithm, chain, tsa) as signer,
            c2pa.Builder(definition, context=context) as builder,
        ):
            # The picture is what was opened, not something made here: the action c2pa.opened, and its manifest kept inside.
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            if sidecar:
                builder.set_no_embed()
            store: Any = builder.sign(signer, media, io.BytesIO(original), made)
    except c2pa.C2paError as error:
        if failed:
            raise failed[0] from None
        raise ContentCredentialsError(f"c2pa-python refuses to sign: {' '.join(str(error).split())[:300]}") from None
    return made.getvalue(), bytes(store)


def _put(out: Path, data: bytes, *, replace: bool) -> None:
    (files.replace if replace else files.create)(out, data)


def _require_pair(chain: tuple[x509.Certificate, ...], spki: bytes) -> None:
    if not chain:
        raise KeyFileError("there is no certificate")
    named = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if named != spki:
        raise KeyFileError("the first certificate of the chain is not the key's")


def _ecdsa(secret: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    def raw(message: bytes) -> bytes:
        r, s = decode_dss_signature(secret.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return raw


def _pss(secret: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
    return lambda message: secret.sign(message, scheme, hashes.SHA256())
