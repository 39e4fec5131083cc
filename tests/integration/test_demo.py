"""`platemark-ledger demo`: every verdict is real and expected, and what it leaves can be checked again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import platemark
from recordings import Sample, attachments, read_bag, read_mcap

from platemark.recording import proof
from platemark.report import format_time
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD
from platemark_ledger.demo.drawings import drawings

COMMAND = (sys.executable, "-m", "platemark_ledger.cli", "demo")


@pytest.fixture(name="left", scope="module")
def _left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The directory of one demo and what it said as JSON."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run([*COMMAND, "--json"], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, json.loads(done.stdout)


def test_every_verdict_is_expected(left: tuple[Path, dict[str, Any]]) -> None:
    """The failures and the success that the demo promises are all there."""
    _, said = left
    assert said["surprises"] == 0
    assert {
        result: [each["verdict"] for each in said["cases"]].count(result)
        for result in (DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD)
    } == {DOES_NOT_MATCH: 5, EVIDENCE_INVALID: 2, INCONCLUSIVE: 3, MATCHES_RECORD: 2}
    assert [each["rung"] for each in said["cases"] if each["verdict"] == MATCHES_RECORD] == ["pixels", "codestream"]


def test_real_images_were_captured(left: tuple[Path, dict[str, Any]]) -> None:
    """Dozens of DICOM images and every drawing are in the log, and each verifies against its own evidence."""
    folder, said = left
    names = [Path(each["name"]) for each in said["captured"]]
    assert len(names) == said["own_matching"]
    assert {*drawings()} == {path.name for path in names if path.suffix == ".png"}
    assert len(names) - len(drawings()) >= 60
    # Leaf 0 is the policy, each device has its enrolment, the robot's recording is six segments, and the log has stated
    # its keys every now and then.
    assert len(names) + 4 + 6 < said["log_size"]
    assert all((folder / path).with_name(path.name + ".evidence").is_file() for path in names)


def test_clips_of_the_robots_recording_are_told_apart(left: tuple[Path, dict[str, Any]]) -> None:
    """What was only cut or recompressed matches, a changed and a missing frame are named, what was never sealed is undecided."""
    folder, said = left
    robot = folder / "demo-out" / "robot"
    samples = read_mcap(robot / "run.mcap")
    at = format_time([each for each in samples if each.topic == "/camera/front"][45].log_time)
    assert [(each["verdict"], each["remark"]) for each in said["clips"]] == [
        (MATCHES_RECORD, ""),
        (MATCHES_RECORD, ""),
        (MATCHES_RECORD, ""),
        (MATCHES_RECORD, ""),
        (DOES_NOT_MATCH, f"altered: /camera/front at {at}"),
        (DOES_NOT_MATCH, f"dropped: /camera/front at {at}"),
        (INCONCLUSIVE, ""),
    ]
    clip = read_mcap(robot / "clip.mcap")
    assert (len(clip) < len(samples), set(clip) <= set(samples)) == (True, True)
    assert [(each.log_time, each.data) for each in read_bag(robot / "bag")] == [
        (each.log_time, each.data) for each in clip
    ]
    assert set(samples) - set(read_mcap(robot / "one-dropped.mcap")) == {samples[_place(samples, 45)]}
    (old, new) = (each[_place(samples, 45)] for each in (samples, read_mcap(robot / "one-byte.mcap")))
    assert sum(one != other for one, other in zip(old.data, new.data, strict=True)) == 1


def test_the_robots_proof_lies_in_and_beside_its_recording(left: tuple[Path, dict[str, Any]]) -> None:
    """The ledger had nothing to remark, the proof is witnessed and time-stamped, and nothing of the sealing is left over."""
    folder, _ = left
    robot = folder / "demo-out" / "robot"
    held = (robot / "run.mcap.evidence").read_bytes()
    assert [each.data for each in attachments(robot / "run.mcap")] == [held]
    assert [each.conditions for each in proof.decode(held).segments] == [()] * 6
    ran = platemark("mcap", "verify", robot / "run.mcap", "--trust", folder / "demo-out" / "trust.toml", "--json")
    (facts,) = (each["facts"] for each in ran.json()["recordings"])
    assert facts["log_signatures"] == "Ed25519 and ML-DSA-44"
    assert {"not_later_than", "key_status_known_to"} <= facts.keys()
    assert sorted(each.name for each in robot.iterdir()) == [
        "another.mcap",
        "bag",
        "clip.mcap",
        "frame.png",
        "frame.png.evidence",
        "one-byte.mcap",
        "one-dropped.mcap",
        "run.mcap",
        "run.mcap.evidence",
    ]


def _place(samples: list[Sample], frame: int) -> int:
    """Where a frame of the camera is among all messages."""
    return [number for number, each in enumerate(samples) if each.topic == "/camera/front"][frame]


def test_every_check_that_a_bundle_can_pass_passes(
    left: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Witnesses, time and the state of the key too; what an audit alone can prove stays NOT CHECKED."""
    folder, said = left
    monkeypatch.chdir(folder)
    ran = platemark(*shlex.split(said["verify"])[1:], "--json")
    statuses = {each["title"]: each["status"] for each in ran.json()["checks"]}
    assert {title for title, status in statuses.items() if status != "PASS"} == {"chain"}
    assert ran.json()["facts"]["log_signatures"] == "Ed25519 and ML-DSA-44"


def test_the_witnesses_and_the_authority_are_labelled(left: tuple[Path, dict[str, Any]]) -> None:
    """Whoever looks at the trust file or the policy sees that they are no independent parties."""
    folder, _ = left
    for name in ("trust.toml", "peers/witness-policy.txt", "ledger/config.toml"):
        assert "demo, one operator, no independence" in (folder / "demo-out" / name).read_text("utf-8")


def test_what_could_not_be_captured_is_named_with_a_reason(left: tuple[Path, dict[str, Any]]) -> None:
    """Nothing is left out silently."""
    _, said = left
    assert any("MR_truncated.dcm" in name for names in said["not_captured"].values() for name in names)
    assert said["without_image"]


def test_the_lines_to_copy_say_what_the_demo_said(
    left: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each printed verify command gives the verdict that the demo printed, with no server running."""
    folder, said = left
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PLATEMARK_TRUST", raising=False)
    judged = [*said["cases"], *said["clips"]]
    lines = {said["verify"]: MATCHES_RECORD} | {each["verify"]: each["verdict"] for each in judged}
    assert len(judged) + 1 == len(lines)
    for line, expected in lines.items():
        ran = platemark(*shlex.split(line)[1:], "--json")
        assert expected == ran.json()["result"], line


def test_a_second_run_replaces_the_first(left: tuple[Path, dict[str, Any]]) -> None:
    """The directory of a demo is a demo's to replace; it is told as text, ending with a line to copy."""
    folder, said = left
    done = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert said["log_id"] not in done.stdout
    assert "platemark verify demo-out/modality/test_files/CT_small.dcm --trust demo-out/trust.toml" in done.stdout
    assert "platemark mcap verify demo-out/robot/run.mcap --trust demo-out/trust.toml" in done.stdout
    assert "NOT EXPECTED" not in done.stdout


@pytest.mark.parametrize("trap", ["plain", "link"])
def test_another_directory_is_never_touched(tmp_path: Path, trap: str) -> None:
    """A directory that no demo made is refused, and nothing in it changes."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    if trap == "link":
        out = tmp_path / "link"
        out.symlink_to(tmp_path / "out")
    done = subprocess.run([*COMMAND, "--out", str(out)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not empty and was not made by a demo" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
