"""`platemark c2pa`: our proof in the C2PA manifest (Content Credentials) of a PNG or JPEG file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import files, report
from platemark.cli import output
from platemark.cli.connect import load_trust, require_packages
from platemark.cli.options import AsJson, At, PassphraseFile, Trust
from platemark.errors import ContentCredentialsError

if TYPE_CHECKING:
    from cryptography import x509

    from platemark.c2pa import Checked, Credential, Reading
    from platemark.evidence import Evidence

__all__ = ["COMMANDS", "HELP", "sign", "verify"]

HELP = (
    "Content Credentials (C2PA) of PNG and JPEG files that carry the proof of a capture, so that a picture and its "
    "evidence travel as one file and C2PA's own tools show who put them together.\n\n"
    "C2PA does not reach DICOM objects and MCAP recordings: their evidence lies beside them (platemark verify), or within "
    "(platemark dicom, platemark mcap)."
)
_MAX_PEM = 1 << 20
_STATES = {
    "Trusted": "the manifest holds, and its signer leads to a certificate of --anchors",
    "Valid": "the manifest holds; nobody vouches for its signer (--anchors)",
    "Invalid": "the manifest does not hold for this file",
}


def sign(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The PNG or JPEG file that was captured.")],
    *,
    evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its evidence, as fetched. Default: IMAGE.evidence.")
    ] = None,
    certificate: Annotated[
        Path, typer.Option(metavar="CHAIN", help="Certificates (PEM), the signer's first, its issuers' after it.")
    ],
    key: Annotated[
        Path,
        typer.Option(
            metavar="KEY", help="Its private key (PEM): P-256, Ed25519 or RSA; or a file with a PKCS#11 URI of a token."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: scan.c2pa.png for scan.png; scan.c2pa with --sidecar."),
    ] = None,
    sidecar: Annotated[
        bool,
        typer.Option("--sidecar", help="Write the manifest alone, to lie beside the picture, which stays as it is."),
    ] = False,
    tsa: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Have this RFC 3161 authority say when. Without it no connection is opened."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is at --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a capture's evidence into a C2PA manifest of the picture, signed with your own certificate.

    Embedding changes the file. `platemark c2pa verify` takes the manifest out again, byte for byte, and judges what is
    left; this command makes sure that it can. What the evidence discloses of the capture can be read by everybody who
    gets the picture.

    The evidence comes from `platemark fetch IMAGE`. The signer's certificate is X.509 v3, not self-signed, with the key
    usage digitalSignature and the extended key usage emailProtection; deploy/PICTURES.md makes one with openssl.

    Examples:
      platemark c2pa sign frame.png --certificate chain.pem --key owner.pem
      platemark c2pa sign photo.jpg --evidence photo.jpg.evidence --certificate chain.pem --key owner.pem --sidecar
    """
    from platemark.c2pa import sign as sign_picture
    from platemark.c2pa.picture import open_picture
    from platemark.cli.verify import read_bundle

    open_picture(image)  # what C2PA does not reach is told so before keys are asked for
    require_packages("c2pa", "c2pa")
    held = read_bundle(evidence or image.with_name(image.name + ".evidence"))
    credential = _credential(certificate, key, passphrase_file)
    target = out or (image.with_suffix(".c2pa") if sidecar else image.with_name(f"{image.stem}.c2pa{image.suffix}"))
    signed = sign_picture(
        image,
        target,
        held,
        credential,
        now_ns=time.time_ns(),
        sidecar=sidecar,
        tsa=tsa,
        replace=force,
    )
    if as_json:
        facts = {name: getattr(signed.proof, name) for name in ("log", "log_id", "index", "statement_id")}
        output.say_json(
            {
                "file": str(signed.path),
                "embedded": signed.embedded,
                "manifest_bytes": signed.manifest_size,
                "rung": signed.rung,
                "disclosed": _disclosed(held),
                **facts,
            }
        )
        return
    what = "the picture with its manifest" if signed.embedded else "the manifest"
    output.say(f"{output.printable(signed.path)}: {what}, {signed.manifest_size} bytes; verifies on rung {signed.rung}")
    if signed.rung != signed.recorded_rung:
        output.note(
            f"platemark: the picture was the recorded one on rung {signed.recorded_rung}; embedding changed more of the "
            f"file than the manifest alone, so that {signed.rung} is what is left (--sidecar changes nothing)"
        )
    if names := _disclosed(held):
        output.note(f"platemark: everybody who gets the manifest can read {', '.join(names)}")


def verify(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The PNG or JPEG file.")],
    *,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A side-car. Default: the manifest in IMAGE, else scan.c2pa beside scan.png."
        ),
    ] = None,
    trust: Trust = None,
    anchors: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Certificates (PEM) that C2PA may trust. They mean nothing to our verdict."),
    ] = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Check a picture with a C2PA manifest: what C2PA's reader says of it, and our verdict on the proof inside.

    The two are separate. C2PA says whether the manifest holds for the file and who signed it; the verdict says whether the
    picture, without the manifest, is the one that a device registered, and rests on the trust file alone. The exit code is
    the verdict's. It does not need C2PA's library; what C2PA says does: pip install "platemark[c2pa]". Opens no connection.

    Exit codes:
      0  MATCHES RECORD    the picture is the one that a known device registered
      1  DOES NOT MATCH    the evidence is sound, the picture is another one
      2  usage or unreadable input: no manifest, or a proof in it that cannot be read
      3  INCONCLUSIVE      a required check could not be made, or the manifest carries no proof
      4  EVIDENCE INVALID  a signature, proof or key of the evidence failed

    Examples:
      platemark c2pa verify frame.c2pa.png --trust trust.toml --anchors owner-ca.pem
      platemark c2pa verify photo.jpg --manifest photo.c2pa --trust trust.toml
    """
    from platemark.c2pa import check
    from platemark.c2pa.jumbf import MAX_STORE

    checked = check(
        image,
        manifest=_sidecar(image, manifest, limit=MAX_STORE),
        anchors=None if anchors is None else _anchors(anchors),
        trust=load_trust(trust),
        at=time.time_ns() if at is None else at,
    )
    if as_json:
        verdict = None if checked.verdict is None else json.loads(report.to_json(checked.verdict))
        output.say_json(
            {
                "exit_code": checked.exit_code,
                "c2pa": checked.c2pa.as_json(),
                "platemark": verdict,
                "reason": checked.fault,
                "without_manifest": checked.cut,
            }
        )
    else:
        output.say(_text(checked))
    raise typer.Exit(checked.exit_code)


COMMANDS: dict[str, Callable[..., None]] = {"sign": sign, "verify": verify}


def _text(checked: Checked) -> str:
    lines = ["C2PA, by its own reader:", *_reading(checked.c2pa), ""]
    what = "the file without its manifest" if checked.cut else "the file as it is; the manifest is a side-car"
    lines.append(f"Platemark, by the proof in the manifest ({what}):")
    if checked.verdict is None:
        word = "no proof" if checked.exit_code == 3 else "the proof cannot be read"
        return "\n".join([*lines, f"  {word}: {output.printable(checked.fault)}"])
    return "\n".join([*lines, *report.to_text(checked.verdict).rstrip("\n").splitlines()])


def _reading(reading: Reading) -> list[str]:
    if reading.state is None:
        return [f"  no answer: {output.printable(reading.reason)}"]
    who = ", ".join(f"{name} {value}" for name, value in reading.signer.items()) or "nobody named"
    rows = [
        ("state", f"{reading.state}: {_STATES[reading.state]}"),
        ("signed by", who),
        ("made with", reading.generator or "not said"),
        ("manifest", f"{reading.manifest}, of {reading.manifests}"),
        ("failures", ", ".join(reading.failures) or "none"),
        ("reader", f"c2pa {reading.sdk}"),
    ]
    return [f"  {name:<10} {output.printable(value)}" for name, value in rows]


def _sidecar(image: Path, manifest: Path | None, *, limit: int) -> bytes | None:
    """The side-car that was named, or that lies beside a picture without a manifest of its own."""
    from platemark.c2pa.picture import open_picture

    if manifest is None:
        beside = image.with_suffix(".c2pa")
        if open_picture(image).store is not None or not beside.exists():
            return None
        manifest = beside
    return files.read(manifest, limit=limit)


def _anchors(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(each.public_bytes(Encoding.PEM) for each in _certificates(path))


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, one or more. Raises ContentCredentialsError."""
    from cryptography import x509

    try:
        return tuple(x509.load_pem_x509_certificates(files.read(path, limit=_MAX_PEM)))
    except ValueError:
        raise ContentCredentialsError(f"{path}: holds no certificate in PEM") from None


def _credential(certificate: Path, key: Path, passphrase_file: Path | None) -> Credential:
    """The owner's chain and key. Raises KeyFileError, ContentCredentialsError."""
    from platemark.c2pa import Credential
    from platemark.cli.passphrases import given_passphrase, open_key, token_uri, warn_of_readers
    from platemark.key_files import read_secret

    chain = _certificates(certificate)
    if token_uri(key) is not None:
        return Credential.of_signer(chain, open_key(key, passphrase_file))
    secret = read_secret(key, given_passphrase(passphrase_file))
    warn_of_readers(key)
    return Credential.of_secret(chain, secret)


def _disclosed(held: Evidence) -> list[str]:
    from platemark.attributes import decode_disclosure

    if held.disclosure is None:
        return []
    shown = decode_disclosure(held.disclosure)
    return sorted({*shown.values, *(each.name for each in shown.openings)})
