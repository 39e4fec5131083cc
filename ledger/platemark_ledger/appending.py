"""What Append and AppendStream do with one request: check it, wait for witnesses if it says so, write the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import grpc

from platemark.v1 import ledger_pb2 as pb
from platemark_ledger.anchor import Anchored
from platemark_ledger.board import Board, What
from platemark_ledger.conditions import Condition
from platemark_ledger.errors import Refusal, RequestError
from platemark_ledger.receipts import Receipts
from platemark_ledger.sequencer import Appended, Logged, Sequencer
from platemark_ledger.status import CallError, refusal

__all__ = ["Appending", "answer", "check_range", "checkpoint_message", "condition_messages"]

# Seconds that a caller without a deadline, or with a longer one, waits for witnesses before it is asked to send again.
_LONGEST_WAIT = 60.0
# Seconds before its deadline in which a caller is told that there is no quorum: behind it, nobody listens.
_MARGIN = 0.25
if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[Any, Any]
    _Read = Callable[[Callable[[], Appended]], Awaitable[Appended]]


class Appending:
    """Owned by the event loop of the server. `read` asks a question of the store off the event loop.

    `max_batch` statements are in one request at most; `max_waiting` calls of Append wait for witnesses at once.
    """

    def __init__(
        self, sequencer: Sequencer, receipts: Receipts, board: Board, *, read: _Read, max_batch: int, max_waiting: int
    ) -> None:
        self.sequencer = sequencer
        self._receipts = receipts
        self._board = board
        self._read = read
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting = 0

    async def append(self, request: pb.AppendRequest, context: _Context) -> pb.AppendResponse:
        """The answer of Append."""
        if self.check(request) and self._waiting >= self._max_waiting:
            raise CallError(
                "overloaded", f"{self._waiting} calls wait for witnesses already; nothing was done, send again"
            )
        # A caller that goes away must not take a batch with it that others share: the append goes on, unheard.
        appended = await asyncio.shield(asyncio.wrap_future(self.sequencer.submit(list(request.statements))))
        if request.wait != pb.WAIT_WITNESSED:
            return answer(appended)
        self._waiting += 1
        try:
            return answer(await self.witnessed(appended, context))
        finally:
            self._waiting -= 1

    def check(self, request: pb.AppendRequest) -> bool:
        """Whether a request wants witnesses to be waited for; said before anything is logged. Raises RequestError, CallError."""
        wait = request.wait
        if wait == pb.WAIT_WITNESSED and not self._board.witnessed:
            raise CallError("no-witnesses", "this ledger has no witnesses, so nothing can wait for them")
        # proto3 enums are open: a value of a later release arrives as its number.
        if wait not in {pb.WAIT_UNSPECIFIED, pb.WAIT_LOGGED, pb.WAIT_WITNESSED}:
            raise RequestError("wait", f"{wait} is not a value that this ledger knows")
        check_range("statements", len(request.statements), least=1, most=self._max_batch)
        return bool(wait == pb.WAIT_WITNESSED)

    async def joined(self, parts: Sequence[Appended]) -> Appended:
        """The parts of one request, in order, as one: all of it under the checkpoint of the last."""
        outcomes = tuple(outcome for part in parts for outcome in part.outcomes)
        newest = max((part.checkpoint for part in parts), key=lambda each: each.size)
        whole = Appended(outcomes, newest)
        if all(part.checkpoint.size == newest.size for part in parts):
            return whole
        return await self._read(lambda: self._receipts.under(whole, newest))

    async def witnessed(self, appended: Appended, context: _Context) -> Appended:
        """The same under a checkpoint with a quorum of witnesses. Raises CallError when there is none in time."""
        indices = [each.index for each in appended.outcomes if isinstance(each, Logged)]
        if not indices:
            return appended
        # None, whatever the stubs say: the caller set no deadline.
        left = cast("float | None", context.time_remaining())
        patience = _LONGEST_WAIT if left is None else min(_LONGEST_WAIT, left - min(_MARGIN, left / 4))
        found = await self._board.beyond(max(indices), What.WITNESSED, timeout=patience, urgent=True)
        if found is None:
            raise CallError(
                "not-witnessed", "the statements are logged, and no quorum of witnesses has cosigned yet; send again"
            )
        return await self._read(lambda: self._receipts.under(appended, found))


def check_range(field: str, value: int, *, least: int, most: int | None = None) -> None:
    """Raises RequestError naming the field."""
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise RequestError(field, f"{value} is not {bounds}")


def answer(appended: Appended) -> pb.AppendResponse:
    """Filled in place: a message that is given to the constructor of another is copied whole, once at each level."""
    reply = pb.AppendResponse(checkpoint=checkpoint_message(appended.checkpoint))
    for position, outcome in enumerate(appended.outcomes):
        message = reply.outcomes.add()
        if isinstance(outcome, Refusal):
            message.refused.CopyFrom(refusal(outcome, position))
            continue
        message.logged.duplicate = outcome.duplicate
        logged = message.logged.statement
        logged.index = outcome.index
        logged.id = outcome.id
        logged.statement = outcome.raw
        logged.received = outcome.received
        logged.inclusion_path.extend(outcome.path)
        logged.conditions.extend(condition_messages(outcome.conditions))
    return reply


def condition_messages(conditions: Sequence[Condition]) -> list[pb.Condition]:
    """As ledger.proto has them."""
    return [pb.Condition(code=each.code, detail=each.detail) for each in conditions]


def checkpoint_message(anchored: Anchored) -> pb.Checkpoint:
    """As ledger.proto has it."""
    return pb.Checkpoint(note=anchored.note)
