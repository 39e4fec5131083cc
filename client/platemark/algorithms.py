"""Until when this release calls an algorithm acceptable: the dated table of proto/time.md section 4.

The table is this project's judgement, of the kind that ETSI TS 119 312 publishes and not taken from it; its years are those
of NIST IR 8547 (draft): 112-bit security until the end of 2030, RSA and elliptic curves until the end of 2035.
A later release may move a date; `VERSION` tells the tables apart, and reports name it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["TABLE", "VERSION", "acceptable", "end", "unacceptable"]

VERSION = "2026-11"


def _end_of(year: int) -> int:
    """The last nanosecond of a year in UTC, Unix ns."""
    return int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()) * 10**9 - 1


TABLE: Mapping[str, int | None] = {
    "SHA-256": None,
    "SHA-384": None,
    "SHA-512": None,
    "RSA 2048": _end_of(2030),
    "RSA 3072": _end_of(2035),
    "RSA 4096": _end_of(2035),
    "ECDSA P-256": _end_of(2035),
    "ECDSA P-384": _end_of(2035),
    "Ed25519": _end_of(2035),
    "ML-DSA-44": None,
}
"""Name -> the last Unix nanosecond at which it is acceptable; None where no end is known. What is absent never is."""


def acceptable(name: str, at_ns: int) -> bool:
    """Whether the algorithm `name` is acceptable at `at_ns` (Unix ns). An unknown name is not."""
    if name not in TABLE:
        return False
    last = TABLE[name]
    return last is None or at_ns <= last


def unacceptable(names: Iterable[str], at_ns: int) -> str | None:
    """The first of `names` that is not acceptable at `at_ns`; None if all are."""
    return next((name for name in names if not acceptable(name, at_ns)), None)


def end(names: Iterable[str]) -> int | None:
    """The last Unix nanosecond at which all of `names` are acceptable; None where no end is known.

    Raises KeyError for a name that the table does not have.
    """
    ends = [last for last in (TABLE[name] for name in names) if last is not None]
    return min(ends, default=None)
