"""C2SP signed notes (c2sp.org/signed-note, v1.0.0): text, an empty line, signature lines.

A line is U+2014, a space, the key name, a space, base64 of a 4-byte key id and the signature. Unknown (name, key id)
pairs are ignored; a known pair whose signature fails makes the whole note fail. Rules N1 to N9 of proto/log.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from platemark.errors import KeyFormatError, NoteError, SignatureError
from platemark.keys import ED25519_PREFIX, EDDSA, Ed25519Verifier, load_public

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from platemark.keys import Signer

__all__ = [
    "ED25519",
    "MAX_NOTE",
    "Note",
    "NoteSigner",
    "NoteVerifier",
    "check_name",
    "decode_base64",
    "parse",
    "parse_vkey",
    "sign",
    "signature_line",
    "split_vkey",
]

ED25519 = 0x01
MAX_NOTE = 256 * 1024
_MAX_SIGNATURES = 100
_SIGNATURE_LINE = re.compile("\u2014 ([^ ]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class NoteVerifier:
    """An Ed25519 note key (signature type 0x01) under a name."""

    name: str
    key: Ed25519Verifier

    def __post_init__(self) -> None:
        check_name(self.name, "key name")

    @cached_property
    def key_id(self) -> bytes:
        """SHA-256(name, 0x0A, type, public key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.key.raw).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key in the text form `name+hex+base64`."""
        encoded = base64.b64encode(bytes([ED25519]) + self.key.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> None:
        """Raises SignatureError."""
        self.key.verify(text.encode(), signature)


@dataclass(frozen=True)
class NoteSigner:
    """An Ed25519 Signer under a note key name; raises KeyFormatError for another algorithm."""

    name: str
    signer: Signer

    @cached_property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        key = load_public(self.signer.spki)
        if not isinstance(key, Ed25519Verifier):
            raise KeyFormatError("log key", "a note of type 0x01 is signed with Ed25519")
        return NoteVerifier(self.name, key)

    def sign(self, text: str) -> str:
        """The signature line over `text`, with its line feed."""
        if self.signer.alg != EDDSA:
            raise KeyFormatError("log key", "a note of type 0x01 is signed with Ed25519")
        return signature_line(self.name, self.verifier.key_id + self.signer.sign(text.encode()))


@dataclass(frozen=True)
class Note:
    """A parsed note: `text` ends in a line feed; `signatures` are (name, key id, signature) in order of appearance."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def verify(self, verifiers: Iterable[NoteVerifier]) -> tuple[NoteVerifier, ...]:
        """The verifiers whose signature the note carries, never none.

        Raises SignatureError when a signature of one of them fails or when none of them signed.
        """
        good: list[NoteVerifier] = []
        for verifier in verifiers:
            blobs = [
                blob for name, key_id, blob in self.signatures if (name, key_id) == (verifier.name, verifier.key_id)
            ]
            for blob in blobs:
                verifier.verify(self.text, blob)
            if blobs:
                good.append(verifier)
        if not good:
            raise SignatureError("the note carries no signature of a trusted key")
        return tuple(good)


def sign(text: str, signers: Sequence[NoteSigner]) -> str:
    """The note of `text`, which ends in a line feed, a line per signer. Raises NoteError, ValueError for no signer."""
    if not signers:
        message = "a note needs a signer"
        raise ValueError(message)
    _check_text(text)
    return text + "\n" + "".join(signer.sign(text) for signer in signers)


def signature_line(name: str, blob: bytes) -> str:
    """The line of a signature, with its line feed; `blob` is the key id and what the key's type makes of a signature."""
    return f"\u2014 {name} {base64.b64encode(blob).decode()}\n"


def parse(data: bytes) -> Note:
    """The note in `data`. Raises NoteError: size, encoding, control characters, no signature, a malformed line."""
    if len(data) > MAX_NOTE:
        raise NoteError("note", f"{len(data)} bytes, more than {MAX_NOTE}")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise NoteError("note", "not UTF-8") from None
    divider = whole.rfind("\n\n")
    if divider < 0:
        raise NoteError("note", "no empty line before the signatures")
    text, block = whole[: divider + 1], whole[divider + 2 :]
    _check_text(text)
    if not block.endswith("\n"):
        raise NoteError("note", "the last signature line has no line feed")
    lines = block[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteError("note", f"more than {_MAX_SIGNATURES} signatures")
    return Note(text, tuple(_signature(line, index) for index, line in enumerate(lines)))


def parse_vkey(vkey: str) -> NoteVerifier:
    """The Ed25519 verifier of `name+hex+base64`. Raises NoteError, KeyFormatError."""
    name, key_id, data = split_vkey(vkey)
    if len(data) != 33 or data[0] != ED25519:
        raise NoteError("vkey", "not an Ed25519 note key (type 0x01)")
    key = load_public(ED25519_PREFIX + data[1:], field="vkey")
    verifier = NoteVerifier(name, cast("Ed25519Verifier", key))
    if verifier.key_id.hex() != key_id:
        raise NoteError("vkey", "the key id does not belong to this name and key")
    return verifier


def split_vkey(vkey: str) -> tuple[str, str, bytes]:
    """Name, key id in hex, and type with public key of `name+hex+base64`; the key id is not compared. Raises NoteError."""
    name, plus, rest = vkey.partition("+")
    key_id, second, encoded = rest.partition("+")
    if not plus or not second or re.fullmatch("[0-9a-f]{8}", key_id) is None:
        raise NoteError("vkey", "not of the form name+hex+base64")
    return name, key_id, decode_base64(encoded, "vkey")


def decode_base64(text: str, field: str) -> bytes:
    """Standard base64 with padding, in its one form. Raises NoteError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(field, "not base64") from None
    if base64.b64encode(data).decode() != text:
        raise NoteError(field, "base64 that is not in its one form")
    return data


def _signature(line: str, index: int) -> tuple[str, bytes, bytes]:
    field = f"signature {index}"
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise NoteError(field, "not a signature line")
    name, encoded = match.groups()
    check_name(name, field)
    data = decode_base64(encoded, field)
    if len(data) < 5:
        raise NoteError(field, "shorter than a key id and a signature")
    return name, data[:4], data[4:]


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("note", "the text does not end in a line feed")
    if any(character < " " and character != "\n" for character in text):
        raise NoteError("note", "a control character")


def check_name(name: str, field: str) -> None:
    """Rule N4 of proto/log.md. Raises NoteError."""
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteError(field, "a key name is not empty and has no space and no plus")
