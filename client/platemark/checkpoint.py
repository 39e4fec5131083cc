"""C2SP checkpoints (c2sp.org/tlog-checkpoint, v1.0.0): origin, size and root of a log in a signed note.

Ours have no extension lines and an origin of at most 255 bytes, so that ML-DSA cosignatures can cover them.
Rules P1 to P6 of proto/log.md.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import note
from platemark.errors import NoteError
from platemark.merkle import EMPTY_ROOT, HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platemark.note import NoteSigner, NoteVerifier

__all__ = ["Checkpoint", "SignedCheckpoint", "decode_decimal", "open_checkpoint", "parse", "sign"]

_MAX_ORIGIN = 255


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: `root` (32 bytes) is the RFC 9162 root of its first `size` leaves."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note text: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint with the note that carried it, verbatim in `raw`."""

    checkpoint: Checkpoint
    signed: note.Note
    raw: bytes

    @property
    def log_note(self) -> bytes:
        """The note as the log itself signed it: without the lines of others (rule P7). Time stamps are over these bytes."""
        origin = self.checkpoint.origin
        lines = [(name, key_id + blob) for name, key_id, blob in self.signed.signatures if name == origin]
        return (self.signed.text + "\n" + "".join(note.signature_line(*line) for line in lines)).encode()

    def verify(self, verifiers: Iterable[NoteVerifier]) -> tuple[NoteVerifier, ...]:
        """The keys that signed, never none. Raises SignatureError."""
        return self.signed.verify(verifiers)


def sign(checkpoint: Checkpoint, signers: Sequence[NoteSigner]) -> bytes:
    """The signed note of `checkpoint`."""
    _parse_text(checkpoint.text)
    return note.sign(checkpoint.text, signers).encode()


def parse(data: bytes) -> SignedCheckpoint:
    """The checkpoint in a note whose signatures are not yet verified. Raises NoteError."""
    signed = note.parse(data)
    return SignedCheckpoint(_parse_text(signed.text), signed, data)


def open_checkpoint(data: bytes, verifiers: Iterable[NoteVerifier], *, origin: str) -> Checkpoint:
    """The checkpoint of `origin` in `data`, signed by one of `verifiers`. Raises NoteError, SignatureError."""
    parsed = parse(data)
    if parsed.checkpoint.origin != origin:
        raise NoteError("checkpoint.origin", f"{parsed.checkpoint.origin} is not {origin}")
    parsed.verify(verifiers)
    return parsed.checkpoint


def decode_decimal(text: str, field: str) -> int:
    """A decimal below 2^63 without sign or leading zero. Raises NoteError."""
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 19:
        raise NoteError(field, "not a decimal number without leading zeros")
    value = int(text)
    if value >= 1 << 63:
        raise NoteError(field, "not below 2^63")
    return value


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4:
        raise NoteError("checkpoint", "not exactly origin, size and root (extension lines are refused)")
    origin, size_text, root_text, _ = lines
    if not 1 <= len(origin.encode()) <= _MAX_ORIGIN:
        raise NoteError("checkpoint.origin", f"not 1 to {_MAX_ORIGIN} bytes")
    size = decode_decimal(size_text, "checkpoint.size")
    root = note.decode_base64(root_text, "checkpoint.root")
    if len(root) != HASH_SIZE:
        raise NoteError("checkpoint.root", f"{len(root)} bytes, not {HASH_SIZE}")
    if size == 0 and root != EMPTY_ROOT:
        raise NoteError("checkpoint.root", "size 0 has the root of the empty tree")
    return Checkpoint(origin, size, root)
