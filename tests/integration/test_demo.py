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
    # Leaf 0 is the policy, each device has its enrolment, and the log has stated its keys every now and then.
    assert len(names) + 3 < said["log_size"]
    assert all((folder / path).with_name(path.name + ".evidence").is_file() for path in names)


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
    lines = {said["verify"]: MATCHES_RECORD} | {each["verify"]: each["verdict"] for each in said["cases"]}
    assert len(said["cases"]) + 1 == len(lines)
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
