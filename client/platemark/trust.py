"""Whom the verifier's owner believes: a TOML file that the owner brings and the bundle never supplies.

    version = 1
    accept_pixels = false            # optional: let equal pixels alone clear a header

    [[log]]
    id = "<64 hex digits>"           # leaf 0's statement id: the log's identity
    origin = "ledger.example/xray"   # what people call it; has to be leaf 0's
    policy_keys = ["<base64 SPKI>"]  # who may sign the log's policy; has to be leaf 0's
    threshold = 1
    policy_version = 0               # optional: the least version of the log's policy that evidence has to show
    post_quantum = true              # optional: the checkpoint needs an ML-DSA-44 signature of the log as well
    witness_policy = '''
    witness north north.example+1b8f8e5d+BF0Zn...
    quorum north
    '''                              # optional: who else has to have seen the checkpoint (c2sp.org/tlog-policy)

    [[tsa]]                          # optional, any number: whose time stamps are believed
    name = "Example TSA"
    roots = ["<base64 certificate>"]
    not_before = 2026-01-01T00:00:00Z   # optional: only stamps from then on
    not_after = 2036-01-01T00:00:00Z    # optional: only stamps until then

Rules U1 to U6 of proto/evidence.md.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import datetime as dt
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import witness_policy
from platemark.errors import FormatError, KeyFormatError, TimeStampError, TrustError
from platemark.keys import load_public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platemark.timestamp import Authority
    from platemark.witness_policy import WitnessPolicy

__all__ = ["MAX_TRUST", "Trust", "TrustedLog", "parse", "to_toml"]

MAX_TRUST = 64 * 1024
"""Bytes of a trust file (rule U4)."""
_MAX_DOTS = 256
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MAX_AUTHORITIES = 64
_LOG_FIELDS = {"id", "origin", "policy_keys", "threshold"}
_OPTIONAL_LOG_FIELDS = {"policy_version", "post_quantum", "witness_policy"}
_TSA_FIELDS = {"name", "roots", "not_before", "not_after"}


@dataclass(frozen=True)
class TrustedLog:
    """A log by its identity (`id`, leaf 0's statement id) and the keys that may sign its policy (SPKI DER).

    `witness_policy` says who else has to have seen a checkpoint, `post_quantum` that the log has to have signed it with
    ML-DSA-44 as well, `policy_version` the least version that the log's policy has to have: an older one may name keys
    that were dropped since.
    """

    id: bytes
    origin: str
    policy_keys: frozenset[bytes]
    threshold: int
    witness_policy: WitnessPolicy | None = None
    post_quantum: bool = False
    policy_version: int = 0


@dataclass(frozen=True)
class Trust:
    """A trust file. `authorities` are those whose time stamps are believed."""

    logs: tuple[TrustedLog, ...]
    accept_pixels: bool = False
    authorities: tuple[Authority, ...] = ()

    def log(self, log_id: bytes) -> TrustedLog | None:
        """The trusted log with this identity."""
        return next((log for log in self.logs if log.id == log_id), None)


def parse(data: bytes) -> Trust:
    """The trust in a TOML file. Raises TrustError naming the entry: unknown fields, too; never a silent default."""
    content = _toml(data)
    for name in content:
        if name not in {"version", "accept_pixels", "log", "tsa"}:
            raise TrustError(name[:40], "unknown entry")
    if type(content.get("version")) is not int or content["version"] != 1:
        raise TrustError("version", "not 1")
    accept = _switch(content, "accept_pixels", "accept_pixels")
    logs = content.get("log")
    if not isinstance(logs, list) or not logs:
        raise TrustError("log", "no [[log]] is named: trust in nobody proves nothing")
    trusted = tuple(_log(entry, f"log[{index}]") for index, entry in enumerate(logs))
    if len({log.id for log in trusted}) != len(trusted):
        raise TrustError("log", "one log is named twice")
    return Trust(trusted, accept, _authorities(content.get("tsa", [])))


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
        if name not in _LOG_FIELDS | _OPTIONAL_LOG_FIELDS:
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
    return TrustedLog(
        bytes.fromhex(identity),
        origin,
        policy_keys,
        threshold,
        witness_policy=_witness_policy(entry.get("witness_policy"), origin, f"{field}.witness_policy"),
        policy_version=_version(entry.get("policy_version", 0), f"{field}.policy_version"),
        post_quantum=_switch(entry, "post_quantum", f"{field}.post_quantum"),
    )


def _switch(content: Mapping[str, object], name: str, field: str) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise TrustError(field, "not true or false")
    return value


def _witness_policy(text: object, origin: str, field: str) -> WitnessPolicy | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TrustError(field, "not text")
    try:
        policy = witness_policy.parse(text)
    except FormatError as error:
        raise TrustError(field, str(error)) from None
    if policy.logs:
        raise TrustError(field, "it has a log line: here the log's keys are those of its own policy")
    if any(each.verifier.name == origin for each in policy.witnesses):
        raise TrustError(field, "a witness has the log's own name: a log is no witness of itself")
    return policy


def _version(value: object, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise TrustError(field, "not a number from 0 to 2^63 - 1")
    return value


def _authorities(entries: object) -> tuple[Authority, ...]:
    if not isinstance(entries, list) or len(entries) > _MAX_AUTHORITIES:
        raise TrustError("tsa", f"not at most {_MAX_AUTHORITIES} tables [[tsa]]")
    authorities = tuple(_authority(entry, f"tsa[{index}]") for index, entry in enumerate(entries))
    if len({each.name for each in authorities}) != len(authorities):
        raise TrustError("tsa", "one name is given twice")
    return authorities


def _authority(entry: object, field: str) -> Authority:
    if not isinstance(entry, dict):
        raise TrustError(field, "not a table")
    for name in entry:
        if name not in _TSA_FIELDS:
            raise TrustError(f"{field}.{name[:40]}", "unknown entry")
    name, roots = entry.get("name"), entry.get("roots")
    if not isinstance(name, str) or not 1 <= len(name) <= 100 or not name.isprintable():
        raise TrustError(f"{field}.name", "not 1 to 100 printable characters")
    if not isinstance(roots, list) or not roots:
        raise TrustError(f"{field}.roots", "not a list of certificates")
    from platemark.timestamp import Authority  # it brings certificates along, which most trust files do without

    try:
        return Authority(
            name=name,
            roots=tuple(_base64(root, f"{field}.roots[{index}]") for index, root in enumerate(roots)),
            not_before=_moment(entry.get("not_before"), f"{field}.not_before"),
            not_after=_moment(entry.get("not_after"), f"{field}.not_after"),
        )
    except TimeStampError as error:
        raise TrustError(f"{field}.{error.field}", error.reason) from None


def _moment(value: object, field: str) -> int | None:
    """Unix nanoseconds of a TOML date-time, which has to say its offset."""
    if value is None:
        return None
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        raise TrustError(field, "not a date and time with an offset, like 2026-01-01T00:00:00Z")
    return (value - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def _key(text: object, field: str) -> bytes:
    spki = _base64(text, field)
    try:
        load_public(spki, field=field)
    except KeyFormatError as error:
        raise TrustError(field, error.reason) from None
    return spki


def _base64(text: object, field: str) -> bytes:
    if not isinstance(text, str):
        raise TrustError(field, "not text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise TrustError(field, "not base64") from None
