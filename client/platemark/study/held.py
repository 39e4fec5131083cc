"""The evidence that was handed over: an index of it by digest, so that names decide nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from platemark import attributes, bundle, evidence, frame_proofs, statement
from platemark.errors import EvidenceError, PlatemarkError
from platemark.rungs import FRAME_RUNGS, RUNGS, SHA256
from platemark.study.places import EVIDENCE, Single

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from platemark.evidence import Evidence
    from platemark.rungs import Digests, Measurement
    from platemark.study.places import Place

__all__ = ["Held", "Holdings", "index"]

# Images of one colour have one digest of pixels in common; beyond this, whose evidence it is has to be named.
MOST_CANDIDATES = 16
_FRAMES = "frames"


@dataclass(frozen=True)
class Held:
    """One bundle: where it is and what it is about. `hints` are disclosed identifiers that nobody has checked yet.

    `frames` names the single frames that it shows, None when it shows none.
    """

    place: Place
    name: str
    statement_id: bytes
    digests: Digests
    hints: Mapping[str, str]
    frames: bytes | None = None

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
        if held.frames is not None:
            self._by_digest.setdefault((_FRAMES, held.frames), []).append(held)

    def candidates(self, measured: Measurement) -> list[Held]:
        """Evidence about this image by its strongest digest that any has, the likeliest first, a few at most."""
        instance = measured.attributes.get("sop_instance_uid")
        content = measured.digests.get("content", {}).get(SHA256)

        def unlikely(held: Held) -> tuple[bool, bool]:
            return (
                held.hints.get("sop_instance_uid") != instance,
                held.digests.get("content", {}).get(SHA256) != content,
            )

        for rung, digest in _digests(measured):
            found = self._by_digest.get((rung, digest), [])
            if found:
                return sorted(found, key=unlikely)[:MOST_CANDIDATES]
        return []


def _digests(measured: Measurement) -> Iterator[tuple[str, bytes]]:
    """What can match by itself, strongest first: the rungs, and then the frames of the image as some of a greater one."""
    for rung in RUNGS:
        if rung in measured.digests and (rung != "content" or measured.content_alone):
            yield rung, measured.digests[rung][SHA256]
    for rung in FRAME_RUNGS:
        if rung in measured.digests:
            yield _FRAMES, _frames(rung, measured.frame_digests)


def _frames(rung: str, digests: Iterable[bytes]) -> bytes:
    """A name for a run of frames."""
    return hashlib.sha256(rung.encode() + b"\0" + b"".join(digests)).digest()


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
    frames = None
    if "frames.cbor" in members:
        proofs = frame_proofs.decode(members["frames.cbor"])
        frames = _frames(proofs.rung, (frame.digest for frame in proofs.frames))
    return Held(place, name, record.id, cast("Digests", digests or {}), hints, frames)
