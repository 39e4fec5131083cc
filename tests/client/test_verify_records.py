"""The verdict over time, and for records of every kind: what passes, what is shown, what stays open."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from builders import (
    BEGIN,
    END,
    LOG_KEY,
    MODALITY,
    NOW,
    Log,
    Party,
    letters,
    measurement,
    scene,
)
from platemark import attributes, cbor, evidence
from platemark.errors import EvidenceError
from platemark.evidence import Evidence
from platemark.trust import Trust
from platemark.verdict import Verdict
from platemark.verify import verify
from scenes import two_checkpoints


def _judge(given: tuple[Evidence, Trust], *, at: int = NOW) -> Verdict:
    return verify(given[0], trust=given[1], image=measurement(b"an image"), at=at)


def _at(captured: int) -> tuple[Evidence, Trust]:
    """The good scene, captured at another time."""
    log = scene(at=captured)
    return log.evidence(2, enrolments=[1]), log.trust()


def _good() -> tuple[Evidence, Trust]:
    return _at(NOW)


def _revoked(order: str) -> tuple[Evidence, Trust]:
    """Leaves in the order of these letters: e enrol, c capture, r revoke; the revocation is shown."""
    log = Log()
    steps: dict[str, Callable[[], int]] = {
        "e": lambda: log.enrol(MODALITY),
        "c": log.capture,
        "r": lambda: log.revoke(MODALITY, effective=NOW),
    }
    places = {letter: steps[letter]() for letter in order}
    return log.evidence(places["c"], enrolments=[places["e"]], revocation=[places["r"]]), log.trust()


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "checks", "result"),
    [
        (NOW - 1, "PPPPPPPNNNNNNPP", "INCONCLUSIVE"),
        (NOW, "PPPPPPPPNNNNNPP", "MATCHES RECORD"),
        (END, "PPPPPPPPNNNNNPP", "MATCHES RECORD"),
        (END + 1, "PPPPPPPNNNNNNPP", "INCONCLUSIVE"),
        ((1 << 63) - 1, "PPPPPPPNNNNNNPP", "INCONCLUSIVE"),
    ],
)
def test_an_expired_key_is_inconclusive(at: int, checks: str, result: str) -> None:
    """Once the key has expired nothing proves that the record is older; before the stated time there was no record."""
    verdict = _judge(_good(), at=at)
    assert (letters(verdict), verdict.result) == (checks, result)


@pytest.mark.parametrize("captured", [BEGIN, END])
def test_the_edges_of_a_validity_are_inside(captured: int) -> None:
    """not_before and not_after themselves are valid."""
    assert _judge(_at(captured), at=END).result == "MATCHES RECORD"


@pytest.mark.parametrize("at", [0, NOW - 1, NOW, NOW + 1])
def test_a_chosen_time_never_settles_a_revocation(at: int) -> None:
    """Without a time stamp a revocation after the record is disputed, whatever --at says."""
    verdict = _judge(_revoked("ecr"), at=at)
    assert (letters(verdict), verdict.result) == ("PPPPPPPNNNNNNPP", "INCONCLUSIVE")


@pytest.mark.parametrize("at", [NOW, END])
def test_a_record_after_the_revocation_fails_at_any_time(at: int) -> None:
    """The order of the log needs no clock."""
    assert letters(_judge(_revoked("erc"), at=at)) == "PPPPPPPPFNNNNPP"


# --- what else the verdict shows ------------------------------------------------------------------


def test_conditions_are_shown_as_reported() -> None:
    """What the ledger says of the chain is listed and proves nothing."""
    log = scene()
    verdict = _judge((log.evidence(2, enrolments=[1], conditions=("gap", "fork")), log.trust()))
    assert (verdict.result, verdict.conditions) == ("MATCHES RECORD", ("gap", "fork"))
    assert "gap, fork" in verdict.checks[11].reason


def test_two_checkpoints_have_no_bundle_and_no_verdict_but_invalid() -> None:
    """B6: a proof under another checkpoint than the record's cannot be written, and fails its check where it is handed over."""
    given, trust = two_checkpoints()
    with pytest.raises(EvidenceError, match=r"enrolment/0\.proof: its proof carries another checkpoint"):
        given.to_bytes()
    verdict = verify(given, trust=trust, image=measurement(b"an image"), at=NOW)
    assert (letters(verdict), verdict.result) == ("PPPPPFNNNNNNNPP", "EVIDENCE INVALID")


def test_members_of_a_later_release_are_listed() -> None:
    """B7: they are named as not read, and change nothing."""
    given, trust = _good()
    later = replace(given, unknown={"receipt.cbor": b"\xff", "time/0.ers": b""})
    read = evidence.from_bytes(later.to_bytes())
    verdict = _judge((read, trust))
    assert (verdict.result, verdict.unread) == ("MATCHES RECORD", ("receipt.cbor", "time/0.ers"))


def test_disclosed_values_are_shown_once_everything_holds() -> None:
    """Check 13 passes and the values are there; with the whole tree too."""
    disclosure = attributes.commit({"patient_id": "4711", "laterality": None}, key=bytes(32))
    log = scene(attributes=disclosure)
    for shown in (disclosure, disclosure.open("patient_id", "laterality")):
        verdict = _judge((log.evidence(2, enrolments=[1], disclosure=shown), log.trust()))
        assert letters(verdict) == "PPPPPPPPNNNNPPP"
        assert dict(verdict.disclosed) == {"patient_id": "4711", "laterality": None}


# --- records of other kinds -----------------------------------------------------------------------


def test_a_record_by_the_registrar_needs_no_enrolment() -> None:
    """An enrolment as the record: the policy names its signer. It records no image."""
    log = scene()
    verdict = _judge((log.evidence(1, enrolments=[]), log.trust()))
    assert (letters(verdict), verdict.result) == ("PPPPPPPPNNNNNNN", "INCONCLUSIVE")
    assert (verdict.facts["role"], "records no single image" in verdict.reason) == ("registrar", True)


def test_a_record_by_the_log_itself_is_judged_by_the_policy() -> None:
    """A keystate is signed by the log key that the policy in force names."""
    log = scene()
    state: dict[str, cbor.Value] = {"at": NOW, "log": log.id, "size": 3, "root": bytes(32), "count": 3}
    index = log.say("keystate", state, by=Party(LOG_KEY, f"https://{log.origin}"))
    verdict = _judge((log.evidence(index, enrolments=[]), log.trust()))
    assert (letters(verdict), verdict.facts["role"]) == ("PPPPPPPPNNNNNNN", "log")


def test_a_log_key_may_not_sign_a_capture() -> None:
    """T8: log keys sign keystates and notes."""
    log = scene()
    index = log.capture(by=Party(LOG_KEY, f"https://{log.origin}"))
    verdict = _judge((log.evidence(index, enrolments=[]), log.trust()))
    assert (verdict.result, "role log may not sign a statement of kind capture" in verdict.reason) == (
        "EVIDENCE INVALID",
        True,
    )


def test_a_policy_as_record_is_judged_by_check_3() -> None:
    """Nothing enrolled a policy key: 6 is NOT CHECKED and says why."""
    log = scene()
    verdict = _judge((log.evidence(0, enrolments=[]), log.trust()))
    assert (letters(verdict), verdict.result) == ("PPPPPNNNNNNNNNN", "INCONCLUSIVE")


@pytest.mark.parametrize(
    ("role", "kind"),
    [("operator", "attest"), ("operator", "custody"), ("gateway", "note"), ("gateway", "heartbeat")],
)
def test_other_records_pass_all_but_the_image(role: str, kind: str) -> None:
    """A sound record of another kind is INCONCLUSIVE for an image: it records none."""
    log = Log()
    log.enrol(MODALITY, role=role)
    bound: dict[str, cbor.Value] = {"at": NOW, "log": log.id}
    contents: dict[str, dict[str, cbor.Value]] = {
        "attest": {**bound, "of": bytes(32), "meaning": "performed"},
        "custody": {**bound, "of": bytes(32), "event": "collected"},
        "note": {**bound, "topic": "remark", "text": "a remark"},
        "heartbeat": {"at": NOW, "since": NOW, "clock": {"source": "ntp", "error_ns": None}},
    }
    index = log.say(kind, contents[kind], by=MODALITY)
    verdict = _judge((log.evidence(index, enrolments=[1]), log.trust()))
    assert (letters(verdict), verdict.exit_code) == ("PPPPPPPPNNNNNNN", 3)


def test_a_record_without_attributes_has_nothing_to_disclose() -> None:
    """A disclosure beside a heartbeat is no fault and no fact: 13 is NOT CHECKED."""
    log = Log()
    log.enrol(MODALITY)
    index = log.say("heartbeat", {"at": NOW, "since": NOW, "clock": {"source": "ntp", "error_ns": None}}, by=MODALITY)
    disclosure = attributes.commit({"rows": 1}, key=bytes(32))
    verdict = _judge((log.evidence(index, enrolments=[1], disclosure=disclosure), log.trust()))
    assert (letters(verdict), dict(verdict.disclosed)) == ("PPPPPPPPNNNNNNN", {})
