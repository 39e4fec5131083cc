"""Frame digests and the tree over them: PX2 for DICOM, PXI for images (proto/statement.md, rungs)."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from platemark import merkle
from platemark.rungs import SHA256, SHA512

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pixels_root", "px2_prefix", "pxi_prefix"]

_NAMES = {SHA256: "sha256", SHA512: "sha512"}


def px2_prefix(*, rows: int, columns: int, samples: int, width: int, representation: int, photometric: str) -> bytes:
    """What precedes the samples in the digest of a DICOM frame; all integers big-endian."""
    fixed = struct.pack(">IIHBB", rows, columns, samples, width, representation)
    return b"PX2\0" + fixed + photometric.encode("ascii") + b"\0"


def pxi_prefix(*, rows: int, columns: int, samples: int, width: int, orientation: int, photometric: str) -> bytes:
    """What precedes the samples in the digest of an image frame; all integers big-endian."""
    fixed = struct.pack(">IIHBB", rows, columns, samples, width, orientation)
    return b"PXI\0" + fixed + photometric.encode("ascii") + b"\0"


def pixels_root(domain: bytes, frames: Sequence[dict[int, bytes]]) -> dict[int, bytes]:
    r"""The `pixels` digest under each hash algorithm; `domain` is b"PX2-ROOT\0" or b"PXI-ROOT\0".

    H(domain || u64 frame count || RFC 9162 root), where leaf i of the tree is H(0x00 || digest of frame i).
    """
    if not frames:
        raise ValueError("an image has at least one frame")
    count = struct.pack(">Q", len(frames))
    roots = {}
    for algorithm, name in _NAMES.items():
        leaves = (merkle.leaf_hash(frame[algorithm], algorithm=name) for frame in frames)
        root = merkle.root(leaves, algorithm=name)
        roots[algorithm] = hashlib.new(name, domain + count + root).digest()
    return roots
