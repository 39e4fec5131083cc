"""The verdict on a recording: what its messages are, topic by topic, and one result (proto/segments.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import report
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, EXIT_CODES, INCONCLUSIVE, MATCHES_RECORD

if TYPE_CHECKING:
    from platemark.recording.comparing import TopicFinding
    from platemark.recording.model import Fault
    from platemark.verdict import Fact

__all__ = ["NOT_PROVEN", "RecordingFinding", "RecordingVerdict"]

NOT_PROVEN = (
    "that the sensors saw what was there, that their clocks were right, or that the devices were honest",
    "that what the evidence does not show was never recorded: other topics, other times, segments that were left out",
    "that no later policy or revocation of the log was held back",
)
_ADVICE = {
    MATCHES_RECORD: "Every message of the file is one that a known device registered.",
    DOES_NOT_MATCH: "The evidence is sound, and this file is not what was recorded.",
    INCONCLUSIVE: "Not settled: a part of the file, or of the evidence, could not be judged.",
    EVIDENCE_INVALID: "The evidence itself failed a check: do not rely on it.",
}


@dataclass(frozen=True)
class RecordingFinding:
    """One proof. `facts` are empty unless a segment is relied on, and then cover those that are.

    `reasons` says why others are not: reason, number of segments. `conditions`: how many segments each was reported for.
    """

    recording: str
    segments: int
    relied: int
    reasons: tuple[tuple[str, int], ...]
    conditions: tuple[tuple[str, int], ...]
    facts: dict[str, Fact]


@dataclass(frozen=True)
class RecordingVerdict:
    """The outcome for one recording. Same input, same verdict.

    `forks`: recording (hex), topic and number of segments of which one key signed two.
    """

    result: str
    reason: str
    at: int
    topics: tuple[TopicFinding, ...]
    recordings: tuple[RecordingFinding, ...]
    faults: tuple[Fault, ...] = ()
    forks: tuple[tuple[str, str, int], ...] = ()
    allow_missing: bool = False

    @property
    def exit_code(self) -> int:
        """0 matches, 1 does not match, 3 inconclusive, 4 evidence invalid."""
        return EXIT_CODES[self.result]

    @property
    def advice(self) -> str:
        """The result in a sentence."""
        if self.result == MATCHES_RECORD and not self.allow_missing:
            return f"{_ADVICE[self.result]} Of what the evidence shows of a recording, none is missing between them."
        return _ADVICE[self.result]

    def to_json(self) -> str:
        """One object (J1 to J4 of proto/evidence.md hold): the same verdict gives the same bytes."""
        return report.json_text(
            {
                "result": self.result,
                "exit_code": self.exit_code,
                "reason": self.reason,
                "at": self.at,
                "allow_missing": self.allow_missing,
                "topics": [_topic(each) for each in self.topics],
                "recordings": [
                    {
                        "recording": each.recording,
                        "segments": each.segments,
                        "relied_on": each.relied,
                        "not_relied_on": [{"reason": reason, "segments": count} for reason, count in each.reasons],
                        "conditions_reported": dict(each.conditions),
                        "facts": dict(each.facts),
                    }
                    for each in self.recordings
                ],
                "faults": [{"where": each.where, "reason": each.reason} for each in self.faults],
                "forks": [
                    {"recording": recording, "topic": topic, "number": number}
                    for recording, topic, number in self.forks
                ],
                "not_proven": NOT_PROVEN,
            }
        )


def _topic(finding: TopicFinding) -> dict[str, object]:
    return {
        "topic": finding.topic,
        "segments": finding.segments,
        "absent": finding.absent,
        "counts": dict(finding.counts),
        "ranges": [
            {
                "kind": each.kind,
                "first": each.first,
                "last": each.last,
                "count": each.count,
                **(
                    {}
                    if each.recorded is None
                    else {"recorded_first": each.recorded[0], "recorded_last": each.recorded[1]}
                ),
            }
            for each in finding.ranges
        ],
        "gaps": [
            {"first": e.first, "last": e.last, "after": e.after, "before": e.before, "between": e.between}
            for e in finding.gaps
        ],
        "publish_times_dropped": finding.publish_times_dropped,
        "schemas_rewritten": finding.schemas_rewritten,
        "cut_between": finding.cut_between,
    }
