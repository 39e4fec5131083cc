"""`platemark keygen`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from platemark import files, key_files, keys
from platemark.cli import output, passphrases
from platemark.cli.options import AsJson, PassphraseFile
from platemark.errors import KeyFileError
from platemark.pkcs11_uri import parse_uri

__all__ = ["Algorithm", "keygen"]


class Algorithm(enum.StrEnum):
    """The keys that statements may be signed with."""

    P256 = "p256"
    ED25519 = "ed25519"
    MLDSA44 = "mldsa44"


_NAMES = {keys.ES256: "p256", keys.EDDSA: "ed25519", keys.ML_DSA_44: "mldsa44"}


def keygen(
    out: Annotated[Path, typer.Argument(metavar="OUT.pem", help="The private key; OUT.pub gets the public one.")],
    *,
    algorithm: Annotated[Algorithm, typer.Option(help="P-256 is what devices and tokens take.")] = Algorithm.P256,
    passphrase_file: PassphraseFile = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for a passphrase on the terminal.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Make the key in a PKCS#11 token (RFC 7512); OUT gets the URI and serves as the key's file.",
        ),
    ] = None,
    existing: Annotated[
        bool, typer.Option("--existing", help="With --token: the key is in the token already; make none.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key pair: PKCS#8 PEM, mode 0600, encrypted when a passphrase is given, never overwritten.

    With --token the private half is made in the token and never leaves it; the passphrase is the token's PIN. OUT can
    be given wherever a command takes a key's file.

    Example:
      platemark keygen dx1.pem
      platemark keygen camera.pem --algorithm ed25519 --passphrase-file secret.txt
      platemark keygen shift.p11 --token 'pkcs11:token=badge;object=shift?module-path=/usr/lib/softhsm/libsofthsm2.so'
    """
    public = out.with_suffix(".pub")
    if public == out:
        raise typer.BadParameter("the private key's name ends in .pem, the public one's in .pub", param_hint="OUT.pem")
    if public.exists():
        raise KeyFileError(f"{public}: exists already and a key is never overwritten")
    if existing and token is None:
        raise typer.BadParameter("--existing goes with --token URI")
    if token is not None:
        key: keys.Signer = _in_token(
            token, out, algorithm, passphrases.given_passphrase(passphrase_file), existing=existing
        )
        kept = "in the token"
    else:
        passphrase = passphrases.new_passphrase(passphrase_file, ask=ask_passphrase)
        made = keys.generate(algorithm.value)
        key_files.write_private(out, made, passphrase)
        key, kept = made, "encrypted" if passphrase else "NOT encrypted"
    key_files.write_public(public, key)
    if as_json:
        output.say_json(
            {
                "algorithm": _NAMES[key.alg],
                "kid": key.kid,
                "private": str(out),
                "public": str(public),
                "encrypted": kept == "encrypted",
                "token": token is not None,
            }
        )
        return
    output.say(f"key id   {key.kid.hex()}")
    output.say(f"private  {output.printable(out)} ({kept}, keep it)")
    output.say(f"public   {output.printable(public)}")


def _in_token(token: str, out: Path, algorithm: Algorithm, pin: bytes | None, *, existing: bool) -> keys.Signer:
    """The key in the token; `out` stands for it from now on. Raises KeyFileError."""
    from platemark import pkcs11_keys

    uri = parse_uri(token, where="--token")
    if out.exists():
        raise KeyFileError(f"{out}: exists already and a key is never overwritten")
    ask = passphrases.pin_asker(pin)
    key = pkcs11_keys.open_token_key(uri, ask) if existing else pkcs11_keys.create(uri, algorithm.value, ask)
    # Crash before this line: a key in the token without a file; --existing writes the file.
    files.create(out, f"{uri}\n".encode())
    return key
