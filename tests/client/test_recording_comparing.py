"""The messages of a file against the recorded ones: every change is named for what it is (proto/segments.md section 3)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proven_recordings import (
    LEFT,
    RIGHT,
    SCHEMA,
    STEP,
    MemorySource,
    frames,
    log_of_sensor,
    message,
    proof,
    recorded,
    say_segment,
)

from builders import MODALITY, NOW, Log
from platemark.recording.comparing import CLASSES, TopicFinding, compare
from platemark.recording.judging import Judged, judge
from platemark.recording.model import Message
from platemark.recording.proof import RecordingProof
from platemark.segment import Channel

LATER = NOW + 10**13
ANOTHER_TEXT = Channel.of(
    "/left", type_name="cam/Image", schema_encoding="ros2msg", schema=b"# frames\nuint8[] data\n", encoding="cdr"
)


def _judged(log: Log, *proofs: RecordingProof) -> list[Judged]:
    return [judge(each, trust=log.trust(), at=LATER) for each in proofs]


def _sealed(messages: Sequence[Message], *, size: int = 10) -> list[Judged]:
    log = log_of_sensor()
    return _judged(log, proof(log, recorded(log, messages, size=size), schemas=(SCHEMA,)))


def found(messages: Sequence[Message], judged: Sequence[Judged], topic: str = "/left") -> TopicFinding:
    """The finding of one topic, after what holds of every finding."""
    findings = compare(
        MemorySource(messages), judged, same_definition=lambda _, a, b: a == SCHEMA and b == ANOTHER_TEXT
    )
    for each in findings:
        mine = [one for one in messages if one.channel.topic == each.topic]
        assert sum(each.counts[kind] for kind in CLASSES if kind not in {"dropped", "cut"}) == len(mine)
        assert sum(one.count for one in each.ranges) == sum(each.counts.values())
        assert [one.first for one in each.ranges] == sorted(one.first for one in each.ranges)
    return next(each for each in findings if each.topic == topic)


def counts(finding: TopicFinding) -> dict[str, int]:
    """The classes that are there."""
    return {kind: count for kind, count in finding.counts.items() if count}


FRAMES = frames(LEFT, 30)
_JUDGED = _sealed(FRAMES)


def _data(number: int) -> list[Message]:
    return [*FRAMES[:number], message(LEFT, number, b"another"), *FRAMES[number + 1 :]]


def _exchange(one: int, other: int) -> list[Message]:
    """The data of two messages exchanged."""
    changed = list(FRAMES)
    changed[one] = replace(FRAMES[one], digest=FRAMES[other].digest)
    changed[other] = replace(FRAMES[other], digest=FRAMES[one].digest)
    return changed


def _with(number: int, **changes: object) -> list[Message]:
    return [*FRAMES[:number], replace(FRAMES[number], **changes), *FRAMES[number + 1 :]]  # type: ignore[arg-type]


CASES: list[tuple[str, Callable[[], list[Message]], dict[str, int]]] = [
    ("nothing changed", lambda: FRAMES, {"proven": 30}),
    ("a clip", lambda: FRAMES[7:18], {"proven": 11, "cut": 19}),
    ("a byte of data", lambda: _data(12), {"proven": 29, "altered": 1}),
    ("the first one's data", lambda: _data(0), {"proven": 29, "altered": 1}),
    ("one dropped", lambda: FRAMES[:12] + FRAMES[13:], {"proven": 29, "dropped": 1}),
    ("every second dropped", lambda: FRAMES[::2], {"proven": 15, "dropped": 14, "cut": 1}),
    ("one twice", lambda: [*FRAMES, FRAMES[4]], {"proven": 30, "duplicated": 1}),
    (
        "a copy at another time",
        lambda: [*FRAMES, replace(FRAMES[4], log_time=NOW + 9 * STEP + 7)],
        {"proven": 30, "duplicated": 1},
    ),
    ("a copy in another's place", lambda: _with(9, digest=FRAMES[4].digest), {"proven": 29, "altered": 1}),
    ("one moved in time", lambda: _with(9, log_time=NOW + 15 * STEP + 7), {"proven": 29, "moved": 1}),
    ("one moved behind the end", lambda: _with(9, log_time=NOW + 99 * STEP), {"proven": 29, "moved": 1}),
    ("two exchanged", lambda: _exchange(5, 21), {"proven": 28, "moved": 2}),
    ("one inserted", lambda: [*FRAMES, message(LEFT, 4, b"new")], {"proven": 30, "inserted": 1}),
    (
        "one inserted between",
        lambda: [*FRAMES, replace(message(LEFT, 4, b"new"), log_time=NOW + 9 * STEP + 7)],
        {"proven": 30, "inserted": 1},
    ),
    ("one behind the end", lambda: [*FRAMES, message(LEFT, 40, b"new")], {"proven": 30, "unrecorded": 1}),
    ("a publish time", lambda: _with(9, publish_time=1), {"proven": 29, "altered": 1}),
    ("a type", lambda: _with(9, channel=Channel.of("/left", type_name="b")), {"proven": 29, "altered": 1}),
    ("a schema", lambda: _with(9, channel=replace(LEFT, schema=bytes(32))), {"proven": 29, "other-schema": 1}),
    ("nothing", list, {"cut": 30}),
    ("another topic", lambda: frames(RIGHT, 3), {"cut": 30}),
]


@pytest.mark.parametrize(("make", "expected"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_classes(make: Callable[[], list[Message]], expected: dict[str, int]) -> None:
    """What happened to a recording is named, with its number of messages."""
    assert expected == counts(found(make(), _JUDGED))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_single_change(data: st.DataObject) -> None:
    """One change to a file is named at its message, and every other message stays proven."""
    number = data.draw(st.integers(1, 28))
    kind = data.draw(st.sampled_from(["altered", "dropped", "duplicated", "moved", "inserted"]))
    changed = list(FRAMES)
    at = FRAMES[number].log_time
    if kind == "altered":
        changed = _data(number)
    elif kind == "dropped":
        del changed[number]
    elif kind == "duplicated":
        changed.append(FRAMES[number])
    elif kind == "moved":
        at = NOW + data.draw(st.integers(1, 29 * STEP - 1).filter(lambda ns: ns % STEP))
        changed = _with(number, log_time=at)
    else:
        at = NOW + data.draw(st.integers(1, 29 * STEP - 1))
        changed.append(replace(message(LEFT, 0, b"new"), log_time=at))
    finding = found(changed, _JUDGED)
    assert counts(finding) == {"proven": 30 if kind in {"duplicated", "inserted"} else 29, kind: 1}
    (place,) = [each for each in finding.ranges if each.kind == kind]
    assert (place.first, place.last) == (at, at)
    if kind == "moved":
        assert place.recorded == (FRAMES[number].log_time,) * 2


_FEW = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 1)).map(
        lambda each: Message(LEFT, NOW + each[0], NOW + each[2] * each[0], bytes([each[1]]) * 32, 1)
    ),
    max_size=12,
)


@given(_FEW.filter(bool), _FEW)
@settings(max_examples=60, deadline=None)
def test_each_in_one_class(recorded_ones: list[Message], in_file: list[Message]) -> None:
    """Whatever is recorded and whatever is there, messages alike included: each message and each row counts once."""
    finding = found(in_file, _sealed(recorded_ones, size=3))
    used = sum(finding.counts[kind] for kind in ("proven", "altered", "moved", "reordered", "other-schema"))
    assert used + finding.counts["dropped"] + finding.counts["cut"] == len(recorded_ones)
    assert finding.counts["proven"] + finding.counts["reordered"] <= len(recorded_ones)


@given(_FEW.filter(bool))
@settings(max_examples=40, deadline=None)
def test_the_recording_itself(messages: list[Message]) -> None:
    """A recording is proven as a whole, however its clock jumps and its messages repeat; only order at one time may differ."""
    finding = found(messages, _sealed(messages, size=3))
    assert counts(finding) == {"proven": len(messages)}


def test_publish_time_that_a_tool_dropped() -> None:
    """A file that says the log time for publish time is proven, and it is said how many do."""
    finding = found([replace(each, publish_time=each.log_time) for each in FRAMES], _JUDGED)
    assert (counts(finding), finding.publish_times_dropped) == ({"proven": 30}, 30)


def test_schema_in_another_text() -> None:
    """Another text of the same definition is proven where the proof brings the recorded one, else not."""
    rewritten = [replace(each, channel=ANOTHER_TEXT) for each in FRAMES]
    finding = found(rewritten, _JUDGED)
    assert (counts(finding), finding.schemas_rewritten) == ({"proven": 30}, 30)
    log = log_of_sensor()
    without = _judged(log, proof(log, recorded(log, FRAMES)))
    assert counts(found(rewritten, without)) == {"other-schema": 30}


def test_order_at_one_time() -> None:
    """Messages of one log time that stand in another order than recorded are reordered."""
    together = [message(LEFT, 0, bytes([number])) for number in range(4)]
    judged = _sealed(together)
    assert counts(found(together, judged)) == {"proven": 4}
    exchanged = [together[0], together[2], together[1], together[3]]
    assert counts(found(exchanged, judged)) == {"proven": 3, "reordered": 1}


def test_segment_left_out_of_the_evidence() -> None:
    """Whoever drops messages together with the proof of their segment leaves a gap between those on its sides."""
    log = log_of_sensor()
    segments = recorded(log, FRAMES)
    judged = _judged(log, proof(log, [segments[0], segments[2]]))
    finding = found(FRAMES[:10] + FRAMES[20:], judged)
    assert counts(finding) == {"proven": 20}
    (gap,) = finding.gaps
    assert (gap.first, gap.last, gap.between) == (1, 1, True)
    assert (gap.after, gap.before) == (FRAMES[9].log_time, FRAMES[20].log_time)
    assert [each.between for each in found(FRAMES[:10], judged).gaps] == [False]
    assert counts(found(FRAMES, judged)) == {"proven": 20, "unrecorded": 10}


def test_numbers_at_the_end_of_what_is_there() -> None:
    """A gap of nearly 2^63 segments is one gap."""
    log = log_of_sensor()
    segments = [say_segment(log, FRAMES[:3], 0), say_segment(log, FRAMES[3:6], (1 << 63) - 1)]
    finding = found(FRAMES[:6], _judged(log, proof(log, segments)))
    assert [(each.first, each.last) for each in finding.gaps] == [(1, (1 << 63) - 2)]


def test_single_messages() -> None:
    """Messages that are shown alone prove themselves, cover nothing, and leave a gap between them."""
    log = log_of_sensor()
    whole = proof(log, recorded(log, FRAMES))
    judged = _judged(log, whole.single("/left", (0, 4)), whole.single("/left", (0, 6)), whole.single("/left", (0, 5)))
    assert counts(found(FRAMES[4:7], judged)) == {"proven": 3}
    assert found(FRAMES[4:7], judged).gaps == ()
    assert counts(found([FRAMES[4], FRAMES[6]], judged)) == {"proven": 2, "dropped": 1}
    apart = _judged(log, whole.single("/left", (0, 4)), whole.single("/left", (1, 6)))
    finding = found([FRAMES[4], FRAMES[16], message(LEFT, 9, b"new")], apart)
    assert counts(finding) == {"proven": 2, "unrecorded": 1}
    assert [(each.first, each.last, each.between) for each in finding.gaps] == [(0, 1, True)]


def test_two_recordings_of_the_same_messages() -> None:
    """Who sealed a file after its recorder proves it too; a copy is not proven by being recorded twice."""
    log = log_of_sensor()
    log.enrol(MODALITY, role="sensor")
    first = recorded(log, FRAMES)
    second = recorded(log, FRAMES, by=MODALITY, size=7, recording=bytes(16))
    judged = _judged(log, proof(log, first), proof(log, second, enrolment=2, recording=bytes(16)))
    assert counts(found(FRAMES, judged)) == {"proven": 30}
    assert counts(found([*FRAMES, FRAMES[3]], judged)) == {"proven": 30, "duplicated": 1}
    assert counts(found(FRAMES[:3] + FRAMES[4:], judged)) == {"proven": 29, "dropped": 1}
    partly = _judged(log, proof(log, [first[0], first[2]]), proof(log, second, enrolment=2, recording=bytes(16)))
    assert [each.between for each in found(FRAMES, partly).gaps] == [False]


def test_a_gap_is_not_hidden_by_another_sensor() -> None:
    """What another recording has of the same topic and time says nothing of the messages that are left out of the first."""
    log = log_of_sensor()
    segments = recorded(log, FRAMES)
    others = [replace(message(LEFT, n, f"other {n}".encode()), log_time=NOW + n * STEP + 5) for n in range(30)]
    second = proof(log, recorded(log, others, recording=bytes(16)), recording=bytes(16))
    judged = _judged(log, proof(log, [segments[0], segments[2]]), second)
    finding = found(FRAMES[:10] + FRAMES[20:] + others, judged)
    assert counts(finding) == {"proven": 50}
    assert [each.between for each in finding.gaps] == [True]


def test_cut_together_from_two() -> None:
    """A file that is made of two recordings is proven by both, and what lies between them is cut."""
    log = log_of_sensor()
    later = [replace(each, log_time=each.log_time + 100 * STEP) for each in frames(LEFT, 20, 50)]
    one = proof(log, recorded(log, FRAMES))
    other = proof(log, recorded(log, later, recording=bytes(16)), recording=bytes(16))
    assert counts(found(FRAMES[3:25] + later[4:], _judged(log, one, other))) == {"proven": 38, "cut": 12}


def test_a_segment_in_two_proofs() -> None:
    """A segment that two proofs show counts once."""
    log = log_of_sensor()
    segments = recorded(log, FRAMES)
    judged = _judged(log, proof(log, segments[:2]), proof(log, segments[1:]))
    assert counts(found(FRAMES, judged)) == {"proven": 30}
    assert found(FRAMES, judged).segments == 3


@pytest.mark.parametrize("alike", ["time", "data", "both", "neither"])
def test_many_alike(alike: str) -> None:
    """Twenty thousand messages that are alike take no longer than as many that are not."""
    count = 20_000
    made = [
        Message(
            LEFT,
            NOW + (0 if alike in {"time", "both"} else number),
            NOW,
            (0 if alike in {"data", "both"} else number).to_bytes(32, "big"),
            1,
        )
        for number in range(count)
    ]
    judged = _sealed(made, size=count)
    began = time.process_time()
    finding = found([*made[: count // 2], *(replace(each, publish_time=3) for each in made)], judged)
    assert time.process_time() - began < 10
    assert sum(finding.counts.values()) >= count
