"""A strict subset of CBOR (RFC 8949 section 4.2.1) in which every value has exactly one encoding.

Allowed: integers from -2^63 to 2^64 - 1, byte strings, NFC text, arrays, maps with integer or text keys in bytewise
order of their encodings, true, false and null. Refused, each by name: floats, tags, indefinite lengths, non-shortest
heads, duplicate or unordered keys, text that is not UTF-8 or not NFC, nesting deeper than 8, trailing bytes, other
simple values. Rules C1 to C12 of proto/statement.md.

Written by hand because the maintained decoders accept what a strict format has to refuse.
"""

from __future__ import annotations

import unicodedata
from typing import NoReturn, TypeAlias

from platemark.errors import CborError

__all__ = ["MAX_DEPTH", "Value", "decode", "encode"]

Value: TypeAlias = "int | bytes | str | bool | list[Value] | dict[int | str, Value] | None"

MAX_DEPTH = 8
_MIN, _MAX = -(1 << 63), (1 << 64) - 1
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_SIMPLE: dict[int, bool | None] = {_FALSE: False, _TRUE: True, _NULL: None}


def encode(value: object) -> bytes:
    """The one encoding of `value`; tuples encode as arrays. Raises CborError for what the subset cannot say."""
    out = bytearray()
    _encode(value, out, 0, "value")
    return bytes(out)


def decode(data: bytes) -> Value:
    """The value of `data`, which must be its one encoding and nothing more. Raises CborError."""
    reader = _Reader(bytes(data))
    value = reader.value(0)
    if reader.at != len(reader.data):
        raise CborError(f"byte {reader.at}", f"{len(reader.data) - reader.at} trailing bytes")
    return value


def _head(major: int, argument: int, out: bytearray) -> None:
    if argument < 24:
        out.append(major << 5 | argument)
        return
    for extra, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * width:
            out.append(major << 5 | extra)
            out += argument.to_bytes(width, "big")
            return
    raise AssertionError  # callers have bounded the argument to 64 bits


def _encode(value: object, out: bytearray, depth: int, field: str) -> None:
    if value is None:
        out.append(_NULL)
    elif isinstance(value, bool):
        out.append(_TRUE if value else _FALSE)
    elif isinstance(value, int):
        if not _MIN <= value <= _MAX:
            raise CborError(field, "the integer is outside -2^63 to 2^64 - 1")
        _head(0, value, out) if value >= 0 else _head(1, -1 - value, out)
    elif isinstance(value, bytes):
        _head(2, len(value), out)
        out += value
    elif isinstance(value, str):
        _encode_text(value, out, field)
    elif isinstance(value, (list, tuple)):
        _deeper(depth, field)
        _head(4, len(value), out)
        for index, item in enumerate(value):
            _encode(item, out, depth + 1, f"{field}[{index}]")
    elif isinstance(value, dict):
        _encode_map(value, out, depth, field)
    else:
        raise CborError(field, f"{type(value).__name__} is not in the CBOR subset")


def _encode_text(value: str, out: bytearray, field: str) -> None:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise CborError(field, "the text holds a lone surrogate") from None
    if not unicodedata.is_normalized("NFC", value):
        raise CborError(field, "the text is not in Unicode NFC")
    _head(3, len(encoded), out)
    out += encoded


def _encode_map(value: dict[object, object], out: bytearray, depth: int, field: str) -> None:
    _deeper(depth, field)
    pairs: list[tuple[bytes, object, object]] = []
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise CborError(field, "a map key is neither an integer nor text")
        buffer = bytearray()
        _encode(key, buffer, depth + 1, f"{field} key")
        pairs.append((bytes(buffer), key, item))
    pairs.sort(key=lambda pair: pair[0])
    _head(5, len(pairs), out)
    for encoded, key, item in pairs:
        out += encoded
        _encode(item, out, depth + 1, f"{field}.{key}")


def _deeper(depth: int, field: str) -> None:
    if depth >= MAX_DEPTH:
        raise CborError(field, f"nesting is deeper than {MAX_DEPTH}")


class _Reader:
    """A cursor over the bytes; every refusal names the byte at which it was seen."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, depth: int) -> Value:
        start = self.at
        if start >= len(self.data):
            self._refuse(start, "the data ends inside a value")
        initial = self.data[start]
        major = initial >> 5
        if major == 7:
            return self._simple(initial)
        argument = self._argument(initial & 31)
        if major == 0:
            return argument
        if major == 1:
            if argument >= 1 << 63:
                self._refuse(start, "the integer is below -2^63")
            return -1 - argument
        if major == 2:
            return self._take(argument)
        if major == 3:
            return self._text(argument, start)
        if major == 6:
            self._refuse(start, "tags are refused")
        if depth >= MAX_DEPTH:
            self._refuse(start, f"nesting is deeper than {MAX_DEPTH}")
        return self._array(argument, depth) if major == 4 else self._map(argument, depth)

    def _simple(self, initial: int) -> bool | None:
        if initial not in _SIMPLE:
            what = "floats" if initial in {0xF9, 0xFA, 0xFB} else "this simple value"
            self._refuse(self.at, f"{what} is refused" if what[0] == "t" else f"{what} are refused")
        self.at += 1
        return _SIMPLE[initial]

    def _argument(self, info: int) -> int:
        start = self.at
        self.at += 1
        if info < 24:
            return info
        if info > 27:
            self._refuse(start, "indefinite and reserved lengths are refused")
        width = 1 << info - 24
        argument = int.from_bytes(self._take(width), "big")
        if argument < (24 if width == 1 else 1 << 4 * width):
            self._refuse(start, "the head is not in its shortest form")
        return argument

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.data):
            self._refuse(self.at, "the data ends inside a value")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def _text(self, length: int, start: int) -> str:
        try:
            text = self._take(length).decode()
        except UnicodeDecodeError:
            self._refuse(start, "the text is not UTF-8")
        if not text.isascii() and not unicodedata.is_normalized("NFC", text):
            self._refuse(start, "the text is not in Unicode NFC")
        return text

    def _array(self, length: int, depth: int) -> list[Value]:
        self._plausible(length)
        return [self.value(depth + 1) for _ in range(length)]

    def _map(self, length: int, depth: int) -> dict[int | str, Value]:
        self._plausible(2 * length)
        result: dict[int | str, Value] = {}
        previous = b""
        for _ in range(length):
            start = self.at
            key = self.value(depth + 1)
            if isinstance(key, bool) or not isinstance(key, (int, str)):
                self._refuse(start, "a map key is neither an integer nor text")
            encoded = self.data[start : self.at]
            if encoded == previous:
                self._refuse(start, "a map key is duplicated")
            if encoded < previous:
                self._refuse(start, "the map keys are not in bytewise order")
            previous = encoded
            result[key] = self.value(depth + 1)
        return result

    def _plausible(self, items: int) -> None:
        """Every item takes a byte at least: a huge count is refused before anything is allocated for it."""
        if items > len(self.data) - self.at:
            self._refuse(self.at, "the data ends inside a value")

    def _refuse(self, at: int, reason: str) -> NoReturn:
        raise CborError(f"byte {at}", reason)
