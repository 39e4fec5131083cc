"""Rungs: their order, and what counts as a match."""

import pytest

from platemark.attributes import REGISTRY
from platemark.rungs import DIGEST_SIZES, HEADER_BINDING, RUNGS, SHA256, SHA512, Digests, Match, strongest_match

A, B = b"a" * 32, b"b" * 32
LONG_A, LONG_B = b"a" * 64, b"b" * 64


@pytest.mark.parametrize(
    ("measured", "recorded", "expected"),
    [
        ({}, {}, Match(None)),
        ({"file": {SHA256: A}}, {}, Match(None)),
        ({"file": {SHA256: A}}, {"file": {SHA256: A}}, Match("file")),
        ({"file": {SHA256: A}}, {"file": {SHA256: B}}, Match(None)),
        ({"file": {SHA256: A}, "pixels": {SHA256: B}}, {"file": {SHA256: B}, "pixels": {SHA256: B}}, Match("pixels")),
        ({"pixels": {SHA256: B}, "file": {SHA256: A}}, {"pixels": {SHA256: B}, "file": {SHA256: A}}, Match("file")),
        ({"file": {SHA256: A, SHA512: LONG_A}}, {"file": {SHA256: A}}, Match("file")),
        ({"file": {SHA512: LONG_A}}, {"file": {SHA512: LONG_A}}, Match(None)),
        ({"file": {SHA256: A}}, {"file": {SHA512: LONG_A}}, Match(None)),
        ({"file": {SHA256: A, -99: b"x"}}, {"file": {SHA256: A, -98: b"y"}}, Match("file")),
        ({"retina": {SHA256: A}}, {"retina": {SHA256: A}}, Match(None)),
    ],
)
def test_the_strongest_rung_with_sha256_and_no_disagreement_matches(
    measured: Digests, recorded: Digests, expected: Match
) -> None:
    """A rung matches when SHA-256 is on both sides and every shared algorithm agrees; the strongest one is named."""
    assert expected == strongest_match(measured, recorded)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(("short", "long"), [(A, LONG_B), (B, LONG_A)])
def test_algorithms_that_contradict_each_other_are_a_conflict_even_beside_a_match(
    rung: str, short: bytes, long: bytes
) -> None:
    """One equal and one different digest of a rung is reported as a conflict, and no rung matches."""
    recorded = {"messages" if rung == "file" else "file": {SHA256: A}, rung: {SHA256: A, SHA512: LONG_A}}
    measured = {**recorded, rung: {SHA256: short, SHA512: long}}
    assert Match(None, conflict=rung) == strongest_match(measured, recorded)


def test_the_header_binding_is_made_of_registered_attributes() -> None:
    """Every name of HEADER_BINDING has a slot in the registry."""
    assert set() == HEADER_BINDING - set(REGISTRY)


def test_the_digest_sizes_are_those_of_the_algorithms() -> None:
    """SHA-256 digests have 32 bytes and SHA-512 digests 64."""
    assert dict(DIGEST_SIZES) == {SHA256: 32, SHA512: 64}
