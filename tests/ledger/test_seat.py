"""The publisher's seat: one holder, hints that reach it, and a state that everyone reads."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark_ledger.errors import LockError
from platemark_ledger.seat import PartyState, PublisherState, Seat

_counts = st.integers(0, 2**62)
_parties = st.dictionaries(st.text(max_size=20), st.builds(PartyState, _counts, _counts, _counts), max_size=4)


def test_one_holder_at_a_time_and_the_next_when_it_is_gone(tmp_path: Path) -> None:
    """Two openings of one file exclude each other; closing gives the seat back, as the death of a process does."""
    first, second = Seat(tmp_path / "seat"), Seat(tmp_path / "seat")
    try:
        assert not second.taken()
        assert first.take()
        assert second.taken()
        assert not second.take()
        first.close()
        assert second.take()
    finally:
        second.close()


def test_a_hint_only_grows_and_ends_with_the_term(tmp_path: Path) -> None:
    """Whoever asks for less than is asked for already changes nothing; a new holder begins without hints."""
    seat, holder = Seat(tmp_path / "seat"), Seat(tmp_path / "seat")
    try:
        assert seat.asked() == 0
        seat.ask(7)
        seat.ask(3)
        assert holder.asked() == 7
        assert holder.take()
        assert seat.asked() == 0
    finally:
        seat.close()
        holder.close()


@given(
    st.builds(
        PublisherState,
        st.none() | st.booleans(),
        st.none() | st.text(max_size=50),
        _parties,
        _parties,
    )
)
def test_what_is_told_is_what_is_read(state: PublisherState) -> None:
    """Through the file, every state comes back."""
    with TemporaryDirectory() as directory:
        seat = Seat(Path(directory) / "seat")
        try:
            seat.tell(state)
            assert seat.told() == state
        finally:
            seat.close()


@pytest.mark.parametrize("damage", [0, 2, 30, 40, -1])
def test_a_torn_state_reads_as_none(tmp_path: Path, damage: int) -> None:
    """A reader that meets a write half done sees the empty state, never half of one."""
    seat = Seat(tmp_path / "seat")
    try:
        seat.tell(PublisherState(quorum=False, rollback="seen"))
        data = bytearray(seat.path.read_bytes())
        place = 4096 + damage if damage >= 0 else len(data) - 1
        data[place] ^= 1
        seat.path.write_bytes(data)
        assert seat.told() == PublisherState()
    finally:
        seat.close()


def test_a_seat_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error says which file."""
    with pytest.raises(LockError, match="seat"):
        Seat(tmp_path / "missing" / "seat")
