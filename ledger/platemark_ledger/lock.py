"""The sequencer lock across worker processes, and the mark that stops them all.

One preallocated file: page 0 says who holds the lock and since when, page 1 is the poison mark, page 2 the generation. The
lock itself is flock(2) on the file, which the kernel releases when its holder dies, whatever kills it. All writes are
in place, so marking a ledger poisoned needs no space on a disk that may be full.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark_ledger.anchor import sync_directory
from platemark_ledger.errors import LockError, PoisonedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Holder", "SequencerLock", "create"]

_PAGE = 4096
_HOLDER = struct.Struct(">qQ")
_GENERATION = struct.Struct(">Q")
_MARK = struct.Struct(">8sI")
_MAGIC = b"PLTMKPM1"
_MAX_REASON = 1024


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock: `pid` in the namespace of the holder, `held_ns` on CLOCK_MONOTONIC of this machine."""

    pid: int
    held_ns: int


def create(path: Path) -> None:
    """A new lock file with all its space allocated. Raises LockError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.pwrite(descriptor, bytes(3 * _PAGE), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(path.parent)
    except OSError as error:
        raise LockError(f"the lock file {path} cannot be made: {error.strerror}") from error


class SequencerLock:
    """The lock as one worker sees it.

    `hold` is for one thread at a time. `poison`, `reason` and `holder` may be called by any thread, with or without the lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise LockError(f"the lock file {path} cannot be opened: {error.strerror}") from error
        if os.fstat(self._descriptor).st_size != 3 * _PAGE:
            os.close(self._descriptor)
            raise LockError(f"the lock file {path} is not whole")
        self._generation = self._read_generation()

    def close(self) -> None:
        """Close the file, which releases the lock if it was held."""
        os.close(self._descriptor)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for the lock and hold it inside the block.

        Raises PoisonedError when a worker marked the ledger, or when it was marked and started again since this object was
        made: whatever this process believes about the data is from before. Raises LockError when flock fails.
        """
        self._acquire()
        try:
            self.check()
            yield
        finally:
            self._release()

    @contextmanager
    def hold_to_start(self) -> Iterator[None]:
        """Wait for the lock whatever the mark says, for the checks after which `clear` removes it. Raises LockError."""
        self._acquire()
        try:
            self._generation = self._read_generation()
            yield
        finally:
            self._release()

    def check(self) -> None:
        """Raises PoisonedError as `hold` does."""
        reason = self.reason()
        if reason is not None:
            raise PoisonedError(f"the ledger was stopped by a worker: {reason}")
        if self._read_generation() != self._generation:
            raise PoisonedError("the ledger was stopped by a worker and has been started again since")

    def poison(self, reason: str) -> None:
        """Mark the ledger: every worker stops the next time it takes the lock. The first reason is kept.

        Best effort against a failing disk: the mark is visible to the other workers through the page cache in any case.
        """
        if self.reason() is not None:
            return
        text = reason.encode(errors="replace")[:_MAX_REASON]
        head = _MARK.pack(_MAGIC, len(text)) + text
        try:
            os.pwrite(self._descriptor, head + hashlib.sha256(head).digest(), _PAGE)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise LockError(f"the poison mark cannot be written: {error.strerror}") from error

    def reason(self) -> str | None:
        """Why the ledger is marked, or None. A torn mark counts as a mark."""
        page = os.pread(self._descriptor, _PAGE, _PAGE)
        if not page.rstrip(b"\0"):
            return None
        magic, length = _MARK.unpack_from(page)
        end = _MARK.size + length
        whole = magic == _MAGIC and length <= _MAX_REASON
        if not whole or hashlib.sha256(page[:end]).digest() != page[end : end + 32]:
            return "the poison mark is damaged"
        return page[_MARK.size : end].decode(errors="replace")

    def clear(self) -> str | None:
        """Remove the mark after a start whose checks have passed; returns what it said.

        The generation grows first, so that a worker of before that has not looked yet stops all the same. If we crash
        between the two writes, the mark is still there and the next start clears it.
        """
        reason = self.reason()
        if reason is not None:
            self._generation = self._read_generation() + 1
            os.pwrite(self._descriptor, _GENERATION.pack(self._generation), 2 * _PAGE)
            os.pwrite(self._descriptor, bytes(_PAGE), _PAGE)
            os.fdatasync(self._descriptor)
        return reason

    def holder(self) -> Holder | None:
        """Who holds the lock now, or None. A supervisor ends a worker that holds it for ten seconds."""
        pid, since = _HOLDER.unpack(os.pread(self._descriptor, _HOLDER.size, 0))
        if pid == 0 or not self._is_held():
            return None
        return Holder(pid, time.monotonic_ns() - since)

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.pwrite(self._descriptor, _HOLDER.pack(os.getpid(), time.monotonic_ns()), 0)
        except OSError as error:
            raise LockError(f"the lock {self.path} cannot be taken: {error.strerror}") from error

    def _release(self) -> None:
        os.pwrite(self._descriptor, _HOLDER.pack(0, 0), 0)
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _is_held(self) -> bool:
        """Whether any process holds the flock, asked through a description of its own so that ours is not converted."""
        probe = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(probe)
        return False

    def _read_generation(self) -> int:
        (generation,) = _GENERATION.unpack(os.pread(self._descriptor, _GENERATION.size, 2 * _PAGE))
        return int(generation)
