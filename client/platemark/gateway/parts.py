"""The processes beside the receiver: each does one thing, is started anew when it ends, and ends with the gateway.

The interpreter lock of the receiver's process belongs to the network. What hashes, signs, sends and forwards has processes of
its own, all of which work from the state directory and may be killed at any point.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from platemark.gateway import logs
from platemark.locks import FileLock

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Event

    from platemark.gateway.settings import Gateway

__all__ = ["Part", "Work"]

Work = Callable[["Gateway", "Event", Callable[[], None]], None]
"""What a part does until the event is set: a function of a module. It calls the third argument once it is ready."""

_STEADY = 60.0  # seconds after which a part counts as having started well
_LONGEST = 30.0  # seconds between two starts
_PATIENCE = 30.0  # seconds that a part may take to end
_LOCK_PAUSE = 0.2
_LOG = logging.getLogger("platemark.gateway")


class Part:
    """One process and its successors. Owned by one thread; the properties may be read by others.

    spawn, not fork: the receiver has threads.
    """

    def __init__(self, name: str, work: Work, gateway: Gateway) -> None:
        self.name = name
        self.starts = 0
        self._work = work
        self._gateway = gateway
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._ready = self._context.Event()
        self._process: SpawnProcess | None = None
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
        """Whether it is ready, now or within so many seconds."""
        return self._ready.wait(seconds)

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
        if now >= self._again_at:
            self._start(now)

    def stop(self) -> None:
        """Ask it to end; `join` waits for that."""
        self._stop.set()

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

    def _start(self, now: float) -> None:
        self._process = self._context.Process(
            target=_run, args=(self.name, self._work, self._gateway, self._stop, self._ready), name=self.name
        )
        self._process.start()
        self._started = now
        self.starts += 1


def _run(name: str, work: Work, gateway: Gateway, stop: Event, ready: Event) -> None:
    """In the new process. A Ctrl-C or a signal to the group is the gateway's to handle; its death ends us."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    logs.configure()
    threading.Thread(target=_watch, args=(stop,), daemon=True, name="parent").start()
    lock = FileLock(gateway.state_dir / f"{name}.lock")
    try:
        # A predecessor that was orphaned by a kill may still be at its last object.
        while not lock.acquire():
            if stop.wait(_LOCK_PAUSE):
                return
        work(gateway, stop, ready.set)
    except Exception as error:  # noqa: BLE001 - the last place where the fault of a part can become a log line
        _LOG.exception("part failed", extra={"part": name, "reason": _reason(error)})
        raise SystemExit(1) from None
    finally:
        with suppress(OSError):
            lock.close()


def _watch(stop: Event) -> None:
    """Set `stop` when the gateway's process is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    waiting: list[Any] = [parent.sentinel]
    multiprocessing.connection.wait(waiting)
    stop.set()


def _reason(error: Exception) -> str:
    from platemark.errors import PlatemarkError

    return str(error) if isinstance(error, PlatemarkError | OSError) else type(error).__name__
