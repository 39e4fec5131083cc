"""`platemark verify`: verdicts, exit codes, and nothing but the files it was given."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import case, ct, platemark, png

import capture_writers as writers
from platemark.cli import main
from platemark.rungs import HEADER_BINDING
from platemark.verdict import EXIT_CODES


def test_the_recorded_file_matches(tmp_path: Path) -> None:
    """The image itself is exit code 0 and says by which rung."""
    ran = case(tmp_path, png()).verify()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("MATCHES RECORD\nrung file: ")


def test_another_image_does_not_match(tmp_path: Path) -> None:
    """Sound evidence and another image is exit code 1."""
    made = case(tmp_path, png())
    other = tmp_path / "other.png"
    other.write_bytes(png(shade=101))
    ran = made.verify("--evidence", made.evidence, image=other)
    assert (ran.code, ran.out.startswith("DOES NOT MATCH\n")) == (1, True)


def test_without_trust_nothing_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trust file is exit code 3, whatever else holds."""
    monkeypatch.delenv("PLATEMARK_TRUST", raising=False)
    made = case(tmp_path, png())
    ran = platemark("verify", made.image, "--at", made.at)
    assert (ran.code, ran.out.startswith("INCONCLUSIVE\n")) == (3, True)
    monkeypatch.setenv("PLATEMARK_TRUST", str(made.trust))
    assert platemark("verify", made.image, "--at", made.at).code == 0


def test_a_stranger_s_checkpoint_is_invalid(tmp_path: Path) -> None:
    """Evidence whose checkpoint the log did not sign is exit code 4."""
    made = case(tmp_path, png())
    lying = made.log.evidence(2, enrolments=[1], signed=made.log.checkpoint(root=bytes(32)))
    made.evidence.write_bytes(lying.to_bytes())
    ran = made.verify()
    assert (ran.code, ran.out.startswith("EVIDENCE INVALID\n")) == (4, True)


@pytest.mark.parametrize("opened", [False, True])
def test_true_pixels_under_another_name_never_match(tmp_path: Path, *, opened: bool) -> None:
    """Equal pixels with another patient: inconclusive while the header is closed, no match once it is open."""
    names = tuple(sorted(HEADER_BINDING)) if opened else ()
    made = case(tmp_path, ct(), name="scan.dcm", open_names=names)
    other = tmp_path / "other.dcm"
    other.write_bytes(ct(patient="Roe^Richard"))
    ran = made.verify("--evidence", made.evidence, image=other)
    assert (1 if opened else 3) == ran.code
    assert ("patient_name" in ran.out.splitlines()[1]) is True


def test_disclosed_attributes_are_compared_with_the_file(tmp_path: Path) -> None:
    """Each is the file's, another, not there or not shown; the text marks what the file says otherwise."""
    names = ("patient_name", "study_instance_uid", "laterality")
    made = case(tmp_path, ct(), name="scan.dcm", open_names=names)
    other = tmp_path / "other.dcm"
    other.write_bytes(ct(patient="Roe^Richard"))
    shown = made.verify("--evidence", made.evidence, "--json", image=other).json()
    stands = shown["attributes"]
    assert {name: stands[name] for name in (*names, "patient_id")} == {
        "patient_name": "differs",
        "study_instance_uid": "equal",
        "laterality": "equal",
        "patient_id": "not-disclosed",
    }
    assert "file_name" not in stands
    text = made.verify("--evidence", made.evidence, image=other).out
    assert re.search(r"patient_name +Doe\^Jane \(THE FILE SAYS OTHERWISE\)", text)
    assert "attributes" not in case(tmp_path, ct(), name="closed.dcm").verify("--json").json()


def test_another_encoding_matches_by_its_content(tmp_path: Path) -> None:
    """The same object in another native transfer syntax matches, header and all, and nothing has to be opened."""
    made = case(tmp_path, ct(), name="scan.dcm")
    other = tmp_path / "other.dcm"
    other.write_bytes(ct(syntax=writers.DEFLATED))
    ran = made.verify("--evidence", made.evidence, "--json", image=other)
    assert (ran.code, ran.json()["rung"]) == (0, "content")


def test_an_edited_object_with_its_header_open_matches(tmp_path: Path) -> None:
    """Where other elements were added, the pixels match, when the evidence opens the header."""
    made = case(tmp_path, ct(), name="scan.dcm", open_names=tuple(sorted(HEADER_BINDING)))
    other = tmp_path / "other.dcm"
    other.write_bytes(ct() + writers.element(0xFFFAFFFA, "SQ", b"") + writers.element(0xFFFCFFFC, "OB", b"\0\0"))
    assert made.verify("--evidence", made.evidence, "--json", image=other).json()["rung"] == "content"
    other.write_bytes(ct() + writers.element(0x7FE10010, "LO", b"OURS"))
    ran = made.verify("--evidence", made.evidence, "--json", image=other)
    assert (ran.code, ran.json()["rung"]) == (0, "pixels")


def test_json_is_the_same_every_time(tmp_path: Path) -> None:
    """With --at, the same input gives the same bytes, and the exit code is in them."""
    made = case(tmp_path, png())
    first, second = made.verify("--json"), made.verify("--json")
    assert first.out == second.out
    assert (EXIT_CODES["MATCHES RECORD"], first.code) == (first.json()["exit_code"], 0)


def test_at_may_be_rfc_3339(tmp_path: Path) -> None:
    """A time as text and as nanoseconds are the same time."""
    made = case(tmp_path, png())
    text = platemark("verify", made.image, "--trust", made.trust, "--at", "2027-01-15T08:00:00.000000001Z", "--json")
    assert made.verify("--json").out == text.out


Break = Callable[[Path], object]


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("image.bin", lambda path: path.write_bytes(b""), "image.bin: "),
        ("image.bin", lambda path: path.write_bytes(b"text"), "image.bin: "),
        ("image.bin", lambda path: path.unlink(), "image.bin: "),
        ("image.bin.evidence", lambda path: path.unlink(), "image.bin.evidence: No such file"),
        ("image.bin.evidence", lambda path: path.write_bytes(b"PK"), "image.bin.evidence: bundle: "),
        ("image.bin.evidence", lambda path: path.write_bytes(path.read_bytes()[:-1]), "image.bin.evidence: bundle: "),
        ("trust.toml", lambda path: path.write_text("version = 2"), "trust.toml: version: not 1"),
        ("trust.toml", lambda path: path.write_text("[["), "trust.toml: trust: not TOML"),
        ("trust.toml", lambda path: path.unlink(), "trust.toml: No such file"),
    ],
    ids=["empty", "no-image", "gone", "no-evidence", "no-zip", "cut", "version", "no-toml", "no-trust"],
)
def test_unreadable_input_is_one_line_and_exit_code_2(tmp_path: Path, name: str, damage: Break, said: str) -> None:
    """What cannot be read is named, with the reason, and is never a verdict."""
    made = case(tmp_path, png())
    damage(tmp_path / name)
    ran = made.verify()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("platemark: ")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_verification_opens_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command runs with sockets taken away, decoding in its child process included."""
    made = case(tmp_path, png())

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("verification opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert made.verify().code == 0


_WITHOUT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"grpc", "google", "pydicom", "numpy", "imagecodecs", "tifffile", "lmdb"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from platemark.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _bare(*words: object) -> subprocess.CompletedProcess[str]:
    """The command in a process where neither gRPC nor a decoder can be imported."""
    command = [sys.executable, "-c", _WITHOUT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


def test_it_runs_without_grpc_and_decoders(tmp_path: Path) -> None:
    """An install of a court's kind verifies."""
    made = case(tmp_path, png())
    done = _bare("verify", made.image, "--trust", made.trust, "--at", made.at)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_needs_grpc_says_what_to_install(tmp_path: Path) -> None:
    """One line with the pip command, exit code 2."""
    made = case(tmp_path, png())
    done = _bare("lookup", made.image)
    assert (
        done.returncode,
        done.stderr,
    ) == (2, 'platemark: this command talks to a ledger: pip install "platemark[rpc]"\n')


def test_without_trust_a_difference_still_shows(tmp_path: Path) -> None:
    """INCONCLUSIVE for want of trust says what to do, and that the image is another one all the same."""
    made = case(tmp_path, png())
    other = tmp_path / "other.png"
    other.write_bytes(png(shade=9))
    same = platemark("verify", made.image, "--at", made.at)
    differs = platemark("verify", other, "--evidence", made.evidence, "--at", made.at)
    assert (
        (same.code, differs.code),
        "Give --trust FILE" in same.out,
        "Give --trust" in differs.out,
    ) == ((3, 3), True, True)
    assert ("this image differs" in same.out, "this image differs" in differs.out) == (False, True)
    assert "Nothing failed" not in differs.out


def test_closed_output_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes standard output and error wants the exit code alone."""
    made = case(tmp_path, png())
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", None)
        patched.setattr("sys.stderr", None)
        code = main(["verify", str(made.image), "--trust", str(made.trust), "--at", made.at])
        missing = main(["verify", str(tmp_path / "none")])
    assert (code, missing) == (0, 2)


def test_no_arguments_print_the_help() -> None:
    """The help, line by line, and exit code 2: nothing was asked for."""
    ran = platemark()
    assert (ran.code, ran.err) == (2, "")
    assert len(ran.out.splitlines()) > 10
