"""Signing images and submitting statements: the work behind `sign`, `submit` and `capture`, without options or output.

Nothing is lost by a crash: the disclosure is on disk before the chain's state, the state before the signature, the statement
before it is sent; what was interrupted is gone on with, and sending a statement again is safe.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import attributes, files, statement
from platemark.capture import measure
from platemark.cli.ahead import ahead
from platemark.errors import CaptureError, FormatError, NotAnImageError, PlatemarkError, StateError
from platemark.rungs import RUNGS, SHA256
from platemark.signing import Clock, require_complete, sign_capture
from platemark.statement import MAX_STATEMENT

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue, Disclosure
    from platemark.chain import Chain
    from platemark.cli.media import Beside
    from platemark.rpc.sync import LedgerClient
    from platemark.rungs import Measurement
    from platemark.statement import Statement

__all__ = ["BATCH", "Item", "Signing", "load_statement", "prepared", "sign_one", "submitted"]

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Signing:
    """How to sign images. `captured` None: the moment of signing. `parents` are statement ids of what they were made from."""

    chain: Chain
    origin: str
    clock: Clock
    captured: int | None = None
    extra: dict[str, AttributeValue] = field(default_factory=dict)
    parents: tuple[bytes, ...] = ()
    meaning: str | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """What became of one image or statement.

    `status`: signed, spooled (waiting for a ledger), logged, repeated (logged before), refused (the ledger will not have it),
    failed (not captured) or skipped (a file in a folder that is no image).
    """

    name: str
    status: str
    statement: Statement | None = None
    path: Path | None = None
    index: int | None = None
    conditions: tuple[str, ...] = ()
    reason: str = ""

    @property
    def bad(self) -> bool:
        """Whether this item makes the command's exit code 1."""
        return self.status in {"refused", "failed"}

    @property
    def rungs(self) -> list[str]:
        """The rungs of a capture, strongest first."""
        digests = self.statement.payload.get("digests") if self.statement is not None else None
        return [rung for rung in RUNGS if isinstance(digests, dict) and rung in digests]

    def facts(self) -> dict[str, object]:
        """For --json."""
        signed = self.statement
        return {
            "name": self.name,
            "status": self.status,
            "index": self.index,
            "id": signed.id if signed is not None else None,
            "rungs": self.rungs,
            "statement": str(self.path) if self.path is not None else None,
            "conditions": list(self.conditions),
            "reason": self.reason,
        }


def sign_one(each: Beside, measurement: Measurement, signing: Signing) -> Item:
    """Sign one measured image and write both files. Raises PlatemarkError."""
    require_complete(str(each.image), measurement)
    if not signing.force:
        resumed = _resumed(each, signing.chain)
        if resumed is not None:
            return resumed
        for path in (each.statement, each.disclosure):
            if path.exists():
                raise files.FileError(f"{path}: exists already; --force replaces it")
    _require_writable(each.statement.parent)

    def keep(disclosure: Disclosure) -> None:
        files.replace(each.disclosure, disclosure.to_bytes(), mode=0o600)

    # What --force replaces stays until its successor is signed.
    first = not each.disclosure.exists()
    # Crash before the disclosure is kept: nothing happened. Before the chain has reserved the place: a disclosure of nothing,
    # which --force replaces. Before the statement is kept: `_resumed` goes on from here.
    try:
        signed = sign_capture(
            measurement,
            chain=signing.chain,
            captured=time.time_ns() if signing.captured is None else signing.captured,
            origin=signing.origin,
            clock=signing.clock,
            extra=signing.extra,
            parents=signing.parents,
            meaning=signing.meaning,
            keep=keep if first else None,
        )
    except (FormatError, StateError):
        # Nothing was reserved, so nothing can come of this disclosure.
        if first:
            each.disclosure.unlink(missing_ok=True)
        raise
    if not first:
        keep(signed.disclosure)
    files.replace(each.statement, signed.statement.raw)
    return Item(name=str(each.image), status="signed", statement=signed.statement, path=each.statement)


def _resumed(each: Beside, chain: Chain) -> Item | None:
    """The statement that was being signed for this image when that was interrupted, kept now; None if there is none."""
    if each.statement.exists() or not each.disclosure.exists():
        return None
    reserved = _reserved(each, chain)
    if reserved is None:
        return None
    files.replace(each.statement, reserved.raw)
    return _existing(each, chain.signer.kid)


def _reserved(each: Beside, chain: Chain) -> Statement | None:
    """The last statement of the chain, if the disclosure beside the image is its own: its key K, and so its root, is random."""
    try:
        disclosure = attributes.decode_disclosure(files.read(each.disclosure, limit=attributes.MAX_DISCLOSURE))
    except (FormatError, files.FileError):
        return None
    last = chain.last()
    return last if last is not None and last.payload.get("attributes") == disclosure.root() else None


def _require_writable(folder: Path) -> None:
    """Make the folder and a file in it, before a place in the chain is used up for what cannot be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise files.FileError(f"{folder}: {error.strerror or error}") from None


def prepared(images: Sequence[Beside], signing: Signing, *, resume: bool) -> Iterator[Item]:
    """Every image in order: signed, failed or skipped; with `resume`, one that has a statement is taken as it is.

    Measuring runs ahead in threads (decoders are processes of their own); signing is in order, one by one.
    """

    def start(each: Beside) -> Measurement | None:
        return None if resume and each.statement.exists() and not signing.force else measure(each.image)

    for each, measured in ahead(start, images):
        try:
            measurement = measured.result()
            yield (
                _existing(each, signing.chain.signer.kid)
                if measurement is None
                else sign_one(each, measurement, signing)
            )
        except NotAnImageError as error:
            yield Item(name=str(each.image), status="failed" if each.named else "skipped", reason=error.reason)
        except CaptureError as error:
            yield Item(name=str(each.image), status="failed", reason=error.reason)
        except (FormatError, files.FileError) as error:
            yield Item(name=str(each.image), status="failed", reason=str(error))


def submitted(client: LedgerClient, items: Iterable[Item], *, witnessed: bool = False) -> Iterator[Item]:
    """Send what is signed, in batches and in order; everything else passes through.

    `witnessed`: each batch is waited for until the ledger's witnesses have seen it.

    Raises RpcError when the ledger cannot be reached; what was not sent is on disk and can be sent again.
    """
    batch: list[Item] = []
    for item in items:
        if item.status != "signed":
            yield item
            continue
        batch.append(item)
        if len(batch) == BATCH:
            yield from _append(client, batch, witnessed=witnessed)
            batch = []
    if batch:
        yield from _append(client, batch, witnessed=witnessed)


def load_statement(path: Path) -> Item:
    """A statement file, to be submitted. Raises FileError, FormatError naming the file."""
    try:
        decoded = statement.decode(files.read(path, limit=MAX_STATEMENT))
    except FormatError as error:
        if error.field == "tag":
            raise FormatError(str(path), f"not a signed statement{_request(path)}") from None
        raise FormatError(f"{path}: {error.field}", error.reason) from None
    return Item(name=str(path), status="signed", statement=decoded, path=path)


def _request(path: Path) -> str:
    return "; a registrar answers a request: platemark enrol --request" if path.suffix == ".request" else ""


def _existing(each: Beside, kid: bytes) -> Item:
    """The statement beside an image, made by this key for this very file. Raises FileError, FormatError."""
    item = load_statement(each.statement)
    try:
        with each.image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise files.FileError(f"{each.image}: {error.strerror or error}") from None
    assert item.statement is not None
    digests = item.statement.payload.get("digests")
    recorded = digests.get("file") if isinstance(digests, dict) else None
    if not isinstance(recorded, dict) or recorded.get(SHA256) != digest:
        raise files.FileError(f"{each.statement}: made for another content of this file; --force signs it anew")
    if item.statement.kid != kid:
        raise files.FileError(
            f"{each.statement}: signed by another key ({item.statement.kid.hex()}); --force signs it anew with this one, "
            "`platemark submit` sends it as it is"
        )
    return replace(item, name=str(each.image))


def _append(client: LedgerClient, batch: Sequence[Item], *, witnessed: bool) -> Iterator[Item]:
    from platemark.rpc.model import Refused, Wait

    raws = [item.statement.raw for item in batch if item.statement is not None]
    outcomes = client.append(raws, wait=Wait.WITNESSED if witnessed else Wait.LOGGED).outcomes
    for item, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Refused):
            if outcome.again:
                raise PlatemarkError(f"{item.name}: not logged now, submit it again: {outcome.reason}")
            yield replace(
                item, status="refused", reason=f"{_code(outcome.info)}: {outcome.reason}{_advice(outcome.info)}"
            )
            continue
        logged = outcome.statement
        yield replace(
            item,
            status="repeated" if outcome.duplicate else "logged",
            index=logged.index,
            conditions=tuple(each.code for each in logged.conditions),
        )


def _code(info: str) -> str:
    """A refusal as the specification writes it."""
    return info.lower().replace("_", "-")


def _advice(info: str) -> str:
    return "; --force signs it anew with the present time" if _code(info) == "not-yet-valid" else ""
