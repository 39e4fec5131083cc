"""The verdict on a recording: which result comes first, what is said, and the picture (proto/segments.md sections 4 and 5)."""

import json
import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

import pytest
from proven_recordings import (
    LEFT,
    RIGHT,
    STEP,
    MemorySource,
    frames,
    log_of_sensor,
    message,
    proof,
    recorded,
    say_segment,
    with_segment,
)

from builders import NOW
from platemark.errors import SegmentError
from platemark.recording import conclusion, timeline
from platemark.recording.comparing import CLASSES
from platemark.recording.conclusion import check_recording
from platemark.recording.model import Fault, Message
from platemark.recording.proof import RecordingProof
from platemark.recording.verdict import RecordingVerdict
from platemark.segment import Channel

AT = NOW + 200 * STEP
FRAMES = frames(LEFT, 30) + frames(RIGHT, 30)
_LOG = log_of_sensor()
_SEGMENTS = recorded(_LOG, FRAMES)
_PROOF = proof(_LOG, _SEGMENTS)


def verdict(
    messages: Sequence[Message],
    *proofs: RecordingProof,
    trusting: bool = True,
    allow_missing: bool = False,
    faults: Sequence[Fault] = (),
) -> RecordingVerdict:
    """The verdict on a source in memory."""
    source = MemorySource(messages, list(faults))
    trust = _LOG.trust() if trusting else None
    return check_recording(source, proofs or (_PROOF,), trust=trust, at=AT, allow_missing=allow_missing)


def _broken() -> RecordingProof:
    return with_segment(_PROOF, 0, path=_PROOF.segments[1].path)


def _gap() -> RecordingProof:
    return proof(_LOG, [each for each in _SEGMENTS if each.channel is LEFT][::2])


LEFT_FRAMES = FRAMES[:30]
DAMAGE = Fault("chunk at byte 4096", "its CRC is wrong")
CASES: list[tuple[str, Callable[[], RecordingVerdict], int, str]] = [
    ("whole", lambda: verdict(FRAMES), 0, "60 messages of 2 topics are proven"),
    (
        "a clip",
        lambda: verdict(FRAMES[5:25]),
        0,
        "20 messages of 1 topic are proven; 40 recorded ones lie outside the file",
    ),
    ("no proof", lambda: check_recording(MemorySource(FRAMES), (), trust=_LOG.trust(), at=AT), 3, "no recording proof"),
    ("no trust", lambda: verdict(FRAMES, trusting=False), 3, "no segment is relied on: trust: no trust file"),
    ("no trust, altered", lambda: verdict([message(LEFT, 3, b"x")], trusting=False), 3, "no segment is relied on"),
    ("no message", lambda: verdict([]), 3, "no message that a segment proves"),
    ("altered", lambda: verdict([*FRAMES[1:], message(LEFT, 0, b"x")]), 1, "/left: 1 altered"),
    ("dropped", lambda: verdict(FRAMES[:3] + FRAMES[4:]), 1, "/left: 1 dropped"),
    ("dropped, allowed", lambda: verdict(FRAMES[:3] + FRAMES[4:], allow_missing=True), 0, "59 messages"),
    ("altered, missing allowed", lambda: verdict([message(LEFT, 3, b"x")], allow_missing=True), 1, "1 altered"),
    ("damaged", lambda: verdict(FRAMES, faults=[DAMAGE]), 1, "chunk at byte 4096: its CRC is wrong"),
    ("an unknown topic", lambda: verdict([*FRAMES, message(Channel.of("/new"), 1)]), 3, "/new: 1 not recorded"),
    ("a broken segment", lambda: verdict(FRAMES, _broken()), 4, "inclusion"),
    ("broken and altered", lambda: verdict([message(LEFT, 0, b"x")], _broken()), 4, "inclusion"),
    ("broken, without trust", lambda: verdict(FRAMES, _broken(), trusting=False), 4, "inclusion"),
    (
        "a segment left out",
        lambda: verdict(LEFT_FRAMES[:10] + LEFT_FRAMES[20:], _gap()),
        3,
        "/left: segment 1 is missing from the evidence",
    ),
    ("left out, allowed", lambda: verdict(LEFT_FRAMES[:10] + LEFT_FRAMES[20:], _gap(), allow_missing=True), 0, "20"),
]


@pytest.mark.parametrize(("make", "code", "said"), [each[1:] for each in CASES], ids=[each[0] for each in CASES])
def test_result(make: Callable[[], RecordingVerdict], code: int, said: str) -> None:
    """The first rule that applies decides, and the reason names what it found."""
    found = make()
    assert found.exit_code == code
    assert said in found.reason


def test_fork() -> None:
    """Two segments of one key with one number are named, and settle nothing."""
    log = log_of_sensor()
    one, other = say_segment(log, FRAMES[:5], 0), say_segment(log, FRAMES[5:10], 0)
    proofs = [proof(log, [one]), proof(log, [other])]
    found = check_recording(MemorySource(FRAMES[:10]), proofs, trust=log.trust(), at=AT)
    assert (found.exit_code, found.forks) == (3, ((proofs[0].recording.hex(), "/left", 0),))
    assert "one key signed two" in found.reason


def test_signed_twice() -> None:
    """A segment that was signed a second time with the same messages is a fork, and makes none of them missing."""
    log = log_of_sensor()
    one, other = say_segment(log, FRAMES[:5], 0), say_segment(log, FRAMES[:5], 0)
    proofs = [proof(log, [one]), proof(log, [other])]
    found = check_recording(MemorySource(FRAMES[:5]), proofs, trust=log.trust(), at=AT)
    assert (found.exit_code, found.topics[0].counts["proven"], len(found.forks)) == (3, 5, 1)


def test_same_bytes() -> None:
    """The same input gives the same JSON, whatever the order of the proofs, and one that is given twice counts once."""
    parts = [proof(_LOG, _SEGMENTS[:3]), proof(_LOG, _SEGMENTS[3:])]
    found = verdict(FRAMES, *parts)
    assert found.exit_code == 0
    assert found.to_json() == verdict(FRAMES, *reversed(parts), parts[0]).to_json()


def test_json() -> None:
    """The JSON has the members of section 5, and facts only of what is relied on."""
    content = json.loads(verdict(FRAMES[5:25]).to_json())
    assert set(content) == {
        *("result", "exit_code", "reason", "at", "allow_missing", "not_proven"),
        *("topics", "recordings", "faults", "forks"),
    }
    assert [set(each["counts"]) for each in content["topics"]] == [set(CLASSES)] * 2
    assert [(each["kind"], each["count"]) for each in content["topics"][0]["ranges"]] == [
        ("cut", 5),
        ("proven", 20),
        ("cut", 5),
    ]
    assert [each["absent"] for each in content["topics"]] == [False, True]
    assert content["recordings"][0]["facts"]["places_not_shown"] == 0
    assert json.loads(verdict(FRAMES, trusting=False).to_json())["recordings"][0]["facts"] == {}


def test_places_not_shown() -> None:
    """What lies between shown segments in the key's chain is counted."""
    (found,) = verdict(FRAMES, _gap()).recordings
    assert found.facts["places_not_shown"] == 3


def test_conditions_are_reported() -> None:
    """What the ledger reported is shown as reported, by the number of segments."""
    (found,) = verdict(FRAMES, proof(_LOG, _SEGMENTS, conditions=("gap", "late"))).recordings
    assert found.conditions == (("gap", 6), ("late", 6))


def test_too_many_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """More proofs than the limit are refused before any is judged."""
    monkeypatch.setattr(conclusion, "MAX_PROOFS", 1)
    with pytest.raises(SegmentError, match="more than 1"):
        verdict(FRAMES, _PROOF, _gap())


def test_cells() -> None:
    """A row shows where each class is, the worst of what falls into a cell."""
    changed = [*FRAMES[5:10], message(LEFT, 10, b"x"), *FRAMES[11:25]]
    (left, right) = timeline.rows(verdict(changed).topics, width=30)
    assert (left.topic, left.text) == ("/left", ".....#####X##############.....")
    assert right.text == "." * 30
    assert set(timeline.rows(verdict(changed).topics, width=1)[0].text) == {"X"}


def test_marks() -> None:
    """Every class has a mark, and no two have the same character."""
    assert set(timeline.LEGEND) == set(CLASSES)
    assert len({mark.cell for mark in timeline.LEGEND.values()}) == len(CLASSES)


HOSTILE = "/<script>&\"'</text>\u202e"


def test_svg_says_names_as_text() -> None:
    """The picture is well-formed XML without anything active, whatever the topics are called, and the same every time."""
    found = verdict([*FRAMES[3:], message(Channel.of(HOSTILE), 1)])
    picture = timeline.svg(found)
    root = ET.fromstring(picture)  # noqa: S314 - our own text
    names = {each.tag.partition("}")[2] for each in root.iter()}
    assert names == {"svg", "title", "rect", "text"}
    assert not re.search(r"(?i)<script|href|\u202e|url\(", picture)
    assert any(each.text and "<script>" in each.text for each in root.iter())
    assert picture == timeline.svg(verdict([*FRAMES[3:], message(Channel.of(HOSTILE), 1)]))


def test_svg_of_nothing() -> None:
    """A recording without messages and proofs has a picture too."""
    nothing = check_recording(MemorySource([]), (), trust=None, at=AT)
    assert ET.fromstring(timeline.svg(nothing)) is not None  # noqa: S314 - our own text
    assert timeline.rows(nothing.topics) == []
