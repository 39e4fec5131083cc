"""Single frames of a record: proofs that a frame is one of the tree that a capture signed (proto/evidence.md section 7).

A rung of frames is H(domain || u64 count || root), the root that of the RFC 9162 tree over the frame digests, so that one
frame is proven by its digest and a path. Standard library only: the offline verifier needs it.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark import cbor, merkle
from platemark.errors import CborError, EvidenceError, ProofError
from platemark.rungs import FRAME_RUNGS, SHA256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.rungs import Digests, Measurement

__all__ = ["MEMBER", "FrameProofs", "ProvenFrame", "decode", "prove"]

MEMBER = "frames.cbor"
_MAX_BYTES = 512 * 1024
_MAX_FRAMES = 256
_MAX_COUNT = (1 << 32) - 1
_MAX_PATH = 32
_DICOM = "application/dicom"


@dataclass(frozen=True)
class ProvenFrame:
    """One frame: its place, counted from 0, its SHA-256 frame digest, and its inclusion path."""

    index: int
    digest: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class FrameProofs:
    """Frames of one object, ascending; `count` is the number of all its frames. Only the form has been checked."""

    rung: str
    count: int
    frames: tuple[ProvenFrame, ...]

    @property
    def numbers(self) -> str:
        """The frames as people and DICOM count them, from 1: "3" or "3,7"."""
        return ",".join(str(frame.index + 1) for frame in self.frames)

    def verify(self, recorded: Digests, *, media: str) -> None:
        """Check every frame against the rung of a record. Raises ProofError."""
        digest = recorded.get(self.rung, {}).get(SHA256)
        if digest is None:
            raise ProofError(f"the record has no rung {self.rung}")
        domain = _domain(self.rung, media) + struct.pack(">Q", self.count)
        for frame in self.frames:
            root = merkle.root_from_inclusion(
                index=frame.index, size=self.count, leaf_hash=merkle.leaf_hash(frame.digest), path=frame.path
            )
            if not hmac.compare_digest(hashlib.sha256(domain + root).digest(), digest):
                raise ProofError(f"frame {frame.index + 1} of {self.count} is not in the recorded {self.rung}")

    def to_bytes(self) -> bytes:
        """The member of a bundle."""
        frames: list[cbor.Value] = [[each.index, each.digest, list(each.path)] for each in self.frames]
        return cbor.encode({"v": 1, "rung": self.rung, "count": self.count, "frames": frames})


def prove(image: Measurement, numbers: Sequence[int]) -> FrameProofs:
    """Proofs of frames of a measured object; `numbers` count from 1. Raises EvidenceError.

    Takes time and memory in proportion to the number of all frames for each frame that is proven.
    """
    rung = next((rung for rung in FRAME_RUNGS if rung in image.digests), None)
    if rung is None:
        why = image.absent.get("pixels", "it has none")
        raise EvidenceError("frame", f"the frames of this object could not be digested: {why}")
    count = len(image.frame_digests)
    for number in numbers:
        if not 1 <= number <= count:
            raise EvidenceError("frame", f"{number} is not one of the frames, which are 1 to {count}")
    wanted = sorted(set(numbers))
    if not 1 <= len(wanted) <= _MAX_FRAMES:
        raise EvidenceError("frame", f"{len(wanted)} frames, not 1 to {_MAX_FRAMES}")
    leaves = [merkle.leaf_hash(digest) for digest in image.frame_digests]
    frames = (
        ProvenFrame(number - 1, image.frame_digests[number - 1], tuple(merkle.inclusion_path(leaves, number - 1)))
        for number in wanted
    )
    return FrameProofs(rung, count, tuple(frames))


def decode(data: bytes) -> FrameProofs:
    """The proofs in a member, not yet verified against a record. Raises EvidenceError."""
    if len(data) > _MAX_BYTES:
        raise EvidenceError(MEMBER, f"more than {_MAX_BYTES} bytes")
    try:
        content = cbor.decode(data)
    except CborError as error:
        raise EvidenceError(MEMBER, str(error)) from None
    if not isinstance(content, dict) or set(content) != {"v", "rung", "count", "frames"}:
        raise EvidenceError(MEMBER, "not a map of v, rung, count and frames")
    if content["v"] != 1 or isinstance(content["v"], bool):
        raise EvidenceError(f"{MEMBER}: v", "not 1")
    rung, count = content["rung"], content["count"]
    if rung not in FRAME_RUNGS:
        raise EvidenceError(f"{MEMBER}: rung", f"not one of {', '.join(FRAME_RUNGS)}")
    if not _integer(count) or not 1 <= cast("int", count) <= _MAX_COUNT:
        raise EvidenceError(f"{MEMBER}: count", f"not a number from 1 to {_MAX_COUNT}")
    return FrameProofs(rung, cast("int", count), _frames(content["frames"], cast("int", count)))


def _frames(items: cbor.Value, count: int) -> tuple[ProvenFrame, ...]:
    if not isinstance(items, list) or not 1 <= len(items) <= _MAX_FRAMES:
        raise EvidenceError(f"{MEMBER}: frames", f"not an array of 1 to {_MAX_FRAMES}")
    frames = tuple(_frame(item, count, f"{MEMBER}: frames[{place}]") for place, item in enumerate(items))
    if any(one.index >= other.index for one, other in itertools.pairwise(frames)):
        raise EvidenceError(f"{MEMBER}: frames", "not in ascending order, each frame once")
    return frames


def _frame(item: cbor.Value, count: int, where: str) -> ProvenFrame:
    if not isinstance(item, list) or len(item) != 3:
        raise EvidenceError(where, "not an array of index, digest and path")
    index, digest, path = item
    if not _integer(index) or not 0 <= cast("int", index) < count:
        raise EvidenceError(where, f"index is not a number from 0 to {count - 1}")
    if not isinstance(path, list) or len(path) > _MAX_PATH:
        raise EvidenceError(where, f"path is not an array of at most {_MAX_PATH}")
    hashes = [each for each in (digest, *path) if isinstance(each, bytes) and len(each) == merkle.HASH_SIZE]
    if len(hashes) != 1 + len(path):
        raise EvidenceError(where, "a digest that is not 32 bytes")
    return ProvenFrame(cast("int", index), hashes[0], tuple(hashes[1:]))


def _integer(value: cbor.Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _domain(rung: str, media: str) -> bytes:
    """What begins the digest of the rung (proto/statement.md R8)."""
    if rung == "codestream":
        return b"PXC-ROOT\0"
    return b"PX2-ROOT\0" if media == _DICOM else b"PXI-ROOT\0"
