"""One object while it arrives: straight to its file in objects/, chunk by chunk, never whole in memory.

The file has its final name from the start. A file without a row in the journal was never acknowledged, and the next start
removes it; so nothing needs to be renamed, and the directory is synced while the data set is still on its way.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from platemark.gateway._part10 import part10_header

__all__ = ["Arrival", "Envelope"]

_DEFLATED = "1.2.840.10008.1.2.1.99"  # its group 0002 ends where its length says


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What is known of an object before its data set: from the C-STORE command and its presentation context."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling: str


class Arrival:
    """A file that grows. Owned by the thread that reads the association, then by the one that serves it.

    `refused` is a C-STORE status: then the rest of the object is read and thrown away, because a sender listens for an
    answer only after it has sent everything.
    """

    def __init__(self, directory: Path, envelope: Envelope, *, limit: int, background: Executor) -> None:
        self.object_id = secrets.token_hex(16)
        self.path = directory / f"{self.object_id}.dcm"
        self.envelope = envelope
        self.refused: int | None = None
        self.size = 0
        self._header = 0
        self._start = b""
        self._limit = limit
        self._background = background
        self._descriptor: int | None = None
        self._named: Future[None] | None = None

    def open(self) -> None:
        """Make the file. Raises OSError."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self._named = self._background.submit(_sync, self.path.parent)
        envelope = self.envelope
        header = part10_header(
            sop_class=envelope.sop_class,
            sop_instance=envelope.sop_instance,
            transfer_syntax=envelope.transfer_syntax,
            source=envelope.calling,
        )
        self._header = len(header)
        self._write(header)

    @property
    def has_data(self) -> bool:
        """Whether anything came after the header that we wrote."""
        return self.size > self._header

    @property
    def begins_with_meta(self) -> bool:
        """Whether the data set begins with group 0002, which no data set may (PS3.5 7.1, PS3.7 annex E).

        In a file it would go on where our own group 0002 ends: nobody could tell any more where the data set begins.
        """
        return self._start == b"\2\0" and self.envelope.transfer_syntax != _DEFLATED

    def refuse(self, status: int) -> None:
        """Take no more of it, and nothing of it stays."""
        self.refused = status
        self.discard()

    def add(self, data: memoryview) -> bool:
        """The next bytes of the data set; False when they are more than an object may have. Raises OSError."""
        if len(self._start) < 2:
            self._start += bytes(data[: 2 - len(self._start)])
        if self.refused is None:
            self._write(data)
        else:
            self.size += len(data)
        return self.size <= self._limit

    def keep(self) -> None:
        """The file and its name are on disk when this returns. Raises OSError.

        Crash before the journal has its row: the sender has had no answer, sends again, and this file is removed.
        """
        assert self._descriptor is not None
        assert self._named is not None
        os.fsync(self._descriptor)
        self._close()
        self._named.result()

    def discard(self) -> None:
        """Remove what there is; as often as one likes."""
        self._close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview) -> None:
        assert self._descriptor is not None
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self.size += written
            view = view[written:]

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
