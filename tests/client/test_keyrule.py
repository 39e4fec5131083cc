"""The key rule: every row of its table, the edges of every comparison, and what nobody can gain by a date."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import BEGIN, END, NOW
from platemark.keyrule import Finding, KeyState, Revocation, Validity, judge
from platemark.report import format_time

KEY = Validity(BEGIN, END)
RECORD = 20
LAST = (1 << 63) - 1
CLEAN = KeyState(index=40, size=40, time=NOW + 5, revocation=None)
TIMES = st.integers(0, LAST)
LEAVES = st.integers(0, 60)
REVOCATIONS = st.builds(Revocation, index=LEAVES.filter(lambda leaf: leaf != RECORD), effective=TIMES)


def _revoked_at(leaf: int, *, effective: int = NOW) -> Revocation:
    return Revocation(leaf, effective)


def _letters(finding: Finding) -> str:
    return finding.validity.status[0] + finding.revocation.status[0]


def _judge(
    *,
    stated: int = NOW,
    at: int = NOW,
    proven: int | None = None,
    revocation: Revocation | None = None,
    keystate: KeyState | None = None,
) -> Finding:
    return judge(key=KEY, stated=stated, index=RECORD, at=at, proven=proven, revocation=revocation, keystate=keystate)


# --- check 8 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("proven", [None, BEGIN, NOW, END, END + 1])
@pytest.mark.parametrize("stated", [0, BEGIN - 1, END + 1, LAST])
def test_a_stated_time_outside_the_dates_fails(stated: int, proven: int | None) -> None:
    """Whatever is proven, the key was not enrolled for the time that the record states."""
    assert _letters(_judge(stated=stated, proven=proven, at=LAST)) == "FN"


@pytest.mark.parametrize("stated", [BEGIN, NOW, END])
@pytest.mark.parametrize("proven", [BEGIN, NOW, END])
@pytest.mark.parametrize("at", [0, NOW, LAST])
def test_a_proven_time_within_the_dates_passes_at_any_time(stated: int, proven: int, at: int) -> None:
    """Once time is proven, the time of verification no longer matters: evidence outlives the key."""
    assert _letters(_judge(stated=stated, proven=proven, at=at)) == "PN"


@pytest.mark.parametrize(("at", "letter"), [(NOW, "P"), (END, "P"), (END + 1, "N"), (LAST, "N"), (NOW - 1, "N")])
def test_without_a_proven_time_the_time_of_verification_bounds_the_record(at: int, letter: str) -> None:
    """The record exists by now; once the key has expired, or before the stated time, that proves nothing."""
    assert _judge(at=at).validity.status[0] == letter


@pytest.mark.parametrize("proven", [END + 1, LAST])
def test_a_proven_time_after_the_dates_is_inconclusive(proven: int) -> None:
    """An expired key could have signed it later, with any stated time."""
    assert _letters(_judge(proven=proven)) == "NN"


@pytest.mark.parametrize("proven", [0, BEGIN - 1])
def test_a_record_older_than_its_keys_dates_is_inconclusive(proven: int) -> None:
    """The key was not valid yet when the record is proven to have existed."""
    assert _letters(_judge(proven=proven)) == "NN"


# --- check 9: a revocation ------------------------------------------------------------------------


@pytest.mark.parametrize("effective", [NOW, NOW + 1, LAST])
@pytest.mark.parametrize("leaf", [RECORD + 1, RECORD + 1000])
def test_what_was_proven_by_the_effective_time_stands(leaf: int, effective: int) -> None:
    """A hospital cannot disown a capture that was proven to exist at or before the revocation's effective time."""
    assert _letters(_judge(proven=NOW, revocation=_revoked_at(leaf, effective=effective))) == "PP"


@pytest.mark.parametrize("effective", [0, NOW - 1])
def test_what_was_proven_later_is_disputed(effective: int) -> None:
    """Whoever had the key after the effective time could have made it."""
    finding = _judge(proven=NOW, revocation=_revoked_at(RECORD + 1, effective=effective))
    assert _letters(finding) == "NN"
    assert "disputed" in finding.validity.reason
    assert "disputed" in finding.revocation.reason


@pytest.mark.parametrize("at", [0, NOW, LAST])
@pytest.mark.parametrize("effective", [0, NOW, LAST])
def test_what_was_never_proven_is_disputed(at: int, effective: int) -> None:
    """The order of the log says that the record came first, not when; a chosen time of verification settles nothing."""
    assert _letters(_judge(at=at, revocation=_revoked_at(RECORD + 1, effective=effective))) == "NN"


@pytest.mark.parametrize("proven", [None, BEGIN, NOW])
@pytest.mark.parametrize("effective", [0, NOW, LAST])
@pytest.mark.parametrize("leaf", [0, RECORD - 1])
def test_a_record_after_the_revocation_fails(leaf: int, effective: int, proven: int | None) -> None:
    """No ledger accepts it, whatever times are stated, proven or effective."""
    assert _letters(_judge(proven=proven, revocation=_revoked_at(leaf, effective=effective))) == "PF"


def test_a_fault_of_the_dates_is_not_covered_up_by_a_dispute() -> None:
    """A stated time outside the key's dates stays FAIL when the key was revoked later."""
    assert _letters(_judge(stated=END + 1, revocation=_revoked_at(RECORD + 1))) == "FN"


@pytest.mark.parametrize("proven", [END + 1, LAST])
def test_an_expired_key_that_was_revoked_later_stays_inconclusive(proven: int) -> None:
    """A proven time by the effective time settles the revocation and not the expiry."""
    assert _letters(_judge(proven=proven, revocation=_revoked_at(RECORD + 1, effective=LAST))) == "NP"


# --- check 9: a keystate --------------------------------------------------------------------------


def test_a_later_keystate_proves_that_the_key_was_not_revoked() -> None:
    """PASS, and the reason says up to which time that is known."""
    finding = _judge(keystate=CLEAN)
    assert (_letters(finding), finding.known_to) == ("PP", NOW + 5)
    assert finding.revocation.reason.startswith(f"key status known to {format_time(NOW + 5)}: not revoked")


@pytest.mark.parametrize(("size", "letters"), [(RECORD, "PN"), (RECORD + 1, "PP")])
def test_a_keystate_counts_from_the_first_size_that_has_the_record(size: int, letters: str) -> None:
    """A state of a log without the record leaves room for a revocation between the two."""
    finding = _judge(keystate=replace(CLEAN, size=size))
    assert _letters(finding) == letters
    assert (finding.known_to is None) == (letters == "PN")


def test_without_a_keystate_nothing_proves_that_no_revocation_was_held_back() -> None:
    """NOT CHECKED: it does not stop a verdict, and is never reported as passed."""
    finding = _judge()
    assert (_letters(finding), finding.known_to) == ("PN", None)


def test_a_keystate_does_not_extend_a_key_that_has_expired() -> None:
    """The two checks answer two questions."""
    assert _letters(_judge(at=END + 1, keystate=CLEAN)) == "NP"


@pytest.mark.parametrize("proven", [None, NOW])
@pytest.mark.parametrize(("leaf", "letters"), [(RECORD - 1, "PF"), (RECORD + 1, "NN")])
def test_a_revocation_that_only_the_keystate_shows_is_not_better_held_back(
    leaf: int, letters: str, proven: int | None
) -> None:
    """Leaving the revoke statement out of the evidence gains nothing, and the log's word alone gives nothing."""
    state = replace(CLEAN, revocation=_revoked_at(leaf, effective=LAST))
    assert _letters(_judge(proven=proven, keystate=state)) == letters


@pytest.mark.parametrize("proven", [None, NOW])
def test_a_keystate_that_agrees_changes_nothing(proven: int | None) -> None:
    """With the revocation in it, or from before it, the revocation's own rule decides."""
    revocation = _revoked_at(RECORD + 5)
    alone = _judge(proven=proven, revocation=revocation)
    for state in (replace(CLEAN, revocation=revocation), replace(CLEAN, size=RECORD + 5)):
        assert _judge(proven=proven, revocation=revocation, keystate=state) == alone


@pytest.mark.parametrize(
    ("revocation", "state"),
    [
        (_revoked_at(30), CLEAN),
        (_revoked_at(39), CLEAN),
        (_revoked_at(30), replace(CLEAN, revocation=_revoked_at(31))),
        (_revoked_at(30), replace(CLEAN, revocation=_revoked_at(30, effective=NOW - 1))),
        (_revoked_at(41), replace(CLEAN, revocation=_revoked_at(30))),
        (None, replace(CLEAN, size=41)),
        (None, replace(CLEAN, revocation=_revoked_at(40))),
    ],
    ids=["omits it", "omits the last", "other leaf", "other time", "shows an earlier", "own future", "future revoke"],
)
def test_a_keystate_that_cannot_be_true_fails(revocation: Revocation | None, state: KeyState) -> None:
    """Two things that one log says about a key and that cannot both hold are a fault of the evidence."""
    finding = _judge(proven=NOW, revocation=revocation, keystate=state)
    assert (finding.revocation.status, finding.known_to) == ("FAIL", None)


# --- properties -----------------------------------------------------------------------------------


@given(stated=TIMES, proven=st.none() | TIMES, at=TIMES, revocation=REVOCATIONS)
def test_a_stated_time_moves_nothing_within_the_dates(
    stated: int, proven: int | None, at: int, revocation: Revocation
) -> None:
    """Of two records that differ in their stated times alone, the revocation is judged the same."""
    first = _judge(stated=stated, proven=proven, at=at, revocation=revocation)
    assert first.revocation == _judge(proven=proven, at=at, revocation=revocation).revocation


@given(proven=TIMES, earlier=TIMES, at=TIMES, revocation=REVOCATIONS)
def test_an_earlier_proof_of_existence_never_makes_a_revocation_worse(
    proven: int, earlier: int, at: int, revocation: Revocation
) -> None:
    """What passed check 9 passes it with an earlier time stamp as well."""
    low, high = sorted((proven, earlier))
    if _judge(proven=high, at=at, revocation=revocation).revocation.status == "PASS":
        assert _judge(proven=low, at=at, revocation=revocation).revocation.status == "PASS"


@given(proven=st.none() | TIMES, at=TIMES, other=TIMES, revocation=REVOCATIONS)
def test_a_chosen_time_of_verification_settles_no_revocation(
    proven: int | None, at: int, other: int, revocation: Revocation
) -> None:
    """`--at` is the reader's own word."""
    assert (
        _judge(proven=proven, at=at, revocation=revocation).revocation
        == _judge(proven=proven, at=other, revocation=revocation).revocation
    )
