"""The data dictionary of PS3.6: which value representation a standard tag has. The one door to pydicom's dictionary.

Only implicit VR needs it, because every other encoding carries the value representation with the element.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from platemark.capture._faults import NoCodecError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dictionary"]


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
