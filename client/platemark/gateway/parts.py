"""The processes beside the receiver: each does one thing, is started anew when it ends, and ends with the gateway.

The interpreter lock of the receiver's process belongs to the network. What hashes, signs, sends and forwards has processes of
its own, all of which work from the state directory and may be killed at any point.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from platemark.gateway import logs
from platemark.locks import FileLock

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from platemark.gateway.settings import Gateway

__all__ = ["Part", "Stop", "Work"]

Work = Callable[["Gateway", "Stop", Callable[[], None]], None]
"""What a part does until it is told to stop: a function of a module. It calls the third argument once it is ready."""

_STEADY = 60.0  # seconds after which a part counts as having started well
_LONGEST = 30.0  # seconds between two starts
_PATIENCE = 30.0  # seconds that a part may take to end
_LOCK_PAUSE = 0.2
_LOG = logging.getLogger("platemark.gateway")


class Stop:
    """In a part: whether it is told to end. Safe to share between threads.

    A pipe whose other end the gateway closes, on purpose or because it is gone; unlike an Event of multiprocessing it
    survives that anybody is killed at any point.
    """

    def __init__(self, told: Connection) -> None:
        self._told = told

    def is_set(self) -> bool:
        """Whether it is time to end."""
        return self.wait(0.0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds for that, or less."""
        return bool(multiprocessing.connection.wait([self._told], timeout))


class Part:
    """One process and its successors. Owned by one thread; the properties may be read by others.

    spawn, not fork: the receiver has threads. `nice`: how far it gives way to others where there are few processors.
    """

    def __init__(self, name: str, work: Work, gateway: Gateway, *, nice: int = 0) -> None:
        self.name = name
        self._nice = nice
        self.starts = 0
        self._work = work
        self._gateway = gateway
        self._context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess | None = None
        self._tell: Connection | None = None  # closed: end
        self._said: Connection | None = None  # a byte: ready
        self._started = 0.0
        self._failures = 0
        self._again_at = 0.0

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        process = self._process
        return process is not None and process.is_alive()

    @property
    def pid(self) -> int | None:
        """Of the process that runs, or ran last."""
        return None if self._process is None else self._process.pid

    def wait_ready(self, seconds: float) -> bool:
        """Whether its process says that it is ready, within so many seconds."""
        said = self._said
        if said is None:
            return False
        try:
            return said.poll(seconds) and bool(said.recv_bytes())
        except (EOFError, OSError):
            return False

    def look(self, now: float | None = None) -> None:
        """Start it, if it does not run and its time has come."""
        now = time.monotonic() if now is None else now
        if self.alive:
            return
        if self._process is not None:
            self._failures = 1 if now - self._started > _STEADY else self._failures + 1
            self._again_at = now + min(_LONGEST, 0.1 * 2.0 ** min(self._failures, 10))
            _LOG.error(
                "part has ended and is started again",
                extra={"part": self.name, "exit": self._process.exitcode, "failures": self._failures},
            )
            self._process.close()
            self._process = None
            self._close()
        if now >= self._again_at:
            self._start(now)

    def stop(self) -> None:
        """Ask it to end; `join` waits for that."""
        if self._tell is not None:
            self._tell.close()

    def join(self) -> None:
        """Wait until it has ended, and end it if it takes too long: it may be killed at any point."""
        process, self._process = self._process, None
        if process is None:
            return
        process.join(_PATIENCE)
        if process.is_alive():
            _LOG.error("part does not end and is killed", extra={"part": self.name})
            process.kill()
            process.join()
        process.close()
        self._close()

    def _start(self, now: float) -> None:
        told, self._tell = self._context.Pipe(duplex=False)
        self._said, say = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=_run, args=(self.name, self._work, self._gateway, self._nice, (told, say)), name=self.name
        )
        self._process.start()
        # Ours go, so that the pipes end with the processes that hold the others.
        told.close()
        say.close()
        self._started = now
        self.starts += 1

    def _close(self) -> None:
        for each in (self._tell, self._said):
            if each is not None:
                each.close()
        self._tell = self._said = None


def _run(name: str, work: Work, gateway: Gateway, nice: int, pipes: tuple[Connection, Connection]) -> None:
    """In the new process. A Ctrl-C or a signal to the group is the gateway's to handle; its death ends us."""
    told, say = pipes
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    logs.configure()
    if nice and hasattr(os, "nice"):
        os.nice(nice)
    stop = Stop(told)
    lock = FileLock(gateway.state_dir / f"{name}.lock")

    def ready() -> None:
        with suppress(OSError):
            say.send_bytes(b"1")

    try:
        # A predecessor that was orphaned by a kill may still be at its last object.
        while not lock.acquire():
            if stop.wait(_LOCK_PAUSE):
                return
        work(gateway, stop, ready)
    except Exception as error:  # noqa: BLE001 - the last place where the fault of a part can become a log line
        _LOG.exception("part failed", extra={"part": name, "reason": _reason(error)})
        raise SystemExit(1) from None
    finally:
        with suppress(OSError):
            lock.close()


def _reason(error: Exception) -> str:
    from platemark.errors import PlatemarkError

    return str(error) if isinstance(error, PlatemarkError | OSError) else type(error).__name__
