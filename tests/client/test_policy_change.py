"""The next version of a policy: what may change, what it follows from, and that all its signers sign one thing."""

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from builders import END, LOG_KEY, POLICY_KEY, REGISTRAR, Log
from platemark import cbor, checkpoint, statement
from platemark.cbor import Value
from platemark.checkpoint import SignedCheckpoint
from platemark.errors import FormatError
from platemark.lineage import open_policies
from platemark.policy_change import (
    MAX_PROPOSAL,
    Changes,
    RegistrarEntry,
    decode_proposal,
    encode_proposal,
    propose,
    sign_proposal,
)
from platemark.statement import Statement

OTHER_POLICY, OTHER_LOG = builders.key("policy-2"), builders.key("log-2", "ed25519")
POST_QUANTUM = builders.key("log-pq", "mldsa44")
SECOND = builders.party("second-registrar")
ENTRY = RegistrarEntry(SECOND.key.spki, SECOND.uri, 5, END)


def _in_force(log: Log) -> list[Statement]:
    return [statement.decode(raw) for raw in log.statements[: log.threshold]]


def _proposed(changes: Changes, log: Log | None = None) -> dict[str, Value]:
    log = log or Log()
    return propose(_in_force(log), log.id, changes)


def _keys(payload: dict[str, Value], name: str) -> Sequence[bytes]:
    return cast("list[bytes]", payload[name])


def test_a_proposal_follows_from_the_version_in_force() -> None:
    """Version, log and prev are the next ones (rule Y3); what is not changed stays."""
    log = Log()
    payload = _proposed(Changes(add_log_keys=[OTHER_LOG.spki, POST_QUANTUM.spki]), log)
    assert (payload["version"], payload["log"], payload["prev"]) == (1, log.id, log.id)
    assert sorted([LOG_KEY.spki, OTHER_LOG.spki, POST_QUANTUM.spki]) == _keys(payload, "log_keys")
    before = _in_force(log)[0].payload
    assert {name for name in payload if payload[name] != before[name]} == {"version", "log", "prev", "log_keys"}


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        (Changes(add_keys=[OTHER_POLICY.spki], threshold=2), "keys", sorted([POLICY_KEY.spki, OTHER_POLICY.spki])),
        (Changes(add_keys=[OTHER_POLICY.spki], drop_keys=[POLICY_KEY.kid]), "keys", [OTHER_POLICY.spki]),
        (Changes(add_log_keys=[OTHER_LOG.spki], drop_log_keys=[LOG_KEY.kid]), "log_keys", [OTHER_LOG.spki]),
        (Changes(drop_registrars=[REGISTRAR.key.kid]), "registrars", []),
        (
            Changes(add_registrars=[ENTRY], drop_registrars=[REGISTRAR.key.kid]),
            "registrars",
            [{"key": SECOND.key.spki, "issuer": SECOND.uri, "not_before": 5, "not_after": END}],
        ),
    ],
    ids=["key", "keys exchanged", "log key exchanged", "no registrar", "registrar exchanged"],
)
def test_keys_are_added_and_dropped(changes: Changes, name: str, expected: object) -> None:
    """Each list by itself, in the order of the format."""
    assert expected == _proposed(changes)[name]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (Changes(), "policy"),
        (Changes(threshold=1), "policy"),
        (Changes(threshold=2), "payload.threshold"),
        (Changes(drop_keys=[POLICY_KEY.kid]), "payload.keys"),
        (Changes(drop_log_keys=[LOG_KEY.kid]), "payload.log_keys"),
        (Changes(add_log_keys=[LOG_KEY.spki]), "policy.log_keys"),
        (Changes(drop_log_keys=[bytes(32)]), "policy.log_keys"),
        (Changes(drop_registrars=[POLICY_KEY.kid]), "policy.registrars"),
        (Changes(add_keys=[LOG_KEY.spki]), "payload.keys"),
        (Changes(add_log_keys=[REGISTRAR.key.spki]), "payload.keys"),
        (
            Changes(add_registrars=[RegistrarEntry(SECOND.key.spki, SECOND.uri, 9, 8)]),
            "payload.registrars[1].not_before",
        ),
        (Changes(add_registrars=[RegistrarEntry(SECOND.key.spki, "second", 8, 9)]), "payload.registrars[1].issuer"),
    ],
    ids=range(12),
)
def test_what_cannot_be_a_policy_is_refused_by_field(changes: Changes, field: str) -> None:
    """Nothing to change, nobody left, a key with two purposes: before anybody has signed anything."""
    with pytest.raises(FormatError) as caught:
        _proposed(changes)
    assert field == caught.value.field


def test_signatures_of_one_proposal_make_one_version() -> None:
    """Two of three keys sign the file apart, and whoever verifies the log finds the new version in force."""
    keys = [
        builders.key(f"policy-{number}", algorithm) for number, algorithm in ((1, "p256"), (2, "ed25519"), (3, "p256"))
    ]
    log = Log(policy_keys=keys, threshold=2)
    data = encode_proposal(_proposed(Changes(add_log_keys=[OTHER_LOG.spki]), log))
    signed = [sign_proposal(decode_proposal(data), key) for key in (keys[2], keys[1])]
    assert {each.message.payload for each in signed} == {data}
    for each in signed:
        log.add(each.raw)
    bundle = log.evidence(0, enrolments=[])
    opened = open_policies(bundle.policies, _checkpoint(log), log.trusted())
    assert [policy.since for policy in opened.versions] == [2, 4]
    assert len(opened.at(4).log_keys(log.origin)) == 2


def _checkpoint(log: Log) -> SignedCheckpoint:
    """The log's checkpoint of now."""
    return checkpoint.parse(log.checkpoint())


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "proposal"),
        (b"\x80", "proposal"),
        (bytes(MAX_PROPOSAL + 1), "proposal"),
        (cbor.encode({"v": 1}), "payload.version"),
        (Log().statements[0], "proposal"),
        (statement.decode(Log().statements[0]).message.payload, "proposal.version"),
    ],
    ids=["empty", "array", "large", "fields", "signed", "version 0"],
)
def test_other_files_are_no_proposal(data: bytes, field: str) -> None:
    """A signed statement, a founding policy or anything else is told apart."""
    with pytest.raises(FormatError) as caught:
        decode_proposal(data)
    assert field == caught.value.field


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """A stranger's file is refused with an error of ours."""
    with pytest.raises(FormatError):
        decode_proposal(data)
