"""A simulated sensor: frames through the real tree of a segment, statements signed in the order of its chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from integration.live import NOW, Writer

from platemark.recording.model import Fault, Message
from platemark.segment import Channel, Row, SegmentTree

__all__ = ["PERIOD", "Camera", "Frames"]

PERIOD = 33_333_333
"""Nanoseconds from one frame to the next, at 30 a second."""

_SIZE = 921_600


@dataclass
class Camera:
    """A camera of one topic that records since `now` (Unix ns), which a test may set: it is the device's own clock."""

    writer: Writer
    topic: str = "/camera/image"
    now: int = NOW
    number: int = 0
    window_ns: int = 10**9
    rows: dict[int, list[Row]] = field(default_factory=dict)
    """Of every segment, by its number: what the recorder's journal has."""

    @property
    def channel(self) -> Channel:
        """Raw frames without a schema."""
        return Channel.of(self.topic, encoding="rgb8 640x480")

    @property
    def recording(self) -> bytes:
        """16 bytes, the same for one key and topic."""
        return hashlib.sha256(self.writer.key.kid + self.topic.encode()).digest()[:16]

    def segment(self, frames: int = 30, **changes: Any) -> bytes:
        """The next segment, signed; its number is used up whether anybody logs it or not."""
        tree = SegmentTree(self.channel)
        for place in range(frames):
            data = hashlib.sha256(b"%d %d %s" % (self.number, place, self.recording)).digest()
            row = Row(self.now, self.now, data)
            self.rows.setdefault(self.number, []).append(row)
            tree.add(row, _SIZE)
            self.now += PERIOD
        payload = tree.fields(recording=self.recording, number=self.number, window_ns=self.window_ns)
        self.number += 1
        clock = {"source": "ntp", "error_ns": 1_000_000}
        return self.writer.build("segment", **{"clock": clock, **payload, **changes})


@dataclass
class Frames:
    """A Source: all frames of a camera, as a recording holds them, in order of time."""

    camera: Camera
    path: str = "frames"
    faults: list[Fault] = field(default_factory=list)
    proofs: list[bytes] = field(default_factory=list)

    def __iter__(self) -> Iterator[Message]:
        rows = sorted((row for each in self.camera.rows.values() for row in each), key=lambda row: row.log_time)
        for row in rows:
            yield Message(self.camera.channel, row.log_time, row.publish_time, row.digest, _SIZE)
