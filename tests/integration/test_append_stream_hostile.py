"""AppendStream against clients that leave in the middle of everything: nothing of what they took is kept from the others."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import cast

import grpc
from integration.live import Live, Place, Writer, only
from integration.test_append_stream import captures, indices

from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


async def _rude(address: str, raws: list[bytes], draw: random.Random) -> None:
    """Some streams on a connection of their own, each left in another phase; then the connection is broken off."""
    # Else channels of one process share a connection.
    async with grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)
        calls = [stub.AppendStream(timeout=20) for _ in range(draw.randint(1, 6))]
        for call in calls:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
                async with asyncio.timeout(1):
                    for _ in range(draw.randint(0, 4)):
                        some = draw.sample(raws, draw.randint(1, 200))
                        await call.write(
                            pb.AppendRequest(
                                statements=some, wait=cast("pb.Wait.ValueType", draw.choice((0, 0, 0, 99)))
                            )
                        )
                    if draw.random() < 0.3:
                        await call.done_writing()
                    for _ in range(draw.randint(0, 2)):
                        await call.read()
            if draw.random() < 0.5:
                call.cancel()
        await channel.close(grace=None)


def test_clients_that_leave_in_the_middle_take_nothing_with_them(place: Place) -> None:
    """After scores of streams that were left in every phase, all the room and all the places for streams are there again."""
    draw = random.Random(5)
    with place.served(STREAM_QUEUE="256", MAX_STREAMS="40", CALLER_STREAMS="40", STREAM_WINDOW="300") as live:
        raws = captures(live.device("rude"), 400)

        async def attack() -> None:
            for _ in range(4):
                await asyncio.gather(*(_rude(live.address, raws, draw) for _ in range(6)))

        asyncio.run(attack())
        polite = captures(live.device("polite"), 1024)
        # A request that needs all the room there is, several times over, on as many streams as there may be.
        answers = list(live.client().append_stream([polite[start : start + 256] for start in range(0, 1024, 256)]))
        assert len([place for each in answers for place in indices(each.outcomes)]) == 1024
        _all_places(live, [live.device(f"each-{number}") for number in range(3)])
    said = live.log.read_text()
    assert "Traceback" not in said, said[-3000:]
    assert "was never retrieved" not in said


def _all_places(live: Live, devices: list[Writer]) -> None:
    """As many streams as the ledger allows are open at once, and take statements."""
    streams = [live.client().open_append_stream() for _ in range(40)]
    try:
        for number, stream in enumerate(streams):
            stream.send([devices[number % len(devices)].capture(bytes([number]))])
        for stream in streams:
            only(stream.receive().outcomes)
    finally:
        for stream in streams:
            stream.close()
