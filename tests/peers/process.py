"""A server program of somebody else, in a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Peer", "environment", "free_port", "program", "started"]

READY_SECONDS = 30.0
"""How long a server may take until it listens."""

_POLL_SECONDS = 0.02
_LOG_CHARACTERS = 4_000


def program(name: str) -> str:
    """The path of a system program; AssertionError when it is not installed. Tests ask `require` first."""
    # Debian keeps Orthanc in /usr/sbin, which is not on everybody's path.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found is not None, f"the program {name} is not installed"
    return found


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """This process's environment without our own settings.

    TCP_NODELAY=1 is dcmtk's: without it Nagle's algorithm and delayed acknowledgements make its programs wait 40 ms for
    every message.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLATEMARK_")}
    return {**kept, "TCP_NODELAY": "1"}


@dataclass
class Peer:
    """A server that may run or not. It is ended by its process id; its output is in the file `log`."""

    command: Sequence[str]
    ports: tuple[int, ...]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Returns once every port takes connections. AssertionError with the log when it ends or takes too long."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment()
            )
        deadline = time.monotonic() + READY_SECONDS
        for port in self.ports:
            while not _listens(port):
                self._require_alive(deadline)
        # What listens is this very process, and not somebody who took the port first.
        self._require_alive(deadline)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for its end; SIGKILL after ten seconds. Stopping twice is fine; `start` starts it again."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def said(self) -> str:
        """The end of what it wrote to its standard output and error."""
        return self.log.read_text(errors="replace")[-_LOG_CHARACTERS:]

    def _require_alive(self, deadline: float) -> None:
        """Waits a moment for its end, which is not to come before the deadline."""
        assert self.process is not None
        try:
            code = self.process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise AssertionError(
                    f"{self.command[0]} does not listen after {READY_SECONDS:g} s: {self.said()}"
                ) from None
            return
        self.process = None
        raise _EndedError(f"{self.command[0]} ended with {code}: {self.said()}")


class _EndedError(AssertionError):
    """The server ended while it was started."""


@contextmanager
def started(make: Callable[[], Peer], *, end: signal.Signals = signal.SIGTERM, attempts: int = 3) -> Iterator[Peer]:
    """What `make` makes, running inside the block; `end` is sent to it when the block is left.

    A port that was free can be taken before the server binds it; then another one is tried.
    """
    peer = make()
    for attempt in range(1, attempts + 1):
        try:
            peer.start()
            break
        except _EndedError:
            if attempt == attempts:
                raise
            peer = make()
    try:
        yield peer
    finally:
        peer.stop(end)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
