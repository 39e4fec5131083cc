"""What an orientation of a multi-frame object becomes when only some of its frames are kept (proto/attributes.md V19).

The functional groups are part of a normalised value (V10), frame by frame. A single frame taken out of the object carries
only its own, so that the recorded value has to be cut down to the same frames before the two are compared.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platemark.rungs import AttributeValue

__all__ = ["of_frames"]

_RUN = re.compile(r"frames ([1-9][0-9]{0,8})-([1-9][0-9]{0,8}) ")
_SHARED = "shared "
_HASHED = "sha-256:"
_Said = tuple[str, ...]


def of_frames(value: AttributeValue, numbers: Iterable[int]) -> AttributeValue:
    """The normalised value for the frames of these numbers, which count from 1 and ascend.

    Raises LookupError when the value does not tell: it was hashed for its length, or has no entry for a frame.
    """
    if not isinstance(value, str):
        return value
    if value.startswith(_HASHED):
        raise LookupError("the value is a hash of all frames")
    entries = value.split("\\")
    starts = [place for place, entry in enumerate(entries) if _RUN.fullmatch(entry)]
    if not starts:
        return value
    head = entries[: starts[0]]
    runs = [entries[start:end] for start, end in itertools.pairwise([*starts, len(entries)])]
    kept = [_said(runs, number) for number in numbers]
    top = head[: head.index(_SHARED)] if _SHARED in head else head
    shared = any(entry != _SHARED for entry in head[len(top) :])
    if not shared and not any(kept):
        return "\\".join(top) if top else None
    return "\\".join([*head, *_runs(kept)])


def _said(runs: Sequence[list[str]], number: int) -> _Said:
    """What the functional group of one frame says."""
    for marker, *said in runs:
        found = _RUN.fullmatch(marker)
        if found and int(found[1]) <= number <= int(found[2]):
            return tuple(said)
    raise LookupError(f"the value has no entry for frame {number}")


def _runs(frames: Sequence[_Said]) -> list[str]:
    """The entries of V10 for what consecutive frames say."""
    entries: list[str] = []
    number = 0
    for said, run in itertools.groupby(frames):
        first, number = number + 1, number + len(list(run))
        entries += [f"frames {first}-{number} ", *said]
    return entries
