"""What has been published, for the callers of one worker who wait for it.

Any worker's publisher may be the one that publishes, so what is there is read from the data: by one task for all who wait, and
only while somebody does. Nobody holds a thread.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark_ledger import published
from platemark_ledger.errors import LedgerError, NotFoundError

if TYPE_CHECKING:
    from platemark_ledger.anchor import Anchored
    from platemark_ledger.opening import Ledger
    from platemark_ledger.seat import Seat

__all__ = ["Board", "What"]

_LOOK = 0.02  # seconds between looks; each is two small reads
_LAST = 2.0  # seconds that those who wait still have when the worker drains


class What(enum.Enum):
    """Which newest checkpoint: the anchored one, the published one, the one with a quorum of witnesses."""

    LATEST = "latest"
    PUBLISHED = "published"
    WITNESSED = "witnessed"


@dataclass(eq=False, slots=True)
class _Waiting:
    what: What
    above: int
    urgent: bool
    future: asyncio.Future[Anchored]


class Board:
    """Owned by the event loop of the server. `witnessed`: whether this ledger demands a quorum, so that one can be waited for."""

    def __init__(self, ledger: Ledger, seat: Seat, *, witnessed: bool) -> None:
        self.witnessed = witnessed
        self._ledger = ledger
        self._seat = seat
        self._waiting: set[_Waiting] = set()
        self._looking: asyncio.Task[None] | None = None
        self._drained: float | None = None

    @property
    def waiting(self) -> int:
        """How many wait urgently."""
        return sum(each.urgent for each in self._waiting)

    def newest(self, what: What) -> Anchored | None:
        """The newest checkpoint of its kind; None when there is none yet."""
        if what is What.LATEST:
            return self._ledger.anchor.read()
        with self._ledger.store.read() as transaction:
            row = published.newest_witnessed(transaction) if what is What.WITNESSED else published.newest(transaction)
        return None if row is None else row.released

    def get(self, what: What) -> Anchored:
        """As `newest`. Raises NotFoundError."""
        found = self.newest(what)
        if found is None:
            raise NotFoundError(f"the log has no {what.value} checkpoint yet")
        return found

    async def beyond(self, size: int, what: What, *, timeout: float, urgent: bool = False) -> Anchored | None:
        """The newest checkpoint of its kind above a size, as soon as there is one; None after `timeout` seconds, or at a drain.

        `urgent` asks the publisher to hurry; otherwise it comes when its time has come.
        """
        found = self.newest(what)
        if found is not None and found.size > size:
            return found
        if self._drained is not None:
            timeout = min(timeout, self._drained - asyncio.get_running_loop().time())
        if timeout <= 0:
            return None
        waiting = _Waiting(what, size, urgent, asyncio.get_running_loop().create_future())
        self._waiting.add(waiting)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout):
                return await waiting.future
        except TimeoutError:
            return None
        finally:
            self._waiting.discard(waiting)

    def drain(self) -> None:
        """From now on nobody waits for long: whoever does has a moment left."""
        loop = asyncio.get_running_loop()
        self._drained = loop.time() + _LAST
        loop.call_later(_LAST, self._release)

    def _release(self) -> None:
        for each in self._waiting:
            if not each.future.done():
                each.future.set_exception(TimeoutError())

    async def _look(self) -> None:
        try:
            await self._look_for_all()
        except LedgerError as error:
            for each in self._waiting:
                if not each.future.done():
                    each.future.set_exception(error)

    async def _look_for_all(self) -> None:
        while self._waiting:
            heads = {what: self.newest(what) for what in {each.what for each in self._waiting}}
            for each in self._waiting:
                head = heads[each.what]
                if head is not None and head.size > each.above and not each.future.done():
                    each.future.set_result(head)
            # Each time anew: the publisher that was asked may have died, and the next one has to be asked again.
            wanted = [each.above + 1 for each in self._waiting if each.urgent]
            if wanted:
                self._seat.ask(max(wanted))
            await asyncio.sleep(_LOOK)
