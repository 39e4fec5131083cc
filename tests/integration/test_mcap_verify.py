"""Clips of sealed recordings by other tools, and everything that can be done to a frame, against a real ledger's evidence."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import recordings
from commands import platemark
from integration.live import Live
from integration.robots import Robot, robot_at
from recordings import Sample

COUNT = 300


@pytest.fixture(name="robot", scope="module")
def _robot(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    folder = tmp_path_factory.mktemp("robot")
    with robot_at(live, folder, f"verify-{folder.name}") as robot:
        yield robot


@pytest.fixture(name="samples", scope="module")
def _samples() -> list[Sample]:
    """Ten seconds of VGA."""
    return list(recordings.frames(COUNT))


@pytest.fixture(name="sealed", scope="module")
def _sealed(robot: Robot, samples: list[Sample]) -> Path:
    """Those, sealed, in chunks that are not compressed."""
    return robot.sealed("vga.mcap", samples, compression="", chunk_size=4 << 20)


@pytest.fixture(name="small", scope="module")
def _small() -> list[Sample]:
    """The same of small frames."""
    return list(recordings.frames(COUNT, 96, 72))


@pytest.fixture(name="whole", scope="module")
def _whole(robot: Robot, small: list[Sample]) -> Path:
    """Those, sealed."""
    return robot.sealed("small.mcap", small)


def counts(verdict: Any) -> dict[str, int]:
    """What was found, over all topics, without what was not."""
    total: dict[str, int] = {}
    for topic in verdict["topics"]:
        for kind, count in topic["counts"].items():
            total[kind] = total.get(kind, 0) + count
    return {kind: count for kind, count in total.items() if count}


def test_a_sealed_recording_matches(robot: Robot, sealed: Path, tmp_path: Path) -> None:
    """300 VGA frames: every one is proven, for a person and for a program."""
    verdict = robot.judged(sealed, code=0)
    assert (verdict["result"], counts(verdict)) == ("MATCHES RECORD", {"proven": COUNT})
    svg = tmp_path / "timeline.svg"
    ran = robot.verify(sealed, "--svg", svg)
    assert (ran.code, "MATCHES RECORD" in ran.out, robot.device in ran.out) == (0, True, True)
    assert svg.read_bytes().startswith(b"<svg ")


def test_without_trust_nothing_is_settled(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody trusted: exit code 3."""
    monkeypatch.delenv("PLATEMARK_TRUST", raising=False)
    assert platemark("mcap", "verify", sealed, "--json").code == 3


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lz4", "chunk_size": 100_000},
        {"compression": "zstd", "chunk_size": 8 << 20},
        {"compression": "", "chunked": False},
    ],
    ids=["lz4", "zstd", "unchunked"],
)
def test_recompressed_and_rechunked_by_mcap(robot: Robot, sealed: Path, tmp_path: Path, options: Any) -> None:
    """Other chunks and another compression change nothing that is proven."""
    copy = recordings.recompress(sealed, tmp_path / "copy.mcap", **options)
    assert counts(robot.judged(copy, code=0)) == {"proven": COUNT}


def test_clipped_by_mcap(robot: Robot, sealed: Path, samples: list[Sample], tmp_path: Path) -> None:
    """A clip of 140 frames, across the edges of segments, with the proof of the whole recording in it: cut is no fault."""
    clip = recordings.clip(sealed, tmp_path / "clip.mcap", samples[75].log_time, samples[215].log_time)
    assert counts(robot.judged(clip, code=0)) == {"proven": 140, "cut": 160}


def test_clipped_by_mcap_without_its_attachments(
    robot: Robot, sealed: Path, samples: list[Sample], tmp_path: Path
) -> None:
    """A tool that leaves the attachment out: the evidence is named instead."""
    clip = recordings.clip(sealed, tmp_path / "clip.mcap", samples[75].log_time, samples[215].log_time, keep=False)
    assert robot.verify(clip).code == 2
    evidence = sealed.with_name("vga.mcap.evidence")
    assert counts(robot.judged(clip, "--evidence", evidence, code=0)) == {"proven": 140, "cut": 160}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_converted_by_rosbags_and_back(robot: Robot, tmp_path: Path, storage: recordings.Storage) -> None:
    """rosbag2 of either storage by rosbags' writer, and back to MCAP: proven, dropped publish times noted."""
    samples = recordings.mixed(2)
    source = robot.sealed(f"mixed-{storage}.mcap", samples)
    evidence = source.with_name(f"{source.name}.evidence")
    bag = recordings.convert(source, tmp_path / "bag", storage=storage)
    verdict = robot.judged(bag, "--evidence", evidence, code=0)
    assert counts(verdict) == {"proven": len(samples)}
    assert sum(each["publish_times_dropped"] for each in verdict["topics"]) == len(samples)
    again = recordings.write_mcap(tmp_path / "again.mcap", recordings.read_bag(bag))
    assert counts(robot.judged(again, "--evidence", evidence, code=0)) == {"proven": len(samples)}


def test_two_recordings_merged(robot: Robot, tmp_path: Path) -> None:
    """Two sealed recordings in one file, with both proofs in it."""
    one = list(recordings.frames(40, 32, 24, topic="/left"))
    other = list(recordings.frames(40, 32, 24, topic="/right", seed=500))
    paths = [robot.sealed("left.mcap", one), robot.sealed("right.mcap", other)]
    verdict = robot.judged(recordings.merge(paths, tmp_path / "both.mcap"), code=0)
    assert (counts(verdict), len(verdict["recordings"])) == ({"proven": 80}, 2)


def test_topics_that_were_filtered_out_are_named(robot: Robot, tmp_path: Path) -> None:
    """A file with one topic of several matches; the others are absent, and said to be."""
    samples = recordings.mixed(1)
    source = robot.sealed("topics.mcap", samples)
    clip = recordings.clip(source, tmp_path / "one.mcap", topics=["/imu"])
    verdict = robot.judged(clip, code=0)
    assert sorted(each["topic"] for each in verdict["topics"] if not each["absent"]) == ["/imu"]
    assert len(verdict["topics"]) == 7


FRAME = 137
FAULTS: dict[str, tuple[Callable[[list[Sample]], list[Sample]], dict[str, int]]] = {
    "altered": (lambda s: recordings.altered(s, FRAME, byte=5000), {"proven": COUNT - 1, "altered": 1}),
    "moved": (lambda s: recordings.moved(s, FRAME, 77_000_000), {"proven": COUNT - 1, "moved": 1}),
    "dropped": (lambda s: recordings.dropped(s, FRAME), {"proven": COUNT - 1, "dropped": 1}),
    "duplicated": (lambda s: recordings.duplicated(s, FRAME, by=500), {"proven": COUNT, "duplicated": 1}),
    "doubled": (lambda s: recordings.duplicated(s, FRAME), {"proven": COUNT, "duplicated": 1}),
    "inserted": (
        lambda s: recordings.inserted(s, FRAME, recordings.altered(s, 9)[9].data),
        {"proven": COUNT, "inserted": 1},
    ),
    "swapped": (lambda s: recordings.swapped(s, FRAME, FRAME + 60), {"proven": COUNT - 2, "moved": 2}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named_with_its_frame(
    robot: Robot, whole: Path, small: list[Sample], tmp_path: Path, name: str
) -> None:
    """A frame altered, moved, dropped, duplicated, inserted or swapped: exit code 1, the frame named, the others proven."""
    make, expected = FAULTS[name]
    changed = make(small)
    path = recordings.write_mcap(tmp_path / "bad.mcap", changed, attached=recordings.attachments(whole))
    verdict = robot.judged(path, code=1)
    assert (verdict["result"], counts(verdict)) == ("DOES NOT MATCH", expected)
    kind = next(iter(set(expected) - {"proven"}))
    named = [each for each in verdict["named"] if each["kind"] == kind]
    different = {each.log_time for each in changed} ^ {each.log_time for each in small} or {
        one.log_time for one, other in zip(small, changed, strict=False) if one.data != other.data
    }
    if name == "doubled":
        different = {small[FRAME].log_time}
    assert {int(each["log_time"]) for each in named} & different
    assert "DOES NOT MATCH" in robot.verify(path).out


def test_every_single_byte_of_a_message_counts(robot: Robot, small: list[Sample], whole: Path, tmp_path: Path) -> None:
    """One byte of one frame, anywhere in its data: that frame is altered, by its log time, and no other."""
    draw = random.Random(5)
    short = small[:60]
    for _ in range(12):
        frame = draw.randrange(len(short))
        byte, flip = draw.randrange(len(short[frame].data)), draw.randrange(1, 256)
        changed = recordings.altered(short, frame, byte=byte, flip=flip)
        path = recordings.write_mcap(
            tmp_path / "bad.mcap", changed, compression="lz4", attached=recordings.attachments(whole)
        )
        verdict = robot.judged(path, code=1)
        (named,) = [each for each in verdict["named"] if each["kind"] == "altered"]
        assert (int(named["log_time"]), counts(verdict)["altered"]) == (short[frame].log_time, 1)


def test_a_flipped_byte_of_the_file_itself(robot: Robot, sealed: Path, samples: list[Sample], tmp_path: Path) -> None:
    """The sealed file as it lies, one raw byte of a frame flipped: named, with header.stamp beside the log time."""
    draw = random.Random(7)
    spans = recordings.data_spans(sealed, samples)
    for _ in range(3):
        frame = draw.randrange(COUNT)
        path = tmp_path / "flipped.mcap"
        path.write_bytes(sealed.read_bytes())
        recordings.flip(path, draw.choice(spans[frame][100:]), mask=draw.randrange(1, 256))
        verdict = robot.judged(path, code=1)
        (named,) = [each for each in verdict["named"] if each["kind"] == "altered"]
        assert int(named["log_time"]) == samples[frame].log_time
        assert int(named["stamp"]) == recordings.START + round(frame * 10**9 / 30)


def test_a_training_set_of_single_frames(robot: Robot, whole: Path, small: list[Sample], tmp_path: Path) -> None:
    """Every tenth frame: dropped ones are named and fail, unless they may be missing."""
    path = recordings.write_mcap(tmp_path / "set.mcap", small[::10], attached=recordings.attachments(whole))
    assert counts(robot.judged(path, code=1))["dropped"] == 261
    assert counts(robot.judged(path, "--allow-missing", code=0))["proven"] == 30


def test_unrecorded_messages_are_inconclusive(robot: Robot, whole: Path, small: list[Sample], tmp_path: Path) -> None:
    """Messages of a topic that was never whole are named, and nothing is said of them."""
    alien = list(recordings.imus(10, topic="/alien"))
    path = recordings.write_mcap(
        tmp_path / "more.mcap", recordings.interleaved(small[:30], alien), attached=recordings.attachments(whole)
    )
    verdict = robot.judged(path, code=3)
    assert counts(verdict) == {"proven": 30, "cut": 270, "unrecorded": 10}


@pytest.mark.parametrize("place", [0, 4_000, 9_000, -9_000, -40, -1])
def test_hostile_evidence(robot: Robot, whole: Path, tmp_path: Path, place: int) -> None:
    """A byte of the evidence changed, but for texts of schemas: never a match, never a traceback."""
    data = bytearray(whole.with_name("small.mcap.evidence").read_bytes())
    data[place] ^= 1
    evidence = tmp_path / "bad.evidence"
    evidence.write_bytes(data)
    clip = recordings.recompress(whole, tmp_path / "clip.mcap", keep=False)
    ran = robot.verify(clip, "--evidence", evidence)
    assert (ran.code in {2, 4}, "Traceback" in ran.err) == (True, False)


@pytest.mark.parametrize("seconds", [20, pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_six_cameras(robot: Robot, tmp_path: Path, seconds: int) -> None:
    """Six cameras in one recording: a clip, recompressed; and one byte of one camera's frame is named with its topic."""
    samples = list(recordings.cameras(6, seconds, 10.0 if seconds < 600 else 30.0))
    source = robot.sealed(f"cameras-{seconds}.mcap", samples)
    first, last = len(samples) // 4, len(samples) // 2
    clip = recordings.clip(
        source, tmp_path / "clip.mcap", samples[first].log_time, samples[last].log_time, compression="lz4"
    )
    assert counts(robot.judged(clip, code=0)) == {"proven": last - first, "cut": len(samples) - last + first}
    bad = recordings.altered(samples, 777)
    path = recordings.write_mcap(tmp_path / "bad.mcap", bad, attached=recordings.attachments(source))
    (named,) = robot.judged(path, code=1)["named"]
    assert (named["topic"], int(named["log_time"])) == (bad[777].topic, bad[777].log_time)


def test_any_byte_of_the_file(robot: Robot, tmp_path: Path) -> None:
    """One byte of a sealed file flipped, anywhere: what still matches is the same recording to mcap's reader, CRCs or not."""
    samples = list(recordings.frames(12, 24, 16))
    content = robot.sealed("bytes.mcap", samples, compression="", chunk_size=4000).read_bytes()
    spans, path = recordings.data_spans(robot.folder / "bytes.mcap", samples), tmp_path / "flipped.mcap"
    within = {at for span in spans for at in span}
    draw = random.Random(11)
    data = content.index(b"platemark.recording")  # the proof behind the messages has tests of its own
    for at in draw.sample(range(data), 150) + draw.sample(range(len(content) - 1500, len(content)), 50):
        path.write_bytes(content[:at] + bytes([content[at] ^ draw.randrange(1, 256)]) + content[at + 1 :])
        code = robot.verify(path, "--evidence", robot.folder / "bytes.mcap.evidence", "--json").code
        assert code in {0, 1, 2, 3}, at
        assert code != 0 or (at not in within and recordings.read_mcap(path, crcs=False) == samples), at


def test_several_clips_at_once(robot: Robot, whole: Path, small: list[Sample], tmp_path: Path) -> None:
    """The gravest of their exit codes, and a verdict for each."""
    bad = recordings.write_mcap(
        tmp_path / "bad.mcap", recordings.altered(small, 3), attached=recordings.attachments(whole)
    )
    verdict = robot.judged(whole, bad, code=1)
    assert [each["result"] for each in verdict["clips"]] == ["MATCHES RECORD", "DOES NOT MATCH"]
    first, second = robot.judged(tmp_path / "gone.mcap", whole, code=2)["clips"]
    assert ("No such file" in first["error"]["reason"], second["result"]) == (True, "MATCHES RECORD")
