"""Real server processes on loopback, started and stopped like any other."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from platemark_ledger.demo.place import DemoError

__all__ = ["Server", "serving", "started"]

_PATIENCE = 60.0


@dataclass(frozen=True)
class Server:
    """A server that takes calls on `address`."""

    address: str
    pid: int


@contextmanager
def serving(ledger: Path, log: Path) -> Iterator[Server]:
    """`platemark-ledger serve` on a free port of 127.0.0.1 inside the block; drained and gone after it.

    Raises DemoError when it does not come up, or does not end well.
    """
    command = ["-m", "platemark_ledger.cli", "serve", str(ledger), "--listen", "127.0.0.1:0", "--json"]
    with started(command, log) as (said, pid):
        if "listening" not in said:
            raise DemoError(f"the ledger does not start: {_last_line(log)}")
        yield Server(str(said["listening"]), pid)


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """A Python program that runs inside the block, and is asked to end after it; its first line, as JSON, and its pid.

    `log` gets what it says on standard error. Raises DemoError when it does not come up, or does not end well.
    """
    # What this machine's own ledger is set to must not reach this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLATEMARK_LEDGER_")}
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [sys.executable, "-P", *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=environment,
        ) as program,
    ):
        try:
            assert program.stdout is not None
            yield _announced(program.stdout, log), program.pid
            program.terminate()
            code = program.wait(_PATIENCE)
            if code != 0:
                raise DemoError(f"{command[1]} ended with exit code {code}: {_last_line(log)}")
        except subprocess.TimeoutExpired:
            raise DemoError(f"{command[1]} does not stop: {_last_line(log)}") from None
        finally:
            if program.poll() is None:
                _end(program)


def _end(server: subprocess.Popen[bytes]) -> None:
    """After a failure in the block, or Ctrl-C: ask, then insist."""
    server.terminate()
    try:
        server.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()


def _announced(stdout: IO[bytes], log: Path) -> dict[str, Any]:
    """What the first line of the program's output says."""
    deadline = time.monotonic() + _PATIENCE
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise DemoError(f"it did not start within {_PATIENCE:g} s: {_last_line(log)}")
            part = os.read(stdout.fileno(), 4096)
            if not part:
                raise DemoError(f"it did not start: {_last_line(log)}")
            line += part
    said: dict[str, Any] = json.loads(line)
    return said


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    return lines[-1] if lines else "it said nothing"
