"""An HTTP server for the read side, in a thread with an event loop of its own: whatever readers do, gRPC's loop goes on.

Bounds, because everyone may connect: so many connections, each for at most a minute, whether its other end sends slowly,
reads slowly or does nothing; one request at a time on each, which HTTP/1.1 means; headers of at most 64 KiB. After half the
minute a connection is closed between two requests, so that a busy reader is never cut in the middle of one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from platemark_ledger.settings import ConfigError, Settings, is_loopback

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["MAX_AGE", "WebServer", "bind"]

_log = logging.getLogger("platemark.http")
MAX_AGE = 60.0  # seconds that one connection lasts
_KEEP_ALIVE = 15  # seconds between two requests on it
_GRACE = 2  # seconds for answers under way when the server stops
_BACKLOG = 256


def bind(settings: Settings, *, reuse_port: bool) -> socket.socket | None:
    """The socket of `http_listen`, not listening yet; None when the setting is not made. Raises ConfigError."""
    address = settings.http_address
    if address is None:
        return None
    try:
        # With its protocol, by which asyncio knows that it is TCP: it then sends answers without waiting for more (TCP_NODELAY).
        family, kind, protocol, _, place = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            option = socket.SO_REUSEPORT if reuse_port else socket.SO_REUSEADDR
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
            bound.bind(place)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise ConfigError("http_listen", f"{settings.http_listen}: {error.strerror or error}") from None
    return bound


class WebServer:
    """Serves an application on a bound socket between `start` and `stop`."""

    def __init__(
        self, application: Starlette, bound: socket.socket, settings: Settings, *, max_age: float = MAX_AGE
    ) -> None:
        host, port = bound.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._bound = bound
        plain = is_loopback((settings.http_address or ("", 0))[0])
        self._started: Future[None] = Future()
        self._server = _Announced(
            self._started,
            uvicorn.Config(
                application,
                http=_limited(settings.http_connections, max_age),
                ws="none",
                lifespan="off",
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=_GRACE,
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                ssl_certfile=None if plain else settings.tls_certificate,
                ssl_keyfile=None if plain else settings.tls_key,
            ),
        )
        self._thread = threading.Thread(target=self._run, name="platemark-http", daemon=True)

    def start(self) -> None:
        """Returns once requests are taken; raises what made that impossible."""
        self._thread.start()
        self._started.result(30)

    def stop(self) -> None:
        """Ends the thread; requests under way get a moment to finish."""
        self._server.should_exit = True
        self._thread.join(_GRACE + 5)

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._bound]))
        except BaseException as error:  # noqa: BLE001 -- the thread that waits has to learn of it
            if not self._started.done():
                self._started.set_exception(error)
            else:
                _log.critical("the read side over HTTP has stopped", exc_info=error)


class _Announced(uvicorn.Server):
    """Says when it takes requests."""

    def __init__(self, started: Future[None], config: uvicorn.Config) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce.set_result(None)


def _limited(most: int, max_age: float) -> type[asyncio.Protocol]:
    """The protocol of one connection. uvicorn alone waits for ever for the first request, and for a reader that does not read."""

    class Limited(H11Protocol):
        _ends: tuple[asyncio.TimerHandle, ...] = ()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(cast("asyncio.Transport", transport))
            abort = cast("asyncio.Transport", transport).abort
            if len(self.connections) > most:
                abort()
            else:
                later = self.loop.call_later
                self._ends = (later(max_age / 2, self.shutdown), later(max_age, abort))

        def connection_lost(self, exc: Exception | None) -> None:
            for each in self._ends:
                each.cancel()
            super().connection_lost(exc)

    return Limited
