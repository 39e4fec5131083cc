"""The data dictionary of PS3.6, and one of private elements. The one door to pydicom's dictionaries.

Only implicit VR needs it, because every other encoding carries the value representation with the element.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from platemark.capture._faults import NoCodecError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dictionary", "private_dictionary"]


def dictionary() -> Callable[[int], bytes]:
    """A function from a tag to its value representation in PS3.6.

    It gives two letters, the choices as PS3.6 prints them ("US or SS", "OB or OW"), or nothing for a tag that PS3.6
    does not have, such as every private one. Raises NoCodecError when pydicom, which the dictionary comes with, is not
    installed.
    """
    try:
        from pydicom.datadict import dictionary_VR
    except ImportError as error:
        raise NoCodecError("dicom", "the value representations of implicit VR") from error

    @cache
    def vr_of(tag: int) -> bytes:
        try:
            return dictionary_VR(tag).encode("ascii")
        except KeyError:
            return b""

    return vr_of


def private_dictionary() -> Callable[[int, str], bytes]:
    """A function from a private tag and its creator to what makers of private elements are known to mean.

    It is presumption and no standard, and gives nothing for what it does not have. Raises NoCodecError as `dictionary` does.
    """
    try:
        from pydicom.datadict import private_dictionary_VR
    except ImportError as error:
        raise NoCodecError("dicom", "the value representations of implicit VR") from error

    @cache
    def vr_of(tag: int, creator: str) -> bytes:
        try:
            return private_dictionary_VR(tag, creator).encode("ascii")
        except KeyError:
            return b""

    return vr_of
