"""Several workers on one port: starts them, keeps them, ends one that hangs, stops all when one must not go on.

The supervisor never opens the store and never runs gRPC, so that nothing which can crash a worker can crash it. It reads one
thing of the ledger: who holds the sequencer's lock and since when (lock.py).

Who ends whom: a worker that holds the lock for `lock_limit` gets SIGKILL by its pid; the kernel then releases the lock, and
its uncommitted transaction never happened. A worker that exits POISONED, START_REFUSED or USAGE takes all others with it,
because starting it again by itself would hide what its operator has to see. Any other death is followed by a new worker
after a growing pause.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from platemark_ledger import config
from platemark_ledger.errors import LockError
from platemark_ledger.exits import Exit
from platemark_ledger.lock import SequencerLock
from platemark_ledger.settings import ConfigError, Settings, parse_address

__all__ = ["Supervisor", "alone", "backoff", "reserve_port"]

_log = logging.getLogger("platemark.supervisor")
_FINAL = {Exit.POISONED, Exit.START_REFUSED, Exit.USAGE}
_LOOK = 0.5  # seconds between looks at the lock: a tenth of the least limit would do
_STEADY = 60.0  # seconds after which a worker counts as having started well
_EXTRA = 15.0  # seconds beyond the drain time, before a worker that does not stop is ended


def backoff(failures: int) -> float:
    """Seconds before a worker that failed this often (from 1) is started again: 0.5, 1, 2 ... at most 30."""
    return float(min(30.0, 0.5 * 2 ** min(failures - 1, 10)))


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Inside the block no other supervisor serves the same data. Raises ConfigError when one does.

    Two of them would be sound, since workers share the log anyway, but nobody means it. The flock is on the directory, so that
    no file can be left behind. A directory that cannot be opened is for a worker's checks to explain.
    """
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(settings.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if descriptor is None:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "data", f"{settings.data} is being served already; `workers` is for more processes"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reserve_port(setting: str, listen: str | None) -> Iterator[str | None]:
    """The address:port of a setting with its port made definite, and kept from other users while the block runs.

    None, when there is none, stays None. Raises ConfigError when something else listens there. SO_REUSEPORT would let two
    ledgers of one user share a port unnoticed, so the address is first bound without it.
    """
    if listen is None:
        yield None
        return
    host, port = parse_address(setting, listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as exclusive:
            exclusive.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            exclusive.bind(address)
            address = exclusive.getsockname()
        with socket.socket(family, socket.SOCK_STREAM) as shared:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Bound, never listening: it keeps the port, and no connection is ever routed to it.
            shared.bind(address)
            name = f"[{host}]" if ":" in host else host
            yield f"{name}:{address[1]}"
    except OSError as error:
        raise ConfigError(setting, f"{listen}: {error.strerror or error}") from None


class Supervisor:
    """Owned by one event loop. `run` once.

    `announce` is called once, with the addresses of gRPC and of HTTP, if any, and the process ids of the workers, when all of
    them take calls.
    """

    def __init__(self, settings: Settings, *, announce: Callable[[str, str | None, list[int]], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._workers: dict[int, asyncio.subprocess.Process] = {}  # slot -> the process there now, live or just dead

    async def run(self, stop: asyncio.Event) -> Exit:
        """Serve until `stop` is set, or until a worker ends in a way that concerns all. Every worker is gone on return."""
        verdict = Exit.OK
        given = self._settings
        with (
            alone(given),
            reserve_port("listen", given.listen) as listen,
            reserve_port("http_listen", given.http_listen) as http_listen,
        ):
            assert listen is not None
            settings = dataclasses.replace(given, listen=listen, http_listen=http_listen)
            serving = asyncio.create_task(self._serve(settings))
            asked = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    verdict = serving.result()
            finally:
                asked.cancel()
                serving.cancel()
                await asyncio.gather(asked, serving, return_exceptions=True)
                last = await self._stop_all()
        return verdict or last

    async def _serve(self, settings: Settings) -> Exit:
        """Returns when a worker ends in a way that concerns all."""
        # The first alone: it makes the checks of a start, and clears the mark of an earlier stop, with no other beside it.
        code = await self._start(0, settings)
        if code is not None:
            return _as_exit(code) if code in _FINAL else Exit.FAILED
        await asyncio.gather(*(self._start(slot, settings) for slot in range(1, settings.workers)))
        pids = [worker.pid for _, worker in sorted(self._workers.items())]
        self._announce(settings.listen, settings.http_listen, pids)
        keepers = [asyncio.create_task(self._keep(slot, settings)) for slot in range(settings.workers)]
        watch = asyncio.create_task(self._watch_lock())
        try:
            done, _ = await asyncio.wait({*keepers, watch}, return_when=asyncio.FIRST_COMPLETED)
            return max(task.result() for task in done)
        finally:
            for task in (*keepers, watch):
                task.cancel()
            await asyncio.gather(*keepers, watch, return_exceptions=True)

    async def _start(self, slot: int, settings: Settings) -> int | None:
        """A new worker in the slot. None once it takes calls, its exit code if it ends before."""
        worker = await asyncio.create_subprocess_exec(
            # -P: nothing is imported from the directory that the operator happens to be in.
            sys.executable, "-P", "-m", "platemark_ledger.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Of its own: Ctrl-C is for the supervisor, which then drains the workers.
            start_new_session=True,
            # gRPC would print a line of its own for every handshake that fails.
            env={"GRPC_VERBOSITY": "ERROR", **config.for_workers(config.environment())},
        )  # fmt: skip
        self._workers[slot] = worker
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(config.to_json(settings).encode() + b"\n")
        if not await worker.stdout.readline():
            return await worker.wait()
        _log.info("worker %d takes calls on %s", worker.pid, settings.listen)
        return None

    async def _keep(self, slot: int, settings: Settings) -> Exit:
        """Keeps a worker in the slot; returns when one ends in a way that concerns all."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            began, worker = clock(), self._workers[slot]
            code = await worker.wait()
            if code in _FINAL:
                _log.critical("worker %d ended: %s; stopping all", worker.pid, _as_exit(code).name)
                return _as_exit(code)
            failures = 1 if clock() - began >= _STEADY else failures + 1
            pause = backoff(failures)
            _log.error("worker %d died (%s); a new one in %.1f s", worker.pid, _cause(code), pause)
            await asyncio.sleep(pause)
            await self._start(slot, settings)

    async def _watch_lock(self) -> Exit:
        """Ends whoever holds the lock for too long. Returns only when the lock file is gone, which concerns all."""
        try:
            lock = SequencerLock(self._settings.lock)
        except LockError as error:
            _log.critical("%s", error)
            return Exit.FAILED
        try:
            while True:
                await asyncio.sleep(_LOOK)
                holder = lock.holder()
                if holder is not None and holder.held_ns >= self._settings.lock_limit * 1e9:
                    self._end(holder.pid, holder.held_ns)
        finally:
            lock.close()

    def _end(self, pid: int, held_ns: int) -> None:
        worker = next((each for each in self._workers.values() if each.pid == pid and each.returncode is None), None)
        if worker is None:
            # Not ours to end: an operator's tool, or a process of another namespace.
            _log.error("process %d, no worker of this ledger, has held the lock for %.0f s", pid, held_ns / 1e9)
        else:
            _log.critical("worker %d has held the lock for %.1f s and is ended", pid, held_ns / 1e9)
            worker.kill()

    async def _stop_all(self) -> Exit:
        """Drains every worker and waits until all are gone; OK, or the worst exit that concerns all."""
        live = [worker for worker in self._workers.values() if worker.returncode is None]
        for worker in live:
            worker.terminate()
        waits = [asyncio.create_task(worker.wait()) for worker in live]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self._settings.drain + _EXTRA)
            if late:
                for worker in live:
                    if worker.returncode is None:
                        _log.critical("worker %d does not stop and is ended", worker.pid)
                        worker.kill()
                await asyncio.wait(waits)
        codes = [_as_exit(worker.returncode) for worker in self._workers.values() if worker.returncode in _FINAL]
        return max(codes, default=Exit.OK)


def _as_exit(code: int | None) -> Exit:
    return Exit(code) if code in set(Exit) else Exit.FAILED


def _cause(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
