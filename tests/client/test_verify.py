"""The verdict, check by check: each fails alone for its own faults, and what rests on it is NOT CHECKED.

The status of the fifteen checks is written as a word of P, F and N (see builders.letters).
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import MODALITY, NOW, letters, measurement, scene
from platemark import attributes
from platemark.evidence import Evidence
from platemark.rungs import Measurement
from platemark.verdict import EXIT_CODES, PASS, Verdict
from platemark.verify import verify
from scenes import FAULTS, Fault, Scene, broken_signature, good

IMAGE = measurement(b"an image")


def _judge(given: Scene, *, image: Measurement | None = IMAGE, at: int = NOW) -> Verdict:
    return verify(given[0], trust=given[1], image=image, at=at)


def test_a_capture_by_an_enrolled_key_matches() -> None:
    """The good case: 1 to 8 and the image pass; what nobody proved is NOT CHECKED; facts are the signed ones."""
    verdict = _judge(good())
    assert (verdict.result, verdict.exit_code, letters(verdict)) == ("MATCHES RECORD", 0, "PPPPPPPPNNNNNPP")
    assert (verdict.rung, verdict.at, verdict.disclosed, verdict.unread) == ("file", NOW, {}, ())
    record = scene()
    assert dict(verdict.facts) == {
        "clock": "ntp",
        "clock_error_ns": 1_000_000,
        "device": MODALITY.uri,
        "index": 2,
        "kid": MODALITY.key.kid.hex(),
        "log": "ledger.example/xray",
        "log_id": record.id.hex(),
        "log_size": 3,
        "log_signatures": "Ed25519",
        "media": "image/png",
        "origin": "modality-signed",
        "role": "modality",
        "statement_id": verdict.facts["statement_id"],
        "stated_time": NOW,
    }


@pytest.mark.parametrize("row", FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_fails_its_own_check(row: Fault) -> None:
    """One fault, one FAIL (or NOT CHECKED), its result, its exit code and its reason."""
    _, make, checks, reason = row
    verdict = _judge(make())
    result = "EVIDENCE INVALID" if "F" in checks else "INCONCLUSIVE"
    assert (letters(verdict), verdict.result, verdict.exit_code) == (checks, result, EXIT_CODES[result])
    assert reason in verdict.reason


@pytest.mark.parametrize("row", FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_is_found_without_trust_too(row: Fault) -> None:
    """V7: without a trust file nothing passes that rests on the log, and what fails still fails."""
    _, make, checks, _ = row
    verdict = verify(make()[0], trust=None, image=IMAGE, at=NOW)
    assert "P" not in letters(verdict)[1:9]
    assert ("F" in letters(verdict), dict(verdict.facts)) == ("F" in checks, {})
    assert verdict.exit_code == (4 if "F" in checks else 3)


@pytest.mark.parametrize("row", FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_shows_nothing_as_fact(row: Fault) -> None:
    """V8: unless 1 to 7 passed there are no facts and no disclosed values."""
    _, make, checks, _ = row
    verdict = _judge(make())
    assert (verdict.facts != {}) == checks.startswith("PPPPPPP")


def test_nothing_passes_where_no_log_is_trusted() -> None:
    """Without trust: no fact, no disclosed value, and every reason says what it would take."""
    disclosure = attributes.commit({"rows": 1}, key=bytes(32))
    log = scene(attributes=disclosure)
    shown = log.evidence(2, enrolments=[1], disclosure=disclosure.open("rows"))
    verdict = verify(shown, trust=None, image=IMAGE, at=NOW)
    assert (verdict.result, dict(verdict.facts), dict(verdict.disclosed)) == ("INCONCLUSIVE", {}, {})
    for check in verdict.checks[2:8]:
        assert check.reason.startswith("holds only if the log is believed: ")


def test_the_reason_of_a_check_that_was_not_reached_says_so() -> None:
    """A check behind a failed one is NOT CHECKED because of that."""
    verdict = _judge(broken_signature())
    assert verdict.checks[6].reason == "an earlier check that this one rests on did not pass"


# --- fuzz -----------------------------------------------------------------------------------------


def _changed(given: Evidence, data: st.DataObject) -> Evidence:
    """`given` with one byte of one of its statements or proofs changed."""
    chain = [given.record, *given.enrolments, *given.policies]
    number, part = data.draw(st.integers(0, len(chain) - 1)), data.draw(st.sampled_from(["statement", "proof"]))
    raw: bytes = getattr(chain[number], part)
    at, flip = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, 255))
    chain[number] = replace(chain[number], **{part: raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]})
    cut = 1 + len(given.enrolments)
    return replace(given, record=chain[0], enrolments=tuple(chain[1:cut]), policies=tuple(chain[cut:]))


@given(st.data())
def test_a_changed_byte_anywhere_never_matches_and_never_raises(data: st.DataObject) -> None:
    """Whatever byte of the evidence changes, verify returns a verdict that is not MATCHES RECORD."""
    given, trust = good()
    verdict = _judge((_changed(given, data), trust))
    assert verdict.exit_code in {3, 4}
    assert [check.status for check in verdict.checks[:8]] != [PASS] * 8
