"""The log's signature over a checkpoint, checked before anybody sees it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from platemark import checkpoint
from platemark.cosignature import cosignatures
from platemark.errors import NoteError
from platemark.keys import Ed25519Verifier, load_public
from platemark.note import NoteVerifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.checkpoint import Checkpoint
    from platemark.cosignature import CosignatureSigner
    from platemark.note import NoteSigner

__all__ = ["note_verifier", "sign_checkpoint", "with_cosigner"]


@functools.cache
def note_verifier(origin: str, spki: bytes) -> NoteVerifier | None:
    """The note key of a log key of a policy; None for an algorithm that signs no note of type 0x01."""
    key = load_public(spki)
    return NoteVerifier(origin, key) if isinstance(key, Ed25519Verifier) else None


def sign_checkpoint(signers: Sequence[NoteSigner], unsigned: Checkpoint) -> bytes:
    """The signed note, checked as its readers will check it. Raises what a signer raises, NoteError, SignatureError."""
    note = checkpoint.sign(unsigned, signers)
    found = [note_verifier(signer.name, signer.signer.spki) for signer in signers]
    verifiers = [each for each in found if each is not None]
    said = checkpoint.open_checkpoint(note, verifiers, origin=unsigned.origin)
    if said != unsigned:
        raise NoteError("checkpoint", "the signed note says something else")
    return note


def with_cosigner(note: bytes, cosigner: CosignatureSigner | None, *, time_s: int) -> bytes:
    """The log note: a checkpoint's note with the log's own line of type 06 behind its others, checked as readers will.

    Unchanged without such a key. Raises what a signer raises, NoteError, SignatureError.
    """
    if cosigner is None:
        return note
    signed = checkpoint.parse(note)
    whole = note + cosigner.sign(signed.checkpoint, time_s=time_s).encode()
    if not cosignatures(checkpoint.parse(whole), [cosigner.verifier]):
        raise NoteError("checkpoint", "the log's post-quantum signature is not in the signed note")
    return whole
