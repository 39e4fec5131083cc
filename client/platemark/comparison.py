"""The image against the record: which rung matches, and whether the header is proven too.

Checks 14 and 15 of proto/evidence.md. `pixels` alone never clears a DICOM header: true pixels under another patient's
name must not pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark.frame_header import of_frames
from platemark.rungs import FRAME_RUNGS, HEADER_BINDING, RUNGS, SHA256, Digests, Measurement, strongest_match
from platemark.verdict import FAIL, NOT_CHECKED, PASS, Check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.attributes import AttributeValue
    from platemark.frame_proofs import FrameProofs
    from platemark.statement import Statement

__all__ = [
    "DIFFERS",
    "EQUAL",
    "NOT_DISCLOSED",
    "NOT_IN_FILE",
    "Compared",
    "check_header",
    "check_image",
    "compare_attributes",
]

EQUAL, DIFFERS, NOT_IN_FILE, NOT_DISCLOSED = "equal", "differs", "not-in-file", "not-disclosed"
_OF_THE_COPY = frozenset({"file_name"})  # what a copy may be called says nothing

_IMAGE, _HEADER = 14, 15
_DICOM = "application/dicom"
_COVERS = {
    "file": "the whole file is byte for byte the recorded one",
    "dataset": "the whole data set is byte for byte the recorded one",
    "content": "every signable element is the recorded one; the encoding may differ",
    "pixels": "the decoded pixels are the recorded ones",
    "codestream": "the compressed frames are byte for byte the recorded ones",
}


@dataclass(frozen=True)
class Compared:
    """Check 14, the strongest rung that matches, and the frames of the record that the image is when it is not whole."""

    check: Check
    rung: str | None = None
    shown: FrameProofs | None = None


def check_image(record: Statement, image: Measurement | None, shown: FrameProofs | None = None) -> Compared:
    """Check 14.

    `shown` are frames that check 13 proved to be of the record. They are looked at when the whole image does not match.
    """
    if image is None:
        return Compared(Check(_IMAGE, NOT_CHECKED, "no image was given"))
    if record.kind != "capture":
        return Compared(Check(_IMAGE, NOT_CHECKED, f"a statement of kind {record.kind} records no single image"))
    recorded = cast("Digests", record.payload["digests"])
    match = strongest_match(image.digests, recorded, content_alone=image.content_alone)
    if match.conflict is not None:
        reason = f"two hash algorithms contradict each other on rung {match.conflict}: one of them is broken"
        return Compared(Check(_IMAGE, NOT_CHECKED, reason))
    if match.rung is not None:
        left_out = f"; not covered: {_tags(image)}" if match.rung == "content" and image.uncovered else ""
        return Compared(Check(_IMAGE, PASS, f"rung {match.rung}: {_COVERS[match.rung]}{left_out}"), match.rung)
    comparable = (image.media == _DICOM) == (record.payload["media"] == _DICOM)
    if shown is not None and comparable and _shows(image, shown):
        reason = f"rung {shown.rung}: the image is frame {shown.numbers} of {shown.count} of the recorded one"
        return Compared(Check(_IMAGE, PASS, reason), shown.rung, shown)
    return Compared(_no_match(image, recorded, shown, comparable=comparable))


def _shows(image: Measurement, shown: FrameProofs) -> bool:
    """Whether the frames of the image are, in order, these ones and no others."""
    return shown.rung in image.digests and image.frame_digests == tuple(frame.digest for frame in shown.frames)


def _no_match(image: Measurement, recorded: Digests, shown: FrameProofs | None, *, comparable: bool) -> Check:
    """No rung matches: that is a result only if every rung that could still match was computed.

    DICOM objects and pictures have no rung but `file` in common, and `file` is always computed. Pictures of every kind
    share `pixels`. Whatever rung could not be computed, it does not match where the frames differ.
    """
    differing = [rung for rung in FRAME_RUNGS if _same(image.digests, recorded, rung) is False]
    if comparable and not differing and (reason := _undecided(image, recorded)):
        return Check(_IMAGE, NOT_CHECKED, reason)
    tried = [rung for rung in RUNGS if rung in recorded]
    hint = "; a lossy copy has this result too, so it is no proof of forgery"
    if shown is not None:
        hint += (
            f"; the evidence proves frame {shown.numbers} of {shown.count} alone, and the others have this result too"
        )
    return Check(_IMAGE, FAIL, f"no recorded digest matches ({', '.join(tried)}){hint}")


def _undecided(image: Measurement, recorded: Digests) -> str | None:
    """Why a recorded rung that does not match says nothing, or None when every one says that the image differs."""
    for rung in RUNGS:
        if rung in recorded and rung in image.uncomputed:
            why = image.absent.get(rung, "it was not measured")
            return f"rung {rung} is recorded and could not be computed here: {why}"
    match _same(image.digests, recorded, "content"):
        case True:
            return "rung content agrees, and no recorded rung proves what it does not cover of the frames"
        case False if image.uncovered:
            return f"rung content differs, and does not cover elements whose type the encoding lost ({_tags(image)})"
    return None


def _tags(image: Measurement) -> str:
    first, *more = sorted(image.uncovered)
    return f"({first >> 16:04X},{first & 0xFFFF:04X})" + (f" and {len(more)} more" if more else "")


def _same(measured: Digests, recorded: Digests, rung: str) -> bool | None:
    """Whether both sides agree on a rung; None when one of them lacks it."""
    ours, theirs = measured.get(rung, {}).get(SHA256), recorded.get(rung, {}).get(SHA256)
    return None if ours is None or theirs is None else ours == theirs


def check_header(
    rung: str,
    image: Measurement,
    disclosed: Mapping[str, AttributeValue],
    *,
    accept_pixels: bool,
    shown: FrameProofs | None = None,
) -> Check:
    """Check 15: the header is covered by the rung, or bound by opened attributes that equal the file's.

    `shown`: the image is these frames of the recorded one, and its header is compared with what they say.
    """
    if rung not in FRAME_RUNGS and (rung != "content" or image.content_covers_header):
        return Check(_HEADER, PASS, f"rung {rung} covers the header")
    if image.media != _DICOM:
        return Check(_HEADER, PASS, "an image of this kind names no patient; the file's metadata is not covered")
    matching = "content matches" if rung == "content" else "pixels match"
    found = {
        name: _equal(disclosed[name], image.attributes[name], shown)
        for name in sorted(HEADER_BINDING & disclosed.keys() & image.attributes.keys())
    }
    differing = [name for name, equal in found.items() if equal is False]
    if differing:
        reason = f"the {matching}, and the header does not; it differs from the record in {', '.join(differing)}"
        return Check(_HEADER, FAIL, reason)
    unproven = sorted(HEADER_BINDING - {name for name, equal in found.items() if equal})
    if not unproven:
        return Check(_HEADER, PASS, "patient, study, laterality and orientation are the recorded ones")
    if accept_pixels:
        return Check(_HEADER, PASS, "the header is not proven; the trust file accepts pixels alone")
    reason = f"the {matching}, the header is not proven; not disclosed: {', '.join(unproven)}"
    return Check(_HEADER, NOT_CHECKED, reason)


def compare_attributes(
    image: Measurement | None, disclosed: Mapping[str, AttributeValue], shown: FrameProofs | None
) -> dict[str, str]:
    """How each disclosed attribute, and each one of the file, stands (J7): empty where nothing was disclosed or measured."""
    if image is None or not disclosed:
        return {}
    stands = {}
    for name in sorted((disclosed.keys() | image.attributes.keys()) - _OF_THE_COPY):
        if name not in disclosed:
            stands[name] = NOT_DISCLOSED
        elif name not in image.attributes:
            stands[name] = EQUAL if disclosed[name] is None else NOT_IN_FILE
        else:
            stands[name] = EQUAL if _equal(disclosed[name], image.attributes[name], shown) else DIFFERS
    return stands


def _equal(recorded: AttributeValue, measured: AttributeValue, shown: FrameProofs | None) -> bool | None:
    """Whether the file's value is the recorded one, of the frames shown; None when the recorded one does not tell."""
    if shown is None:
        return recorded == measured
    try:
        return of_frames(recorded, [frame.index + 1 for frame in shown.frames]) == measured
    except LookupError:
        return None
