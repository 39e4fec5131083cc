"""Every form that a writer gives to an MCAP file holds the same messages, in order of log time."""

import hashlib
import tracemalloc
from pathlib import Path

import pytest
from mcap.writer import CompressionType
from recordings import frames, packets, write_mcap

from mcap_bytes import CAMERA, RAW, SCHEMA, Draft, message
from mcap_forms import FORMS, TIMES, write_form
from platemark.capture.mcap import RecordingLimits, open_mcap
from platemark.errors import CaptureError, RecordingError
from platemark.segment import Channel


@pytest.mark.parametrize("form", FORMS)
def test_form(form: str, tmp_path: Path) -> None:
    """The order is that of log time, equal times as they lie in the file; data is digested as published; proofs are found."""
    source = open_mcap(write_form(tmp_path / "a.mcap", **FORMS[form]))
    camera = Channel.of("/camera", type_name=SCHEMA.name, schema_encoding="ros2msg", schema=SCHEMA.data, encoding="cdr")
    raw = Channel.of("/raw", encoding="image/jpeg")
    order = sorted(range(len(TIMES)), key=TIMES.__getitem__)
    data = [b"data %d" % number * 20 for number in range(len(TIMES))]
    expected = [
        (raw if number % 2 else camera, TIMES[number], TIMES[number] - 5, hashlib.sha256(data[number]).digest(), 120)
        for number in order
    ]
    assert source.proofs == [b"first proof", b"second proof"]
    for _ in range(2):
        found = [(one.channel, one.log_time, one.publish_time, one.digest, one.size) for one in source]
        assert expected == found
        assert source.faults == []


def test_recorded(tmp_path: Path) -> None:
    """The data and the schema of each message come with it, in the order of the file."""
    samples = list(packets(20))
    source = open_mcap(write_mcap(tmp_path / "a.mcap", samples))
    found = [(one.log_time, bytes(one.data), one.schema) for one in source.recorded()]
    assert [(sample.log_time, sample.data, sample.kind.definition.encode()) for sample in samples] == found


@pytest.mark.parametrize("end", range(1, 4000, 97))
def test_cut(end: int, tmp_path: Path) -> None:
    """A recording that was cut off anywhere gives its whole chunks, and says that it was cut."""
    whole = write_form(tmp_path / "a.mcap", chunk_size=100, compression=CompressionType.NONE)
    content = whole.read_bytes()
    expected = [tuple(one[2:4]) for one in open_mcap(whole).recorded()]
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(content[: -min(end, len(content) - 60)])
    source = open_mcap(cut)
    found = [tuple(one[2:4]) for one in source.recorded()]
    assert expected[: len(found)] == found
    assert source.faults


def test_cut_chunk_is_named(tmp_path: Path) -> None:
    """What a cut took along is named by the place and the times of the chunk."""
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)])
    offset = draft.at
    draft.chunk([message(20), message(30)])
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.content[: offset + 60])
    source = open_mcap(path)
    assert [one.log_time for one in source] == [10]
    assert [f"chunk at byte {offset}"] == [fault.where for fault in source.faults]
    assert "log times 20 to 30 ns" in source.faults[0].reason


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_damaged_chunk(compression: str, tmp_path: Path) -> None:
    """Reading goes on behind a chunk that is damaged, and the channels that it defined are taken from the summary."""
    draft = Draft()
    lost = draft.chunk([SCHEMA, CAMERA, message(10), message(15)], compression=compression, data=b"damaged")
    draft.chunk([message(20)], compression=compression)
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.finish())
    source = open_mcap(path)
    assert [one.log_time for one in source] == [20]
    (fault,) = source.faults
    assert f"chunk at byte {lost.chunk_start_offset}" == fault.where
    assert "from 10 to 15" in fault.reason


@pytest.mark.parametrize(
    "damage", [b"\0", b"\6" + b"\xff" * 8, b"\6" + bytes(7) + b"\x10"], ids=["opcode", "length", "high length"]
)
def test_damaged_record_head(damage: bytes, tmp_path: Path) -> None:
    """Where a record no longer says how long it is, reading goes on at the next chunk that the summary names."""
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)])
    lost = draft.chunk([message(20)]).chunk_start_offset
    draft.chunk([message(30)])
    content = bytearray(draft.finish())
    content[lost : lost + len(damage)] = damage
    path = tmp_path / "a.mcap"
    path.write_bytes(content)
    source = open_mcap(path)
    assert [one.log_time for one in source] == [10, 30]
    assert any(f"at byte {lost}" in fault.where for fault in source.faults)


def test_bad_crc(tmp_path: Path) -> None:
    """The messages of a chunk whose CRC is wrong are read, and the CRC is named when nothing else is wrong with it."""
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)], uncompressed_crc=77)
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.finish())
    source = open_mcap(path)
    assert [one.log_time for one in source] == [10]
    assert [fault.reason[:10] for fault in source.faults] == ["its CRC is"]


def test_tolerated(tmp_path: Path) -> None:
    """Private records, empty chunks and channels without messages are no faults."""
    draft = Draft()
    draft.add(b"\x80" + (3).to_bytes(8, "little") + b"abc")
    draft.chunk([SCHEMA, CAMERA, RAW])
    draft.chunk([message(10), b"\x90" + bytes(8)])
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.finish())
    source = open_mcap(path)
    assert [one.log_time for one in source] == [10]
    assert source.faults == []


@pytest.mark.parametrize(
    "content", [b"x", b"no MCAP file at all", b"\x89MCAP1\r\n" + bytes(50), b"\x89MCAP0\n" + bytes(50)]
)
def test_not_mcap(content: bytes, tmp_path: Path) -> None:
    """Another file is refused when it is opened."""
    path = tmp_path / "a.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is not an MCAP file"):
        open_mcap(path)


def test_not_a_file(tmp_path: Path) -> None:
    """A folder and a path without a file are refused."""
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CaptureError):
            open_mcap(path)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"messages": 100}, "more than 100 messages"),
        ({"chunks": 2}, "more than 2 chunks"),
        ({"definition_bytes": 50}, "are more than 50 bytes"),
        ({"summary_bytes": 100}, "above the limit of 100"),
        ({"expansion_bytes": 1000, "expansion_ratio": 0}, "decompress to more than"),
    ],
)
def test_limits(limits: dict[str, int], reason: str, tmp_path: Path) -> None:
    """A recording past a limit is refused."""
    path = write_mcap(tmp_path / "a.mcap", packets(70_000 if "messages" in limits else 500), chunk_size=20_000)
    with pytest.raises(RecordingError, match=reason):
        list(open_mcap(path, limits=RecordingLimits(**limits)))


def test_memory(tmp_path: Path) -> None:
    """Memory is that of one chunk, whatever the size of the file."""
    path = write_mcap(tmp_path / "a.mcap", frames(60, 320, 240), chunk_size=1 << 20, compression="zstd")
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_mcap(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 60
    assert peak < 6 << 20


def test_changed_meanwhile(tmp_path: Path) -> None:
    """A file that is written to while it is read is refused."""
    path = write_mcap(tmp_path / "a.mcap", frames(5, 64, 48))
    messages = open_mcap(path).recorded()
    next(messages)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(CaptureError, match="changed while it was read"):
        list(messages)
