"""The read side of a real ledger over real sockets: several workers, one port, readers who do not read."""

from __future__ import annotations

import socket
import subprocess
import time

import httpx
from integration.live import PROGRAM, Live, Place, environment

from platemark import merkle, tiles
from platemark.checkpoint import parse


def _client(live: Live) -> httpx.Client:
    assert live.http is not None
    return httpx.Client(base_url=f"http://{live.http}", trust_env=False)


def test_an_auditor_rebuilds_the_root_from_tiles_alone(place: Place) -> None:
    """Entries hash to the tiles, the tiles to the root of /checkpoint, whichever of two workers answers."""
    with place.served("--workers", "2", HTTP_LISTEN="127.0.0.1:0") as live:
        device = live.device("dx1")
        live.client().append([device.capture(b"image %d" % number) for number in range(300)])
        with _client(live) as client:
            said = parse(client.get("/checkpoint").content)
            said.verify(place.trusted.log_keys)
            size = said.checkpoint.size
            hashes: list[bytes] = []
            for number in range(-(-size // 256)):
                width = min(256, size - 256 * number)
                tile = client.get(f"/{tiles.Tile(0, number, width).path}").content
                bundle = client.get(f"/{tiles.Tile(None, number, width).path}").content
                entries = [bundle[cut + 2 : cut + 34] for cut in range(0, len(bundle), 34)]
                assert [merkle.leaf_hash(entry) for entry in entries] == _cut(tile)
                hashes += _cut(tile)
        assert merkle.root(hashes) == said.checkpoint.root


def test_head_tells_the_length_and_sends_no_body(place: Place) -> None:
    """HEAD has the headers of GET, and the connection goes on."""
    with place.served(HTTP_LISTEN="127.0.0.1:0") as live, _client(live) as client:
        while len(parse(client.get("/checkpoint").content).signed.signatures) == 1:
            pass  # what is published a moment after the start replaces it
        for path in ("/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/healthz"):
            whole, head = client.get(path), client.head(path)
            assert head.content == b""
            assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}
        assert client.post("/checkpoint", content=b"x").status_code == 405


def test_nothing_is_served_unless_asked_for(live: Live) -> None:
    """The read side is off by default."""
    assert live.http is None


def test_mute_connections_are_bounded_and_do_not_disturb_appends(place: Place) -> None:
    """With every place taken by connections that say nothing, a further one is closed at once and gRPC goes on."""
    with place.served(HTTP_LISTEN="127.0.0.1:0", HTTP_CONNECTIONS="3") as live:
        assert live.http is not None
        host, port = live.http.rsplit(":", 1)
        held = [socket.create_connection((host, int(port)), timeout=30) for _ in range(3)]
        try:
            _wait_until_full(host, int(port))
            assert live.client().checkpoint().checkpoint.size == 1
            live.device("dx1")
            held.pop().close()
            with _client(live) as client:
                assert _eventually(client).status_code == 200
        finally:
            for each in held:
                each.close()


def test_two_ledgers_do_not_share_a_port(place: Place) -> None:
    """A port of HTTP that is taken stops the start, with the setting's name."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "http_listen: 127.0.0.1:" in _refusal(place, f"127.0.0.1:{taken.getsockname()[1]}")


def test_plain_text_is_for_loopback(place: Place) -> None:
    """Outside loopback the read side wants TLS as gRPC does."""
    assert "http_listen: 0.0.0.0 is not loopback and there is no TLS" in _refusal(place, "0.0.0.0:0")


def _refusal(place: Place, http_listen: str) -> str:
    """What `serve` says when it does not start."""
    command = [*PROGRAM, "serve", str(place.directory), "--listen", "127.0.0.1:0"]
    changes = environment({"HTTP_LISTEN": http_listen})
    done = subprocess.run(command, capture_output=True, text=True, env=changes, timeout=60, check=False)
    assert done.returncode == 2
    return done.stderr


def _cut(data: bytes) -> list[bytes]:
    return [data[cut : cut + 32] for cut in range(0, len(data), 32)]


def _wait_until_full(host: str, port: int) -> None:
    """Until a new connection is closed before it could ask; at most 30 s, by the socket's own time limit."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with socket.create_connection((host, port), timeout=5) as further:
            try:
                further.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
                if not further.recv(1):
                    return
            except ConnectionError:
                return
    raise AssertionError("connections are not bounded")


def _eventually(client: httpx.Client) -> httpx.Response:
    """An answer, once the place that was given up is free; at most 30 s."""
    ends = time.monotonic() + 30
    while True:
        try:
            return client.get("/healthz")
        except httpx.TransportError:
            assert time.monotonic() < ends
