"""Finding the records of images in a ledger and making evidence to keep: the work behind `lookup` and `fetch`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from platemark import attributes, files, statement
from platemark.attributes import REGISTRY
from platemark.cli import output
from platemark.cli.capturing import load_statement
from platemark.errors import AttributeTreeError, EvidenceError, PlatemarkError
from platemark.evidence import from_bytes
from platemark.files import FileError
from platemark.rungs import HEADER_BINDING, RUNGS, SHA256, strongest_match
from platemark.verdict import EVIDENCE_INVALID, FAIL

if TYPE_CHECKING:
    from platemark.attributes import Disclosure
    from platemark.cli import media
    from platemark.evidence import Evidence
    from platemark.rpc.model import LoggedStatement
    from platemark.rpc.sync import LedgerClient
    from platemark.rungs import Digests, Measurement
    from platemark.statement import Statement
    from platemark.trust import Trust
    from platemark.verdict import Verdict

__all__ = [
    "Chosen",
    "Found",
    "NoRecordError",
    "Opening",
    "checked",
    "choose",
    "differs",
    "lookup",
    "measured",
    "opened",
]

# One image is in a ledger a few times at most; more is somebody's attempt to bury the first.
_MOST = 256
_IMAGE, _HEADER = 14, 15
# What to do without a disclosure file: a gateway writes none.
_FROM_VAULT = "If a vault has it: platemark vault export and --disclosure, or --study with --vault"


class NoRecordError(PlatemarkError):
    """The ledger knows nothing of an image."""

    code = "no-record"


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


@dataclass(frozen=True)
class Chosen:
    """The record to fetch, by leaf or by statement id, and every record of the image, if they were asked for."""

    by: int | bytes
    found: tuple[Found, ...] = ()

    def evidence(self, client: LedgerClient) -> Evidence:
        """Its evidence. Raises RpcError."""
        if isinstance(self.by, int):
            return client.evidence(index=self.by).content
        return client.evidence(id=self.by).content


@dataclass(frozen=True)
class Opening:
    """Which attributes to open in evidence: `names`, those that bind a header, or everything."""

    names: frozenset[str] = field(default_factory=frozenset)
    header: bool = False
    everything: bool = False

    def __bool__(self) -> bool:
        """Whether anything is to be opened."""
        return bool(self.names) or self.header or self.everything


def measured(image: Path) -> Measurement:
    """What the image measures to, as far as it can be measured here. Raises CaptureError."""
    from platemark.capture import measure

    return measure(image, tolerant=True)


def lookup(client: LedgerClient, measurement: Measurement) -> list[Found]:
    """Records that carry a digest of the image, in log order, each with its strongest rung. Raises RpcError."""
    found: dict[int, Found] = {}
    for rung in RUNGS:
        digest = measurement.digests.get(rung, {}).get(SHA256)
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
            if rung != "content" or measurement.content_alone or _records(decoded, measurement):
                found[logged.index] = Found(rung, logged, decoded)
    return [found[index] for index in sorted(found)]


def choose(client: LedgerClient, own: media.Beside, measurement: Measurement) -> Chosen:
    """The record of an image: the one signed here, else the earliest of the strongest rung. Raises NoRecordError."""
    if own.statement.exists():
        signed = load_statement(own.statement).statement
        assert signed is not None
        if _records(signed, measurement):
            return Chosen(signed.id)
        output.note(f"{own.statement}: made for another content of this file, so it is not used")
    found = lookup(client, measurement)
    if not found:
        raise NoRecordError(f"{own.image}: the ledger has no record of it")
    strongest = min(RUNGS.index(each.rung) for each in found)
    chosen = next(each for each in found if RUNGS.index(each.rung) == strongest)
    return Chosen(chosen.logged.index, tuple(found))


def _records(signed: Statement, measurement: Measurement) -> bool:
    """Whether a statement is a capture of this image."""
    if signed.kind != "capture":
        return False
    recorded = cast("Digests", signed.payload["digests"])
    return strongest_match(measurement.digests, recorded, content_alone=measurement.content_alone).rung is not None


def opened(evidence: Evidence, kept: Path | Disclosure, opening: Opening) -> Evidence:
    """The evidence with the chosen attributes of a disclosure, proven to be those that the record signed.

    Nothing is read when nothing is to be opened. Raises PlatemarkError.
    """
    if not opening:
        return evidence.with_disclosure(None)
    if isinstance(kept, Path):
        if not kept.exists():
            raise FileError(f"{kept}: not there, so no attribute can be opened. {_FROM_VAULT}")
        kept = attributes.decode_disclosure(files.read(kept, limit=attributes.MAX_DISCLOSURE))
    root = statement.decode(evidence.record.statement).payload.get("attributes")
    if not isinstance(root, bytes):
        raise AttributeTreeError("disclosure", "this record commits to no attributes")
    kept.verified(root)
    if opening.everything:
        return evidence.with_disclosure(kept.to_bytes())
    names = set(opening.names)
    if opening.header:
        bound = HEADER_BINDING & kept.values.keys()
        if not bound:
            raise AttributeTreeError("--disclose-header", "this record commits to no patient, study or orientation")
        names |= bound
    shown = kept.open(*sorted(names, key=lambda name: REGISTRY.get(name, 0)))
    return evidence.with_disclosure(shown.to_bytes())


def checked(evidence: Evidence, image: Measurement | None, trusted: Trust | None) -> tuple[Verdict, bytes]:
    """The verdict, and the bundle to keep. Raises EvidenceError for what nobody could ever verify."""
    from platemark.verify import verify

    verdict = verify(evidence, trust=trusted, image=image, at=time.time_ns())
    if verdict.result == EVIDENCE_INVALID:
        raise EvidenceError("evidence", f"what the ledger sent does not verify and was not kept: {verdict.reason}")
    content = evidence.to_bytes()
    from_bytes(content)  # what verify will do: nothing is kept that it would not read
    return verdict, content


def differs(verdict: Verdict) -> bool:
    """Whether the record is not one of this image, also when nobody is trusted."""
    return any(check.number in {_IMAGE, _HEADER} and check.status == FAIL for check in verdict.checks)


def of_roots(client: LedgerClient, roots: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Attribute root and statement id of the captures that sign these roots, in log order, by reading the whole log.

    For captures whose statement nobody noted. Ends when all are found. Raises RpcError; the ledger has to let us list.
    """
    wanted = set(roots)
    if not wanted:
        return
    for logged in client.list_statements(kind="capture"):
        root = statement.decode(logged.statement).payload.get("attributes")
        if isinstance(root, bytes) and root in wanted:
            wanted.discard(root)
            yield root, logged.id
            if not wanted:
                return
