"""Writes one chain of the access log: a record is on the disk before the future that stands for it is done.

One thread writes. Whatever waits when it comes round is written together and synced once (group commit), so that an fsync is
paid by all calls that are under way, not by each. Not synced less often than that: a reader who pulls the plug after the
answer must not be able to undo its record.

If we crash before the sync, no answer has left and a torn line may stay, which the next owner of the chain marks
(proto/access-log.md X6). After any error of the disk everything that waits fails, and the next record begins by reading the chain
from the disk again, as after a crash: nothing is ever cut off or overwritten. So a record may be there whose call was refused
because of that error, and never the other way round.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from platemark_ledger.accesslog import FIRST, AccessLogError, chains, encode, ending

__all__ = ["AccessLog"]

_log = logging.getLogger("platemark.access")
_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600
_MAX_CHAINS = 1024


@dataclass(slots=True)
class _Tail:
    """The open file at the end of the chain; owned by the writing thread."""

    descriptor: int
    number: int
    size: int
    seq: int
    head: str


class AccessLog:
    """The chain of this process. `record` from any thread; `close` once.

    Each process takes the first chain of `directory` that no other holds (an flock on CHAIN.lock), so that a chain goes on over
    restarts and there are as many as workers.
    """

    def __init__(self, directory: Path, *, file_size: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._directory = directory
        self._file_size = file_size
        self._clock = clock
        self._waiting: deque[tuple[dict[str, Any], Future[None]]] = deque()  # guarded by _wake
        self._wake = threading.Condition()
        self._closed = False
        self._lock: int | None = None  # this and everything below: owned by the writing thread
        self._chain = 0
        self._tail: _Tail | None = None
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def record(self, fields: dict[str, Any]) -> Future[None]:
        """Done when a record with these fields is on the disk; AccessLogError when it cannot be."""
        future: Future[None] = Future()
        # A caller that goes away cannot take its record back: from here on the future cannot be cancelled.
        future.set_running_or_notify_cancel()
        with self._wake:
            if self._closed:
                future.set_exception(AccessLogError("closed"))
            else:
                self._waiting.append((fields, future))
                self._wake.notify()
        return future

    def close(self) -> None:
        """What waits is written first."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        self._attempt([])  # what is wrong with the directory is said at the start, not at the first read
        while batch := self._next():
            self._attempt(batch)
        self._drop()
        if self._lock is not None:
            os.close(self._lock)

    def _next(self) -> list[tuple[dict[str, Any], Future[None]]]:
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
            batch = list(self._waiting)
            self._waiting.clear()
            return batch

    def _attempt(self, batch: list[tuple[dict[str, Any], Future[None]]]) -> None:
        try:
            self._write([fields for fields, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._drop()
            reason = _reason(error)
            if not self._failing:
                _log.critical(
                    "ALARM: the access log in %s cannot be written: %s; reads are refused", self._directory, reason
                )
            self._failing = True
            for _, future in batch:
                future.set_exception(AccessLogError(reason))
            return
        if self._failing:
            _log.warning("the access log in %s is written again", self._directory)
        self._failing = False
        for _, future in batch:
            future.set_result(None)

    def _write(self, batch: list[dict[str, Any]]) -> None:
        if self._lock is None:
            self._claim()
        if self._tail is None:
            self._tail = self._recover()
        tail = self._tail
        if batch and tail.size >= self._file_size:
            tail = self._tail = self._rotate(tail)
        data = b"".join(_follow(tail, fields, self._clock()) for fields in batch)
        _put(tail, data)
        if data:
            os.fdatasync(tail.descriptor)

    def _claim(self) -> None:
        self._directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        for chain in range(1, _MAX_CHAINS + 1):
            path = self._directory / f"{chain}.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            except OSError:
                os.close(descriptor)
                raise
            self._lock, self._chain = descriptor, chain
            return
        raise AccessLogError(f"all {_MAX_CHAINS} chains are held by other processes")

    def _recover(self) -> _Tail:
        """The end of the chain as it is on the disk; a torn line is ended and marked."""
        files = chains(self._directory).get(self._chain, [])
        if not files:
            return self._create(1, seq=0, head=FIRST)
        number = int(files[-1].stem.partition("-")[2])
        seq, head, torn, ended = 0, FIRST, False, True
        for line in ending(files):
            seq = seq if line.record is None else line.record["seq"] + 1
            head, torn, ended = line.hash, line.record is None or not line.whole, line.whole
        descriptor = os.open(files[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        tail = _Tail(descriptor, number, os.fstat(descriptor).st_size, seq, head)
        self._tail = tail  # so that an error below closes it
        if torn:
            _log.warning("%s ends in a torn line, which is kept and marked", files[-1])
            _put(tail, (b"" if ended else b"\n") + _follow(tail, {"event": "torn"}, self._clock()))
            os.fdatasync(descriptor)
        return tail

    def _rotate(self, tail: _Tail) -> _Tail:
        # If we crash before the first record of the new file, it is empty, and recovery reads the one before as well.
        new = self._create(tail.number + 1, seq=tail.seq, head=tail.head)
        os.close(tail.descriptor)
        return new

    def _create(self, number: int, *, seq: int, head: str) -> _Tail:
        path = self._directory / f"{self._chain}-{number:06d}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return _Tail(descriptor, number, 0, seq, head)

    def _drop(self) -> None:
        if self._tail is not None:
            with suppress(OSError):
                os.close(self._tail.descriptor)
            self._tail = None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, AccessLogError) else f"{type(error).__name__}: {error}"


def _follow(tail: _Tail, fields: dict[str, Any], now: int) -> bytes:
    """The next line; the tail moves on."""
    line = encode({"seq": tail.seq, "prev": tail.head, "time": now, **fields})
    tail.seq += 1
    # The hash of a line is that of its bytes without the line feed.
    tail.head = sha256(line[:-1]).hexdigest()
    return line


def _put(tail: _Tail, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.write(tail.descriptor, view)
        tail.size += written
        view = view[written:]
