"""One object while it arrives: straight to a file in receiving/, chunk by chunk, never whole in memory."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from platemark.gateway._part10 import part10_header

__all__ = ["Arrival", "Envelope"]


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

    def __init__(self, directory: Path, envelope: Envelope, *, limit: int) -> None:
        self.object_id = secrets.token_hex(16)
        self.path = directory / f"{self.object_id}.dcm"
        self.envelope = envelope
        self.refused: int | None = None
        self.size = 0
        self._header = 0
        self._limit = limit
        self._descriptor: int | None = None

    def open(self) -> None:
        """Make the file. Raises OSError."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
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

    def refuse(self, status: int) -> None:
        """Take no more of it, and nothing of it stays."""
        self.refused = status
        self.discard()

    def add(self, data: memoryview) -> bool:
        """The next bytes of the data set; False when they are more than an object may have. Raises OSError."""
        if self.refused is None:
            self._write(data)
        else:
            self.size += len(data)
        return self.size <= self._limit

    def keep(self, directory: Path) -> Path:
        """Make the file durable under its final path in `directory`, on the same file system. Raises OSError.

        Crash before the rename: a file in receiving/, which the next start removes. Between it and the journal's row:
        a file without a row, removed as well. In both cases the sender has had no answer, and sends again.
        """
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        self._close()
        final = directory / self.path.name
        self.path.rename(final)
        _sync(directory)
        return final

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
