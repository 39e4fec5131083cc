"""The one interceptor through which every ledger call passes, in both directions.

In: draining, too many calls, a deadline that has passed, a message that is not protobuf, a caller without the role that the
call needs (access_gate.py); each is refused before any work.
Out: an error of the domain becomes the status of the one table (status.py); a fault of ours goes to the log; answers that
their callers do not take are bounded, since nothing else ends at a caller's pleasure.

It is written once so that no RPC has a try of its own. Health and reflection pass untouched.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from google.protobuf.message import DecodeError, Message

from platemark_ledger.access_gate import Gate, Passage
from platemark_ledger.exchanges import Exchange, Exchanges
from platemark_ledger.status import CallError, Told, classify, to_status

__all__ = ["Boundary"]

_log = logging.getLogger("platemark.ledger")
# Initial metadata of a stream that has a place (ledger.proto, AppendStream).
_TAKEN = (("platemark-stream", "taken"),)
_PREFIX = "/platemark.v1.Ledger/"
# Its answer is given whatever else waits: "nothing was done" would be false.
_WRITES = frozenset({_PREFIX + "Append"})

if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[Any, Any]
    _Handler = grpc.RpcMethodHandler[Any, Any]


class Boundary(grpc.aio.ServerInterceptor):
    """Owned by the event loop of the server. `drain` is for good: a boundary never opens again."""

    def __init__(self, *, max_calls: int, max_streams: int, max_unread: int, gate: Gate, exchanges: Exchanges) -> None:
        self._gate = gate
        self._exchanges = exchanges
        self._max_calls = max_calls
        self._max_streams = max_streams
        self._max_unread = max_unread
        self._unread = 0
        self._calls = 0  # counted against max_calls
        self._under_way = 0
        self._streams: Counter[str] = Counter()  # of each method
        self._draining = False
        self._turned_away = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def calls(self) -> int:
        """Ledger calls under way, streams among them."""
        return self._under_way

    def drain(self) -> None:
        """From now on ledger calls are refused with UNAVAILABLE; those under way go on."""
        self._draining = True
        self._exchanges.drain()

    @property
    def turned_away(self) -> int:
        """Ledger calls refused because of the drain."""
        return self._turned_away

    async def idle(self) -> None:
        """Returns when no ledger call is under way. Health watchers, which never end by themselves, are not waited for."""
        await self._idle.wait()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The handler of the call, wrapped when it is the ledger's. None: an unknown method, which gRPC answers itself."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not method.startswith(_PREFIX):
            return handler
        # The request is read inside the wrapper, so that bytes that are no message get our answer: gRPC's own is INTERNAL.
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._exchanging(handler, method),
                request_deserializer=None,
                response_serializer=handler.response_serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(handler, method),
                request_deserializer=None,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler, method),
            request_deserializer=None,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, handler: _Handler, method: str) -> Callable[[bytes, _Context], Awaitable[Any]]:
        # The stubs type a handler as the blocking server's; in an aio server it is a coroutine function.
        answer = cast("Callable[[Message, _Context], Awaitable[Any]]", handler.unary_unary)

        async def admitted(raw: bytes, context: _Context) -> Any:
            with self._admitted(context):
                request = _read(handler, raw)
                async with self._passage(method, request, context) as passage:
                    message = await answer(request, context)
                    await passage.answered(message)
            if method not in _WRITES:
                self._keep(message.ByteSize(), context)
            return message

        async def call(raw: bytes, context: _Context) -> Any:
            try:
                return await admitted(raw, context)
            except Exception as error:  # noqa: BLE001 - the one place that turns whatever happened into a status
                await _abort(error, context)

        return call

    def _streaming(self, handler: _Handler, method: str) -> Callable[[bytes, _Context], AsyncIterator[Any]]:
        answer = cast("Callable[[Message, _Context], AsyncGenerator[Any, None]]", handler.unary_stream)

        async def call(raw: bytes, context: _Context) -> AsyncIterator[Any]:
            try:
                with self._admitted(context), self._streaming_admitted(method):
                    request = _read(handler, raw)
                    async with (
                        self._passage(method, request, context) as passage,
                        aclosing(answer(request, context)) as messages,
                    ):
                        async for message in messages:
                            await passage.answered(message)
                            # Returns when the transport has taken it: a reader that does not read holds this one and no more.
                            yield message
            except Exception as error:  # noqa: BLE001 - as above
                await _abort(error, context)

        return call

    def _exchanging(self, handler: _Handler, method: str) -> Callable[[Any, _Context], Awaitable[None]]:
        answer = cast("Callable[[AsyncIterator[Message], _Context], AsyncGenerator[Any, None]]", handler.stream_stream)

        async def exchange(context: _Context) -> None:
            # What streams that were not read have left behind in the transport stands in the way of more.
            self._check_unread(0)
            with self._admitted(context, counted=False):
                # Before it has a place: whoever may make no request would hold one, idle, that a writer needs.
                async with self._passage(method, _read(handler, b""), context):
                    await exchanged(context)

        async def exchanged(context: _Context) -> None:
            with self._exchanges.opened(self._gate.caller(context), context) as opened:
                # Told at once: a client that writes before it knows may miss why a stream was refused.
                await context.send_initial_metadata(_TAKEN)
                async with (
                    aclosing(self._requests(handler, method, opened, context)) as requests,
                    aclosing(answer(requests, context)) as messages,
                ):
                    async for message in messages:
                        await self._write(message, opened, context)

        # A coroutine that reads and writes, not a generator: only so can a read or a write be given up.
        async def call(_: Any, context: _Context) -> None:
            try:
                await exchange(context)
            except Exception as error:  # noqa: BLE001 - as above
                self._exchanges.ended(classify(error).reason)
                await _abort(error, context)
            self._exchanges.ended("OK")

        return call

    async def _requests(
        self, handler: _Handler, method: str, opened: Exchange, context: _Context
    ) -> AsyncGenerator[Message, None]:
        """Each request of a caller who, at that moment, may make it."""
        while (raw := await opened.read()) is not None:
            request = _read(handler, raw)
            del raw
            async with self._passage(method, request, context):
                yield request
            del request

    async def _write(self, message: Message, opened: Exchange, context: _Context) -> None:
        try:
            await opened.write(message)
        except CallError:
            # The transport has it until the connection ends.
            self._count_unread(message.ByteSize(), context)
            raise

    @contextmanager
    def _admitted(self, context: _Context, *, counted: bool = True) -> Iterator[None]:
        """`counted`: it is one of `max_calls`; else it has a bound of its own."""
        if self._draining:
            self._turned_away += 1
            raise CallError("stopped", "the ledger is stopping; send again")
        # None, whatever the stubs say: the caller set no deadline.
        left = cast("float | None", context.time_remaining())
        if left is not None and left <= 0:
            raise CallError("deadline-passed", "the deadline had passed when the ledger saw the call; nothing was done")
        if counted and self._calls >= self._max_calls:
            raise CallError("overloaded", f"{self._calls} calls are under way already; nothing was done, send again")
        self._calls += counted
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= counted
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()

    @asynccontextmanager
    async def _passage(self, method: str, request: Message, context: _Context) -> AsyncIterator[Passage]:
        """The call of a caller who may make it; how it ends is noted where reads are."""
        passage = await self._gate.admit(method.removeprefix(_PREFIX), request, context)
        try:
            yield passage
        except Exception as error:
            await passage.refused(classify(error).reason)
            raise

    def _keep(self, size: int, context: _Context) -> None:
        """Counts an answer until the transport has taken all of it, or the call is gone."""
        self._check_unread(size)
        self._count_unread(size, context)

    def _check_unread(self, size: int) -> None:
        if self._unread and self._unread + size > self._max_unread:
            raise CallError("overloaded", f"{self._unread} bytes of answers wait for their readers already; send again")

    def _count_unread(self, size: int, context: _Context) -> None:
        def taken(_: _Context) -> None:
            self._unread -= size

        self._unread += size
        # When the transport has it, not when it is handed over: that is what the readers that do not read are about.
        context.add_done_callback(taken)  # type: ignore[arg-type] # the stubs want a class of theirs, not a function

    @contextmanager
    def _streaming_admitted(self, method: str) -> Iterator[None]:
        """A stream lasts as long as its reader likes, so that those of a method have a bound of their own and fill no other's."""
        under_way = self._streams[method]
        if under_way >= self._max_streams:
            raise CallError(
                "overloaded", f"{under_way} such streams are under way already; nothing was done, send again"
            )
        self._streams[method] += 1
        try:
            yield
        finally:
            self._streams[method] -= 1


def _read(handler: _Handler, raw: bytes) -> Message:
    assert handler.request_deserializer is not None
    try:
        message: Message = handler.request_deserializer(raw)
    except DecodeError:
        raise CallError("malformed-message", "the request is not the protobuf message of this RPC") from None
    return message


async def _abort(error: Exception, context: _Context) -> NoReturn:
    told: Told = classify(error)
    if told.fault:
        _log.error("%s", told.reason, exc_info=error)
    status = to_status(told)
    await context.abort(told.code, told.text, (("grpc-status-details-bin", status.SerializeToString()),))
    raise AssertionError  # abort always raises
