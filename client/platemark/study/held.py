"""The evidence that was handed over: an index of it by digest, so that names decide nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from platemark import attributes, bundle, evidence, statement
from platemark.errors import EvidenceError, PlatemarkError
from platemark.rungs import RUNGS, SHA256
from platemark.study.places import EVIDENCE, Single

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from platemark.evidence import Evidence
    from platemark.rungs import Digests, Measurement
    from platemark.study.places import Place

__all__ = ["Held", "Holdings", "index"]

# Images of one colour have one digest of pixels in common; beyond this, whose evidence it is has to be named.
MOST_CANDIDATES = 16


@dataclass(frozen=True)
class Held:
    """One bundle: where it is and what it is about. `hints` are disclosed identifiers that nobody has checked yet."""

    place: Place
    name: str
    statement_id: bytes
    digests: Digests
    hints: Mapping[str, str]

    def open(self) -> Evidence:
        """The evidence itself. Raises EvidenceError naming the file."""
        try:
            return evidence.from_bytes(self.place.read(self.name, limit=bundle.MAX_BUNDLE))
        except EvidenceError as error:
            raise EvidenceError(f"{self.name}: {error.field}", error.reason) from None


@dataclass
class Holdings:
    """Everything that was handed over, in order of names; `unreadable` are bundles with the reason.

    `others` are bundles about something that is no image, such as a key.
    """

    held: list[Held] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    _by_digest: dict[tuple[str, bytes], list[Held]] = field(default_factory=dict)

    def add(self, held: Held) -> None:
        """Put one more into the index."""
        self.held.append(held)
        for rung, hashes in held.digests.items():
            self._by_digest.setdefault((rung, hashes[SHA256]), []).append(held)

    def candidates(self, measured: Measurement) -> list[Held]:
        """Evidence about this image by its strongest digest that any has, the likeliest first, a few at most."""
        instance = measured.attributes.get("sop_instance_uid")
        for rung in RUNGS:
            digest = measured.digests.get(rung, {}).get(SHA256)
            found = self._by_digest.get((rung, digest), []) if digest is not None else []
            if found:
                ordered = sorted(found, key=lambda each: each.hints.get("sop_instance_uid") != instance)
                return ordered[:MOST_CANDIDATES]
        return []


def index(place: Place) -> Holdings:
    """Every bundle of a place: files whose names end in .evidence, or the one that is the place."""
    holdings = Holdings()
    for name in _named(place):
        try:
            held = _held(place, name)
        except PlatemarkError as error:
            holdings.unreadable.append((name, str(error)))
            continue
        if held.digests:
            holdings.add(held)
        else:
            holdings.others.append(name)
    return holdings


def _named(place: Place) -> Iterable[str]:
    return (name for name in place.names if isinstance(place, Single) or name.endswith(EVIDENCE))


def _held(place: Place, name: str) -> Held:
    """What the bundle is about, without judging it. Raises PlatemarkError."""
    members = bundle.read(place.read(name, limit=bundle.MAX_BUNDLE))
    record = statement.decode(members.get("statement.cose", b""))
    digests = record.payload.get("digests") if record.kind == "capture" else None
    hints: dict[str, str] = {}
    if "disclosure.cbor" in members:
        shown = attributes.decode_disclosure(members["disclosure.cbor"])
        values = dict(shown.values) or {each.name: each.value for each in shown.openings}
        hints = {key: value for key, value in values.items() if key.endswith("instance_uid") and isinstance(value, str)}
    return Held(place, name, record.id, cast("Digests", digests or {}), hints)
