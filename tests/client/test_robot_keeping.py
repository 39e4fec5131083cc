"""From the intake to the spool: no segment lost, none doubled, order kept, wherever it stops and whatever fails."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from robots import CAMERA, START, Robot

from platemark import statement
from platemark.chain import Chain
from platemark.errors import PlatemarkError, RecordingError
from platemark.robot.intake import LEAST_MEMORY, Intake
from platemark.robot.journal import RecordingJournal, SegmentJournal
from platemark.robot.keeping import LONGEST, lengthened
from platemark.robot.line import SegmentLine
from platemark.robot.segmenter import Segmenter
from platemark.signing import Clock
from platemark.spool import Spool, State

_SECOND = 10**9
_DIGEST = bytes(32)


class Crash(BaseException):
    """Nobody catches it: what a process does not survive."""


def observe(intake: Intake, seconds: int, *, first: int = 0) -> None:
    """Three messages a second."""
    for number in range(first * 3, (first + seconds) * 3):
        assert intake.put(CAMERA, START + number * _SECOND // 3, START, number.to_bytes(32, "big"), 10)
    assert intake.drain(0, cut=True)


def chained(spool: Spool) -> list[statement.Statement]:
    """What is in the spool, in order."""
    return [statement.decode(each.raw) for each in spool.entries(State.PENDING, 1000)]


def check_chain(statements: list[statement.Statement]) -> None:
    """No place of the chain is empty or used twice, and no segment is in it twice."""
    assert [each.seq for each in statements] == list(range(len(statements)))
    for before, after in itertools.pairwise(statements):
        assert after.payload["prev"] == before.id
    places = [(each.payload["recording"], each.payload["topic"], each.payload["number"]) for each in statements]
    assert len(set(places)) == len(places)


def run(robot: Robot, recording: bytes, seconds: int) -> None:
    """One run of a recorder without threads."""
    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool, recording=recording)
        observe(intake, seconds)
        keeping.step()
        keeping.finish()


_POINTS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "replace"),
    (Chain, "sign"),
    (Spool, "put"),
    (RecordingJournal, "append"),
    (RecordingJournal, "kept"),
    (RecordingJournal, "finish"),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), _POINTS, ids=[name for _, name in _POINTS])
def test_a_crash_at_any_point_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: bool
) -> None:
    """Before and after each of these calls: what was on disk is in the spool after the next run, once and in order."""
    original: Callable[..., Any] = getattr(owner, name)
    for at in range(1, 40):
        robot = Robot(tmp_path / f"{at}")
        robot.directory.mkdir()
        robot.chain()
        calls = 0

        def crashing(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at and not after:  # noqa: B023 - called within this turn
                raise Crash
            result = original(*arguments, **options)
            if calls == at and after:  # noqa: B023
                raise Crash
            return result

        crashed = False
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, crashing)
            try:
                run(robot, b"1" * 16, 4)
            except Crash:
                crashed = True
        journal = SegmentJournal(robot.journal)
        run(robot, b"2" * 16, 2)
        with robot.spool() as spool:
            statements = chained(spool)
        check_chain(statements)
        assert [each.payload["number"] for each in statements if each.payload["recording"] == b"2" * 16] == [0, 1]
        first = [each.payload["number"] for each in statements if each.payload["recording"] == b"1" * 16]
        assert first in ([], [0, 1, 2, 3])  # durable together, by one record, or not at all
        assert all(each.finished for each in journal.recordings() if first or each.recording == b"2" * 16)
        kept = [each.statement for found in journal.recordings() for each in journal.segments(found.recording)]
        assert sorted(kept) == sorted(each.raw for each in statements)
        if not crashed:
            assert at > 1
            return
    pytest.fail("more calls than were looked at")


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (RecordingJournal, "append", RecordingError("journal", "the disk is full")),
        (RecordingJournal, "kept", RecordingError("journal", "the disk is full")),
        (Spool, "put", PlatemarkError("the spool")),
        (Chain, "sign", PlatemarkError("the token was pulled out")),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_what_fails_is_tried_again(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: PlatemarkError, after: bool
) -> None:
    """A disk, a spool or a key that fails, even after it has done its work, costs no segment and no place of the chain."""
    robot, told = Robot(tmp_path), []
    original: Callable[..., Any] = getattr(owner, name)
    failing = True

    def fails(*arguments: Any, **options: Any) -> Any:
        if failing and not after:
            raise error
        result = original(*arguments, **options)
        if failing:
            raise error
        return result

    monkeypatch.setattr(owner, name, fails)
    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool, on_kept=lambda segment, _: told.append(segment.number))
        observe(intake, 3)
        for _ in range(1 if after else 3):
            with pytest.raises(type(error), match=str(error)):
                keeping.step()
        failing = False
        observe(intake, 2, first=3)
        keeping.step()
        keeping.step()
        assert keeping.idle
        assert intake.unsaved == 0
        statements = chained(spool)
        keeping.finish()
        assert len(list(journal.segments(bytes(16)))) == 5
    check_chain(statements)
    assert [each.payload["number"] for each in statements] == told == [0, 1, 2, 3, 4]


def test_a_full_spool_keeps_segments_on_disk(tmp_path: Path) -> None:
    """Without room nothing is signed; the rows wait in the journal, across a restart, and go on in order."""
    robot = Robot(tmp_path)
    with SegmentJournal(robot.journal) as journal, robot.spool(capacity=2) as spool:
        intake, keeping = robot.keeping(journal, spool)
        observe(intake, 5)
        keeping.step()
        keeping.step()
        assert (keeping.line.kept, keeping.line.waiting, intake.unsaved) == (2, 3, 0)
        assert len(chained(spool)) == 2
        keeping.finish()
    with SegmentJournal(robot.journal) as journal, robot.spool(capacity=10) as spool:
        _, keeping = robot.keeping(journal, spool, recording=b"2" * 16)
        keeping.step()
        assert (keeping.line.kept, keeping.line.kept_messages) == (3, 9)
        check_chain(chained(spool))
        assert [each.finished for each in journal.recordings()] == [True]


def test_windows_become_longer_as_the_room_halves_and_short_again(tmp_path: Path) -> None:
    """A spool that nobody empties gets ever fewer statements; once it is emptied the windows are as they were."""
    robot = Robot(tmp_path)
    with SegmentJournal(robot.journal) as journal, robot.spool(capacity=8) as spool:
        intake, keeping = robot.keeping(journal, spool)
        windows = []
        for number in range(9):
            observe(intake, 1, first=number)
            keeping.step()
            windows.append(intake.segmenter.window_ns // _SECOND)
        assert windows == [1, 1, 1, 2, 2, 4, 8, LONGEST, LONGEST]
        spool.acknowledge([(each.id, place) for place, each in enumerate(chained(spool))])
        keeping.step()
        assert intake.segmenter.window_ns == _SECOND


def test_windows_become_longer_while_signing_cannot_keep_up(tmp_path: Path) -> None:
    """A step signs some segments only, so that rows come onto disk; as more and more wait, fewer and longer ones are made."""
    robot = Robot(tmp_path)
    with SegmentJournal(robot.journal) as journal, robot.spool(capacity=10**6) as spool:
        intake, keeping = robot.keeping(journal, spool)
        observe(intake, 400)
        assert keeping.step() == 32
        assert (intake.unsaved, keeping.line.waiting) == (0, 368)
        assert intake.segmenter.window_ns == 4 * _SECOND
        while keeping.step():
            pass
        assert (keeping.line.kept, intake.segmenter.window_ns) == (400, _SECOND)
        check_chain(chained(spool))


@pytest.mark.parametrize(
    ("room", "times"), [(100, 1), (51, 1), (50, 2), (26, 2), (25, 4), (2, 32), (1, 64), (0, 64), (-5, 64)]
)
def test_length_of_a_window(room: int, times: int) -> None:
    """Twice as long each time the room has halved, up to a bound."""
    assert lengthened(7, room=room, capacity=100) == 7 * times


def test_memory_is_bounded_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    """With a disk that takes nothing, messages are taken up to the bound; each of the others is counted; none is lost twice."""
    robot = Robot(tmp_path)
    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool, memory=LEAST_MEMORY)
        taken, now = 0, 0
        for number in range(20_000):
            taken += intake.put(CAMERA, START + number * 10**6, START, _DIGEST, 1)
            if number % 100 == 0:
                intake.drain(now := now + 1)
            assert intake.segmenter.held + intake.unsaved <= intake.most_rows
            assert intake.queued <= intake.most_queued
        assert taken + intake.unobserved == 20_000
        assert intake.unobserved > 10_000
        while intake.queued or intake.segmenter.held:
            keeping.step()
            intake.drain(now, cut=True)
        keeping.step()
        assert (keeping.line.kept_messages, intake.taken, intake.unsaved) == (taken, taken, 0)


def test_the_bound_holds_in_bytes() -> None:
    """A full intake takes no more memory than it was given."""
    import tracemalloc

    tracemalloc.start()
    try:
        intake = Intake(Segmenter(), memory=8 << 20)
        number = 0
        while intake.put(
            CAMERA, START + number * 1000, START + number * 1000 + 7, number.to_bytes(32, "big"), 10**6 + number
        ):
            number += 1
        while not intake.drain(0):
            if not intake.put(CAMERA, START + number * 1000, START, number.to_bytes(32, "big"), 10**6):
                break
            number += 1
        while intake.put(CAMERA, START + number * 1000, START, number.to_bytes(32, "big"), 10**6 + number):
            number += 1
        used, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used <= peak <= 8 << 20
    assert number > (8 << 20) // 2 // 400


@pytest.mark.parametrize("bad", [Clock("sundial"), Clock("ptp", -1), Clock("ptp", 1 << 63), None])
def test_a_clock_that_says_nonsense_is_unknown(tmp_path: Path, bad: Clock | None) -> None:
    """What a device says of its clock never stops a recording."""
    robot = Robot(tmp_path)

    def ask() -> Clock:
        if bad is None:
            raise OSError("no such clock")
        return bad

    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool)
        keeping._clock = ask
        observe(intake, 1)
        keeping.step()
        (only,) = chained(spool)
    assert only.payload["clock"] == {"source": "unknown", "error_ns": None}


def test_an_owner_who_raises_stops_nothing(tmp_path: Path) -> None:
    """on_kept is the owner's code; the line goes on without it."""
    robot = Robot(tmp_path)

    def refuse(*_: object) -> None:
        raise LookupError("the owner's mistake")

    with SegmentJournal(robot.journal) as journal, robot.spool() as spool:
        intake, keeping = robot.keeping(journal, spool, on_kept=refuse)
        observe(intake, 2)
        keeping.step()
        assert keeping.line.kept == 2


def test_a_segment_of_the_chain_is_found_among_all_that_wait(tmp_path: Path) -> None:
    """Though older recordings wait, the one whose place is reserved comes first: no gap."""
    robot = Robot(tmp_path)
    with SegmentJournal(robot.journal) as journal, robot.spool(capacity=1) as spool:
        intake, keeping = robot.keeping(journal, spool, recording=b"9" * 16)
        observe(intake, 3)
        keeping.step()
    with SegmentJournal(robot.journal) as journal:
        (older,) = journal.unfinished()
        segments = older.waiting
        robot.chain().sign("segment", segments[1].payload())  # reserved, and never spooled
        with robot.spool() as spool:
            line = SegmentLine(chain=robot.chain(), spool=spool)
            line.add(older, segments)
            line.step()
            statements = chained(spool)
    check_chain(statements)
    assert [each.payload["number"] for each in statements] == [0, 2, 1]
