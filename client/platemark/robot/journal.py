"""The journal of segments: the holder's rows of every message, durable before a statement about them exists.

A directory with one append-only file for each recording. The order of a segment is: its rows into the journal, synced; its
place in the chain; its statement into the spool; the statement into the journal. Whoever later makes a proof of single messages
(`platemark mcap proofs`) reads the rows and the statement from here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from platemark import files
from platemark.errors import RecordingError
from platemark.locks import FileLock
from platemark.robot import _records
from platemark.robot._entries import KEPT, SEGMENTS, encode_kept, encode_segments, kept_in, read_head, segments_in
from platemark.robot._records import MAX_BODY, RecordFile
from platemark.robot.model import JournaledSegment, KeptSegment, Recording
from platemark.robot.segmenter import Closed
from platemark.segment import ROW_SIZE
from platemark.signing import Clock

__all__ = ["RecordingJournal", "SegmentJournal"]

_OPEN, _FINISHED = ".recording", ".segments"
_LOCK = "journal.lock"
_AT_ONCE = 256  # segments in one record


class SegmentJournal:
    """The journal in a directory, which is made if it is not there. Close it, or use it in a `with`.

    Reading needs no lock and may go on beside a writer; there is one writer at a time, from its first `begin` or `unfinished`
    until `close`. Every method raises RecordingError: the disk, damage (it says where), another writer.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: FileLock | None = None
        self._writing: list[RecordingJournal] = []
        with _sentences(directory):
            missing = [each for each in (directory, *directory.parents) if not each.exists()]
            for each in reversed(missing):
                each.mkdir(mode=0o700, exist_ok=True)
                files.sync_directory(each.parent)

    def begin(self, recording: bytes, created_ns: int) -> RecordingJournal:
        """A new recording, to be written."""
        if len(recording) != 16:
            message = f"a recording has 16 bytes, not {len(recording)}"
            raise ValueError(message)
        self._claim()
        path = self._path(recording, _OPEN)
        _records.create(path, recording, created_ns)
        return self._open(path)

    def unfinished(self) -> list[RecordingJournal]:
        """The recordings that a crash, or a spool without room, has left unfinished, oldest first: to be brought to their end.

        What a crash has torn at the end of one is cut off.
        """
        self._claim()
        opened = {each.path for each in self._writing}
        found = [self._open(each.path) for each in self.recordings() if not each.finished and each.path not in opened]
        for each in found:
            each.ended = True
        return found

    def recordings(self) -> list[Recording]:
        """What is here, oldest first."""
        with _sentences(self.directory):
            paths = [each for each in self.directory.iterdir() if each.suffix in {_OPEN, _FINISHED}]
        found = []
        for listed in paths:
            # Its writer may have finished it since it was listed.
            path = listed if listed.exists() else listed.with_suffix(_FINISHED)
            with _reading(path) as descriptor:
                recording, created_ns = _records.read_head(path, descriptor)
            found.append(Recording(recording, created_ns, path.suffix == _FINISHED, path))
        return sorted(found, key=lambda each: (each.created_ns, each.recording))

    def segments(self, recording: bytes) -> Iterator[KeptSegment]:
        """The segments of a recording whose statement is in the spool, in the order of signing, one in memory at a time.

        Of a recording that goes on, those so far.
        """
        path = self._find(recording)
        with _reading(path) as descriptor:
            # Between the row and the statement of a segment lie at most those that waited for the spool at the same time.
            waiting: dict[tuple[str, int], JournaledSegment] = {}
            for record in _records.records(path, descriptor):
                head = read_head(path, record, partial(_records.read_at, descriptor))
                waiting |= {segment.place: segment for segment in segments_in(path, recording, head)}
                for topic, number, statement in kept_in(path, head):
                    found = waiting.pop((topic, number), None)
                    if found is not None:
                        rows = _records.read_at(descriptor, found.at, found.count * ROW_SIZE)
                        yield KeptSegment(found, statement, rows)

    def forget(self, recording: bytes) -> None:
        """Remove a finished recording, and with it the means to prove single messages of it; the log keeps its statements."""
        path = self._find(recording)
        if path.suffix != _FINISHED:
            raise RecordingError(path, "is not finished: segments of it may not be in the spool yet")
        with _sentences(path):
            path.unlink()
            files.sync_directory(self.directory)

    def close(self) -> None:
        """Let another writer have it. Closing twice is fine."""
        for each in self._writing:
            each.close()
        self._writing.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _claim(self) -> None:
        if self._lock is not None:
            return
        with _sentences(self.directory):
            lock = FileLock(self.directory / _LOCK)
        if not lock.acquire():
            lock.close()
            raise RecordingError(self.directory, "another recorder writes this journal")
        self._lock = lock

    def _open(self, path: Path) -> RecordingJournal:
        opened = RecordingJournal(RecordFile(path))
        self._writing.append(opened)
        return opened

    def _find(self, recording: bytes) -> Path:
        for suffix in (_FINISHED, _OPEN):
            path = self._path(recording, suffix)
            if path.exists():
                return path
        raise RecordingError(self.directory, f"has no recording {recording.hex()}")

    def _path(self, recording: bytes, suffix: str) -> Path:
        return self.directory / f"{recording.hex()}{suffix}"


class RecordingJournal:
    """One recording that is written. `waiting`: its segments without a statement in the spool, in the order of signing."""

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self.ended = False
        """Whether no segment will be appended any more."""
        self.recording = file.recording
        self.created_ns = file.created_ns
        self.torn = file.torn
        waiting: dict[tuple[str, int], JournaledSegment] = {}
        for record in file.records:
            head = read_head(file.path, record, file.read)
            waiting |= {segment.place: segment for segment in segments_in(file.path, file.recording, head)}
            for topic, number, _ in kept_in(file.path, head):
                waiting.pop((topic, number), None)
        file.records.clear()
        self._waiting = waiting

    @property
    def path(self) -> Path:
        """Its file."""
        return self._file.path

    @property
    def waiting(self) -> list[JournaledSegment]:
        """The segments without a statement in the spool."""
        return list(self._waiting.values())

    def append(self, closed: Sequence[Closed], clock: Clock) -> list[JournaledSegment]:
        """Keep the rows of segments that have ended; they are on disk when this returns.

        When it raises, some of them may be: append only those that are not in `waiting` again.
        """
        made: list[JournaledSegment] = []
        for batch in _batches(closed):
            head = encode_segments(batch, clock)
            record = self._file.append(SEGMENTS, head, *(each.rows for each in batch))
            added = list(segments_in(self.path, self.recording, read_head(self.path, record, self._file.read)))
            self._waiting |= {segment.place: segment for segment in added}
            made += added
        return made

    def kept(self, statements: Sequence[tuple[JournaledSegment, bytes]]) -> None:
        """The statements (signed, as they went into the spool) of segments; on disk when this returns.

        Crash before: the spool has them under the key of their segment.
        """
        for start in range(0, len(statements), _AT_ONCE):
            part = statements[start : start + _AT_ONCE]
            self._file.append(KEPT, encode_kept([(*each.place, raw) for each, raw in part]))
            for each, _ in part:
                self._waiting.pop(each.place, None)

    def finish(self) -> None:
        """No segment follows and none waits: its file gets its last name. Raises RecordingError: some wait."""
        if self._waiting:
            raise RecordingError(self.path, f"{len(self._waiting)} segments wait for the spool")
        finished = self.path.with_suffix(_FINISHED)
        self.close()
        with _sentences(self.path):
            # Crash before or after: it is opened once more, has nothing that waits, and is finished then.
            self.path.replace(finished)
            files.sync_directory(finished.parent)

    def close(self) -> None:
        """Close the file; what is in it stays. Closing twice is fine."""
        self._file.close()


def _batches(closed: Sequence[Closed]) -> Iterator[list[Closed]]:
    """Runs that fit into one record each."""
    batch: list[Closed] = []
    size = 0
    for each in closed:
        if batch and (len(batch) == _AT_ONCE or size + len(each.rows) > MAX_BODY // 2):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each.rows)
    if batch:
        yield batch


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    with _sentences(path):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """What the system says, as RecordingError."""
    try:
        yield
    except OSError as error:
        raise RecordingError(path, error.strerror or str(error)) from None
