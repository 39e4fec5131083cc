"""A strict subset of CBOR (RFC 8949 section 4.2.1) in which every value has exactly one encoding.

Allowed: integers from -2^63 to 2^64 - 1, byte strings, NFC text, arrays, maps with integer or text keys in bytewise
order of their encodings, true, false and null. Refused, each by name: floats, tags, indefinite lengths, non-shortest
heads, duplicate or unordered keys, text that is not UTF-8, not NFC or newer than Unicode 14.0, nesting deeper than 8,
trailing bytes, other simple values. Rules C1 to C12 of proto/statement.md.

Written by hand because the maintained decoders accept what a strict format has to refuse.
"""

from __future__ import annotations

import unicodedata
from typing import NoReturn, TypeAlias

from platemark.errors import CborError
from platemark.unicode14 import first_unassigned

__all__ = ["MAX_DEPTH", "Value", "decode", "encode", "item"]

Value: TypeAlias = "int | bytes | str | bool | list[Value] | dict[int | str, Value] | None"

MAX_DEPTH = 8
_MIN, _MAX = -(1 << 63), (1 << 64) - 1
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_FLOATS = frozenset({0xF9, 0xFA, 0xFB})
_SIMPLE: dict[int, bool | None] = {_FALSE: False, _TRUE: True, _NULL: None}


def encode(value: object) -> bytes:
    """The one encoding of `value`; tuples encode as arrays. Raises CborError for what the subset cannot say."""
    out = bytearray()
    _encode(value, out, 0, "value")
    return bytes(out)


def decode(data: bytes) -> Value:
    """The value of `data`, which must be its one encoding and nothing more. Raises CborError."""
    data = bytes(data)
    value, at = _value(data, 0, 0)
    if at != len(data):
        _refuse(at, f"{len(data) - at} trailing bytes")
    return value


def item(data: bytes, at: int) -> tuple[Value, int]:
    """The value that begins at byte `at`, in its one encoding, and the byte after it. Raises CborError."""
    return _value(data, at, 0)


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
    if not value.isascii() and (fault := _fault(value)):
        raise CborError(field, fault)
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


def _value(data: bytes, at: int, depth: int) -> tuple[Value, int]:  # noqa: C901 - a branch for each major type
    """The value that begins at byte `at`, and the byte after it. Every refusal names the byte at which it was seen.

    The common heads are read in place and not through calls: a ledger reads some fifty values for each statement.
    """
    if at >= len(data):
        _refuse(at, "the data ends inside a value")
    initial = data[at]
    if initial >= 0xE0:
        return _simple(initial, at), at + 1
    argument, after = initial & 31, at + 1
    if argument >= 24:
        argument, after = _argument(data, at, argument)
    if initial < 0x20:
        return argument, after
    if initial < 0x40:
        return _negative(argument, at), after
    if initial < 0x80:
        end = after + argument
        if end > len(data):
            _refuse(after, "the data ends inside a value")
        content = data[after:end]
        return (content if initial < 0x60 else _text(content, at)), end
    if initial >= 0xC0:
        _refuse(at, "tags are refused")
    if depth >= MAX_DEPTH:
        _refuse(at, f"nesting is deeper than {MAX_DEPTH}")
    if initial < 0xA0:
        return _array(data, after, argument, depth + 1)
    return _map(data, after, argument, depth + 1)


def _simple(initial: int, at: int) -> bool | None:
    if initial in _SIMPLE:
        return _SIMPLE[initial]
    return _refuse(at, "floats are refused" if initial in _FLOATS else "this simple value is refused")


def _argument(data: bytes, at: int, info: int) -> tuple[int, int]:
    """The argument that follows its head in 1, 2, 4 or 8 bytes, and the byte after it."""
    if info > 27:
        _refuse(at, "indefinite and reserved lengths are refused")
    width = 1 << info - 24
    end = at + 1 + width
    if end > len(data):
        _refuse(at + 1, "the data ends inside a value")
    argument = data[at + 1] if width == 1 else int.from_bytes(data[at + 1 : end], "big")
    if argument < (24 if width == 1 else 1 << 4 * width):
        _refuse(at, "the head is not in its shortest form")
    return argument, end


def _negative(argument: int, at: int) -> int:
    if argument >= 1 << 63:
        _refuse(at, "the integer is below -2^63")
    return -1 - argument


def _text(content: bytes, at: int) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise CborError(f"byte {at}", "the text is not UTF-8") from None
    if not text.isascii() and (fault := _fault(text)):
        _refuse(at, fault)
    return text


def _fault(text: str) -> str | None:
    """What C3 has against a text."""
    if code_point := first_unassigned(text):
        return f"the text holds {code_point}, which Unicode 14.0 does not assign"
    return None if unicodedata.is_normalized("NFC", text) else "the text is not in Unicode NFC"


def _array(data: bytes, at: int, length: int, depth: int) -> tuple[list[Value], int]:
    _plausible(data, at, length)
    result: list[Value] = []
    for _ in range(length):
        item, at = _value(data, at, depth)
        result.append(item)
    return result, at


def _map(data: bytes, at: int, length: int, depth: int) -> tuple[dict[int | str, Value], int]:
    _plausible(data, at, 2 * length)
    result: dict[int | str, Value] = {}
    previous = b""
    for _ in range(length):
        key, after = _value(data, at, depth)
        if type(key) is not str and type(key) is not int:
            _refuse(at, "a map key is neither an integer nor text")
        encoded = data[at:after]
        if encoded <= previous:
            same = encoded == previous
            _refuse(at, "a map key is duplicated" if same else "the map keys are not in bytewise order")
        previous = encoded
        result[key], at = _value(data, after, depth)
    return result, at


def _plausible(data: bytes, at: int, items: int) -> None:
    """Every item takes a byte at least: a huge count is refused before anything is done for it."""
    if items > len(data) - at:
        _refuse(at, "the data ends inside a value")


def _refuse(at: int, reason: str) -> NoReturn:
    raise CborError(f"byte {at}", reason)
