"""The key of a robot, in a file or in a PKCS#11 token, and its chain."""

from __future__ import annotations

from pathlib import Path

from platemark import files
from platemark.chain import Chain
from platemark.errors import KeyFileError
from platemark.key_files import MAX_KEY_FILE, read_private
from platemark.keys import Signer
from platemark.pkcs11_uri import is_uri, parse_uri

__all__ = ["open_chain"]


def open_chain(
    key: Path | str, *, device: str | None = None, passphrase: bytes | None = None, pin: str | None = None
) -> Chain:
    """The chain of the key in `key`, or in the token that the PKCS#11 URI in `key` names (extra `pkcs11`), begun as a sensor's.

    `device` is the URI that the key is enrolled for; it is remembered beside the key after the first time. Asks nobody:
    `passphrase` is that of an encrypted file, `pin` that of a token whose URI has no pin-source. Raises KeyFileError, StateError.
    """
    path = Path(key)
    chain = Chain(path, _signer(path, passphrase, pin))
    chain.begin(issuer=device, role="sensor")
    return chain


def _signer(key: Path, passphrase: bytes | None, pin: str | None) -> Signer:
    try:
        content = files.read(key, limit=MAX_KEY_FILE)
    except files.FileError as error:
        raise KeyFileError(error.reason) from None
    if not is_uri(content):
        return read_private(key, passphrase)
    # The module is heavy and an extra: only who has a token loads it.
    from platemark.pkcs11_keys import open_token_key

    return open_token_key(parse_uri(content.decode("utf-8", "replace"), where=str(key)), lambda _: pin)
