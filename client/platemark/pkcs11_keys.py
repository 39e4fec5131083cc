"""Keys in a PKCS#11 token, behind the same Signer protocol as keys in files (extra `pkcs11`).

P-256 and Ed25519, which tokens have; the private half never leaves the token. Sources: PKCS#11 v3.1 sections 6.3 (elliptic
curves) and 6.3.6 (Edwards curves); RFC 7512 for the names.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from platemark import files
from platemark.errors import KeyFileError, KeyFormatError, SignatureError
from platemark.keys import ED25519_PREFIX, EDDSA, ES256, load_public, low_s
from platemark.pkcs11_uri import Pkcs11Uri

if TYPE_CHECKING:
    from platemark.keys import Verifier

__all__ = ["TokenKey", "create", "open_token_key"]

_P256_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_ED25519_NAME = bytes.fromhex("130c656477617264733235353139")  # PrintableString "edwards25519", PKCS#11 6.3.3
_MAX_PIN = 4096


class TokenKey:
    """A key pair in a token: a Signer. Safe to share between threads; signatures are made one at a time.

    When the token was taken out or its session ended, the next signature opens a session again, once.
    """

    def __init__(self, uri: Pkcs11Uri, pin: str) -> None:
        self._uri, self._pin = uri, pin
        self._lock = threading.Lock()
        self._session: Any = None
        self._key: Any = None
        with self._lock, _named(uri):
            try:
                self._open()
                self._public = _public_key(self._session, uri)
            except BaseException:
                self._close()  # an open session would keep the login for whoever comes next in this process
                raise

    def __repr__(self) -> str:
        return f"TokenKey({self._uri}, kid={self.kid.hex()})"

    @property
    def alg(self) -> int:
        """The COSE algorithm."""
        return self._public.alg

    @property
    def spki(self) -> bytes:
        """The SubjectPublicKeyInfo of the public half, DER."""
        return self._public.spki

    @cached_property
    def kid(self) -> bytes:
        """SHA-256 of `spki`, 32 bytes."""
        return self._public.kid

    def sign(self, message: bytes) -> bytes:
        """The COSE signature over `message`, in its one accepted form. Raises KeyFileError where the token refuses."""
        with self._lock, _named(self._uri):
            try:
                signature = self._signed(message)
            except _pkcs11().PKCS11Error:
                self._reopen()
                signature = self._signed(message)
        signature = low_s(signature) if self.alg == ES256 else signature
        try:
            # A token that signs wrongly, or with another key than the public half it shows, is found out here.
            self._public.verify(message, signature)
        except SignatureError as error:
            raise KeyFileError(f"{self._uri}: the token gave a signature that does not verify: {error}") from None
        return signature

    def close(self) -> None:
        """End the session. Another signature opens one again."""
        with self._lock:
            self._close()

    def _signed(self, message: bytes) -> bytes:
        mechanisms = _pkcs11().Mechanism
        if self._session is None:
            self._open()
        if self.alg == ES256:
            # Tokens need not hash: CKM_ECDSA signs a digest, and every token has it.
            return bytes(self._key.sign(hashlib.sha256(message).digest(), mechanism=mechanisms.ECDSA))
        return bytes(self._key.sign(message, mechanism=mechanisms.EDDSA))

    def _open(self) -> None:
        self._session = _session(self._uri, self._pin)
        self._key = _object(self._session, self._uri, _pkcs11().ObjectClass.PRIVATE_KEY)

    def _reopen(self) -> None:
        self._close()
        self._open()

    def _close(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            try:
                session.close()
            except _pkcs11().PKCS11Error:
                return  # it ended with its token


def open_token_key(uri: Pkcs11Uri, ask: Callable[[str], str | None]) -> TokenKey:
    """The key that `uri` names. `ask` is called for the user PIN unless the URI says where it is.

    Raises KeyFileError: no such module, token or key, a wrong PIN, a key of another type, the extra missing.
    """
    return TokenKey(uri, _pin(uri, ask))


def create(uri: Pkcs11Uri, algorithm: str, ask: Callable[[str], str | None]) -> TokenKey:
    """Make a key pair in the token, not extractable, and open it; `algorithm` is p256 or ed25519.

    It is in the token when this returns. Raises KeyFileError: the name is taken, or the token refuses.
    """
    pkcs11 = _pkcs11()
    pin = _pin(uri, ask)
    with _named(uri), _session(uri, pin, rw=True) as session:
        for kind in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY):
            if _matching(session, uri, kind):
                raise KeyFileError(f"{uri}: the token has a key of this name, and a key is never overwritten")
        key_type, parameters, mechanism = _shape(algorithm)
        domain = session.create_domain_parameters(key_type, {pkcs11.Attribute.EC_PARAMS: parameters}, local=True)
        private = {
            pkcs11.Attribute.SENSITIVE: True,
            pkcs11.Attribute.EXTRACTABLE: False,
            pkcs11.Attribute.PRIVATE: True,
            pkcs11.Attribute.SIGN: True,
            pkcs11.Attribute.DERIVE: False,
        }
        public = {pkcs11.Attribute.VERIFY: True}
        domain.generate_keypair(
            mechanism=mechanism,
            store=True,
            label=uri.label,
            id=uri.id,
            capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
            public_template=public,
            private_template=private,
        )
    return TokenKey(uri, pin)


def _shape(algorithm: str) -> tuple[Any, bytes, Any]:
    """Key type, EC_PARAMS and the mechanism that makes a pair."""
    pkcs11 = _pkcs11()
    from pkcs11.util.ec import encode_named_curve_parameters

    if algorithm == "p256":
        return pkcs11.KeyType.EC, encode_named_curve_parameters("secp256r1"), pkcs11.Mechanism.EC_KEY_PAIR_GEN
    if algorithm == "ed25519":
        return pkcs11.KeyType.EC_EDWARDS, _ED25519_NAME, pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN
    raise KeyFileError(f"tokens make p256 and ed25519 keys, not {algorithm}")


def _public_key(session: Any, uri: Pkcs11Uri) -> Verifier:
    """The public half. Raises KeyFileError when it is not P-256 or Ed25519."""
    pkcs11 = _pkcs11()
    key = _object(session, uri, pkcs11.ObjectClass.PUBLIC_KEY)
    point = _octets(bytes(key[pkcs11.Attribute.EC_POINT]))
    if key.key_type == pkcs11.KeyType.EC:
        spki = _P256_SPKI + point
    elif key.key_type == pkcs11.KeyType.EC_EDWARDS:
        spki = ED25519_PREFIX + point
    else:
        raise KeyFileError(f"{uri}: the key is neither P-256 nor Ed25519")
    try:
        public = load_public(spki)
    except KeyFormatError as error:
        raise KeyFileError(f"{uri}: {error.reason}") from None
    assert public.alg in {ES256, EDDSA}
    return public


def _octets(point: bytes) -> bytes:
    """EC_POINT is a DER OCTET STRING around the point; some tokens leave the wrapping out."""
    return point[2:] if len(point) > 2 and point[0] == 4 and point[1] == len(point) - 2 else point


def _token(uri: Pkcs11Uri) -> Any:
    module = _pkcs11().lib(str(uri.module))
    # Tokens may have been put in or taken out since the module was loaded.
    tokens = [each for each in module.get_tokens(token_label=uri.token) if _has_serial(each, uri.serial)]
    if not tokens:
        raise KeyFileError(f"{uri}: no such token is there")
    if len(tokens) > 1:
        raise KeyFileError(f"{uri}: {len(tokens)} tokens have this name; add serial= to choose one")
    return tokens[0]


def _session(uri: Pkcs11Uri, pin: str, *, rw: bool = False) -> Any:
    token = _token(uri)
    try:
        return token.open(rw=rw, user_pin=pin)
    except _pkcs11().UserAlreadyLoggedIn:
        # A login is for all sessions of a process (PKCS#11 5.6.8): another key of this token is open here.
        return token.open(rw=rw)


def _has_serial(token: Any, serial: str | None) -> bool:
    return serial is None or token.serial.rstrip(b" \0") == serial.encode()


def _object(session: Any, uri: Pkcs11Uri, kind: Any) -> Any:
    found = _matching(session, uri, kind)
    if not found:
        half = "private" if kind == _pkcs11().ObjectClass.PRIVATE_KEY else "public"
        raise KeyFileError(f"{uri}: the token has no {half} key of this name")
    if len(found) > 1:
        raise KeyFileError(f"{uri}: {len(found)} keys have this name; add id= to choose one")
    return found[0]


def _matching(session: Any, uri: Pkcs11Uri, kind: Any) -> list[Any]:
    pkcs11 = _pkcs11()
    wanted: dict[Any, Any] = {pkcs11.Attribute.CLASS: kind}
    if uri.label is not None:
        wanted[pkcs11.Attribute.LABEL] = uri.label
    if uri.id is not None:
        wanted[pkcs11.Attribute.ID] = uri.id
    return list(session.get_objects(wanted))


def _pin(uri: Pkcs11Uri, ask: Callable[[str], str | None]) -> str:
    if uri.pin_source is not None:
        line = files.first_line(uri.pin_source, limit=_MAX_PIN)
        pin: str | None = line.decode(errors="surrogateescape")
    else:
        pin = ask(str(uri))
    if not pin:
        raise KeyFileError(
            f"{uri}: the token wants a PIN (--passphrase-file FILE, PLATEMARK_PASSPHRASE, or pin-source)"
        )
    return pin


def _pkcs11() -> Any:
    """The package, which only who has a token needs."""
    try:
        import pkcs11
    except ModuleNotFoundError:
        raise KeyFileError('the key is in a PKCS#11 token: pip install "platemark[pkcs11]"') from None
    return pkcs11


@contextmanager
def _named(uri: Pkcs11Uri) -> Iterator[None]:
    """Whatever the token says, as one error of ours that names the key."""
    pkcs11 = _pkcs11()
    try:
        yield
    except pkcs11.PinIncorrect:
        raise KeyFileError(f"{uri}: the PIN is wrong; tokens lock themselves after a few wrong ones") from None
    except pkcs11.PinLocked:
        raise KeyFileError(f"{uri}: the token has locked itself after too many wrong PINs") from None
    except pkcs11.PKCS11Error as error:
        raise KeyFileError(f"{uri}: the token refused: {type(error).__name__} {error}".rstrip()) from None
    except (OSError, RuntimeError) as error:
        raise KeyFileError(f"{uri.module}: the PKCS#11 library cannot be loaded: {error}") from None
