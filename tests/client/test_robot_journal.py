"""The journal of segments: what was appended is there after any crash, and damage is never taken for a crash."""

import os
import shutil
from pathlib import Path

import pytest
from robots import CAMERA, CLOCK, START, Robot, closed

from platemark import statement
from platemark.errors import RecordingError
from platemark.robot.journal import SegmentJournal
from platemark.robot.model import KeptSegment
from platemark.segment import SegmentTree, unpack_rows

RECORDING = bytes(range(16))


def written(directory: Path, count: int, *, kept: int) -> tuple[Path, list[int]]:
    """A journal of `count` segments of which `kept` have a statement; its file, and where each record ends."""
    ends = []
    with SegmentJournal(directory) as journal:
        writing = journal.begin(RECORDING, START)
        ends.append(writing.path.stat().st_size)
        for place, each in enumerate(closed(count)):
            (segment,) = writing.append([each], CLOCK)
            ends.append(writing.path.stat().st_size)
            if place < kept:
                writing.kept([(segment, b"statement %d" % place)])
                ends.append(writing.path.stat().st_size)
        return writing.path, ends


def test_segments_come_back(tmp_path: Path) -> None:
    """Channel, times, rows, clock and statement of every kept segment are read as they were written."""
    path, _ = written(tmp_path, 3, kept=2)
    journal = SegmentJournal(tmp_path)
    (found,) = journal.recordings()
    assert (found.recording, found.created_ns, found.finished, found.path) == (RECORDING, START, False, path)
    originals = closed(3)
    kept = list(journal.segments(RECORDING))
    assert [each.statement for each in kept] == [b"statement 0", b"statement 1"]
    for each, original in zip(kept, originals, strict=False):
        assert (each.rows, each.segment.channel, each.segment.clock) == (original.rows, CAMERA, CLOCK)
        payload = original.tree.fields(recording=RECORDING, number=original.number, window_ns=original.window_ns)
        assert each.segment.payload() == payload | {"clock": {"source": "ptp", "error_ns": 1000}}


def test_a_crash_at_any_byte_loses_no_whole_record(tmp_path: Path) -> None:
    """A file cut anywhere is opened, has every record that was whole, and is written on."""
    path, ends = written(tmp_path / "whole", 3, kept=2)
    content = path.read_bytes()
    assert ends[-1] == len(content)
    for cut in range(ends[0], len(content) + 1):
        directory = tmp_path / "cut"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        (directory / path.name).write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends) - 1
        with SegmentJournal(directory) as journal:
            reader = SegmentJournal(directory)
            assert len(list(reader.segments(RECORDING))) == whole // 2
            (writing,) = journal.unfinished()
            assert writing.torn == cut - ends[whole]
            segments = (whole + 1) // 2
            assert len(writing.waiting) == segments - whole // 2
            writing.append(closed(1, topic="/later"), CLOCK)
            writing.kept([(each, b"late") for each in writing.waiting])
            assert len(list(reader.segments(RECORDING))) == segments + 1
            writing.finish()
            assert [each.finished for each in reader.recordings()] == [True]


@pytest.mark.parametrize("tail", [b"\0" * 10, b"\0" * 5000, b"PMrc", b"PMrc\1\0\0\0\5aaaabb", os.urandom(3000)])
def test_what_a_crash_left_behind_the_last_record_is_cut(tmp_path: Path, tail: bytes) -> None:
    """Zeros, noise and half a record are no damage: nobody was told that they are kept."""
    path, ends = written(tmp_path, 2, kept=1)
    path.write_bytes(path.read_bytes() + tail)
    with SegmentJournal(tmp_path) as journal:
        (writing,) = journal.unfinished()
        assert writing.torn == len(tail)
        assert len(writing.waiting) == 1
    assert path.stat().st_size == ends[-1]


def test_damage_in_the_middle_is_an_error_that_says_where(tmp_path: Path) -> None:
    """Every byte of every record but the last: changed, it is named, and nothing is cut."""
    path, ends = written(tmp_path, 2, kept=2)
    content = path.read_bytes()
    for at in range(ends[-2]):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        with SegmentJournal(tmp_path) as journal, pytest.raises(RecordingError) as raised:
            journal.unfinished()
        assert raised.value.path == str(path)
        place = max(end for end in (0, *ends) if end <= at)
        if place:
            assert f"damaged between byte {place} and byte" in raised.value.reason
    assert path.stat().st_size == len(content)


def test_a_record_that_this_release_does_not_write_is_named(tmp_path: Path) -> None:
    """A whole record whose content makes no sense is an error of the file, never a traceback."""
    with SegmentJournal(tmp_path) as journal:
        writing = journal.begin(RECORDING, START)
        for kind, body in (
            (1, b""),
            (1, b"\0\0\0\1\x80extra"),
            (1, b"\0\0\0\2\x81\x00"),
            (2, b"\0\0\0\5\x81\x83\1\2\3"),
            (2, b"\0"),
        ):
            size = writing.path.stat().st_size
            writing._file.append(kind, body)
            with pytest.raises(RecordingError, match="not what this release writes"):
                list(journal.segments(RECORDING))
            writing._file._end, writing._file._cut = size, True
            writing._file._repair()
        assert list(journal.segments(RECORDING)) == []


def test_an_append_that_failed_is_repeated_cleanly(tmp_path: Path) -> None:
    """What a full disk has left of a record is cut off before the next one is written."""
    import resource
    import signal

    with SegmentJournal(tmp_path) as journal:
        writing = journal.begin(RECORDING, START)
        first, second = closed(2)
        writing.append([first], CLOCK)
        size = writing.path.stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        try:
            with pytest.raises(RecordingError, match=r"File too large"):
                writing.append([second], CLOCK)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert writing.path.stat().st_size == size + 20
        writing.append([second], CLOCK)
        writing.kept([(each, b"s") for each in writing.waiting])
        assert [each.segment.number for each in journal.segments(RECORDING)] == [0, 1]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """A second recorder is refused until the first has closed; a reader is not."""
    with SegmentJournal(tmp_path) as one, SegmentJournal(tmp_path) as other:
        one.begin(RECORDING, START)
        with pytest.raises(RecordingError, match="another recorder writes"):
            other.unfinished()
        assert len(other.recordings()) == 1
        one.close()
        assert len(other.unfinished()) == 1


def test_only_finished_recordings_are_forgotten(tmp_path: Path) -> None:
    """A recording that may have segments without statement stays; an unknown one is named."""
    with SegmentJournal(tmp_path) as journal:
        writing = journal.begin(RECORDING, START)
        writing.append(closed(1), CLOCK)
        with pytest.raises(RecordingError, match="1 segments wait"):
            writing.finish()
        with pytest.raises(RecordingError, match="is not finished"):
            journal.forget(RECORDING)
        writing.kept([(each, b"s") for each in writing.waiting])
        writing.finish()
        journal.forget(RECORDING)
        assert journal.recordings() == []
        with pytest.raises(RecordingError, match=f"has no recording {RECORDING.hex()}"):
            list(journal.segments(RECORDING))
        with pytest.raises(RecordingError, match=f"has no recording {RECORDING.hex()}"):
            journal.forget(RECORDING)
        with pytest.raises(ValueError, match="16 bytes"):
            journal.begin(b"short", START)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    """A foreign or damaged file under the name of a recording is an error, never an empty recording."""
    path = tmp_path / f"{RECORDING.hex()}.recording"
    path.write_bytes(b"something else")
    with pytest.raises(RecordingError, match="is not the journal of a recording"):
        SegmentJournal(tmp_path).recordings()


def test_the_rows_and_the_statement_belong_together(tmp_path: Path) -> None:
    """What the journal gives is a statement whose digest is that of the tree over its rows."""
    robot = Robot(tmp_path)
    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool, recording=RECORDING)
        for number in range(100):
            intake.put(CAMERA, START + number * 10**8, START, number.to_bytes(32, "big"), 48)
        intake.drain(0, cut=True)
        keeping.step()
        found: list[KeptSegment] = list(journal.segments(RECORDING))
    assert sum(each.segment.count for each in found) == 100
    for each in found:
        tree = SegmentTree(each.segment.channel)
        for row in unpack_rows(each.rows):
            tree.add(row, 48)
        payload = statement.decode(each.statement).payload
        assert payload["digests"] == {"messages": {-16: tree.digest()}}
        assert (payload["count"], payload["bytes"], payload["topic"]) == (tree.count, tree.size, "/camera")
