"""`platemark verify`: the verdict on one image, offline."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from platemark import evidence as bundle
from platemark import files, report, statement
from platemark.cli import media, output
from platemark.cli.connect import load_trust
from platemark.cli.mcap_described import is_proof
from platemark.cli.options import AsJson, At, Trust
from platemark.cli.vault_show import handed_over
from platemark.errors import EvidenceError, PlatemarkError
from platemark.verdict import DOES_NOT_MATCH
from platemark.verify import verify as judge

__all__ = ["read_bundle", "verify"]


def verify(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="The image in question; or a folder, a ZIP or a DICOMDIR of images.")
    ],
    *,
    evidence: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: IMAGE.evidence. For several images: a folder or ZIP of evidence."),
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Evidence of a later statement about the capture: attestation, custody. Repeat."
        ),
    ] = None,
    disclosure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Attributes handed over beside the evidence: a release, or a disclosure."),
    ] = None,
    trust: Trust = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Check an image against its evidence, believing only the trust file. Opens no connection.

    Every check is PASS, FAIL or NOT CHECKED with its reason. Without a trust file, or without the decoder that the image
    needs, the result is INCONCLUSIVE and says what to do. The same input gives the same JSON, byte for byte, with --at.

    A folder, a ZIP file or the DICOMDIR of a patient CD is verified as a set: images find their evidence by digest, a
    table has a line for each, and images that are missing or without evidence are named. Only what the evidence handed
    over names can be missed.

    Exit codes:
      0  MATCHES RECORD    the image is the one that a known device registered
      1  DOES NOT MATCH    the evidence is sound, the image is another one (a lossy copy is, too)
      2  usage or unreadable input
      3  INCONCLUSIVE      nothing failed, and a required check could not be made
      4  EVIDENCE INVALID  a signature, proof or key failed

    Exit codes for a set, the first that applies:
      4  EVIDENCE INVALID  of any image, or by itself
      1  DIFFERS           an image does not match, is missing or has no evidence
      3  INCONCLUSIVE      an image, evidence or a DICOMDIR could not be judged
      0  ALL MATCH

    Examples:
      platemark verify scan.dcm --evidence scan.dcm.evidence --trust trust.toml
      platemark verify scan.dcm --trust trust.toml --also scan.dcm.attest.evidence
      platemark verify patient-cd/ --evidence evidence/ --trust trust.toml
    """
    from platemark.capture import measure
    from platemark.cli import study

    trusted = load_trust(trust)
    if study.is_set(image):
        if disclosure is not None or also:
            raise typer.BadParameter("--disclosure and --also are about one capture: verify its image alone")
        found = study.verify_set(
            image, evidence, trusted=trusted, at=time.time_ns() if at is None else at, whole=as_json
        )
        study.say(found, as_json=as_json)
        raise typer.Exit(found.exit_code)
    path = evidence or media.beside(image).evidence
    held = read_bundle(path)
    later = [(str(each), read_bundle(each)) for each in also or []]
    beside = None if disclosure is None else handed_over(disclosure, held)
    measured = measure(image, tolerant=True)
    moment = time.time_ns() if at is None else at
    verdict = judge(held, trust=trusted, image=measured, at=moment, disclosure=beside)
    if later:
        from platemark.references import refer

        record = statement.decode(held.record.statement).id
        verdict = replace(verdict, references=refer(record, later, trust=trusted, at=moment))
    output.say(report.to_json(verdict) if as_json else report.to_text(verdict).rstrip("\n"))
    if verdict.result == DOES_NOT_MATCH and _carries_manifest(image):
        output.note(
            "The file carries a C2PA manifest, which may be all that is new: platemark c2pa verify judges it without."
        )
    raise typer.Exit(verdict.exit_code)


def _carries_manifest(image: Path) -> bool:
    """Whether it is a PNG or JPEG with a manifest store, which a picture that is handed out may have got after its record."""
    from platemark.c2pa.picture import open_picture

    try:
        return open_picture(image).store is not None
    except PlatemarkError:
        return False


def read_bundle(path: Path) -> bundle.Evidence:
    """The evidence in a file. Raises FileError, EvidenceError naming the file."""
    data = files.read(path, limit=bundle.MAX_BUNDLE)
    if is_proof(data):
        raise EvidenceError(f"{path}: bundle", "the proof of a recording, or of a frame of one: platemark mcap verify")
    try:
        return bundle.from_bytes(data)
    except EvidenceError as error:
        raise EvidenceError(f"{path}: {error.field}", error.reason) from None
