"""Recognising a DICOM data set that stands in a file by itself, without preamble and `DICM` (PS3.10 chapter 7).

It is no DICOM file and is not measured; many readers open it all the same. Standard library only.
"""

from __future__ import annotations

from platemark.capture._elements import LONG, SHORT

__all__ = ["is_bare"]

_GROUPS = (0x0002, 0x0008)
"""Of the first element: file meta information without a preamble, or the first group of every object."""


def is_bare(head: bytes) -> bool:
    """Whether a file that begins with these bytes (8 are enough) may be read as a DICOM data set."""
    if head[:4] == b"DICM":
        return True
    vr = head[4:6] in SHORT or head[4:6] in LONG
    if int.from_bytes(head[:2], "little") in _GROUPS and head[3:4] == b"\0":
        return vr or head[6:8] == b"\0\0"
    return head[:3] == b"\0\x08\0" and vr
