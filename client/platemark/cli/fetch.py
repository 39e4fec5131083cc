"""`platemark lookup` and `platemark fetch`: what a ledger has about an image, and its evidence to keep."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from platemark import attributes, files, statement
from platemark.attributes import REGISTRY
from platemark.cli import media, output
from platemark.cli.capturing import load_statement
from platemark.cli.connect import Connection, load_trust
from platemark.cli.frames import Frame, with_frames
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    DisclosureFile,
    Force,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
)
from platemark.errors import AttributeTreeError, EvidenceError, PlatemarkError
from platemark.evidence import from_bytes
from platemark.files import FileError
from platemark.report import format_time
from platemark.rungs import HEADER_BINDING, RUNGS, SHA256, strongest_match
from platemark.verdict import EVIDENCE_INVALID, FAIL

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.rpc.model import LoggedStatement
    from platemark.rpc.sync import LedgerClient
    from platemark.rungs import Digests, Measurement
    from platemark.statement import Statement
    from platemark.verdict import Verdict

__all__ = ["fetch", "lookup"]

_MAX_DISCLOSURE = 512 * 1024
# One image is in a ledger a few times at most; more is somebody's attempt to bury the first.
_MOST = 256

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A DICOM, PNG, JPEG or TIFF file.")]


@dataclass(frozen=True)
class Found:
    """A record of the ledger that carries a digest of the image; `rung` is the strongest that it carries."""

    rung: str
    logged: LoggedStatement
    decoded: statement.Statement

    def facts(self) -> dict[str, object]:
        """For --json."""
        return {
            "index": self.logged.index,
            "id": self.logged.id,
            "kind": self.decoded.kind,
            "rung": self.rung,
            "device": self.decoded.issuer,
            "stated_time": self.decoded.time,
            "received": self.logged.received,
            "origin": self.decoded.payload.get("origin"),
            "conditions": [each.code for each in self.logged.conditions],
        }


def lookup(
    image: Image,
    *,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """List what a ledger has about an image, earliest first. Exit code 1 when it has nothing.

    Nothing here is a verdict: `platemark fetch` and `platemark verify` check.

    Example:
      platemark lookup scan.dcm --server 127.0.0.1:50151
    """
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
    )
    measured = _measure(image)
    with connection.open() as client:
        found = _lookup(client, measured)
    if as_json:
        output.say_json({"image": str(image), "records": [each.facts() for each in found]})
    elif found:
        _show(found)
    else:
        output.say("no record of this image")
    if not found:
        raise typer.Exit(1)


def fetch(
    image: Image,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: IMAGE.evidence.")] = None,
    index: Annotated[
        int | None, typer.Option(min=0, help="Which record, by leaf. Default: IMAGE.statement's, else the earliest.")
    ] = None,
    disclose: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Open these attributes in the evidence, for whoever reads it.")
    ] = None,
    disclose_header: Annotated[
        bool,
        typer.Option(
            "--disclose-header", help="Open patient, study, laterality, orientation: clears a re-encoded copy."
        ),
    ] = False,
    disclose_all: Annotated[
        bool, typer.Option("--disclose-all", help="Open every attribute, and show that there are no others.")
    ] = False,
    disclosure: DisclosureFile = None,
    frame: Frame = None,
    force: Force = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the evidence of an image: one file that verifies offline, for ever. It is checked before it is written.

    Exit code 1 when the record is not one of this image: the evidence is written, and does not match.

    Attributes (patient, device, times) stay closed unless you open them here, one by one.

    Examples:
      platemark fetch scan.dcm
      platemark fetch scan.dcm --disclose technologist,acquisition_datetime --out for-court.evidence
      platemark fetch scan.dcm --disclose-header
      platemark fetch cine.dcm --frame 3 --disclose-header
    """
    trusted = load_trust(trust)
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=trusted,
    )
    own = media.beside(image)
    target = out or own.evidence
    if target.exists() and not force:
        raise FileError(f"{target}: exists already; --force replaces it")
    measured = _measure(image)
    with connection.open() as client:
        chosen, found = _choose(client, own, measured, index)
        evidence = (
            client.evidence(index=chosen).content if isinstance(chosen, int) else client.evidence(id=chosen).content
        )
    opened = _disclosure(
        disclosure or own.disclosure, evidence, disclose=disclose, header=disclose_header, everything=disclose_all
    )
    evidence = with_frames(evidence.with_disclosure(opened), measured, frame)
    from platemark.verify import verify

    verdict = verify(evidence, trust=trusted, image=measured, at=time.time_ns())
    if verdict.result == EVIDENCE_INVALID:
        raise EvidenceError("evidence", f"what the ledger sent does not verify and was not kept: {verdict.reason}")
    content = evidence.to_bytes()
    from_bytes(content)  # what verify will do: nothing is kept that it would not read
    files.replace(target, content)
    _report(verdict, target, found, as_json=as_json)
    if _differs(verdict):
        raise typer.Exit(1)


def _differs(verdict: Verdict) -> bool:
    """Whether the record is not one of this image, also when nobody is trusted."""
    return any(check.number in (14, 15) and check.status == FAIL for check in verdict.checks)


def _choose(
    client: LedgerClient, own: media.Beside, measured: Measurement, index: int | None
) -> tuple[int | bytes, list[Found]]:
    """The record to fetch: the one asked for, else the one signed here, else the earliest of the strongest rung."""
    if index is not None:
        return index, []
    if own.statement.exists():
        signed = load_statement(own.statement).statement
        assert signed is not None
        if _records(signed, measured):
            return signed.id, []
        output.note(f"{own.statement}: made for another content of this file, so it is not used")
    found = _lookup(client, measured)
    if not found:
        raise PlatemarkError(f"{own.image}: the ledger has no record of it")
    strongest = min(RUNGS.index(each.rung) for each in found)
    chosen = next(each for each in found if RUNGS.index(each.rung) == strongest)
    return chosen.logged.index, found


def _records(signed: Statement, measured: Measurement) -> bool:
    """Whether a statement is a capture of this image."""
    if signed.kind != "capture":
        return False
    recorded = cast("Digests", signed.payload["digests"])
    return strongest_match(measured.digests, recorded, content_alone=measured.content_alone).rung is not None


def _lookup(client: LedgerClient, measured: Measurement) -> list[Found]:
    """Records that carry a digest of the image, in log order, each with its strongest rung."""
    found: dict[int, Found] = {}
    for rung in RUNGS:
        digest = measured.digests.get(rung, {}).get(SHA256)
        if digest is None:
            continue
        for number, logged in enumerate(client.lookup_all(digest, rung=rung, hash_algorithm=SHA256)):
            if number >= _MOST:
                output.note(f"more than {_MOST} records share this {rung} digest; the earliest are shown")
                break
            if logged.index in found:
                continue
            decoded = statement.decode(logged.statement)
            # Equal content is no match by itself where frames are compressed; pixels may find the record yet.
            if rung != "content" or measured.content_alone or _records(decoded, measured):
                found[logged.index] = Found(rung, logged, decoded)
    return [found[index] for index in sorted(found)]


def _disclosure(
    path: Path, evidence: Evidence, *, disclose: str | None, header: bool, everything: bool
) -> bytes | None:
    """The chosen attributes, proven to be the ones that the record signed. Raises PlatemarkError."""
    if not (disclose or header or everything):
        return None
    kept = attributes.decode_disclosure(files.read(path, limit=_MAX_DISCLOSURE))
    root = statement.decode(evidence.record.statement).payload.get("attributes")
    if not isinstance(root, bytes):
        raise AttributeTreeError("disclosure", "this record commits to no attributes")
    kept.verified(root)
    if everything:
        return kept.to_bytes()
    names = {name.strip() for name in (disclose or "").split(",")} - {""}
    if header:
        bound = HEADER_BINDING & kept.values.keys()
        if not bound:
            raise AttributeTreeError("--disclose-header", "this record commits to no patient, study or orientation")
        names |= bound
    return kept.open(*sorted(names, key=lambda name: REGISTRY.get(name, 0))).to_bytes()


def _measure(image: Path) -> Measurement:
    from platemark.capture import measure

    return measure(image, tolerant=True)


def _show(found: Iterable[Found]) -> None:
    output.say_table(
        ("leaf", "rung", "kind", "stated time", "origin", "conditions", "device"),
        (
            (
                each.logged.index,
                each.rung,
                each.decoded.kind,
                format_time(each.decoded.time or 0),
                each.decoded.payload.get("origin", "-"),
                ",".join(one.code for one in each.logged.conditions) or "-",
                each.decoded.issuer,
            )
            for each in found
        ),
    )


def _report(verdict: Verdict, target: Path, found: list[Found], *, as_json: bool) -> None:
    if as_json:
        output.say_json(
            {
                "evidence": str(target),
                "result": verdict.result,
                "reason": verdict.reason,
                "disclosed": sorted(verdict.disclosed),
                "records": [each.facts() for each in found],
            }
        )
        return
    if len(found) > 1:
        output.say(f"{len(found)} records carry a digest of this image; --index chooses another than the earliest:")
        _show(found)
    output.say(f"wrote {output.printable(target)}: {verdict.result}, {output.printable(verdict.reason)}")
    if _differs(verdict):
        output.note("this image is not the one that was recorded")
