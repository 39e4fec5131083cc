"""What a clumsy or hostile owner's program can do to a recorder: nothing may be lost unsaid, and nothing stops for good."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client.test_robot_recorder import recorder, rows_of
from robots import CLOCK, START, Robot

from platemark.errors import RecordingError, SegmentError
from platemark.robot import Recorder, SegmentJournal
from platemark.segment import Channel
from platemark.signing import Clock

DIGEST = bytes(32)


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"log_time": float(START)}, "log_time"),
        ({"log_time": str(START)}, "log_time"),
        ({"log_time": START, "publish_time": float(START)}, "publish_time"),
        ({"log_time": float("nan")}, "log_time"),
    ],
)
def test_a_time_that_is_no_integer_is_refused(tmp_path: Path, times: dict[str, Any], field: str) -> None:
    """`time.time() * 1e9` is an error where it is handed over, not a message that is lost, or a recording that stands still."""
    with recorder(tmp_path) as (made, _):
        made.channel("/camera")
        with pytest.raises(SegmentError, match=field):
            made.observe("/camera", b"frame", log_time=times["log_time"], publish_time=times.get("publish_time"))
        made.observe("/camera", b"frame", log_time=START)
        assert made.flush(5)
        state = made.state()
    assert (state.kept_messages, state.fault) == (1, None)


def test_times_of_numpy_are_integers(tmp_path: Path) -> None:
    """A time as numpy or a bool gives it is kept as the integer that it is."""
    with recorder(tmp_path) as (made, _):
        made.channel("/camera")
        for step in range(3):
            times: dict[str, Any] = {"log_time": np.int64(START + step), "publish_time": np.uint64(START)}
            made.observe("/camera", b"", **times)
        assert made.flush(5)
        assert made.state().fault is None
    assert [each.log_time for each in rows_of(tmp_path, made.recording, "/camera")] == [
        START + step for step in range(3)
    ]


@pytest.mark.parametrize("size", [1 << 63, 1 << 62, (1 << 42) + 1, -1, 1.5, "1", None])
def test_a_size_that_no_statement_can_carry_is_refused(tmp_path: Path, size: Any) -> None:
    """A size, or a sum of sizes, beyond what a statement has never comes into a segment."""
    with recorder(tmp_path) as (made, _):
        made.channel("/camera")
        for _ in range(3):
            with pytest.raises(SegmentError, match="size"):
                made.observe_digest("/camera", DIGEST, size, log_time=START)
        made.observe("/camera", b"frame", log_time=START)
        assert made.flush(5)
        assert made.state().fault is None


@pytest.mark.parametrize(
    "clock",
    [
        lambda: None,
        lambda: Clock("ntp", 1.5),  # type: ignore[arg-type]
        lambda: Clock("ntp", "few"),  # type: ignore[arg-type]
        lambda: Clock(["ntp"], 1),  # type: ignore[arg-type]
        lambda: Clock("ntp", True),
    ],
    ids=["none", "fraction", "text", "list", "bool"],
)
def test_a_clock_that_says_nonsense_is_unknown(tmp_path: Path, clock: Callable[[], Any]) -> None:
    """Whatever the owner's function gives, segments are signed; what is no clock's state is stated as unknown."""
    with recorder(tmp_path, clock=clock) as (made, _):
        made.channel("/camera")
        made.observe("/camera", b"frame", log_time=START)
        assert made.flush(5)
        assert made.state().fault is None
    (kept,) = SegmentJournal(tmp_path / "journal").segments(made.recording)
    assert kept.segment.clock == Clock("unknown", None)


def test_empty_messages_are_messages(tmp_path: Path) -> None:
    """A segment of no bytes at all is signed."""
    with recorder(tmp_path, clock=CLOCK) as (made, _):
        made.channel("/camera")
        for log_time in (0, START, (1 << 63) - 1, 0, 5):
            made.observe("/camera", b"", log_time=log_time)
        assert made.flush(5)
        assert (made.state().kept_messages, made.state().fault) == (5, None)


def test_the_child_of_a_fork_leaves_the_recording_to_its_parent(tmp_path: Path) -> None:
    """A child that observes, flushes or closes is told so; it writes nothing, and what the parent records afterwards is whole."""
    with recorder(tmp_path) as (made, _):
        made.channel("/camera")
        made.observe("/camera", b"first", log_time=START)
        assert made.flush(5)
        read, write = os.pipe()
        child = os.fork()
        if not child:  # pragma: no cover - another process
            try:
                os.write(write, _in_a_child(made))
            finally:
                os._exit(0)
        os.close(write)
        assert os.read(read, 1000) == b"RuntimeError " * 5
        os.close(read)
        os.waitpid(child, 0)
        made.observe("/camera", b"second", log_time=START + 1)
        assert made.flush(5)
        assert made.state().fault is None
        with pytest.raises(RecordingError, match="another recorder"):
            SegmentJournal(tmp_path / "journal").unfinished()
    assert len(rows_of(tmp_path, made.recording, "/camera")) == 2


def test_segments_of_one_message_keep_within_the_memory(tmp_path: Path) -> None:
    """A topic that is declared anew with every message makes a segment of each, and those too are within the bound."""
    robot = Robot(tmp_path)
    memory = 2 << 20
    channels = [Channel.of("/camera", encoding=each) for each in "ab"]
    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool, memory=memory)
        tracemalloc.start()
        try:
            while intake.put(channels[intake.taken % 2], START, START, DIGEST, 1):
                intake.drain(0)
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert used < memory
        assert intake.unobserved == 1
        # Rows alone, nothing is signed: what is saved gives all of its room back.
        while not intake.drain(0, cut=True):
            keeping.step(lambda: True)
        keeping.step(lambda: True)
        assert (intake.unsaved, intake.queued, intake._unsaved_segments) == (0, 0, 0)


def test_a_recorder_that_is_closed_in_its_own_thread_goes_on(tmp_path: Path) -> None:
    """`on_kept` cannot close it, which would wait for itself; it is told so, and the owner can close it still."""
    told: list[str] = []

    def close(*_: object) -> None:
        try:
            made.close(1)
        except RuntimeError as error:
            told.append(str(error))

    with recorder(tmp_path, on_kept=close) as (made, _):
        made.channel("/camera")
        made.observe("/camera", b"frame", log_time=START)
        assert made.flush(5)
        assert made.close().kept == 1
    assert told == ["on_kept cannot close its own recorder"]
    (finished,) = SegmentJournal(tmp_path / "journal").recordings()
    assert finished.finished


def _in_a_child(made: Recorder) -> bytes:
    """What each call says there."""
    calls: tuple[Callable[[], object], ...] = (
        lambda: made.observe("/camera", b"lost", log_time=START),
        lambda: made.observe_digest("/camera", DIGEST, 1, log_time=START),
        lambda: made.flush(1),
        made.start,
        lambda: made.close(1),
    )
    said = b""
    for each in calls:
        try:
            each()
        except Exception as error:  # noqa: BLE001 - whichever it is, its name is said
            said += type(error).__name__.encode() + b" "
    made.__exit__(None, None, None)
    return said
