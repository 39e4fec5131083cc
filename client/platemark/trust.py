"""Whom the verifier's owner believes: a TOML file that the owner brings and the bundle never supplies.

    version = 1
    accept_pixels = false            # optional: let equal pixels alone clear a header

    [[log]]
    id = "<64 hex digits>"           # leaf 0's statement id: the log's identity
    origin = "ledger.example/xray"   # what people call it; has to be leaf 0's
    policy_keys = ["<base64 SPKI>"]  # who may sign the log's policy; has to be leaf 0's
    threshold = 1

Rules U1 to U5 of proto/evidence.md.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.errors import KeyFormatError, TrustError
from platemark.keys import load_public

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_TRUST", "Trust", "TrustedLog", "parse", "to_toml"]

MAX_TRUST = 64 * 1024
"""Bytes of a trust file (rule U4)."""
_MAX_DOTS = 256
_LOG_FIELDS = {"id", "origin", "policy_keys", "threshold"}


@dataclass(frozen=True)
class TrustedLog:
    """A log by its identity (`id`, leaf 0's statement id) and the keys that may sign its policy (SPKI DER)."""

    id: bytes
    origin: str
    policy_keys: frozenset[bytes]
    threshold: int


@dataclass(frozen=True)
class Trust:
    """A trust file."""

    logs: tuple[TrustedLog, ...]
    accept_pixels: bool = False

    def log(self, log_id: bytes) -> TrustedLog | None:
        """The trusted log with this identity."""
        return next((log for log in self.logs if log.id == log_id), None)


def parse(data: bytes) -> Trust:
    """The trust in a TOML file. Raises TrustError naming the entry: unknown fields, too; never a silent default."""
    content = _toml(data)
    for name in content:
        if name not in {"version", "accept_pixels", "log"}:
            raise TrustError(name[:40], "unknown entry")
    if type(content.get("version")) is not int or content["version"] != 1:
        raise TrustError("version", "not 1")
    accept = content.get("accept_pixels", False)
    if not isinstance(accept, bool):
        raise TrustError("accept_pixels", "not true or false")
    logs = content.get("log")
    if not isinstance(logs, list) or not logs:
        raise TrustError("log", "no [[log]] is named: trust in nobody proves nothing")
    trusted = tuple(_log(entry, f"log[{index}]") for index, entry in enumerate(logs))
    if len({log.id for log in trusted}) != len(trusted):
        raise TrustError("log", "one log is named twice")
    return Trust(trusted, accept)


def _toml(data: bytes) -> dict[str, object]:
    if len(data) > MAX_TRUST:
        raise TrustError("trust", f"more than {MAX_TRUST} bytes")
    # tomllib's time grows with the square of the parts of a dotted key. Dots within strings count as well: to tell them
    # apart would take a parser, and an origin has at most 247.
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.count(b".") > _MAX_DOTS:
            raise TrustError("trust", f"more than {_MAX_DOTS} dots in line {number}")
    if data.startswith(codecs.BOM_UTF8):
        raise TrustError("trust", "begins with a byte order mark: save it as UTF-8 without one")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise TrustError("trust", "not a trust file: it is not text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise TrustError("trust", f"not TOML ({error})") from None


def to_toml(log: TrustedLog) -> str:
    """A trust file that names one log, for its operator to hand out by a channel that readers trust."""
    keys = ",\n".join(f'    "{base64.b64encode(key).decode()}"' for key in sorted(log.policy_keys))
    return (
        "# Platemark trust file. Compare the id with one that you got from a source you trust.\n"
        "version = 1\n\n[[log]]\n"
        f'id = "{log.id.hex()}"\norigin = "{log.origin}"\npolicy_keys = [\n{keys},\n]\nthreshold = {log.threshold}\n'
    )


def _log(entry: Mapping[str, object], field: str) -> TrustedLog:
    if not isinstance(entry, dict):
        raise TrustError(field, "not a table")
    for name in entry:
        if name not in _LOG_FIELDS:
            raise TrustError(f"{field}.{name[:40]}", "unknown entry")
    for name in sorted(_LOG_FIELDS):
        if name not in entry:
            raise TrustError(f"{field}.{name}", "missing")
    identity, origin, keys, threshold = entry["id"], entry["origin"], entry["policy_keys"], entry["threshold"]
    if not isinstance(identity, str) or re.fullmatch("[0-9a-f]{64}", identity) is None:
        raise TrustError(f"{field}.id", "not 64 lower-case hex digits")
    if not isinstance(origin, str) or re.fullmatch(r"[A-Za-z0-9._~:/-]{1,247}", origin) is None:
        raise TrustError(f"{field}.origin", "not a log origin")
    if not isinstance(keys, list) or not keys:
        raise TrustError(f"{field}.policy_keys", "not a list of keys")
    policy_keys = frozenset(_key(key, f"{field}.policy_keys[{index}]") for index, key in enumerate(keys))
    if isinstance(threshold, bool) or not isinstance(threshold, int) or not 1 <= threshold <= len(policy_keys):
        raise TrustError(f"{field}.threshold", f"not a number from 1 to {len(policy_keys)}")
    return TrustedLog(bytes.fromhex(identity), origin, policy_keys, threshold)


def _key(text: object, field: str) -> bytes:
    if not isinstance(text, str):
        raise TrustError(field, "not text")
    try:
        spki = base64.b64decode(text, validate=True)
        load_public(spki, field=field)
    except (binascii.Error, ValueError):
        raise TrustError(field, "not base64") from None
    except KeyFormatError as error:
        raise TrustError(field, error.reason) from None
    return spki
