"""Why a rung was lost, named from the two files themselves."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from platemark.rungs import HEADER_BINDING, Measurement
from survival.differences import Differences, Parsed, compare, parse
from survival.images import Image
from survival.operations import Kind

__all__ = ["ACCEPTED", "BY_OPERATION", "UNEXPLAINED", "Loss", "explain"]

UNEXPLAINED = "UNEXPLAINED"
"""Fails the run."""

BY_OPERATION = "tags changed by the operation"
LOSSY = "lossy compression"
HALVES = "32-bit samples as OW in big endian, where tools disagree: this one swaps bytes within 16-bit words"
COLOUR = "colour converted by the tool"

ACCEPTED = {
    Kind.LOSSLESS: (HALVES, COLOUR),
    Kind.LOSSY: (LOSSY,),
    Kind.EDIT: (),
    Kind.ANONYMISE: (),
}
"""The reasons for which an operation of a kind may lose `pixels`; each begins what `explain` says."""

_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 53, 55, 81, 91, 203))
_PHOTOMETRIC, _ALLOCATED, _LOSSY_IMAGE, _LOSSY_RATIO = 0x00280004, 0x00280100, 0x00282110, 0x00282112
_MODULE = (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)


@dataclass(frozen=True)
class Loss:
    """One rung of one image that an operation lost."""

    image: str
    operation: str
    rung: str
    reason: str


@dataclass(frozen=True)
class _Case:
    kind: Kind
    before: Measurement
    after: Measurement
    original: Path
    copy: Path

    @cached_property
    def old(self) -> Parsed:
        return parse(self.original)

    @cached_property
    def new(self) -> Parsed:
        return parse(self.copy)

    @cached_property
    def differences(self) -> Differences:
        return compare(self.old, self.new)


def explain(image: Image, kind: Kind, after: Measurement, copy: Path) -> dict[str, str]:
    """The reason of every rung of `image` that `after`, measured from `copy`, has not; `header` is one of them.

    A rung that the original has not is not lost.
    """
    case = _Case(kind, image.before, after, image.path, copy)
    named = {
        "file": _file,
        "dataset": _data_set,
        "content": _content,
        "pixels": _pixels,
        "codestream": _codestream,
    }
    lost = {
        rung: named[rung](case)
        for rung in image.before.digests
        if after.digests.get(rung) != image.before.digests[rung]
    }
    header = _header(case)
    return lost | ({"header": header} if header else {})


def _file(case: _Case) -> str:
    if case.before.digests["dataset"] == case.after.digests.get("dataset"):
        # The file is the preamble, the file meta information and the data set, and the data set is the same.
        return "file meta information rewritten"
    return _data_set(case)


def _data_set(case: _Case) -> str:
    if case.old.transfer_syntax != case.new.transfer_syntax:
        return f"became {UID(case.new.transfer_syntax).name}"
    told = _elements(case)
    if case.differences.pixel_data:
        told.append(case.differences.pixel_data)
    if not told:
        told = sorted(case.differences.layout)
    if not told and case.new.transfer_syntax == _DEFLATED:
        return "deflated anew"
    return "; ".join(told) or UNEXPLAINED


def _elements(case: _Case) -> list[str]:
    """What the elements have different, except pixel data."""
    found = case.differences
    if case.kind in (Kind.EDIT, Kind.ANONYMISE) and (found.added or found.removed or found.changed):
        return [BY_OPERATION, *sorted(found.representations)]
    return found.reasons()


def _content(case: _Case) -> str:
    if "content" in case.after.absent:
        return f"not computed: {case.after.absent['content']}"
    told = _elements(case)
    if case.differences.pixel_data:
        told.append(case.differences.pixel_data)
    return "; ".join(told) or UNEXPLAINED


def _pixels(case: _Case) -> str:
    if case.new.transfer_syntax in _LOSSY or _says_lossy(case):
        return LOSSY
    if "pixels" in case.after.absent:
        return f"no pixels: {case.after.absent['pixels']}"
    old, new = case.old.text(_PHOTOMETRIC), case.new.text(_PHOTOMETRIC)
    if old != new:
        return f"{COLOUR}: {old} became {new}"
    module = [tag for tag in _MODULE if case.old.integer(tag) != case.new.integer(tag)]
    if module:
        return f"the image module changed: {', '.join(f'({tag >> 16:04X},{tag & 0xFFFF:04X})' for tag in module)}"
    return HALVES if _halves_swapped(case) else UNEXPLAINED


def _says_lossy(case: _Case) -> bool:
    """Whether the copy says of itself that it was compressed lossily, once more than the original does."""
    told = [(each.text(_LOSSY_IMAGE), each.text(_LOSSY_RATIO)) for each in (case.old, case.new)]
    return told[1][0] == "01" and told[0] != told[1]


def _halves_swapped(case: _Case) -> bool:
    """Whether one of the files is big endian, and every 32-bit sample has its halves exchanged."""
    syntaxes = (case.old.transfer_syntax, case.new.transfer_syntax)
    if case.old.integer(_ALLOCATED) != 32 or _BIG_ENDIAN not in syntaxes:
        return False
    with warnings.catch_warnings(action="ignore"):
        old, new = (pixel_array(each.data_set, raw=True).astype("<u4") for each in (case.old, case.new))
    return bool(np.array_equal(old >> 16 | old << 16, new))


def _codestream(case: _Case) -> str:
    if case.old.transfer_syntax != case.new.transfer_syntax:
        return f"became {UID(case.new.transfer_syntax).name}"
    return UNEXPLAINED


def _header(case: _Case) -> str | None:
    """Why attributes of the header binding set differ; None when none does."""
    old, new = case.before.attributes, case.after.attributes
    differing = sorted(name for name in HEADER_BINDING if old.get(name, 0) != new.get(name, 0))
    if not differing:
        return None
    if case.kind in (Kind.EDIT, Kind.ANONYMISE):
        return f"{BY_OPERATION}: {', '.join(differing)}"
    return f"{UNEXPLAINED}: {', '.join(differing)}"
