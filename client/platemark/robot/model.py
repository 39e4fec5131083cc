"""What the recorder and its journal hand out: frozen values. Times are nanoseconds, ids 16 or 32 bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.rungs import SHA256
from platemark.segment import Channel
from platemark.signing import Clock

if TYPE_CHECKING:
    from platemark.cbor import Value

__all__ = ["JournaledSegment", "KeptSegment", "RecorderState", "Recording"]


@dataclass(frozen=True, slots=True)
class JournaledSegment:
    """A segment whose rows are on disk.

    `first` and `last` are its least and greatest log time, `size` the bytes of its data, `digest` that of the rung `messages`
    (R45), `clock` what the device said of its clock when it ended.
    """

    recording: bytes
    channel: Channel
    number: int
    window_ns: int
    first: int
    last: int
    count: int
    size: int
    digest: bytes
    clock: Clock
    at: int = field(compare=False)
    """Where its rows begin in the file of its recording."""

    @property
    def place(self) -> tuple[str, int]:
        """Its topic and number, which name it within its recording."""
        return self.channel.topic, self.number

    @property
    def key(self) -> str:
        """Its name in the spool: there is one entry for it, whatever is tried again."""
        return f"segment:{self.recording.hex()}:{self.number}:{self.channel.topic}"

    def payload(self) -> dict[str, Value]:
        """The payload of its statement without the fields of the chain."""
        return {
            "recording": self.recording,
            "topic": self.channel.topic,
            "number": self.number,
            "window_ns": self.window_ns,
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "bytes": self.size,
            "clock": {"source": self.clock.source, "error_ns": self.clock.error_ns},
            "digests": {"messages": {SHA256: self.digest}},
        }


@dataclass(frozen=True, slots=True)
class KeptSegment:
    """A segment with its signed statement and its rows (48 bytes each, R48), all that a proof of its messages needs from here."""

    segment: JournaledSegment
    statement: bytes
    rows: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording in a journal. `finished`: every segment of it has a statement in the spool, and none will follow."""

    recording: bytes
    created_ns: int
    finished: bool
    path: Path


@dataclass(frozen=True, slots=True)
class RecorderState:
    """What a recorder is doing.

    Messages: `observed` were taken, and are each in one segment or on the way into one; `unobserved` did not fit into the memory
    that it may use, and are in none. `queued` wait to be put into a segment, `open` are in segments that go on, `unsaved` in such
    as have ended and are not on disk yet. Segments: `waiting` are on disk and wait for a place in the spool, `kept` have their
    statement there (`kept_messages` are in them), those that an earlier run left behind included. `window_ns` is the window at
    present: it is longer while the spool has little room. `fault`: what fails at present and is tried again, None if nothing.
    """

    recording: bytes
    observed: int
    unobserved: int
    queued: int
    open: int
    unsaved: int
    waiting: int
    kept: int
    kept_messages: int
    window_ns: int
    fault: str | None
