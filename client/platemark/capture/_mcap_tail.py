"""An MCAP file while it is being written: its messages as they become whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.capture._mcap_data import DataSection
from platemark.capture._message_rows import Faults
from platemark.capture._source import open_regular
from platemark.errors import RecordingError
from platemark.recording.model import Fault, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from platemark.capture._recording_limits import RecordingLimits

__all__ = ["Tail"]


class Tail:
    """The messages of a growing file in the order of the file. `faults` as they are met. Iterate once.

    `wait` is called whenever the file has no whole record more. It returns when it is worth looking again, True, or False to
    stop: what is whole has then been given. Ends by itself with the data section. Raises RecordingError: the file became
    shorter or another one took its place, or what `open_mcap` raises. A record that does not become whole is a fault.
    """

    def __init__(self, path: str, wait: Callable[[], bool], limits: RecordingLimits) -> None:
        self.path = path
        self._wait, self._limits = wait, limits
        self._faults = Faults(limits.faults)
        self._size = 0
        self._stopped = False

    @property
    def faults(self) -> list[Fault]:
        """Complete once the iteration has ended."""
        return self._faults.found

    def __iter__(self) -> Iterator[Message]:
        file, _ = open_regular(self.path)
        with file:
            section = DataSection(
                self.path, file, lambda end: self._reach(file, end), limits=self._limits, faults=self._faults
            )
            for found in section.messages():
                digest = hashlib.sha256(found.data).digest()
                yield Message(found.channel, found.log_time, found.publish_time, digest, len(found.data))

    def _reach(self, file: BinaryIO, end: int) -> bool:
        while end > self._look(file):
            if self._stopped or not self._wait():
                self._stopped = True
                return end <= self._look(file)
        return True

    def _look(self, file: BinaryIO) -> int:
        """The size of the file. RecordingError: it is no longer the one that was opened, or shorter than it was."""
        try:
            open_one, named = os.fstat(file.fileno()), Path(self.path).stat()
        except OSError as error:
            raise RecordingError(
                self.path, f"is gone while it was read: {(error.strerror or str(error)).lower()}"
            ) from None
        if (open_one.st_dev, open_one.st_ino) != (named.st_dev, named.st_ino):
            raise RecordingError(self.path, "another file took its place while it was read")
        if open_one.st_size < self._size:
            raise RecordingError(self.path, "became shorter while it was read")
        self._size = open_one.st_size
        return self._size
