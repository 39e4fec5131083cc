"""A lock between processes: a file that one of them holds. The system releases it when the holder dies: it never goes stale.

Works on POSIX (flock) and on Windows (one locked byte). On a network file system it is as good as that file system's locks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "try_lock", "unlock"]

_PAUSE = 0.001


if sys.platform == "win32":

    def try_lock(descriptor: int) -> bool:
        """Lock an open file, unless another descriptor holds it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def try_lock(descriptor: int) -> bool:
        """Lock an open file, unless another descriptor holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """The lock at a path, held by at most one FileLock of one process at a time. Threads may share it: they take turns.

    The constructor opens the file, made if it is not there. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def acquire(self, patience: float = 0.0) -> bool:
        """Whether the lock was had within `patience` seconds. Give it back with `release`."""
        deadline = time.monotonic() + patience
        if not self._turn.acquire(timeout=patience):
            return False
        try:
            while not try_lock(self._descriptor):
                if time.monotonic() >= deadline:
                    self._turn.release()
                    return False
                time.sleep(_PAUSE)
        except BaseException:
            self._turn.release()
            raise
        return True

    def release(self) -> None:
        """Let the next one have it."""
        with contextlib.suppress(OSError):
            unlock(self._descriptor)
        self._turn.release()

    @contextmanager
    def held(self, patience: float) -> Iterator[bool]:
        """Hold the lock for a block, which is told whether it could be had."""
        had = self.acquire(patience)
        try:
            yield had
        finally:
            if had:
                self.release()

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
