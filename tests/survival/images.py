"""The images that the survival table is made of: every DICOM file with pixel data in the packages pydicom and pydicom-data."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import pydicom.filereader
from pydicom.misc import is_dicom

from platemark.capture import measure
from platemark.errors import CaptureError
from platemark.rungs import Measurement

__all__ = ["Image", "Left", "corpus"]

_PACKAGES = ("pydicom.data", "data_store")  # the second is what the distribution pydicom-data installs
_NO_PIXELS = "the object has no pixel data"


@dataclass(frozen=True)
class Image:
    """An image and what it measured to before anything was done to it."""

    name: str
    path: Path
    before: Measurement

    @cached_property
    def transfer_syntax(self) -> str:
        """The UID of (0002,0010)."""
        with self.path.open("rb") as file:
            return str(pydicom.filereader.read_partial(file, lambda *_: True).file_meta.TransferSyntaxUID)


@dataclass(frozen=True)
class Left:
    """A DICOM file that is left out, and why."""

    name: str
    reason: str


def corpus(names: Container[str] | None = None) -> tuple[list[Image], list[Left]]:
    """Every image, or those named, and the files left out: no pixel data, or refused by the capture.

    Two files with the same bytes count once.
    """
    images: list[Image] = []
    left: list[Left] = []
    seen: set[bytes] = set()
    for name, path in _files():
        if names is not None and name not in names:
            continue
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            before = measure(path)
        except CaptureError as error:
            left.append(Left(name, str(error).removeprefix(f"{path}: ")))
            continue
        if before.absent.get("pixels") == _NO_PIXELS:
            left.append(Left(name, _NO_PIXELS))
        else:
            images.append(Image(name, path, before))
    return images, left


def _files() -> Iterator[tuple[str, Path]]:
    for package in _PACKAGES:
        found = find_spec(package)
        assert found is not None, f"the package {package} is not installed"
        assert found.origin is not None
        root = Path(found.origin).parent
        for path in sorted(root.rglob("*")):
            if path.is_file() and is_dicom(path):
                yield path.relative_to(root).as_posix(), path
