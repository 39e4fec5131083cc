"""platemark.audit.frontier: the accumulator agrees with the text of RFC 9162, whatever the pieces."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from platemark.audit import Frontier
from platemark.errors import ProofError


def leaves(count: int) -> list[bytes]:
    """Leaf hashes."""
    return [hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(count)]


def grown(count: int) -> Frontier:
    """The frontier over `count` leaves, a tile at a time."""
    frontier, hashes = Frontier(), leaves(count)
    for at in range(0, count, 256):
        frontier.add(b"".join(hashes[at : at + 256]))
    return frontier


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000])
def test_root_is_the_definition(count: int) -> None:
    """The root over whole tiles is MTH of RFC 9162 2.1.1."""
    assert grown(count).root() == reference.root(leaves(count))


@given(st.lists(st.integers(0, 300), max_size=8))
def test_pieces_do_not_matter(pieces: list[int]) -> None:
    """However the leaves are cut, root, size and completed tiles are those of the definition."""
    hashes, frontier, completed = leaves(sum(pieces)), Frontier(), []
    at = 0
    for piece in pieces:
        left = piece
        while left:
            step = min(left, 256 - frontier.size % 256)
            completed += frontier.add(b"".join(hashes[at : at + step]))
            at, left = at + step, left - step
    assert frontier.size == len(hashes)
    assert frontier.root() == reference.root(hashes)
    whole = [b"".join(hashes[start : start + 256]) for start in range(0, len(hashes) // 256 * 256, 256)]
    assert completed == [(0, tile) for tile in whole]


def test_tiles_of_the_second_level() -> None:
    """65536 leaves complete 256 tiles of level 0 and one of level 1, whose hashes are the roots of the former."""
    hashes, frontier, completed = leaves(65536), Frontier(), []
    for at in range(0, 65536, 256):
        completed += frontier.add(b"".join(hashes[at : at + 256]))
    roots = [reference.root(hashes[at : at + 256]) for at in range(0, 65536, 256)]
    assert [row for level, row in completed if level == 1] == [b"".join(roots)]
    assert frontier.root() == reference.root(hashes)


@given(st.integers(0, 700), st.integers(0, 255))
def test_restored_goes_on_alike(count: int, more: int) -> None:
    """A frontier that was put away and restored gives the root of the longer log."""
    kept = grown(count)
    restored = Frontier.restore(kept.size, kept.rows)
    hashes = leaves(count + more)
    middle = min(count + more, (count // 256 + 1) * 256)
    restored.add(b"".join(hashes[count:middle]))
    restored.add(b"".join(hashes[middle:]))
    assert restored.root() == reference.root(hashes)


@pytest.mark.parametrize("rows", [[], [bytes(32)], [bytes(64), b""], [bytes(63)]])
def test_rows_of_another_width_are_refused(rows: list[bytes]) -> None:
    """A right edge that does not have its size's widths is no right edge."""
    with pytest.raises(ProofError):
        Frontier.restore(2, rows)


def test_past_the_tile_is_a_mistake() -> None:
    """Leaves that would cross the end of the open tile are the caller's fault."""
    with pytest.raises(ValueError, match="past the end"):
        grown(255).add(bytes(64))
