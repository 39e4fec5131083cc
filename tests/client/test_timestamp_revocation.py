"""Lists of revoked certificates beside a time stamp: what ends a token, what does not, and what checks nothing."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import stamps
from platemark.errors import TimeStampError
from platemark.timestamp import TimeStamp, verify_response
from stamps import NOON, SECOND, YEAR

MESSAGE = b"a message"
SHOP = stamps.shop()
SOUND = SHOP.stamp(MESSAGE)


def verify(*crls: bytes, shop: stamps.Shop = SHOP) -> TimeStamp:
    """SOUND, or the shop's own token, with these lists."""
    response = SOUND if shop is SHOP else shop.stamp(MESSAGE)
    return verify_response(response, message=MESSAGE, authorities=[shop.authority], crls=crls)


def test_without_a_list_revocation_is_not_checked() -> None:
    """And the result says so, in a word and as None."""
    assert (verify().revocation, verify().revocation_known) == ("not checked", None)


def test_a_list_in_force_at_the_time_of_the_token_checks_it() -> None:
    """What is known is known up to when the list was made."""
    found = verify(stamps.crl(SHOP, made=NOON - 60 * SECOND))
    assert (found.revocation, found.revocation_known) == ("checked", NOON - 60 * SECOND)


def test_the_latest_list_says_up_to_when_it_is_known() -> None:
    """The order of the lists does not matter."""
    lists = [stamps.crl(SHOP, made=NOON - 60 * SECOND), stamps.crl(SHOP, made=NOON + 60 * SECOND)]
    assert verify(*lists).revocation_known == verify(*lists[::-1]).revocation_known == NOON + 60 * SECOND


@pytest.mark.parametrize("revoked", [NOON - YEAR // 2, NOON])
def test_a_signer_revoked_at_or_before_the_token_is_refused(revoked: int) -> None:
    """For the mild reasons of RFC 3161 section 4 item 1 the times are compared."""
    with pytest.raises(TimeStampError, match=r"^certificate: revoked at or before the time of the token$"):
        verify(stamps.crl(SHOP, revoked=revoked))


@pytest.mark.parametrize(
    "reason",
    [
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
        x509.ReasonFlags.unspecified,
    ],
)
def test_what_was_stamped_before_a_mild_revocation_stays(reason: x509.ReasonFlags) -> None:
    """The authority stopped, and its key was not lost."""
    assert verify(stamps.crl(SHOP, made=NOON + YEAR, revoked=NOON + SECOND, reason=reason)).revocation == "checked"


@pytest.mark.parametrize("reason", [None, x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise])
def test_a_lost_key_ends_everything_it_stamped(reason: x509.ReasonFlags | None) -> None:
    """RFC 3161 section 4: without a mild reason, earlier tokens are invalid as well; whoever has the key can date back."""
    with pytest.raises(TimeStampError, match=r"^certificate: revoked for a reason that ends what it stamped before"):
        verify(stamps.crl(SHOP, made=NOON + YEAR, revoked=NOON + YEAR // 2, reason=reason))


def test_a_list_from_before_the_token_that_had_run_out_checks_nothing() -> None:
    """It says nothing about the time of the token."""
    assert verify(stamps.crl(SHOP, made=NOON - 2 * SECOND, following=NOON - SECOND)).revocation == "not checked"


def test_a_list_from_after_the_end_of_the_certificate_checks_nothing() -> None:
    """It need not name what has expired (RFC 5280 section 3.3); but what it does name is revoked."""
    late = NOON + 2 * YEAR
    assert verify(stamps.crl(SHOP, made=late, following=late + YEAR)).revocation == "not checked"
    with pytest.raises(TimeStampError, match=r"^certificate: revoked at or before the time of the token$"):
        verify(stamps.crl(SHOP, made=late, following=late + YEAR, revoked=NOON))


def test_a_list_of_somebody_else_checks_nothing() -> None:
    """Another issuer's, and one that only has the name of the issuer."""
    forged = stamps.crl(SHOP, revoked=NOON, signer=ec.generate_private_key(ec.SECP256R1()))
    assert verify(forged, stamps.crl(stamps.shop(between=True), revoked=NOON)).revocation == "not checked"


def test_a_list_with_a_critical_extension_checks_nothing() -> None:
    """A delta or partial list is no whole one (RFC 5280 section 5.2)."""
    assert verify(stamps.crl(SHOP, delta=True)).revocation == "not checked"


def test_the_whole_path_has_to_be_covered() -> None:
    """With an intermediate, a list for the signer alone leaves its issuer unchecked."""
    shop = stamps.shop(between=True)
    assert verify(stamps.crl(shop), shop=shop).revocation == "not checked"


def test_garbage_and_too_many_lists_are_refused() -> None:
    """Each is named by its place."""
    with pytest.raises(TimeStampError, match=r"^crls\[1\]: not a DER certificate revocation list$"):
        verify(stamps.crl(SHOP), b"garbage")
    with pytest.raises(TimeStampError, match=r"^crls: 17 of them, more than 16$"):
        verify(*[stamps.crl(SHOP)] * 17)
    with pytest.raises(TimeStampError, match=r"^crls\[0\]: 1048577 bytes, more than 1048576$"):
        verify(bytes(1048577))
