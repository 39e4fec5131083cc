"""From what every image came to, the verdict on the set: who belongs to which record, what is missing, what is extra.

Rules S6 to S10 of proto/evidence.md. Nothing is opened here but the bundles that no image has claimed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platemark.study.directory import Directory
    from platemark.study.held import Held
    from platemark.study.judging import Judge, Outcome, Seen

__all__ = ["ALL_MATCH", "DIFFERS", "EXIT_CODES", "NO_EVIDENCE", "UNREADABLE", "Row", "SetVerdict", "Study", "conclude"]

ALL_MATCH, DIFFERS = "ALL MATCH", "DIFFERS"
EXIT_CODES = {ALL_MATCH: 0, DIFFERS: 1, INCONCLUSIVE: 3, EVIDENCE_INVALID: 4}
NO_EVIDENCE, UNREADABLE = "NO EVIDENCE", "UNREADABLE"


@dataclass(frozen=True)
class Row:
    """One image of the set and what became of it; `result` is a verdict's, NO_EVIDENCE or UNREADABLE."""

    name: str
    result: str
    reason: str
    hint: str = ""
    outcome: Outcome | None = None


@dataclass
class Study:
    """The records that name one study: their number, how many have their image here, and which have not."""

    records: int = 0
    matching: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SetVerdict:
    """The verdict on a set, as of `at` (Unix ns).

    `missing` are bundles whose image is not here; `invalid` those among the unclaimed that fail by themselves;
    `duplicates` a statement id and the images that have this one record; `further` bundles that are another record of
    an image that is here; `unreadable` bundles with the reason; `aside` files that are no images of the set.
    """

    rows: tuple[Row, ...]
    at: int
    missing: tuple[Outcome, ...] = ()
    invalid: tuple[Outcome, ...] = ()
    further: tuple[tuple[Held, str], ...] = ()
    duplicates: tuple[tuple[bytes, tuple[str, ...]], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    aside: tuple[str, ...] = ()
    directory: Directory | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def extra(self) -> tuple[str, ...]:
        """Images without evidence."""
        return tuple(row.name for row in self.rows if row.result == NO_EVIDENCE)

    @property
    def result(self) -> str:
        """S8: the first rule that applies."""
        if self.invalid or self.counts[EVIDENCE_INVALID]:
            return EVIDENCE_INVALID
        disc = self.directory
        if self.missing or self.counts[DOES_NOT_MATCH] or self.counts[NO_EVIDENCE] or (disc and not disc.whole):
            return DIFFERS
        settled = self.counts[MATCHES_RECORD] == len(self.rows) and self.rows
        return ALL_MATCH if settled and not self.unreadable and not (disc and disc.fault) else INCONCLUSIVE

    @property
    def exit_code(self) -> int:
        """0 all match, 1 something differs, is missing or extra, 3 inconclusive, 4 evidence invalid."""
        return EXIT_CODES[self.result]

    def studies(self) -> dict[str, Study]:
        """By disclosed Study Instance UID: how the records that name it fare. Only sound records count."""
        found: dict[str, Study] = {}
        matched = [(row.outcome, row.result == MATCHES_RECORD) for row in self.rows if row.outcome is not None]
        for outcome, matches in [*matched, *((each, False) for each in self.missing)]:
            uid = outcome.shown.get("study_instance_uid")
            if uid is not None and outcome.sound:
                study = found.setdefault(uid, Study())
                study.records += 1
                study.matching += matches
        for outcome in self.missing:
            uid = outcome.shown.get("study_instance_uid")
            if uid in found and outcome.sound:
                found[uid].missing.append(outcome.shown.get("sop_instance_uid") or outcome.held.name)
        return found


def conclude(seen: Sequence[Seen], aside: Iterable[str], judge: Judge, directory: Directory | None) -> SetVerdict:
    """The verdict on the set of these images, in their order. Raises nothing for bad evidence."""
    images = _meant(seen, judge)
    chosen = _assigned(images)
    set_aside = list(aside)
    rows: list[Row] = []
    for image, outcome in zip(images, chosen, strict=True):
        if outcome is None and not image.fault and _no_part(image, directory):
            set_aside.append(image.name)
        else:
            rows.append(_row(image, outcome))
    claimed = {outcome.held.name for outcome in chosen if outcome is not None}
    further = _further(images, chosen, judge)
    # Whoever is not claimed by an image has to stand by himself: what fails is never passed over.
    unclaimed = [judge.pair(held, None) for held in judge.holdings.held if held.name not in claimed]
    sound = [each for each in unclaimed if each.result != EVIDENCE_INVALID and not each.unreadable]
    if directory is not None:
        directory.compare(images)
    return SetVerdict(
        rows=tuple(rows),
        at=judge.at,
        missing=tuple(each for each in sound if each.held.name not in further),
        invalid=tuple(each for each in unclaimed if each.result == EVIDENCE_INVALID),
        further=tuple((each.held, further[each.held.name]) for each in sound if each.held.name in further),
        duplicates=_duplicates(rows),
        unreadable=(*judge.holdings.unreadable, *((e.held.name, e.reason) for e in unclaimed if e.unreadable)),
        aside=(*set_aside, *judge.holdings.others),
        directory=directory,
        counts=Counter(row.result for row in rows),
    )


def _meant(seen: Sequence[Seen], judge: Judge) -> list[Seen]:
    """Images that no digest found evidence for, under the unclaimed bundle that names them: it says what differs."""
    taken = {outcome.held.name for image in seen for outcome in image.outcomes}
    free = [held for held in judge.holdings.held if held.name not in taken]
    by_name = {held.name.rpartition("/")[2]: held for held in reversed(free)}
    by_instance = {each: held for held in reversed(free) if (each := held.hints.get("sop_instance_uid"))}
    used: set[str] = set()
    images: list[Seen] = []
    for image in seen:
        held = by_instance.get(image.instance or "") or by_name.get(f"{image.name.rpartition('/')[2]}.evidence")
        if image.measured is None or held is None or held.name in used:
            images.append(image)
            continue
        used.add(held.name)
        images.append(judge.again(image, held))
    return images


def _assigned(images: Sequence[Seen]) -> list[Outcome | None]:
    """For each image its best outcome; of several equally good ones a bundle that no other image has yet."""
    used: set[str] = set()
    chosen: list[Outcome | None] = []
    for image in images:
        best = [each for each in image.outcomes if each.result == image.outcomes[0].result]
        outcome = next((each for each in best if each.held.name not in used), best[0] if best else None)
        if outcome is not None:
            used.add(outcome.held.name)
        chosen.append(outcome)
    return chosen


def _no_part(image: Seen, directory: Directory | None) -> bool:
    """Whether a file without evidence is none of the set's images: a DICOMDIR, or a viewer's picture on a CD."""
    return image.directory or (directory is not None and not image.dicom and image.name not in directory.named)


def _row(image: Seen, outcome: Outcome | None) -> Row:
    if image.fault:
        return Row(image.name, UNREADABLE, image.fault)
    if outcome is None:
        return Row(image.name, NO_EVIDENCE, "no evidence that was handed over has one of its digests", image.hint)
    return Row(image.name, outcome.result, outcome.reason, image.hint, outcome)


def _further(images: Sequence[Seen], chosen: Sequence[Outcome | None], judge: Judge) -> dict[str, str]:
    """Unclaimed bundles that are about an image that is here all the same, by name: that of the image.

    Another record of this very image, the same record in a second bundle, or a record of the same instance with the
    same pixels, made before or after a hop that re-encoded it.
    """
    records = {
        each.held.statement_id: image.name for image, each in zip(images, chosen, strict=True) if each is not None
    }
    same = {outcome.held.name: image.name for image in images for outcome in image.outcomes if outcome.certain}
    instances: dict[tuple[str | None, bytes], str] = {}
    for image in images:
        if image.instance is not None:
            instances |= {(image.instance, digest): image.name for digest in image.pixels}
    found: dict[str, str] = {}
    for held in judge.holdings.held:
        digests = [each for hashes in held.digests.values() for each in hashes.values()]
        known = (instances.get((held.hints.get("sop_instance_uid"), each)) for each in digests)
        name = records.get(held.statement_id) or same.get(held.name) or next((each for each in known if each), None)
        if name is not None:
            found[held.name] = name
    return found


def _duplicates(rows: Iterable[Row]) -> tuple[tuple[bytes, tuple[str, ...]], ...]:
    """Images that have one record in common."""
    names: defaultdict[bytes, list[str]] = defaultdict(list)
    for row in rows:
        if row.outcome is not None and row.result != DOES_NOT_MATCH:
            names[row.outcome.held.statement_id].append(row.name)
    return tuple((id, tuple(each)) for id, each in names.items() if len(each) > 1)
