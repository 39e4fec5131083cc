"""Reading DER (X.690) strictly and in bounded time: as much as a time-stamp token needs, and nothing else.

Definite lengths in their shortest form, tags of one byte. Whoever reads names the field, so that an error says where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.errors import TimeStampError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BOOLEAN",
    "GENERALIZED_TIME",
    "INTEGER",
    "OBJECT_IDENTIFIER",
    "OCTET_STRING",
    "SEQUENCE",
    "SET",
    "Node",
    "Reader",
    "context",
    "element",
    "integer",
    "nodes",
    "object_identifier",
    "single",
]

BOOLEAN, INTEGER, OCTET_STRING, OBJECT_IDENTIFIER = 0x01, 0x02, 0x04, 0x06
GENERALIZED_TIME, SEQUENCE, SET = 0x18, 0x30, 0x31


def context(number: int, *, constructed: bool = True) -> int:
    """The tag of a context-specific field, `[number]`."""
    return (0xA0 if constructed else 0x80) | number


@dataclass(frozen=True)
class Node:
    """One element: `raw` is the whole of it, `content` what its length covers, `start` where it began in its parent."""

    tag: int
    content: bytes
    raw: bytes
    start: int


class Reader:
    """Takes the fields of a SEQUENCE in their order; `field` names it in errors."""

    def __init__(self, parts: Sequence[Node], field: str) -> None:
        self._parts, self._at, self._field = parts, 0, field

    @classmethod
    def of(cls, node: Node, field: str) -> Reader:
        """The fields of a constructed element."""
        return cls(nodes(node.content, field), field)

    def take(self, tag: int, name: str) -> Node:
        """The next field, which has to be there and to have this tag. Raises TimeStampError."""
        node = self.optional(tag)
        if node is None:
            raise TimeStampError(f"{self._field}.{name}", "missing or of another type")
        return node

    def optional(self, tag: int) -> Node | None:
        """The next field if it has this tag."""
        if self._at < len(self._parts) and self._parts[self._at].tag == tag:
            self._at += 1
            return self._parts[self._at - 1]
        return None

    def end(self) -> None:
        """Raises TimeStampError if a field is left."""
        if self._at != len(self._parts):
            raise TimeStampError(self._field, "a field that does not belong here")


def single(data: bytes, tag: int, field: str) -> Node:
    """The one element that is the whole of `data`. Raises TimeStampError: another type, bytes behind it."""
    node, end = _element(data, 0, field)
    if node.tag != tag:
        raise TimeStampError(field, "of another type")
    if end != len(data):
        raise TimeStampError(field, f"{len(data) - end} trailing bytes")
    return node


def element(tag: int, content: bytes) -> bytes:
    """The DER of one element around `content`; the tag has one byte."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def nodes(data: bytes, field: str) -> list[Node]:
    """The elements that follow each other in `data`, to its end. Raises TimeStampError."""
    found, at = [], 0
    while at < len(data):
        node, at = _element(data, at, field)
        found.append(node)
    return found


def integer(node: Node, field: str) -> int:
    """The value of an INTEGER that is not negative and has at most 20 bytes. Raises TimeStampError."""
    content = node.content
    if not content or len(content) > 21 or content[0] & 0x80:
        raise TimeStampError(field, "not an integer from 0 to 2^160 - 1")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise TimeStampError(field, "an integer that is not in its shortest form")
    return int.from_bytes(content, "big")


def object_identifier(node: Node, field: str) -> str:
    """The dotted form of an OBJECT IDENTIFIER of at most 32 bytes. Raises TimeStampError."""
    content = node.content
    if not content or len(content) > 32 or content[-1] & 0x80:
        raise TimeStampError(field, "not an object identifier")
    arcs, value, fresh = [], 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise TimeStampError(field, "an object identifier that is not in its shortest form")
        value = value << 7 | byte & 0x7F
        fresh = not byte & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def _element(data: bytes, start: int, field: str) -> tuple[Node, int]:
    if start + 2 > len(data):
        raise TimeStampError(field, "not DER: it ends within an element")
    tag, length, at = data[start], data[start + 1], start + 2
    if tag & 0x1F == 0x1F:
        raise TimeStampError(field, "not DER of a time stamp: a tag of more than one byte")
    if length & 0x80:
        width = length & 0x7F
        if not 1 <= width <= 4:
            raise TimeStampError(field, "not DER: a length that is not definite")
        length = int.from_bytes(data[at : at + width], "big")
        at += width
        if length < 0x80 or length >> 8 * (width - 1) == 0:
            raise TimeStampError(field, "not DER: a length that is not in its shortest form")
    if at + length > len(data):
        raise TimeStampError(field, "not DER: it ends within an element")
    return Node(tag, data[at : at + length], data[start : at + length], start), at + length
