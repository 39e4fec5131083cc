"""Normalisation of attribute values (proto/attributes.md, values): what two writers of the same fact agree on."""

from __future__ import annotations

import hashlib
import re
import unicodedata

__all__ = ["bounded", "canonical_decimal", "date", "date_time", "join", "person_name", "text", "uid"]

_DECIMAL = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII)
_OFFSET = re.compile(r"[+-]\d{4}$", re.ASCII)
_MAX_DECIMAL = 64
_MAX_TEXT = 4093


def text(value: str) -> str:
    """NFC, without NUL padding at the end and without spaces at either end."""
    return unicodedata.normalize("NFC", value.rstrip("\0 ").lstrip(" "))


def uid(value: str) -> str:
    """A UID without its padding."""
    return text(value)


def person_name(value: str) -> str:
    """A PN whose components carry no spaces at either end and whose empty trailing components and groups are dropped."""
    groups = ["^".join(part.strip(" ") for part in group.split("^")).rstrip("^") for group in text(value).split("=")]
    return "=".join(groups).rstrip("=")


def canonical_decimal(value: str) -> str:
    """A DS or IS as plain decimal text: no plus, exponent, leading or trailing zeros; minus zero is 0.

    Text that is not a decimal number is returned trimmed, as it stands.
    """
    trimmed = text(value)
    match = _DECIMAL.fullmatch(trimmed)
    if match is None or len(trimmed) > _MAX_DECIMAL or not (match[2] or match[3]):
        return trimmed
    digits, point = match[2] + (match[3] or ""), len(match[2]) + int(match[4] or "0")
    if point <= 0:
        digits, point = "0" * (1 - point) + digits, 1
    digits = digits.ljust(point, "0")
    whole, fraction = digits[:point].lstrip("0") or "0", digits[point:].rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if match[1] == "-" and number != "0" else number


def date(value: str) -> str:
    """A DA; the retired form YYYY.MM.DD loses its dots (PS3.5 6.2)."""
    return text(value).replace(".", "")


def date_time(day: str, time: str, offset: str) -> str | None:
    """A DT from a DA, a TM and Timezone Offset From UTC, any of them empty; None without a date.

    The retired form HH:MM:SS of the time loses its colons (PS3.5 6.2). A DT may be given as the date.
    """
    day, time, offset = text(day), text(time).replace(":", ""), text(offset)
    if not day:
        return None
    stamp = day + time if time else day
    return stamp if _OFFSET.search(stamp) else stamp + offset


def join(values: list[str]) -> str | None:
    """Several values joined by a backslash; None when every one is empty."""
    return "\\".join(values) if any(values) else None


def bounded(value: str) -> str:
    """The value in NFC, or "sha-256:" and the hex digest of its UTF-8 when that is longer than 4093 bytes.

    4093 bytes of text are 4096 bytes of CBOR, the most that an attribute may have. NFC comes last: trimming can bring a
    combining character next to a separator that composes with it.
    """
    final = unicodedata.normalize("NFC", value)
    data = final.encode()
    return final if len(data) <= _MAX_TEXT else f"sha-256:{hashlib.sha256(data).hexdigest()}"
