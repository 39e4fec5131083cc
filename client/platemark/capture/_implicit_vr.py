"""Which value representation an element of implicit VR has (PS3.5 A.1, PS3.6; proto/dicom-signatures.md M11 to M14)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platemark.capture._elements import LONG, SHORT, UNDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ImplicitVr", "Scope", "is_creator"]

_PIXEL_REPRESENTATION, _WAVEFORM_BITS = 0x00280103, 0x54001004
_PALETTE = range(0x00281100, 0x00281114)
_MAX_CREATOR = 64


@dataclass(slots=True)
class Scope:
    """What elements of one data set say about those that follow.

    `signed`: Pixel Representation is 1, `wide`: Waveform Bits Allocated is above 8, `creators`: private creators by the
    block (group and high byte of the element number) that they reserve.
    """

    signed: bool = False
    wide: bool = False
    creators: dict[int, str] = field(default_factory=dict)

    def matters(self, tag: int, length: int) -> bool:
        """Whether `note` wants to have the value of this element."""
        if tag in (_PIXEL_REPRESENTATION, _WAVEFORM_BITS):
            return length == 2
        return is_creator(tag) and length <= _MAX_CREATOR

    def note(self, tag: int, value: bytes, *, little: bool) -> None:
        """Keep what an element says that `matters`."""
        if is_creator(tag):
            self.creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = value.decode("ascii", "replace").strip(" \0")
        elif tag == _PIXEL_REPRESENTATION:
            self.signed = int.from_bytes(value, "little" if little else "big") == 1
        else:
            self.wide = int.from_bytes(value, "little" if little else "big") > 8


def is_creator(tag: int) -> bool:
    """Whether an element reserves a block of private ones (PS3.5 7.8.1)."""
    return tag >> 16 & 1 == 1 and 0x10 <= tag & 0xFFFF <= 0xFF


@dataclass(frozen=True)
class ImplicitVr:
    """The dictionaries, and how choices that they leave open are made.

    `standard` gives the value representation of a tag, or the choices as PS3.6 prints them; `private` that of a tag and
    its creator, or nothing, which makes private elements unknown. With `inherit` a data set takes Pixel Representation
    from the one around it; without, choices are made as DCMTK makes them.
    """

    standard: Callable[[int], bytes]
    private: Callable[[int, str], bytes] | None = None
    inherit: bool = True

    def within(self, scope: Scope) -> Scope:
        """What holds at the start of an item in `scope`."""
        return Scope(signed=scope.signed and self.inherit)

    def of(self, scope: Scope, tag: int, length: int) -> bytes:
        """Two letters; UN when it is not known."""
        group, element = tag >> 16, tag & 0xFFFF
        if element == 0:
            return b"UL"
        if is_creator(tag):
            return b"LO"
        vr = self._private(scope, tag) if group % 2 else self.standard(tag)
        if len(vr) > 2:
            vr = self._chosen(scope, tag, vr)
        if vr in SHORT and 0xFFFE < length < UNDEFINED:
            return b"UN"  # PS3.5 6.2.2: longer than explicit VR can say
        return vr if vr in SHORT or vr in LONG else b"UN"

    def _private(self, scope: Scope, tag: int) -> bytes:
        creator = scope.creators.get(tag & 0xFFFFFF00)
        return b"" if creator is None or self.private is None else self.private(tag, creator)

    def _chosen(self, scope: Scope, tag: int, choices: bytes) -> bytes:
        """One of the value representations that PS3.6 leaves open."""
        if choices == b"US or SS":
            return b"SS" if scope.signed and (self.inherit or tag not in _PALETTE) else b"US"
        if choices == b"OB or OW" and tag >> 16 != 0x7FE0 and tag >> 24 != 0x60 and not scope.wide:
            return b"OB"
        return b"OW"
