"""`platemark mcap` without a ledger: what it refuses, what it says, and that its documents say what it does."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
import recordings
from commands import platemark

from platemark.report import format_time

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="run")
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small recording, and no settings."""
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA", "PLATEMARK_SPOOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert platemark("keygen", "k.pem").code == 0
    return recordings.write_mcap(tmp_path / "run.mcap", recordings.frames(40, 16, 12))


SEAL = ("--key", "k.pem", "--device", "https://a.example/robot", "--spool", "spool")


def test_what_is_damaged_is_not_sealed(run: Path) -> None:
    """A flipped byte in a chunk: failed, with the place; nothing is put into the spool."""
    recordings.write_mcap(run, recordings.frames(40, 16, 12), compression="", crcs=True)
    (span, *_) = recordings.data_spans(run, recordings.frames(40, 16, 12))
    recordings.flip(run, span[40])
    ran = platemark("mcap", "seal", run, *SEAL, "--json")
    (item,) = ran.json()["items"]
    assert (ran.code, item["status"], "is damaged, so it is not sealed" in item["reason"]) == (1, "failed", True)


def test_several_recordings_each_say_what_became_of_them(run: Path) -> None:
    """One that is none does not hold up the others."""
    Path("notes.txt").write_text("no recording")
    ran = platemark("mcap", "seal", "notes.txt", run, *SEAL)
    assert (ran.code, "is neither an MCAP file nor one of rosbag2" in ran.out) == (1, True)
    assert "1 failed, 1 spooled" in ran.out


def test_a_recording_that_changed_is_not_gone_on_with(run: Path) -> None:
    """What was signed and is gone is named; --force begins anew."""
    assert platemark("mcap", "seal", run, *SEAL).code == 0
    samples = recordings.read_mcap(run)
    recordings.write_mcap(run, recordings.dropped(samples, 7))
    ran = platemark("mcap", "seal", run, *SEAL)
    assert (ran.code, f"at {format_time(samples[7].log_time)} is gone or altered" in ran.out) == (1, True)
    recordings.write_mcap(run, [*samples, *recordings.frames(50, 16, 12)][-50:])
    ran = platemark("mcap", "seal", run, *SEAL)
    assert (ran.code, "since everything was signed" in ran.out) == (1, True)
    assert platemark("mcap", "seal", run, *SEAL, "--force").code == 0


@pytest.mark.parametrize(
    "data", [b"", b"\xa5", b"no proof", bytes(1000), b"\xa5\x61v\x01\x67schemas\x9b" + b"\xff" * 8]
)
def test_a_hostile_attachment_is_a_line(run: Path, data: bytes) -> None:
    """What calls itself a proof and is none: exit code 2, and which one it is."""
    hostile = recordings.Attached("platemark.recording", "application/vnd.platemark.recording+cbor", data)
    recordings.write_mcap(run, recordings.frames(3, 16, 12), attached=[hostile])
    ran = platemark("mcap", "verify", run)
    assert (ran.code, ran.err.count("\n"), "attachment 0 of its proofs" in ran.err) == (2, 1, True)


def test_a_recording_is_sent_to_its_own_command(run: Path) -> None:
    """Who inspects a recording, or takes its proof for an image's, is told which command reads it."""
    ran = platemark("inspect", run)
    assert (ran.code, "platemark mcap verify" in ran.err) == (2, True)
    run.with_name("run.mcap.evidence").write_bytes(b"\xa5\x61v\x01\x67schemas\x80")
    ran = platemark("verify", run)
    assert (ran.code, "platemark mcap verify" in ran.err) == (2, True)
    Path("scan.evidence").write_bytes(b"PK\3\4")
    ran = platemark("mcap", "verify", run, "--evidence", "scan.evidence")
    assert (ran.code, "run.mcap.evidence" in ran.err) == (2, True)
    run.with_name("run.mcap.evidence").rename("proof")
    ran = platemark("mcap", "verify", run, "--evidence", "scan.evidence")
    assert (ran.code, "scan.evidence: the evidence of an image" in ran.err) == (2, True)
    ran = platemark("inspect", "proof")
    assert (ran.code, ran.err.count("\n"), "proof" in ran.err) == (2, 1, True)


def test_an_empty_recording_has_nothing_to_seal(run: Path) -> None:
    """No message, no seal."""
    recordings.write_mcap(run, [])
    ran = platemark("mcap", "seal", run, *SEAL)
    assert (ran.code, "has no message" in ran.out) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("seal", "gone.mcap", *SEAL), "gone.mcap: No such file"),
        (("seal", "run.mcap", "--key", "k.pem", "--window", "0s"), "--window: at least 1ns"),
        (("seal", "run.mcap", "run.mcap", "--key", "k.pem", "--follow"), "--follow is for one recording"),
        (("seal", "run.mcap", "x/run.mcap", "--out", "y", *SEAL), "two recordings have one name"),
        (("seal", "run.mcap", *SEAL, "--witnessed"), "--witnessed is for the sender"),
        (("verify", "run.mcap"), "carries no proof, and run.mcap.evidence is not beside it"),
        (("verify", "run.mcap", "--evidence", "run.mcap"), "proof: "),
        (("verify", "run.mcap", "run.mcap", "--svg", "x.svg"), "--svg is for one clip"),
        (("verify", "lost.mcap"), "lost.mcap: No such file"),
        (("frame", "run.mcap", "--topic", "/x", "--out", "x.png"), "give either --time or --number"),
        (("frame", "run.mcap", "--topic", "/x", "--out", "x.png", "--number", "0"), "has no topic /x"),
        (
            ("frame", "run.mcap", "--topic", "/camera/image_raw", "--out", "x.png", "--number", "40"),
            "none has the number",
        ),
        (("proofs", "gone"), "neither a journal of segments nor a recording that is being sealed"),
        (("proofs", ".", "--recording", "xy"), "not hex digits"),
        (("proofs", ".", "--recording", "00"), "has no recording 00"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("run")
def test_what_is_asked_wrongly(words: tuple[str, ...], said: str) -> None:
    """One line, exit code 2 (1 for a recording of several)."""
    ran = platemark("mcap", *words)
    assert (ran.code in {1, 2}, "Traceback" in ran.err) == (True, False)
    assert said in ran.err + ran.out


def test_documents_show_commands_and_options_that_exist() -> None:
    """Every command line of deploy/ROBOTS.md is one: the command and its options are in its help."""
    lines = re.findall(r"^\$ platemark (.*)$", (ROOT / "deploy/ROBOTS.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {line.split()[1] for line in lines if line.startswith("mcap")} == {"seal", "verify", "frame", "proofs"}
    for line in lines:
        words = shlex.split(line)
        shown = platemark(*itertools.takewhile(lambda word: not word.startswith("--"), words[:2]), "--help").out
        assert [each for each in words if each.startswith("--") and each not in shown] == [], line
