"""`platemark fetch` for a folder of images, and for a whole study by the holder of its vault."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from platemark import files
from platemark.capture.dicomdir import is_dicomdir
from platemark.cli import fetching, media, output
from platemark.cli.ahead import ahead
from platemark.cli.fetching import NoRecordError, Opening
from platemark.cli.vault_access import open_vault
from platemark.errors import NotAnImageError, PlatemarkError, RpcError
from platemark.files import FileError
from platemark.study.places import head

if TYPE_CHECKING:
    from concurrent.futures import Future

    from platemark.cli.connect import Connection
    from platemark.cli.media import Beside
    from platemark.rpc.sync import LedgerClient
    from platemark.rungs import Measurement
    from platemark.trust import Trust
    from platemark.vault import OpenVault

__all__ = ["Kept", "fetch_folder", "fetch_study"]

MEMBERSHIP = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(?:\.[0-9]+)*")
_EXISTS = "exists already; --force replaces it"
# What a ledger says of one record; every other error of a call is about the ledger and ends the command.
_ABOUT_ONE = frozenset({"not-found"})


@dataclass(frozen=True)
class Kept:
    """Where the holder's vault and its private key are."""

    directory: Path
    key: Path
    passphrase_file: Path | None = None


@dataclass(frozen=True)
class Item:
    """What became of one image or capture.

    `status`: written, kept (evidence was there), differs (written, and not of this image), absent (the ledger has no
    record), failed, or skipped (no image).
    """

    name: str
    status: str
    evidence: Path | None = None
    reason: str = ""
    result: str | None = None

    @property
    def bad(self) -> bool:
        """Whether this makes the exit code 1."""
        return self.status in {"differs", "absent", "failed"}

    def facts(self) -> dict[str, object]:
        """For --json."""
        evidence = str(self.evidence) if self.evidence is not None else None
        return {
            "name": self.name,
            "status": self.status,
            "evidence": evidence,
            "result": self.result,
            "reason": self.reason,
        }


def fetch_folder(
    folder: Path, connection: Connection, opening: Opening, *, out: Path | None, force: bool, as_json: bool
) -> None:
    """The evidence of every image in a folder. Raises RpcError, FileError; exit code 1 if any has none."""
    images = media.find([folder], out=out)
    with connection.open() as client, output.progress("fetching", len(images)) as step:
        items = []
        for each, future in ahead(
            lambda one: None if _stays(one, force=force) else fetching.measured(one.image), images
        ):
            items.append(_image(client, each, future, opening, connection.trusted))
            step(1)
    _finish(items, as_json=as_json)


def _image(
    client: LedgerClient, each: Beside, future: Future[Measurement | None], opening: Opening, trusted: Trust | None
) -> Item:
    """The evidence of one image of a folder. Raises RpcError when it is the ledger that fails."""
    name = str(each.image)
    try:
        measured = future.result()
        if measured is None:
            return Item(name, "kept", each.evidence, _EXISTS)
        own = _own(each)
        evidence = fetching.choose(client, own, measured).evidence(client)
        evidence = fetching.opened(evidence, own.disclosure, opening)
        verdict, content = fetching.checked(evidence, measured, trusted)
        _keep(each.evidence, content)
    except NoRecordError:
        if is_dicomdir(head(each.image)):
            return Item(name, "skipped", reason="a DICOMDIR, and no image")
        return Item(name, "absent", reason="the ledger has no record of it")
    except PlatemarkError as error:
        return _fault(name, error)
    return Item(
        name, "differs" if fetching.differs(verdict) else "written", each.evidence, verdict.reason, verdict.result
    )


def _own(each: Beside) -> Beside:
    """With the statement and the disclosure that lie beside the image, where the directory of the evidence has none."""
    near = media.beside(each.image)
    return replace(
        each,
        statement=each.statement if each.statement.exists() else near.statement,
        disclosure=each.disclosure if each.disclosure.exists() else near.disclosure,
    )


def fetch_study(
    study: str, kept: Kept, connection: Connection, opening: Opening, *, out: Path, force: bool, as_json: bool
) -> None:
    """The evidence of every capture of a study in the vault, each with its place in the study opened.

    Raises VaultError, KeyFileError, RpcError, FileError; exit code 1 if a capture has no evidence.
    """
    wanted = Opening(opening.names | set(MEMBERSHIP), header=opening.header, everything=opening.everything)
    with open_vault(kept.directory, kept.key, kept.passphrase_file) as vault:
        roots = vault.find(study=study)
        if not roots:
            raise PlatemarkError(f"{kept.directory}: the vault has no capture of the study {study}")
        with connection.open() as client, output.progress("fetching", len(roots)) as step:
            asked = _Study(vault, wanted, connection.trusted, out, force)
            items = []
            for root, id in _statements(client, vault, roots):
                items.append(asked.capture(client, root, id))
                step(1)
    _finish(items, as_json=as_json)


def _statements(client: LedgerClient, vault: OpenVault, roots: list[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    """Each root with the id of the statement that signed it: as the vault noted it, else as the log shows it."""
    noted = {root: vault.statement_of(root) for root in roots}
    unknown = [root for root, id in noted.items() if id is None]
    if unknown:
        output.note(f"{len(unknown)} captures without a noted statement: looking through the whole log")
        noted |= dict(fetching.of_roots(client, unknown))
    yield from noted.items()


@dataclass(frozen=True)
class _Study:
    """A study that is being fetched: from which vault, for whom, and where to."""

    vault: OpenVault
    opening: Opening
    trusted: Trust | None
    out: Path
    force: bool

    def capture(self, client: LedgerClient, root: bytes, id: bytes | None) -> Item:
        """The evidence of the capture that statement `id` signed with this attribute root, named by its instance."""
        name = root.hex()
        try:
            disclosure = self.vault.get(root)
            instance = disclosure.values.get("sop_instance_uid")
            name = instance if isinstance(instance, str) and _UID.fullmatch(instance) else name
            if id is None:
                return Item(name, "absent", None, f"no statement of the log signs the attribute root {root.hex()}")
            # A UID that came with an object never leads to another folder; the id keeps two captures of it apart.
            target = self.out / f"{name}-{id.hex()[:16]}.evidence"
            if target.exists() and not self.force:
                return Item(name, "kept", target, _EXISTS)
            opening = replace(self.opening, names=self.opening.names & disclosure.values.keys())
            evidence = fetching.opened(client.evidence(id=id).content, disclosure, opening)
            verdict, content = fetching.checked(evidence, None, self.trusted)
            _keep(target, content)
        except PlatemarkError as error:
            return _fault(name, error)
        return Item(name, "written", target, verdict.reason, verdict.result)


def _stays(each: Beside, *, force: bool) -> bool:
    return each.evidence.exists() and not force


def _keep(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{target.parent}: {error.strerror or error}") from None
    files.replace(target, content)


def _fault(name: str, error: PlatemarkError) -> Item:
    """What one image's fault is; a fault of the ledger ends the command."""
    if isinstance(error, NotAnImageError):
        return Item(name, "skipped", reason=error.reason)
    if isinstance(error, RpcError):
        if error.code not in _ABOUT_ONE:
            raise error
        return Item(name, "absent", reason=error.reason)
    return Item(name, "failed", reason=str(error))


def _finish(items: list[Item], *, as_json: bool) -> None:
    """Show what became of each, what is missing last; exit 1 if anything is."""
    counts = Counter(item.status for item in items)
    if as_json:
        output.say_json({"items": [item.facts() for item in items], "counts": dict(counts)})
    else:
        good = [item for item in items if not item.bad and item.status != "skipped"]
        if good:
            output.say_table(
                ("status", "evidence", "name"), ((item.status, item.evidence or "-", item.name) for item in good)
            )
        for status, title in (
            ("skipped", "Not images"),
            ("differs", "Written, and another image than was recorded"),
            ("absent", "Not in the ledger"),
            ("failed", "Failed"),
        ):
            apart = [item for item in items if item.status == status]
            if apart:
                output.say(f"\n{title}:")
                for item in apart:
                    output.say(f"  {output.printable(item.name)}: {output.printable(item.reason)}")
        output.say("\n" + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    if not any(item.status != "skipped" for item in items):
        output.note("platemark: no image was found")
        raise typer.Exit(1)
    if any(item.bad for item in items):
        raise typer.Exit(1)
