"""`platemark lookup` and `platemark fetch`: what a ledger has about an image, and its evidence to keep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark import files
from platemark.cli import fetch_many, fetching, media, output
from platemark.cli.capturing import load_statement
from platemark.cli.connect import Connection, load_trust
from platemark.cli.fetching import Chosen, Found, Opening
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
from platemark.cli.vault_access import VaultPassphraseFile
from platemark.files import FileError
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.rungs import Measurement
    from platemark.trust import Trust as Trusted
    from platemark.verdict import Verdict

__all__ = ["fetch", "lookup"]

_STATEMENT = ".statement"

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A DICOM, PNG, JPEG or TIFF file.")]


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
    measured = fetching.measured(image)
    with connection.open() as client:
        found = fetching.lookup(client, measured)
    if as_json:
        output.say_json({"image": str(image), "records": [each.facts() for each in found]})
    elif found:
        _show(found)
    else:
        output.say("no record of this image")
    if not found:
        raise typer.Exit(1)


def fetch(
    image: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGE_OR_FOLDER", help="An image; a folder of them; or a signed statement."),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE_OR_DIR", help="Default: IMAGE.evidence. A directory for a folder or a study."),
    ] = None,
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
    study: Annotated[
        str | None, typer.Option(metavar="UID", help="All captures of this Study Instance UID that a vault has.")
    ] = None,
    vault: Annotated[Path | None, typer.Option(metavar="DIR", help="The vault's directory, for --study.")] = None,
    vault_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The vault's private key, for --study.")
    ] = None,
    vault_passphrase_file: VaultPassphraseFile = None,
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

    A folder: the evidence of each image in it. Images that the ledger does not know are named, and the exit code is 1.
    --study, for whoever keeps the vault: the evidence of every capture of a study, with its study, series and SOP
    Instance UID opened, so that `platemark verify FOLDER --evidence DIR` names images that are missing.

    A signed statement instead of an image (FILE.statement): its evidence, such as that of an attestation, for
    `platemark verify --also`.

    Attributes (patient, device, times) stay closed unless you open them here, one by one.

    Examples:
      platemark fetch scan.dcm
      platemark fetch scan.dcm --disclose technologist,acquisition_datetime --out for-court.evidence
      platemark fetch scan.dcm --disclose-header
      platemark fetch cine.dcm --frame 3 --disclose-header
      platemark fetch scan.dcm.attest.statement
      platemark fetch patient-cd/ --out evidence/ --disclose-header
      platemark fetch --study 1.2.840.99.7 --vault vault/ --vault-key vault.pem --out evidence/
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
    names = frozenset(name.strip() for name in (disclose or "").split(",")) - {""}
    opening = Opening(names, header=disclose_header, everything=disclose_all)
    if study is not None:
        if image is not None or index is not None or disclosure is not None or frame is not None:
            raise typer.BadParameter("--study goes without an image, --index, --disclosure and --frame")
        if vault is None or vault_key is None or out is None:
            raise typer.BadParameter("--study needs --vault, --vault-key and --out")
        kept = fetch_many.Kept(vault, vault_key, vault_passphrase_file)
        fetch_many.fetch_study(study, kept, connection, opening, out=out, force=force, as_json=as_json)
        return
    if image is None or vault is not None or vault_key is not None:
        raise typer.BadParameter("give an image or a folder; or --study with --vault and --vault-key")
    if image.is_dir():
        if index is not None or disclosure is not None or frame is not None:
            raise typer.BadParameter("--index, --disclosure and --frame are about one image, not about a folder")
        fetch_many.fetch_folder(image, connection, opening, out=out, force=force, as_json=as_json)
        return
    one = _One(image, disclosure, opening, out=out, force=force)
    if image.suffix == _STATEMENT:
        if index is not None or frame:
            raise typer.BadParameter("--index and --frame are about an image, not about a statement")
        with connection.open() as client:
            evidence = one.opened(Chosen(one.statement()).evidence(client))
        verdict = one.keep(evidence, None, trusted)
        _report(verdict, one.target, (), as_json=as_json)
        return
    measured = fetching.measured(image)
    with connection.open() as client:
        chosen = Chosen(index) if index is not None else fetching.choose(client, one.own, measured)
        evidence = one.opened(chosen.evidence(client))
    verdict = one.keep(with_frames(evidence, measured, frame), measured, trusted)
    _report(verdict, one.target, chosen.found, as_json=as_json)
    if fetching.differs(verdict):
        raise typer.Exit(1)


class _One:
    """The evidence of one record: of an image, or of the statement in a file."""

    def __init__(self, path: Path, disclosure: Path | None, opening: Opening, *, out: Path | None, force: bool) -> None:
        self._path, self._opening = path, opening
        self.own = media.beside(path.with_suffix("") if path.suffix == _STATEMENT else path)
        self.target = out or self.own.evidence
        self._disclosure = disclosure or self.own.disclosure
        if self.target.exists() and not force:
            raise FileError(f"{self.target}: exists already; --force replaces it")

    def statement(self) -> bytes:
        """The id of the statement in the file. Raises FileError, FormatError."""
        signed = load_statement(self._path).statement
        assert signed is not None
        return signed.id

    def opened(self, evidence: Evidence) -> Evidence:
        """With the attributes that were asked for."""
        return fetching.opened(evidence, self._disclosure, self._opening)

    def keep(self, evidence: Evidence, measured: Measurement | None, trusted: Trusted | None) -> Verdict:
        """Write the evidence once it was checked; what the check said."""
        verdict, content = fetching.checked(evidence, measured, trusted)
        files.replace(self.target, content)
        return verdict


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


def _report(verdict: Verdict, target: Path, found: tuple[Found, ...], *, as_json: bool) -> None:
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
    if fetching.differs(verdict):
        output.note("this image is not the one that was recorded")
