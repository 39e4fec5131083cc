"""Times on the command line: RFC 3339, a date, or Unix nanoseconds; always with an offset, never guessed."""

from __future__ import annotations

import datetime as dt
import re

import typer

__all__ = ["parse_duration", "parse_time"]

_MAX = (1 << 63) - 1
_SECOND = 1_000_000_000
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2}))?", re.ASCII
)
_DURATION = re.compile(r"(\d{1,19})(ns|us|ms|s)", re.ASCII)
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": _SECOND}


def parse_time(text: str) -> int:
    """Unix nanoseconds of `2031-05-04T03:02:01.5Z`, `2031-05-04` (midnight UTC) or `1935543721500000000`."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else _rfc3339(text)
    if not 0 <= value <= _MAX:
        raise typer.BadParameter(f"{text}: before 1970 or after 2262")
    return value


def parse_duration(text: str) -> int:
    """Nanoseconds of `250us`, `5ms`, `1s` or `700ns`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration such as 250us, 5ms or 1s")
    value = int(match[1]) * _UNITS[match[2]]
    if value > _MAX:
        raise typer.BadParameter(f"{text}: too long")
    return value


def _rfc3339(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a time such as 2031-05-04T03:02:01Z, a date, or Unix nanoseconds (the offset is required)"
        )
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
        moment -= _offset(match[8] or "Z")
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None
    whole = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(seconds=1)
    return whole * _SECOND + int((match[7] or "").ljust(9, "0"))


def _offset(text: str) -> dt.timedelta:
    if text in {"Z", "z"}:
        return dt.timedelta()
    hours, minutes = int(text[1:3]), int(text[4:])
    if hours > 23 or minutes > 59:
        message = f"offset {text} is out of range"
        raise ValueError(message)
    size = dt.timedelta(hours=hours, minutes=minutes)
    return -size if text[0] == "-" else size
