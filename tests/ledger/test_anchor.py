"""The anchor: whatever a crash does to a write, the newest released checkpoint is still there, and nothing moves it back."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark_ledger.anchor import MAX_NOTE, SLOT, Anchor, Anchored, create, decode_slot, encode_slot
from platemark_ledger.errors import AnchorError

ROOTS = [bytes([number]) * 32 for number in range(8)]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    path = tmp_path / "anchor"
    create(path, size=1, root=ROOTS[1], note=b"note 1")
    return path


def _opened(path: Path) -> Anchored:
    anchor = Anchor(path)
    try:
        return anchor.read()
    finally:
        anchor.close()


anchored = st.builds(
    Anchored,
    sequence=st.integers(1, 2**64 - 1),
    size=st.integers(0, 2**64 - 1),
    root=st.binary(min_size=32, max_size=32),
    note=st.binary(max_size=MAX_NOTE),
)


@given(anchored)
def test_a_slot_decodes_to_what_was_encoded(value: Anchored) -> None:
    """A slot is 4096 bytes and holds exactly what was put into it."""
    assert len(encode_slot(value)) == SLOT
    assert decode_slot(encode_slot(value)) == value


@given(anchored, st.integers(0, SLOT * 8 - 1))
def test_a_slot_with_one_flipped_bit_is_no_slot(value: Anchored, bit: int) -> None:
    """No flipped bit goes unnoticed."""
    data = bytearray(encode_slot(value))
    data[bit // 8] ^= 1 << bit % 8
    assert decode_slot(bytes(data)) is None


def test_a_note_that_does_not_fit_is_refused() -> None:
    """A checkpoint with more signatures than a slot holds is an error, not a cut note."""
    with pytest.raises(AnchorError, match="more than"):
        encode_slot(Anchored(1, 1, ROOTS[1], bytes(MAX_NOTE + 1)))


def test_the_anchor_returns_what_was_released_last(path: Path) -> None:
    """Every release is what the next reader sees, in this process and after a fresh open."""
    anchor = Anchor(path)
    for size in range(2, 7):
        released = anchor.advance(size=size, root=ROOTS[size], note=b"note %d" % size)
        assert anchor.read() == released
        assert _opened(path) == released
        assert released.sequence == size
    anchor.close()


def test_the_same_release_again_changes_nothing(path: Path) -> None:
    """The same size and root is no new write."""
    anchor = Anchor(path)
    before = path.read_bytes()
    assert anchor.advance(size=1, root=ROOTS[1], note=b"another signature") == Anchored(1, 1, ROOTS[1], b"note 1")
    assert path.read_bytes() == before
    anchor.close()


@pytest.mark.parametrize(("size", "root"), [(3, ROOTS[4]), (2, ROOTS[2]), (0, ROOTS[0])])
def test_the_anchor_never_goes_back_and_never_has_two_roots(path: Path, size: int, root: bytes) -> None:
    """A smaller size, or another root for the same size, is a fatal error and changes nothing."""
    anchor = Anchor(path)
    released = anchor.advance(size=3, root=ROOTS[3], note=b"note 3")
    with pytest.raises(AnchorError, match="refused"):
        anchor.advance(size=size, root=root, note=b"x")
    assert anchor.read() == released
    anchor.close()


@given(kept=st.integers(0, SLOT), garbage=st.binary(min_size=16, max_size=16))
def test_a_torn_write_leaves_the_release_before_it(
    tmp_path_factory: pytest.TempPathFactory, kept: int, garbage: bytes
) -> None:
    """However much of a slot a crash lets through, the reader sees the new release whole or the one before it whole."""
    path = tmp_path_factory.mktemp("anchor") / "anchor"
    create(path, size=1, root=ROOTS[1], note=b"note 1")
    torn = encode_slot(Anchored(2, 2, ROOTS[2], b"note 2"))
    with path.open("r+b") as file:
        file.seek(SLOT)
        file.write(garbage)
        file.seek(SLOT)
        file.write(torn[:kept])
    found = _opened(path)
    whole = path.read_bytes()[SLOT:] == torn
    assert found == (Anchored(2, 2, ROOTS[2], b"note 2") if whole else Anchored(1, 1, ROOTS[1], b"note 1"))


def test_a_write_goes_into_the_slot_that_does_not_hold_the_newest(path: Path) -> None:
    """After a torn write the next release overwrites the torn slot, never the newest."""
    with path.open("r+b") as file:
        file.seek(SLOT)
        file.write(b"torn")
    anchor = Anchor(path)
    before = path.read_bytes()[:SLOT]
    anchor.advance(size=2, root=ROOTS[2], note=b"note 2")
    assert path.read_bytes()[:SLOT] == before
    anchor.close()


def test_an_anchor_without_a_whole_slot_is_refused(path: Path) -> None:
    """Nothing is guessed when both slots are damaged."""
    path.write_bytes(bytes(2 * SLOT))
    with pytest.raises(AnchorError, match="neither slot"):
        _opened(path)


def test_slots_that_contradict_each_other_are_refused(path: Path) -> None:
    """A later write with a smaller size cannot have come from this program."""
    newer = replace(_opened(path), sequence=2, size=0)
    path.write_bytes(path.read_bytes()[:SLOT] + encode_slot(newer))
    with pytest.raises(AnchorError, match="contradict"):
        _opened(path)


def test_a_missing_anchor_is_named(tmp_path: Path) -> None:
    """The error names the path and the reason."""
    with pytest.raises(AnchorError, match="nowhere cannot be opened: No such file"):
        Anchor(tmp_path / "nowhere")


def test_an_anchor_is_never_overwritten_by_a_new_one(path: Path) -> None:
    """Making a ledger does not destroy the anchor of another."""
    with pytest.raises(AnchorError, match="exists already"):
        create(path, size=1, root=ROOTS[1], note=b"")


def test_a_write_that_fails_is_fatal_and_leaves_the_newest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half of a slot gives an error, and the newest release is untouched."""
    anchor = Anchor(path)
    with monkeypatch.context() as patched:
        real = os.pwrite
        patched.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:100], offset))
        with pytest.raises(AnchorError, match="cannot be written"):
            anchor.advance(size=2, root=ROOTS[2], note=b"note 2")
    assert _opened(path).size == 1
    anchor.close()
