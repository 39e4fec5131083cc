"""Whether there is room for one more object: back-pressure instead of memory growth or a full disk."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platemark.gateway.journal import Journal
    from platemark.gateway.settings import Limits

__all__ = ["Pressure"]

_FRESH = 1.0  # seconds that a count of the journal is good for


class Pressure:
    """The limits of `[limits]`, asked before an object is taken. Safe to share between threads.

    Counts of the journal are read at most once a second; what was added meanwhile is counted here.
    """

    def __init__(
        self, limits: Limits, journal: Journal, disk: Path, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._journal = journal
        self._disk = disk
        self._monotonic = monotonic
        self._lock = threading.Lock()  # owns what follows
        self._read_at: float | None = None
        self._objects = 0
        self._bytes = 0

    def refusal(self) -> str | None:
        """Why no object can be taken now, None when one can. Raises JournalError, OSError."""
        with self._lock:
            now = self._monotonic()
            if self._read_at is None or now - self._read_at >= _FRESH:
                self._objects, self._bytes = self._journal.waiting()
                self._read_at = now
            objects, size = self._objects, self._bytes
        if objects >= self._limits.waiting_objects:
            return "waiting-objects"
        if size >= self._limits.waiting_bytes:
            return "waiting-bytes"
        if self.short_of_disk():
            return "free-bytes"
        return None

    def short_of_disk(self) -> bool:
        """Whether the disk has less free than it has to keep. Raises OSError."""
        return shutil.disk_usage(self._disk).free < self._limits.free_bytes

    def added(self, size: int) -> None:
        """An object of so many bytes was taken."""
        with self._lock:
            self._objects += 1
            self._bytes += size
