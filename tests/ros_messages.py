"""Synthetic messages of a robot's sensors in ROS 2's encoding, made when a test asks for them: frames that move."""

from __future__ import annotations

import heapq
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import imagecodecs
import numpy as np
from ros_types import CAMERA_INFO, COMPRESSED, IMAGE, IMU, VIDEO, Kind

__all__ = [
    "START", "Sample", "bayer", "camera_infos", "cameras", "compressed", "depth", "frames", "image", "imus", "interleaved",
    "mixed", "packets", "pixels",
]  # fmt: skip

START = 1_790_000_000_000_000_000
"""Log time of the first message of a recording, Unix ns."""
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Sample:
    """One message of a recording: times in Unix ns, data as published (CDR)."""

    topic: str
    kind: Kind
    log_time: int
    publish_time: int
    data: bytes


class _Cdr:
    """Little-endian CDR, as ROS 2 publishes it: everything lies at a multiple of its size, counted from after the head."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def add(self, form: str, *values: float) -> _Cdr:
        """Numbers of one struct format character."""
        for value in values:
            self._parts += bytes(-len(self._parts) % struct.calcsize(form)) + struct.pack(f"<{form}", value)
        return self

    def blob(self, data: bytes) -> _Cdr:
        """A sequence of bytes."""
        self.add("I", len(data))
        self._parts += data
        return self

    def text(self, value: str) -> _Cdr:
        """A string with its final zero."""
        return self.blob(value.encode() + b"\0")

    def header(self, stamp: int, frame: str) -> _Cdr:
        """std_msgs/Header."""
        return self.add("i", stamp // SECOND).add("I", stamp % SECOND).text(frame)

    def bytes(self) -> bytes:
        """The message."""
        return b"\x00\x01\x00\x00" + self._parts


# --- frames ---------------------------------------------------------------------------------------------------------


def pixels(number: int, width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An RGB gradient with a bright square that moves from frame to frame."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack((x + number, y + 2 * number, x + y), axis=-1).astype(np.uint8)
    side = max(2, min(width, height) // 6)
    left, top = (7 * number) % max(1, width - side), (5 * number) % max(1, height - side)
    picture[top : top + side, left : left + side] = (255, 255 - number % 97, number % 251)
    return picture


def image(data: bytes, width: int, height: int, encoding: str, stamp: int, *, frame: str = "camera") -> bytes:
    """A sensor_msgs/msg/Image in CDR."""
    made = _Cdr().header(stamp, frame).add("I", height, width).text(encoding).add("B", 0)
    return made.add("I", len(data) // height).blob(data).bytes()


def _times(number: int, rate: float, start: int) -> tuple[int, int, int]:
    """header.stamp, publish and log time: a few hundred microseconds apart, with jitter that repeats."""
    stamp = start + round(number * SECOND / rate)
    publish = stamp + 150_000 + (number * 7919) % 50_000
    return stamp, publish, publish + 80_000 + (number * 104_729) % 40_000


def _stream(
    topic: str, kind: Kind, n: int | None, *, rate: float, start: int, make: Callable[[int, int], bytes]
) -> Iterator[Sample]:
    for number in count() if n is None else range(n):
        stamp, publish, log = _times(number, rate, start)
        yield Sample(topic, kind, log, publish, make(number, stamp))


def frames(
    n: int | None, width: int = 640, height: int = 480, *, topic: str = "/camera/image_raw", rate: float = 30.0,
    start: int = START, seed: int = 0,
) -> Iterator[Sample]:  # fmt: skip
    """`n` rgb8 images, without end if None."""

    def make(number: int, stamp: int) -> bytes:
        return image(pixels(number + seed, width, height).tobytes(), width, height, "rgb8", stamp)

    return _stream(topic, IMAGE, n, rate=rate, start=start, make=make)


def depth(
    n: int,
    width: int = 64,
    height: int = 48,
    *,
    topic: str = "/depth/image_raw",
    rate: float = 30.0,
    start: int = START,
) -> Iterator[Sample]:
    """Depth images, 16UC1, millimetres."""

    def make(number: int, stamp: int) -> bytes:
        y, x = np.mgrid[0:height, 0:width]
        data = (500 + 40 * x + 11 * y + 3 * number).astype("<u2").tobytes()
        return image(data, width, height, "16UC1", stamp, frame="depth")

    return _stream(topic, IMAGE, n, rate=rate, start=start, make=make)


def bayer(
    n: int,
    width: int = 64,
    height: int = 48,
    *,
    topic: str = "/bayer/image_raw",
    rate: float = 30.0,
    start: int = START,
) -> Iterator[Sample]:
    """Bayer images, bayer_rggb8."""

    def make(number: int, stamp: int) -> bytes:
        data = pixels(number, width, height)[:, :, 1].tobytes()
        return image(data, width, height, "bayer_rggb8", stamp, frame="bayer")

    return _stream(topic, IMAGE, n, rate=rate, start=start, make=make)


def compressed(
    n: int,
    width: int = 64,
    height: int = 48,
    *,
    topic: str = "/camera/compressed",
    rate: float = 30.0,
    start: int = START,
) -> Iterator[Sample]:
    """JPEG images."""

    def make(number: int, stamp: int) -> bytes:
        jpeg = bytes(imagecodecs.jpeg8_encode(pixels(number, width, height), level=80))
        return _Cdr().header(stamp, "camera").text("rgb8; jpeg compressed bgr8").blob(jpeg).bytes()

    return _stream(topic, COMPRESSED, n, rate=rate, start=start, make=make)


def packets(
    n: int, *, topic: str = "/camera/h264", rate: float = 30.0, start: int = START, every: int = 15
) -> Iterator[Sample]:
    """Packets that look like H.264 in Annex B: a parameter set before every `every`th frame, then a slice of noise."""

    def make(number: int, stamp: int) -> bytes:
        noise = np.random.default_rng(number).integers(1, 256, 400 + number % 90, np.uint8).tobytes()
        key = number % every == 0
        head = b"\0\0\0\1\x67\x42\x00\x1e\xab\0\0\0\1\x68\xce\x38\x80\0\0\0\1\x65" if key else b"\0\0\0\1\x41"
        made = _Cdr().add("i", stamp // SECOND).add("I", stamp % SECOND).text("camera")
        return made.blob(head + noise).text("h264").bytes()

    return _stream(topic, VIDEO, n, rate=rate, start=start, make=make)


def camera_infos(
    n: int,
    width: int = 640,
    height: int = 480,
    *,
    topic: str = "/camera/camera_info",
    rate: float = 30.0,
    start: int = START,
) -> Iterator[Sample]:
    """Calibrations of a pinhole camera: the same one every time but for header.stamp."""
    focal, x, y = 0.9 * width, width / 2, height / 2

    def make(_: int, stamp: int) -> bytes:
        made = _Cdr().header(stamp, "camera").add("I", height, width).text("plumb_bob")
        made.add("I", 5).add("d", 0.01, -0.02, 0.0, 0.0, 0.001)
        made.add(
            "d",
            focal,
            0,
            x,
            0,
            focal,
            y,
            0,
            0,
            1,
            1,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            1,
            focal,
            0,
            x,
            0,
            0,
            focal,
            y,
            0,
            0,
            0,
            1,
            0,
        )
        return made.add("I", 0, 0, 0, 0, 0, 0).add("B", 0).bytes()

    return _stream(topic, CAMERA_INFO, n, rate=rate, start=start, make=make)


def imus(n: int, *, topic: str = "/imu", rate: float = 200.0, start: int = START) -> Iterator[Sample]:
    """Accelerations and turn rates."""

    def make(number: int, stamp: int) -> bytes:
        angle = number / 50
        none = (0.0,) * 9
        made = _Cdr().header(stamp, "imu").add("d", 0, 0, math.sin(angle / 2), math.cos(angle / 2), *none)
        return made.add("d", 0, 0, 0.02, *none).add("d", math.cos(angle), math.sin(angle), 9.81, *none).bytes()

    return _stream(topic, IMU, n, rate=rate, start=start, make=make)


def interleaved(*streams: Iterable[Sample]) -> Iterator[Sample]:
    """Several topics in the order of log time."""
    return heapq.merge(*streams, key=lambda sample: sample.log_time)


def mixed(seconds: int = 1) -> list[Sample]:
    """Every kind of topic that a robot has, small."""
    n = 30 * seconds
    return list(
        interleaved(
            frames(n, 64, 48),
            depth(n),
            bayer(n),
            compressed(n),
            packets(n),
            camera_infos(n, 64, 48),
            imus(200 * seconds),
        )
    )


def cameras(
    count: int = 6, seconds: int = 600, rate: float = 30.0, width: int = 16, height: int = 12, *, start: int = START
) -> Iterator[Sample]:
    """A recording of several cameras, one message after the other; ten minutes of six at 30 Hz unless told otherwise."""
    each = [
        frames(
            round(seconds * rate), width, height, topic=f"/camera_{number}/image_raw", rate=rate,
            start=start + 1_000_003 * number, seed=1000 * number,
        )
        for number in range(count)
    ]  # fmt: skip
    return interleaved(*each)
