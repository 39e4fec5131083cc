"""What the time stamps of a record prove together."""

import pytest

import stamps
from platemark import proven_time, renewal
from platemark.errors import TimeStampError
from platemark.proven_time import ProvenTime
from platemark.renewal import Proof, Renewal, Stamped
from stamps import NOON, SECOND, YEAR, Shop

ONE, TWO = (stamps.shop(label=f"proven {name}", until=NOON + 20 * YEAR) for name in ("one", "two"))
AUTHORITIES = [ONE.authority, TWO.authority]
NOTE = b"note 5\n"


def stamped(shop: Shop = ONE, *, at: int = NOON, seconds: int | None = None) -> Stamped:
    """A stamp over the log note, perhaps with a stated accuracy."""
    stated = {} if seconds is None else {"accuracy": stamps.accuracy(seconds=seconds)}
    return Stamped(5, NOTE, shop.stamp(NOTE, at=at, **stated))


def renewed(one: Stamped, *, at: int) -> Proof:
    """The proof of a renewal of this stamp alone."""
    claim = renewal.claim([one], size=5, note=NOTE).encode()
    made = Renewal(claim, ((TWO.stamp(claim, at=at, algorithm="sha512"), ()),))
    return renewal.prove([one], one, renewal=made)


def prove(*given: Stamped, at: int = NOON + YEAR) -> ProvenTime:
    """Without renewals."""
    return proven_time.prove([(each, ()) for each in given], authorities=AUTHORITIES, at=at)


def test_the_earliest_bound_counts() -> None:
    """With the stated accuracy, in any order."""
    precise = stamped(TWO, at=NOON + SECOND)
    vague = stamped(ONE, at=NOON, seconds=5)
    for given in ((precise, vague), (vague, precise)):
        found = prove(*given)
        assert (found.not_later_than, found.unproven) == (NOON + SECOND, ())


def test_a_stamp_of_somebody_else_is_a_reason_and_no_fault() -> None:
    """The others still count; without any there is no bound, and the reasons are told."""
    unknown = stamped(stamps.shop())
    found = prove(unknown, stamped())
    assert found.not_later_than == NOON
    assert found.unproven == ("time stamp 0: certificates: no trusted authority leads to the signer",)
    assert prove(unknown).not_later_than is None
    assert prove(unknown).text == found.unproven[0]
    assert prove().text == "there is no time stamp"


def test_a_stamp_at_fault_is_an_error_whatever_the_others_prove() -> None:
    """Evidence that carries a stamp over something else is not sound."""
    with pytest.raises(TimeStampError, match=r"^time stamp 1: tstInfo.messageImprint: of another message$"):
        prove(stamped(), Stamped(5, b"note 6\n", ONE.stamp(NOTE)))


def test_a_stamp_from_after_the_time_of_verification_proves_nothing_yet() -> None:
    """Nobody could have known it."""
    assert prove(stamped(), at=NOON - 1).unproven == ("time stamp 0: genTime: after the time of verification",)
    assert prove(stamped(), at=NOON).not_later_than == NOON


def test_a_renewal_in_time_keeps_the_bound_and_one_from_later_than_at_does_not_count() -> None:
    """P-256 ends with 2035: alone the stamp proves nothing in 2037, and a renewal under P-256 does not help then either."""
    one = stamped()
    proofs = (renewed(one, at=NOON + 2 * YEAR),)
    found = proven_time.prove([(one, proofs)], authorities=AUTHORITIES, at=NOON + 3 * YEAR)
    assert [each.time_ns for each in found.stamps] == [NOON, NOON + 2 * YEAR]
    earlier = proven_time.prove([(one, proofs)], authorities=AUTHORITIES, at=NOON + YEAR)
    assert [each.time_ns for each in earlier.stamps] == [NOON]
    ended = ("time stamp 0: algorithms: one is no longer acceptable, and no renewal came in time",)
    assert prove(one, at=NOON + 11 * YEAR).unproven == ended
    assert proven_time.prove([(one, proofs)], authorities=AUTHORITIES, at=NOON + 11 * YEAR).unproven == ended


def test_the_text_says_by_whom_and_how_well() -> None:
    """A missing accuracy is named, and so is a revocation that nobody could check."""
    assert prove(stamped()).text == (
        "not later than 2026-05-28T20:26:40.000000000Z by test (no accuracy stated; revocation not checked; "
        "algorithms acceptable at the proven time, table 2026-11)"
    )
    one = Stamped(5, NOTE, ONE.stamp(NOTE, accuracy=stamps.accuracy(seconds=1, millis=500)), (stamps.crl(ONE),))
    proofs = (renewed(one, at=NOON + SECOND),)
    assert proven_time.prove([(one, proofs)], authorities=AUTHORITIES, at=NOON + YEAR).text == (
        "not later than 2026-05-28T20:26:41.500000000Z by test (accuracy 1.5 s; revocation checked, known to "
        "2026-05-28T20:26:40.000000000Z; algorithms acceptable at the proven time, table 2026-11, "
        "renewed at 2026-05-28T20:26:41.000000000Z)"
    )
