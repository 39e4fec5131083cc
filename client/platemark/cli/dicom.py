"""`platemark dicom`: digital signatures within DICOM objects (PS3.15 annex C)."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from platemark import files
from platemark.cli import output
from platemark.cli.connect import MissingExtraError
from platemark.cli.options import AsJson, At, PassphraseFile
from platemark.cli.passphrases import given_passphrase
from platemark.errors import DicomSignatureError, FormatError

if TYPE_CHECKING:
    from platemark.dicom_signature import Checked

__all__ = ["COMMANDS", "HELP", "sign", "verify"]

HELP = (
    "Digital signatures within DICOM objects, as PS3.15 defines them: other DICOM tools can check them, and they end "
    "where the object is transcoded or de-identified.\n\n"
    "They are not statements: no ledger knows of them. `platemark capture` registers an object without touching it."
)
_MAX_PEM = 1 << 20
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_Certificates = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Certificates (PEM) that a signer's chain may end in. Repeat."),
]


def sign(
    image: Annotated[Path, typer.Argument(metavar="FILE", help="The DICOM object.")],
    *,
    key: Annotated[
        Path, typer.Option(metavar="KEY", help="Private key (PEM): RSA of 2048 bits or more, P-256, P-384, P-521.")
    ],
    certificate: Annotated[
        Path, typer.Option(metavar="CERT", help="Its X.509 certificate (PEM), put into the object.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the signed object goes.")],
    profile: Annotated[
        Literal["none", "base", "creator"],
        typer.Option(help="What PS3.15 calls Base or Creator RSA, or none (the one choice for ECDSA)."),
    ] = "none",
    mac: Annotated[Literal["sha256", "sha384", "sha512"], typer.Option(help="The hash of the MAC.")] = "sha256",
    tags: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Cover these elements alone: 0010,0010 and so on, with spaces between."),
    ] = None,
    tsa: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Have this RFC 3161 authority certify when. Needs platemark[audit]."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite what is at --out, also if it is FILE itself.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a digital signature into a copy of a DICOM object, and change no other byte of its data set.

    It covers every element that can be signed, or those of --tags. Signatures that are there already go on holding.
    A profile that the signature would not meet is refused, with what is missing.

    Examples:
      platemark dicom sign scan.dcm --key scanner.pem --certificate scanner.crt --profile creator --out signed.dcm
      platemark dicom sign scan.dcm --key me.pem --certificate me.crt --tags "0008,0018 7fe0,0010" --out signed.dcm
    """
    from platemark.cli import dicom_text
    from platemark.dicom_signature import Credential, Profile
    from platemark.dicom_signature import sign as sign_object
    from platemark.dicom_signature.credentials import read_certificates, read_key

    if out.exists() and not force:
        raise DicomSignatureError(f"{out}: exists already (--force overwrites it)")
    stamp = None if tsa is None else _authority(tsa)
    chain = read_certificates(files.read(certificate, limit=_MAX_PEM), str(certificate))
    credential = Credential(read_key(key, _passphrase(key, passphrase_file)), chain[0])
    signed = sign_object(
        image,
        out,
        credential,
        now_ns=time.time_ns(),
        profile=Profile(profile),
        mac=mac.upper(),
        tags=None if tags is None else _tags(tags),
        stamp=stamp,
        replace=force,
    )
    if as_json:
        output.say_json(
            {
                "file": str(out),
                "signature": signed.uid,
                "profile": profile,
                "covered": [dicom_text.tag_text(tag) for tag in signed.covered],
                "unknown": [dicom_text.tag_text(tag) for tag in signed.unknown],
            }
        )
        return
    output.say(f"{output.printable(out)}: signature {signed.uid} covers {len(signed.covered)} elements")
    if signed.unknown:
        output.note(f"platemark: not covered, since their VR is not known: {dicom_text.tag_list(signed.unknown)}")


def verify(
    image: Annotated[Path, typer.Argument(metavar="FILE", help="The DICOM object.")],
    *,
    ca: _Certificates = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Certificates (PEM) between, which are believed for nothing. Repeat."),
    ] = None,
    tsa_ca: Annotated[
        list[Path] | None,
        typer.Option("--tsa-ca", metavar="FILE", help="Certificates (PEM) of time-stamping authorities. Repeat."),
    ] = None,
    weak: Annotated[
        bool, typer.Option("--weak", help="Take MD5, SHA-1, RIPEMD-160 and small keys for good: who knows since when.")
    ] = False,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Check every digital signature of a DICOM object. Opens no connection, and believes only who you name.

    It says whose each signature is, when it was made, which elements it covers and which it does not: those can be
    changed without it failing. Padding of text and what PS3.15 never signs are not covered by any.

    Exit codes:
      0  every signature holds and is by a certificate that --ca leads to
      1  a signature fails: what it covers is not what was signed, or its time stamp is of something else
      2  usage or unreadable input
      3  undecided: no signature, an unknown certificate, a broken hash, an object that was transcoded since

    Example:
      platemark dicom verify signed.dcm --ca hospital-ca.pem --tsa-ca tsa.pem
    """
    from platemark.cli import dicom_text
    from platemark.dicom_signature import Roots
    from platemark.dicom_signature import check as check_signatures

    roots = Roots(authorities=_ders(ca), between=_ders(chain), time=_ders(tsa_ca))
    results = check_signatures(image, roots=roots, now_ns=time.time_ns() if at is None else at, weak=weak)
    code = _exit_code(results)
    if as_json:
        output.say_json({"exit_code": code, "signatures": [dicom_text.as_json(each) for each in results]})
    else:
        output.say("\n\n".join(map(dicom_text.as_text, results)) or "no digital signature is in this object")
    raise typer.Exit(code)


COMMANDS: dict[str, Callable[..., None]] = {"sign": sign, "verify": verify}


def _exit_code(results: Sequence[Checked]) -> int:
    codes = {each.exit_code for each in results} or {3}
    return 1 if 1 in codes else max(codes)


def _authority(url: str) -> Callable[[bytes], bytes]:
    try:
        from platemark.dicom_signature.stamping import authority
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "platemark":
            raise
        raise MissingExtraError('--tsa talks to an authority over HTTP: pip install "platemark[audit]"') from None
    return authority(url, clock=time.time_ns)


def _passphrase(key: Path, file: Path | None) -> bytes | None:
    """What was given; else what a person types, if the key needs one and a terminal is there."""
    given = given_passphrase(file)
    if (
        given is None
        and sys.stdin is not None
        and sys.stdin.isatty()
        and b"ENCRYPTED" in files.read(key, limit=_MAX_PEM)
    ):
        answer: str = typer.prompt(f"Passphrase of {key}", hide_input=True, err=True)
        return answer.encode()
    return given


def _tags(text: str) -> list[int]:
    found = []
    for word in text.split():
        match = _TAG.fullmatch(word)
        if match is None:
            raise typer.BadParameter(f"{word!r} is not a tag such as 0010,0010")
        found.append(int(match[1] + match[2], 16))
    if not found:
        raise typer.BadParameter("--tags names no element")
    return found


def _ders(paths: Sequence[Path] | None) -> tuple[bytes, ...]:
    from cryptography.hazmat.primitives.serialization import Encoding

    from platemark.dicom_signature.credentials import read_certificates

    found = []
    for path in paths or []:
        try:
            found += read_certificates(files.read(path, limit=_MAX_PEM), str(path))
        except FormatError as error:
            raise DicomSignatureError(f"{path}: {error}") from None
    return tuple(each.public_bytes(Encoding.DER) for each in found)
