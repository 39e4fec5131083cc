"""The strict CBOR subset: one encoding for each value, and everything else refused by name."""

import io
import re
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from platemark import cbor
from platemark.errors import CborError
from strategies import cbor_values


def _by_bytes(value: object) -> object:
    """The value with every map in the bytewise order of its encoded keys, which cbor2 then keeps."""
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: cbor2.dumps(pair[0]))
        return {key: _by_bytes(item) for key, item in pairs}
    return [_by_bytes(item) for item in value] if isinstance(value, list) else value


@given(cbor_values())
def test_a_value_comes_back_from_its_encoding(value: cbor.Value) -> None:
    """Decode is the inverse of encode, type by type: true is not 1 and text is not bytes."""
    assert repr(cbor.decode(cbor.encode(value))) == repr(_by_bytes(value))


@given(st.binary(max_size=64))
@example(b"\xf5")
@example(b"\xa2\x01\x02\x03\x04")
def test_what_decodes_is_the_one_encoding_of_its_value(data: bytes) -> None:
    """Any bytes either are refused or are exactly what encode gives for their value."""
    try:
        value = cbor.decode(data)
    except CborError:
        return
    assert data == cbor.encode(value)


@given(cbor_values(), st.data())
def test_a_changed_byte_is_refused_or_another_value(value: cbor.Value, data: st.DataObject) -> None:
    """No two encodings decode to one value, so no byte of an encoding can change without effect."""
    encoded = bytearray(cbor.encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = cbor.decode(bytes(encoded))
    except CborError:
        return
    assert repr(changed) != repr(_by_bytes(value))


@given(cbor_values())
def test_cbor2_reads_what_we_write(value: cbor.Value) -> None:
    """An independent decoder finds the same value."""
    assert repr(_by_bytes(value)) == repr(_by_bytes(cbor2.loads(cbor.encode(value))))


@given(cbor_values())
def test_cbor2_writes_what_we_write_once_its_maps_are_sorted_bytewise(value: cbor.Value) -> None:
    """An independent encoder gives the same bytes; only its canonical map order is another one."""
    assert cbor2.dumps(_by_bytes(value)) == cbor.encode(value)


def test_map_keys_are_in_bytewise_order_and_not_shortest_first() -> None:
    """RFC 8949 4.2.1 puts 100 (18 64) before -1 (20); the older length-first order of cbor2's canonical form does not."""
    value: cbor.Value = {"z": 1, -1: 2, 100: 3, 10: 4}
    assert cbor.encode(value) == bytes.fromhex("a40a041864032002617a01")
    assert cbor2.dumps(value, canonical=True) == bytes.fromhex("a40a042002186403617a01")


@given(st.binary(max_size=64))
def test_cbor2_never_disagrees_on_bytes_that_we_accept(data: bytes) -> None:
    """Whatever we accept, an independent decoder accepts too, with nothing left over and the same value."""
    try:
        value = cbor.decode(data)
    except CborError:
        return
    stream = io.BytesIO(data)
    assert repr(_by_bytes(cbor2.load(stream))) == repr(_by_bytes(value))
    assert stream.read() == b""


ACCEPTED: list[tuple[str, object]] = [
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("18ff", 255),
    ("190100", 256),
    ("19ffff", 65535),
    ("1a00010000", 65536),
    ("1affffffff", (1 << 32) - 1),
    ("1b0000000100000000", 1 << 32),
    ("1bffffffffffffffff", (1 << 64) - 1),
    ("20", -1),
    ("37", -24),
    ("3818", -25),
    ("3b7fffffffffffffff", -(1 << 63)),
    ("40", b""),
    ("4401020304", b"\x01\x02\x03\x04"),
    ("60", ""),
    ("62c3bc", "\u00fc"),
    ("64f0908591", "\U00010151"),
    ("80", []),
    ("83010203", [1, 2, 3]),
    ("a0", {}),
    ("a201020304", {1: 2, 3: 4}),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("8181818181818180", [[[[[[[[]]]]]]]]),
]


@pytest.mark.parametrize(("encoded", "value"), ACCEPTED)
def test_known_encodings(encoded: str, value: object) -> None:
    """The examples of RFC 8949 appendix A that are in the subset, and every edge of a width."""
    assert cbor.decode(bytes.fromhex(encoded)) == value
    assert cbor.encode(value) == bytes.fromhex(encoded)


REFUSED: list[tuple[str, str, str]] = [
    # name, bytes, the reason in the error
    ("empty", "", "ends inside"),
    ("duplicate integer key", "a201010102", "duplicated"),
    ("duplicate text key", "a2616101616102", "duplicated"),
    ("keys out of order", "a203040102", "bytewise order"),
    ("text key before integer key", "a26161010102", "bytewise order"),
    ("negative key before positive", "a220010102", "bytewise order"),
    ("keys shortest first", "a3200118640218c803", "bytewise order"),
    ("bool as key", "a1f501", "neither an integer nor text"),
    ("null as key", "a1f601", "neither an integer nor text"),
    ("bytes as key", "a1410101", "neither an integer nor text"),
    ("array as key", "a18001", "neither an integer nor text"),
    ("map as key", "a1a001", "neither an integer nor text"),
    ("indefinite bytes", "5f4101ff", "indefinite"),
    ("indefinite text", "7f6161ff", "indefinite"),
    ("indefinite array", "9f01ff", "indefinite"),
    ("indefinite map", "bf0102ff", "indefinite"),
    ("break alone", "ff", "simple value"),
    ("half float", "f93c00", "floats"),
    ("single float", "fa3f800000", "floats"),
    ("double float", "fb3ff0000000000000", "floats"),
    ("half NaN", "f97e00", "floats"),
    ("undefined", "f7", "simple value"),
    ("simple 0", "e0", "simple value"),
    ("simple 19", "f3", "simple value"),
    ("simple 24 in two bytes", "f818", "simple value"),
    ("simple 255", "f8ff", "simple value"),
    ("false in two bytes", "f814", "simple value"),
    ("reserved simple 28", "fc", "simple value"),
    ("reserved length 28", "1c", "reserved"),
    ("reserved length 29", "5d", "reserved"),
    ("reserved length 30", "9e", "reserved"),
    ("integer with break as length", "1f", "indefinite"),
    ("not UTF-8: lone continuation", "6180", "UTF-8"),
    ("not UTF-8: overlong", "62c080", "UTF-8"),
    ("not UTF-8: surrogate", "63eda080", "UTF-8"),
    ("not UTF-8: above U+10FFFF", "64f4908080", "UTF-8"),
    ("not UTF-8: cut off", "61c3", "UTF-8"),
    ("decomposed text", "6375cc88", "NFC"),
    ("decomposed key", "a16375cc8801", "NFC"),
    ("compatibility ohm sign", "63e284a6", "NFC"),
    ("a mark of Unicode 15", cbor2.dumps("q\u0307\U00010efd").hex(), "U+10EFD, which Unicode 14.0 does not assign"),
    ("a noncharacter", cbor2.dumps("\uffff").hex(), "U+FFFF, which"),
    ("a letter of Unicode 16 as key", cbor2.dumps({"\u1c89": 1}).hex(), "U+1C89, which"),
    ("depth 9 of arrays", "81" * 8 + "80", "deeper than 8"),
    ("depth 9 of maps", "a101" * 8 + "a0", "deeper than 8"),
    ("depth 9 in a key-value mix", "81a101" * 4 + "80", "deeper than 8"),
    ("depth of a hundred thousand", "81" * 100_000, "deeper than 8"),
    ("trailing byte", "0000", "1 trailing bytes"),
    ("two values", "f5f5", "1 trailing bytes"),
    ("array of 2^64 - 1", "9bffffffffffffffff", "ends inside"),
    ("map of 2^63", "bb8000000000000000", "ends inside"),
    ("bytes of 2^64 - 1", "5bffffffffffffffff00", "ends inside"),
    ("text of 2^32", "7b0000000100000000", "ends inside"),
    ("array of a million of nothing", "9a000f4240", "ends inside"),
    ("below -2^63", "3b8000000000000000", "below -2^63"),
    ("-2^64", "3bffffffffffffffff", "below -2^63"),
]


@pytest.mark.parametrize(("data", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused_bytes_are_named(data: str, reason: str) -> None:
    """Every form outside the subset is a CborError that says at which byte and why."""
    with pytest.raises(CborError, match=re.escape(reason)) as caught:
        cbor.decode(bytes.fromhex(data))
    assert caught.value.field.startswith("byte ")


@pytest.mark.parametrize("major", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("width", "argument"), [(1, 0), (1, 23), (2, 0), (2, 255), (4, 0), (4, 65535), (8, 0), (8, (1 << 32) - 1)]
)
def test_a_head_that_is_not_shortest_is_refused(major: int, width: int, argument: int) -> None:
    """Every major type refuses every argument that fits a shorter head."""
    head = bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[width]]) + argument.to_bytes(width, "big")
    with pytest.raises(CborError, match="shortest"):
        cbor.decode(head + bytes(min(argument, 70_000) * 2))


@pytest.mark.parametrize("tag", [*range(24), 24, 55799, (1 << 64) - 1])
def test_every_tag_is_refused(tag: int) -> None:
    """No tag is in the subset, not even 18: COSE takes it off before."""
    with pytest.raises(CborError, match="tags are refused"):
        cbor.decode(cbor2.dumps(cbor2.CBORTag(tag, 0)))


@given(cbor_values())
def test_a_prefix_is_refused(value: cbor.Value) -> None:
    """Bytes cut off anywhere are refused."""
    encoded = cbor.encode(value)
    for length in range(len(encoded)):
        with pytest.raises(CborError):
            cbor.decode(encoded[:length])


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


UNSAYABLE: list[tuple[str, Callable[[], object], str, str]] = [
    ("float", lambda: {"a": [1.0]}, "value.a[0]", "float is not in the CBOR subset"),
    ("too large", lambda: 1 << 64, "value", "outside -2^63 to 2^64 - 1"),
    ("too small", lambda: -(1 << 63) - 1, "value", "outside -2^63 to 2^64 - 1"),
    ("decomposed", lambda: ["u\u0308"], "value[0]", "not in Unicode NFC"),
    ("newer than Unicode 14", lambda: "\U00010efd", "value", "U+10EFD, which Unicode 14.0 does not assign"),
    ("lone surrogate", lambda: "\ud800", "value", "lone surrogate"),
    ("decomposed key", lambda: {"u\u0308": 1}, "value key", "not in Unicode NFC"),
    ("bool key", lambda: {True: 1}, "value", "neither an integer nor text"),
    ("bytes key", lambda: {b"a": 1}, "value", "neither an integer nor text"),
    ("None key", lambda: {None: 1}, "value", "neither an integer nor text"),
    ("tuple key", lambda: {(1, 2): 1}, "value", "neither an integer nor text"),
    ("key too large", lambda: {1 << 64: 1}, "value key", "outside -2^63 to 2^64 - 1"),
    ("set", lambda: {1, 2}, "value", "set is not in the CBOR subset"),
    ("bytearray", lambda: bytearray(b"a"), "value", "bytearray is not in the CBOR subset"),
    ("object", object, "value", "object is not in the CBOR subset"),
    ("depth 9", lambda: _nested(9), "value" + "[0]" * 8, "deeper than 8"),
    ("a list that holds itself", _endless, "value" + "[0]" * 8, "deeper than 8"),
]


@pytest.mark.parametrize(
    ("value", "field", "reason"), [row[1:] for row in UNSAYABLE], ids=[row[0] for row in UNSAYABLE]
)
def test_what_the_subset_cannot_say_is_refused(value: Callable[[], object], field: str, reason: str) -> None:
    """Encode refuses with the path to the value, and never writes a lossy form."""
    with pytest.raises(CborError, match=re.escape(reason)) as caught:
        cbor.encode(value())
    assert caught.value.field == field


def test_a_tuple_is_an_array() -> None:
    """A tuple encodes as the list of its items."""
    assert cbor.encode((1, (2, 3))) == cbor.encode([1, [2, 3]])


def test_the_deepest_value_is_encoded_and_decoded() -> None:
    """Depth 8 is allowed both ways."""
    assert cbor.decode(cbor.encode(_nested(8))) == _nested(8)
