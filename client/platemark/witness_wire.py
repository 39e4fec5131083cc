"""The words between a log and its witnesses: the body of `add-checkpoint` (c2sp.org/tlog-witness).

old <decimal>
<base64 hash>*            consistency proof from the old size to the checkpoint's, at most 63 hashes
(empty line)
<signed checkpoint, verbatim>
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from platemark import note as notes
from platemark.checkpoint import decode_decimal
from platemark.errors import NoteError
from platemark.merkle import HASH_SIZE

__all__ = ["AddCheckpoint", "decode_request", "encode_request"]

_MAX_PROOF = 63
_OLD = "old "


@dataclass(frozen=True)
class AddCheckpoint:
    """A request: `note` is a signed checkpoint that nobody has looked at yet."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes


def encode_request(*, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body. `proof` is the RFC 9162 consistency path; empty from size 0 and between equal sizes."""
    lines = [f"{_OLD}{old_size}", *(base64.b64encode(digest).decode() for digest in proof)]
    return ("\n".join(lines) + "\n\n").encode() + note


def decode_request(data: bytes) -> AddCheckpoint:
    """The request in a body, in its one form. Raises NoteError."""
    head, divider, note = data.partition(b"\n\n")
    if not divider:
        raise NoteError("add-checkpoint", "no empty line before the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteError("add-checkpoint", "not ASCII before the checkpoint") from None
    if not lines[0].startswith(_OLD):
        raise NoteError("add-checkpoint.old", "missing")
    old_size = decode_decimal(lines[0][len(_OLD) :] or " ", "add-checkpoint.old")
    if len(lines) - 1 > _MAX_PROOF:
        raise NoteError("add-checkpoint.proof", f"more than {_MAX_PROOF} hashes")
    proof = tuple(_hash(line, number) for number, line in enumerate(lines[1:]))
    return AddCheckpoint(old_size, proof, note)


def _hash(line: str, number: int) -> bytes:
    field = f"add-checkpoint.proof[{number}]"
    digest = notes.decode_base64(line, field)
    if len(digest) != HASH_SIZE:
        raise NoteError(field, f"{len(digest)} bytes, not {HASH_SIZE}")
    return digest
