"""Checks for one field of a statement payload; each returns None or raises StatementError naming the field.

A check is a function of (value, field). `record` and the other makers build checks from checks, so that the table of
kinds in platemark.kinds reads like the table in proto/statement.md.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, cast

from platemark.errors import KeyFormatError, StatementError
from platemark.keys import load_public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.cbor import Value

__all__ = [
    "MAX_INTEGER",
    "Check",
    "array",
    "blob",
    "choice",
    "each_ascending",
    "integer",
    "key",
    "matching",
    "nothing",
    "nullable",
    "record",
    "shorten",
    "subject",
    "text",
    "uri",
]

Check: TypeAlias = "Callable[[Value, str], None]"

MAX_INTEGER = (1 << 63) - 1
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_SUBJECT = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def integer(low: int = 0, high: int = MAX_INTEGER) -> Check:
    """An integer in low..high inclusive."""

    def check(value: Value, field: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise StatementError(field, "not an integer")
        if not low <= value <= high:
            raise StatementError(field, f"{value} is outside {low} to {high}")

    return check


def blob(low: int, high: int | None = None) -> Check:
    """A byte string of low..high bytes, or of exactly `low`."""
    most = low if high is None else high

    def check(value: Value, field: str) -> None:
        if not isinstance(value, bytes):
            raise StatementError(field, "not a byte string")
        if not low <= len(value) <= most:
            wanted = str(low) if low == most else f"{low} to {most}"
            raise StatementError(field, f"{len(value)} bytes, not {wanted}")

    return check


def text(most: int, *, lines: bool = False) -> Check:
    """Text of 1..most UTF-8 bytes without control characters; with `lines`, line feeds are allowed."""

    def check(value: Value, field: str) -> None:
        if not isinstance(value, str):
            raise StatementError(field, "not text")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise StatementError(field, "a lone surrogate") from None
        if not 1 <= size <= most:
            raise StatementError(field, f"{size} bytes of text, not 1 to {most}")
        for character in value:
            if (character < " " and not (lines and character == "\n")) or "\x7f" <= character <= "\x9f":
                raise StatementError(field, f"control character U+{ord(character):04X}")

    return check


def matching(pattern: str, most: int, what: str) -> Check:
    """Text of at most `most` characters that matches `pattern` whole; `what` names it in the error."""
    compiled = re.compile(pattern)

    def check(value: Value, field: str) -> None:
        if not isinstance(value, str) or len(value) > most or compiled.fullmatch(value) is None:
            raise StatementError(field, f"not {what}")

    return check


def uri(value: Value, field: str) -> None:
    """An absolute URI of RFC 3986 in ASCII, at most 255 characters."""
    if not isinstance(value, str) or len(value) > 255 or _URI.fullmatch(value) is None:
        raise StatementError(field, "not an absolute URI of at most 255 characters")


def subject(value: Value, field: str) -> None:
    """A random (version 4) urn:uuid in lower case."""
    if not isinstance(value, str) or _SUBJECT.fullmatch(value) is None:
        raise StatementError(field, "not a random urn:uuid in lower case")


def key(value: Value, field: str) -> None:
    """The SubjectPublicKeyInfo of an accepted key."""
    if not isinstance(value, bytes):
        raise StatementError(field, "not a byte string")
    try:
        load_public(value, field=field)
    except KeyFormatError as error:
        raise StatementError(field, error.reason) from None


def choice(*words: str) -> Check:
    """One of the words."""

    def check(value: Value, field: str) -> None:
        if value not in words or not isinstance(value, str):
            raise StatementError(field, f"{shorten(value)} is not one of {', '.join(words)}")

    return check


def nothing(value: Value, field: str) -> None:
    """Null."""
    if value is not None:
        raise StatementError(field, "not null")


def nullable(check: Check) -> Check:
    """Null, or what `check` allows."""

    def either(value: Value, field: str) -> None:
        if value is not None:
            check(value, field)

    return either


def array(item: Check, low: int, high: int) -> Check:
    """An array of low..high items, each as `item` says."""

    def check(value: Value, field: str) -> None:
        if not isinstance(value, list):
            raise StatementError(field, "not an array")
        if not low <= len(value) <= high:
            raise StatementError(field, f"{len(value)} items, not {low} to {high}")
        for index, entry in enumerate(value):
            item(entry, f"{field}[{index}]")

    return check


def each_ascending(item: Check, low: int, high: int) -> Check:
    """An array of byte strings in strictly ascending bytewise order, so that a set has one form."""
    inner = array(item, low, high)

    def check(value: Value, field: str) -> None:
        inner(value, field)
        items = cast("list[bytes]", value)
        if any(left >= right for left, right in itertools.pairwise(items)):
            raise StatementError(field, "not in strictly ascending order")

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A map with exactly the required fields and any of the optional ones; an unknown field is named."""
    known = {**required, **(optional or {})}
    needed = required.keys()

    def check(value: Value, field: str) -> None:
        if not isinstance(value, dict):
            raise StatementError(field, "not a map")
        if not needed <= value.keys():
            missing = next(name for name in required if name not in value)
            raise StatementError(f"{field}.{missing}", "missing")
        for name, entry in value.items():
            inner = known.get(cast("str", name))
            if inner is None:
                raise StatementError(f"{field}.{shorten(name)}", "unknown field")
            inner(entry, f"{field}.{name}")

    return check


def shorten(value: object) -> str:
    """A foreign name fit for an error message: short, on one line, nothing that a terminal obeys."""
    shown = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
