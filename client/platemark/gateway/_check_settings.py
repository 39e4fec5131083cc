"""What settings of a gateway have to be, each by itself and together."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import TYPE_CHECKING, Any

from platemark.gateway._setting import ConfigError, is_loopback, parse_address, parse_networks
from platemark.signing import CLOCK_SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platemark.gateway.settings import Gateway, Metrics, Receive

__all__ = ["check", "check_metrics", "check_receive", "check_tables"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def check(gateway: Gateway) -> None:
    """Raises ConfigError naming table and field."""
    check_tables(gateway)
    _check_mode(gateway)
    check_receive(gateway.receive)
    if gateway.sign.clock_source not in CLOCK_SOURCES:
        raise ConfigError("sign.clock_source", f"{gateway.sign.clock_source!r} is none of {', '.join(CLOCK_SOURCES)}")
    for number, pacs in enumerate(gateway.pacs):
        if _NAME.fullmatch(pacs.name) is None:
            raise ConfigError(f"pacs[{number}].name", f"{pacs.name!r}: 1 to 64 of A-Z a-z 0-9 . _ -")
        if pacs.pass_calling and pacs.calling is not None:
            raise ConfigError(f"pacs[{number}].pass_calling", "it is of no use together with calling")
    _check_distinct("pacs", [each.name for each in gateway.pacs], "name")
    _check_distinct("modality", [each.ae_title for each in gateway.modality], "ae_title")
    check_metrics(gateway.metrics)


def check_tables(settings: Any) -> None:
    """Each setting by itself, in every table. Raises ConfigError."""
    for where, table in _tables(settings):
        _check_table(where, table)


def check_metrics(metrics: Metrics) -> None:
    """They are for this machine alone. Raises ConfigError."""
    if metrics.listen:
        host, _ = parse_address("metrics.listen", metrics.listen)
        if not is_loopback(host):
            raise ConfigError("metrics.listen", f"{host} is not loopback, and this is plain text for anyone")


def _check_mode(gateway: Gateway) -> None:
    if gateway.mode not in {"inline", "copy"}:
        raise ConfigError("mode", f"{gateway.mode!r} is neither inline nor copy")
    if gateway.mode == "inline" and not gateway.pacs:
        raise ConfigError("pacs", "mode inline needs a [[pacs]] to pass objects on to; copy needs none")
    if gateway.mode == "copy" and gateway.pacs:
        raise ConfigError("pacs", 'mode copy passes nothing on; remove [[pacs]], or say mode = "inline"')


def _tables(settings: Any) -> Iterator[tuple[str, Any]]:
    yield "", settings
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if dataclasses.is_dataclass(value):
            yield f"{each.name}.", value
        elif isinstance(value, tuple):
            yield from ((f"{each.name}[{number}].", item) for number, item in enumerate(value))


def _check_table(where: str, table: Any) -> None:
    """Ranges, AE titles, addresses, and certificates with their keys."""
    for each in dataclasses.fields(table):
        value, about = getattr(table, each.name), each.metadata
        if value is None or not about:
            continue
        if about["least"] is not None and not about["least"] <= value <= about["most"]:
            bounds = f"{about['least']:g} to {about['most']:g} {about['unit']}"
            raise ConfigError(where + each.name, f"{value} is not within {bounds}")
        if about["unit"].startswith("AE title"):
            for title in [value] if isinstance(value, str) else value:
                _check_title(where + each.name, title)
        if about["unit"] in {"host:port", "address:port"} and value:
            parse_address(where + each.name, value)
    certificate, key = getattr(table, "tls_certificate", None), getattr(table, "tls_key", None)
    if (certificate is None) != (key is None):
        missing = "tls_key" if key is None else "tls_certificate"
        raise ConfigError(where + missing, "certificate and key go together, and only the other one is set")
    if certificate is not None and where != "receive." and table.tls_ca is None:
        raise ConfigError(f"{where}tls_ca", "missing: without it no TLS is spoken, and the certificate shown to nobody")


def _check_title(where: str, title: str) -> None:
    """PS3.5 6.2, VR AE."""
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ConfigError(where, f"{title!r} is no AE title: 1 to 16 printable ASCII characters, no backslash")
    if title != title.strip():
        raise ConfigError(where, f"{title!r}: spaces at the ends of an AE title mean nothing")


def check_receive(receive: Receive) -> None:
    """Addresses, networks, UIDs, and what TLS needs. Raises ConfigError."""
    host, _ = parse_address("receive.listen", receive.listen)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError("receive.listen", f"{host!r} is no IP address; 0.0.0.0 is every interface") from None
    parse_networks("receive.networks", receive.networks)
    if not receive.networks:
        raise ConfigError("receive.networks", "empty, so nobody could send; 0.0.0.0/0 is everybody")
    if receive.tls_certificate is not None and receive.tls_client_ca is None:
        raise ConfigError("receive.tls_client_ca", "missing: TLS here is about knowing who sends, and needs it")
    if receive.tls_client_ca is not None and receive.tls_certificate is None:
        raise ConfigError("receive.tls_client_ca", "it needs tls_certificate and tls_key")
    for name in ("sop_classes", "transfer_syntaxes"):
        for uid in getattr(receive, name):
            if len(uid) > 64 or _UID.fullmatch(uid) is None:
                raise ConfigError(f"receive.{name}", f"{uid!r} is no UID")


def _check_distinct(table: str, names: list[str], what: str) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(f"{table}[{number}].{what}", f"{name!r} is the {what} of another one as well")
