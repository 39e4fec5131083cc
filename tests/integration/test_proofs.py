"""GetCheckpoint, GetInclusionProof, GetConsistencyProof."""

from __future__ import annotations

import pytest
from integration.live import ORIGIN, Live, only

from platemark import merkle
from platemark.rpc import BadReplyError, RefusedError, Trusted
from platemark.rpc.sync import LedgerClient


def test_the_checkpoint_is_signed_by_the_log_key_under_its_origin(live: Live) -> None:
    """A client with the log's key accepts it; one that trusts another name does not."""
    assert live.client().checkpoint().checkpoint.origin == ORIGIN
    other = Trusted((), "another.test/log")
    with (
        LedgerClient(live.address, trusted=other) as client,
        pytest.raises(BadReplyError, match=r"is not another\.test"),
    ):
        client.checkpoint()


def test_inclusion_is_proven_in_the_newest_tree_and_in_an_older_one(live: Live) -> None:
    """An old size gives the path of that tree, which only the root of that size accepts."""
    client = live.client()
    device = live.device("proof-inclusion")
    logged = only(client.append([device.capture(b"1")]).outcomes).statement
    old = client.checkpoint().checkpoint
    client.append([device.capture(bytes([2, number])) for number in range(9)])
    proof = client.inclusion_proof(id=logged.id, size=old.size)
    leaf = merkle.leaf_hash(proof.entry)
    merkle.verify_inclusion(index=logged.index, size=old.size, leaf_hash=leaf, path=proof.path, root=old.root)
    newest = client.inclusion_proof(index=logged.index)
    assert newest.size == newest.checkpoint.checkpoint.size
    assert newest.entry == proof.entry


def test_consistency_is_proven_between_any_two_sizes(live: Live) -> None:
    """The roots that the log released at two moments are connected by its RFC 9162 path, and by no other."""
    client = live.client()
    device = live.device("proof-consistency")
    old = client.checkpoint().checkpoint
    client.append([device.capture(bytes([number])) for number in range(7)])
    proof = client.consistency_proof(old.size)
    new = proof.checkpoint.checkpoint
    merkle.verify_consistency(
        old_size=old.size, new_size=new.size, old_root=old.root, new_root=new.root, path=proof.path
    )
    assert client.consistency_proof(old.size, old.size).path == ()


@pytest.mark.parametrize(
    ("old", "new", "info", "field"),
    [
        (0, None, "INVALID_ARGUMENT", "old_size"),
        (1, 10**9, "OUT_OF_RANGE", "new_size"),
        (10**9, None, "OUT_OF_RANGE", "old_size"),
        (2, 1, "OUT_OF_RANGE", "old_size"),
    ],
)
def test_sizes_that_cannot_be_proven_are_refused_by_field(
    live: Live, old: int, new: int | None, info: str, field: str
) -> None:
    """An empty tree proves nothing, ever; other sizes are out of range. The codes tell them apart."""
    client = live.client()
    client.append([live.device("proof-sizes").capture()])
    with pytest.raises(RefusedError) as caught:
        client.consistency_proof(old, new)
    assert (caught.value.info, [each.field for each in caught.value.violations]) == (info, [field])


def test_inclusion_in_a_tree_that_is_too_small_or_not_there_is_refused(live: Live) -> None:
    """A leaf is in no tree that ends before it, and nothing is proven above the checkpoint."""
    client = live.client()
    logged = only(client.append([live.device("proof-small").capture()]).outcomes).statement
    for size in (logged.index, 10**9):
        with pytest.raises(RefusedError) as caught:
            client.inclusion_proof(index=logged.index, size=size)
        assert (caught.value.info, [each.field for each in caught.value.violations]) == ("OUT_OF_RANGE", ["size"])
