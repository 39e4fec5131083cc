"""One setting of a gateway: its unit, its default, the reason for it; and what several kinds of settings need."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from platemark.errors import FormatError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

__all__ = ["ConfigError", "is_loopback", "parse_address", "parse_networks", "setting"]


class ConfigError(FormatError):
    """A setting that cannot be used; `field` is its name, with its table."""

    code = "config"


def setting(
    *,
    unit: str,
    why: str,
    default: Any = dataclasses.MISSING,  # of the field's type, which mypy checks there
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A field of a table: what it is measured in, why it is there, and its bounds."""
    return dataclasses.field(default=default, metadata={"unit": unit, "why": why, "least": least, "most": most})


def parse_address(where: str, text: str) -> tuple[str, int]:
    """Host (without brackets) and port of `host:port`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise ConfigError(where, f"{text!r} is not host:port")
    return host, int(port)


def parse_networks(where: str, texts: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks. Raises ConfigError."""
    try:
        return tuple(ipaddress.ip_network(each) for each in texts)
    except ValueError as error:
        raise ConfigError(where, f"not a network in CIDR form: {error}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
