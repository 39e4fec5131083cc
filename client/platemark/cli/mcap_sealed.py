"""What became of a recording that was to be sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platemark.recording.proof import RecordingProof
    from platemark.robot.model import KeptSegment
    from platemark.sealing.placing import Place

__all__ = ["Sealed", "advised"]


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What became of one recording.

    `status`: sealed; spooled (signed, waiting for a ledger); repeated (it was sealed before); refused (the ledger will not have
    it); failed; incomplete (not all of it is logged yet).
    """

    name: str
    status: str
    recording: bytes | None = None
    segments: int = 0
    messages: int = 0
    topics: int = 0
    evidence: Path | None = None
    conditions: tuple[str, ...] = ()
    reason: str = ""

    @property
    def bad(self) -> bool:
        """Whether this makes the command's exit code 1."""
        return self.status in {"refused", "failed", "incomplete"}

    def facts(self) -> dict[str, object]:
        """For --json."""
        return {
            "name": self.name,
            "status": self.status,
            "recording": self.recording,
            "segments": self.segments,
            "messages": self.messages,
            "topics": self.topics,
            "evidence": None if self.evidence is None else str(self.evidence),
            "conditions": list(self.conditions),
            "reason": self.reason,
        }

    @classmethod
    def of(
        cls,
        place: Place,
        status: str,
        recording: bytes,
        segments: Sequence[KeptSegment],
        *,
        proof: RecordingProof | None = None,
        reason: str = "",
    ) -> Sealed:
        """What there is to say of a recording that was signed."""
        conditions = {each for segment in proof.segments for each in segment.conditions} if proof else set()
        return cls(
            name=str(place.recording),
            status=status,
            recording=recording,
            segments=len(segments),
            messages=sum(each.segment.count for each in segments),
            topics=len({each.segment.channel.topic for each in segments}),
            evidence=place.evidence if proof is not None else None,
            conditions=tuple(sorted(conditions)),
            reason=reason,
        )


def advised(refused: str, *, begun: bytes, kid: bytes) -> str:
    """Why the ledger refuses, and what helps. `begun`: the key that signed what is refused; `kid`: the one that was given now."""
    if begun != kid:
        return f"{refused}; this seal was begun with that key, and not with --key: --force begins it anew"
    if refused.startswith("unknown-key"):
        return f"{refused}; enrol it (platemark enrol, --not-before the recording), then seal again"
    if refused.startswith("not-yet-valid"):
        return f"{refused}; --force seals with a key that was enrolled --not-before the recording"
    return refused
