"""From proofs and a recording to the verdict: what decides, in which order (proto/segments.md section 4)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from platemark.errors import SegmentError
from platemark.recording import comparing
from platemark.recording.judging import judge
from platemark.recording.recorded import forks
from platemark.recording.verdict import RecordingFinding, RecordingVerdict
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from platemark.recording.comparing import SameDefinition, TopicFinding
    from platemark.recording.judging import Judged
    from platemark.recording.model import Fault, Source
    from platemark.recording.proof import RecordingProof
    from platemark.recording.segments import ProvenSegment
    from platemark.trust import Trust
    from platemark.verdict import Fact

__all__ = ["MAX_PROOFS", "check_recording", "conclude"]

MAX_PROOFS = 256
"""Recording proofs of one verification (G13)."""
_DIFFERENCES = (
    comparing.ALTERED,
    comparing.MOVED,
    comparing.DUPLICATED,
    comparing.INSERTED,
    comparing.REORDERED,
    comparing.DROPPED,
)
_SHARED_FACTS = (
    "log",
    "log_id",
    "log_size",
    "log_signatures",
    "not_later_than",
    "key_status_known_to",
    "device",
    "role",
    "kid",
)


def check_recording(
    source: Source,
    proofs: Iterable[RecordingProof],
    *,
    trust: Trust | None,
    at: int,
    allow_missing: bool = False,
    same_definition: SameDefinition | None = None,
) -> RecordingVerdict:
    """Judge a recording by these proofs (those in it, and those beside it), believing only `trust`, as of `at` (Unix ns).

    Raises RecordingError: the recording cannot be read. Raises SegmentError: more than MAX_PROOFS proofs.
    """
    given = {proof.to_bytes(): proof for proof in proofs}
    if len(given) > MAX_PROOFS:
        raise SegmentError("proofs", f"{len(given)} recording proofs, more than {MAX_PROOFS}")
    judged = [judge(given[data], trust=trust, at=at) for data in sorted(given)]
    topics = comparing.compare(source, judged, same_definition=same_definition)
    return conclude(topics, judged, source.faults, at=at, allow_missing=allow_missing)


def conclude(
    topics: Sequence[TopicFinding],
    judged: Sequence[Judged],
    faults: Sequence[Fault],
    *,
    at: int,
    allow_missing: bool = False,
) -> RecordingVerdict:
    """The result and its reason (D20, the first rule that applies)."""
    forked = tuple((recording[2].hex(), topic, number) for recording, topic, number in forks(judged))
    result, reason = (
        _invalid(judged)
        or _unproven(judged)
        or _differs(topics, faults, allow_missing=allow_missing)
        or _open(topics, judged, forked, allow_missing=allow_missing)
        or (MATCHES_RECORD, _matches(topics, judged))
    )
    found = tuple(sorted((_recording(each) for each in judged), key=lambda each: (each.recording, str(each.facts))))
    return RecordingVerdict(result, reason, at, tuple(topics), found, tuple(faults), forked, allow_missing)


def _invalid(judged: Sequence[Judged]) -> tuple[str, str] | None:
    for each in judged:
        if each.invalid:
            fault = next((segment.fault for segment in each.segments if segment.invalid), each.record.reason)
            return EVIDENCE_INVALID, f"recording {each.proof.recording.hex()}: {fault}"
    return None


def _unproven(judged: Sequence[Judged]) -> tuple[str, str] | None:
    """Without a segment that is relied on there is nothing to compare with, and a difference says nothing."""
    if not judged:
        return INCONCLUSIVE, "no recording proof was found, in the file or beside it"
    segments = [segment for each in judged for segment in each.segments]
    if not any(segment.relied for segment in segments):
        return INCONCLUSIVE, f"no segment is relied on: {segments[0].fault}"
    return None


def _differs(topics: Sequence[TopicFinding], faults: Sequence[Fault], *, allow_missing: bool) -> tuple[str, str] | None:
    said = [
        f"{each.topic}: {each.counts[kind]} {kind}"
        for each in topics
        for kind in _DIFFERENCES
        if each.counts[kind] and not (allow_missing and kind == comparing.DROPPED)
    ]
    said += [f"{each.where}: {each.reason}" for each in faults[:1]]
    return (DOES_NOT_MATCH, _some(said)) if said else None


def _open(
    topics: Sequence[TopicFinding], judged: Sequence[Judged], forked: Sequence[object], *, allow_missing: bool
) -> tuple[str, str] | None:
    said = [
        f"{each.topic}: {each.counts[kind]} {word}"
        for each in topics
        for kind, word in ((comparing.UNRECORDED, "not recorded"), (comparing.OTHER_SCHEMA, "under another schema"))
        if each.counts[kind]
    ]
    if not allow_missing:
        said += [
            f"{each.topic}: {_numbers(gap.first, gap.last)} missing from the evidence"
            for each in topics
            for gap in each.gaps
            if gap.between
        ]
        said += [
            f"{each.topic}: {each.cut_between} recorded messages lie between those that are here of several recordings"
            for each in topics
            if each.cut_between
        ]
    if forked:
        said.append(f"{len(forked)} segments of which one key signed two")
    unrelied = [segment.fault for each in judged for segment in each.segments if not segment.relied]
    if unrelied:
        said.append(f"{len(unrelied)} segments are not relied on: {unrelied[0]}")
    if not any(each.counts[comparing.PROVEN] for each in topics):
        said.append("the file has no message that a segment proves")
    return (INCONCLUSIVE, _some(said)) if said else None


def _numbers(first: int, last: int) -> str:
    return f"segment {first} is" if first == last else f"segments {first} to {last} are"


def _some(said: Sequence[str]) -> str:
    more = len(said) - 3
    return "; ".join(said[:3]) + (f"; and {more} more" if more > 0 else "")


def _matches(topics: Sequence[TopicFinding], judged: Sequence[Judged]) -> str:
    proven = sum(each.counts[comparing.PROVEN] for each in topics)
    shown = sum(1 for each in topics if not each.absent)
    cut = sum(each.counts[comparing.CUT] for each in topics)
    absent = sum(1 for each in topics if each.absent)
    reason = f"{proven} messages of {shown} topic{'s' * (shown != 1)} are proven"
    if cut:
        reason += f"; {cut} recorded ones lie outside the file"
    reason += f", {absent} topics are not in it" if absent else ""
    recordings = len({each.recording for each in judged})
    return reason + (
        f"; of {recordings} recordings, and what was between one and another is not shown" if recordings > 1 else ""
    )


def _recording(judged: Judged) -> RecordingFinding:
    relied = [each.segment for each in judged.segments if each.relied]
    reasons = Counter(each.fault for each in judged.segments if each.fault is not None)
    conditions = Counter(word for each in judged.segments for word in each.segment.conditions)
    facts: dict[str, Fact] = {}
    if relied:
        facts = {name: judged.record.facts[name] for name in _SHARED_FACTS if name in judged.record.facts}
        facts |= _facts(relied)
    return RecordingFinding(
        recording=judged.proof.recording.hex(),
        segments=len(judged.segments),
        relied=len(relied),
        reasons=tuple(sorted(reasons.items())),
        conditions=tuple(sorted(conditions.items())),
        facts=facts,
    )


def _facts(relied: Sequence[ProvenSegment]) -> dict[str, Fact]:
    """What the signatures of these segments cover, as far as it differs between them."""
    said = [each.said.payload for each in relied]
    clocks = [cast("Mapping[str, str | int | None]", each["clock"]) for each in said]
    errors = [each["error_ns"] for each in clocks]
    facts: dict[str, Fact] = {
        "first": min(cast("int", each["first"]) for each in said),
        "last": max(cast("int", each["last"]) for each in said),
        "first_index": min(each.index for each in relied),
        "last_index": max(each.index for each in relied),
        "topics": tuple(sorted({each.channel.topic for each in relied})),
        "clocks": tuple(sorted({cast("str", each["source"]) for each in clocks})),
        "places_not_shown": _places_not_shown(relied),
    }
    if all(isinstance(each, int) for each in errors):
        facts["clock_error_ns"] = max(cast("list[int]", errors))
    return facts


def _places_not_shown(relied: Sequence[ProvenSegment]) -> int:
    """Places of the key's chain (proto/statement.md O1) between the first and the last shown of an epoch, without the shown."""
    epochs: dict[int, set[int]] = {}
    for each in relied:
        epochs.setdefault(each.said.epoch or 0, set()).add(each.said.seq or 0)
    return sum(max(seqs) - min(seqs) + 1 - len(seqs) for seqs in epochs.values())
