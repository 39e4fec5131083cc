"""Forty devices stream segments into one ledger: everything once, in order, whoever their neighbour is, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from integration.live import Live, found, only

import fleet
from fleet import Device, Seen, Signed
from neighbours import NEIGHBOURS, neighbour
from platemark.rpc import Logged

DEVICES, EACH = 40, 12
_FIRST = count(step=1_000)  # each test has devices, and so chains, of its own
_ROOM = (
    192 << 20
)  # what a neighbour may make both workers keep, in bytes; see deploy/README.md for the bounds behind it


@pytest.fixture(scope="module", name="ledger")
def _ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    place = found(tmp_path_factory.mktemp("fleet") / "ledger")
    # All devices come from one address; what one caller may open has to be more than that.
    with place.served("--workers", "2", CALLER_STREAMS="64", STREAM_STALL="2") as live:
        yield live


def enrolled(live: Live, number: int, segments: int) -> list[Signed]:
    """The segments of a device that the ledger knows."""
    only(live.client().append([live.place.registrar().enrolment(fleet.device(number), "sensor")]).outcomes)
    return fleet.sign(number, segments)


def a_fleet(live: Live) -> tuple[list[int], list[Device]]:
    """Devices that send as fast as they may."""
    first = next(_FIRST)
    numbers = list(range(first, first + DEVICES))
    registrar = live.place.registrar()
    batch = [registrar.enrolment(fleet.device(each), "sensor") for each in numbers]
    assert all(isinstance(each, Logged) for each in live.client().append(batch).outcomes)
    return numbers, [Device(fleet.sign(each, EACH)) for each in numbers]


async def go() -> None:
    """All are connected: begin."""


def logged_once_and_in_order(
    live: Live, numbers: Sequence[int], devices: Sequence[Device], seen: Sequence[Seen]
) -> None:
    """The log has of each device exactly what it sent, in the order of its chain, at the places that it was told."""
    for number, device, each in zip(numbers, devices, seen, strict=True):
        records = list(live.client().list_statements(kid=fleet.device(number).key.kid))
        assert [record.id for record in records] == [segment.id for segment in device.segments]
        assert [record.index for record in records] == each.indices
        assert [record.conditions for record in records] == [()] * EACH


@asynccontextmanager
async def beside(name: str, live: Live, raws: Sequence[bytes]) -> AsyncIterator[None]:
    """A neighbour that is at it inside the block."""
    begun = asyncio.Event()
    task = asyncio.create_task(neighbour(name, live.address, raws, begun.set))
    try:
        await asyncio.wait_for(begun.wait(), 60)
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_everything_is_logged_once_and_in_order(ledger: Live) -> None:
    """Each device's answers come in the order of its requests, and the log has each chain without gap, fork or repeat."""
    numbers, devices = a_fleet(ledger)
    seen = asyncio.run(fleet.drive(ledger.address, devices, ready=go))
    logged_once_and_in_order(ledger, numbers, devices, seen)
    assert [each.indices for each in seen] == [sorted(each.indices) for each in seen]


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_bad_neighbour_harms_nobody(ledger: Live, name: str) -> None:
    """Beside one that misbehaves every device is served, and what the ledger keeps for that one is bounded."""
    own = [segment.raw for segment in enrolled(ledger, next(_FIRST), 256)]
    assert all(isinstance(each, Logged) for each in ledger.client().append(own).outcomes)
    numbers, devices = a_fleet(ledger)
    before = resident(ledger)

    async def run() -> list[Seen]:
        async with beside(name, ledger, own):
            return await asyncio.wait_for(fleet.drive(ledger.address, devices, ready=go), 60)

    seen = asyncio.run(run())
    logged_once_and_in_order(ledger, numbers, devices, seen)
    assert resident(ledger) - before < _ROOM
    # The ledger is as it was: a second fleet is served, and nobody's place is taken for ever.
    numbers, devices = a_fleet(ledger)
    seen = asyncio.run(fleet.drive(ledger.address, devices, ready=go))
    logged_once_and_in_order(ledger, numbers, devices, seen)


def resident(live: Live) -> int:
    """Bytes of memory that the workers have now."""
    lines = [line for pid in live.workers for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
