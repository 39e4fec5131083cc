"""Hostile time stamps and lists of revoked certificates: an error of ours or the same answer, never anything else."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

import stamps
from platemark import der, time_token
from platemark.errors import TimeStampError
from platemark.timestamp import Authority, TimeStamp, verify_response

MESSAGE = b"a message"
SHOP = stamps.shop(between=True)
SOUND = SHOP.stamp(MESSAGE)
CRL = stamps.crl(SHOP)
EXPECTED = verify_response(SOUND, message=MESSAGE, authorities=[SHOP.authority])


def outcome(response: bytes, *, crls: tuple[bytes, ...] = ()) -> TimeStamp | None:
    """What it proves; None if it was refused as it should be. Any other exception fails the test."""
    try:
        return verify_response(response, message=MESSAGE, authorities=[SHOP.authority], crls=crls)
    except TimeStampError:
        return None


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_no_changed_byte_changes_what_is_proven(mask: int) -> None:
    """Every byte of a token, changed in four ways: refused, or proving the same (what nobody signed may change)."""
    for at in range(len(SOUND)):
        changed = SOUND[:at] + bytes([SOUND[at] ^ mask]) + SOUND[at + 1 :]
        assert outcome(changed) in {None, EXPECTED}, f"byte {at}"


def test_no_cut_or_inserted_byte_is_accepted() -> None:
    """A DER length somewhere does not agree any more."""
    for at in range(len(SOUND)):
        assert outcome(SOUND[:at] + SOUND[at + 1 :]) is None
        assert outcome(SOUND[:at]) is None
        assert outcome(SOUND[:at] + b"\x00" + SOUND[at:]) is None


@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 40), st.binary(max_size=40)), max_size=4),
)
def test_spliced_tokens_prove_nothing_new(splices: list[tuple[int, int, bytes]]) -> None:
    """Parts cut out and put in at several places."""
    changed = SOUND
    for at, length, inserted in splices:
        changed = changed[:at] + inserted + changed[at + length :]
    assert outcome(changed) in {None, EXPECTED}


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    """Bytes from nowhere, as a response, in a response, as a root and as a list of revoked certificates."""
    assert outcome(noise) is None
    assert outcome(b"\x30\x82" + len(noise).to_bytes(2, "big") + noise) is None
    assert outcome(SOUND, crls=(noise,)) is None
    with pytest.raises(TimeStampError, match=r"^roots\[0\]: "):
        Authority("noise", (noise,))


@given(st.integers(0, len(CRL) - 1), st.integers(1, 255))
def test_a_changed_list_never_ends_in_another_exception(at: int, mask: int) -> None:
    """It is refused, or it counts for nothing because its signature fails, or it says the same."""
    changed = CRL[:at] + bytes([CRL[at] ^ mask]) + CRL[at + 1 :]
    found = outcome(SOUND, crls=(changed,))
    assert found is None or found.revocation == "not checked"


@given(st.integers(0, len(SHOP.root.public_bytes(Encoding.DER)) - 1), st.integers(1, 255))
def test_a_changed_root_is_refused_or_leads_nowhere_new(at: int, mask: int) -> None:
    """A damaged trust file is an error of ours, too."""
    der_ = SHOP.root.public_bytes(Encoding.DER)
    try:
        authority = Authority("test", (der_[:at] + bytes([der_[at] ^ mask]) + der_[at + 1 :],))
        verify_response(SOUND, message=MESSAGE, authorities=[authority])
    except TimeStampError:
        pass


@given(st.binary(max_size=64))
def test_the_reader_of_der_reads_only_what_it_would_write(data: bytes) -> None:
    """What it takes apart has the same bytes put together again, so no content has two readings."""
    try:
        parts = der.nodes(data, "data")
    except TimeStampError:
        return
    assert b"".join(part.raw for part in parts) == data
    assert all(part.raw.endswith(part.content) for part in parts)


def test_the_largest_token_takes_bounded_time() -> None:
    """64 KiB of the smallest elements are read once, and too many certificates are refused before one is loaded."""
    many = b"\x05\x00" * 32000
    assert len(der.nodes(many, "data")) == 32000
    with pytest.raises(TimeStampError, match=r"^response: 65537 bytes, more than 65536$"):
        time_token.decode(bytes(time_token.MAX_RESPONSE + 1))
