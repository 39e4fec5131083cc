"""The ten kinds of statement and their fields, as the tables of proto/statement.md section 5 print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark.errors import StatementError
from platemark.rungs import SHA256, SHA512
from platemark.schema import (
    Check,
    array,
    blob,
    choice,
    each_ascending,
    integer,
    key,
    matching,
    nullable,
    record,
    shorten,
    text,
    uri,
)

if TYPE_CHECKING:
    from platemark.cbor import Value

__all__ = ["CHAINED", "KINDS", "LOG_BOUND", "ORIGINS", "ROLES", "SIGNERS", "TIME_FIELD"]

ROLES = ("modality", "sensor", "gateway", "operator", "registrar")
ORIGINS = {
    "modality-signed": ("modality", "sensor"),
    "gateway-received": ("gateway",),
    "imported-later": ("modality", "sensor", "gateway"),
}
# Which roles may sign which kind. "policy" and "log" are keys that the policy in force names; no enrolment gives them.
SIGNERS = {
    "capture": ("modality", "sensor", "gateway"),
    "segment": ("sensor", "gateway"),
    "heartbeat": ("modality", "sensor", "gateway"),
    "attest": ("operator",),
    "custody": ("operator", "gateway"),
    "note": ("operator", "registrar", "gateway", "log"),
    "enrol": ("registrar",),
    "revoke": ("registrar",),
    "policy": ("policy",),
    "keystate": ("log",),
}
LOG_BOUND = frozenset({"enrol", "revoke", "policy", "custody", "note", "attest", "keystate"})
CHAINED = frozenset(SIGNERS) - {"policy"}
# The field that holds the statement's own stated time.
TIME_FIELD = dict.fromkeys(CHAINED, "at") | {"capture": "captured", "segment": "last"}

_time = integer()
_id = blob(32)
_hash = blob(32)


def _digest(value: Value, field: str) -> None:
    if not isinstance(value, dict):
        raise StatementError(field, "not a map")
    if SHA256 not in value:
        raise StatementError(f"{field}.{SHA256}", "missing: SHA-256 is always present")
    for algorithm, digest in value.items():
        if algorithm not in {SHA256, SHA512}:
            raise StatementError(f"{field}.{shorten(algorithm)}", "unknown hash algorithm")
        blob(32 if algorithm == SHA256 else 64)(digest, f"{field}.{algorithm}")


def _digests(*rungs: str) -> Check:
    fields = record({}, dict.fromkeys(rungs, _digest))

    def check(value: Value, field: str) -> None:
        fields(value, field)
        if not value:
            raise StatementError(field, "no digest")
        if isinstance(value, dict) and "pixels" in value and "codestream" in value:
            raise StatementError(field, "pixels and codestream exclude each other")

    return check


_clock = record(
    {
        "source": choice("ptp", "ntp", "gnss", "rtc", "host", "unknown"),
        "error_ns": nullable(integer()),
    }
)
_tiles = record({"root": _hash, "size": integer(8, 4096), "count": integer(1, (1 << 32) - 1)})
_watermark = record({"scheme": text(32), "pointer": blob(16), "tile": integer(8, 4096), "threshold": integer(0, 65535)})
_chain: dict[str, Check] = {"v": integer(1, 1), "epoch": integer(), "seq": integer(), "prev": nullable(_id)}
_bound: dict[str, Check] = {**_chain, "at": _time, "log": _id}
_registrar = record({"key": key, "issuer": uri, "not_before": _time, "not_after": _time})
_predecessor = record({"log": _id, "size": integer(1), "root": _hash})

KINDS: dict[str, Check] = {
    "capture": record(
        {
            **_chain,
            "captured": _time,
            "clock": _clock,
            "media": matching(r"[a-z0-9.+-]+/[a-z0-9.+-]+", 127, "a media type in lower case"),
            "digests": _digests("file", "dataset", "content", "pixels", "codestream"),
            "attributes": _hash,
            "origin": choice(*ORIGINS),
        },
        {
            "frames": integer(1, (1 << 32) - 1),
            "tiles": _tiles,
            "parents": each_ascending(_id, 1, 64),
            "meaning": choice("acquired", "derived", "amended"),
            "watermark": _watermark,
        },
    ),
    "segment": record(
        {
            **_chain,
            "recording": blob(16),
            "topic": text(255),
            "number": integer(),
            "window_ns": integer(1),
            "first": _time,
            "last": _time,
            "count": integer(1, (1 << 32) - 1),
            "bytes": integer(),
            "clock": _clock,
            "digests": _digests("messages"),
        }
    ),
    "heartbeat": record({**_chain, "at": _time, "since": _time, "clock": _clock}),
    "attest": record(
        {**_bound, "of": _id, "meaning": choice("performed", "reviewed", "approved", "witnessed")},
        {"attributes": _hash},
    ),
    "custody": record(
        {**_bound, "of": _id, "event": choice("collected", "exported", "transferred", "accessed")},
        {"attributes": _hash, "digests": _digests("file")},
    ),
    "note": record(
        {
            **_bound,
            "topic": choice("watchdog", "drill", "amendment", "remark", "erasure", "renewal"),
            "text": text(4096, lines=True),
        },
        {"of": each_ascending(_id, 1, 64), "data": blob(1, 32768)},
    ),
    "enrol": record(
        {
            **_bound,
            "device": uri,
            "key": key,
            "role": choice(*ROLES),
            "not_before": _time,
            "not_after": _time,
            "attributes": _hash,
            "proof": blob(64, 2420),
        }
    ),
    "revoke": record(
        {
            **_bound,
            "kid": blob(32),
            "reason": choice("key-compromise", "device-lost", "device-retired", "superseded", "unspecified"),
            "effective": _time,
        }
    ),
    "policy": record(
        {
            "v": integer(1, 1),
            "version": integer(),
            "origin": matching(r"[A-Za-z0-9._~:/-]+", 247, "a schema-less URL of at most 247 characters"),
            "log": nullable(_id),
            "prev": nullable(_id),
            "keys": each_ascending(key, 1, 16),
            "threshold": integer(1, 16),
            "log_keys": each_ascending(key, 1, 16),
            "registrars": array(_registrar, 0, 64),
            "limits": record({"statement": integer(1024, 61440), "skew_ns": integer()}),
        },
        {"witness_policy": text(16384, lines=True), "predecessor": _predecessor},
    ),
    "keystate": record({**_bound, "size": integer(1), "root": _hash, "count": integer(1)}),
}
