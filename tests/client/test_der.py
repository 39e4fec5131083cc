"""Reading DER: one form of each length, integer and object identifier, and no other."""

import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from platemark import der
from platemark.errors import TimeStampError


def node(data: bytes, tag: int) -> der.Node:
    """The one element of `data`."""
    return der.single(data, tag, "field")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "not DER: it ends within an element"),
        ("02", "not DER: it ends within an element"),
        ("0202ff", "not DER: it ends within an element"),
        ("0280000000", "not DER: a length that is not definite"),
        ("0285000000000100", "not DER: a length that is not definite"),
        ("028101ff", "not DER: a length that is not in its shortest form"),
        ("02820001ff", "not DER: a length that is not in its shortest form"),
        ("0281", "not DER: a length that is not in its shortest form"),
        ("1f020100", "not DER of a time stamp: a tag of more than one byte"),
        ("02010000", "1 trailing bytes"),
        ("040100", "of another type"),
    ],
)
def test_what_is_no_one_element_is_refused(data: str, reason: str) -> None:
    """With the field and why."""
    with pytest.raises(TimeStampError) as refused:
        node(bytes.fromhex(data), der.INTEGER)
    assert str(refused.value) == f"field: {reason}"


@pytest.mark.parametrize("content", ["", "80", "ff", "0001", "007f", "01" * 22])
def test_an_integer_is_not_negative_short_and_has_one_form(content: str) -> None:
    """The largest that RFC 3161 asks for has 160 bits."""
    data = bytes.fromhex(content)
    with pytest.raises(TimeStampError, match=r"^field: (not an integer from 0|an integer that is not in its shortest)"):
        der.integer(node(bytes([2, len(data)]) + data, der.INTEGER), "field")


@pytest.mark.parametrize("content", ["", "80", "8001", "2a8001", "2a86", "2a" * 33])
def test_an_object_identifier_has_one_form(content: str) -> None:
    """Empty, cut within an arc, with leading zeros of an arc, or too long."""
    data = bytes.fromhex(content)
    with pytest.raises(TimeStampError, match=r"^field: (not an object|an object) identifier"):
        der.object_identifier(node(bytes([6, len(data)]) + data, der.OBJECT_IDENTIFIER), "field")


@given(st.integers(0, 2**160 - 1))
def test_integers_are_those_of_asn1crypto(value: int) -> None:
    """A second implementation writes what we read."""
    assert der.integer(node(core.Integer(value).dump(), der.INTEGER), "field") == value


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 2**32), max_size=5))
def test_object_identifiers_are_those_of_asn1crypto(first: int, second: int, rest: list[int]) -> None:
    """A second implementation writes what we read."""
    dotted = ".".join(str(arc) for arc in (first, second, *rest))
    assert der.object_identifier(node(core.ObjectIdentifier(dotted).dump(), der.OBJECT_IDENTIFIER), "field") == dotted


@given(st.binary(max_size=70_000))
def test_lengths_of_any_size_are_read(content: bytes) -> None:
    """In one, two and three bytes."""
    assert node(core.OctetString(content).dump(), der.OCTET_STRING).content == content


def test_a_field_that_is_missing_or_left_over_is_named() -> None:
    """A sequence is read in its order and to its end."""
    sequence = node(bytes.fromhex("3006020101040102"), der.SEQUENCE)
    fields = der.Reader.of(sequence, "sequence")
    assert fields.optional(der.BOOLEAN) is None
    assert fields.take(der.INTEGER, "number").content == b"\x01"
    with pytest.raises(TimeStampError, match=r"^sequence.second: missing or of another type$"):
        fields.take(der.INTEGER, "second")
    with pytest.raises(TimeStampError, match=r"^sequence: a field that does not belong here$"):
        fields.end()
    fields.take(der.OCTET_STRING, "second")
    fields.end()
