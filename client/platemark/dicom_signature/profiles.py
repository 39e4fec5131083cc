"""What the signature profiles of PS3.15 demand: C.1 Base RSA and C.2 Creator RSA (2024e).

No profile is named in an object. What can be said is which ones a signature meets; the Creator RSA profile lists modules,
and an attribute of one of them that is in the object has to be signed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["Profile", "required", "unmet"]


class Profile(StrEnum):
    """NONE is a signature of the form of PS3.3 that need not meet any profile; ECDSA signatures are such."""

    NONE = "none"
    BASE = "base"
    CREATOR = "creator"


_ALWAYS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
"""SOP Class, SOP Instance, Study Instance and Series Instance UID."""
_CREATOR_VERSION_UID = 0x00089123
# PS3.3 module tables at their top level; an attribute of several modules stands in the first.
_MODULES: Mapping[str, str] = {
    "SOP Common and identity": ("00080012 00080013 00080016 00080018 0020000D 0020000E"),
    "General Equipment": (
        "00080070 00080080 00080081 00081010 00081040 00081041 00081090 00181000 00181002 00181008 0018100A 0018100B "
        "00181020 00181050 00181200 00181201 00181204 00181205 00280120"
    ),
    "Graphic Annotation": ("00700001"),
    "General Image": (
        "00080008 00080022 00080023 0008002A 00080032 00080033 00081140 0008114A 00082111 00082112 00082218 00082228 "
        "00083010 00089215 00200012 00200013 00200020 00200062 00201002 00204000 00280300 00280301 00280302 00282110 "
        "00282112 00282114 00409096 00420013 00880200 20500020"
    ),
    "Image Pixel": (
        "00280002 00280004 00280006 00280010 00280011 00280034 00280100 00280101 00280102 00280103 00280106 00280107 "
        "00280121 00281101 00281102 00281103 00281201 00281202 00281203 00282000 00282002 00287FE0 7FE00001 7FE00002 "
        "7FE00008 7FE00009 7FE00010"
    ),
    "SR Document General": (
        "0040A073 0040A078 0040A07A 0040A07C 0040A360 0040A370 0040A372 0040A375 0040A385 0040A491 0040A492 0040A493 "
        "0040A496 0040A525"
    ),
    "SR Document Content": ("0040A032 0040A040 0040A043 0040A050 0040A171 0040A504 0040A730"),
    "Waveform, Waveform Annotation": ("003A0230 003A0231 003A0240 0040B020 54000100"),
    "Multi-frame Functional Groups": (
        "00200242 00209161 00209162 00209163 00209228 00220028 00280008 00286010 52009229 52009230"
    ),
    "Enhanced MR Image": (
        "0008113A 00089092 00089121 00089154 00089205 00089206 00089207 00089208 00089209 00089237 00180087 00181320 "
        "00189004 00189064 00189073 00189100 00189174 00189175 00189622 00540220 00540500 300A012C"
    ),
    "MR Spectroscopy": (
        "00189052 00189053 00189054 00189059 00189060 00189061 00189062 00189063 00189065 00189066 00189067 00189098 "
        "00189101 00189126 00189198 00189199 00189297"
    ),
    "Raw Data": ("00089123 00700080 00700081"),
    "Enhanced CT, XA/XRF, US Image": (
        "00082122 00082124 00082133 00083011 00089410 00109431 00180022 00185010 00185020 00185022 00185024 00185026 "
        "00185027 00185050 00189361 00189410 00189423 00189424 00189457 00189801 0018980C 0018980D 0018980E 0018980F "
        "00209311 00281052 00281053 0040000A 00540414"
    ),
    "Segmentation Image": ("00480102 00620001 00620002 0062000E 00620010 00620013"),
    "Encapsulated Document": ("0040E001 0040E008 00420010 00420011 00420012 00420014 00420015"),
    "Surface Segmentation, Surface Mesh, Point Cloud": (
        "00660001 00660002 00660011 00700084 00700086 00700087 00800006 00800007"
    ),
    "Structured Display, its Annotation, its Image Box": (
        "00700082 00700083 00720002 00720008 00720100 00720102 00720420 00720421 00720422 00720424 00720430"
    ),
    "Implant Template, Assembly Template, Template Group": (
        "00200052 00221095 00221097 00686210 00686221 00686222 00686223 00686224 00686225 00686226 00686230 00686260 "
        "00686265 006862A0 006862A5 006863A0 006863A4 006863A8 006863AC 00760001 00760003 00760006 00760008 0076000A "
        "0076000C 0076000E 00760010 00760020 00760030 00760032 00760060 00780001 00780010 00780020 00780024 00780026 "
        "00780028 0078002A 007800B0"
    ),
    "Enhanced Mammography Image": (
        "00180060 00181190 00181191 001811A0 001811A2 001811A3 001811A4 001811A5 00181500 00181508 00187060 00187062 "
        "00189328 00189330 00189332 00400316 00408302 00408303 00540202"
    ),
    "Tractography Results, Volumetric Graphic Annotation": ("00660101 00701901 00701905"),
}
_CREATOR = frozenset(int(word, 16) for words in _MODULES.values() for word in words.split())
_OVERLAY = frozenset(
    (
        0x0010,
        0x0011,
        0x0015,
        0x0022,
        0x0040,
        0x0045,
        0x0050,
        0x0051,
        0x0100,
        0x0102,
        0x1301,
        0x1302,
        0x1303,
        0x1500,
        0x3000,
    )
)
_CURVE = frozenset(
    (
        0x0005,
        0x0010,
        0x0022,
        0x0030,
        0x0040,
        0x0103,
        0x0104,
        0x0105,
        0x0106,
        0x0110,
        0x0112,
        0x0114,
        0x2500,
        0x2600,
        0x3000,
    )
)


def required(profile: Profile, present: Collection[int]) -> frozenset[int]:
    """The tags that `profile` wants signed in an object that has the elements `present` at its top level.

    Those that every object has to have are among them, be they present or not.
    """
    if profile is not Profile.CREATOR:
        return frozenset()
    raw_data = _CREATOR_VERSION_UID in present
    return frozenset(_ALWAYS).union(tag for tag in present if _in_module(tag, raw_data=raw_data))


def unmet(
    profile: Profile, *, rsa: bool, transfer_syntax: str, covered: Collection[int], present: Collection[int], top: bool
) -> str:
    """Why a signature does not meet `profile`; empty if it does.

    `transfer_syntax` is the MAC Calculation Transfer Syntax, `covered` and `present` are tags, `top` is whether the
    signature signs the object itself and not an item.
    """
    if profile is Profile.NONE:
        return ""
    if not rsa:
        return "its key is not RSA"
    if transfer_syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2"):
        return "its MAC is calculated in a transfer syntax that the profile excludes"
    if profile is Profile.CREATOR and not top:
        return "it signs an item of a sequence and not the object"
    missing = sorted(required(profile, present).difference(covered))
    if not missing:
        return ""
    named = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in missing[:6])
    return f"it does not cover {named}" + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")


def _in_module(tag: int, *, raw_data: bool) -> bool:
    group, element = tag >> 16, tag & 0xFFFF
    if group % 2:
        # The raw data itself is in private elements; a group length is no attribute.
        return raw_data and group > 8 and element != 0
    if group >> 8 == 0x60:
        return element in _OVERLAY
    if group >> 8 == 0x50:
        return element in _CURVE
    return tag in _CREATOR
