"""The C2PA manifest store within a PNG or JPEG file: where its bytes are, without reading what they say.

PNG: the data of the one `caBX` chunk. JPEG: the JUMBF box that its APP11 segments carry (ISO 19566-5 annex D), whose
first eight bytes every one of them repeats. Rule V21 of proto/attributes.md. Standard library only, nothing is believed,
and no more is read than the file holds.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._source import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

    from platemark.rungs import AttributeValue

__all__ = ["ATTRIBUTE", "STORE_UUID", "Span", "Store", "jpeg_store", "png_store", "provenance"]

ATTRIBUTE = "embedded_provenance"
STORE_UUID = bytes.fromhex("6332706100110010800000aa00389b71")
"""The JUMBF content type of a manifest store (C2PA 2.x section 11.1.4.2)."""

Span = tuple[int, int]
"""Offset and length in bytes."""

_BOX = struct.Struct(">I4s")
_SEGMENT = struct.Struct(">HI")  # box instance number and packet sequence number, behind the marker's length and "JP"
_COMMON_IDENTIFIER = b"JP"
_HEAD = 32


@dataclass(frozen=True, slots=True)
class Store:
    """`content`: spans of the file that are the store when joined; `carriers`: the whole chunk or segments around them."""

    content: tuple[Span, ...]
    carriers: tuple[Span, ...]

    @property
    def size(self) -> int:
        """Bytes of the store."""
        return sum(length for _, length in self.content)

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        """The store in pieces. Raises MalformedError when the file became shorter."""
        for offset, length in self.content:
            file.seek(offset)
            left = length
            while left:
                data = file.read(min(CHUNK, left))
                if not data:
                    raise MalformedError("truncated within a C2PA manifest store")
                left -= len(data)
                yield data


def png_store(file: BinaryIO, chunks: Sequence[Span]) -> Store | None:
    """The store of a PNG file whose `caBX` chunks are these (with length, type and CRC); None if there are none.

    Raises MalformedError: more than one chunk, or one that holds no manifest store.
    """
    if not chunks:
        return None
    if len(chunks) > 1:
        raise MalformedError("the PNG file has more than one C2PA manifest store (caBX)")
    ((offset, length),) = chunks
    store = Store(((offset + 8, length - 12),), ((offset, length),))
    if _declared_size(_at(file, offset + 8, min(_HEAD, length - 12))) != store.size:
        raise MalformedError("the caBX chunk of the PNG file holds no C2PA manifest store")
    return store


def jpeg_store(file: BinaryIO, segments: Iterable[Span]) -> Store | None:
    """The store of a JPEG file whose APP11 segments are these (with their markers), in order; None if there is none.

    Segments of other boxes are passed over. Raises MalformedError: more than one store, a segment that is missing, out of
    order or of another length than the box says.
    """
    packets = [each for each in (_packet(file, span) for span in segments) if each is not None]
    found: Store | None = None
    position = 0
    while position < len(packets):
        size = _declared_size(packets[position].start)
        if size is None:
            position += 1
            continue
        if found is not None:
            raise MalformedError("the JPEG file has more than one C2PA manifest store")
        taken = _instance(packets[position:], size)
        found = Store(_content(taken), tuple(each.span for each in taken))
        position += len(taken)
    return found


def provenance(file: BinaryIO, store: Store | None) -> dict[str, AttributeValue]:
    """The attribute that names a store by its digest; nothing without one."""
    if store is None:
        return {}
    digest = hashlib.sha256()
    for piece in store.read(file):
        digest.update(piece)
    return {ATTRIBUTE: f"c2pa:{digest.hexdigest()}"}


@dataclass(frozen=True, slots=True)
class _Packet:
    """One APP11 segment that carries (a part of) a JUMBF box; `start` are the first bytes of what it carries."""

    span: Span
    instance: int
    sequence: int
    start: bytes

    @property
    def carried(self) -> Span:
        """Where the box, or its part after the repeated head, is."""
        offset, length = self.span
        skipped = 4 + len(_COMMON_IDENTIFIER) + _SEGMENT.size
        return offset + skipped, length - skipped


def _packet(file: BinaryIO, span: Span) -> _Packet | None:
    data = _at(file, span[0] + 4, min(span[1] - 4, len(_COMMON_IDENTIFIER) + _SEGMENT.size + _HEAD))
    start = data[len(_COMMON_IDENTIFIER) + _SEGMENT.size :]
    if not data.startswith(_COMMON_IDENTIFIER) or len(start) < _BOX.size:
        return None
    instance, sequence = _SEGMENT.unpack_from(data, len(_COMMON_IDENTIFIER))
    return _Packet(span, instance, sequence, start)


def _instance(packets: list[_Packet], size: int) -> list[_Packet]:
    """The packets of the box that begins in the first one."""
    first, taken, have = packets[0], [], 0
    for number, packet in enumerate(packets, start=1):
        same = packet.instance == first.instance and packet.start[: _BOX.size] == first.start[: _BOX.size]
        if not same or packet.sequence != number:
            break
        taken.append(packet)
        have += packet.carried[1] - (_BOX.size if number > 1 else 0)
        if have >= size:
            break
    if have != size:
        raise MalformedError(f"the C2PA manifest store of the JPEG file has {have} of its {size} bytes in order")
    return taken


def _content(packets: Sequence[_Packet]) -> tuple[Span, ...]:
    (first, *rest) = (packet.carried for packet in packets)
    return first, *((offset + _BOX.size, length - _BOX.size) for offset, length in rest)


def _declared_size(head: bytes) -> int | None:
    """What a box says of its length, if it is the superbox of a manifest store; None if it is not one."""
    if len(head) < _HEAD:
        return None
    size, kind = _BOX.unpack_from(head)
    described = _BOX.unpack_from(head, _BOX.size)[1]
    if (kind, described, head[16:]) != (b"jumb", b"jumd", STORE_UUID):
        return None
    return int(size)


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(max(length, 0))
