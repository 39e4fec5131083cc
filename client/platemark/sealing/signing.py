"""Cutting a recording into segments and signing each, once.

The recorder's own journal and line do it (platemark.robot): the rows are on disk, then the chain reserves a place, then the
statement is in a spool. So a run may be interrupted anywhere and gone on with: what an earlier run signed is not signed again,
in whatever order the messages come this time.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from platemark.errors import RecordingError
from platemark.report import format_time
from platemark.robot.journal import RecordingJournal, SegmentJournal
from platemark.robot.line import SegmentLine
from platemark.robot.segmenter import Segmenter
from platemark.segment import ROW_SIZE, Row

if TYPE_CHECKING:
    from types import TracebackType

    from platemark.chain import Chain
    from platemark.recording.model import Message
    from platemark.robot.model import KeptSegment
    from platemark.robot.segmenter import Closed
    from platemark.segment import Channel
    from platemark.signing import Clock
    from platemark.spool import Spool

__all__ = ["Signing", "signed_in"]


class Signing:
    """One recording on its way into signed segments, with its journal in `directory`. Use it in a `with`.

    `path` is the recording, for what is said about it. Raises RecordingError (the journal, another process that seals the same
    recording), StateError, SpoolError and what the signer raises; after any of them, and after a crash, another one goes on.
    """

    def __init__(
        self, path: Path, directory: Path, *, chain: Chain, spool: Spool, window_ns: int, clock: Clock, now_ns: int
    ) -> None:
        self._path = path
        self._clock = clock
        self._segmenter = Segmenter(window_ns=window_ns)
        self._before: dict[Channel, Counter[bytes]] = {}  # rows of earlier runs that this one has not met yet
        self._numbers: Counter[str] = Counter()  # segments of each topic that earlier runs made
        self._journal = SegmentJournal(directory)
        self._line = SegmentLine(chain=chain, spool=spool)
        try:
            self.recording, self._file = self._begin(now_ns)
        except BaseException:
            self._journal.close()
            raise

    @property
    def signed(self) -> int:
        """Segments that this run signed."""
        return self._line.kept

    def take(self, messages: Iterable[Message], told: Callable[[int], None] = lambda _: None) -> None:
        """Sign the segments that end by these messages. `told` hears of the bytes of data taken, message by message."""
        for message in messages:
            row = Row(message.log_time, message.publish_time, message.digest)
            if not self._known(message.channel, row):
                self._sign(self._segmenter.add(message.channel, row, message.size))
            told(message.size)

    def due(self, now: int) -> None:
        """Sign what has been open for long; `now` is nanoseconds of any steady clock."""
        self._sign(self._segmenter.due(now))

    def end(self, *, whole: bool = True) -> None:
        """Sign what is open; nothing follows.

        `whole`: everything that there is was taken. Then raises RecordingError if something that an earlier run signed was not
        among it.
        """
        self._sign(self._segmenter.close())
        if whole:
            self._require_met()
        if self._file is not None:
            self._file.ended = True
            self._line.step()
            if self._file.path.exists() and not self._file.waiting:
                # Nothing was left to sign, so the line had no occasion to finish it.
                self._file.finish()

    def segments(self) -> Iterator[KeptSegment]:
        """All that is signed, in the order of signing."""
        return self._journal.segments(self.recording)

    def close(self) -> None:
        """Close the journal; what is in it stays."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, now_ns: int) -> tuple[bytes, RecordingJournal | None]:
        """The recording of an earlier run, else a new one. The journal is None when everything was signed."""
        recordings = self._journal.recordings()
        if len(recordings) > 1:
            raise RecordingError(self._journal.directory, f"{len(recordings)} recordings where one is expected")
        if not recordings:
            recording = secrets.token_bytes(16)
            return recording, self._journal.begin(recording, now_ns)
        (recording,) = (each.recording for each in recordings)
        opened = self._journal.unfinished()
        for each in opened:
            # Their rows are on disk: they are signed before anything else is cut.
            self._line.add(each, each.waiting)
            each.ended = False
        self._line.step()
        for segment in self._journal.segments(recording):
            numbered = segment.segment
            self._numbers[numbered.channel.topic] = max(self._numbers[numbered.channel.topic], numbered.number + 1)
            rows = self._before.setdefault(numbered.channel, Counter())
            rows.update(segment.rows[at : at + ROW_SIZE] for at in range(0, len(segment.rows), ROW_SIZE))
        return recording, opened[0] if opened else None

    def _known(self, channel: Channel, row: Row) -> bool:
        """Whether an earlier run signed this message."""
        rows = self._before.get(channel)
        if rows is None:
            return False
        packed = row.pack()
        if not rows[packed]:
            return False
        rows[packed] -= 1
        return True

    def _sign(self, closed: list[Closed]) -> None:
        if not closed:
            return
        if self._file is None:
            channel = closed[0].channel
            raise RecordingError(
                self._path, f"has grown on {channel.topic} since everything was signed; seal it anew (--force)"
            )
        ended = [replace(each, number=each.number + self._numbers[each.channel.topic]) for each in closed]
        self._line.add(self._file, self._file.append(ended, self._clock))
        self._line.step()
        if self._line.waiting:
            raise RecordingError(self._path, "the spool is full: bring what it holds to a ledger, and run this again")

    def _require_met(self) -> None:
        for channel, rows in self._before.items():
            for row in +rows:
                time = int.from_bytes(row[:8], "big")
                raise RecordingError(
                    self._path,
                    f"has changed since a seal began: the message on {channel.topic} at {format_time(time)} is gone or altered; "
                    "--force begins anew",
                )


def signed_in(directory: Path) -> list[KeptSegment]:
    """What an earlier run signed of the recording whose journal this is; nothing if there is none."""
    if not directory.is_dir():
        return []
    found: list[KeptSegment] = []
    with SegmentJournal(directory) as journal, suppress(FileNotFoundError):
        for each in journal.recordings():
            found += journal.segments(each.recording)
    return found
