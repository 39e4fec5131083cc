"""Opening a vault from the command line: the options and the passphrase of its key, for every command that reads one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark.cli.passphrases import given_passphrase, is_encrypted, warn_of_readers
from platemark.errors import KeyFileError

if TYPE_CHECKING:
    from platemark.vault import OpenVault
    from platemark.vault.keys import RecipientKey

__all__ = ["Instance", "Study", "VaultDirectory", "VaultKey", "VaultPassphraseFile", "open_vault", "open_vault_key"]

_VARIABLE = "PLATEMARK_VAULT_PASSPHRASE"

VaultDirectory: TypeAlias = Annotated[Path, typer.Option("--vault", metavar="DIR", help="The vault's directory.")]
VaultKey: TypeAlias = Annotated[
    Path, typer.Option("--vault-key", metavar="FILE", help="The vault's private key, which is kept elsewhere.")
]
VaultPassphraseFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--vault-passphrase-file",
        metavar="FILE",
        help=f"Its passphrase is the first line of FILE. Else {_VARIABLE}; else asked on a terminal.",
    ),
]

Study: TypeAlias = Annotated[str | None, typer.Option(metavar="UID", help="All captures of this Study Instance UID.")]
Instance: TypeAlias = Annotated[
    str | None, typer.Option("--sop-instance", metavar="UID", help="The captures of this SOP Instance UID.")
]


def open_vault(directory: Path, key: Path, passphrase_file: Path | None) -> OpenVault:
    """The vault in `directory` with its private key; close it. Raises VaultError, KeyFileError."""
    from platemark.vault import OpenVault

    return OpenVault(directory, open_vault_key(key, passphrase_file))


def open_vault_key(path: Path, passphrase_file: Path | None) -> RecipientKey:
    """The private key in `path`; asks for its passphrase when it needs one and a terminal is there."""
    from platemark.vault import keys

    passphrase = given_passphrase(passphrase_file, variable=_VARIABLE)
    if passphrase is None and is_encrypted(path):
        if sys.stdin is None or not sys.stdin.isatty():
            raise KeyFileError(
                f"{path}: the key is encrypted and no passphrase was given (--vault-passphrase-file FILE or {_VARIABLE})"
            )
        answer: str = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        passphrase = answer.encode()
    opened = keys.read_private(path, passphrase)
    warn_of_readers(path)
    return opened
