"""`platemark keygen`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from platemark import key_files, keys
from platemark.cli import output, passphrases
from platemark.cli.options import AsJson, PassphraseFile
from platemark.errors import KeyFileError

__all__ = ["Algorithm", "keygen"]


class Algorithm(enum.StrEnum):
    """The keys that statements may be signed with."""

    P256 = "p256"
    ED25519 = "ed25519"
    MLDSA44 = "mldsa44"


def keygen(
    out: Annotated[Path, typer.Argument(metavar="OUT.pem", help="The private key; OUT.pub gets the public one.")],
    *,
    algorithm: Annotated[Algorithm, typer.Option(help="P-256 is what devices and tokens take.")] = Algorithm.P256,
    passphrase_file: PassphraseFile = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for a passphrase on the terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key pair: PKCS#8 PEM, mode 0600, encrypted when a passphrase is given, never overwritten.

    Example:
      platemark keygen dx1.pem
      platemark keygen camera.pem --algorithm ed25519 --passphrase-file secret.txt
    """
    public = out.with_suffix(".pub")
    if public == out:
        raise typer.BadParameter("the private key's name ends in .pem, the public one's in .pub", param_hint="OUT.pem")
    if public.exists():
        raise KeyFileError(f"{public}: exists already and a key is never overwritten")
    passphrase = passphrases.new_passphrase(passphrase_file, ask=ask_passphrase)
    key = keys.generate(algorithm.value)
    key_files.write_private(out, key, passphrase)
    key_files.write_public(public, key)
    if as_json:
        output.say_json(
            {
                "algorithm": algorithm.value,
                "kid": key.kid,
                "private": str(out),
                "public": str(public),
                "encrypted": passphrase is not None,
            }
        )
        return
    output.say(f"key id   {key.kid.hex()}")
    output.say(f"private  {output.printable(out)} ({'encrypted' if passphrase else 'NOT encrypted'}, keep it)")
    output.say(f"public   {output.printable(public)}")
