"""The socket of a witness: whatever the other end does, a connection ends, and there are only so many."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from witnessed import History, witness

from platemark.witness import serving
from platemark.witness.app import application
from platemark.witness.store import WitnessError

HEAD = b"POST /add-checkpoint HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


def against(folder: Path, act: Callable[[tuple[str, int]], None]) -> None:
    """Serve in this thread, as the program does, while another acts as the client and then ends it with a signal."""
    failed: list[BaseException] = []

    def started(url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        threading.Thread(target=client, args=((host, int(port)),)).start()

    def client(address: tuple[str, int]) -> None:
        try:
            act(address)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread, below
            failed.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with serving.bind("127.0.0.1", 0) as bound:
        serving.serve(application(witness(folder, History())), bound, started=started)
    if failed:
        raise failed[0]


@pytest.mark.parametrize("sent", [b"", GET[:9], HEAD + b"old", GET], ids=["nothing", "half", "no body", "whole"])
def test_a_connection_ends_whatever_was_sent_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Nothing, half a request, one whose body never comes, a whole one: the other end sees the end."""
    monkeypatch.setattr(serving, "_MAX_AGE", 0.5)

    def act(address: tuple[str, int]) -> None:
        with socket.create_connection(address, timeout=30) as connection, contextlib.suppress(ConnectionResetError):
            connection.sendall(sent)
            while connection.recv(65536):
                pass

    against(tmp_path, act)


def test_there_are_only_so_many_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed at once; the others are answered."""
    monkeypatch.setattr(serving, "_CONNECTIONS", 2)

    def act(address: tuple[str, int]) -> None:
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(2)]
            for each in kept:
                each.sendall(GET)
                assert each.recv(65536).startswith(b"HTTP/1.1 200")
            surplus = stack.enter_context(socket.create_connection(address, timeout=30))
            with contextlib.suppress(ConnectionResetError):
                assert surplus.recv(1) == b""
            kept[0].sendall(GET)
            assert kept[0].recv(65536).startswith(b"HTTP/1.1 200")

    against(tmp_path, act)


def test_handlers_of_signals_are_put_back(tmp_path: Path) -> None:
    """Whoever calls it has its own afterwards."""
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    against(tmp_path, lambda _: None)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_address_in_use_is_named() -> None:
    """A port that cannot be had is one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(WitnessError, match="--listen 127"):
        serving.bind("127.0.0.1", taken.getsockname()[1])
