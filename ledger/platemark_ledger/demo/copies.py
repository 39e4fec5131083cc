"""Copies of a DICOM image that differ from it in one chosen way, made with pydicom."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from platemark_ledger.demo.place import DemoError

__all__ = [
    "pydicom_files",
    "with_another_patient",
    "with_one_frame",
    "with_one_pixel_changed",
    "with_run_lengths",
]


def pydicom_files() -> Iterator[tuple[Path, str]]:
    """Every data file that the installed pydicom brings along, with its name below pydicom's data directory."""
    spec = importlib.util.find_spec("pydicom")
    if spec is None or not spec.submodule_search_locations:
        raise DemoError('the demo captures DICOM files: pip install "platemark-ledger[demo]"')
    root = Path(spec.submodule_search_locations[0]) / "data"
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py":
            yield path, path.relative_to(root).as_posix()


def with_one_pixel_changed(source: Path, target: Path) -> None:
    """The lowest bit of one sample in the middle of native pixel data is flipped."""
    from pydicom import dcmread

    dataset = dcmread(source)
    pixels = bytearray(dataset.PixelData)
    middle = len(pixels) // 4 * 2
    pixels[middle] ^= 1
    dataset.PixelData = bytes(pixels)
    dataset.save_as(target, enforce_file_format=True)


def with_another_patient(source: Path, target: Path) -> None:
    """The same pixels under another patient's name and number."""
    from pydicom import dcmread

    dataset = dcmread(source)
    dataset.PatientName = "Somebody^Else"
    dataset.PatientID = "4711"
    dataset.save_as(target, enforce_file_format=True)


def with_run_lengths(source: Path, target: Path) -> None:
    """The same image, its pixels losslessly compressed as RLE (PS3.5 annex G)."""
    from pydicom import dcmread
    from pydicom.uid import RLELossless

    dataset = dcmread(source)
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(target, enforce_file_format=True)


def with_one_frame(source: Path, target: Path, number: int) -> None:
    """One frame of an object of many, counted from 1, as it is compressed."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate, generate_frames

    dataset = dcmread(source)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
    dataset.PixelData = encapsulate([frames[number - 1]])
    dataset.NumberOfFrames = 1
    dataset.save_as(target, enforce_file_format=True)
