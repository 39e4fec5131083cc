"""Room in the queue goes round in turn, by statements."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platemark_ledger.turns import Lane, Turns


def test_a_sender_of_single_statements_is_not_starved_by_large_batches() -> None:
    """Beside eight streams that always have a slice to send, it waits for about one slice of each, every time."""

    async def run() -> list[int]:
        turns, served = Turns(128), 0
        delays = []

        async def greedy(lane: Lane) -> None:
            nonlocal served
            while True:
                await turns.take(lane, 64)
                served += 64
                await asyncio.sleep(0)
                turns.give(64)

        tasks = [asyncio.create_task(greedy(Lane())) for _ in range(8)]
        lane = Lane()
        for _ in range(50):
            before = served
            await turns.take(lane, 1)
            delays.append(served - before)
            turns.give(1)
            for _ in range(20):
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return delays

    assert max(asyncio.run(run())) <= 9 * 64


def test_streams_of_unequal_requests_get_equal_shares_of_statements() -> None:
    """One asks for 1 at a time and one for 64; while both always ask, each gets half."""

    async def run() -> dict[int, int]:
        turns, got = Turns(64), {1: 0, 64: 0}

        async def ask(count: int) -> None:
            lane = Lane()
            while sum(got.values()) < 20_000:
                await turns.take(lane, count)
                got[count] += count
                asyncio.get_running_loop().call_soon(turns.give, count)

        await asyncio.gather(ask(1), ask(64))
        return got

    got = asyncio.run(run())
    assert got[1] == pytest.approx(got[64], rel=0.1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 64), st.booleans()), max_size=30))
def test_whoever_leaves_takes_no_room_with_it(asks: list[tuple[int, bool]]) -> None:
    """Cancelled before or after its turn came: in the end all room is free."""

    async def run() -> None:
        turns = Turns(64)

        async def ask(count: int) -> None:
            await turns.take(Lane(), count)
            try:
                await asyncio.sleep(0)
            finally:
                turns.give(count)

        tasks = [asyncio.create_task(ask(count)) for count, _ in asks]
        await asyncio.sleep(0)
        for task, (_, leaves) in zip(tasks, asks, strict=True):
            if leaves:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            await turns.take(Lane(), 64)

    asyncio.run(run())


def test_more_than_there_will_ever_be_is_refused() -> None:
    """It would wait for ever, and everybody behind it."""
    with pytest.raises(ValueError, match="65 statements"):
        asyncio.run(Turns(64).take(Lane(), 65))


@pytest.mark.parametrize(("which", "served_first"), list(product((0, 1, 2), (False, True))))
def test_a_stream_that_goes_away_in_the_same_moment_takes_no_room_along(which: int, *, served_first: bool) -> None:
    """Cancelled before or after room came free in one turn of the event loop: the others are served, and no room is lost."""

    async def run() -> None:
        turns = Turns(3)
        await turns.take(Lane(), 3)
        asking = [asyncio.create_task(turns.take(Lane(), 1)) for _ in range(3)]
        await asyncio.sleep(0)
        if served_first:
            turns.give(3)
        asking[which].cancel()
        if not served_first:
            turns.give(3)
        ended = await asyncio.gather(*asking, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in ended] == [each == which for each in range(3)]
        assert turns.waiting == 0
        turns.give(2)
        await asyncio.wait_for(turns.take(Lane(), 3), 1)

    asyncio.run(run())
