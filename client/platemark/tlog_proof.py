"""C2SP tlog-proof@v1 (c2sp.org/tlog-proof): one file that proves one leaf, with the checkpoint that covers it.

    c2sp.org/tlog-proof@v1
    extra <base64>            at most once; not authenticated
    index <decimal>
    <base64 hash>             any number, leaf sibling first
    (empty line)
    <signed checkpoint, verbatim>

Rules F1 to F5 of proto/log.md.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from platemark import checkpoint, note
from platemark.errors import NoteError
from platemark.merkle import HASH_SIZE, verify_inclusion

__all__ = ["HEADER", "TlogProof", "parse"]

HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PATH = 63
_MAX_EXTRA = 32 * 1024


@dataclass(frozen=True)
class TlogProof:
    """Index, audit path and signed checkpoint of one leaf; `extra` is None or bytes that nothing authenticates."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: checkpoint.SignedCheckpoint
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        """The file."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(digest).decode() for digest in self.path]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.raw

    def verify_leaf(self, leaf_hash: bytes) -> None:
        """Check that `leaf_hash` is at `index` under the checkpoint's root; its signature is the caller's to check.

        Raises ProofError.
        """
        covered = self.checkpoint.checkpoint
        verify_inclusion(index=self.index, size=covered.size, leaf_hash=leaf_hash, path=self.path, root=covered.root)


def parse(data: bytes) -> TlogProof:
    """The proof in `data`, in its one form. Raises NoteError."""
    head, divider, rest = data.partition(b"\n\n")
    if not divider:
        raise NoteError("tlog-proof", "no empty line before the checkpoint")
    if len(head) > 2 * _MAX_EXTRA:
        raise NoteError("tlog-proof", f"more than {2 * _MAX_EXTRA} bytes before the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteError("tlog-proof", "not ASCII before the checkpoint") from None
    if lines.pop(0) != HEADER:
        raise NoteError("tlog-proof", f"does not begin with {HEADER}")
    extra = _extra(lines)
    if not lines or not lines[0].startswith("index "):
        raise NoteError("tlog-proof.index", "missing")
    index = checkpoint.decode_decimal(lines.pop(0)[len("index ") :] or " ", "tlog-proof.index")
    if len(lines) > _MAX_PATH:
        raise NoteError("tlog-proof.path", f"more than {_MAX_PATH} hashes")
    path = tuple(_hash(line, number) for number, line in enumerate(lines))
    return TlogProof(index, path, checkpoint.parse(rest), extra)


def _extra(lines: list[str]) -> bytes | None:
    if not lines or not lines[0].startswith("extra "):
        return None
    extra = note.decode_base64(lines.pop(0)[len("extra ") :], "tlog-proof.extra")
    if len(extra) > _MAX_EXTRA:
        raise NoteError("tlog-proof.extra", f"more than {_MAX_EXTRA} bytes")
    return extra


def _hash(line: str, number: int) -> bytes:
    digest = note.decode_base64(line, f"tlog-proof.path[{number}]")
    if len(digest) != HASH_SIZE:
        raise NoteError(f"tlog-proof.path[{number}]", f"{len(digest)} bytes, not {HASH_SIZE}")
    return digest
