"""MCAP files: reading a recording, following one that is being written, adding records to one.

Reading needs only the standard library, and zstandard or lz4 for compressed chunks; adding needs mcap, whose records it writes.
"""

from __future__ import annotations

import hashlib
import operator
import os
from functools import cache, partial
from typing import TYPE_CHECKING

from platemark.capture._faults import MalformedError
from platemark.capture._mcap_append import append_records
from platemark.capture._mcap_data import DataSection, Recorded
from platemark.capture._mcap_records import Opcode
from platemark.capture._mcap_summary import FOOTER_SIZE, Summary, disagreements, read_footer
from platemark.capture._mcap_tail import Tail
from platemark.capture._message_rows import Faults, MessageRows
from platemark.capture._recording_limits import RecordingLimits
from platemark.capture._source import open_regular, require_unchanged
from platemark.errors import RecordingError
from platemark.recording.model import Fault, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

__all__ = ["PROOF_NAME", "McapSource", "Recorded", "RecordingLimits", "append_records", "open_mcap", "tail"]

PROOF_NAME = "platemark.recording"
"""What an attachment is called that holds a recording proof (proto/segments.md)."""


def open_mcap(path: str | os.PathLike[str], *, limits: RecordingLimits | None = None) -> McapSource:
    """The recording at `path`. Its attached proofs have been read, its messages are read by each iteration.

    Raises RecordingError (it is not an MCAP file, or past a limit) and CaptureError (it cannot be read).
    """
    return McapSource(os.fspath(path), limits or RecordingLimits())


def tail(path: str | os.PathLike[str], *, wait: Callable[[], bool], limits: RecordingLimits | None = None) -> Tail:
    """The messages of a file that is being written, in the order of the file; `wait` and what is raised: see Tail."""
    return Tail(os.fspath(path), wait, limits or RecordingLimits())


class McapSource:
    """A recording in an MCAP file (platemark.recording.model.Source).

    `faults` is complete once the iteration has given its first message, since the order of log time is known only when the
    file has been read. The data of messages is digested as published, whatever its encoding.
    """

    def __init__(self, path: str, limits: RecordingLimits) -> None:
        self.path = path
        self._limits = limits
        self._faults = Faults(limits.faults)
        self.proofs: list[bytes] = self._read_proofs()

    @property
    def faults(self) -> list[Fault]:
        """What was wrong with the file when it was last read."""
        return self._faults.found

    def __iter__(self) -> Iterator[Message]:
        rows = MessageRows(self.path, self._limits.messages)
        self.collect(rows)
        yield from rows

    def collect(self, rows: MessageRows) -> None:
        """Read the file once: add its messages to `rows`, and set `faults`."""
        self._faults = Faults(self._limits.faults)
        digest, add = hashlib.sha256, rows.add
        for channel, _, log_time, publish_time, data in self.recorded():
            add(channel, log_time, publish_time, digest(data).digest(), len(data))

    def recorded(self) -> Iterator[Recorded]:
        """The messages with their data, in the order of the file. The data of one is valid until the next is asked for."""
        self._faults = Faults(self._limits.faults)
        file, before = open_regular(self.path)
        with file:
            size = before.st_size
            section = self._section(file, size)
            yield from section.messages()
            if section.facts.end:
                self._compare(file, size, section)
            require_unchanged(self.path, file, before)

    def _section(self, file: BinaryIO, size: int) -> DataSection:
        @cache
        def summary() -> Summary | None:
            return _pointed_to(file, size, self._limits)

        reach = partial(operator.ge, size)
        return DataSection(self.path, file, reach, limits=self._limits, faults=self._faults, summary=summary)

    def _compare(self, file: BinaryIO, size: int, section: DataSection) -> None:
        end = section.facts.end
        if size - end > self._limits.summary_bytes:
            reason = f"its summary of {size - end} bytes is above the limit of {self._limits.summary_bytes}"
            raise RecordingError(self.path, reason)
        file.seek(end)
        try:
            summary = Summary.read(file.read(size - end), end)
        except MalformedError as error:
            self._faults.note("summary", str(error))
            return
        disagreements(summary, section.facts, self._faults)

    def _read_proofs(self) -> list[bytes]:
        """The attachments of that name, found by going through the file: an index may leave one out."""
        proofs: list[bytes] = []
        file, before = open_regular(self.path)
        with file:
            section = self._section(file, before.st_size)
            left = self._limits.proof_bytes
            for opcode, offset, length in section.records():
                if opcode != Opcode.ATTACHMENT:
                    continue
                try:
                    found = section.attachment(offset, length)
                except MalformedError:  # a fault once the messages are read
                    continue
                if found.name != PROOF_NAME:
                    continue
                left -= found.data_size
                if left < 0:
                    raise RecordingError(
                        self.path, f"its recording proofs are more than {self._limits.proof_bytes} bytes"
                    )
                file.seek(found.data_offset)
                proofs.append(file.read(found.data_size))
        return proofs


def _pointed_to(file: BinaryIO, size: int, limits: RecordingLimits) -> Summary | None:
    """The summary that the footer at the end of the file points to; None if it is not sound."""
    try:
        file.seek(max(0, size - FOOTER_SIZE))
        start = read_footer(file.read(FOOTER_SIZE)).summary_start
        if not 0 < start < size or size - start > limits.summary_bytes:
            return None
        file.seek(start)
        return Summary.read(file.read(size - start), start)
    except MalformedError:
        return None
