"""Opening private keys: where a passphrase may come from. Never from an argument, which every user of a machine sees."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from platemark import files
from platemark.cli import output
from platemark.errors import KeyFileError
from platemark.key_files import MAX_KEY_FILE, read_private
from platemark.keys import Signer
from platemark.pkcs11_uri import is_uri, parse_uri

__all__ = [
    "given_passphrase",
    "is_encrypted",
    "new_passphrase",
    "open_key",
    "pin_asker",
    "token_uri",
    "warn_of_readers",
]

_MAX = 4096


def given_passphrase(file: Path | None, *, variable: str = "PLATEMARK_PASSPHRASE") -> bytes | None:
    """The first line of `file`, else the environment's, else None. Raises FileError, KeyFileError for an empty one."""
    if file is not None:
        line = files.first_line(file, limit=_MAX)
        if not line:
            raise KeyFileError(f"{file}: the first line, which is the passphrase, is empty")
        return line
    text = os.environ.get(variable)
    return os.fsencode(text) if text else None


def new_passphrase(file: Path | None, *, ask: bool) -> bytes | None:
    """The passphrase of a key to be made; None leaves it unencrypted."""
    given = given_passphrase(file)
    if given is None and ask:
        if sys.stdin is None or not sys.stdin.isatty():
            raise KeyFileError("--ask-passphrase needs a terminal; use --passphrase-file FILE or PLATEMARK_PASSPHRASE")
        answer: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
        return answer.encode()
    return given


def open_key(path: Path, passphrase_file: Path | None, *, variable: str = "PLATEMARK_PASSPHRASE") -> Signer:
    """The private key in `path`, or in the token that the PKCS#11 URI in `path` names.

    Asks for its passphrase or PIN when it needs one and a terminal is there. Raises KeyFileError.
    """
    passphrase = given_passphrase(passphrase_file, variable=variable)
    uri = token_uri(path)
    if uri is not None:
        # The module is heavy and an extra: only who has a token loads it.
        from platemark.pkcs11_keys import open_token_key

        return open_token_key(parse_uri(uri, where=str(path)), pin_asker(passphrase))
    if passphrase is None and sys.stdin is not None and sys.stdin.isatty() and is_encrypted(path):
        answer: str = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        passphrase = answer.encode()
    opened = read_private(path, passphrase)
    warn_of_readers(path)
    return opened


def pin_asker(given: bytes | None) -> Callable[[str], str | None]:
    """What answers when a token asks for its PIN: the passphrase that was given, else a person at the terminal."""

    def ask(key: str) -> str | None:
        if given is not None:
            return os.fsdecode(given)
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        return str(typer.prompt(f"PIN of {key}", hide_input=True, err=True))

    return ask


def token_uri(path: Path) -> str | None:
    """The PKCS#11 URI in a file that stands for a key in a token, None for every other file."""
    try:
        data = files.read(path, limit=MAX_KEY_FILE)
    except files.FileError:
        return None  # read_private says what is wrong
    return data.decode("utf-8", "replace") if is_uri(data) else None


def warn_of_readers(path: Path) -> None:
    """Say so when others on this machine can read a private key; it is used all the same."""
    if os.name == "nt":
        return
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        output.note(f"platemark: {path}: mode {mode:04o}, so others on this machine can read this key; chmod 600 it")


def is_encrypted(path: Path) -> bool:
    """Whether a key file needs a passphrase, as far as its text says."""
    try:
        return b"ENCRYPTED" in files.read(path, limit=MAX_KEY_FILE)
    except files.FileError:
        return False  # read_private says what is wrong
