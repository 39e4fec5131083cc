"""RFC 9162 trees: every small proof against two independent oracles, and every mutation of a proof refused."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from platemark import merkle
from platemark.errors import ProofError
from strategies import leaf_hashes

SIZE = 70
LEAVES = [hashlib.sha256(b"\x00" + number.to_bytes(2, "big")).digest() for number in range(SIZE)]
ROOTS = [reference.root(LEAVES[:size]) for size in range(SIZE + 1)]

# The eight leaves that RFC 6962 implementations have shared since 2013, and the roots of their first 0 to 8.
PUBLIC_LEAVES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
PUBLIC_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_the_public_leaves_have_their_published_roots(size: int) -> None:
    """The roots of RFC 6962's test leaves, from the product and from both oracles."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in PUBLIC_LEAVES[:size]:
        tree.append_entry(entry)
    leaves = [merkle.leaf_hash(entry) for entry in PUBLIC_LEAVES[:size]]
    expected = bytes.fromhex(PUBLIC_ROOTS[size])
    assert [merkle.root(leaves), reference.root(leaves), tree.get_root()] == [expected] * 3


@given(leaf_hashes())
def test_the_root_is_the_recursive_definition(leaves: list[bytes]) -> None:
    """The streaming root over any iterable equals MTH of RFC 9162 2.1.1."""
    assert merkle.root(iter(leaves)) == reference.root(leaves)


def test_the_root_takes_memory_logarithmic_in_the_leaves() -> None:
    """A generator is consumed one leaf at a time and the pending subtrees are few."""
    most = 0

    class Counting(bytes):
        alive = 0

        def __init__(self, *_: object) -> None:
            nonlocal most
            Counting.alive += 1
            most = max(most, Counting.alive)

        def __del__(self) -> None:
            Counting.alive -= 1

    def stream() -> Iterator[bytes]:
        for number in range(5000):
            yield Counting(hashlib.sha256(number.to_bytes(4, "big")).digest())

    merkle.root(stream())
    assert most < 32


def test_the_root_of_another_hash() -> None:
    """SHA-512 trees have the same shape, their own leaf, node and empty hashes."""
    one, two = (merkle.leaf_hash(entry, algorithm="sha512") for entry in (b"a", b"b"))
    assert one == hashlib.sha512(b"\x00a").digest()
    assert merkle.root([one, two], algorithm="sha512") == hashlib.sha512(b"\x01" + one + two).digest()
    assert merkle.root([], algorithm="sha512") == hashlib.sha512(b"").digest()


@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_every_inclusion_path_is_the_definition_and_verifies(size: int) -> None:
    """For every index of the tree: our path is PATH of RFC 9162 2.1.3.1, and our verifier accepts it."""
    for index in range(size):
        path = merkle.inclusion_path(LEAVES[:size], index)
        assert path == reference.inclusion_path(LEAVES[:size], index)
        merkle.verify_inclusion(index=index, size=size, leaf_hash=LEAVES[index], path=path, root=ROOTS[size])


@pytest.mark.parametrize("new", range(1, SIZE + 1))
def test_every_consistency_path_of_the_definition_verifies(new: int) -> None:
    """For every older size: PROOF of RFC 9162 2.1.4.1 is accepted."""
    for old in range(1, new + 1):
        path = reference.consistency_path(LEAVES[:new], old)
        merkle.verify_consistency(old_size=old, new_size=new, old_root=ROOTS[old], new_root=ROOTS[new], path=path)


def test_pymerkle_gives_the_same_inclusion_paths() -> None:
    """The audit paths of an independent implementation (after its first hash, the leaf) are ours, and it accepts ours."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    entries = [number.to_bytes(2, "big") for number in range(SIZE)]
    for entry in entries:
        tree.append_entry(entry)
    for size in (1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 65, SIZE):
        for index in range(size):
            proof = tree.prove_inclusion(index + 1, size)
            assert proof.path[1:] == merkle.inclusion_path(LEAVES[:size], index)
            pymerkle.verify_inclusion(LEAVES[index], ROOTS[size], proof, index + 1, size, "sha256")


def test_an_index_outside_the_tree_is_a_programming_error() -> None:
    """inclusion_path serves callers who know their tree."""
    for index in (-1, 3):
        with pytest.raises(ValueError, match="outside a tree of 3"):
            merkle.inclusion_path(LEAVES[:3], index)


# --- mutations ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inclusion:
    """The arguments of verify_inclusion; Any, since mutations have wrong types too."""

    index: Any
    size: Any
    leaf_hash: Any
    path: Any
    root: Any

    def verify(self) -> None:
        """Raises ProofError."""
        merkle.verify_inclusion(**vars(self))


@dataclass(frozen=True)
class Consistency:
    """The arguments of verify_consistency."""

    old_size: Any
    new_size: Any
    old_root: Any
    new_root: Any
    path: Any

    def verify(self) -> None:
        """Raises ProofError."""
        merkle.verify_consistency(**vars(self))


def _flip(digest: bytes, bit: int = 0) -> bytes:
    changed = bytearray(digest)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# What a forger does to a list of digests; each gives the lists that differ from the input.
PATH_MUTATIONS: dict[str, Callable[[list[bytes]], list[list[Any]]]] = {
    "emptied": lambda _: [[]],
    "first dropped": lambda path: [path[1:]],
    "last dropped": lambda path: [path[:-1]],
    "each dropped": lambda path: [path[:at] + path[at + 1 :] for at in range(len(path))],
    "first repeated": lambda path: [path[:1] + path],
    "last repeated": lambda path: [path + path[-1:]],
    "extended by zeros": lambda path: [[*path, bytes(32)]],
    "preceded by zeros": lambda path: [[bytes(32), *path]],
    "extended by a leaf": lambda path: [[*path, LEAVES[0]]],
    "preceded by a leaf": lambda path: [[LEAVES[0], *path]],
    "reversed": lambda path: [path[::-1]],
    "neighbours swapped": lambda path: [
        [*path[:at], path[at + 1], path[at], *path[at + 2 :]] for at in range(len(path) - 1)
    ],
    "a bit flipped": lambda path: [
        [*path[:at], _flip(path[at], bit), *path[at + 1 :]] for at in range(len(path)) for bit in (0, 127, 255)
    ],
    "a digest of 31": lambda path: [[*path[:at], path[at][:31], *path[at + 1 :]] for at in range(len(path))],
    "a digest of 33": lambda path: [[*path[:at], path[at] + b"\0", *path[at + 1 :]] for at in range(len(path))],
    "an empty digest": lambda path: [[*path[:at], b"", *path[at + 1 :]] for at in range(len(path))],
    "an empty digest after": lambda path: [[*path, b""]],
    "two digests as one": lambda path: [
        [*path[:at], path[at] + path[at + 1], *path[at + 2 :]] for at in range(len(path) - 1)
    ],
    "digests as text": lambda path: [[digest.hex() for digest in path]],
    "digests as bytearrays": lambda path: [[bytearray(digest) for digest in path]],
}
DIGEST_MUTATIONS: dict[str, Callable[[bytes], Any]] = {
    "flipped at the start": lambda digest: _flip(digest, 0),
    "flipped at the end": lambda digest: _flip(digest, 255),
    "of 31": lambda digest: digest[:31],
    "of 33": lambda digest: digest + b"\0",
    "empty": lambda _: b"",
    "zeros": lambda _: bytes(32),
    "empty root": lambda _: merkle.EMPTY_ROOT,
    "hashed again": lambda digest: hashlib.sha256(digest).digest(),
    "as text": lambda digest: digest.hex(),
    "as a bytearray": bytearray,
    "missing": lambda _: None,
}
NUMBER_MUTATIONS: dict[str, Callable[[int], Any]] = {
    "+ 1": lambda number: number + 1,
    "- 1": lambda number: number - 1,
    "xor 1": lambda number: number ^ 1,
    "xor 2": lambda number: number ^ 2,
    "xor 64": lambda number: number ^ 64,
    "doubled": lambda number: number * 2,
    "halved": lambda number: number // 2,
    "negative": lambda number: -number - 1,
    "2^64": lambda _: 1 << 64,
    "plus 2^64": lambda number: number + (1 << 64),
    "as a float": float,
    "as text": str,
    "true": lambda _: True,
    "missing": lambda _: None,
}


def _inclusions() -> Iterator[Inclusion]:
    for size in (1, 2, 3, 5, 7, 8, 9, 16, 33, 70):
        for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
            path = reference.inclusion_path(LEAVES[:size], index)
            yield Inclusion(index, size, LEAVES[index], path, ROOTS[size])


def _consistencies() -> Iterator[Consistency]:
    for old, new in [
        (1, 1),
        (1, 2),
        (2, 3),
        (2, 4),
        (3, 4),
        (4, 8),
        (6, 8),
        (7, 8),
        (5, 9),
        (32, 33),
        (33, 70),
        (64, 70),
    ]:
        path = reference.consistency_path(LEAVES[:new], old)
        yield Consistency(old, new, ROOTS[old], ROOTS[new], path)


def _same(mutated: object, original: object) -> bool:
    return type(mutated) is type(original) and mutated == original


@pytest.mark.parametrize("mutation", PATH_MUTATIONS.values(), ids=PATH_MUTATIONS.keys())
def test_a_mutated_inclusion_path_is_refused(mutation: Callable[[list[bytes]], list[list[Any]]]) -> None:
    """Every path but the right one is a ProofError."""
    for proof in _inclusions():
        for path in mutation(proof.path):
            if [type(each) for each in path] == [bytes] * len(path) and path == proof.path:
                continue
            with pytest.raises(ProofError):
                replace(proof, path=path).verify()


@pytest.mark.parametrize("mutation", PATH_MUTATIONS.values(), ids=PATH_MUTATIONS.keys())
def test_a_mutated_consistency_path_is_refused(mutation: Callable[[list[bytes]], list[list[Any]]]) -> None:
    """Every path but the right one is a ProofError."""
    for proof in _consistencies():
        for path in mutation(proof.path):
            if [type(each) for each in path] == [bytes] * len(path) and path == proof.path:
                continue
            with pytest.raises(ProofError):
                replace(proof, path=path).verify()


@pytest.mark.parametrize("mutation", DIGEST_MUTATIONS.values(), ids=DIGEST_MUTATIONS.keys())
@pytest.mark.parametrize("field", ["leaf_hash", "root"])
def test_a_mutated_digest_of_an_inclusion_is_refused(field: str, mutation: Callable[[bytes], Any]) -> None:
    """Another leaf or root, or one that is not 32 bytes, is a ProofError."""
    for proof in _inclusions():
        with pytest.raises(ProofError):
            replace(proof, **{field: mutation(getattr(proof, field))}).verify()


@pytest.mark.parametrize("mutation", DIGEST_MUTATIONS.values(), ids=DIGEST_MUTATIONS.keys())
@pytest.mark.parametrize("field", ["old_root", "new_root"])
def test_a_mutated_root_of_a_consistency_is_refused(field: str, mutation: Callable[[bytes], Any]) -> None:
    """Another root, or one that is not 32 bytes, is a ProofError, for equal sizes too."""
    for proof in _consistencies():
        with pytest.raises(ProofError):
            replace(proof, **{field: mutation(getattr(proof, field))}).verify()


@pytest.mark.parametrize("mutation", NUMBER_MUTATIONS.values(), ids=NUMBER_MUTATIONS.keys())
def test_a_mutated_index_is_refused(mutation: Callable[[int], Any]) -> None:
    """Every index but the right one is a ProofError."""
    for proof in _inclusions():
        index = mutation(proof.index)
        if not _same(index, proof.index):
            with pytest.raises(ProofError):
                replace(proof, index=index).verify()


def _leads_elsewhere(proof: Inclusion, size: int) -> bool:
    """Whether the walk for (index, size) differs from the one for the true size.

    RFC 9162 2.1.3.2 does not authenticate the size: sizes that give the same walk verify, under the root that a signed
    checkpoint has tied to one size.
    """
    if not proof.index < size < 1 << 64:
        return True
    return _directions(proof.index, size) != _directions(proof.index, proof.size)


def _directions(index: int, size: int) -> str:
    """Left or right at every step from the leaf to the root, by the recursive definition."""
    if size == 1:
        return ""
    k = 1 << (size - 1).bit_length() - 1
    return _directions(index, k) + "r" if index < k else _directions(index - k, size - k) + "l"


@pytest.mark.parametrize("mutation", NUMBER_MUTATIONS.values(), ids=NUMBER_MUTATIONS.keys())
def test_a_mutated_size_is_refused_wherever_it_changes_the_walk(mutation: Callable[[int], Any]) -> None:
    """A size that is no size, not above the index, or of another shape is a ProofError."""
    for proof in _inclusions():
        size = mutation(proof.size)
        if _same(size, proof.size):
            continue
        if type(size) is int and not _leads_elsewhere(proof, size):
            replace(proof, size=size).verify()
            continue
        with pytest.raises(ProofError):
            replace(proof, size=size).verify()


@pytest.mark.parametrize("mutation", NUMBER_MUTATIONS.values(), ids=NUMBER_MUTATIONS.keys())
@pytest.mark.parametrize("field", ["old_size", "new_size"])
def test_a_mutated_size_of_a_consistency_is_refused(field: str, mutation: Callable[[int], Any]) -> None:
    """A size with another walk is a ProofError; as with inclusion, equal walks are told apart by the checkpoints only."""
    for proof in _consistencies():
        size = mutation(getattr(proof, field))
        if _same(size, getattr(proof, field)):
            continue
        mutated = replace(proof, **{field: size})
        if type(size) is int and _accepted_by_the_definition(mutated):
            mutated.verify()
            continue
        with pytest.raises(ProofError):
            mutated.verify()


def _accepted_by_the_definition(proof: Consistency) -> bool:
    """Whether some tree has this proof: the recursive definition run as a verifier, on sizes small enough for it."""
    if not 0 < proof.old_size <= proof.new_size < 1 << 16:
        return False
    rest = list(proof.path)
    try:
        old, new = _subroots(proof.old_size, proof.new_size, rest, proof.old_root, known=True)
    except IndexError:
        return False
    return (not rest, old, new) == (True, proof.old_root, proof.new_root)


def _subroots(
    old_size: int, new_size: int, rest: list[bytes], known_root: bytes, *, known: bool
) -> tuple[bytes, bytes]:
    """The old and new root of a subtree, taking digests from the end of the path, as SUBPROOF puts them there."""
    if old_size == new_size:
        digest = known_root if known else rest.pop()
        return digest, digest
    k = 1 << (new_size - 1).bit_length() - 1
    last = rest.pop()
    if old_size <= k:
        old, new = _subroots(old_size, k, rest, known_root, known=known)
        return old, hashlib.sha256(b"\x01" + new + last).digest()
    old, new = _subroots(old_size - k, new_size - k, rest, known_root, known=False)
    return hashlib.sha256(b"\x01" + last + old).digest(), hashlib.sha256(b"\x01" + last + new).digest()


def test_an_old_size_of_zero_is_refused_whatever_comes_with_it() -> None:
    """An empty tree is a prefix of every tree: such a proof would say nothing."""
    for new, path in [(0, []), (1, []), (8, []), (8, [ROOTS[8]])]:
        with pytest.raises(ProofError, match="old size 0 is refused"):
            Consistency(0, new, merkle.EMPTY_ROOT, ROOTS[new], path).verify()


def test_nothing_is_included_in_an_empty_tree() -> None:
    """Index 0 of size 0 is refused, with the empty root too."""
    for path in ([], [bytes(32)]):
        with pytest.raises(ProofError, match="index 0 is not below size 0"):
            Inclusion(0, 0, merkle.EMPTY_ROOT, path, merkle.EMPTY_ROOT).verify()


def test_equal_sizes_take_equal_roots_and_no_path() -> None:
    """Two roots for one size are the fork that everything here is built to notice."""
    Consistency(5, 5, ROOTS[5], ROOTS[5], []).verify()
    with pytest.raises(ProofError, match="another old root"):
        Consistency(5, 5, ROOTS[5], ROOTS[6], []).verify()
    with pytest.raises(ProofError, match="empty consistency path"):
        Consistency(5, 5, ROOTS[5], ROOTS[5], [ROOTS[5]]).verify()


def test_a_path_of_any_length_ends() -> None:
    """A path of ten thousand digests is refused as too long, for the greatest tree too."""
    greatest = (1 << 63) - 1
    with pytest.raises(ProofError, match="too long"):
        Inclusion(0, greatest, LEAVES[0], [bytes(32)] * 10_000, ROOTS[1]).verify()
    with pytest.raises(ProofError, match="too long"):
        Consistency(1, greatest, ROOTS[1], ROOTS[2], [bytes(32)] * 10_000).verify()


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True), st.data())
def test_a_leaf_verifies_at_its_own_place_alone(leaves: list[bytes], data: st.DataObject) -> None:
    """With the path of one index, no other index and no other leaf verifies."""
    index, claimed = data.draw(st.integers(0, len(leaves) - 1)), data.draw(st.integers(0, len(leaves) - 1))
    path, root = merkle.inclusion_path(leaves, index), merkle.root(leaves)
    if index == claimed:
        merkle.verify_inclusion(index=claimed, size=len(leaves), leaf_hash=leaves[index], path=path, root=root)
        return
    with pytest.raises(ProofError):
        merkle.verify_inclusion(index=claimed, size=len(leaves), leaf_hash=leaves[claimed], path=path, root=root)


@given(st.data())
def test_verifying_many_paths_is_verifying_each(data: st.DataObject) -> None:
    """The shared verification accepts a path exactly when the verification of that path alone does."""
    size = data.draw(st.integers(1, SIZE))
    leaves, root = LEAVES[:size], ROOTS[size]
    verifier = merkle.PathVerifier(size, root)
    for _ in range(data.draw(st.integers(1, 12))):
        index = data.draw(st.integers(0, size - 1))
        claimed = data.draw(st.sampled_from(sorted({index, index ^ 1, 0, size - 1, size, size + 1})))
        path = reference.inclusion_path(leaves, index)
        change = data.draw(st.sampled_from(["none", "none", "none", "swap", "drop", "add", "flip", "longer", "leaf"]))
        digest = leaves[index] if change != "leaf" else bytes(32)
        path = _changed(path, change, data)
        alone = joint = True
        try:
            merkle.verify_inclusion(index=claimed, size=size, leaf_hash=digest, path=path, root=root)
        except ProofError:
            alone = False
        try:
            verifier.verify(claimed, digest, tuple(path))
        except ProofError:
            joint = False
        assert joint == alone


def _changed(path: list[bytes], change: str, data: st.DataObject) -> list[bytes]:
    if change == "add":
        return [*path, LEAVES[0]]
    if not path:
        return path
    place = data.draw(st.integers(0, len(path) - 1))
    changed = {
        "swap": [path[-1]],
        "drop": [],
        "flip": [bytes([path[place][0] ^ 1]) + path[place][1:]],
        "longer": [path[place] + b"\0"],
    }
    return [*path[:place], *changed.get(change, [path[place]]), *path[place + 1 :]]


def test_a_split_between_leaf_and_sibling_is_not_moved() -> None:
    """A leaf of 31 bytes with a sibling of 33 hashes like the pair that was verified, and is still refused."""
    verifier = merkle.PathVerifier(2, ROOTS[2])
    verifier.verify(1, LEAVES[1], (LEAVES[0],))
    with pytest.raises(ProofError, match="leaf hash is not a digest"):
        verifier.verify(0, LEAVES[0] + LEAVES[1][:1], (LEAVES[1][1:],))


@pytest.mark.parametrize("new", range(2, 34))
def test_a_consistency_path_leads_to_the_newer_root(new: int) -> None:
    """From the older root alone, the path leads to the newer one; from another older root to nothing."""
    for old in range(1, new):
        path = reference.consistency_path(LEAVES[:new], old)
        found = merkle.root_from_consistency(old_size=old, new_size=new, old_root=ROOTS[old], path=path)
        assert found == ROOTS[new]
        for wrong in (path[:-1], [*path, LEAVES[0]]):
            with pytest.raises(ProofError):
                merkle.root_from_consistency(old_size=old, new_size=new, old_root=ROOTS[old], path=wrong)
        if old & (old - 1):  # a perfect older tree is itself the first digest, so that any root leads somewhere
            with pytest.raises(ProofError, match="another old root"):
                merkle.root_from_consistency(old_size=old, new_size=new, old_root=ROOTS[old - 1], path=path)


@pytest.mark.parametrize(("old", "new"), [(0, 2), (2, 2), (3, 2), (-1, 2)])
def test_sizes_between_which_no_path_leads(old: int, new: int) -> None:
    """There is a newer root only for 0 < old < new."""
    with pytest.raises(ProofError, match="old size"):
        merkle.root_from_consistency(old_size=old, new_size=new, old_root=ROOTS[2], path=[LEAVES[0]])


@given(runs=st.lists(st.integers(0, SIZE), max_size=12))
def test_a_tree_that_grows_by_runs(runs: list[int]) -> None:
    """Leaves that come in runs of any length, or one by one between them, lead to the root over all of them."""
    growing, leaves = merkle.GrowingTree(), []
    for run in runs:
        growing.extend(LEAVES[:run])
        growing.add(LEAVES[run % SIZE])
        leaves += [*LEAVES[:run], LEAVES[run % SIZE]]
        assert growing.size == len(leaves)
        assert growing.root() == reference.root(leaves)
