"""The blocking twin of platemark.rpc.LedgerClient: same methods, same errors, no asyncio in the caller.

It runs the asyncio client on an event loop of its own, in a thread of its own, and adds nothing. May be shared by threads.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from platemark.rpc import client, model, streaming
from platemark.rpc.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
    from types import TracebackType
    from typing import Any

    from platemark.rpc.channel import Tls
    from platemark.rpc.retry import Retry
    from platemark.rpc.trusted import Trusted

__all__ = ["AppendStream", "LedgerClient"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _blocking(
    method: Callable[Concatenate[client.LedgerClient, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[LedgerClient, _P], _T]:
    @functools.wraps(method)
    def call(self: LedgerClient, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return self._run(method(self._client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[client.LedgerClient, _P], AsyncGenerator[_T, None]],
) -> Callable[Concatenate[LedgerClient, _P], Iterator[_T]]:
    @functools.wraps(method)
    def call(self: LedgerClient, /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        return self._iterate(method(self._client, *args, **kwargs))

    return call


class LedgerClient:
    """As platemark.rpc.LedgerClient, blocking. Close it, or use it in a `with`."""

    def __init__(
        self,
        target: str,
        *,
        trusted: Trusted | None = None,
        tls: Tls | None = None,
        timeout: float = 30.0,
        attempt_timeout: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon, so that a caller who forgets to close can still end.
        self._thread = threading.Thread(target=self._loop.run_forever, name="platemark-rpc", daemon=True)
        self._thread.start()
        self._closed = False

        async def make() -> client.LedgerClient:
            return client.LedgerClient(
                target, trusted=trusted, tls=tls, timeout=timeout, attempt_timeout=attempt_timeout, retry=retry
            )

        try:
            self._client = self._run(make())
        except BaseException:
            self._stop()
            raise

    append = _blocking(client.LedgerClient.append)
    append_stream = _iterating(client.LedgerClient.append_stream)
    lookup = _blocking(client.LedgerClient.lookup)
    lookup_all = _iterating(client.LedgerClient.lookup_all)
    evidence = _blocking(client.LedgerClient.evidence)
    statement = _blocking(client.LedgerClient.statement)
    list_statements = _iterating(client.LedgerClient.list_statements)
    inclusion_proof = _blocking(client.LedgerClient.inclusion_proof)
    consistency_proof = _blocking(client.LedgerClient.consistency_proof)
    checkpoint = _blocking(client.LedgerClient.checkpoint)
    watch = _iterating(client.LedgerClient.watch)

    def open_append_stream(  # noqa: D102 - below, the very words of the other
        self, *, wait: model.Wait = model.Wait.LOGGED, timeout: float = streaming.TIMEOUT
    ) -> AppendStream:
        return AppendStream(self._run, self._run(self._open_append_stream(wait, timeout)))

    open_append_stream.__doc__ = client.LedgerClient.open_append_stream.__doc__

    async def _open_append_stream(self, wait: model.Wait, timeout: float) -> streaming.AppendStream:
        return self._client.open_append_stream(wait=wait, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends calls under way, gives back the connection and the thread. Closing twice is fine."""
        if not self._closed:
            self._run(self._client.close())
            self._stop()

    def _stop(self) -> None:
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        if self._closed:
            call.close()
            raise UnavailableError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:
            # KeyboardInterrupt reaches the waiting thread: the call must not go on unseen.
            future.cancel()
            raise

    def _iterate(self, items: AsyncGenerator[_T, None]) -> Iterator[_T]:
        try:
            # A list of none or one instead of an exception: StopAsyncIteration cannot cross a Future.
            while item := self._run(_next(items)):
                yield item[0]
        finally:
            if not self._closed:
                self._run(items.aclose())


class AppendStream:
    """As platemark.rpc.AppendStream, blocking. Close it, or use it in a `with`, before its client."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], stream: streaming.AppendStream) -> None:
        self._run = run
        self._stream = stream

    @property
    def unanswered(self) -> int:
        """How many batches were sent whose answer has not been received."""
        return self._stream.unanswered

    def send(self, statements: Sequence[bytes]) -> None:
        """Put a batch of signed statements, at least one, on its way. Does not wait for the ledger."""

        async def send() -> None:
            self._stream.send(statements)

        self._run(send())

    def receive(self) -> model.Appended:
        """The answer to the oldest batch that is unanswered. Raises RpcError; then the stream is over."""
        appended: model.Appended = self._run(self._stream.receive())
        return appended

    def close(self) -> None:
        """End it. Closing twice is fine."""
        self._run(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _next(items: AsyncGenerator[_T, None]) -> list[_T]:
    try:
        return [await anext(items)]
    except StopAsyncIteration:
        return []
