"""Scenes for the vectors of verdicts: content that is not enough, and single frames of a record."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import reference
from builders import MODALITY, Log, digests
from platemark import attributes, cbor
from platemark.attributes import AttributeValue
from platemark.frame_proofs import FrameProofs, ProvenFrame
from platemark.rungs import HEADER_BINDING, SHA256, Measurement
from scenes import Scene

__all__ = ["scenes"]

_MEDIA = "application/dicom"
_COUNT = 7
_FRAMES = [hashlib.sha256(f"frame {number}".encode()).digest() for number in range(1, _COUNT + 1)]
_HEADER: dict[str, AttributeValue] = {
    **dict.fromkeys(sorted(HEADER_BINDING)),
    "patient_id": "4711",
    "image_laterality": "shared \\frames 1-2 \\L\\frames 3-7 \\R",
}
_WHOLE = attributes.commit(_HEADER, key=bytes(32))
_PRIVATE, _LATERALITY = 0x00091001, 0x00200060


def _root(frames: list[bytes]) -> bytes:
    tree = reference.root([reference.leaf(each) for each in frames])
    return hashlib.sha256(b"PX2-ROOT\0" + struct.pack(">Q", len(frames)) + tree).digest()


def _proofs(*numbers: int) -> FrameProofs:
    leaves = [reference.leaf(each) for each in _FRAMES]
    frames = (
        ProvenFrame(number - 1, _FRAMES[number - 1], tuple(reference.inclusion_path(leaves, number - 1)))
        for number in numbers
    )
    return FrameProofs("pixels", _COUNT, tuple(frames))


def _recorded() -> dict[str, dict[int, bytes]]:
    return {**digests(b"scan", "file", "dataset", "content"), "pixels": {SHA256: _root(_FRAMES)}}


def _scene(shown: FrameProofs | None = None) -> Scene:
    log = Log()
    log.enrol(MODALITY)
    found = cast("cbor.Value", _recorded())
    record = log.capture(media=_MEDIA, digests=found, frames=_COUNT, attributes=_WHOLE)
    given = log.evidence(record, enrolments=[1], disclosure=_WHOLE)
    return given.with_frames(shown.to_bytes() if shown else None), log.trust()


def _part(*numbers: int, laterality: str) -> Measurement:
    """An object of some of the frames."""
    frames = [_FRAMES[number - 1] for number in numbers]
    return Measurement(
        media=_MEDIA,
        digests={**digests(b"part", "file", "dataset", "content"), "pixels": {SHA256: _root(frames)}},
        attributes={**_HEADER, "image_laterality": laterality},
        frame_digests=tuple(frames),
    )


def _copy(*same: str, **changes: object) -> Measurement:
    """A copy of the whole object whose rungs `same` are the recorded ones."""
    other = {**digests(b"copy", "file", "dataset", "content"), "pixels": {SHA256: _root(_FRAMES[::-1])}}
    found = {rung: _recorded()[rung] if rung in same else other[rung] for rung in other}
    copy = Measurement(media=_MEDIA, digests=found, attributes=_HEADER)
    return replace(copy, **changes)  # type: ignore[arg-type]  # fields of Measurement


def scenes() -> Iterator[tuple[str, Scene, Measurement]]:
    """Name, evidence and trust, and the image."""
    third, shared = _proofs(3), "shared \\frames 1-1 \\"
    lie = replace(third, frames=(replace(third.frames[0], index=3),))
    yield "frame 3 of 7", _scene(third), _part(3, laterality=shared + "R")
    yield "frame 3 of 7, and its header says L", _scene(third), _part(3, laterality=shared + "L")
    yield "frame 3 of 7, and its header says L at the top level alone", _scene(third), _part(3, laterality="L")
    yield "frame 4 under the proof of frame 3", _scene(third), _part(4, laterality=shared + "R")
    yield "frame 3 without a proof", _scene(), _part(3, laterality=shared + "R")
    yield "frames 2 and 3", _scene(_proofs(2, 3)), _part(2, 3, laterality="shared \\frames 1-1 \\L\\frames 2-2 \\R")
    yield "frames 3 and 2 in the other order", _scene(_proofs(2, 3)), _part(3, 2, laterality="R")
    yield "frame 3 called frame 4", _scene(lie), _part(3, laterality=shared + "R")
    yield "the whole object beside a proof of frame 3", _scene(third), _copy("file", "dataset", "content", "pixels")
    yield "content of a native copy", _scene(), _copy("content", "pixels")
    yield "content of compressed fragments, their frames equal", _scene(), _copy("content", "pixels", encapsulated=True)
    yield "content of compressed fragments, their frames differ", _scene(), _copy("content", encapsulated=True)
    missing = _copy("content", encapsulated=True, uncomputed=frozenset({"pixels"}))
    without = {rung: each for rung, each in missing.digests.items() if rung != "pixels"}
    yield "content of compressed fragments, no decoder", _scene(), replace(missing, digests=without)
    private, laterality = frozenset({_PRIVATE}), frozenset({_LATERALITY})
    yield "content that leaves a private element out", _scene(), _copy("content", "pixels", uncovered=private)
    moved = {**_HEADER, "laterality": "L"}
    yield (
        "content that leaves the laterality out",
        _scene(),
        _copy("content", "pixels", uncovered=laterality, attributes=moved),
    )
