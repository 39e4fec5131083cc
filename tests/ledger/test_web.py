"""The HTTP server of the read side: whatever the other end does, a connection ends."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from platemark_ledger.settings import ConfigError, Settings
from platemark_ledger.web import WebServer, bind

SETTINGS = Settings(origin="a.test", http_listen="127.0.0.1:0")
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def _answer(_request: Request) -> Response:
    return Response(b"x" * 8192)


@contextmanager
def serving(max_age: float) -> Iterator[tuple[str, int]]:
    """A server that answers with 8 KiB; its address."""
    bound = bind(SETTINGS, reuse_port=False)
    assert bound is not None
    with bound:
        server = WebServer(Starlette(routes=[Route("/", _answer)]), bound, SETTINGS, max_age=max_age)
        server.start()
        try:
            host, port = server.address.rsplit(":", 1)
            yield host, int(port)
        finally:
            server.stop()


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", REQUEST, REQUEST[:-2] + b"Content-Length: 100000\r\n\r\nx"])
def test_a_connection_ends_whatever_was_sent_on_it(sent: bytes) -> None:
    """Nothing, half a request, a whole one, and a body that never comes: the server closes, and the reader sees the end."""
    with serving(0.5) as address, socket.create_connection(address, timeout=30) as connection:
        connection.sendall(sent)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass


def test_a_reader_that_does_not_read_is_cut_off() -> None:
    """One who sends requests and never takes an answer is soon not read from any more, and then its connection is gone."""
    with (
        serving(1.0) as address,
        socket.create_connection(address, timeout=30) as connection,
        pytest.raises(ConnectionError),
    ):
        _send_for_ever(connection)


def _send_for_ever(connection: socket.socket) -> None:
    # Blocks while the server does not read, until it closes; within what the two kernels buffer.
    for _ in range(64 * 1024 * 1024 // len(REQUEST)):
        connection.sendall(REQUEST)


def test_an_address_in_use_is_named() -> None:
    """A port that cannot be had is an error of the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(origin="a.test", http_listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError) as caught:
            bind(settings, reuse_port=True)
    assert caught.value.field == "http_listen"
