"""What a robot's program waits for, and how much a recorder covers: beside hashing alone, and through to the spool."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import secrets
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.report import Report, Row, percentile
from robots import START, Robot

from platemark.robot import Recorder, SegmentJournal
from platemark.robot.intake import Intake
from platemark.segment import Channel

__all__ = ["run"]

_FRAME = 1920 * 1080 * 3
_RATE = 200_000
_SIZE = 4096  # bytes of data that a digest stands for
_MEMORY = 256 << 20
_AHEAD = 100_000  # messages in the queue


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `robot`."""
    _frames(report, _place(directory, "frames"), 900 if full else 150)
    for processes in (1, 2):
        _digests(report, _place(directory, f"digests-{processes}"), processes, 5_000_000 if full else 1_000_000)
    _segments(report, _place(directory, "segments"), 1000 if full else 200)


def _frames(report: Report, directory: Path, count: int) -> None:
    frames = [secrets.token_bytes(_FRAME) for _ in range(4)]
    delays: dict[str, list[float]] = {"observe": [], "sha256": []}
    robot = Robot(directory)
    with robot.spool() as spool, Recorder(robot.journal, chain=robot.chain(), spool=spool) as recorder:
        recorder.channel("/camera", encoding="rgb8 1920x1080")
        for number in range(count):
            frame = frames[number % len(frames)]
            # In turns, so that both see the same load.
            log_time = START + number * 10**9 // 30
            _time(delays["sha256"], lambda frame=frame: hashlib.sha256(frame).digest())  # type: ignore[misc]
            _time(
                delays["observe"],
                lambda frame=frame, log_time=log_time: recorder.observe("/camera", frame, log_time=log_time),  # type: ignore[misc]
            )
        assert recorder.flush(60)
        assert recorder.state().kept_messages == count
    observe, sha256 = statistics.median(delays["observe"]), statistics.median(delays["sha256"])
    report.add(
        Row(
            subject="robot",
            what="observe of one 1080p RGB frame, p50",
            measured=f"{observe * 1e3:.3f} ms",
            limit=f"{sha256 * 1e3:.3f} ms = hashlib.sha256 of the same bytes",
            ratio=observe / sha256,
            target="<= 1.10",
            met=observe <= 1.1 * sha256,
        )
    )
    report.detail(
        "robot",
        frames={name: {f"p{p}": percentile(v, p / 100) * 1e3 for p in (50, 90, 99)} for name, v in delays.items()},
    )


def _digests(report: Report, directory: Path, processes: int, count: int) -> None:
    """Digests that a program has: through `observe_digest` into segments, signed, in the spool on disk."""
    each = count // processes
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        places = [_place(directory, str(number)) for number in range(processes)]
        spans = list(pool.map(_cover, places, [each] * processes, [processes] * processes))
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
    rate = each * processes / seconds
    report.add(
        Row(
            subject="robot",
            what=f"digests covered by segments in the spool, {processes} process{'es' if processes > 1 else ''}",
            measured=f"{rate:,.0f}/s",
            limit=f"{_RATE:,}/s on two cores",
            ratio=rate / _RATE,
            target=">= 1.00",
            met=rate >= _RATE,
        )
    )


def _cover(directory: Path, count: int, processes: int) -> tuple[float, float]:
    """When one process began to observe, and when all that it had observed was kept."""
    digests = [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(10_000)]
    robot = Robot(directory)
    with robot.spool() as spool:
        recorder = Recorder(robot.journal, chain=robot.chain(), spool=spool, memory=_MEMORY)
        with recorder:
            recorder.channel("/camera", encoding="rgb8")
            (directory / "ready").touch()
            while len(list(directory.parent.glob("*/ready"))) < processes:
                time.sleep(0.01)
            step = 10**9 // _RATE
            began = time.monotonic()
            for number in range(count):
                log_time = START + number * step
                assert recorder.observe_digest("/camera", digests[number % 10_000], _SIZE, log_time=log_time)
                # A robot has its own pace; this program has only that of the recorder.
                while not number % 1000 and recorder.state().queued > _AHEAD:
                    time.sleep(0.001)
            assert recorder.flush(60)
            ended = time.monotonic()
            assert recorder.state().kept_messages == count
    return began, ended


def _segments(report: Report, directory: Path, count: int) -> None:
    """One segment of one camera's second: rows and mark in the journal, chain, signature, spool."""
    robot = Robot(directory)
    channel = Channel.of("/camera", encoding="rgb8")
    delays: dict[str, list[float]] = {"segment": [], "fsync": []}
    with SegmentJournal(robot.journal) as journal, robot.spool(10 * count) as spool:
        intake, keeping = robot.keeping(journal, spool)
        with (directory / "alone.bin").open("wb", buffering=0) as file:
            for number in range(count):
                _second(intake, channel, number)
                _time(delays["segment"], keeping.step)
                _time(delays["fsync"], lambda: _sync(file.fileno()))
        assert keeping.line.kept == count
    segment, fsync = (statistics.median(delays[name]) for name in ("segment", "fsync"))
    report.add(
        Row(
            subject="robot",
            what="one segment of 30 frames, from its end to the spool, p50",
            measured=f"{segment * 1e3:.2f} ms",
            limit=f"{fsync * 1e3:.2f} ms = write and fsync of 1,440 bytes",
            ratio=segment / fsync,
        )
    )


def _second(intake: Intake, channel: Channel, second: int) -> None:
    for number in range(30):
        log_time = START + second * 10**9 + number * 10**9 // 30
        intake.put(channel, log_time, log_time, hashlib.sha256(log_time.to_bytes(8, "big")).digest(), _FRAME)
    assert intake.drain(0, cut=True)


def _sync(descriptor: int) -> None:
    os.write(descriptor, bytes(1440))
    os.fsync(descriptor)


def _place(directory: Path, name: str) -> Path:
    place = directory / name
    place.mkdir(parents=True)
    return place


def _time(into: list[float], act: Callable[[], object]) -> None:
    began = time.perf_counter()
    act()
    into.append(time.perf_counter() - began)
