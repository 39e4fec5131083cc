"""A court installs the client distribution alone, in a clean environment, and verifies."""

import importlib.metadata
import json
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

import builders
from platemark import trust
from platemark.attributes import commit
from platemark.capture import measure
from platemark.cbor import Value

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "vectors" / "golden"
ABSENT = ("grpc", "google.protobuf", "lmdb", "pymerkle", "pydicom", "numpy", "imagecodecs")
AT = str(builders.NOW + 1)
PATIENT = b"CompressedSamples^MR1"


def closure(name: str) -> set[str]:
    """The distributions that `name` needs without extras, itself included."""
    found, todo = set[str](), [name]
    while todo:
        each = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if each in found:
            continue
        found.add(each)
        for line in importlib.metadata.requires(each) or []:
            requirement, _, marker = line.partition(";")
            if "extra" not in marker and "sys_platform" not in marker and "platform_system" not in marker:
                todo.append(re.split(r"[\s<>=!~\[(]", requirement.strip())[0])
    return found


def pinned(names: set[str]) -> str:
    """The entries of requirements.txt, hashes included, for these distributions."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.txt").read_text())
    wanted = {re.split(r"[=\s;\[]", entry)[0].lower(): entry for entry in entries}
    return "\n".join(wanted[name] for name in sorted(names) if name in wanted) + "\n"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A finished command with its output."""
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the built wheel of the client and its pinned dependencies, nothing else."""
    home = tmp_path_factory.mktemp("court")
    build = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        home,
        ROOT / "client",
        cwd=home,
    )
    assert build.returncode == 0, build.stderr
    venv.create(home / "env", with_pip=True)
    python = home / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    (home / "requirements.txt").write_text(pinned(closure("platemark") - {"platemark"}))
    for words in (["--require-hashes", "-r", "requirements.txt"], ["--no-deps", *home.glob("platemark-*.whl")]):
        install = run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words, cwd=home)
        assert install.returncode == 0, install.stderr
    return python


@pytest.mark.parametrize("module", ABSENT)
def test_nothing_heavy_is_installed(court: Path, tmp_path: Path, module: str) -> None:
    """The court's environment has no server, database or decoder package."""
    assert run(court, "-c", f"import {module}", cwd=tmp_path).returncode == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("release", sorted(path.name for path in GOLDEN.iterdir()) if GOLDEN.exists() else [])
def test_golden_evidence_verifies(court: Path, tmp_path: Path, release: str) -> None:
    """Evidence that a release made is verified by the clean install of this one."""
    folder = GOLDEN / release
    for case in json.loads((folder / "cases.json").read_text()):
        expected = json.loads((folder / case["verdict"]).read_text())
        words = [folder / case["image"], "--evidence", folder / case["evidence"], "--trust", folder / case["trust"]]
        done = run(court, "-m", "platemark", "verify", *words, "--at", str(expected["at"]), "--json", cwd=tmp_path)
        assert (expected["exit_code"], "") == (done.returncode, done.stderr)
        found = json.loads(done.stdout)
        assert (expected["result"], expected["rung"]) == (found["result"], found["rung"])


@pytest.fixture
def slice_case(tmp_path: Path) -> Path:
    """A folder with a slice in JPEG 2000, a copy under another name, the slice's evidence and the trust file."""
    source = get_testdata_file("MR_small_jp2klossless.dcm")
    assert isinstance(source, str)
    content = Path(source).read_bytes()
    image = tmp_path / "slice.dcm"
    image.write_bytes(content)
    assert content.count(PATIENT) == 1
    (tmp_path / "other.dcm").write_bytes(content.replace(PATIENT, b"Roe^Richard".ljust(len(PATIENT))))
    measured = measure(image)
    log = builders.Log()
    enrolment = log.enrol(builders.MODALITY)
    disclosure = commit(measured.attributes)
    digests: dict[int | str, Value] = {rung: dict(each.items()) for rung, each in measured.digests.items()}
    record = log.capture(attributes=disclosure, media=measured.media, digests=digests, frames=measured.frames or 1)
    (tmp_path / "slice.dcm.evidence").write_bytes(log.evidence(record, enrolments=[enrolment]).to_bytes())
    named = trust.TrustedLog(log.id, log.origin, frozenset(key.spki for key in log.policy_keys), log.threshold)
    (tmp_path / "trust.toml").write_text(trust.to_toml(named))
    return tmp_path


def test_same_file_matches_without_decoders(court: Path, slice_case: Path) -> None:
    """The file itself needs no decoder: a court's install says MATCHES RECORD."""
    done = run(court, "-m", "platemark", "verify", "slice.dcm", "--trust", "trust.toml", "--at", AT, cwd=slice_case)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("MATCHES RECORD\n")


def test_other_file_is_inconclusive_without_decoders(court: Path, slice_case: Path) -> None:
    """Where only the pixels could match and no decoder is installed: INCONCLUSIVE, with the line that installs one."""
    done = run(
        court, "-m", "platemark", "verify", "other.dcm", "--evidence", "slice.dcm.evidence", "--trust", "trust.toml",
        "--at", AT, cwd=slice_case,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("INCONCLUSIVE\n")
    assert "pip install" in done.stdout
    assert "platemark[dicom]" in done.stdout
