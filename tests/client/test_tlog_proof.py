"""C2SP tlog-proof@v1: one file that proves one leaf, in one form."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from builders import key
from platemark import checkpoint, merkle, tlog_proof
from platemark.checkpoint import Checkpoint
from platemark.errors import NoteError, ProofError
from platemark.note import NoteSigner
from strategies import leaf_hashes

LOG = NoteSigner("ledger.example/xray", key("log", "ed25519"))


def _signed(leaves: list[bytes]) -> bytes:
    return checkpoint.sign(Checkpoint(LOG.name, len(leaves), reference.root(leaves)), [LOG])


def _proof(leaves: list[bytes], index: int, *, extra: bytes | None = None) -> bytes:
    """The file, put together from the text of the specification and the recursive reference."""
    lines = ["c2sp.org/tlog-proof@v1"]
    if extra is not None:
        lines.append(f"extra {base64.b64encode(extra).decode()}")
    path = reference.inclusion_path(leaves, index)
    lines += [f"index {index}", *(base64.b64encode(digest).decode() for digest in path), "", ""]
    return "\n".join(lines).encode() + _signed(leaves)


LEAVES = [reference.leaf(bytes([number])) for number in range(6)]
GOOD = _proof(LEAVES, 4, extra=b"hint")


@given(leaf_hashes(min_size=1, max_size=40), st.data())
def test_a_proof_comes_back_and_verifies_its_leaf(leaves: list[bytes], data: st.DataObject) -> None:
    """Parse and to_bytes are inverse on files made from the specification, and the leaf verifies."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    extra = data.draw(st.none() | st.binary(max_size=20))
    raw = _proof(leaves, index, extra=extra)
    proof = tlog_proof.parse(raw)
    assert (proof.to_bytes(), proof.index, proof.extra) == (raw, index, extra)
    proof.verify_leaf(leaves[index])
    with pytest.raises(ProofError):
        proof.verify_leaf(merkle.node_hash(leaves[index], leaves[index]))


def _swap(old: bytes, new: bytes) -> Callable[[], bytes]:
    def swapped() -> bytes:
        assert old in GOOD
        return GOOD.replace(old, new, 1)

    return swapped


_FIRST = base64.b64encode(reference.inclusion_path(LEAVES, 4)[0])
REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", "tlog-proof"),
    ("header alone", lambda: b"c2sp.org/tlog-proof@v1\n", "tlog-proof"),
    ("no empty line", lambda: GOOD.replace(b"\n\n", b"\n"), "tlog-proof"),
    ("another version", _swap(b"@v1", b"@v2"), "tlog-proof"),
    ("a space after the header", _swap(b"@v1\n", b"@v1 \n"), "tlog-proof"),
    ("a line before the header", lambda: b"\n" + GOOD, "tlog-proof"),
    ("CRLF", lambda: GOOD.replace(b"\n", b"\r\n"), "tlog-proof"),
    ("CR in the head", _swap(b"index 4\n", b"index 4\r\n"), "tlog-proof.index"),
    ("not ASCII in the head", _swap(b"index 4", b"index \xd9\xa4"), "tlog-proof"),
    ("no index", _swap(b"index 4\n", b""), "tlog-proof.index"),
    ("index without number", _swap(b"index 4", b"index "), "tlog-proof.index"),
    ("index without space", _swap(b"index 4", b"index4"), "tlog-proof.index"),
    ("index with leading zero", _swap(b"index 4", b"index 04"), "tlog-proof.index"),
    ("index negative", _swap(b"index 4", b"index -4"), "tlog-proof.index"),
    ("index of 2^63", _swap(b"index 4", b"index 9223372036854775808"), "tlog-proof.index"),
    ("index of 5000 digits", _swap(b"index 4", b"index " + b"9" * 5000), "tlog-proof.index"),
    ("index twice", _swap(b"index 4\n", b"index 4\nindex 4\n"), "tlog-proof.path[0]"),
    ("index before extra", _swap(b"extra aGludA==\nindex 4\n", b"index 4\nextra aGludA==\n"), "tlog-proof.path[0]"),
    ("extra twice", _swap(b"index 4", b"extra aGludA==\nindex 4"), "tlog-proof.index"),
    ("extra not base64", _swap(b"aGludA==", b"hint!"), "tlog-proof.extra"),
    ("extra in another form", _swap(b"aGludA==", b"aGludB=="), "tlog-proof.extra"),
    ("extra too large", _swap(b"aGludA==", base64.b64encode(bytes(32_769))), "tlog-proof.extra"),
    ("head too large", _swap(b"aGludA==", b"A" * 70_000), "tlog-proof"),
    ("a hash in hex", _swap(_FIRST, b"00" * 32), "tlog-proof.path[0]"),
    ("a hash of 31", _swap(_FIRST, base64.b64encode(bytes(31))), "tlog-proof.path[0]"),
    ("a hash of 33", _swap(_FIRST, base64.b64encode(bytes(33))), "tlog-proof.path[0]"),
    ("a hash without padding", _swap(_FIRST, _FIRST.rstrip(b"=")), "tlog-proof.path[0]"),
    ("a hash and a space", _swap(_FIRST, _FIRST + b" "), "tlog-proof.path[0]"),
    ("64 hashes", _swap(_FIRST, b"\n".join([_FIRST] * 64)), "tlog-proof.path"),
    ("no checkpoint", lambda: GOOD[: GOOD.index(b"\n\n") + 2], "note"),
    ("a checkpoint with an extension", _swap(b"\n6\n", b"\nmore\n6\n"), "checkpoint"),
    ("a checkpoint cut off", lambda: GOOD[:-1], "note"),
]


@pytest.mark.parametrize(("make", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_malformed_proof_is_refused(make: Callable[[], bytes], field: str) -> None:
    """Every deviation is a NoteError that names the line."""
    with pytest.raises(NoteError) as caught:
        tlog_proof.parse(make())
    assert caught.value.field == field


MUTATIONS: list[tuple[str, Callable[[], bytes]]] = [
    ("another index", _swap(b"index 4", b"index 5")),
    ("an index outside", _swap(b"index 4", b"index 6")),
    ("a hash dropped", _swap(_FIRST + b"\n", b"")),
    ("a hash repeated", _swap(_FIRST, _FIRST + b"\n" + _FIRST)),
    ("a hash of zeros", _swap(_FIRST, base64.b64encode(bytes(32)))),
]


@pytest.mark.parametrize("make", [row[1] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
def test_a_mutated_proof_does_not_verify(make: Callable[[], bytes]) -> None:
    """A well-formed file with another index or path is a ProofError for the leaf."""
    with pytest.raises(ProofError):
        tlog_proof.parse(make()).verify_leaf(LEAVES[4])


def test_sixty_three_hashes_and_the_greatest_extra_are_read() -> None:
    """The limits themselves are allowed."""
    most = _swap(_FIRST, b"\n".join([_FIRST] * 62))()
    assert len(tlog_proof.parse(most).path) == 63
    assert tlog_proof.parse(_proof(LEAVES, 0, extra=bytes(32_768))).extra == bytes(32_768)


def test_extra_is_not_authenticated() -> None:
    """F2: whatever extra says, the proof verifies; so nobody may believe it."""
    tlog_proof.parse(_swap(b"aGludA==", base64.b64encode(b"lies"))()).verify_leaf(LEAVES[4])


@given(st.data())
def test_a_changed_byte_raises_nothing_but_our_errors(data: st.DataObject) -> None:
    """A flipped byte is malformed, or a proof whose bytes come back as they are."""
    at, flip = data.draw(st.integers(0, len(GOOD) - 1)), data.draw(st.integers(1, 255))
    changed = GOOD[:at] + bytes([GOOD[at] ^ flip]) + GOOD[at + 1 :]
    try:
        proof = tlog_proof.parse(changed)
    except NoteError:
        return
    assert proof.to_bytes() == changed
