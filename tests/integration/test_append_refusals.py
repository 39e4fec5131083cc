"""The table of refusals: every reason that an outcome can have, with its gRPC code and the field to blame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from integration.live import HOUR, NOW, ORIGIN, YEAR, Live, Writer, only, refused

from platemark import cbor, cose, statement
from platemark.key_files import read_private
from platemark.rpc import Logged


def _stranger(live: Live) -> bytes:
    return live.place.registrar().new("stranger").capture()


def _wrong_role(live: Live) -> bytes:
    return live.device("wrong-role", role="operator").capture()


def _wrong_origin(live: Live) -> bytes:
    return live.device("wrong-origin", role="gateway").capture()


def _wrong_issuer(live: Live) -> bytes:
    device = live.device("wrong-issuer")
    device.issuer += "/other"
    return device.capture()


def _wrong_signature(live: Live) -> bytes:
    raw = bytearray(live.device("wrong-signature", algorithm="ed25519").capture())
    raw[-64] ^= 1  # the first byte of R: still well formed, no longer the signature of anything
    return bytes(raw)


def _expired(live: Live) -> bytes:
    return live.device("expired", not_before=NOW - YEAR, not_after=NOW - HOUR).capture()


def _too_early(live: Live) -> bytes:
    return live.device("too-early", not_before=NOW + HOUR).capture()


def _other_log(live: Live) -> bytes:
    registrar = live.place.registrar()
    registrar.log = bytes(32)
    return registrar.enrolment(registrar.new("other-log"), "modality")


def _enrolled_twice(live: Live) -> bytes:
    device = live.device("enrolled-twice")
    return live.place.registrar().enrolment(device, "modality")


def _revoked(live: Live) -> bytes:
    device = live.device("revoked")
    _revoke(live, device.key.kid)
    return device.capture()


def _revoked_twice(live: Live) -> bytes:
    device = live.device("revoked-twice")
    _revoke(live, device.key.kid)
    return _revocation(live.place.registrar(), device.key.kid)


def _unknown_target(live: Live) -> bytes:
    return _revocation(live.place.registrar(), bytes(32))


def _skipping_policy(live: Live) -> bytes:
    key = read_private(live.place.directory / "offline" / "policy-1.key")
    found = live.client().statement(index=0).statement
    payload = dict(statement.decode(found.statement).payload)
    payload |= {"version": 2, "log": found.id, "prev": found.id}
    del payload["v"]
    return statement.build("policy", payload, signer=key, issuer=statement.policy_issuer(ORIGIN))


def _too_large(live: Live) -> bytes:
    return live.device("too-large").capture() + bytes(61440)


def _future_kind(live: Live) -> bytes:
    return _rewritten(live, "future-kind", lambda header, _: header.update({3: "application/vnd.platemark.dream+cbor"}))


def _future_version(live: Live) -> bytes:
    return _rewritten(live, "future-version", lambda _, body: body.update({"v": 2}))


def _unknown_field(live: Live) -> bytes:
    return _rewritten(live, "unknown-field", lambda _, body: body.update({"mood": "good"}))


@pytest.mark.parametrize(
    ("make", "status", "reason", "field"),
    [
        (lambda _: b"", "INVALID_ARGUMENT", "MALFORMED", "tag"),
        (lambda _: b"\xd2\x84", "INVALID_ARGUMENT", "MALFORMED", "message"),
        (_unknown_field, "INVALID_ARGUMENT", "MALFORMED", "payload.mood"),
        (_future_kind, "INVALID_ARGUMENT", "UNKNOWN_KIND", "protected.3"),
        (_future_version, "INVALID_ARGUMENT", "UNKNOWN_KIND", "payload.v"),
        (_too_large, "INVALID_ARGUMENT", "TOO_LARGE", "statement"),
        (_wrong_signature, "INVALID_ARGUMENT", "BAD_SIGNATURE", "signature"),
        (_other_log, "INVALID_ARGUMENT", "WRONG_LOG", "payload.log"),
        (_skipping_policy, "INVALID_ARGUMENT", "BAD_POLICY", "payload.version"),
        (_stranger, "PERMISSION_DENIED", "UNKNOWN_KEY", "protected.4"),
        (_wrong_role, "PERMISSION_DENIED", "WRONG_ROLE", None),
        (_wrong_origin, "PERMISSION_DENIED", "WRONG_ROLE", "payload.origin"),
        (_wrong_issuer, "PERMISSION_DENIED", "WRONG_ISSUER", "protected.15.1"),
        (_expired, "PERMISSION_DENIED", "EXPIRED", "payload"),
        (_too_early, "PERMISSION_DENIED", "NOT_YET_VALID", "payload"),
        (_revoked, "PERMISSION_DENIED", "REVOKED", "protected.4"),
        (_enrolled_twice, "ALREADY_EXISTS", "ALREADY_ENROLLED", "payload.key"),
        (_revoked_twice, "ALREADY_EXISTS", "ALREADY_REVOKED", "payload.kid"),
        (_unknown_target, "FAILED_PRECONDITION", "UNKNOWN_TARGET", "payload.kid"),
    ],
)
def test_a_refusal_has_its_code_its_reason_and_its_field_and_leaves_no_trace(
    live: Live, make: Callable[[Live], bytes], status: str, reason: str, field: str | None
) -> None:
    """What may not enter is named for the sender, and the log is as long afterwards as what did enter."""
    raw = make(live)
    client = live.client()
    before = client.checkpoint().checkpoint
    (outcome,) = client.append([raw]).outcomes
    after = client.checkpoint().checkpoint
    code, info, fields = refused(outcome)
    assert (code, info) == (status, reason)
    assert len(fields) == 1
    assert fields[0].startswith("statements[0].")
    if field is not None:
        assert fields == [f"statements[0].{field}"]
    assert (after.size, after.root) == (before.size, before.root)


@pytest.mark.parametrize(
    ("place", "codes"),
    [
        ({}, []),
        ({"seq": 6}, ["gap"]),
        ({"epoch": 0, "seq": 0, "prev": None}, ["late", "old-epoch"]),
    ],
    ids=["in order", "a gap", "an old epoch"],
)
def test_a_disordered_chain_is_logged_and_flagged(live: Live, place: dict[str, Any], codes: list[str]) -> None:
    """A correctly signed statement of an enrolled key is never refused for its place in the chain."""
    device = live.device("chain")
    assert only(live.client().append([device.capture(b"1")]).outcomes).statement.conditions == ()
    device = replace(device, **place)
    logged = only(live.client().append([device.capture(b"2")]).outcomes)
    assert [each.code for each in logged.statement.conditions] == codes
    assert all(each.detail for each in logged.statement.conditions)


def test_a_clock_in_the_future_is_logged_and_flagged(live: Live) -> None:
    """The writer's clock is a claim: the log records what it thinks of it and takes the statement."""
    logged = only(live.client().append([live.device("ahead").capture(captured=NOW + 30 * HOUR)]).outcomes)
    assert [each.code for each in logged.statement.conditions] == ["clock-future"]


def test_a_cloned_key_is_flagged_as_a_fork(live: Live) -> None:
    """Two statements at one place of a key's chain are both logged, the second with the condition."""
    device = live.device("cloned")
    raw = device.capture(b"1")
    device.seq, device.prev = 0, None
    first, second = live.client().append([raw, device.capture(b"2")]).outcomes
    assert isinstance(first, Logged)
    assert isinstance(second, Logged)
    assert "fork" in [each.code for each in second.statement.conditions]


def _revocation(registrar: Writer, kid: bytes) -> bytes:
    return registrar.build("revoke", at=NOW, log=registrar.log, kid=kid, reason="device-lost", effective=NOW)


def _revoke(live: Live, kid: bytes) -> None:
    only(live.client().append([_revocation(live.place.registrar(), kid)]).outcomes)


def _rewritten(live: Live, name: str, change: Callable[[dict[object, object], dict[object, object]], None]) -> bytes:
    """A well-signed statement that `statement.build` would refuse to make."""
    device = live.device(name)
    message = cose.decode(device.capture())
    body = cbor.decode(message.payload)
    assert isinstance(body, dict)
    header = {label: value for label, value in message.protected.items() if label != cose.ALG}
    change(header, body)  # type: ignore[arg-type] # the tests' own dictionaries, rewritten in place
    return cose.sign(header, cbor.encode(body), device.key)
