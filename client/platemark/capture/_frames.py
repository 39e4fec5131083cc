"""Frame digests and the tree over them: PX2 and PXC for DICOM, PXI for images (proto/statement.md, rungs)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import merkle
from platemark.rungs import SHA256, SHA512

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["FrameTree", "frame_tree", "px2_prefix", "pxc_prefix", "pxi_prefix"]


@dataclass(frozen=True)
class FrameTree:
    """Digests of a rung that is a tree of frames, and the SHA-256 digest of every frame, in order."""

    digests: Mapping[int, bytes]
    frames: tuple[bytes, ...]


_NAMES = {SHA256: "sha256", SHA512: "sha512"}


def px2_prefix(*, rows: int, columns: int, samples: int, width: int, representation: int, photometric: str) -> bytes:
    """What precedes the samples in the digest of a DICOM frame; all integers big-endian."""
    fixed = struct.pack(">IIHBB", rows, columns, samples, width, representation)
    return b"PX2\0" + fixed + photometric.encode("ascii") + b"\0"


def pxi_prefix(*, rows: int, columns: int, samples: int, width: int, orientation: int, photometric: str) -> bytes:
    """What precedes the samples in the digest of an image frame; all integers big-endian."""
    fixed = struct.pack(">IIHBB", rows, columns, samples, width, orientation)
    return b"PXI\0" + fixed + photometric.encode("ascii") + b"\0"


def pxc_prefix(
    *, rows: int, columns: int, samples: int, representation: int, photometric: str, transfer_syntax: str
) -> bytes:
    """What precedes the codestream in the digest of a compressed DICOM frame; all integers big-endian."""
    fixed = struct.pack(">IIHB", rows, columns, samples, representation)
    return b"PXC\0" + fixed + photometric.encode("ascii") + b"\0" + transfer_syntax.encode("ascii") + b"\0"


def frame_tree(domain: bytes, frames: Iterable[Mapping[int, bytes]]) -> FrameTree:
    r"""The digest of the rung under each hash algorithm; `domain` is b"PX2-ROOT\0", b"PXC-ROOT\0" or b"PXI-ROOT\0".

    H(domain || u64 frame count || RFC 9162 root), where leaf i of the tree is H(0x00 || digest of frame i). `frames` is
    read to its end before anything is hashed. Raises ValueError without a frame.
    """
    listed = [tuple(frame[algorithm] for algorithm in _NAMES) for frame in frames]
    if not listed:
        raise ValueError("an image has at least one frame")
    count = struct.pack(">Q", len(listed))
    roots = {}
    for place, (algorithm, name) in enumerate(_NAMES.items()):
        leaves = (merkle.leaf_hash(frame[place], algorithm=name) for frame in listed)
        root = merkle.root(leaves, algorithm=name)
        roots[algorithm] = hashlib.new(name, domain + count + root).digest()
    return FrameTree(roots, tuple(frame[0] for frame in listed))
