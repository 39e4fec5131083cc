"""One full payload for every kind of statement: every field, the optional ones too, with values of no special meaning."""

from typing import Any

from builders import (
    BEGIN,
    END,
    LOG_KEY,
    MODALITY,
    NOW,
    POLICY_KEY,
    REGISTRAR,
    digests,
    enrolment_proof,
    key,
    registrar_entry,
)

__all__ = ["FULL", "OPTIONAL", "minimal"]

_ID = bytes(range(32))
_OTHER = bytes(range(32, 64))
_CHAIN = {"epoch": 0, "seq": 1, "prev": _ID}
_BOUND = {**_CHAIN, "at": NOW, "log": _ID}
_CLOCK = {"source": "ptp", "error_ns": 1000}

FULL: dict[str, dict[str, Any]] = {
    "capture": {
        **_CHAIN,
        "captured": NOW,
        "clock": _CLOCK,
        "media": "application/dicom",
        "digests": digests(b"content", "file", "dataset", "content", "pixels"),
        "attributes": _ID,
        "origin": "modality-signed",
        "frames": 1,
        "tiles": {"root": _ID, "size": 64, "count": 100},
        "parents": [_ID, _OTHER],
        "meaning": "derived",
        "watermark": {"scheme": "dct-1", "pointer": bytes(16), "tile": 64, "threshold": 50},
    },
    "segment": {
        **_CHAIN,
        "recording": bytes(16),
        "topic": "/camera/front",
        "number": 7,
        "window_ns": 10**9,
        "first": NOW - 1,
        "last": NOW,
        "count": 30,
        "bytes": 4_000_000,
        "clock": _CLOCK,
        "digests": digests(b"content", "messages"),
    },
    "heartbeat": {**_CHAIN, "at": NOW, "since": NOW - 10**9, "clock": {"source": "unknown", "error_ns": None}},
    "attest": {**_BOUND, "of": _OTHER, "meaning": "performed", "attributes": _ID},
    "custody": {**_BOUND, "of": _OTHER, "event": "exported", "attributes": _ID, "digests": digests(b"content", "file")},
    "note": {**_BOUND, "topic": "amendment", "text": "two\nlines", "of": [_ID, _OTHER], "data": b"\x00\x01"},
    "enrol": {
        **_BOUND,
        "device": MODALITY.uri,
        "key": MODALITY.key.spki,
        "role": "modality",
        "not_before": BEGIN,
        "not_after": END,
        "attributes": _ID,
        "proof": enrolment_proof(MODALITY.key, log=_ID, device=MODALITY.uri, role="modality"),
    },
    "revoke": {**_BOUND, "kid": _OTHER, "reason": "key-compromise", "effective": NOW},
    "policy": {
        "version": 1,
        "origin": "ledger.example/xray",
        "log": _ID,
        "prev": _ID,
        "keys": sorted([POLICY_KEY.spki, key("policy 2").spki]),
        "threshold": 2,
        "log_keys": [LOG_KEY.spki],
        "registrars": [registrar_entry(REGISTRAR)],
        "limits": {"statement": 61440, "skew_ns": 10**10},
        "witness_policy": "quorum none\n",
        "predecessor": {"log": _OTHER, "size": 5, "root": _OTHER},
    },
    "keystate": {**_BOUND, "size": 10, "root": _ID, "count": 3},
}
OPTIONAL: dict[str, set[str]] = {
    "capture": {"tiles", "parents", "meaning", "watermark"},
    "attest": {"attributes"},
    "custody": {"attributes", "digests"},
    "note": {"of", "data"},
    "policy": {"witness_policy", "predecessor"},
}


def minimal(kind: str) -> dict[str, Any]:
    """The payload without its optional fields: the first statement of its key, or the first policy."""
    payload = {name: value for name, value in FULL[kind].items() if name not in OPTIONAL.get(kind, set())}
    if kind == "capture":
        del payload["frames"]
        payload["digests"] = digests(b"content", "file")
    first = {"version": 0, "log": None} if kind == "policy" else {"seq": 0}
    return {**payload, **first, "prev": None}
