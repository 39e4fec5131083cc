"""The body of add-checkpoint: one form, both directions."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark import witness_wire
from platemark.errors import NoteError

HASH = base64.b64encode(bytes(32)).decode()
_hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=63)


@given(st.integers(0, 2**63 - 1), _hashes, st.binary(max_size=100))
def test_what_is_encoded_is_decoded(old_size: int, proof: list[bytes], note: bytes) -> None:
    """The checkpoint comes through verbatim, whatever it is."""
    body = witness_wire.encode_request(old_size=old_size, proof=proof, note=note)
    assert witness_wire.decode_request(body) == witness_wire.AddCheckpoint(old_size, tuple(proof), note)


def test_the_form_is_that_of_the_specification() -> None:
    """c2sp.org/tlog-witness, add-checkpoint."""
    body = witness_wire.encode_request(old_size=20852014, proof=[bytes(32)], note=b"checkpoint\n")
    assert body == f"old 20852014\n{HASH}\n\ncheckpoint\n".encode()


REFUSED = [
    b"",
    b"old 0\n",
    b"old 0\r\n\r\n",
    b"new 0\n\nx",
    b"old \n\nx",
    b"old 00\n\nx",
    b"old -1\n\nx",
    b"old 9223372036854775808\n\nx",
    "old \u0661\n\nx".encode(),
    b"old 1\nAAAA\n\nx",
    b"old 1\n" + HASH.encode()[:-1] + b"\n\nx",
    b"old 1\n " + HASH.encode() + b"\n\nx",
    b"old 1\n" + (HASH.encode() + b"\n") * 64 + b"\nx",
]


@pytest.mark.parametrize("body", REFUSED)
def test_another_form_is_refused(body: bytes) -> None:
    """No second way to say the same."""
    with pytest.raises(NoteError):
        witness_wire.decode_request(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    """And a request is exactly what encode gives again."""
    try:
        found = witness_wire.decode_request(body)
    except NoteError:
        return
    assert witness_wire.encode_request(old_size=found.old_size, proof=found.proof, note=found.note) == body
