"""The recording proof file: one form, read with limits, and what it refuses (proto/segments.md section 1)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proven_recordings import (
    LEFT,
    RECORDING,
    RIGHT,
    SCHEMA,
    frames,
    log_of_sensor,
    message,
    proof,
    recorded,
    say_segment,
)

from builders import MODALITY, NOW
from platemark import cbor, evidence
from platemark.errors import SegmentError
from platemark.recording import proof as proofs
from platemark.recording.judging import judge
from platemark.recording.proof import RecordingProof, decode
from platemark.segment import ROW_SIZE

LATER = NOW + 10**13


def good() -> RecordingProof:
    """Two topics, three segments: numbers 0 and 1 of /left, 0 of /right."""
    log = log_of_sensor()
    return proof(log, recorded(log, frames(LEFT, 13) + frames(RIGHT, 7)), schemas=(SCHEMA,))


def single() -> RecordingProof:
    """Message 4 of segment 0 of /left alone, with its data."""
    return good().single("/left", (0, 4), b"/left 4")


def _content(given: RecordingProof) -> Any:
    return cbor.decode(given.to_bytes())


def _changed(change: Callable[[Any], object], given: Callable[[], RecordingProof] = good) -> Callable[[], bytes]:
    """The file with a change to its content, in strict CBOR again."""

    def make() -> bytes:
        content = _content(given())
        change(content)
        return cbor.encode(content)

    return make


def _segment(place: int, value: Any, *, at: int = 0, given: Callable[[], RecordingProof] = good) -> Callable[[], bytes]:
    def change(content: Any) -> None:
        content["segments"][at][place] = value(content["segments"][at][place]) if callable(value) else value

    return _changed(change, given)


def _shown(place: int, value: Any) -> Callable[[], bytes]:
    def change(content: Any) -> None:
        content["segments"][0][5][0][place] = value

    return _changed(change, single)


def _another_kind() -> bytes:
    log = log_of_sensor(MODALITY)
    log.capture()
    content = _content(good())
    content["segments"][0][0] = log.statements[2]
    return cbor.encode(content)


def _another_recording() -> bytes:
    log = log_of_sensor()
    given = [say_segment(log, frames(LEFT, 3), 0, recording=bytes(16)), say_segment(log, frames(RIGHT, 3), 0)]
    content = _content(good())
    content["segments"][0][0] = log.statements[given[0].index]
    return cbor.encode(content)


def _two_keys() -> bytes:
    log = log_of_sensor()
    log.enrol(MODALITY, role="sensor")
    one, other = say_segment(log, frames(LEFT, 3), 0, by=MODALITY), say_segment(log, frames(RIGHT, 3), 0)
    content = _content(proof(log, [other]))
    content["segments"].insert(0, _content(proof(log, [one], enrolment=2))["segments"][0])
    return cbor.encode(content)


def _swap(content: Any) -> None:
    content["segments"][0], content["segments"][1] = content["segments"][1], content["segments"][0]


def _double(content: Any) -> None:
    content["segments"].insert(0, content["segments"][0])


def _same_leaf(content: Any) -> None:
    content["segments"][0][1] = content["segments"][1][1]


def _greatest_elsewhere(content: Any) -> None:
    content["segments"][0][1] = 1000


def _record_path(content: Any) -> None:
    last = max(content["segments"], key=lambda each: each[1])
    last[2] = last[2][:-1]


def _other_evidence(content: Any) -> None:
    log = log_of_sensor()
    content["evidence"] = proof(log, recorded(log, frames(LEFT, 2))).evidence


def _packed_again(content: Any) -> None:
    content["evidence"] += b"\0"


def _head(data: bytes) -> bytes:
    """A file whose segments are an array of 2^32 - 1 items, by its head."""
    start = good().to_bytes()
    at = start.index(b"\x68segments") + len(b"\x68segments")
    return start[:at] + b"\x9a\xff\xff\xff\xff" + data


REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("nothing", lambda: b"", "proof"),
    ("a bundle", lambda: good().evidence, "proof"),
    ("trailing byte", lambda: good().to_bytes() + b"\0", "proof"),
    ("cut off", lambda: good().to_bytes()[:-1], "recording"),
    ("version 2", _changed(lambda c: c.update(v=2)), "v"),
    ("version true", _changed(lambda c: c.update(v=True)), "v"),
    ("another key", _changed(lambda c: c.update(more=c.pop("schemas"))), "schemas"),
    ("a key more", _changed(lambda c: c.update(zzz=1)), "proof"),
    ("a key less", _changed(lambda c: c.pop("schemas")), "proof"),
    ("recording of 15 bytes", _changed(lambda c: c.update(recording=bytes(15))), "recording"),
    ("recording as text", _changed(lambda c: c.update(recording="recording")), "recording"),
    ("no segment", _changed(lambda c: c.update(segments=[])), "segments"),
    ("segments a map", _changed(lambda c: c.update(segments={})), "segments"),
    ("a count without items", lambda: _head(b"\x00" * 64), "segments"),
    ("schemas not ascending", _changed(lambda c: c.update(schemas=[b"b", b"a"])), "schemas"),
    ("a schema twice", _changed(lambda c: c.update(schemas=[b"a", b"a"])), "schemas"),
    ("schema as text", _changed(lambda c: c.update(schemas=["a"])), "schemas[0]"),
    ("another recording in the head", _changed(lambda c: c.update(recording=bytes(16))), "segments[0].statement"),
    ("a segment of another recording", _another_recording, "segments[0].statement"),
    ("a capture", _another_kind, "segments[0].statement"),
    ("not a statement", _segment(0, b"statement"), "segments[0].statement: tag"),
    ("a segment of five", _changed(lambda c: c["segments"][0].pop()), "segments[0]"),
    ("index below 0", _segment(1, -1), "segments[0].index"),
    ("index 2^63", _segment(1, 1 << 63), "segments[0].index"),
    ("index as an array", _segment(1, [1]), "segments[0].index"),
    ("a hash of 31 bytes", _segment(2, [bytes(31)]), "segments[0].path[0]"),
    ("a path of 64", _segment(2, [bytes(32)] * 64), "segments[0].path"),
    ("an unknown condition", _segment(3, ["good"]), "segments[0].conditions"),
    ("a condition twice", _segment(3, ["gap", "gap"]), "segments[0].conditions"),
    ("a channel of three", _segment(4, ["a", "b", bytes(32)]), "segments[0].channel"),
    ("a schema digest of 16", _segment(4, ["a", "b", bytes(16), "c"]), "segments[0].channel.schema"),
    ("a type with a line feed", _segment(4, ["a\n", "b", bytes(32), "c"]), "segments[0].channel.type_name"),
    ("half a row", _segment(5, lambda rows: rows[:-1]), "segments[0].shown"),
    ("a row less", _segment(5, lambda rows: rows[ROW_SIZE:]), "segments[0].shown"),
    ("a row more", _segment(5, lambda rows: rows + rows[:ROW_SIZE]), "segments[0].shown"),
    ("no message", _segment(5, []), "segments[0].shown"),
    ("shown null", _segment(5, None), "segments[0].shown"),
    ("segments out of order", _changed(_swap), "segments"),
    ("a segment twice", _changed(_double), "segments"),
    ("two segments at one leaf", _changed(_same_leaf), "segments"),
    ("a record that is not the last", _changed(_greatest_elsewhere), "evidence"),
    ("another path of the record", _changed(_record_path), "evidence"),
    ("evidence of another segment", _changed(_other_evidence), "evidence"),
    ("evidence packed again", _changed(_packed_again), "evidence: bundle"),
    ("two keys", _two_keys, "segments"),
    ("a place beyond the segment", _shown(0, 10), "segments[0].shown"),
    ("a row of 47 bytes", _shown(1, bytes(47)), "segments[0].shown[0].row"),
    ("a time of 2^63", _shown(1, b"\x80" + bytes(47)), "segments[0].shown[0].row"),
    ("a path of 33 in the segment", _shown(2, [bytes(32)] * 33), "segments[0].shown[0].path"),
    ("data as text", _shown(3, "data"), "segments[0].shown[0].data"),
    (
        "a message twice",
        _changed(lambda c: c["segments"][0][5].append(c["segments"][0][5][0]), single),
        "segments[0].shown",
    ),
]


@pytest.mark.parametrize(("make", "field"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_refused(make: Callable[[], bytes], field: str) -> None:
    """A file that breaks a rule of the form is refused, naming the part."""
    with pytest.raises(SegmentError) as caught:
        decode(make())
    assert caught.value.field == field


@pytest.mark.parametrize("make", [good, single])
def test_one_form(make: Callable[[], RecordingProof]) -> None:
    """What is written is read as it was, and written again as the same bytes."""
    raw = make().to_bytes()
    assert (decode(raw), decode(raw).to_bytes()) == (make(), raw)


@given(st.data())
def test_any_change_of_a_byte(data: st.DataObject) -> None:
    """A file with a byte changed is refused, or is another proof that writes these bytes, and proves no more than before."""
    raw = bytearray(_RAW)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode(bytes(raw))
    except SegmentError:
        return
    assert changed.to_bytes() == raw
    rows = {
        (s.segment.place, row)
        for s in judge(changed, trust=_LOG.trust(), at=LATER).segments
        if s.relied
        for row in s.segment.rows()
    }
    assert rows <= _PROVEN


_LOG = log_of_sensor()
_GIVEN = proof(_LOG, recorded(_LOG, frames(LEFT, 3) + frames(RIGHT, 2)))
_RAW = _GIVEN.to_bytes()
_PROVEN = {(segment.place, row) for segment in _GIVEN.segments for row in segment.rows()}


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file above the limit is refused before it is read."""
    monkeypatch.setattr(proofs, "MAX_PROOF", 100)
    with pytest.raises(SegmentError, match="more than 100"):
        decode(good().to_bytes())


def test_too_many_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that are shown alone are counted over the whole file, before they are read."""
    two = _changed(lambda c: c["segments"].insert(1, _other_alone(c)), single)()
    decode(two)
    monkeypatch.setattr(proofs, "_MAX_ALONE", 1)
    with pytest.raises(SegmentError) as caught:
        decode(two)
    assert caught.value.field == "segments[1].shown"
    monkeypatch.setattr(proofs, "_MAX_ALONE", 0)
    with pytest.raises(SegmentError, match="shown alone"):
        single()


def _other_alone(content: Any) -> Any:
    """The second message alone, of the segment of /left that is before the record of `single`."""
    other = _content(good().single("/left", (1, 0)))
    content["evidence"] = other["evidence"]
    return other["segments"][0]


def test_single_of_a_single() -> None:
    """A message that is shown alone can be taken out again, with its data, and no other can."""
    one = single()
    assert one.single("/left", (0, 4), b"/left 4") == one
    with pytest.raises(SegmentError, match="not shown"):
        one.single("/left", (0, 5))
    with pytest.raises(SegmentError, match="no segment"):
        good().single("/left", (7, 0))
    with pytest.raises(SegmentError, match="no place 10"):
        good().single("/left", (0, 10))


def test_single_keeps_its_schema() -> None:
    """A single message brings the schema of its own channel, and no disclosure of others."""
    assert single().schemas == (SCHEMA,)
    assert [each.place for each in single().segments] == [("/left", 0)]
    assert evidence.from_bytes(single().evidence).record.statement == single().segments[0].statement


def test_find() -> None:
    """Messages are found by their topic and log time."""
    assert good().find("/left", message(LEFT, 12).log_time) == [(1, 2)]
    assert good().find("/left", NOW + 1) == []
    assert good().find("/none", NOW) == []


def test_in_code() -> None:
    """A proof that is put together in code obeys the same rules as one that is read."""
    with pytest.raises(SegmentError, match="ascending"):
        replace(good(), segments=good().segments[::-1])
    with pytest.raises(SegmentError, match="of another recording"):
        replace(good(), recording=bytes(16))
    assert good().recording == RECORDING
