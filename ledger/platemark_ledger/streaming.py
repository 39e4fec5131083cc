"""AppendStream: requests in, answers out, in one order, and what a stream may make the ledger keep.

A reader takes one request after the other while less than a window of statements is unanswered, and hands their statements to
the sequencer in slices, each when its turn has come (turns.py). Answers leave in the order of the requests. Whatever ends the
reading (the client's end, a request that is refused, the boundary) takes effect behind the answers to what was read before.

A stream that goes away leaves what the sequencer has to the sequencer: its slices are logged, unheard, and nothing of it is
taken out of a batch that others share.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from platemark.v1 import ledger_pb2 as pb
from platemark_ledger.appending import Appending, answer
from platemark_ledger.sequencer import Appended, Order
from platemark_ledger.turns import Lane, Turns

if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["SLICE", "Streams"]

# Statements for which one turn is given while others wait: some 50 ms of a ledger's work, the grain of fairness. Smaller ones
# would put one request under several checkpoints, and proving it under one costs more than the turn.
SLICE = 256
# Bytes of unanswered requests with which a stream is read on; one request more may be as large as a message may be.
_WINDOW_BYTES = 4 * 1024 * 1024


class _Accepted(NamedTuple):
    """A request whose statements the sequencer has."""

    parts: list[asyncio.Future[Appended]]
    witnessed: bool
    statements: int
    octets: int


class Streams:
    """All streams of one worker; owned by its event loop. `window` and `room` are statements: of one stream, of all."""

    def __init__(self, appending: Appending, *, window: int, room: int) -> None:
        self._appending = appending
        self._window = window
        self._turns = Turns(room)

    async def answers(
        self, requests: AsyncIterator[pb.AppendRequest], context: _Context
    ) -> AsyncGenerator[pb.AppendResponse, None]:
        """One answer per request. Raises what ends the stream, behind the answers that are due before it."""
        stream = _Stream(self._appending, self._turns, self._window)
        reading = asyncio.create_task(stream.read(requests))
        try:
            while (accepted := await stream.accepted.get()) is not None:
                appended = await self._appending.joined([await asyncio.shield(part) for part in accepted.parts])
                if accepted.witnessed:
                    appended = await self._appending.witnessed(appended, context)
                # Lasts until the transport has taken it: a client that takes no answers is not read from either.
                yield answer(appended)
                del appended
                stream.answered(accepted)
            await reading
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reading


class _Stream:
    def __init__(self, appending: Appending, turns: Turns, window: int) -> None:
        self._appending = appending
        self._turns = turns
        self._window = window
        self._lane = Lane()
        self._order = Order()
        self._statements = self._bytes = 0  # unanswered
        self._open = asyncio.Event()
        self._open.set()
        # Bounded by the window. None: no more will come.
        self.accepted: asyncio.Queue[_Accepted | None] = asyncio.Queue()

    async def read(self, requests: AsyncIterator[pb.AppendRequest]) -> None:
        """Read, check and submit requests until there are no more, or until one raises."""
        try:
            while True:
                await self._open.wait()
                try:
                    request = await anext(requests)
                except StopAsyncIteration:
                    return
                await self._accept(request)
        finally:
            self.accepted.put_nowait(None)

    def answered(self, accepted: _Accepted) -> None:
        """Its answer was taken; the next request may be read."""
        self._count(-accepted.statements, -accepted.octets)

    async def _accept(self, request: pb.AppendRequest) -> None:
        witnessed = self._appending.check(request)
        raws, parts = list(request.statements), list[asyncio.Future[Appended]]()
        size = sum(map(len, raws))
        count = len(raws)
        self._count(count, size)
        del request
        while raws:
            most = len(raws) if self._turns.free(len(raws)) else SLICE
            piece, raws = raws[:most], raws[most:]
            await self._turns.take(self._lane, len(piece))
            try:
                future = self._appending.sequencer.submit(piece, order=self._order)
            except BaseException:
                self._turns.give(len(piece))
                raise
            # From here to the end of the loop nothing waits, so that no slice is without its callback.
            parts.append(self._follow(asyncio.wrap_future(future), len(piece)))
        self.accepted.put_nowait(_Accepted(parts, witnessed, count, size))

    def _follow(self, part: asyncio.Future[Appended], count: int) -> asyncio.Future[Appended]:
        def done(_: asyncio.Future[Appended]) -> None:
            self._turns.give(count)
            # A fault that nobody is there to hear any more is not asyncio's to complain of.
            if not part.cancelled():
                part.exception()

        part.add_done_callback(done)
        return part

    def _count(self, statements: int, size: int) -> None:
        self._statements += statements
        self._bytes += size
        if self._statements < self._window and self._bytes < _WINDOW_BYTES:
            self._open.set()
        else:
            self._open.clear()
