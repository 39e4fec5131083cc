"""Appending over one stream: several batches on their way, answers in their order, each verified as that of `append`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import grpc

from platemark.rpc import faults
from platemark.rpc.errors import BadReplyError, DeadlineError, RpcError, UnavailableError
from platemark.v1 import ledger_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    from platemark.rpc import model

    Call: TypeAlias = grpc.aio.StreamStreamCall[pb.AppendRequest, pb.AppendResponse]

__all__ = ["AHEAD", "TIMEOUT", "AppendStream", "appends"]

# Batches on their way at once: enough for the ledger to commit one while the next is there and an answer travels.
AHEAD = 4
# Seconds without an answer. Longer than of `append`: a ledger with many streams lets each wait for its turn instead of failing.
TIMEOUT = 120.0
_ENDED = "STREAM_ENDED"
_TAKEN = "platemark-stream"  # initial metadata
_PATIENCE = 5.0  # seconds for it


@dataclass(frozen=True, slots=True)
class Appender:
    """What a stream needs of its client: a call of AppendStream; the reply to what was sent, verified; a pause or our error."""

    open_stream: Callable[[], Call]
    verified: Callable[[pb.AppendResponse, Sequence[bytes], model.Wait], model.Appended]
    pause_or_raise: Callable[[grpc.aio.AioRpcError, int, float | None], Awaitable[None]]


class AppendStream:
    """Batches out, answers back, in one order. Made by LedgerClient.open_append_stream; close it, or use it in `async with`.

    `send` never waits; whoever sends keeps `unanswered` within what it wants to have on its way, and calls `receive` for each.
    When the ledger ends the stream, or the connection breaks, it is opened anew and what is unanswered is sent again, in order,
    as the client's `retry` says. After an error the stream is over, and of what is unanswered nothing is known: appending the
    same statements again is safe. One task.
    """

    def __init__(
        self, appender: Appender, *, wait: model.Wait, request_wait: pb.Wait.ValueType, timeout: float
    ) -> None:
        self._appender = appender
        self._wait = wait
        self._request_wait = request_wait
        self._timeout = timeout
        self._unanswered: deque[tuple[bytes, ...]] = deque()
        self._answered = 0
        self._more = asyncio.Event()
        self._call: Call | None = None
        self._writing: asyncio.Task[None] | None = None
        self._progress = False  # of the call
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def unanswered(self) -> int:
        """How many batches were sent whose answer has not been received."""
        return len(self._unanswered)

    def send(self, statements: Sequence[bytes]) -> None:
        """Put a batch of signed statements, at least one, on its way."""
        if self._closed:
            raise UnavailableError("this stream is over")
        self._unanswered.append(tuple(statements))
        if self._call is None:
            self._open()
        self._more.set()

    async def receive(self) -> model.Appended:
        """The answer to the oldest batch that is unanswered, as that of `append`. Raises RpcError; then the stream is over.

        Waits at most the `timeout` of the stream. A caller that is cancelled here may go on with another `receive`.
        """
        if not self._unanswered:
            msg = "nothing was sent that is unanswered"
            raise ValueError(msg)
        try:
            reply = await self._reply()
            appended = self._appender.verified(reply, self._unanswered[0], self._wait)
        except RpcError:
            await self.close()
            raise
        self._unanswered.popleft()
        self._answered += 1
        self._progress = True
        return appended

    async def close(self) -> None:
        """End it. Requests that the ledger has read are logged all the same. Closing twice is fine."""
        self._closed = True
        writing = self._writing
        self._give_up()
        if writing is not None:
            await asyncio.gather(writing, return_exceptions=True)

    async def _reply(self) -> pb.AppendResponse:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        failures = 0
        while True:
            if self._closed:
                raise UnavailableError("this stream is over")
            call = self._call or self._open()
            try:
                async with asyncio.timeout_at(deadline):
                    reply = await call.read()
            except TimeoutError:
                raise DeadlineError(f"the ledger has answered nothing for {self._timeout:g} s") from None
            except asyncio.CancelledError:
                # Cancelling a read ends the call; the next one opens another and sends again.
                self._give_up()
                raise
            except grpc.aio.AioRpcError as error:
                ours = faults.translate(error)
                # A write that meets the end of the call hides what the ledger said; what it refuses, it refuses again.
                ended = isinstance(ours, UnavailableError) and ours.info == _ENDED
                due = self._progress and (ended or error.details() == faults.BROKEN_WRITE)
                self._give_up()
                if not due:
                    failures += 1
                    await self._appender.pause_or_raise(error, failures, deadline - loop.time())
                continue
            if not isinstance(reply, pb.AppendResponse):
                raise BadReplyError("outcomes", "the ledger ended the stream without having answered")
            return reply

    def _open(self) -> Call:
        self._call = self._appender.open_stream()
        self._writing = asyncio.create_task(self._write(self._call))
        self._progress = False
        return self._call

    def _give_up(self) -> None:
        if self._call is not None and self._writing is not None:
            self._writing.cancel()
            self._call.cancel()
            self._call = self._writing = None

    async def _write(self, call: Call) -> None:
        """Send what is unanswered, oldest first, and then what comes, until the call ends; why it did, its reader is told."""
        number = self._answered
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if not await _taken(call):
                return  # its reader is told why
            while True:
                place = number - self._answered
                if 0 <= place < len(self._unanswered):
                    await call.write(pb.AppendRequest(statements=self._unanswered[place], wait=self._request_wait))
                    number += 1
                else:
                    number = max(number, self._answered)
                    self._more.clear()
                    await self._more.wait()


async def _taken(call: Call) -> bool:
    """Whether the ledger has taken the stream; a write that meets a refusal would hide what it says.

    A ledger that says nothing for some seconds is written to all the same.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            return _TAKEN in dict(await call.initial_metadata() or ())
    except TimeoutError:
        return True


async def appends(
    stream: AppendStream, batches: AsyncIterable[Sequence[bytes]] | Iterable[Sequence[bytes]], ahead: int
) -> AsyncGenerator[model.Appended, None]:
    """One answer per batch, in order; the next batches are drawn while answers are awaited, at most `ahead` unanswered."""
    if ahead < 1:
        msg = f"ahead: at least 1, not {ahead}"
        raise ValueError(msg)
    source = aiter(batches) if isinstance(batches, AsyncIterable) else _drawn(batches)
    room = asyncio.Semaphore(ahead)
    sent: asyncio.Queue[bool] = asyncio.Queue()  # False: that was all

    async def feed() -> None:
        try:
            while await room.acquire():
                for batch in (found := await _next(source)):
                    stream.send(batch)
                    sent.put_nowait(True)
                if not found:
                    return
        finally:
            sent.put_nowait(False)

    feeding = asyncio.create_task(feed())
    try:
        while await sent.get():
            appended = await stream.receive()
            room.release()
            yield appended
        await feeding
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _next(source: AsyncIterator[Sequence[bytes]]) -> list[Sequence[bytes]]:
    """A list of none or one: StopAsyncIteration cannot leave a task."""
    try:
        return [await anext(source)]
    except StopAsyncIteration:
        return []


async def _drawn(batches: Iterable[Sequence[bytes]]) -> AsyncGenerator[Sequence[bytes], None]:
    """Each drawn in a thread, because drawing may block."""
    source = iter(batches)
    while (batch := await asyncio.to_thread(next, source, None)) is not None:
        yield batch
