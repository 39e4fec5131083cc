"""Calls in which both sides stream: how many there are, in all and of one caller, and when one has lasted enough.

Nothing else ends at a caller's pleasure, so each of them has an end of our own: idle, of age, or with an answer that is not
taken. The first two and a drain are told where the next request is read, so that what was read before is answered first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc

from platemark_ledger.status import CallError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    _Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["Exchange", "ExchangeLimits", "Exchanges"]


@dataclass(frozen=True, kw_only=True)
class ExchangeLimits:
    """`most` in all and `of_one_caller`; the rest are seconds: without a request, for one answer to be taken, in all."""

    most: int
    of_one_caller: int
    idle: float
    stall: float
    age: float


class Exchanges:
    """All of one worker; owned by its event loop. `endings` counts how they ended, by the reason that the caller was told."""

    def __init__(self, limits: ExchangeLimits) -> None:
        self.endings: Counter[str] = Counter()
        self._limits = limits
        self._callers: Counter[str] = Counter()
        self._draining = asyncio.Event()

    @property
    def under_way(self) -> int:
        """How many there are now."""
        return self._callers.total()

    def drain(self) -> None:
        """From now on none reads another request."""
        self._draining.set()

    def ended(self, reason: str) -> None:
        """Note how one ended."""
        self.endings[reason] += 1

    @contextmanager
    def opened(self, caller: str, context: _Context) -> Iterator[Exchange]:
        """One more, of this caller. Raises CallError when there are enough."""
        if self._callers.total() >= self._limits.most:
            raise CallError("overloaded", f"{self._limits.most} streams are open already; nothing was done, send again")
        if self._callers[caller] >= self._limits.of_one_caller:
            raise CallError(
                "overloaded",
                f"this caller has {self._limits.of_one_caller} streams already; nothing was done, send again",
            )
        self._callers[caller] += 1
        exchange = Exchange(context, self._limits, self._draining)
        try:
            yield exchange
        finally:
            exchange.close()
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]


class Exchange:
    """One of them: requests as bytes, answers as messages."""

    def __init__(self, context: _Context, limits: ExchangeLimits, draining: asyncio.Event) -> None:
        self._context = context
        self._limits = limits
        self._draining = draining
        # One for all reads: a task for each costs more than the read itself.
        self._drained = asyncio.create_task(draining.wait())
        self._clock = asyncio.get_running_loop().time
        self._ends = self._clock() + limits.age
        self._active = self._clock()
        self._unanswered = 0

    def close(self) -> None:
        """Nothing is read any more."""
        self._drained.cancel()

    async def read(self) -> bytes | None:
        """The next request; None when the caller has closed its side.

        Raises CallError when the stream has been idle, is of age, or the ledger drains: then nothing more was read.
        """
        if self._draining.is_set():
            raise CallError("stopped", "the ledger is stopping; send again")
        reading = asyncio.ensure_future(self._context.read())
        try:
            while not reading.done():
                await asyncio.wait((reading, self._drained), timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
                # A request that is there is taken: it was sent, and would be unknown to its sender otherwise.
                if not reading.done():
                    self._check()
            raw = reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await reading
        if raw is grpc.aio.EOF:
            return None
        self._active = self._clock()
        self._unanswered += 1
        return cast("bytes", raw)

    async def write(self, message: Message) -> None:
        """Returns when the transport has taken the answer. Raises CallError when it has not in time."""
        try:
            async with asyncio.timeout(self._limits.stall):
                await self._context.write(message)
        except TimeoutError:
            raise CallError(
                "stream-ended", f"an answer was not taken for {self._limits.stall:g} s; send what is unanswered again"
            ) from None
        self._active = self._clock()
        self._unanswered -= 1

    def _left(self) -> float:
        """Seconds until there is something to look at again."""
        now = self._clock()
        idle = self._limits.idle if self._unanswered else self._active + self._limits.idle - now
        return max(0.0, min(idle, self._ends - now))

    def _check(self) -> None:
        now = self._clock()
        if self._draining.is_set():
            raise CallError("stopped", "the ledger is stopping; send again")
        if now >= self._ends:
            raise CallError("stream-ended", f"a stream lasts {self._limits.age:g} s; open another")
        if not self._unanswered and now >= self._active + self._limits.idle:
            raise CallError(
                "stream-ended", f"there was no request for {self._limits.idle:g} s; open another when there is"
            )
