"""Synthetic recordings of robots, and the tools that people run over them.

A recording is a list of `Sample`. What other tools do to it (clip, filter, recompress, convert, merge) is done here by their
own writers: mcap's and rosbags'. The tampering functions return a changed list of samples and change nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from ros_messages import (
    START,
    Sample,
    bayer,
    camera_infos,
    cameras,
    compressed,
    depth,
    frames,
    image,
    imus,
    interleaved,
    mixed,
    packets,
    pixels,
)
from ros_types import CAMERA_INFO, COMPRESSED, IMAGE, IMU, VIDEO, Kind
from rosbags.rosbag2 import Reader as BagReader
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as BagWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

__all__ = [
    "CAMERA_INFO", "COMPRESSED", "IMAGE", "IMU", "START", "VIDEO", "Attached", "Kind", "Sample", "altered", "attachments",
    "bayer", "camera_infos", "cameras", "clip", "compressed", "convert", "data_spans", "depth", "dropped", "duplicated", "flip",
    "frames", "growing", "image",
    "imus", "inserted", "interleaved", "merge", "mixed", "moved", "packets", "pixels", "read", "read_bag",
    "read_mcap", "recompress", "swapped", "write_bag", "write_mcap",
]  # fmt: skip

Storage = Literal["mcap", "sqlite3"]
Compression = Literal["", "lz4", "zstd"]

_COMPRESSIONS = {"": CompressionType.NONE, "lz4": CompressionType.LZ4, "zstd": CompressionType.ZSTD}


@dataclass(frozen=True)
class Attached:
    """An attachment of an MCAP file."""

    name: str
    media_type: str
    data: bytes


def write_mcap(
    path: Path, samples: Iterable[Sample], *, compression: Compression = "zstd", chunk_size: int = 1 << 20,
    chunked: bool = True, crcs: bool = True, attached: Iterable[Attached] = (),
) -> Path:  # fmt: skip
    """A file by mcap's own writer, one channel for each topic and type."""
    with path.open("wb") as file:
        written = growing(
            file, samples, compression=compression, chunk_size=chunk_size, chunked=chunked, crcs=crcs, attached=attached
        )
        for _ in written:
            pass
    return path


def growing(
    file: BinaryIO, samples: Iterable[Sample], *, compression: Compression = "zstd", chunk_size: int = 1 << 20,
    chunked: bool = True, crcs: bool = True, attached: Iterable[Attached] = (),
) -> Iterator[Sample]:  # fmt: skip
    """As `write_mcap`, message by message: each sample once it was handed to the writer; the end comes after the last."""
    writer = Writer(
        file, chunk_size=chunk_size, compression=_COMPRESSIONS[compression], use_chunking=chunked, enable_crcs=crcs
    )
    writer.start("ros2")
    schemas: dict[Kind, int] = {}
    channels: dict[tuple[str, Kind], int] = {}
    for sequence, sample in enumerate(samples):
        kind, place = sample.kind, (sample.topic, sample.kind)
        if kind not in schemas:
            schemas[kind] = writer.register_schema(kind.name, "ros2msg", kind.definition.encode())
        if place not in channels:
            channels[place] = writer.register_channel(sample.topic, "cdr", schemas[kind])
        writer.add_message(channels[place], sample.log_time, sample.data, sample.publish_time, sequence)
        yield sample
    for each in attached:
        writer.add_attachment(0, 0, each.name, each.media_type, each.data)
    writer.finish()  # type: ignore[no-untyped-call]


def write_bag(
    folder: Path, samples: Iterable[Sample], *, storage: Storage = "mcap", version: Literal[8, 9] = 9
) -> Path:
    """A rosbag2 folder by rosbags' own writer, which keeps one time only: log time."""
    store = get_typestore(Stores.ROS2_JAZZY)
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with BagWriter(folder, version=version, storage_plugin=plugin) as writer:
        connections: dict[tuple[str, Kind], Any] = {}
        for sample in samples:
            place, name = (sample.topic, sample.kind), sample.kind.name
            if place not in connections:
                if name not in store.types:
                    store.register(get_types_from_msg(sample.kind.definition, name))
                rihs = store.hash_rihs01(name)
                connections[place] = writer.add_connection(
                    sample.topic, name, msgdef=sample.kind.definition, rihs01=rihs, serialization_format="cdr"
                )
            writer.write(connections[place], sample.log_time, sample.data)
    return folder


def read_mcap(path: Path, *, crcs: bool = True) -> list[Sample]:
    """All messages in order of log time, by mcap's own reader, CRCs validated unless told otherwise."""
    kinds: dict[tuple[str, bytes], Kind] = {}
    found = []
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file, validate_crcs=crcs).iter_messages():
            assert schema is not None
            key = (schema.name, schema.data)
            kind = kinds.setdefault(key, Kind(schema.name, schema.data.decode()))
            found.append(Sample(channel.topic, kind, message.log_time, message.publish_time, message.data))
    return found


def read_bag(folder: Path) -> list[Sample]:
    """All messages in order of log time, by rosbags' own reader; publish time is not kept by it, so it is log time."""
    with BagReader(folder) as reader:
        return [
            Sample(each.topic, Kind(each.msgtype, each.msgdef.data), time, time, bytes(data))
            for each, time, data in reader.messages()
        ]


def read(path: Path) -> list[Sample]:
    """A file by mcap, a folder by rosbags."""
    return read_bag(path) if path.is_dir() else read_mcap(path)


def attachments(path: Path) -> list[Attached]:
    """Those of an MCAP file, by mcap's own reader."""
    with path.open("rb") as file:
        found = make_reader(file).iter_attachments()
        return [Attached(each.name, each.media_type, each.data) for each in found]


# --- tools of others ------------------------------------------------------------------------------------------------


def recompress(source: Path, target: Path, *, keep: bool = True, **options: Any) -> Path:
    """The same messages by mcap's writer: other compression, other chunks. `keep`: its attachments come along."""
    return write_mcap(target, read_mcap(source), attached=attachments(source) if keep else (), **options)


def clip(
    source: Path, target: Path, start: int = 0, end: int = 1 << 63, *, topics: Sequence[str] | None = None,
    keep: bool = True, **options: Any,
) -> Path:  # fmt: skip
    """Messages with start <= log time < end of these topics, by mcap's writer. `keep`: attachments come along."""
    chosen = [
        sample
        for sample in read_mcap(source)
        if start <= sample.log_time < end and (topics is None or sample.topic in topics)
    ]
    return write_mcap(target, chosen, attached=attachments(source) if keep else (), **options)


def convert(source: Path, target: Path, *, storage: Storage) -> Path:
    """A recording as rosbag2, by rosbags' writer: attachments and publish times are lost."""
    return write_bag(target, read(source), storage=storage)


def merge(sources: Sequence[Path], target: Path, *, keep: bool = True, **options: Any) -> Path:
    """Several MCAP files as one, in order of log time."""
    attached = [each for source in sources for each in attachments(source)] if keep else []
    return write_mcap(target, interleaved(*(read_mcap(source) for source in sources)), attached=attached, **options)


# --- tampering ------------------------------------------------------------------------------------------------------


def altered(samples: Sequence[Sample], number: int, *, byte: int = -1, flip: int = 1) -> list[Sample]:
    """One byte of one message's data is another one."""
    data = bytearray(samples[number].data)
    data[byte] ^= flip
    return [*samples[:number], replace(samples[number], data=bytes(data)), *samples[number + 1 :]]


def moved(samples: Sequence[Sample], number: int, by: int) -> list[Sample]:
    """One message is at another time, `by` ns later; the list is in order of log time again."""
    sample = samples[number]
    later = replace(sample, log_time=sample.log_time + by, publish_time=sample.publish_time + by)
    return _ordered([*samples[:number], later, *samples[number + 1 :]])


def dropped(samples: Sequence[Sample], *numbers: int) -> list[Sample]:
    """Without these."""
    return [sample for number, sample in enumerate(samples) if number not in numbers]


def duplicated(samples: Sequence[Sample], number: int, *, by: int = 0) -> list[Sample]:
    """One message twice, the second `by` ns later."""
    sample = samples[number]
    again = replace(sample, log_time=sample.log_time + by, publish_time=sample.publish_time + by)
    return _ordered([*samples[: number + 1], again, *samples[number + 1 :]])


def inserted(samples: Sequence[Sample], number: int, data: bytes, *, by: int = 1_000_000) -> list[Sample]:
    """A message of other data, `by` ns after another one on its topic."""
    sample = samples[number]
    alien = replace(sample, log_time=sample.log_time + by, publish_time=sample.publish_time + by, data=data)
    return _ordered([*samples[: number + 1], alien, *samples[number + 1 :]])


def swapped(samples: Sequence[Sample], first: int, second: int) -> list[Sample]:
    """The data of two messages change places; their times stay."""
    changed = list(samples)
    changed[first] = replace(samples[first], data=samples[second].data)
    changed[second] = replace(samples[second], data=samples[first].data)
    return changed


def _ordered(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.log_time)


def flip(path: Path, offset: int, *, mask: int = 1) -> None:
    """Change one byte of a file where it lies."""
    with path.open("r+b") as file:
        file.seek(offset)
        (old,) = file.read(1)
        file.seek(offset)
        file.write(bytes([old ^ mask]))


def data_spans(path: Path, samples: Iterable[Sample]) -> list[range]:
    """Where the data of each message lies in an MCAP file that is not compressed and has the messages in this order."""
    content, place, found = path.read_bytes(), 0, []
    for sample in samples:
        place = content.index(sample.data, place)
        found.append(range(place, place + len(sample.data)))
        place += len(sample.data)
    return found


if __name__ == "__main__":  # a recording to look at: python tests/recordings.py FILE.mcap
    write_mcap(Path(sys.argv[1]), frames(300))
