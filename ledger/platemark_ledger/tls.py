"""The ledger's side of TLS: its certificate and the authorities of its callers, replaced without a restart.

gRPC asks at every handshake. Connections that are open go on as they were until `connection_age`; what must not wait that
long, a revoked certificate, is asked at every call (access_gate.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from platemark_ledger.settings import ConfigError
from platemark_ledger.watched import Watched

if TYPE_CHECKING:
    from pathlib import Path

    from platemark_ledger.settings import Settings

__all__ = ["credentials"]


def credentials(settings: Settings) -> grpc.ServerCredentials:
    """For settings with TLS. Raises ConfigError naming the file that cannot be used."""
    certificate, key, authority = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    assert certificate is not None
    assert key is not None
    paths = [certificate, key] + ([] if authority is None else [authority])
    watched = Watched("tls_certificate", paths, lambda contents: _configuration(contents, paths))
    first, used = watched.current()

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """What a new handshake uses; None: as before. Called by threads of gRPC."""
        nonlocal used
        configuration, version = watched.current()
        if version == used:
            return None
        used = version
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        first,
        newest,  # type: ignore[arg-type] # the stubs forget None, which gRPC documents
        require_client_authentication=authority is not None,
    )


def _configuration(contents: Sequence[bytes], paths: Sequence[Path]) -> grpc.ServerCertificateConfiguration:
    """GRPC says of any fault that it cannot bind; here the file is named before."""
    chain, key, *authorities = contents
    own = _certificates("tls_certificate", paths[0], chain)[0]
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise ConfigError("tls_key", f"{paths[1]}: encrypted; it has to be unencrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("tls_key", f"{paths[1]}: not usable PEM") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigError("tls_certificate", f"{paths[0]} is not for tls_key {paths[1]}")
    if authorities:
        _certificates("tls_client_ca", paths[2], authorities[0])
    return grpc.ssl_server_certificate_configuration([(key, chain)], authorities[0] if authorities else None)


def _certificates(setting: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError(setting, f"{path}: not usable PEM") from None
