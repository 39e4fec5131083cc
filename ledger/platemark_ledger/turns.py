"""Room in the sequencer's queue, given to streams in turn.

Fair by statements and not by requests: start-time fair queueing (Goyal, Vin, Cheng 1996). Each stream has a finish on a clock
that counts statements; who asks starts at its own finish, or at the clock if that is later, and the least start is served
first. So a stream that asks for one statement at a time waits for about one slice of every other stream, however much these
have to send, and one that was idle has saved nothing up.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field

__all__ = ["Lane", "Turns"]


@dataclass(slots=True)
class Lane:
    """The place of one stream. It asks for room once at a time."""

    finish: int = 0


@dataclass(order=True, slots=True)
class _Asking:
    start: int
    serial: int
    count: int = field(compare=False)
    given: asyncio.Future[None] = field(compare=False)


class Turns:
    """Room for so many statements. Owned by one event loop."""

    def __init__(self, room: int) -> None:
        self._left = room
        self._room = room
        self._clock = 0
        self._serial = 0
        self._asking: list[_Asking] = []

    @property
    def waiting(self) -> int:
        """How many streams wait for room."""
        return sum(not asking.given.cancelled() for asking in self._asking)

    def free(self, count: int) -> bool:
        """Whether there is room for so many at once, and nobody waits for any."""
        return self._left >= count and not self.waiting

    async def take(self, lane: Lane, count: int) -> None:
        """Returns when there is room for `count` statements, which are then the caller's to `give` back.

        A caller that is cancelled has taken nothing. Raises ValueError: more than there will ever be.
        """
        if not 1 <= count <= self._room:
            msg = f"{count} statements, and there is room for {self._room}"
            raise ValueError(msg)
        start = max(self._clock, lane.finish)
        lane.finish = start + count
        self._serial += 1
        asking = _Asking(start, self._serial, count, asyncio.get_running_loop().create_future())
        heapq.heappush(self._asking, asking)
        self._serve()
        try:
            await asking.given
        except asyncio.CancelledError:
            if not asking.given.cancelled():
                self.give(count)
            else:
                self._serve()
            raise

    def give(self, count: int) -> None:
        """Room that was taken is free again."""
        self._left += count
        self._serve()

    def _serve(self) -> None:
        # Whoever is first waits until there is room for all it asks for: otherwise small ones would pass it for ever.
        while self._asking and (self._asking[0].given.cancelled() or self._asking[0].count <= self._left):
            asking = heapq.heappop(self._asking)
            if asking.given.cancelled():
                continue
            self._left -= asking.count
            self._clock = max(self._clock, asking.start)
            asking.given.set_result(None)
