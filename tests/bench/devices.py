"""Devices with P-256 keys and the captures that they sign before the clock starts.

A capture here is that of a DICOM image: three rungs under two hash algorithms, some 750 bytes. A capture names no log,
so that one set of statements serves every ledger on which its devices are enrolled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from integration.live import NOW, Live, Writer

import builders
from platemark.rpc import Logged
from platemark.rungs import SHA256, SHA512

__all__ = ["cores", "device", "digests", "enrol", "prepare"]

_RUNGS = ("file", "dataset", "pixels")


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def device(number: int) -> Writer:
    """The device of a number at the start of its chain; every process that asks gets the same key."""
    party = builders.party(f"bench-{number}")
    return Writer(party.key.private, party.uri, bytes(32))


def digests(image: bytes) -> dict[str, dict[int, bytes]]:
    """What `image` measures to: each rung, both algorithms."""
    return {
        rung: {SHA256: hashlib.sha256(image + rung.encode()).digest(), SHA512: hashlib.sha512(image).digest()}
        for rung in _RUNGS
    }


def prepare(numbers: Sequence[int], each: int) -> dict[int, list[bytes]]:
    """`each` captures of every device in the order of its chain, signed on all cores."""
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        return dict(zip(numbers, pool.map(_sign, numbers, [each] * len(numbers)), strict=True))


def _sign(number: int, count: int) -> list[bytes]:
    writer = device(number)
    return [
        writer.capture(captured=NOW, media="application/dicom", frames=1, digests=digests(b"%d %d" % (number, place)))
        for place in range(count)
    ]


def enrol(live: Live, numbers: Sequence[int]) -> None:
    """Enrol the devices as modalities through the service."""
    registrar = live.place.registrar()
    client = live.client()
    for start in range(0, len(numbers), 256):
        batch = [registrar.enrolment(device(number), "modality") for number in numbers[start : start + 256]]
        for outcome in client.append(batch).outcomes:
            assert isinstance(outcome, Logged), outcome
