"""The verdict on a set, as text and as JSON (rules S9 and S10 of proto/evidence.md).

Names of files and values come from strangers; whoever prints what is given here escapes it.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from platemark import report
from platemark.study.conclusion import ALL_MATCH, DIFFERS, NO_EVIDENCE, UNREADABLE
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark.study.conclusion import Row, SetVerdict
    from platemark.study.judging import Outcome

__all__ = ["COLUMNS", "NOT_PROVEN", "json_pieces", "lines", "row"]

COLUMNS = ("name", "result", "rung", "says of itself", "reason")
NOT_PROVEN = (
    "that the set is complete: an image whose evidence was not handed over cannot be missed here",
    *report.NOT_PROVEN,
)
_WORDS = {
    MATCHES_RECORD: ("matches its record", "match their records"),
    DOES_NOT_MATCH: ("does not match its record", "do not match their records"),
    NO_EVIDENCE: ("has no evidence", "have no evidence"),
    INCONCLUSIVE: ("is not settled", "are not settled"),
    EVIDENCE_INVALID: ("has evidence that is invalid", "have evidence that is invalid"),
    UNREADABLE: ("cannot be read", "cannot be read"),
}
_ADVICE = {
    ALL_MATCH: "Every image here is one that a known device registered, or frames of one, and no record handed over is without.",
    DIFFERS: "The images and the evidence handed over are not the same set.",
    INCONCLUSIVE: "Not settled: at least one image, record or directory could not be judged.",
    EVIDENCE_INVALID: "Evidence itself failed a check: do not rely on it.",
}
_SYNTHETIC = "SYNTHETIC DATA"
# Where the images stand in the JSON; no name or value holds it, because of its NUL.
_PLACE = "images\0"


def row(each: Row) -> tuple[str, ...]:
    """The cells of one image, by COLUMNS."""
    rung = each.outcome.rung if each.outcome is not None else None
    synthetic = _SYNTHETIC if each.outcome is not None and each.outcome.synthetic else ""
    frame = f"frame {each.outcome.frame} of the record" if each.outcome is not None and each.outcome.frame else ""
    reason = "" if each.result == MATCHES_RECORD else each.reason
    said = "; ".join(filter(None, (synthetic, frame, reason)))
    return each.name, each.result, rung or "-", each.hint or "-", said or "-"


def lines(verdict: SetVerdict) -> Iterator[str]:
    """What is said below the table, in plain words; names stand as they are."""
    yield verdict.result
    total = len(verdict.rows)
    for result, (one, many) in _WORDS.items():
        count = verdict.counts[result]
        if count:
            yield f"{count} of {total} {'image' if total == 1 else 'images'} {one if count == 1 else many}"
    yield _ADVICE[verdict.result]
    if verdict.rows and verdict.counts[NO_EVIDENCE] == total and not verdict.missing:
        yield "No evidence of any of these images was found. It lies beside them, or --evidence names its folder or ZIP."
    synthetic = [each.name for each in verdict.rows if each.outcome is not None and each.outcome.synthetic]
    yield from _named(f"!!! {_SYNTHETIC}: made artificially by their own word or their record's !!!", synthetic)
    yield from _named("Missing, recorded and not here", (_missing(each) for each in verdict.missing))
    yield from _named("Extra, here and without evidence", verdict.extra)
    yield from _named("Invalid evidence without an image", (f"{e.held.name}: {e.reason}" for e in verdict.invalid))
    yield from _named("Evidence that cannot be read", (f"{name}: {why}" for name, why in verdict.unreadable))
    yield from _named("Several files with one record", (", ".join(names) for _, names in verdict.duplicates))
    parts = ((each.name, each.outcome.frame) for each in verdict.rows if each.outcome is not None)
    yield from _named(
        "Only some frames of a recorded image", (f"{name}: frame {frame}" for name, frame in parts if frame)
    )
    yield from _named("Further records of an image", (f"{held.name}: of {name}" for held, name in verdict.further))
    yield from _studies(verdict)
    yield from _directory(verdict)
    yield from _named("No images of the set, set aside", verdict.aside)
    yield from ("", "Not proven:", *(f"  {each}" for each in NOT_PROVEN))


def _named(title: str, names: object) -> Iterator[str]:
    listed = [str(each) for each in names]  # type: ignore[attr-defined]  # any iterable of text
    if listed:
        yield from ("", f"{title}:", *(f"  {each}" for each in listed))


def _missing(outcome: Outcome) -> str:
    shown = outcome.shown.get("sop_instance_uid")
    what = f"image {shown}" if shown else "which image is not disclosed"
    sound = "" if outcome.sound else f"; its evidence is not settled: {outcome.reason}"
    return f"{outcome.held.name}: {what}{sound}"


def _studies(verdict: SetVerdict) -> Iterator[str]:
    for uid, study in verdict.studies().items():
        lacking = study.records - study.matching
        rest = f", {lacking} not" if lacking else ""
        yield from (
            "",
            f"Study {uid} (disclosed): {study.matching} of {study.records} records have their image here{rest}",
        )


def _directory(verdict: SetVerdict) -> Iterator[str]:
    disc = verdict.directory
    if disc is None:
        return
    if disc.fault:
        yield from ("", f"{disc.name} could not be used: {disc.fault}")
        return
    yield from (
        "",
        f"{disc.name} names {len(disc.named) + len(disc.missing)} files, {len(disc.named)} of them are here",
    )
    yield from _named(
        "Named by it and missing", (f"{e.path} ({e.kind} {e.sop_instance_uid}): {why}" for e, why in disc.missing)
    )
    yield from _named("Another object than it says", (f"{name}: {why}" for name, why in disc.others))
    yield from _named("DICOM files that it does not name", disc.unreferenced)
    yield from _named("Named by it more than once", disc.twice)


def json_pieces(verdict: SetVerdict) -> Iterator[str]:
    """The JSON object of the set (S9), in pieces: an image at a time, so that memory does not grow with the text."""
    before, _, after = report.json_text(_content(verdict)).partition(json.dumps(_PLACE))
    yield before
    for number, each in enumerate(verdict.rows):
        text = report.json_text(_image(each))
        if each.outcome is not None and each.outcome.verdict is not None:
            # No string of JSON holds a line feed, so that what is within is moved by moving its lines.
            whole = zlib.decompress(each.outcome.verdict).decode()
            text = text.replace('"verdict": null', '"verdict": ' + whole.replace("\n", "\n  "))
        yield (",\n    " if number else "") + text.replace("\n", "\n    ")
    yield after + "\n"


def _content(verdict: SetVerdict) -> dict[str, object]:
    return {
        "result": verdict.result,
        "exit_code": verdict.exit_code,
        "at": verdict.at,
        "counts": {result: verdict.counts[result] for result in _WORDS},
        "images": [_PLACE] if verdict.rows else [],
        "missing": [_unclaimed(each) for each in verdict.missing],
        "extra": verdict.extra,
        "invalid": [_unclaimed(each) for each in verdict.invalid],
        "unreadable": [{"evidence": name, "reason": why} for name, why in verdict.unreadable],
        "duplicates": [{"statement_id": id, "images": names} for id, names in verdict.duplicates],
        "further": [
            {"evidence": held.name, "statement_id": held.statement_id, "image": name} for held, name in verdict.further
        ],
        "studies": {
            uid: {"records": each.records, "matching": each.matching, "missing": each.missing}
            for uid, each in verdict.studies().items()
        },
        "directory": verdict.directory.facts() if verdict.directory is not None else None,
        "set_aside": verdict.aside,
        "not_proven": NOT_PROVEN,
    }


def _image(each: Row) -> dict[str, object]:
    outcome = each.outcome
    return {
        "name": each.name,
        "result": each.result,
        "reason": each.reason,
        "hint": each.hint,
        "rung": outcome.rung if outcome is not None else None,
        "evidence": outcome.held.name if outcome is not None else None,
        "statement_id": outcome.held.statement_id if outcome is not None else None,
        "synthetic": outcome is not None and outcome.synthetic,
        "verdict": None,
    }


def _unclaimed(outcome: Outcome) -> dict[str, object]:
    return {
        "evidence": outcome.held.name,
        "statement_id": outcome.held.statement_id,
        "sound": outcome.sound,
        "reason": outcome.reason,
        "disclosed": outcome.shown,
    }
