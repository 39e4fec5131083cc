"""What the holder of an image chose to show of a record: attributes, and single frames. Check 13 of proto/evidence.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from platemark import attributes, frame_proofs
from platemark.errors import PlatemarkError, ProofError
from platemark.verdict import FAIL, NOT_CHECKED, PASS, Check

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.evidence import Evidence
    from platemark.frame_proofs import FrameProofs
    from platemark.rungs import Digests
    from platemark.statement import Statement

__all__ = ["Disclosed", "open_disclosed"]

_DISCLOSURE = 13


@dataclass(frozen=True)
class Disclosed:
    """The check, and what it proved to be of the record: nothing unless it is PASS."""

    check: Check
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    frames: FrameProofs | None = None


def open_disclosed(evidence: Evidence, record: Statement, handed_over: bytes | None = None) -> Disclosed:
    """13: every shown attribute and every shown frame belongs to what the record signed.

    `handed_over` is a disclosure that came beside the evidence.
    """
    shown: dict[str, AttributeValue] = {}
    frames: FrameProofs | None = None
    found = []
    root = record.payload.get("attributes")
    try:
        given = [each for each in (evidence.disclosure, handed_over) if each is not None]
        if given and isinstance(root, bytes):
            for each in given:
                shown |= attributes.decode_disclosure(each).verified(root)
            found.append(f"{len(shown)} disclosed attributes are the ones that were signed")
        if evidence.frames is not None:
            frames = frame_proofs.decode(evidence.frames)
            _verify(frames, record)
            found.append(f"frame {frames.numbers} of {frames.count} is of the recorded {frames.rung}")
    except PlatemarkError as error:
        return Disclosed(Check(_DISCLOSURE, FAIL, str(error)))
    if not found:
        return Disclosed(Check(_DISCLOSURE, NOT_CHECKED, "no attribute was disclosed"))
    return Disclosed(Check(_DISCLOSURE, PASS, "; ".join(found)), shown, frames)


def _verify(frames: FrameProofs, record: Statement) -> None:
    """Raises ProofError when a frame is not of this record."""
    if record.kind != "capture":
        raise ProofError(f"a statement of kind {record.kind} has no frames")
    count = cast("int", record.payload.get("frames", 0))
    if count != frames.count:
        raise ProofError(f"the record has {count} frames, not {frames.count}")
    frames.verify(cast("Digests", record.payload["digests"]), media=cast("str", record.payload["media"]))
