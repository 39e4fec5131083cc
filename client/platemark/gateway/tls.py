"""TLS of the gateway: its own side towards modalities, its side as a client, and whom a certificate names."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from platemark.attributes import commit
from platemark.errors import AttributeTreeError
from platemark.gateway._setting import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from platemark.gateway.peers import Tls
    from platemark.gateway.settings import Receive

__all__ = ["client_context", "identity", "server_context"]

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*")
_MAX_NAME = 2048


def server_context(receive: Receive) -> ssl.SSLContext | None:
    """TLS 1.2 or newer that asks for a client certificate (BCP 195, PS3.15 B.12); None: plain text. Raises ConfigError."""
    if receive.tls_certificate is None or receive.tls_key is None or receive.tls_client_ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    _chain(context, "receive", receive.tls_certificate, receive.tls_key)
    _authority(context, "receive.tls_client_ca", receive.tls_client_ca)
    return context


def client_context(where: str, tls: Tls) -> ssl.SSLContext | None:
    """TLS towards a peer whose name is checked; None without tls_ca. `where` names the table. Raises ConfigError."""
    if tls.tls_ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _authority(context, f"{where}.tls_ca", tls.tls_ca)
    if tls.tls_certificate is not None and tls.tls_key is not None:
        _chain(context, where, tls.tls_certificate, tls.tls_key)
    return context


def identity(certificate: bytes) -> str | None:
    """Whom a certificate (DER, verified by TLS) names: its SPIFFE id, else `CN=` and the common name, else None.

    A certificate with any URI that begins with `spiffe:` names that id or nobody, never its common name; and because of
    `CN=` no common name can pass for an id.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        uris = _uris(parsed)
        names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm):
        return None
    if any(uri.lower().startswith("spiffe:") for uri in uris):
        return uris[0] if len(uris) == 1 and len(uris[0]) <= _MAX_NAME and _SPIFFE.fullmatch(uris[0]) else None
    text = names[0].value if len(names) == 1 else ""
    if not isinstance(text, str) or not text.isprintable() or not 1 <= len(text) <= _MAX_NAME:
        return None
    return f"CN={text}" if _fits(f"CN={text}") else None


def _fits(name: str) -> bool:
    """Whether a statement can carry it: in Unicode NFC, not too long in UTF-8."""
    try:
        commit({"sender_identity": name})
    except AttributeTreeError:
        return False
    return True


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _chain(context: ssl.SSLContext, where: str, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{where}.tls_certificate", f"{certificate} with {key}: {_said(error)}") from None


def _authority(context: ssl.SSLContext, where: str, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise ConfigError(where, f"{path}: {_said(error)}") from None


def _no_passphrase() -> str:
    """OpenSSL would ask on the terminal."""
    return ""


def _said(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM, or the key is encrypted or another one's"
    return error.strerror or str(error)
