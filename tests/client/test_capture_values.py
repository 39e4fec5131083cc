"""Attribute values: two writers of the same fact normalise to the same text."""

import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark import cbor
from platemark.capture import _values
from platemark.capture._charset import decode_text


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("-91.2000", "-91.2"),
        (" +1.0 ", "1"),
        ("-0.000", "0"),
        ("007", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1.5E3", "1500"),
        ("1.5e-3", "0.0015"),
        ("0e5", "0"),
        ("100", "100"),
        ("", ""),
        (".", "."),
        ("1a", "1a"),
        ("1e9999", "1e9999"),
        ("--1", "--1"),
        ("٣", "٣"),
    ],
)
def test_decimals_are_plain_text(stored: str, expected: str) -> None:
    """DS and IS lose sign, zeros and exponent that carry nothing; what is no number stands as it is."""
    assert expected == _values.canonical_decimal(stored)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_decimals_keep_their_value(number: decimal.Decimal) -> None:
    """The canonical text of a decimal is equal in value, and canonical again."""
    text = _values.canonical_decimal(f"{number}")
    assert number == decimal.Decimal(text)
    assert text == _values.canonical_decimal(text)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("Doe^John ", "Doe^John"),
        (" Doe ^ John^^^", "Doe^John"),
        ("Yamada^Tarou=山田^太郎=", "Yamada^Tarou=山田^太郎"),
        ("=山田", "=山田"),
        ("^^^^", ""),
        ("", ""),
    ],
)
def test_person_names_are_trimmed_by_component(stored: str, expected: str) -> None:
    """A PN loses spaces around components and empty components and groups at the end."""
    assert expected == _values.person_name(stored)


@pytest.mark.parametrize(
    ("day", "time", "offset", "expected"),
    [
        ("20260102", "101112.5", "+0100", "20260102101112.5+0100"),
        ("2026.01.02", "10:11:12", "", "20260102101112"),
        ("20260102", "", "", "20260102"),
        ("20260102", "", "+0100", "20260102+0100"),
        ("", "101112", "+0100", None),
    ],
)
def test_dates_and_times_become_one_date_time(day: str, time: str, offset: str, expected: str | None) -> None:
    """DA, TM and offset make a DT."""
    assert expected == _values.date_time(_values.date(day), time, offset)


def test_a_date_time_keeps_its_own_offset() -> None:
    """A DT that has an offset keeps it; one without gets that of the object."""
    assert _values.date_time("20260102101112.5-0500", "", "+0100") == "20260102101112.5-0500"
    assert _values.date_time("20260102101112.5", "", "+0100") == "20260102101112.5+0100"


@pytest.mark.parametrize(
    ("data", "character_sets", "expected"),
    [
        (b"Buc^J\xe9r\xf4me", "ISO_IR 100", "Buc^Jérôme"),
        (b"Buc^J\xe9", "", "Buc^J\\351"),
        ("Wang^小东".encode(), "ISO_IR 192", "Wang^小东"),
        ("Wang^小东".encode("gb18030"), "GB18030", "Wang^小东"),
        (b"\xff", "ISO_IR 192", "\\377"),
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
        (b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "\\ISO 2022 IR 149", "Hong=洪^吉洞"),
        (b"\x1b-F\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "ISO 2022 IR 100\\ISO 2022 IR 126", "Διονυσιος"),
        (b"\x1bZ", "", "\x1bZ"),
        (b"abc", "ISO_IR 4711", "abc"),
        ("q\u0307\U00010efd\u1c89".encode(), "ISO_IR 192", "q\u0307\\360\\220\\273\\275\\341\\262\\211"),
        ("\U00010efd".encode("gb18030"), "GB18030", "\\360\\220\\273\\275"),
        ("é\ue000".encode(), "ISO_IR 192", "é\ue000"),
    ],
)
def test_text_is_decoded_by_its_character_set(data: bytes, character_sets: str, expected: str) -> None:
    """Text follows Specific Character Set with its escape sequences; bytes outside it become octal, never an error."""
    assert expected == decode_text(data, character_sets)


@given(
    st.binary(max_size=60), st.sampled_from(["", "ISO_IR 100", "ISO_IR 13", "ISO_IR 192", "GBK", "\\ISO 2022 IR 87"])
)
def test_decoding_never_fails(data: bytes, character_sets: str) -> None:
    """Any bytes in any character set decode to text that a statement can carry."""
    assert isinstance(cbor.encode(_values.bounded(decode_text(data, character_sets))), bytes)


def test_long_values_are_replaced_by_their_digest() -> None:
    """A value above 4093 bytes is committed as its SHA-256, so that it still compares."""
    assert _values.bounded("x" * 4093) == "x" * 4093
    assert _values.bounded("x" * 4094).startswith("sha-256:")
    assert _values.bounded("x" * 4094) != _values.bounded("x" * 4095)


def test_trimming_leaves_no_text_outside_nfc() -> None:
    """A combining character that trimming brings next to a separator is composed with it."""
    assert _values.bounded(_values.person_name("a= \u0338b")) == "a\u2260b"
