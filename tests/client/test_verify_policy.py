"""Whom the log itself allows: k-of-n policies, later versions, rotated keys, chains of registrars."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from builders import (
    BEGIN,
    END,
    MODALITY,
    NOW,
    REGISTRAR,
    Key,
    Log,
    Party,
    Payload,
    key,
    letters,
    measurement,
    party,
    registrar_entry,
    scene,
)
from platemark import cbor, cose, statement
from platemark.evidence import Evidence
from platemark.trust import Trust
from platemark.verdict import Verdict
from platemark.verify import verify

IMAGE = measurement(b"an image")
MATCH, POLICY_FAILS = "PPPPPPPPNNNNNPP", "PPFNNNNNNNNNNPP"
THREE = [key(f"policy {number}", "ed25519") for number in range(3)]
NEW_LOG_KEY = key("log 2", "ed25519")
NEW_REGISTRAR = party("registrar-2")


def _judge(log: Log, record: int, *, trust: Trust | None = None, at: int = NOW, **shown: Any) -> Verdict:
    return verify(log.evidence(record, **shown), trust=trust or log.trust(), image=IMAGE, at=at)


# --- version 0 ------------------------------------------------------------------------------------


def _three(**options: Any) -> Log:
    """A log whose policy needs two signatures of three keys: leaves 0 and 1; enrolment 2, capture 3."""
    log = Log(policy_keys=THREE, threshold=2, **options)
    log.enrol(MODALITY)
    log.capture()
    return log


def test_two_of_three_signatures_are_enough() -> None:
    """Two policy keys signed the same payload: the policy is in force from leaf 2 on."""
    verdict = _judge(_three(), 3, enrolments=[2])
    assert (letters(verdict), verdict.result) == (MATCH, "MATCHES RECORD")


def test_one_of_three_signatures_is_not_enough() -> None:
    """Evidence that shows one of the two statements fails at the policy."""
    verdict = _judge(_three(), 3, enrolments=[2], policies=[0])
    assert letters(verdict) == POLICY_FAILS
    assert "fewer than the 2 signatures" in verdict.reason


def _resign(raw: bytes, signer: Key) -> bytes:
    """The same policy payload, said by another key and under another subject."""
    payload = {name: value for name, value in statement.decode(raw).payload.items() if name != "v"}
    return statement.build("policy", payload, signer=signer, issuer="https://ledger.example/xray")


def test_one_key_does_not_sign_twice() -> None:
    """Two statements by one policy key are one signature."""
    log = Log(policy_keys=THREE, threshold=2)
    log.statements[1] = _resign(log.statements[0], THREE[0])
    log.enrol(MODALITY)
    log.capture()
    verdict = _judge(log, 3, enrolments=[2])
    assert letters(verdict) == POLICY_FAILS
    assert "fewer than the 2 signatures" in verdict.reason


def test_a_third_signature_changes_nothing() -> None:
    """One more signature than needed, later in the log, leaves the version in force."""
    log = _three()
    log.add(_resign(log.statements[0], THREE[2]))
    assert letters(_judge(log, 3, enrolments=[2])) == MATCH


def test_an_enrolment_before_the_policy_is_in_force_is_refused() -> None:
    """A record between the first and the second signature of version 0 stands before any policy."""
    log = _three()
    second = log.statements.pop(1)
    log.add(second)  # policy, enrolment, capture, policy
    verdict = _judge(log, 2, enrolments=[1], policies=[0, 3])
    assert letters(verdict) == "PPPPPFNNNNNNNPP"
    assert "no policy was in force at position 1" in verdict.reason


def _with_trust(**changes: Any) -> Verdict:
    log = scene()
    return _judge(log, 2, enrolments=[1], trust=Trust((replace(log.trusted(), **changes),)))


TRUSTS: list[tuple[str, dict[str, Any], str]] = [
    ("another origin", {"origin": "ledger.example/mri"}, "the trust file says ledger.example/mri"),
    ("other keys", {"policy_keys": frozenset([key("other").spki])}, "are not the trust file's"),
    ("a key more", {"policy_keys": frozenset([key("policy", "ed25519").spki, key("other").spki])}, "are not the trust"),
    ("another threshold", {"threshold": 2}, "are not the trust file's"),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in TRUSTS], ids=[row[0] for row in TRUSTS])
def test_leaf_0_has_to_be_what_the_trust_file_says(changes: dict[str, Any], reason: str) -> None:
    """U3: the id alone finds the log; origin, keys and threshold have to agree."""
    verdict = _with_trust(**changes)
    assert (letters(verdict), verdict.result) == (POLICY_FAILS, "EVIDENCE INVALID")
    assert reason in verdict.reason


# --- what is shown as policy ----------------------------------------------------------------------


def _unsigned() -> tuple[Evidence, Trust]:
    """Leaf 0 with a signature that fails; its id, which the trust file names, is the same."""
    log = Log()
    log.statements[0] = log.statements[0][:-1] + bytes([log.statements[0][-1] ^ 1])
    log.enrol(MODALITY)
    log.capture()
    return log.evidence(2, enrolments=[1]), log.trust()


def _not_first() -> tuple[Evidence, Trust]:
    """The policy that the trust file names stands at leaf 1."""
    log = scene()
    log.statements.insert(0, log.statements[2])
    return log.evidence(3, enrolments=[2], policies=[1]), Trust(
        (replace(log.trusted(), id=statement.decode(log.statements[1]).id),)
    )


def _shown(*policies: int) -> tuple[Evidence, Trust]:
    log = scene()
    return log.evidence(2, enrolments=[1], policies=policies), log.trust()


def _policy_statement(data: bytes) -> tuple[Evidence, Trust]:
    log = scene()
    given = log.evidence(2, enrolments=[1])
    return replace(given, policies=(replace(given.policies[0], statement=data),)), log.trust()


def _stranger() -> tuple[Evidence, Trust]:
    """A later version signed by a key that is not a policy key."""
    log = scene()
    _later(log, signer=key("mallory", "ed25519"))
    return log.evidence(2, enrolments=[1]), log.trust()


def _later(log: Log, changes: Payload | None = None, *, signer: Key | None = None) -> int:
    """Log version 1 of the policy with `changes`."""
    first = statement.decode(log.statements[0]).id
    payload: Payload = {"version": 1, "log": log.id, "prev": first, **(changes or {})}
    return log.policy(signer or log.policy_keys[0], **payload)


def _successor(**changes: cbor.Value) -> Callable[[], tuple[Evidence, Trust]]:
    def make() -> tuple[Evidence, Trust]:
        log = scene()
        _later(log, changes)
        return log.evidence(2, enrolments=[1]), log.trust()

    return make


def _another_name() -> tuple[Evidence, Trust]:
    """A later version under another issuer than the log's."""
    log = scene()
    index = _later(log)
    payload = {name: value for name, value in statement.decode(log.statements[index]).payload.items() if name != "v"}
    log.statements[index] = statement.build(
        "policy", payload, signer=log.policy_keys[0], issuer="https://ledger.example/mri"
    )
    return log.evidence(2, enrolments=[1]), log.trust()


def _twice() -> tuple[Evidence, Trust]:
    log = scene()
    index = _later(log)
    given = log.evidence(2, enrolments=[1], policies=[0, index])
    return replace(given, policies=(*given.policies, given.policies[1])), log.trust()


WRONG: list[tuple[str, Callable[[], tuple[Evidence, Trust]], str, str]] = [
    ("none", _shown, "PNFNNNNNNNNNNPP", "policy/0: missing, or not a policy statement"),
    ("an enrolment", lambda: _shown(1), "PNFNNNNNNNNNNPP", "policy/0: missing, or not a policy statement"),
    ("junk", lambda: _policy_statement(b"junk"), "PNFNNNNNNNNNNPP", "tag"),
    ("an enrolment after it", lambda: _shown(0, 1), POLICY_FAILS, "of kind enrol, not policy"),
    ("a broken signature", _unsigned, POLICY_FAILS, "signature does not verify"),
    ("not leaf 0", _not_first, POLICY_FAILS, "not the leaf 0"),
    ("a stranger's version", _stranger, POLICY_FAILS, "not a policy key"),
    ("version 2 after 0", _successor(version=2), POLICY_FAILS, "version 2 where 1 is due"),
    ("version 0 again", _successor(version=0, log=None, prev=None, threshold=1, registrars=[]), POLICY_FAILS, "is due"),
    ("another origin", _successor(origin="ledger.example/mri"), POLICY_FAILS, "names another origin"),
    ("another log", _successor(log=bytes(32)), POLICY_FAILS, "names another log"),
    ("another predecessor", _successor(prev=bytes(32)), POLICY_FAILS, "does not follow from the one before it"),
    ("another issuer", _another_name, POLICY_FAILS, "signed under another name"),
    ("a version twice", _twice, POLICY_FAILS, "not in log order"),
]  # fmt: skip


@pytest.mark.parametrize("row", WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_policy_fails_check_3(row: tuple[str, Callable[[], tuple[Evidence, Trust]], str, str]) -> None:
    """Whatever is shown as policy and is not the log's own, in order and signed, is EVIDENCE INVALID."""
    _, make, checks, reason = row
    given, trust = make()
    verdict = verify(given, trust=trust, image=IMAGE, at=NOW)
    assert (letters(verdict), verdict.result) == (checks, "EVIDENCE INVALID")
    assert reason in verdict.reason


@pytest.mark.parametrize("payload", [{"v": 2}, {"v": 2, "version": 1, "keys": []}])
@pytest.mark.parametrize("folder", ["policies", "enrolments", "revocation"])
def test_a_version_of_a_later_release_is_not_a_fault(folder: str, payload: dict[str, cbor.Value]) -> None:
    """Wherever an unknown version stands in the evidence, its check is NOT CHECKED and the result INCONCLUSIVE."""
    log = scene()
    header: dict[int | str, cbor.Value] = {
        3: "application/vnd.platemark.policy+cbor",
        4: MODALITY.key.kid,
        15: {1: MODALITY.uri, 2: "urn:uuid:8a3fbd4f-54d1-4d44-8a3f-bd4f54d14d44"},
    }
    news = log.add(cose.sign(header, cbor.encode(payload), MODALITY.key))
    places: dict[str, Sequence[int]] = {"policies": [0, news], "enrolments": [news], "revocation": [news]}
    shown: dict[str, Sequence[int]] = {"policies": [0], "enrolments": [1], "revocation": [], folder: places[folder]}
    signed = log.checkpoint()
    given = Evidence(
        record=log.proven(2, signed),
        enrolments=tuple(log.proven(index, signed) for index in shown["enrolments"]),
        policies=tuple(log.proven(index, signed) for index in shown["policies"]),
        revocation=tuple(log.proven(index, signed) for index in shown["revocation"]),
    )
    verdict = verify(given, trust=log.trust(), image=IMAGE, at=NOW)
    expected = {"policies": "PPNNNNNNNNNNNPP", "enrolments": "PPPPPNNNNNNNNPP", "revocation": "PPPPPPPNNNNNNPP"}
    assert (letters(verdict), verdict.result) == (expected[folder], "INCONCLUSIVE")


# --- later versions -------------------------------------------------------------------------------


def _rotated() -> tuple[Log, dict[str, int]]:
    """A log that rotates its log key and its registrar in version 1, with a capture before and one after."""
    log = Log()
    places = {"old enrolment": log.enrol(MODALITY), "old capture": log.capture()}
    _later(log, {"log_keys": [NEW_LOG_KEY.spki], "registrars": [registrar_entry(NEW_REGISTRAR)]})
    camera = party("second")
    places["new enrolment"] = log.enrol(camera, by=NEW_REGISTRAR)
    places["new capture"] = log.capture(by=camera)
    places["late enrolment"] = log.enrol(party("third"), by=REGISTRAR)
    places["late capture"] = log.capture(by=party("third"))
    return log, places


def test_a_policy_of_version_1_rotates_log_key_and_registrar() -> None:
    """Under a checkpoint by the new log key, old and new records verify, each under the registrar of its position."""
    log, at = _rotated()
    signed = log.checkpoint(signer=NEW_LOG_KEY)
    for age in ("old", "new"):
        verdict = _judge(log, at[f"{age} capture"], enrolments=[at[f"{age} enrolment"]], signed=signed)
        assert (letters(verdict), "policy version 1" in verdict.checks[2].reason) == (MATCH, True)


def test_the_old_log_key_signs_no_checkpoint_after_the_rotation() -> None:
    """The checkpoint has to be signed by the key of the policy in force at its size."""
    log, at = _rotated()
    verdict = _judge(log, at["new capture"], enrolments=[at["new enrolment"]])
    assert letters(verdict) == "PPPFNNNNNNNNNPP"


def test_an_older_checkpoint_stands_under_the_older_policy() -> None:
    """Evidence fetched before the rotation keeps verifying."""
    assert letters(_judge(scene(), 2, enrolments=[1])) == MATCH


def test_the_old_registrar_enrols_nobody_after_the_rotation() -> None:
    """A registrar that version 1 dropped leads nowhere from its position on."""
    log, at = _rotated()
    signed = log.checkpoint(signer=NEW_LOG_KEY)
    verdict = _judge(log, at["late capture"], enrolments=[at["late enrolment"]], signed=signed)
    assert letters(verdict) == "PPPPPFNNNNNNNPP"
    assert "does not lead to a registrar" in verdict.reason


def test_hiding_the_rotation_hides_its_registrar_too() -> None:
    """Evidence without version 1 under the new key's checkpoint fails: only version 1 names that key."""
    log, at = _rotated()
    signed = log.checkpoint(signer=NEW_LOG_KEY)
    verdict = _judge(log, at["old capture"], enrolments=[at["old enrolment"]], policies=[0], signed=signed)
    assert letters(verdict) == "PPPFNNNNNNNNNPP"


def test_a_later_version_needs_the_signatures_of_the_version_before() -> None:
    """New policy keys do not vote themselves in; the old two of three do, and then version 2 needs the new ones."""
    log = Log(policy_keys=THREE, threshold=2)
    new = [key(f"new policy {number}", "ed25519") for number in range(2)]
    one: Payload = {"version": 1, "log": log.id, "prev": statement.decode(log.statements[0]).id}
    one |= {"keys": cast("cbor.Value", sorted(each.spki for each in new)), "threshold": 2}
    first = log.policy(THREE[0], **one)
    log.policy(THREE[2], **one)
    log.enrol(MODALITY)
    capture = log.capture()
    assert letters(_judge(log, capture, enrolments=[4])) == MATCH

    two: Payload = {**one, "version": 2, "prev": statement.decode(log.statements[first]).id}
    log.policy(new[0], **two)
    log.policy(new[1], **two)
    assert letters(_judge(log, capture, enrolments=[4])) == MATCH

    old = Log(policy_keys=THREE, threshold=2)
    old.policy(new[0], **one)
    old.policy(new[1], **one)
    old.enrol(MODALITY)
    verdict = _judge(old, old.capture(), enrolments=[4])
    assert (letters(verdict), "not a policy key" in verdict.reason) == (POLICY_FAILS, True)


def test_proposals_signed_in_turns_do_not_disturb_each_other() -> None:
    """Two proposals for version 1 interleave; the one that is signed twice comes into force, the other never."""
    log = Log(policy_keys=THREE, threshold=2)
    base: Payload = {"version": 1, "log": log.id, "prev": statement.decode(log.statements[0]).id}
    taken: Payload = {**base, "log_keys": [NEW_LOG_KEY.spki]}
    dropped: Payload = {**base, "registrars": []}
    log.policy(THREE[0], **taken)
    log.policy(THREE[1], **dropped)
    log.policy(THREE[2], **taken)
    log.enrol(MODALITY)
    verdict = _judge(log, log.capture(), enrolments=[5], signed=log.checkpoint(signer=NEW_LOG_KEY))
    assert letters(verdict) == MATCH


def test_a_proposal_without_its_signatures_changes_nothing() -> None:
    """One policy key cannot spoil the log's evidence by proposing."""
    log = _three()
    log.policy(THREE[0], version=1, log=log.id, prev=statement.decode(log.statements[0]).id, registrars=[])
    assert letters(_judge(log, 3, enrolments=[2])) == MATCH


# --- registrars that are enrolled -----------------------------------------------------------------

DEPUTY = party("deputy")
SECOND = party("second-deputy")


def _chain(**options: Any) -> Log:
    """The policy's registrar enrols a deputy (1), the deputy a second one (2), that one the modality (3); capture 4."""
    log = Log()
    log.enrol(DEPUTY, role="registrar", by=REGISTRAR)
    log.enrol(SECOND, role="registrar", by=DEPUTY, **options)
    log.enrol(MODALITY, by=SECOND)
    log.capture()
    return log


def test_a_chain_of_two_enrolled_registrars_leads_to_the_policy() -> None:
    """Nearest first: modality, second deputy, deputy."""
    verdict = _judge(_chain(), 4, enrolments=[3, 2, 1])
    assert (letters(verdict), verdict.facts["role"]) == (MATCH, "modality")


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ([3], "does not lead to a registrar"),
        ([3, 2], "does not lead to a registrar"),
        ([3, 1], "enrols another key"),
        ([2, 1], "enrols another key"),
        ([1, 2, 3], "enrols another key"),
        ([3, 2, 1, 1], "enrols another key"),
        ([3, 3, 2, 1], "enrols another key"),
    ],
)
def test_a_broken_chain_of_registrars_fails(shown: list[int], reason: str) -> None:
    """Every link has to be there, in order, and none twice."""
    verdict = _judge(_chain(), 4, enrolments=shown)
    assert (letters(verdict), reason in verdict.reason) == ("PPPPPFNNNNNNNPP", True)


@pytest.mark.parametrize("at", [BEGIN - 1, END + 1])
def test_a_registrar_enrols_within_its_own_time(at: int) -> None:
    """The deputy was not enrolled for the time at which it says that it enrolled."""
    verdict = _judge(_chain(at=at), 4, enrolments=[3, 2, 1])
    assert (letters(verdict), "was not enrolled for the time" in verdict.reason) == ("PPPPPFNNNNNNNPP", True)


def test_a_registrar_of_the_policy_signs_within_its_dates_and_name() -> None:
    """The dates and the issuer of the policy's own entry count."""
    for at, by in [(END + 1, REGISTRAR), (NOW, Party(REGISTRAR.key, "https://elsewhere.example"))]:
        log = Log()
        log.enrol(MODALITY, by=by, at=at)
        assert letters(_judge(log, log.capture(), enrolments=[1])) == "PPPPPFNNNNNNNPP"


def test_a_revocation_by_an_enrolled_registrar_counts() -> None:
    """revocation/1 enrols the registrar that signed revocation/0."""
    log = scene()
    deputy = log.enrol(DEPUTY, role="registrar")
    revoked = log.revoke(MODALITY, effective=NOW, by=DEPUTY)
    verdict = _judge(log, 2, enrolments=[1], revocation=[revoked, deputy])
    assert letters(verdict) == "PPPPPPPNNNNNNPP"
    alone = _judge(log, 2, enrolments=[1], revocation=[revoked])
    assert letters(alone) == "PPPPPPPPFNNNNPP"
