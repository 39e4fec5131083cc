"""Room in the sequencer's queue: what is cancelled gives back what it had, and takes nothing with it."""

import asyncio
from itertools import product

import pytest

from platemark_ledger.turns import Lane, Turns


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
