"""What `check_response` tells whoever keeps tokens for others: that no verifier will find a fault, as far as one can know."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

import stamps
from platemark.errors import TimeStampError
from platemark.timestamp import CLOCKS_NS, check_response, verify_response
from stamps import NOON, SECOND, YEAR

MESSAGE = b"a message"
SHOP = stamps.shop(label="kept", between=True)
SOUND = SHOP.stamp(MESSAGE)


def kept(response: bytes) -> bool:
    """Whether it would be kept."""
    try:
        check_response(response, message=MESSAGE, now_ns=NOON)
    except TimeStampError:
        return False
    return True


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_no_changed_byte_of_what_is_signed_is_kept(mask: int) -> None:
    """Every byte of a token: what is kept is what verifies, but for certificates, which only a root can judge."""
    embedded = {at for each in (SHOP.stamper.chain) for at in _place(each.public_bytes(Encoding.DER))}
    for at in range(len(SOUND)):
        changed = SOUND[:at] + bytes([SOUND[at] ^ mask]) + SOUND[at + 1 :]
        if at in embedded or not kept(changed):
            continue
        assert verify_response(changed, message=MESSAGE, authorities=[SHOP.authority]).time_ns == NOON, f"byte {at}"


def _place(part: bytes) -> range:
    start = SOUND.index(part)
    return range(start, start + len(part))


def test_the_last_byte_is_of_the_signature() -> None:
    """One bit of it, and the token is refused without any root."""
    assert check_response(SOUND, message=MESSAGE).time_ns == NOON
    with pytest.raises(TimeStampError, match=r"^signature: it does not verify"):
        check_response(SOUND[:-1] + bytes([SOUND[-1] ^ 1]), message=MESSAGE)


def test_another_content_is_refused() -> None:
    """The signature is over its digest only."""
    at = SOUND.index(b"\x18\x0f") + 2
    with pytest.raises(TimeStampError, match=r"^signature: it does not verify"):
        check_response(SOUND[:at] + b"2027" + SOUND[at + 4 :], message=MESSAGE)


def test_the_time_is_near_the_clock_of_whoever_asked() -> None:
    """Both ends are included; without a clock nothing is compared."""
    for now in (NOON - CLOCKS_NS, NOON + CLOCKS_NS):
        assert check_response(SOUND, message=MESSAGE, now_ns=now).time_ns == NOON
    for now in (NOON - CLOCKS_NS - 1, NOON + CLOCKS_NS + 1):
        with pytest.raises(TimeStampError, match=r"^genTime: more than 300 s from the clock here$"):
            check_response(SOUND, message=MESSAGE, now_ns=now)
    assert check_response(SOUND, message=MESSAGE, now_ns=NOON + SECOND, within_ns=SECOND).time_ns == NOON
    with pytest.raises(TimeStampError, match=r"^genTime: more than 1 s from"):
        check_response(SOUND, message=MESSAGE, now_ns=NOON + SECOND + 1, within_ns=SECOND)


def test_an_embedded_issuer_outside_its_dates_is_refused() -> None:
    """A reader would come upon it on the path; what did not issue the signer's certificate is on no path."""
    start, end = NOON - YEAR, NOON - SECOND
    old = stamps.certificate(
        "between", "root", SHOP.issuer_key, stamps.key("kept root"), since=start, until=end, ca=True
    )
    with pytest.raises(TimeStampError, match=r"^genTime: outside the validity of certificate 1 of the chain$"):
        check_response(_embedding(old), message=MESSAGE)
    other = stamps.key("other")
    beside = stamps.certificate("between", "root", other, other, since=start, until=end, ca=True)
    assert check_response(_embedding(SHOP.issuer, beside), message=MESSAGE).time_ns == NOON


def _embedding(*chain: x509.Certificate) -> bytes:
    return replace(SHOP, stamper=replace(SHOP.stamper, chain=chain)).stamp(MESSAGE)


def test_an_algorithm_that_the_table_does_not_have_is_refused() -> None:
    """P-521 for the signer; and what has ended by then."""
    with pytest.raises(TimeStampError, match=r"^algorithms: ECDSA secp521r1 is not acceptable"):
        check_response(stamps.shop(curve=ec.SECP521R1()).stamp(MESSAGE), message=MESSAGE)
    late = stamps.shop(since=NOON, until=NOON + 20 * YEAR)
    with pytest.raises(TimeStampError, match=r"^algorithms: ECDSA P-256 is not acceptable"):
        check_response(late.stamp(MESSAGE, at=NOON + 10 * YEAR), message=MESSAGE)


def test_a_list_that_takes_an_embedded_certificate_back_is_refused_with_it() -> None:
    """Later revocations for a mild reason, partial lists and those of other issuers change nothing; garbage is none."""
    for crl in (
        stamps.crl(SHOP),
        stamps.crl(SHOP, revoked=NOON + SECOND),
        stamps.crl(SHOP, revoked=NOON, delta=True),
        stamps.crl(stamps.shop(), revoked=NOON),
    ):
        assert check_response(SOUND, message=MESSAGE, crls=[crl]).time_ns == NOON
    with pytest.raises(TimeStampError, match=r"^certificate: revoked at or before the time of the token$"):
        check_response(SOUND, message=MESSAGE, crls=[stamps.crl(SHOP, revoked=NOON)])
    with pytest.raises(TimeStampError, match=r"^crls\[0\]: not a DER certificate revocation list$"):
        check_response(SOUND, message=MESSAGE, crls=[b"garbage"])
