"""Lookup: all statements that carry a digest, earliest first, page by page."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from integration.live import Live, only

from platemark.rpc import RefusedError

SHA256, SHA512 = -16, -44


def test_every_statement_of_a_digest_is_found_earliest_first_and_at_once(live: Live) -> None:
    """Several records for one image are all returned, in log order, in the moment they are acknowledged."""
    image = b"one image, three records"
    devices = [live.device(f"lookup-{number}") for number in range(3)]
    client = live.client()
    indices = [only(client.append([device.capture(image)]).outcomes).statement.index for device in devices]
    page = client.lookup(hashlib.sha256(image).digest())
    assert [each.index for each in page.statements] == indices
    assert page.next_index is None
    assert all(each.inclusion_path for each in page.statements)


@pytest.mark.parametrize(
    ("digest", "options", "count"),
    [
        ("sha256", {}, 1),
        ("sha512", {}, 1),
        ("sha256", {"rung": "file"}, 1),
        ("sha256", {"rung": "pixels"}, 0),
        ("sha256", {"hash_algorithm": SHA256}, 1),
        ("sha512", {"rung": "file", "hash_algorithm": SHA512}, 1),
        ("blake2s", {}, 0),
    ],
)
def test_rung_and_algorithm_narrow_the_search(live: Live, digest: str, options: dict[str, Any], count: int) -> None:
    """A statement is found by each digest that it carries, at the rung where it carries it, and by no other."""
    image = b"an image of lookup"
    client = live.client()
    client.append([live.device("lookup-narrow").capture(image + digest.encode() + repr(options).encode())])
    found = client.lookup(hashlib.new(digest, image + digest.encode() + repr(options).encode()).digest(), **options)
    assert len(found.statements) == count


def test_pages_walk_over_all_statements_once(live: Live) -> None:
    """next_index leads from page to page, and the walk sees every statement exactly once."""
    image = b"an image with many records"
    device = live.device("lookup-pages")
    client = live.client()
    client.append([device.capture(image) for _ in range(25)])
    digest = hashlib.sha256(image).digest()
    page = client.lookup(digest, page_size=10)
    assert (len(page.statements), page.next_index is None) == (10, False)
    walked = [each.index for each in client.lookup_all(digest)]
    assert (len(walked), walked) == (25, sorted(set(walked)))
    paged: list[int] = []
    following: int | None = 0
    while following is not None:
        page = client.lookup(digest, page_size=10, from_index=following)
        paged += [each.index for each in page.statements]
        following = page.next_index
    assert paged == walked


def test_a_page_of_large_statements_is_cut_below_what_any_client_takes(live: Live) -> None:
    """A page may be shorter than asked for; next_index leads on, and nothing is lost or repeated."""
    image = b"an image with large records"
    device = live.device("lookup-large")
    parents = sorted(hashlib.sha256(bytes([number])).digest() for number in range(64))
    client = live.client()
    for _ in range(16):
        client.append([device.capture(image, parents=parents) for _ in range(64)])
    digest = hashlib.sha256(image).digest()
    assert len(client.lookup(digest).statements) == 100
    walked = [each.index for each in client.lookup_all(digest)]
    assert (len(walked), walked) == (1024, sorted(set(walked)))


def test_a_digest_that_nobody_registered_is_an_empty_page(live: Live) -> None:
    """No match is an answer, with its checkpoint, and no error."""
    page = live.client().lookup(bytes(32))
    assert (page.statements, page.next_index) == ((), None)


@pytest.mark.parametrize(
    ("digest", "options", "field"),
    [
        (b"", {}, "digest"),
        (bytes(31), {}, "digest"),
        (bytes(64), {"hash_algorithm": SHA256}, "digest"),
        (bytes(32), {"hash_algorithm": SHA512}, "digest"),
        (bytes(32), {"rung": "soul"}, "rung"),
        (bytes(32), {"hash_algorithm": 5}, "hash_algorithm"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_field(
    live: Live, digest: bytes, options: dict[str, Any], field: str
) -> None:
    """Each field of the request has its own complaint."""
    with pytest.raises(RefusedError) as caught:
        live.client().lookup(digest, **options)
    assert (caught.value.info, [each.field for each in caught.value.violations]) == ("INVALID_ARGUMENT", [field])
