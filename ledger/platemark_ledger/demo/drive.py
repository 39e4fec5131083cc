"""What the demo's robot records: three seconds of a camera and an IMU, drawn by this script, in an MCAP file.

The messages are ROS 2's (CDR, definitions as ros2msg), packed here byte by byte: no ROS is installed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from platemark.capture.mcap import open_mcap
from platemark.recording.proof import MEDIA_TYPE
from platemark.sealing.placing import ATTACHMENT

__all__ = ["CAMERA", "IMU", "SECONDS", "Sample", "frames", "imus", "read", "write", "write_bag"]

CAMERA, IMU = "/camera/front", "/imu"
SECONDS = 3
_SECOND = 1_000_000_000
_WIDTH, _HEIGHT, _FRAMES, _READINGS = 160, 120, 30, 100  # the last two a second
_FLOOR, _BELT, _BOX = bytes((28, 32, 40)), bytes((90, 90, 96)), bytes((196, 140, 72))
_CDR = b"\0\1\0\0"  # plain CDR, little endian

_RULE = "=" * 80
_HEADER = (
    f"{_RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
    f"{_RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)
_DEFINITIONS = {
    "sensor_msgs/msg/Image": "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
    f"uint32 step\nuint8[] data\n{_HEADER}",
    "sensor_msgs/msg/Imu": "std_msgs/Header header\n"
    "geometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
    "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n"
    f"geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n{_HEADER}"
    f"{_RULE}\nMSG: geometry_msgs/Quaternion\nfloat64 x\nfloat64 y\nfloat64 z\nfloat64 w\n"
    f"{_RULE}\nMSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n",
}


@dataclass(frozen=True)
class Sample:
    """One message: times in Unix ns, data as published."""

    topic: str
    type_name: str
    log_time: int
    publish_time: int
    data: bytes


def frames(start: int) -> Iterator[Sample]:
    """The camera's: a box on a conveyor, rgb8, 160 x 120, 30 a second from `start` (Unix ns) on."""
    for number in range(SECONDS * _FRAMES):
        stamp = start + number * _SECOND // _FRAMES
        sizes = (_HEIGHT, _WIDTH, 5, b"rgb8\0", 0, 3 * _WIDTH, 3 * _WIDTH * _HEIGHT)
        head = struct.pack("<4s iI I13s3x II I5s B2x II", _CDR, *_parts(stamp), 13, b"camera_front\0", *sizes)
        yield _sample(CAMERA, "sensor_msgs/msg/Image", stamp, head + _drawn(number))


def imus(start: int) -> Iterator[Sample]:
    """The IMU's: a gentle sway, 100 a second."""
    nine = (0.0,) * 9
    for number in range(SECONDS * _READINGS):
        stamp = start + number * _SECOND // _READINGS
        sway = 0.02 * math.sin(number / 25)
        values = (0.0, 0.0, sway, 1.0, *nine, 0.0, 0.0, sway / 4, *nine, sway, 0.0, 9.81, *nine)
        data = struct.pack("<4s iI I4s 37d", _CDR, *_parts(stamp), 4, b"imu\0", *values)
        yield _sample(IMU, "sensor_msgs/msg/Imu", stamp, data)


def write(path: Path, samples: Iterable[Sample], *, compression: str = "zstd", proofs: Iterable[bytes] = ()) -> None:
    """An MCAP file by mcap's own writer, in order of log time. `compression`: zstd, lz4 or "". `proofs` are attached."""
    from mcap.writer import CompressionType, Writer

    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType[compression.upper() or "NONE"], chunk_size=1 << 19)
        writer.start("ros2")
        channels: dict[str, int] = {}
        for sequence, each in enumerate(sorted(samples, key=lambda sample: sample.log_time)):
            if each.topic not in channels:
                schema = writer.register_schema(each.type_name, "ros2msg", _DEFINITIONS[each.type_name].encode())
                channels[each.topic] = writer.register_channel(each.topic, "cdr", schema)
            writer.add_message(channels[each.topic], each.log_time, each.data, each.publish_time, sequence)
        for proof in proofs:
            writer.add_attachment(0, 0, ATTACHMENT, MEDIA_TYPE, proof)
        writer.finish()  # type: ignore[no-untyped-call]


def write_bag(folder: Path, samples: Iterable[Sample]) -> None:
    """A rosbag2 folder (sqlite3) by rosbags' writer, which keeps no publish time."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    with Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {}
        for each in samples:
            if each.topic not in connections:
                connections[each.topic] = writer.add_connection(each.topic, each.type_name, typestore=store)
            writer.write(connections[each.topic], each.log_time, each.data)


def read(path: Path) -> tuple[list[Sample], list[bytes]]:
    """The messages of an MCAP file, and the proofs that are attached to it."""
    source = open_mcap(path)
    samples = [
        Sample(each.channel.topic, each.channel.type_name, each.log_time, each.publish_time, bytes(each.data))
        for each in source.recorded()
    ]
    return samples, source.proofs


def _parts(stamp: int) -> tuple[int, int]:
    return divmod(stamp, _SECOND)


def _sample(topic: str, type_name: str, stamp: int, data: bytes) -> Sample:
    """Published and recorded a little later than the sensor's driver stamped it."""
    return Sample(topic, type_name, stamp + 230_000, stamp + 150_000, data)


def _drawn(number: int) -> bytes:
    left = 3 * number % (_WIDTH - 30)
    floor, belt = _FLOOR * _WIDTH, _BELT * _WIDTH
    boxed = _BELT * left + _BOX * 30 + _BELT * (_WIDTH - 30 - left)
    return b"".join(boxed if 45 <= y < 75 else belt if 30 <= y < 90 else floor for y in range(_HEIGHT))
