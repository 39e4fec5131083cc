"""Text of DICOM values under Specific Character Set (0008,0005) (PS3.3 C.12.1.1.2, PS3.5 6.1.2)."""

from __future__ import annotations

import codecs
import re

from platemark.unicode14 import UNASSIGNED

__all__ = ["decode_text"]

_SETS = {
    "": "ascii",
    "ISO_IR 6": "ascii",
    "ISO_IR 13": "shift_jis",  # JIS X 0201 is its single-byte part
    "ISO_IR 100": "iso8859-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 166": "tis-620",
    "ISO_IR 192": "utf-8",
    "ISO_IR 203": "iso8859-15",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
# Escape sequence to codec, and whether the codec wants to see the escape sequence itself.
_ESCAPES: dict[bytes, tuple[str, bool]] = {
    b"(B": ("ascii", False),
    b"(J": ("shift_jis", False),
    b")I": ("shift_jis", False),
    b"-A": ("iso8859-1", False),
    b"-B": ("iso8859-2", False),
    b"-C": ("iso8859-3", False),
    b"-D": ("iso8859-4", False),
    b"-F": ("iso8859-7", False),
    b"-G": ("iso8859-6", False),
    b"-H": ("iso8859-8", False),
    b"-L": ("iso8859-5", False),
    b"-M": ("iso8859-9", False),
    b"-T": ("tis-620", False),
    b"-b": ("iso8859-15", False),
    b"$B": ("iso2022_jp", True),
    b"$(D": ("iso2022_jp_2", True),
    b"$)A": ("gb2312", False),
    b"$)C": ("euc_kr", False),
}
_ESCAPE = re.compile(b"\x1b(" + b"|".join(re.escape(e) for e in sorted(_ESCAPES, key=len, reverse=True)) + b")")


def _octal(error: UnicodeError) -> tuple[str, int]:
    r"""Undecodable bytes become \nnn, three octal digits each, as PS3.5 6.1.2.3 recommends for display."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:03o}" for byte in data)


codecs.register_error("platemark.octal", _octal)


def decode_text(data: bytes, character_sets: str) -> str:
    r"""The text of a value; `character_sets` is the stored value of (0008,0005), several joined by a backslash.

    Never fails: a byte that the character set does not define becomes \nnn, so that a mislabelled name is still
    committed, exactly, and shown for what it is. So does every byte of the UTF-8 of a code point that Unicode 14.0 does
    not assign, which no statement may hold.
    """
    return UNASSIGNED.sub(lambda found: _escaped(found[0].encode()), _decode(data, character_sets))


def _decode(data: bytes, character_sets: str) -> str:
    first = character_sets.split("\\", maxsplit=1)[0].strip(" \0").replace("ISO 2022 IR", "ISO_IR")
    codec, escape = _SETS.get(first, "ascii"), b""
    if codec in ("utf-8", "gb18030", "gbk"):
        return data.decode(codec, "platemark.octal")
    pieces = []
    position = 0
    for match in _ESCAPE.finditer(data):
        pieces.append(_piece(escape + data[position : match.start()], codec))
        codec, shown = _ESCAPES[match[1]]
        escape = match[0] if shown else b""
        position = match.end()
    pieces.append(_piece(escape + data[position:], codec))
    return "".join(pieces)


def _piece(data: bytes, codec: str) -> str:
    return data.decode(codec, "platemark.octal")
