"""Strict CBOR that is read item by item, so that nothing is built which the format does not allow.

A file of a gigabyte may be an array of a billion zeros: `cbor.decode` would make a list of it before anybody could object.
Here whoever reads asks for what the format has next. Rules C1 to C12 of proto/statement.md.
"""

from __future__ import annotations

from typing import TypeVar

from platemark import cbor
from platemark.errors import CborError, SegmentError

__all__ = ["Reader"]

_ARRAY, _MAP = 4, 5
_Kind = TypeVar("_Kind", int, bytes, str)


class Reader:
    """One pass over `data`. Every method raises SegmentError, naming the field that it was asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def key(self, name: str) -> None:
        """The key `name` of a map."""
        if self.text(f"key {name}") != name:
            raise SegmentError(name, "missing, or not in its place")

    def integer(self, field: str, *, most: int) -> int:
        """An integer 0..most."""
        value = self._scalar(field, int)
        if not 0 <= value <= most:
            raise SegmentError(field, f"not a number from 0 to {most}")
        return value

    def blob(self, field: str, *, size: int | None = None) -> bytes:
        """A byte string, of this size where one is given."""
        value = self._scalar(field, bytes)
        if size is not None and len(value) != size:
            raise SegmentError(field, f"{len(value)} bytes, not {size}")
        return value

    def optional_blob(self, field: str) -> bytes | None:
        """A byte string or null."""
        if self._peek() == 0xF6:
            self._at += 1
            return None
        return self.blob(field)

    def text(self, field: str) -> str:
        """Text."""
        return self._scalar(field, str)

    def array(self, field: str, *, least: int, most: int) -> int:
        """The head of an array of least..most items; they follow."""
        return self._container(field, _ARRAY, least, most)

    def map(self, field: str, *, size: int) -> None:
        """The head of a map of this size; its keys and values follow."""
        self._container(field, _MAP, size, size)

    def is_bytes(self) -> bool:
        """Whether a byte string is next."""
        return self._peek() >> 5 == 2

    def end(self) -> None:
        """Nothing follows."""
        if self._at != len(self._data):
            raise SegmentError("proof", f"{len(self._data) - self._at} trailing bytes")

    def _peek(self) -> int:
        return self._data[self._at] if self._at < len(self._data) else -1

    def _container(self, field: str, major: int, least: int, most: int) -> int:
        initial = self._peek()
        if initial >> 5 != major:
            raise SegmentError(field, "not an array" if major == _ARRAY else "not a map")
        # The head of a container is that of an integer with another major type: the one codec reads both.
        head = bytes([initial & 31]) + self._data[self._at + 1 : self._at + 9]
        count, length = self._item(head, 0, field)
        if not isinstance(count, int) or not least <= count <= most:
            raise SegmentError(field, f"{count!r} items, not {least} to {most}")
        self._at += length
        return count

    def _scalar(self, field: str, kind: type[_Kind]) -> _Kind:
        if self._peek() >> 5 in {_ARRAY, _MAP}:
            raise SegmentError(field, "an array or a map where none is due")
        value, self._at = self._item(self._data, self._at, field)
        if type(value) is not kind:
            raise SegmentError(field, f"not of type {kind.__name__}")
        return value

    def _item(self, data: bytes, at: int, field: str) -> tuple[cbor.Value, int]:
        try:
            return cbor.item(data, at)
        except CborError as error:
            raise SegmentError(field, str(error)) from None
