"""How a client reaches a ledger: address, TLS and message sizes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from platemark.errors import RpcError

if TYPE_CHECKING:
    pass

__all__ = ["MAX_MESSAGE", "Tls", "open_channel"]

# A reply to 1024 statements of the greatest size carries them all and their paths.
MAX_MESSAGE = 128 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Files in PEM. `ca` None: the system's authorities. `certificate` and `key`: who the client says it is (both or none).

    `server_name`: the name in the ledger's certificate when it is not the one in the address.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            msg = "certificate and key go together"
            raise ValueError(msg)


def open_channel(target: str, tls: Tls | None) -> grpc.aio.Channel:
    """A channel to `target` (HOST:PORT or unix:PATH). Nothing is sent yet; must run inside an event loop.

    Raises RpcError: a target of another form, a TLS file that cannot be read, plain text to a host that is not loopback.
    """
    _check_target(target)
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.max_send_message_length", MAX_MESSAGE),
        # Repeating is decided in one place, platemark.rpc.client.
        ("grpc.enable_retries", 0),
        # A client that lives through a ledger's restart finds it again within seconds, not after two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # A peer that is gone without a word (a pulled cable) is noticed during a long listing, too.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if tls is None:
        if not _is_local(target):
            raise RpcError(
                f"{target}: plain text is for loopback only; give the ledger's TLS certificate authority "
                "(--tls-ca FILE, or --tls-ca system)"
            )
        return grpc.aio.insecure_channel(target, options=options)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return grpc.aio.secure_channel(target, _credentials(tls), options=options)


def _check_target(target: str) -> None:
    """GRPC itself takes a port of 99999 for another one, and looks up anything else as a name."""
    if target.startswith("unix:"):
        return
    if "://" in target:
        raise RpcError(f"{target}: give HOST:PORT, without {target.partition('://')[0]}://")
    host, _, port = target.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise RpcError(f"{target}: not HOST:PORT")


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca), private_key=_read(tls.key), certificate_chain=_read(tls.certificate)
    )


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise RpcError(f"{path}: {error.strerror or error}") from error


def _is_local(target: str) -> bool:
    if target.startswith("unix:"):
        return True
    host = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
