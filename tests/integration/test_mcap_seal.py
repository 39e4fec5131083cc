"""Sealing recordings with a real ledger: in place, beside, interrupted, deferred, while they are recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import recordings
from commands import platemark
from integration.live import Live
from integration.robots import Robot, robot_at
from recordings import read, write_bag, write_mcap

from platemark.recording.proof import decode
from platemark.robot import Recorder, open_chain
from platemark.sealing.placing import Place
from platemark.spool import Spool


@pytest.fixture(name="robot")
def _robot(live: Live, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Robot]:
    with robot_at(live, tmp_path, request.node.name) as robot:
        yield robot


def test_a_sealed_file_is_the_same_recording_to_other_readers(robot: Robot) -> None:
    """Messages are those of before, by mcap's reader with CRCs; the proof is an attachment and a file; nothing is left over."""
    samples = recordings.mixed(2)
    path = write_mcap(robot.folder / "run.mcap", samples)
    answer = robot.seal(path)
    (item,) = answer["items"]
    assert (item["status"], item["messages"], item["topics"], item["conditions"]) == ("sealed", len(samples), 7, [])
    assert read(path) == samples
    (attached,) = recordings.attachments(path)
    evidence = path.with_name("run.mcap.evidence").read_bytes()
    assert (attached.name, attached.media_type) == ("platemark.recording", "application/vnd.platemark.recording+cbor")
    assert attached.data == evidence
    assert decode(evidence).recording.hex() == item["recording"]
    assert sorted(each.name for each in robot.folder.iterdir() if each.name.startswith(("run", ".run"))) == [
        "run.mcap",
        "run.mcap.evidence",
    ]


def test_sealing_again_says_so_and_signs_nothing(robot: Robot) -> None:
    """A recording that has a proof is left alone; --force seals it anew."""
    path = robot.sealed("run.mcap", recordings.frames(5, 32, 24))
    before = path.read_bytes()
    assert robot.seal(path)["counts"] == {"repeated": 1}
    assert path.read_bytes() == before
    assert robot.seal(path, more=("--force",))["counts"] == {"sealed": 1}


def test_the_proof_of_an_earlier_file_of_the_same_name_is_no_seal(robot: Robot) -> None:
    """A recorder that writes run.mcap every day is told that the evidence beside it is yesterday's; nothing passes for sealed."""
    path = robot.sealed("run.mcap", recordings.frames(5, 32, 24))
    yesterday = path.with_name("run.mcap.evidence").read_bytes()
    write_mcap(path, recordings.frames(5, 16, 12))
    again = robot.run("mcap", "seal", path, "--key", robot.key, "--json")
    (item,) = again.json()["items"]
    assert (again.code, item["status"], "another recording" in item["reason"]) == (1, "failed", True)
    path.write_bytes(b"")
    followed = robot.run("mcap", "seal", path, "--key", robot.key, "--follow")
    assert (followed.code, "lies there already" in followed.err) == (2, True)
    assert path.with_name("run.mcap.evidence").read_bytes() == yesterday


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_bags_are_sealed_beside(robot: Robot, storage: recordings.Storage) -> None:
    """A rosbag2 folder stays as it is, and has its proof beside it."""
    bag = write_bag(robot.folder / "bag", recordings.mixed(1), storage=storage)
    before = {each.name: each.read_bytes() for each in bag.iterdir()}
    assert robot.seal(bag)["counts"] == {"sealed": 1}
    assert {each.name: each.read_bytes() for each in bag.iterdir()} == before
    assert (robot.folder / "bag.evidence").exists()


def test_sidecar_and_out_leave_the_file_alone(robot: Robot) -> None:
    """--sidecar writes evidence alone; --out writes a sealed copy elsewhere."""
    path = write_mcap(robot.folder / "run.mcap", recordings.frames(5, 32, 24))
    before = path.read_bytes()
    robot.seal(path, more=("--out", robot.folder / "sealed"))
    assert (path.read_bytes(), len(recordings.attachments(robot.folder / "sealed" / "run.mcap"))) == (before, 1)
    robot.seal(path, more=("--sidecar",))
    assert path.read_bytes() == before


def test_a_ledger_that_is_away_loses_nothing(robot: Robot) -> None:
    """Exit code 5 and what is signed stays; with the ledger back the same statements are logged, none is signed again."""
    path = write_mcap(robot.folder / "run.mcap", recordings.frames(90, 32, 24))
    words = ("mcap", "seal", path, "--key", robot.key)
    ran = platemark(*words, "--server", "127.0.0.1:1")
    assert (ran.code, "running this again goes on" in ran.err) == (5, True)
    state = robot.key.with_name("robot.pem.state").read_bytes()
    assert robot.seal(path)["counts"] == {"sealed": 1}
    assert robot.key.with_name("robot.pem.state").read_bytes() == state


def test_a_spool_defers_and_proofs_collects(robot: Robot) -> None:
    """--spool needs no ledger; `mcap proofs` says what is not logged yet, and afterwards makes the proof."""
    path = write_mcap(robot.folder / "run.mcap", recordings.frames(60, 32, 24))
    spool = robot.folder / "spool"
    ran = platemark("mcap", "seal", path, "--key", robot.key, "--spool", spool, "--json")
    assert (ran.code, ran.json()["counts"]) == (0, {"spooled": 1})
    ran = robot.run("mcap", "proofs", path, "--json")
    assert (ran.code, ran.json()["counts"]) == (1, {"incomplete": 1})
    assert "are not in the ledger yet" in ran.json()["items"][0]["reason"]
    assert robot.run("spool", "send", spool).code == 0
    ran = robot.run("mcap", "proofs", path, "--json")
    assert (ran.code, ran.json()["counts"]) == (0, {"sealed": 1})
    assert len(recordings.attachments(path)) == 1


def test_a_crash_after_the_proof_was_put_into_the_file(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run keeps one proof, and signs nothing."""
    path = write_mcap(robot.folder / "run.mcap", recordings.frames(30, 32, 24))
    with monkeypatch.context() as patch:
        patch.setattr(Place, "forget", _crash)
        assert robot.run("mcap", "seal", path, "--key", robot.key).code == 70
    before = robot.key.with_name("robot.pem.state").read_bytes()
    assert robot.seal(path)["counts"] == {"sealed": 1}
    assert (len(recordings.attachments(path)), robot.key.with_name("robot.pem.state").read_bytes()) == (1, before)


def _crash(place: Place) -> None:
    raise ZeroDivisionError(place.state)


def test_a_killed_seal_goes_on(robot: Robot) -> None:
    """Killed while it signs, run again: each message is in one segment, the chain has neither gap nor fork."""
    samples = list(recordings.frames(120, 32, 24))
    path = write_mcap(robot.folder / "run.mcap", samples)
    words = ("mcap", "seal", path, "--key", robot.key, "--window", "40ms", "--server", robot.live.address)
    for least in (3, 20):
        with subprocess.Popen(
            [sys.executable, "-m", "platemark", *map(str, words)], stdout=subprocess.DEVNULL
        ) as child:
            while child.poll() is None and _places(robot.key) < least:
                pass
            child.kill()
    answer = robot.seal(path, more=("--window", "40ms"))
    (item,) = answer["items"]
    assert (item["status"], item["messages"], item["conditions"]) == ("sealed", len(samples), [])
    proof = decode((robot.folder / "run.mcap.evidence").read_bytes())
    assert sorted(row.log_time for each in proof.segments for _, row in each.rows()) == [
        each.log_time for each in samples
    ]
    assert [each.number for each in proof.segments] == list(range(len(proof.segments)))


def test_a_recording_is_followed_to_its_end(robot: Robot) -> None:
    """--follow seals what is being written; when the writer ends the file, the proof is in it."""
    path, samples = robot.folder / "live.mcap", list(recordings.frames(75, 32, 24))
    path.touch()

    def write() -> None:
        with path.open("wb") as file:
            for part in recordings.growing(file, samples, chunk_size=20_000):
                del part
                file.flush()

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        answer = robot.seal(path, more=("--follow",))
        written.result()
    assert (answer["counts"], answer["items"][0]["messages"]) == ({"sealed": 1}, len(samples))
    assert read(path) == samples
    assert len(recordings.attachments(path)) == 1


def test_a_recorder_that_is_stopped_leaves_what_it_recorded_provable(robot: Robot) -> None:
    """SIGTERM ends --follow: every message so far is signed, logged and proven, though the file has no end."""
    path, samples = robot.folder / "live.mcap", list(recordings.frames(75, 32, 24))
    with path.open("wb") as file:
        parts = recordings.growing(file, samples, chunk_size=20_000)
        for _ in range(70):
            next(parts)
        file.flush()
        words = ("mcap", "seal", path, "--key", robot.key, "--follow", "--server", robot.live.address)
        with subprocess.Popen(
            [sys.executable, "-m", "platemark", *map(str, words)], stdout=subprocess.DEVNULL
        ) as child:
            while child.poll() is None and _places(robot.key) < 2:
                pass
            child.terminate()
        assert child.returncode == 0
    proof = decode((robot.folder / "live.mcap.evidence").read_bytes())
    assert sum(each.count for each in proof.segments) > 30


def test_a_file_that_is_empty_yet_is_followed(robot: Robot) -> None:
    """The writer has not begun when --follow does."""
    path, samples = robot.folder / "live.mcap", list(recordings.frames(10, 32, 24))
    path.touch()
    words = ("mcap", "seal", path, "--key", robot.key, "--follow", "--server", robot.live.address)
    with subprocess.Popen([sys.executable, "-m", "platemark", *map(str, words)], stdout=subprocess.DEVNULL) as child:
        while child.poll() is None and not path.with_name("live.mcap.sealing").exists():
            pass
        with path.open("wb") as file:
            for _ in recordings.growing(file, samples):
                pass
    assert (child.returncode, len(recordings.attachments(path))) == (0, 1)


def test_what_a_recorder_signed_proves_the_file(robot: Robot) -> None:
    """A Recorder's journal gives the proof of the MCAP file of the same recording, once it is all logged."""
    samples, journal, spool = list(recordings.frames(45, 32, 24)), robot.folder / "journal", robot.folder / "spool"
    path = write_mcap(robot.folder / "run.mcap", samples)
    kind = samples[0].kind
    chain = open_chain(robot.key, device=robot.device)
    with Spool(spool) as outbox, Recorder(journal, chain=chain, spool=outbox) as recorder:
        recorder.channel(
            samples[0].topic,
            type_name=kind.name,
            schema_encoding="ros2msg",
            schema=kind.definition.encode(),
            encoding="cdr",
        )
        for each in samples:
            recorder.observe(each.topic, each.data, log_time=each.log_time, publish_time=each.publish_time)
    ran = robot.run("mcap", "proofs", journal)
    assert (ran.code, "are not in the ledger yet" in ran.out) == (1, True)
    assert robot.run("spool", "send", spool).code == 0
    ran = robot.run("mcap", "proofs", journal, "--into", path, "--json")
    assert (ran.code, ran.json()["counts"]) == (0, {"sealed": 1})
    assert (journal / f"{recorder.recording.hex()}.evidence").exists()
    assert robot.judged(path, code=0)["topics"][0]["counts"]["proven"] == len(samples)


def test_a_key_that_nobody_enrolled_is_refused_and_can_go_on(live: Live, tmp_path: Path) -> None:
    """The ledger's reason, exit code 1; once the key is enrolled, the same statements are logged."""
    robot = Robot(live, tmp_path, f"late-{tmp_path.name}".replace("_", "-"))
    path = write_mcap(tmp_path / "run.mcap", recordings.frames(40, 32, 24))
    assert platemark("keygen", robot.key).code == 0
    words = ("mcap", "seal", path, "--key", robot.key, "--device", robot.device, "--json")
    ran = robot.run(*words)
    assert (ran.code, ran.json()["items"][0]["reason"].startswith("unknown-key: ")) == (1, True)
    assert platemark("keygen", tmp_path / "other.pem").code == 0
    other = robot.run("mcap", "seal", path, "--key", tmp_path / "other.pem", "--device", robot.device)
    assert (other.code, "--force begins it anew" in other.out) == (1, True)
    robot.enrolled()
    assert robot.run(*words).json()["counts"] == {"sealed": 1}
    assert robot.judged(path, code=0)["result"] == "MATCHES RECORD"


def _places(key: Path) -> int:
    """How many places of the key's chain are used up."""
    state = key.with_name(f"{key.name}.state")
    return int(json.loads(state.read_text())["seq"]) if state.exists() else 0
