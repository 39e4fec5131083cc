"""A witness on a socket, until SIGTERM or Ctrl-C; requests under way are answered first.

Bounds, because everyone may connect: so many connections, each for at most a minute, and after half of it a connection is closed
between two requests.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from platemark.witness.store import WitnessError

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["bind", "serve"]

_MAX_AGE = 60.0  # seconds that one connection lasts
_KEEP_ALIVE = 15  # seconds between two requests on it
_GRACE = 10  # seconds for answers under way when the server stops
_CONNECTIONS = 512


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address, not listening yet. Raises WitnessError."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # With the protocol named, asyncio turns off Nagle's algorithm, which delays the second half of an answer by 40 ms.
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise WitnessError(f"--listen {host}:{port}: {error.strerror or error}") from None
    return bound


def serve(application: Starlette, bound: socket.socket, *, started: Callable[[str], None]) -> None:
    """Answers until a signal; `started` gets the URL once requests are taken."""
    host, port = bound.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        application,
        http=_Limited,
        ws="none",
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )
    asyncio.run(_Server(config, lambda: started(url)).serve(sockets=[bound]))


class _Server(uvicorn.Server):
    """Says when it takes requests, and ends without passing the signal on."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End cleanly: what this replaces raises the signal again at the end, which looks like a crash."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Limited(H11Protocol):
    """The protocol of one connection. uvicorn alone waits for ever for a first request, and for a reader that does not read."""

    _ends: tuple[asyncio.TimerHandle, ...] = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        abort = cast("asyncio.Transport", transport).abort
        if len(self.connections) > _CONNECTIONS:
            abort()
        else:
            later = self.loop.call_later
            self._ends = (later(_MAX_AGE / 2, self.shutdown), later(_MAX_AGE, abort))

    def connection_lost(self, exc: Exception | None) -> None:
        for each in self._ends:
            each.cancel()
        super().connection_lost(exc)
