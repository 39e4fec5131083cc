"""Finding our assertion in a C2PA manifest store: the boxes on the way to it, and no others.

JUMBF (ISO 19566-5): a superbox `jumb` holds a description `jumd` (type, toggles, label) and then boxes. A store holds
manifests, the last of which is the active one; a manifest holds an assertion store, which holds the assertions. Claims,
hashes and signatures are C2PA's and are not looked at here. Linear in the store, which is in memory, and bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.c2pa.assertion import LABEL
from platemark.capture.provenance import STORE_UUID
from platemark.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_STORE", "active_manifest", "proofs"]

MAX_STORE = 32 << 20
"""Bytes of a manifest store that is read; one with pictures of its ingredients is some hundred kB."""
_MAX_BOXES = 4096
_BOX = struct.Struct(">I4s")
_MANIFESTS = frozenset(
    kind + bytes.fromhex("00110010800000aa00389b71") for kind in (b"c2ma", b"c2um", b"c2cm")
)  # standard, update and compressed manifests (C2PA 2.x section 11.1.4)
_ASSERTIONS = b"c2as" + bytes.fromhex("00110010800000aa00389b71")
_JSON = b"json" + bytes.fromhex("00110010800000aa00389b71")
_REQUESTABLE, _LABELLED = 1, 2
_MAX_LABEL = 1024


@dataclass(frozen=True, slots=True)
class _Superbox:
    kind: bytes
    label: str
    inner: memoryview


def active_manifest(store: bytes) -> str:
    """The label of the active manifest, as the store has it. Raises ManifestError."""
    return _active(store).label


def proofs(store: bytes) -> list[bytes]:
    """The JSON of every assertion of ours in the active manifest. Raises ManifestError for a store without boxes in order.

    An assertion of our label that is no JSON assertion is refused too.
    """
    found = []
    for box in _superboxes(_active(store).inner, "manifest"):
        if box.kind != _ASSERTIONS:
            continue
        for assertion in _superboxes(box.inner, "assertion store"):
            # A second assertion of one label is told apart as label__1 (C2PA 2.x section 6.4).
            name, separator, number = assertion.label.partition("__")
            if name == LABEL and (not separator or number.isdigit()):
                found.append(_json(assertion))
    return found


def _active(store: bytes) -> _Superbox:
    if len(store) > MAX_STORE:
        raise ManifestError("store", f"{len(store)} bytes, more than {MAX_STORE}")
    outer = list(_superboxes(memoryview(store), "store"))
    if len(outer) != 1 or outer[0].kind != STORE_UUID:
        raise ManifestError("store", "not one C2PA manifest store")
    manifests = [each for each in _superboxes(outer[0].inner, "store") if each.kind in _MANIFESTS]
    if not manifests:
        raise ManifestError("store", "no manifest in it")
    return manifests[-1]


def _json(assertion: _Superbox) -> bytes:
    contents = [body for kind, body in _boxes(assertion.inner, LABEL) if kind not in {b"jumd", b"free"}]
    kinds = [kind for kind, _ in _boxes(assertion.inner, LABEL) if kind not in {b"jumd", b"free"}]
    if assertion.kind != _JSON or kinds != [b"json"]:
        raise ManifestError(LABEL, "not one JSON content box")
    return bytes(contents[0])


def _superboxes(data: memoryview, where: str) -> Iterator[_Superbox]:
    for kind, body in _boxes(data, where):
        if kind == b"jumb":
            yield _superbox(body, where)


def _superbox(body: memoryview, where: str) -> _Superbox:
    described, description = next(_boxes(body, where), (b"", memoryview(b"")))
    if described != b"jumd" or len(description) < 17:
        raise ManifestError(where, "a superbox without its description")
    toggles, label = description[16], ""
    if toggles & _LABELLED:
        name, end, _ = bytes(description[17 : 17 + _MAX_LABEL + 1]).partition(b"\0")
        if not end:
            raise ManifestError(where, f"a label without an end, or of more than {_MAX_LABEL} bytes")
        label = name.decode("utf-8", "replace")
    return _Superbox(bytes(description[:16]), label, body)


def _boxes(data: memoryview, where: str) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of every box, which must fill `data` exactly."""
    position = count = 0
    while position < len(data):
        if len(data) - position < _BOX.size:
            raise ManifestError(where, "bytes after the last box")
        size, kind = _BOX.unpack_from(data, position)
        # 0 (to the end) and 1 (64-bit length) are not written by anybody for boxes this small.
        if size < _BOX.size or size > len(data) - position:
            raise ManifestError(where, f"a box of {size} bytes where {len(data) - position} are left")
        count += 1
        if count > _MAX_BOXES:
            raise ManifestError(where, f"more than {_MAX_BOXES} boxes")
        yield kind, data[position + _BOX.size : position + size]
        position += size
