"""C2SP cosignatures (c2sp.org/tlog-cosignature, v1.1.0): what a witness, or a log's ML-DSA-44 key, says of a checkpoint and when.

A cosignature is a signature line of a note whose blob behind the key id is u64 BE POSIX seconds and the signature. Type 0x04 is
Ed25519 over the note's text, type 0x06 ML-DSA-44 over a message of its own that names the cosigner too. Rules C1 to C6 of
proto/log.md.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from platemark import note
from platemark.errors import KeyFormatError, NoteError, SignatureError
from platemark.keys import ED25519_PREFIX, ML_DSA_44_PREFIX, Ed25519Verifier, MlDsa44Verifier, load_public
from platemark.note import NoteVerifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platemark.checkpoint import Checkpoint, SignedCheckpoint
    from platemark.keys import Signer

__all__ = [
    "ED25519_COSIGNATURE",
    "ML_DSA_44",
    "Cosignature",
    "CosignatureSigner",
    "CosignatureVerifier",
    "cosignatures",
    "parse_vkey",
]

ED25519_COSIGNATURE, ML_DSA_44 = 0x04, 0x06
_PREFIXES = {ED25519_COSIGNATURE: ED25519_PREFIX, ML_DSA_44: ML_DSA_44_PREFIX}
_SIZES = {ED25519_COSIGNATURE: 32, ML_DSA_44: 1312}
_LABEL = b"subtree/v1\n\0"
_TIME = struct.Struct(">Q")
_SPAN = struct.Struct(">QQ")
_MAX_NAME = 255
_MAX_TIME = (1 << 63) - 1


@dataclass(frozen=True)
class CosignatureVerifier:
    """A cosigner's public key under its name, which is at most 255 bytes; the kind of key fixes the type."""

    name: str
    key: Ed25519Verifier | MlDsa44Verifier

    def __post_init__(self) -> None:
        note.check_name(self.name, "key name")
        if len(self.name.encode()) > _MAX_NAME:
            raise NoteError("key name", f"more than {_MAX_NAME} bytes")

    @property
    def type(self) -> int:
        """The signature type."""
        return ED25519_COSIGNATURE if isinstance(self.key, Ed25519Verifier) else ML_DSA_44

    @cached_property
    def key_id(self) -> bytes:
        """SHA-256(name, 0x0A, type, public key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.key.raw).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key in the text form `name+hex+base64`."""
        encoded = base64.b64encode(bytes([self.type]) + self.key.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, checkpoint: Checkpoint, signature: bytes) -> int:
        """The time of the cosignature in POSIX seconds, at least 1; `signature` is the blob behind the key id.

        Raises SignatureError. Time 0 is for what claims no freshness, such as a subtree, and no checkpoint is that.
        """
        if len(signature) <= _TIME.size:
            raise SignatureError("a cosignature is a time and a signature")
        (time_s,) = _TIME.unpack_from(signature)
        if not 1 <= time_s <= _MAX_TIME:
            raise SignatureError(f"the time of a checkpoint's cosignature is 1 to 2^63 - 1 seconds, not {time_s}")
        self.key.verify(_message(self, checkpoint, time_s), signature[_TIME.size :])
        return int(time_s)


@dataclass(frozen=True)
class CosignatureSigner:
    """A Signer under a cosigner's name: Ed25519 makes type 0x04, ML-DSA-44 type 0x06; KeyFormatError for another algorithm."""

    name: str
    signer: Signer

    @cached_property
    def verifier(self) -> CosignatureVerifier:
        """The public half."""
        key = load_public(self.signer.spki)
        if not isinstance(key, Ed25519Verifier | MlDsa44Verifier):
            raise KeyFormatError("cosigner key", "a cosignature is made with Ed25519 or ML-DSA-44")
        return CosignatureVerifier(self.name, key)

    def sign(self, checkpoint: Checkpoint, *, time_s: int) -> str:
        """The signature line over a checkpoint, with its line feed."""
        signature = self.signer.sign(_message(self.verifier, checkpoint, time_s))
        blob = self.verifier.key_id + _TIME.pack(time_s) + signature
        return note.signature_line(self.name, blob)


@dataclass(frozen=True)
class Cosignature:
    """A cosignature that has been verified, and when its cosigner says it made it."""

    verifier: CosignatureVerifier
    time_s: int


def cosignatures(signed: SignedCheckpoint, verifiers: Iterable[CosignatureVerifier]) -> tuple[Cosignature, ...]:
    """The cosignatures of known cosigners, in the order of `verifiers`; a key counts once. May be none.

    Raises SignatureError when a line with a known name and key id does not verify (rule N7).
    """
    found: dict[tuple[str, bytes], Cosignature] = {}
    for verifier in verifiers:
        for name, key_id, blob in signed.signed.signatures:
            if (name, key_id) == (verifier.name, verifier.key_id):
                time_s = verifier.verify(signed.checkpoint, blob)
                found.setdefault((name, key_id), Cosignature(verifier, time_s))
    return tuple(found.values())


def parse_vkey(text: str) -> NoteVerifier | CosignatureVerifier:
    """The verifier of `name+hex+base64`, by its type 01, 04 or 06. Raises NoteError, KeyFormatError."""
    name, key_id, data = note.split_vkey(text)
    if data[:1] == bytes([note.ED25519]):
        return note.parse_vkey(text)
    kind = data[0] if data else 0
    if kind not in _PREFIXES or len(data) != 1 + _SIZES[kind]:
        raise NoteError("vkey", "neither an Ed25519 key of type 01 or 04 nor an ML-DSA-44 key of type 06")
    key = load_public(_PREFIXES[kind] + data[1:], field="vkey")
    assert isinstance(key, Ed25519Verifier | MlDsa44Verifier)
    verifier = CosignatureVerifier(name, key)
    if verifier.key_id.hex() != key_id:
        raise NoteError("vkey", "the key id does not belong to this name and key")
    return verifier


def _message(verifier: CosignatureVerifier, checkpoint: Checkpoint, time_s: int) -> bytes:
    if verifier.type == ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{checkpoint.text}".encode()
    name, origin = verifier.name.encode(), checkpoint.origin.encode()
    parts = (
        _LABEL,
        bytes([len(name)]) + name,
        _TIME.pack(time_s),
        bytes([len(origin)]) + origin,
        _SPAN.pack(0, checkpoint.size),
        checkpoint.root,
    )
    return b"".join(parts)
