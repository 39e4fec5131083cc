"""The preamble and file meta information before a received data set (PS3.10 section 7.1). The data set follows as it came."""

from __future__ import annotations

import struct

__all__ = ["IMPLEMENTATION_UID", "part10_header"]

IMPLEMENTATION_UID = "2.25.255542343783560888667215813422749667125"
"""Ours, made of a UUID (PS3.5 B.2): it says who wrote the file, nothing of the object."""
_VERSION_NAME = "PLATEMARK"


def part10_header(*, sop_class: str, sop_instance: str, transfer_syntax: str, source: str) -> bytes:
    """128 zero bytes, DICM, and group 0002 in explicit VR little endian. `source` is the sender's AE title."""
    elements = b"".join(
        (
            struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _element(0x0002, b"UI", sop_class, b"\0"),
            _element(0x0003, b"UI", sop_instance, b"\0"),
            _element(0x0010, b"UI", transfer_syntax, b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_UID, b"\0"),
            _element(0x0013, b"SH", _VERSION_NAME, b" "),
            _element(0x0016, b"AE", source, b" "),
        )
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


def _element(number: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value
