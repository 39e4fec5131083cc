"""The option --frame of `platemark fetch`: single frames of a multi-frame object, proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import typer

from platemark import frame_proofs, statement
from platemark.errors import EvidenceError, ProofError

if TYPE_CHECKING:
    from platemark.evidence import Evidence
    from platemark.rungs import Digests, Measurement

__all__ = ["Frame", "with_frames"]

Frame: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]", help="Prove these frames, counted from 1, for whoever gets them without the rest."
    ),
]


def with_frames(evidence: Evidence, image: Measurement, wanted: str | None) -> Evidence:
    """The evidence with proofs of the frames in `wanted`, made from the whole object. Raises EvidenceError."""
    if wanted is None:
        return evidence
    numbers = [_number(text.strip()) for text in wanted.split(",")]
    try:
        proofs = frame_proofs.prove(image, numbers)
    except EvidenceError as error:
        raise EvidenceError("--frame", error.reason) from None
    payload = statement.decode(evidence.record.statement).payload
    try:
        proofs.verify(cast("Digests", payload.get("digests", {})), media=str(payload.get("media")))
    except ProofError as error:
        raise EvidenceError("--frame", f"these are not the frames of the record: {error}") from None
    return evidence.with_frames(proofs.to_bytes())


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(1 << 32)):
        raise EvidenceError("--frame", f"{text[:40]!r} is not the number of a frame")
    return int(text)
