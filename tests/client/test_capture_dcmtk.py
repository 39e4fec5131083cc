"""The `pixels` rung survives every lossless operation of an independent toolkit (dcmtk), and no lossy one."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from platemark.capture import measure

LOSSLESS = {
    "big endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "explicit, group lengths": ("dcmconv", "+te", "+g"),
    "implicit, undefined lengths": ("dcmconv", "+ti", "-e"),
    "jpeg-ls": ("dcmcjpls", "+el"),
    "lossless jpeg": ("dcmcjpeg", "+e1"),
    "run lengths": ("dcmcrle",),
}
LOSSY = {
    "baseline jpeg": ("dcmcjpeg", "+eb"),
    "near-lossless jpeg-ls": ("dcmcjpls", "+en", "+md", "3"),
}
IMAGES = ("CT_small.dcm", "MR_small.dcm", "SC_rgb.dcm", "examples_rgb_color.dcm")
UNSIGNED = ("SC_rgb.dcm", "examples_rgb_color.dcm")  # dcmtk compresses no signed samples lossily


@pytest.fixture(name="transcode")
def _transcode(require: Callable[[str], Path], tmp_path: Path) -> Callable[[str, tuple[str, ...]], tuple[Path, Path]]:
    """A test image of pydicom and the copy that a dcmtk command makes of it."""

    def transcode(image: str, command: tuple[str, ...]) -> tuple[Path, Path]:
        found = get_testdata_file(image)
        assert isinstance(found, str)
        copy = tmp_path / "copy.dcm"
        program, *options = command
        done = subprocess.run(
            [require(program), *options, found, copy], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return Path(found), copy

    return transcode


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("operation", LOSSLESS)
def test_lossless_operations_keep_pixels(
    transcode: Callable[[str, tuple[str, ...]], tuple[Path, Path]], image: str, operation: str
) -> None:
    """The pixels of a losslessly transcoded copy are the original's; the file is another."""
    original, copy = (measure(path) for path in transcode(image, LOSSLESS[operation]))
    assert original.digests["file"] != copy.digests["file"]
    assert original.digests["pixels"] == copy.digests["pixels"]


@pytest.mark.parametrize("image", UNSIGNED)
@pytest.mark.parametrize("operation", LOSSY)
def test_lossy_operations_have_no_pixels(
    transcode: Callable[[str, tuple[str, ...]], tuple[Path, Path]], image: str, operation: str
) -> None:
    """A lossy copy has no pixels rung, and the reason is named: nothing in it can pass for the original."""
    _, copy = transcode(image, LOSSY[operation])
    measured = measure(copy)
    assert "pixels" not in measured.digests
    assert "pixels" in measured.absent
    assert "pixels" not in measured.uncomputed
