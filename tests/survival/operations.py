"""What is done to every image: the commands of dcmtk and pydicom's own saving. `pacs` has what a peer does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom

from peers import dcmtk
from survival.images import Image

if TYPE_CHECKING:
    from survival.pacs import Pacs

__all__ = ["LOCAL", "Kind", "NotDoneError", "Operation"]

RLE = "1.2.840.10008.1.2.5"
JPEG_LS = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 57, 70))
NATIVE = frozenset(f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".1.99", ".2"))

EDITED = "Roe^Edited"
"""The patient's name that editing operations set."""


class Kind(StrEnum):
    """What an operation promises about the image."""

    LOSSLESS = "lossless"
    LOSSY = "lossy"
    EDIT = "edit"
    ANONYMISE = "anonymise"


class NotDoneError(Exception):
    """The tool refused the image, or the operation does not apply to it; `applies` tells which."""

    def __init__(self, reason: str, *, applies: bool = True) -> None:
        super().__init__(reason)
        self.applies = applies


@dataclass(frozen=True)
class Operation:
    """One row of the table. `run(image, out, pacs)` leaves the result at `out`, or raises NotDoneError."""

    name: str
    kind: Kind
    run: Callable[[Image, Path, Pacs], None]


def _dcmtk(*commands: str, only: frozenset[str] | None = None) -> Callable[[Image, Path, Pacs], None]:
    """One command of dcmtk after the other, each on the result of the one before."""

    def run(image: Image, out: Path, _: Pacs) -> None:
        if only is not None and image.transfer_syntax not in only:
            raise NotDoneError("another transfer syntax", applies=False)
        source = image.path
        for number, command in enumerate(commands):
            program, *options = command.split()
            target = out if number == len(commands) - 1 else out.with_suffix(f".{number}")
            done = dcmtk.run(program, *options, source, target)
            if done.returncode or not target.exists():
                raise NotDoneError(f"{program}: {_complaint(done.stderr)}")
            source = target

    return run


def _dcmodify(image: Image, out: Path, _: Pacs) -> None:
    out.write_bytes(image.path.read_bytes())
    done = dcmtk.run("dcmodify", "-nb", "-i", f"(0010,0010)={EDITED}", out)
    if done.returncode:
        raise NotDoneError(f"dcmodify: {_complaint(done.stderr)}")


def _resave(image: Image, out: Path, _: Pacs) -> None:
    with warnings.catch_warnings(action="ignore"):
        pydicom.dcmread(image.path).save_as(out)


def _resave_decoded(image: Image, out: Path, _: Pacs) -> None:
    """Every value is decoded and encoded anew, not copied as bytes."""
    with warnings.catch_warnings(action="ignore"):
        data_set = pydicom.dcmread(image.path)
        try:
            data_set.decode()
            data_set.walk(lambda _, element: element.value)
            data_set.save_as(out)
        except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
            raise NotDoneError(f"pydicom: {error}") from error


def _complaint(text: str) -> str:
    """The first error line of a program of dcmtk, without its prefix and names of files."""
    lines = [line.partition(": ")[2] for line in text.splitlines() if line.startswith(("E:", "F:"))]
    said = lines[0] if lines else "no output and no error"
    return said.partition(": /")[0]


LOCAL = (
    Operation("dcmconv +te (explicit VR)", Kind.LOSSLESS, _dcmtk("dcmconv +te", only=NATIVE)),
    Operation("dcmconv +ti (implicit VR)", Kind.LOSSLESS, _dcmtk("dcmconv +ti", only=NATIVE)),
    Operation("dcmconv +tb (big endian)", Kind.LOSSLESS, _dcmtk("dcmconv +tb", only=NATIVE)),
    Operation("dcmconv +td (deflated)", Kind.LOSSLESS, _dcmtk("dcmconv +td", only=NATIVE)),
    Operation("dcmconv +g (group lengths)", Kind.LOSSLESS, _dcmtk("dcmconv +t= +g")),
    Operation("dcmconv -e (undefined lengths)", Kind.LOSSLESS, _dcmtk("dcmconv +t= -e")),
    Operation("dcmconv +p (padding)", Kind.LOSSLESS, _dcmtk("dcmconv +t= +p 512 64")),
    Operation("dcmcrle", Kind.LOSSLESS, _dcmtk("dcmcrle", only=NATIVE)),
    Operation("dcmcrle, dcmdrle", Kind.LOSSLESS, _dcmtk("dcmcrle", "dcmdrle", only=NATIVE)),
    Operation("dcmdrle", Kind.LOSSLESS, _dcmtk("dcmdrle", only=frozenset({RLE}))),
    Operation("dcmcjpls +el", Kind.LOSSLESS, _dcmtk("dcmcjpls +el", only=NATIVE)),
    Operation("dcmcjpls +el +is", Kind.LOSSLESS, _dcmtk("dcmcjpls +el +is", only=NATIVE)),
    Operation("dcmcjpls +el, dcmdjpls", Kind.LOSSLESS, _dcmtk("dcmcjpls +el", "dcmdjpls", only=NATIVE)),
    Operation("dcmdjpls", Kind.LOSSLESS, _dcmtk("dcmdjpls", only=JPEG_LS)),
    Operation("dcmcjpeg +e1", Kind.LOSSLESS, _dcmtk("dcmcjpeg +e1", only=NATIVE)),
    Operation("dcmcjpeg +el", Kind.LOSSLESS, _dcmtk("dcmcjpeg +el", only=NATIVE)),
    Operation("dcmcjpeg +e1, dcmdjpeg", Kind.LOSSLESS, _dcmtk("dcmcjpeg +e1", "dcmdjpeg", only=NATIVE)),
    Operation("dcmdjpeg", Kind.LOSSLESS, _dcmtk("dcmdjpeg", only=JPEG)),
    Operation("dcmcjpls +en (near-lossless)", Kind.LOSSY, _dcmtk("dcmcjpls +en", only=NATIVE)),
    Operation("dcmcjpls +en, dcmdjpls", Kind.LOSSY, _dcmtk("dcmcjpls +en", "dcmdjpls", only=NATIVE)),
    Operation("dcmcjpeg +eb (baseline)", Kind.LOSSY, _dcmtk("dcmcjpeg +eb", only=NATIVE)),
    Operation("dcmcjpeg +ee (extended)", Kind.LOSSY, _dcmtk("dcmcjpeg +ee", only=NATIVE)),
    Operation("dcmcjpeg +eb, dcmdjpeg", Kind.LOSSY, _dcmtk("dcmcjpeg +eb", "dcmdjpeg", only=NATIVE)),
    Operation("dcmodify PatientName", Kind.EDIT, _dcmodify),
    Operation("pydicom dcmread, save_as", Kind.LOSSLESS, _resave),
    Operation("pydicom decoded, save_as", Kind.LOSSLESS, _resave_decoded),
)
"""In the order of the table."""
