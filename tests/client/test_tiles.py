"""Coordinates of C2SP tiles: exhaustive where small, the specification's examples where large."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark import tiles
from platemark.errors import NoteError
from platemark.tiles import Tile

EXAMPLES: list[tuple[Tile, str]] = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 1), "tile/0/001"),
    (Tile(0, 999), "tile/0/999"),
    (Tile(0, 1000), "tile/0/x001/000"),
    (Tile(0, 1234067), "tile/0/x001/x234/067"),
    (Tile(3, 1234067, 1), "tile/3/x001/x234/067.p/1"),
    (Tile(0, 999_999), "tile/0/x999/999"),
    (Tile(0, 1_000_000), "tile/0/x001/x000/000"),
    (Tile(1, 1, 17), "tile/1/001.p/17"),
    (Tile(63, 0, 255), "tile/63/000.p/255"),
    (Tile(None, 0, 5), "tile/entries/000.p/5"),
    (Tile(None, 1234067), "tile/entries/x001/x234/067"),
    (Tile(0, (1 << 63) - 1), "tile/0/x009/x223/x372/x036/x854/x775/807"),
]


@pytest.mark.parametrize(("tile", "path"), EXAMPLES)
def test_known_paths(tile: Tile, path: str) -> None:
    """The examples of c2sp.org/tlog-tiles and the edges of every group."""
    assert (tile.path, tiles.parse_path(path)) == (path, tile)


def _plain_path(number: int) -> str:
    """Groups of three digits, all but the last with an x, written from the text of the specification."""
    digits = str(number).rjust((len(str(number)) + 2) // 3 * 3, "0")
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


@pytest.mark.parametrize("first", [0, 900, 999_000, 999_999_000])
def test_paths_of_small_numbers_are_exhaustive(first: int) -> None:
    """Every number around a change of groups is written and read as the specification says."""
    for number in range(first, first + 1200):
        path = f"tile/0/{_plain_path(number)}"
        assert (Tile(0, number).path, tiles.parse_path(path)) == (path, Tile(0, number))


@given(st.none() | st.integers(0, 63), st.integers(0, (1 << 63) - 1), st.integers(1, 256))
def test_a_path_comes_back(level: int | None, number: int, width: int) -> None:
    """parse_path is the inverse of path for every tile."""
    tile = Tile(level, number, width)
    assert tiles.parse_path(tile.path) == tile


REFUSED = [
    "",
    "tile",
    "tile/",
    "tile/0",
    "tile/0/",
    "/tile/0/000",
    "tile/0/000/",
    "tile/0/0",
    "tile/0/00",
    "tile/0/0000",
    "tile/0/1000",
    "tile/0/x000",
    "tile/0/x000/000",
    "tile/0/x000/001",
    "tile/0/x000/x001/000",
    "tile/0/001/000",
    "tile/0/X001/000",
    "tile/0/x01/000",
    "tile/0/x001/x000",
    "tile/00/000",
    "tile/01/000",
    "tile/64/000",
    "tile/100/000",
    "tile/-1/000",
    "tile/data/000",
    "tile/8/0/000",
    "tile/0/000.p",
    "tile/0/000.p/",
    "tile/0/000.p/0",
    "tile/0/000.p/00",
    "tile/0/000.p/01",
    "tile/0/000.p/256",
    "tile/0/000.p/257",
    "tile/0/000.p/999",
    "tile/0/000.p/1000",
    "tile/0/000.p/-1",
    "tile/0/000.p/1/",
    "tile/0/000.p/1.p/1",
    "tile/0/000 ",
    "tile/0/000\n",
    "tile/0/\u0660\u0660\u0660",
    "tile/\u0660/000",
    "tile/0/../000",
    "tile/0/%30%30%30",
    "tile/0/x009/x223/x372/x036/x854/x775/808",
    "tile/0/x999/x999/x999/x999/x999/x999/999",
    "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
    "tile/0/" + "x123/" * 2000 + "456",
    "tile/entries",
    "tile/entries/0/000",
    "tile/Entries/000",
]


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path[:40] or "empty")
def test_a_path_in_another_form_is_refused(path: str) -> None:
    """One tile has one path; everything else is a NoteError, however long."""
    with pytest.raises(NoteError) as caught:
        tiles.parse_path(path)
    assert caught.value.field == "tile path"


def _counted(size: int) -> list[tuple[int, int, int]]:
    """(level, full tiles, width of the partial one), by cutting rows of complete subtrees into tiles."""
    levels = []
    level, hashes = 0, size
    while hashes:
        levels.append((level, hashes // 256, hashes % 256))
        level, hashes = level + 1, hashes // 256
    return levels


def test_the_tiles_of_seventy_thousand_leaves() -> None:
    """The specification's example: 273 full and .p/112 at level 0, 1 full and .p/17 at level 1, .p/1 at level 2."""
    assert tiles.tiles_of(70_000) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 16_777_216, (1 << 63) - 1])
def test_the_tiles_at_the_edges(size: int) -> None:
    """A full tile at one level is one hash at the next."""
    assert tiles.tiles_of(size) == _counted(size)


def test_the_tiles_of_every_small_tree() -> None:
    """Every size to 70,000 has the tiles that cutting its rows gives."""
    assert [tiles.tiles_of(size) for size in range(0, 70_001, 7)] == [_counted(size) for size in range(0, 70_001, 7)]


@given(st.integers(0, (1 << 63) - 1), st.integers(0, 8))
def test_the_partial_width_is_what_the_specification_says(size: int, level: int) -> None:
    """floor(size / 256^level) mod 256."""
    assert tiles.partial_width(size, level) == size // 256**level % 256
