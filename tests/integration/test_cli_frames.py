"""`platemark fetch --frame` against a real ledger: a frame of a cine, taken out by other tools, is named and proven."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from commands import Ran, platemark
from integration.live import Live
from pydicom.encaps import encapsulate, generate_frames

URI = "https://devices.test/cine"


@pytest.fixture(name="run", scope="module")
def _run(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """A command that talks to the ledger, as an enrolled device."""
    key = tmp_path_factory.mktemp("cine") / "us1.pem"
    trust = live.place.directory / "trust.toml"
    registrar = live.place.directory / "offline" / "registrar.key"

    def run(command: str, *words: object) -> Ran:
        more = ("--key", key) if command == "capture" else ()
        return platemark(command, *words, *more, "--server", live.address, "--trust", trust)

    assert platemark("keygen", key).code == 0
    enrolled = run("enrol", "--key", key, "--device", URI, "--role", "modality", "--registrar", registrar)
    assert (enrolled.code, enrolled.err) == (0, "")
    return run


@pytest.fixture(name="verify")
def _verify(live: Live) -> Callable[..., Ran]:
    return lambda *words: platemark("verify", *words, "--trust", live.place.directory / "trust.toml", "--json")


def _cine(folder: Path, name: str) -> Path:
    """A copy of a real object of 30 frames."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(found, str)
    path = folder / "cine.dcm"
    path.write_bytes(Path(found).read_bytes())
    assert int(pydicom.dcmread(path).NumberOfFrames) == 30
    return path


def _extract(cine: Path, number: int, out: Path) -> Path:
    """One frame in an object of its own, with another SOP Instance UID, as a viewer exports it."""
    found = pydicom.dcmread(cine)
    syntax = found.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        frames = list(generate_frames(found.PixelData, number_of_frames=30))
        found.PixelData = encapsulate([frames[number - 1]])
    else:
        size = len(found.PixelData) // 30
        found.PixelData = found.PixelData[(number - 1) * size : number * size]
    found.NumberOfFrames = 1
    found.SOPInstanceUID = pydicom.uid.generate_uid()
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    for keyword in ("FrameTime", "FrameIncrementPointer"):
        if keyword in found:
            delattr(found, keyword)
    found.save_as(out)
    return out


@pytest.mark.parametrize(("name", "rung"), [("", "pixels"), ("examples_ybr_color.dcm", "codestream")])
def test_a_frame_of_a_cine_is_named(
    run: Callable[..., Ran], verify: Callable[..., Ran], tmp_path: Path, name: str, rung: str
) -> None:
    """Frame 3 of 30, exported alone, matches with its number; frame 4 under the same evidence does not."""
    cine = _cine(tmp_path, name) if name else _native_cine(tmp_path)
    assert run("capture", cine).code == 0
    proof = tmp_path / "frame3.evidence"
    fetched = run("fetch", cine, "--frame", "3", "--disclose-header", "--out", proof)
    assert (fetched.code, fetched.err) == (0, "")
    ran = verify(_extract(cine, 3, tmp_path / "three.dcm"), "--evidence", proof)
    verdict = ran.json()
    assert (ran.code, verdict["rung"]) == (0, rung)
    assert (verdict["facts"]["frame"], verdict["facts"]["frames"]) == ("3", 30)
    assert "frame 3 of 30" in verdict["reason"]
    other = verify(_extract(cine, 4, tmp_path / "four.dcm"), "--evidence", proof)
    assert (other.code, "frame" in other.json()["facts"]) == (1, False)
    whole = verify(cine, "--evidence", proof).json()
    assert (whole["rung"], "frame" in whole["facts"]) == ("file", False)


def _native_cine(folder: Path) -> Path:
    """30 frames of a real colour image, each with its number in a corner."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(str(pydicom.data.get_testdata_file("SC_rgb_small_odd.dcm", download=False)))
    frame = bytes(found.PixelData)[: found.Rows * found.Columns * 3]
    pixels = b"".join(bytes([number]) + frame[1:] for number in range(30))
    found.PixelData = pixels + b"\0" * (len(pixels) % 2)
    found.NumberOfFrames = 30
    path = folder / "cine.dcm"
    found.save_as(path)
    return path


def test_a_frame_that_another_toolkit_compressed_is_named(
    run: Callable[..., Ran], verify: Callable[..., Ran], require: Callable[[str], Path], tmp_path: Path
) -> None:
    """Losslessly re-encoded by dcmtk, the frame has the same digest."""
    cine = _native_cine(tmp_path)
    assert run("capture", cine).code == 0
    proof = tmp_path / "frame30.evidence"
    assert run("fetch", cine, "--frame", "30", "--disclose-header", "--out", proof).code == 0
    single, packed = _extract(cine, 30, tmp_path / "single.dcm"), tmp_path / "packed.dcm"
    subprocess.run([require("dcmcrle"), single, packed], check=True, timeout=60, capture_output=True)
    verdict = verify(packed, "--evidence", proof).json()
    assert (verdict["result"], verdict["rung"], verdict["facts"]["frame"]) == ("MATCHES RECORD", "pixels", "30")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("0", "--frame: 0 is not one of the frames, which are 1 to 30"),
        ("31", "--frame: 31 is not one of the frames"),
        ("3,x", "--frame: 'x' is not the number of a frame"),
        ("", "--frame: '' is not the number of a frame"),
        ("9" * 5000, "is not the number of a frame"),
    ],
    ids=["zero", "beyond", "letters", "empty", "huge"],
)
def test_a_frame_that_is_not_there_writes_nothing(
    run: Callable[..., Ran], tmp_path: Path, frame: str, said: str
) -> None:
    """One line names the option and what is wrong, and no evidence is written."""
    cine = _native_cine(tmp_path)
    run("capture", cine)
    ran = run("fetch", cine, "--frame", frame)
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)
    assert not cine.with_name("cine.dcm.evidence").exists()


def test_inspect_says_which_frames_are_proven(run: Callable[..., Ran], tmp_path: Path) -> None:
    """Whoever holds a bundle sees which frames it proves before any verdict."""
    cine = _native_cine(tmp_path)
    run("capture", cine)
    proof = tmp_path / "frames.evidence"
    assert run("fetch", cine, "--frame", "7, 3", "--out", proof).code == 0
    shown = platemark("inspect", proof, "--json").json()["frames"]
    assert shown == {"rung": "pixels", "count": 30, "frames": "3,7"}
