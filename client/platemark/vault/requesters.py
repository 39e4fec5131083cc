"""Lists of public keys that the holder keeps: who may ask, and whose captures are known. PEM, one block after another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from platemark import files
from platemark.errors import KeyFileError, KeyFormatError
from platemark.keys import load_public

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from platemark.keys import Verifier

__all__ = ["Listed", "read_keys"]

_MAX = 1024 * 1024
_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----\s[A-Za-z0-9+/=\s]*-----END PUBLIC KEY-----")


class Listed:
    """The keys of a list by kid, each with the holder's own name for it: the last line of text before its block."""

    def __init__(self, entries: Mapping[bytes, tuple[str, Verifier]]) -> None:
        self._entries = dict(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, kid: object) -> bool:
        return kid in self._entries

    def name(self, kid: bytes) -> str | None:
        """The holder's name for this key; None for a key that is not listed, empty if it has none."""
        entry = self._entries.get(kid)
        return None if entry is None else entry[0]

    def verifier(self, kid: bytes) -> Verifier | None:
        """The key itself; None for one that is not listed."""
        entry = self._entries.get(kid)
        return None if entry is None else entry[1]


def read_keys(path: Path) -> Listed:
    """The keys in a file of one or more PEM blocks. Raises KeyFileError: unreadable, empty, or with anything odd in it."""
    try:
        text = files.read(path, limit=_MAX).decode("utf-8", "strict")
    except files.FileError as error:
        raise KeyFileError(error.reason) from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: not text") from None
    entries: dict[bytes, tuple[str, Verifier]] = {}
    at = 0
    for block in _BLOCK.finditer(text):
        verifier = _load(path, block[0], len(entries) + 1)
        entries[verifier.kid] = (_label(text[at : block.start()]), verifier)
        at = block.end()
    # A block that is not read must not look as if it were.
    if not entries or text.count("-----BEGIN ") != len(_BLOCK.findall(text)):
        raise KeyFileError(f"{path}: not a list of public keys in PEM, or with something else in it")
    return Listed(entries)


def _load(path: Path, pem: str, number: int) -> Verifier:
    try:
        key = serialization.load_pem_public_key(pem.encode())
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return load_public(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: key {number}: not a public key in PEM") from None
    except KeyFormatError as error:
        raise KeyFileError(f"{path}: key {number}: {error.reason}") from None


def _label(text: str) -> str:
    lines = [line.strip().lstrip("#").strip() for line in text.splitlines()]
    return next((line[:255] for line in reversed(lines) if line), "")
