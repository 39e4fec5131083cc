"""Which object is being measured, on disk: so that one that ends the process is known by the next process.

A kill or a power failure is no fault of the object, so it takes two ends in a row during the same object. The file is written
without a sync: a process that ends leaves what it wrote, and after a power failure nothing has to be known.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

__all__ = ["Strikes"]

_ENOUGH = 2
_LINE = re.compile(rb"([0-9a-f]{32}) ([0-9])\n")
_EMPTY = b"-" * 32 + b" 0\n"


class Strikes:
    """The file at `path`. One process at a time; close it."""

    def __init__(self, path: Path) -> None:
        self.began: float | None = None
        """Monotonic time at which the present object began; read by another thread."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        found = _LINE.fullmatch(os.pread(self._descriptor, 64, 0))
        self._object = found.group(1).decode() if found else ""
        self._count = int(found.group(2)) if found else 0

    def suspect(self, object_id: str) -> bool:
        """Whether earlier processes ended during this object, which has begun now, often enough to look at its bytes alone."""
        return self._object == object_id and self._count > _ENOUGH

    def hopeless(self, object_id: str) -> bool:
        """Whether they went on to end."""
        return self._object == object_id and self._count > 2 * _ENOUGH

    def begin(self, object_id: str) -> None:
        """This object is looked at now: if this process ends, it counts against it."""
        self._count = min(9, self._count + 1) if self._object == object_id else 1
        self._object = object_id
        self._write(f"{object_id} {self._count}\n".encode())
        self.began = time.monotonic()

    def condemn(self) -> None:
        """Count the object that has begun as one that ended processes often enough."""
        self._write(f"{self._object} {max(_ENOUGH, self._count)}\n".encode())

    def end(self) -> None:
        """The object has been looked at, and the process lives; also what an orderly stop says."""
        self.began = None
        self._object, self._count = "", 0
        self._write(_EMPTY)

    def close(self) -> None:
        """Let go of the file; what it says stays."""
        os.close(self._descriptor)

    def _write(self, line: bytes) -> None:
        os.pwrite(self._descriptor, line, 0)
