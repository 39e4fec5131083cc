"""The image against the record: which rung matches, and whether the header is proven too.

Checks 14 and 15 of proto/evidence.md. `pixels` alone never clears a DICOM header: true pixels under another patient's
name must not pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from platemark.rungs import HEADER_BINDING, RUNGS, Digests, Measurement, strongest_match
from platemark.verdict import FAIL, NOT_CHECKED, PASS, Check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.attributes import AttributeValue
    from platemark.statement import Statement

__all__ = ["check_header", "check_image"]

_IMAGE, _HEADER = 14, 15
_DICOM = "application/dicom"
_PIXEL_RUNGS = frozenset({"pixels", "codestream"})
_COVERS = {
    "file": "the whole file is byte for byte the recorded one",
    "dataset": "the whole data set is byte for byte the recorded one",
    "content": "every signable element is the recorded one; the encoding may differ",
    "pixels": "the decoded pixels are the recorded ones",
    "codestream": "the compressed frames are byte for byte the recorded ones",
}


def check_image(record: Statement, image: Measurement | None) -> tuple[Check, str | None]:
    """Check 14 and the strongest rung that matches."""
    if image is None:
        return Check(_IMAGE, NOT_CHECKED, "no image was given"), None
    if record.kind != "capture":
        return Check(_IMAGE, NOT_CHECKED, f"a statement of kind {record.kind} records no single image"), None
    recorded = cast("Digests", record.payload["digests"])
    match = strongest_match(image.digests, recorded)
    if match.conflict is not None:
        reason = f"two hash algorithms contradict each other on rung {match.conflict}: one of them is broken"
        return Check(_IMAGE, NOT_CHECKED, reason), None
    if match.rung is not None:
        return Check(_IMAGE, PASS, f"rung {match.rung}: {_COVERS[match.rung]}"), match.rung
    return _no_match(image, recorded, comparable=(image.media == _DICOM) == (record.payload["media"] == _DICOM)), None


def _no_match(image: Measurement, recorded: Digests, *, comparable: bool) -> Check:
    """No rung matches: that is a result only if every rung that could still match was computed.

    DICOM objects and pictures have no rung but `file` in common, and `file` is always computed. Pictures of every kind
    share `pixels`.
    """
    for rung in RUNGS:
        if not comparable or rung not in recorded or rung not in image.uncomputed:
            continue
        reason = (
            f"rung {rung} is recorded and could not be computed here: {image.absent.get(rung, 'it was not measured')}"
        )
        return Check(_IMAGE, NOT_CHECKED, reason)
    tried = [rung for rung in RUNGS if rung in recorded]
    hint = "; a lossy copy has this result too, so it is no proof of forgery"
    return Check(_IMAGE, FAIL, f"no recorded digest matches ({', '.join(tried)}){hint}")


def check_header(
    rung: str, image: Measurement, disclosed: Mapping[str, AttributeValue], *, accept_pixels: bool
) -> Check:
    """Check 15: the header is covered by the rung, or bound by opened attributes that equal the file's."""
    if rung not in _PIXEL_RUNGS:
        return Check(_HEADER, PASS, f"rung {rung} covers the header")
    if image.media != _DICOM:
        return Check(_HEADER, PASS, "an image of this kind names no patient; the file's metadata is not covered")
    shown = HEADER_BINDING & disclosed.keys() & image.attributes.keys()
    differing = sorted(name for name in shown if disclosed[name] != image.attributes[name])
    if differing:
        reason = f"the pixels match, and the header does not; it differs from the record in {', '.join(differing)}"
        return Check(_HEADER, FAIL, reason)
    unproven = sorted(HEADER_BINDING - shown)
    if not unproven:
        return Check(_HEADER, PASS, "patient, study, laterality and orientation are the recorded ones")
    if accept_pixels:
        return Check(_HEADER, PASS, "the header is not proven; the trust file accepts pixels alone")
    reason = f"the pixels match, the header is not proven; not disclosed: {', '.join(unproven)}"
    return Check(_HEADER, NOT_CHECKED, reason)
