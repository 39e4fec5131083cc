"""Transparent statements: what was attached comes off again, and the statement below is the one that was logged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receipts import consistency, inclusion

from builders import key
from platemark import cbor, cose, transparent
from platemark.errors import CoseError, ReceiptError

STATEMENT = cose.sign({cose.KID: b"kid"}, b"payload", key("alice", "ed25519"))
RECEIPTS = [inclusion(), inclusion(algorithm="p256"), consistency()]


def _header_end() -> int:
    return cbor.item(STATEMENT, 2)[1]


def carrying(unprotected: bytes) -> bytes:
    """The statement with these bytes as its unprotected header."""
    end = _header_end()
    return STATEMENT[:end] + unprotected + STATEMENT[end + 1 :]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_attached_and_detached(number: int) -> None:
    """The statement comes back byte for byte, and the receipts in their order."""
    whole = transparent.attach(STATEMENT, RECEIPTS[:number])
    assert transparent.detach(whole) == (STATEMENT, tuple(RECEIPTS[:number]))
    assert cbor.encode(394) + cbor.encode(RECEIPTS[:number]) in whole


def test_a_plain_statement_carries_none() -> None:
    """A statement without receipts is its own."""
    assert transparent.detach(STATEMENT) == (STATEMENT, ())


def test_receipts_that_are_not_wrapped() -> None:
    """The form of RFC 9943's grammar, and a mixture of both, are read."""
    items = RECEIPTS[0] + cbor.encode(RECEIPTS[1]) + RECEIPTS[2]
    whole = carrying(b"\xa1\x19\x01\x8a\x83" + items)
    assert transparent.detach(whole) == (STATEMENT, tuple(RECEIPTS))


REFUSED = [
    ("nothing", b"", "tag"),
    ("untagged", STATEMENT[1:], "tag"),
    ("too large", STATEMENT + bytes(transparent.MAX_TRANSPARENT), "statement"),
    ("trailing bytes", transparent.attach(STATEMENT, RECEIPTS) + b"\x00", "message"),
    ("another label", carrying(cbor.encode({33: b""})), "unprotected"),
    ("a label more", carrying(cbor.encode({33: b"", 394: RECEIPTS})), "unprotected"),
    ("no receipt", carrying(cbor.encode({394: []})), "unprotected.394"),
    ("no array", carrying(cbor.encode({394: b""})), "unprotected.394"),
    ("17 receipts", carrying(cbor.encode({394: [RECEIPTS[0]] * 17})), "unprotected.394"),
    ("a receipt that is text", carrying(cbor.encode({394: ["receipt"]})), "unprotected.394[0]"),
    ("an empty receipt", carrying(cbor.encode({394: [b""]})), "unprotected.394[0]"),
    ("an untagged receipt", carrying(cbor.encode({394: [RECEIPTS[0], RECEIPTS[0][1:]]})), "unprotected.394[1]"),
    ("a receipt with bytes after it", carrying(cbor.encode({394: [RECEIPTS[0] + b"\x00"]})), "unprotected.394[0]"),
    ("a receipt that is cut", carrying(cbor.encode({394: [RECEIPTS[0][:-1]]})), "unprotected.394[0]"),
    ("the end within the receipts", carrying(b"\xa1\x19\x01\x8a\x81")[: _header_end() + 5], "unprotected.394[0]"),
    ("the end before the receipts", STATEMENT[: _header_end()], "unprotected"),
]


@pytest.mark.parametrize(("raw", "part"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(raw: bytes, part: str) -> None:
    """What is not a statement with receipts is refused by name."""
    with pytest.raises(ReceiptError) as caught:
        transparent.detach(raw)
    assert caught.value.field == part


def test_what_is_not_attached() -> None:
    """Only receipts are attached, at least one, and only to a plain statement."""
    for receipts in ([], [RECEIPTS[0]] * 17, [b"receipt"], [RECEIPTS[0][:-1]], [RECEIPTS[0] + b"\x00"]):
        with pytest.raises(ReceiptError):
            transparent.attach(STATEMENT, receipts)
    with pytest.raises(CoseError):
        transparent.attach(transparent.attach(STATEMENT, RECEIPTS), RECEIPTS)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    """Any bytes are read or refused with a reason; what is read is written again as it was, if it was wrapped."""
    whole = transparent.attach(STATEMENT, RECEIPTS[::2])
    at = data.draw(st.integers(0, len(whole) - 1))
    raw = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + data.draw(st.integers(0, 8)) :]
    try:
        statement, receipts = transparent.detach(raw)
    except ReceiptError:
        return
    assert cose.identify(statement)
    if receipts:
        rewritten = transparent.attach(statement, receipts)
        assert transparent.detach(rewritten) == (statement, receipts)
