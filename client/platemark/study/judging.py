"""One image of a set: measured once, judged against whatever evidence has one of its digests, and then let go.

What is kept of an image does not grow with the image: a few digests, identifiers and the outcome.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from platemark import report
from platemark.declared import is_synthetic
from platemark.errors import PlatemarkError
from platemark.rungs import SHA256
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD, PASS, REQUIRED
from platemark.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.rungs import Measurement
    from platemark.study.held import Held, Holdings
    from platemark.trust import Trust

__all__ = ["Judge", "Outcome", "Seen"]

_BEST_FIRST = (MATCHES_RECORD, INCONCLUSIVE, DOES_NOT_MATCH, EVIDENCE_INVALID)
_SAME_PIXELS = ("pixels", "codestream")
_WHOLE = frozenset({"file", "dataset", "content"})


@dataclass(frozen=True)
class Outcome:
    """What one bundle comes to with one image, or with none.

    `sound`: the record stands, whatever the image (checks 1 to 8 are PASS). `shown` are study, series and SOP instance
    UID as far as they were disclosed and proven. `frame` names the frames that the image is of the
    recorded one, when it is not whole. `certain`: the bundle is about this very image, and not only about one
    with its pixels. `unreadable`: the bundle is none, and `reason` says why.
    `verdict` is its whole JSON (J1), deflated by zlib, and kept only where somebody will print it.
    """

    held: Held
    result: str
    reason: str
    rung: str | None = None
    sound: bool = False
    synthetic: bool = False
    frame: str | None = None
    shown: dict[str, str] = field(default_factory=dict)
    certain: bool = False
    unreadable: bool = False
    verdict: bytes | None = None


@dataclass(frozen=True)
class Seen:
    """A file of the set that is an image: its outcomes, the best first, and what is needed to find its place in the set.

    `fault` says why it could not be measured. `directory`: it is a DICOMDIR and no image. `hint` is what the file says
    of its place in the study, unproven. `measured` is kept as long as no evidence has been found.
    """

    name: str
    outcomes: tuple[Outcome, ...] = ()
    fault: str = ""
    hint: str = ""
    instance: str | None = None
    dicom: bool = False
    directory: bool = False
    pixels: frozenset[bytes] = frozenset()
    measured: Measurement | None = None


@dataclass(frozen=True)
class Judge:
    """Whom to believe, as of when (Unix ns), and whether whole verdicts are wanted. Thread-safe."""

    holdings: Holdings
    trust: Trust | None
    at: int
    whole: bool = False

    def image(self, name: str, measured: Measurement, *, directory: bool = False) -> Seen:
        """The image under the evidence that has its digests."""
        found = [self.pair(held, measured) for held in self.holdings.candidates(measured)]
        found.sort(key=lambda each: _BEST_FIRST.index(each.result))
        instance = measured.attributes.get("sop_instance_uid")
        digests = (measured.digests.get(rung, {}).get(SHA256) for rung in _SAME_PIXELS)
        return Seen(
            name,
            tuple(found),
            hint=_hint(measured),
            instance=instance if isinstance(instance, str) else None,
            dicom=measured.media == "application/dicom",
            directory=directory and "rows" not in measured.attributes,
            pixels=frozenset(each for each in digests if each is not None),
            # Its frames were looked for; a list of a million of them is not kept.
            measured=None if found else replace(measured, frame_digests=()),
        )

    def pair(self, held: Held, measured: Measurement | None) -> Outcome:
        """One bundle and one image, or none. A bundle that cannot be read is INCONCLUSIVE."""
        try:
            evidence = held.open()
        except PlatemarkError as error:
            return Outcome(held, INCONCLUSIVE, str(error), unreadable=True)
        verdict = verify(evidence, trust=self.trust, image=measured, at=self.at)
        passed = {check.number for check in verdict.checks if check.status == PASS}
        shown = {
            name: value
            for name, value in verdict.disclosed.items()
            if name.endswith("instance_uid") and isinstance(value, str)
        }
        return Outcome(
            held,
            verdict.result,
            verdict.reason,
            rung=verdict.rung,
            sound=passed >= REQUIRED and verdict.result != EVIDENCE_INVALID,
            synthetic=is_synthetic(verdict.object_says)
            or (is_synthetic(verdict.disclosed) and verdict.rung is not None),
            frame=str(verdict.facts["frame"]) if "frame" in verdict.facts else None,
            shown=shown,
            certain=verdict.rung in _WHOLE or (verdict.result == MATCHES_RECORD and _same_instance(measured, shown)),
            verdict=zlib.compress(report.to_json(verdict).encode()) if self.whole else None,
        )

    def again(self, seen: Seen, held: Held) -> Seen:
        """An image whose digests nobody recorded, under the bundle that by its name or instance is meant for it."""
        return replace(seen, outcomes=(self.pair(held, seen.measured),), measured=None)


def _same_instance(measured: Measurement | None, shown: Mapping[str, str]) -> bool:
    """Whether a proven SOP Instance UID is the image's; pictures have none."""
    instance = measured.attributes.get("sop_instance_uid") if measured is not None else None
    return instance is None or instance == shown.get("sop_instance_uid")


def _hint(measured: Measurement) -> str:
    """What the file says of its place: modality, series and number; the frames of an object that has several."""
    values = measured.attributes
    series, number = values.get("series_instance_uid"), values.get("instance_number")
    parts = [str(values["modality"])] if isinstance(values.get("modality"), str) else []
    if isinstance(series, str):
        parts.append(f"series ..{series[-8:]}" if len(series) > 10 else f"series {series}")
    if isinstance(number, str):
        parts.append(f"no. {number}")
    if measured.frames is not None and measured.frames > 1:
        parts.append(f"{measured.frames} frames")
    return " ".join(parts)
