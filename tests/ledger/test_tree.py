"""Rows and tree: stored hashes give the roots and proofs of RFC 9162, at every size and for every leaf."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree, InvalidChallenge, SqliteTree

import reference
from platemark import merkle
from platemark_ledger import rows
from platemark_ledger.errors import StoreError
from platemark_ledger.tree import LogView

Stored = dict[tuple[int, int], bytes]
SIZES = (*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 513, 700)


def leaf(number: int) -> bytes:
    """A leaf hash."""
    return reference.leaf(b"entry %d" % number)


def stored_tree(leaves: Sequence[bytes], cuts: Sequence[int] = ()) -> Stored:
    """The rows of a tree that grew in batches that end at `cuts`."""
    stored: Stored = {}
    bounds = [0, *sorted(cut for cut in cuts if cut < len(leaves)), len(leaves)]
    for start, stop in pairwise(bounds):
        stored.update(rows.extend(lambda level, row: stored.get((level, row)), start, leaves[start:stop]))
    return stored


def view(stored: Stored, size: int) -> LogView:
    """The pymerkle tree over stored rows."""
    return LogView(lambda level, row: stored.get((level, row)), size)


@given(st.integers(0, 600), st.lists(st.integers(0, 600), max_size=8))
def test_rows_do_not_depend_on_the_batches(size: int, cuts: list[int]) -> None:
    """However a tree grew, its stored rows are the same bytes."""
    leaves = [leaf(number) for number in range(size)]
    assert stored_tree(leaves, cuts) == stored_tree(leaves)


@given(st.integers(1, 600))
def test_every_row_holds_the_nodes_of_its_level(size: int) -> None:
    """Node i of level l is the root of leaves i 2^l to (i + 1) 2^l, and only complete nodes are stored."""
    leaves = [leaf(number) for number in range(size)]
    stored = stored_tree(leaves)
    for (level, row), hashes in stored.items():
        first = row * rows.WIDTH
        nodes = [hashes[cut : cut + 32] for cut in range(0, len(hashes), 32)]
        assert len(nodes) == min(rows.WIDTH, (size >> level) - first)
        spans = [leaves[node << level : (node + 1) << level] for node in range(first, first + len(nodes))]
        assert nodes == [reference.root(span) for span in spans]


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_paths_are_those_of_the_reference(size: int) -> None:
    """At this size every root, inclusion path and consistency path equals the recursive definition, and verifies."""
    leaves = [leaf(number) for number in range(size)]
    stored = stored_tree([*leaves, *(leaf(number) for number in range(size, size + 40))])
    tree = view(stored, size + 40)

    def read(level: int, row: int) -> bytes | None:
        return stored.get((level, row))

    root = reference.root(leaves)
    assert rows.root(read, size) == root
    assert tree.root(size) == root
    assert rows.paths(read, size, 0, size) == [tree.inclusion_path(index, size) for index in range(size)]
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        expected = reference.inclusion_path(leaves, index)
        assert list(tree.inclusion_path(index, size)) == expected
        merkle.verify_inclusion(index=index, size=size, leaf_hash=leaves[index], path=expected, root=root)
    for old in {1, 2, size // 3, size // 2, size - 1, size} & set(range(1, size + 1)):
        path = tree.consistency_path(old, size)
        assert list(path) == reference.consistency_path(leaves, old)
        merkle.verify_consistency(
            old_size=old, new_size=size, old_root=reference.root(leaves[:old]), new_root=root, path=path
        )


def test_every_pair_of_small_sizes_is_consistent() -> None:
    """For all 1 <= m <= n <= 70 the consistency path is that of the reference."""
    leaves = [leaf(number) for number in range(70)]
    tree = view(stored_tree(leaves), 70)
    for new in range(1, 71):
        for old in range(1, new + 1):
            assert list(tree.consistency_path(old, new)) == reference.consistency_path(leaves[:new], old)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 300])
def test_the_view_agrees_with_the_trees_of_pymerkle(size: int) -> None:
    """Our rows and pymerkle's own two storages give one root and the same inclusion paths."""
    entries = [b"entry %d" % number for number in range(size)]
    tree = view(stored_tree([reference.leaf(entry) for entry in entries]), size)
    others = [InmemoryTree(), SqliteTree(":memory:")]
    for other in others:
        other.append_entries(entries)
        assert other.get_root() == tree.root()
        for index in range(0, size, max(size // 20, 1)):
            assert tuple(other.prove_inclusion(index + 1).path[1:]) == tree.inclusion_path(index)
    others[1].con.close()


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (6, 5), (0, 11), (10, None)])
def test_a_proof_out_of_range_is_refused(index: int, size: int | None) -> None:
    """The view has no proof for what the tree does not hold."""
    tree = view(stored_tree([leaf(number) for number in range(10)]), 10)
    with pytest.raises(InvalidChallenge):
        tree.inclusion_path(index, size)


def test_the_view_cannot_be_appended_to() -> None:
    """The log has one door, and pymerkle's is not it."""
    with pytest.raises(TypeError, match="sequencer"):
        view({}, 0).append_entry(b"x")


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    """Size 0 is SHA-256 of no bytes."""
    assert rows.root(lambda _level, _row: None, 0) == hashlib.sha256(b"").digest() == view({}, 0).root()


@pytest.mark.parametrize("place", [(0, 1), (1, 0), (8, 0)])
def test_a_missing_row_is_an_error_and_never_a_wrong_root(place: tuple[int, int]) -> None:
    """A row that the disk lost is named."""
    leaves = [leaf(number) for number in range(513)]
    stored = stored_tree(leaves)
    del stored[place]
    with pytest.raises(StoreError, match="missing"):
        rows.paths(lambda wanted, row: stored.get((wanted, row)), 513, 0, 513)
    with pytest.raises(StoreError):
        rows.extend(lambda wanted, row: stored.get((wanted, row)), 510, leaves[510:])
