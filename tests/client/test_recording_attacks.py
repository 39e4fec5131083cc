"""What was tried to get MATCHES RECORD for a recording that is another one to its readers, or to make judging one costly."""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from mcap.records import DataEnd, SummaryOffset
from mcap_ros2._dynamic import generate_dynamic
from proven_recordings import LEFT, STEP, MemorySource, frames, log_of_sensor, proof, recorded
from proven_recordings import message as message_of
from recordings import write_bag
from ros_messages import frames as images
from ros_types import IMAGE
from rosbags.rosbag2 import Reader

from builders import NOW, Log
from mcap_bytes import CAMERA, SCHEMA, Draft, message, record, written
from platemark.capture.mcap import RecordingLimits, open_mcap
from platemark.capture.ros_image import picture
from platemark.capture.rosbag import open_bag, same_definition
from platemark.cli.mcap_checking import _Definitions
from platemark.cli.mcap_frame import verify_frame
from platemark.errors import RecordingError, SegmentError
from platemark.recording.conclusion import check_recording
from platemark.recording.model import Message
from platemark.recording.proof import RecordingProof
from platemark.recording.segments import show
from platemark.recording.verdict import RecordingVerdict
from platemark.segment import Channel

LATER = NOW + 10**13
FRAMES = frames(LEFT, 30)


def _checked(log: Log, messages: Sequence[Message], *proofs: RecordingProof, allow: bool = False) -> RecordingVerdict:
    return check_recording(MemorySource(messages), proofs, trust=log.trust(), at=LATER, allow_missing=allow)


def test_dropped_messages_that_are_shown_alone() -> None:
    """A message is dropped between others however its proof shows it: more evidence never turns a gap into a match."""
    log = log_of_sensor()
    whole = proof(log, recorded(log, FRAMES))
    alone = [whole.single("/left", (1, place)) for place in range(10)]
    around = [whole.single("/left", (0, 9)), whole.single("/left", (2, 0))]
    kept = [FRAMES[9], FRAMES[20]]
    assert _checked(log, kept, *around).exit_code == 3
    verdict = _checked(log, kept, *around, *alone)
    assert (verdict.exit_code, verdict.topics[0].counts["dropped"]) == (1, 10)
    assert _checked(log, kept, *around, *alone, allow=True).exit_code == 0


def test_the_end_of_one_recording_and_the_beginning_of_the_next() -> None:
    """A recorder that was started again: what is left out around that moment is between messages of the file, and no match."""
    log = log_of_sensor()
    later = [replace(each, log_time=each.log_time + 100 * STEP) for each in frames(LEFT, 20, 50)]
    one = proof(log, recorded(log, FRAMES))
    other = proof(log, recorded(log, later, recording=bytes(16)), recording=bytes(16))
    matches = _checked(log, FRAMES + later, one, other)
    assert (matches.exit_code, "of 2 recordings" in matches.reason) == (0, True)
    assert _checked(log, FRAMES[3:] + later[:-2], one, other).exit_code == 0
    verdict = _checked(log, FRAMES[:25] + later[4:], one, other)
    assert (verdict.exit_code, verdict.topics[0].counts["cut"], verdict.topics[0].cut_between) == (3, 9, 9)
    assert _checked(log, FRAMES[:25] + later[4:], one, other, allow=True).exit_code == 0


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_a_field_within_a_comment(end: str) -> None:
    """A text in which another parser sees one field more, behind an unusual end of a line, is not the same definition."""
    text = f"uint32 a # a remark{end}uint32 hidden\nuint32 b\n"
    decode = generate_dynamic("lab_msgs/msg/Pair", text)["lab_msgs/msg/Pair"]
    assert hasattr(decode(bytes([0, 1, 0, 0]) + bytes(12)), "hidden")
    assert not same_definition("lab_msgs/msg/Pair", "uint32 a\nuint32 b\n", text)
    assert same_definition("lab_msgs/msg/Pair", "uint32 a\nuint32 b\n", "uint32 a # a remark\nuint32 b\n")


def test_a_picture_by_a_definition_that_is_not_shown() -> None:
    """A proof without the schema that its channel names draws nothing: the name of a type does not say what its bytes mean."""
    (frame,) = images(1, 8, 6)
    swapped = IMAGE.definition.replace("uint32 height\nuint32 width", "uint32 width\nuint32 height").encode()
    channel = Channel.of("/c", type_name=IMAGE.name, schema_encoding="ros2msg", schema=swapped, encoding="cdr")
    assert "not at hand" in picture(channel, b"", frame.data).refusal
    assert picture(replace(channel, schema=hashlib.sha256(b"").digest()), b"", frame.data).content is not None


def _draft() -> Draft:
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)])
    draft.chunk([message(30), message(40)])
    return draft


def test_offsets_amid_the_summary(tmp_path: Path) -> None:
    """A summary whose channels stand behind its offsets, where rosbags stops and finds no message, is a fault."""
    draft = _draft()
    chunks = b"".join(written(each) for each in draft.indexes)
    offset = SummaryOffset(8, draft.at + len(written(DataEnd(0))), len(chunks))
    path = tmp_path / "run.mcap"
    path.write_bytes(draft.finish([chunks, offset, SCHEMA, CAMERA, draft.statistics()]))
    with Reader(path) as reader:
        assert list(reader.messages()) == []
    source = open_mcap(path)
    assert len(list(source)) == 3
    assert "where some readers stop" in source.faults[0].reason


@pytest.mark.parametrize("inner", [record(0x80, b""), written(SCHEMA)], ids=["private", "schema"])
def test_a_chunk_of_countless_records(inner: bytes, tmp_path: Path) -> None:
    """Records that are not messages are bounded in number: a few kilobytes do not keep a reader busy for an hour."""
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, inner * 200_000, message(10)], compression="zstd")
    path = tmp_path / "run.mcap"
    path.write_bytes(draft.finish())
    assert path.stat().st_size < 10_000
    assert len(list(open_mcap(path))) == 1
    with pytest.raises(RecordingError, match="records that are not messages"):
        list(open_mcap(path, limits=RecordingLimits(chunk_records=100_000)))
    limits = RecordingLimits()
    assert limits.expansion_bytes <= 8 << 30


def test_countless_schemas_are_read_once(tmp_path: Path) -> None:
    """Each channel with a schema of its own: the file is read once for all of them, and its texts are parsed up to a bound."""
    count, draft, values = 2_000, Draft(), list[object]()
    for number in range(1, count + 1):
        text = b"# %d\nuint8[] data\n" % number
        values += [replace(SCHEMA, id=number, data=text), replace(CAMERA, id=number, schema_id=number)]
        values.append(message(number, channel=number))
    draft.chunk(values)
    path = tmp_path / "run.mcap"
    path.write_bytes(draft.finish([]))
    plain = b"uint8[] data\n"
    signed = Channel.of("/camera", type_name=SCHEMA.name, schema_encoding="ros2msg", schema=plain, encoding="cdr")
    same, found = _Definitions(path), [each.channel for each in open_mcap(path)]
    began = time.process_time()
    assert all(same(signed, plain, each) for each in found)
    assert time.process_time() - began < 10
    bounded = _Definitions(path)
    bounded._left = 1000
    assert 20 < sum(bounded(signed, plain, each) for each in found) < 100


def test_a_picture_beside_a_proof_of_countless_ones(tmp_path: Path) -> None:
    """A frame is compared with a few shown messages, each of which costs a decoder: a proof of 65536 is told so, not drawn."""
    channel = Channel.of("/left", encoding="image/png")
    pictures = [bytes(imagecodecs.png_encode(np.full((1, 2), number, np.uint8))) for number in range(40)]
    shown = [message_of(channel, number, data) for number, data in enumerate(pictures)]
    log = log_of_sensor()
    whole = proof(log, recorded(log, shown, size=len(shown)))
    (segment,) = whole.segments
    alone = [replace(show(segment, place), data=data) for place, data in enumerate(pictures)]
    path, beside = tmp_path / "frame.png", tmp_path / "frame.png.evidence"
    path.write_bytes(imagecodecs.png_encode(np.full((1, 2), 1, np.uint8), level=0))
    beside.write_bytes(replace(whole, segments=(replace(segment, shown=tuple(alone[:2])),)).to_bytes())
    assert verify_frame(path, None, trust=log.trust(), at=LATER).as_ == "samples"
    path.write_bytes(imagecodecs.png_encode(np.full((1, 3), 1, np.uint8)))
    assert verify_frame(path, None, trust=log.trust(), at=LATER).exit_code == 1
    beside.write_bytes(replace(whole, segments=(replace(segment, shown=tuple(alone)),)).to_bytes())
    with pytest.raises(SegmentError, match="use the proof of this frame alone"):
        verify_frame(path, None, trust=log.trust(), at=LATER)


def test_offsets_and_order_of_definitions(tmp_path: Path) -> None:
    """A summary whose channels stand before their schemas is a fault: rosbags takes them for channels without a type."""
    draft = _draft()
    path = tmp_path / "run.mcap"
    path.write_bytes(draft.finish([CAMERA, SCHEMA, *draft.indexes, draft.statistics()]))
    with Reader(path) as reader:
        assert {each.msgtype for each in reader.connections} == {"__schemaless__"}
    source = open_mcap(path)
    assert len(list(source)) == 3
    assert "channels stand before schemas" in source.faults[0].reason


def test_a_channel_before_its_schema(tmp_path: Path) -> None:
    """In the data, where mcap's reader raises, it is a fault; the messages are read all the same."""
    draft = Draft()
    draft.chunk([CAMERA, SCHEMA, message(1), message(2)])
    path = tmp_path / "run.mcap"
    path.write_bytes(draft.finish([SCHEMA, CAMERA, *draft.indexes, draft.statistics(channel_count=1)]))
    source = open_mcap(path)
    assert len(list(source)) == 2
    assert [each.reason for each in source.faults] == ["it stands before its schema, where other readers stop"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX more ON extra (length(hex(zeroblob(x))))",
        "CREATE INDEX more ON extra (x) WHERE length(hex(zeroblob(x))) > 0",
        "CREATE TABLE more (y INTEGER CHECK (length(hex(zeroblob(y))) > 0))",
    ],
    ids=["index", "partial index", "check"],
)
def test_expressions_in_a_database(statement: str, tmp_path: Path) -> None:
    """A database that would have sqlite compute something for every row is refused: one step of it may take a second."""
    bag = write_bag(tmp_path / "bag", images(2, 8, 6), storage="sqlite3")
    assert len(list(open_bag(bag))) == 2
    connection = sqlite3.connect(bag / "bag.db3")
    connection.execute("CREATE TABLE extra (x INTEGER)")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(RecordingError, match="has expressions"):
        list(open_bag(bag))


def test_definitions_that_readers_do_not_look_for(tmp_path: Path) -> None:
    """Definitions under a schema version before 4, where rosbags goes by its own instead of them, are a fault."""
    bag = write_bag(tmp_path / "bag", images(2, 8, 6), storage="sqlite3")
    connection = sqlite3.connect(bag / "bag.db3")
    connection.execute("UPDATE schema SET schema_version = 3")
    connection.commit()
    connection.close()
    with Reader(bag) as reader:
        assert [each.msgdef.data for each in reader.connections] == [""]
    source = open_bag(bag)
    assert len(list(source)) == 2
    assert "schema version 4" in source.faults[0].reason


def test_metadata_that_hides_a_topic(tmp_path: Path) -> None:
    """A folder whose metadata.yaml says another serialization than its storage is a fault: rosbags gives no message then."""
    bag = write_bag(tmp_path / "bag", images(2, 8, 6), storage="sqlite3")
    connection = sqlite3.connect(bag / "bag.db3")
    connection.execute("UPDATE topics SET serialization_format = 'xcdr'")
    connection.commit()
    connection.close()
    with Reader(bag) as reader:
        assert list(reader.messages()) == []
    source = open_bag(bag)
    assert len(list(source)) == 2
    assert "as it is" in source.faults[0].reason
