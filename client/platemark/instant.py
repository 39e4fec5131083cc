"""Moments as people read them."""

from __future__ import annotations

import datetime as dt

__all__ = ["format_time"]


def format_time(ns: int) -> str:
    """Unix nanoseconds as UTC text with nanoseconds; years past 9999 are given as a number."""
    seconds, rest = divmod(ns, 1_000_000_000)
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{ns} ns since 1970"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
