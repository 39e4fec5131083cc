"""One file, one meaning: where a reader that seeks would see other messages than one that goes through, there is a fault."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.records import Attachment, AttachmentIndex, Channel, Metadata, MetadataIndex, Schema, SummaryOffset

from mcap_bytes import CAMERA, RAW, SCHEMA, Draft, message, record, written
from platemark.capture.mcap import open_mcap
from platemark.errors import PlatemarkError

_OTHER = replace(CAMERA, topic="/other")
_HIDDEN = b"hidden" * 20


def _start() -> Draft:
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, RAW, message(10), message(20, channel=2)])
    draft.chunk([message(30), message(40)])
    return draft


def _hidden_in(opcode: int) -> bytes:
    """A chunk within another record, which the summary lists in the place of a real one."""
    draft = _start()
    inner = Draft()
    inner.content = bytearray()
    index = inner.chunk([message(30, _HIDDEN), message(40, _HIDDEN)], indexed=False)
    head = 9
    if opcode == 9:
        attachment = written(Attachment(0, 0, "a", "b", bytes(inner.content)))
        head = attachment.index(bytes(inner.content))
        offset = draft.add(attachment)
    else:
        offset = draft.add(record(opcode, bytes(inner.content)))
    draft.indexes[1] = replace(index, chunk_start_offset=offset + head)
    return draft.finish()


def _behind_the_end() -> bytes:
    """A second end of the file with a summary of its own."""
    first = _start().finish()
    second = Draft()
    second.content = bytearray(first)
    second.chunk([message(30, _HIDDEN)])
    return second.finish()


def _summary(*extra: object, without: Callable[[object], bool] = lambda _: False) -> bytes:
    draft = _start()
    records = (SCHEMA, CAMERA, RAW, *draft.indexes, draft.statistics(), *extra)
    return draft.finish([each for each in records if not without(each)])


def _index(number: int = 1, **changes: object) -> bytes:
    draft = _start()
    draft.indexes[number] = replace(draft.indexes[number], **changes)  # type: ignore[arg-type]
    return draft.finish()


def _statistics(**changes: object) -> bytes:
    draft = _start()
    return draft.finish([SCHEMA, CAMERA, RAW, *draft.indexes, draft.statistics(**changes)])


def _chunk(*values: object, **options: object) -> bytes:
    draft = _start()
    draft.chunk(values, **options)  # type: ignore[arg-type]
    return draft.finish()


def _data(*values: object) -> bytes:
    draft = _start()
    draft.add(*values)
    return draft.finish()


def _wrong_summary_start(delta: int) -> bytes:
    draft = _start()
    draft.add(record(0x80, written(SCHEMA) + written(CAMERA)))
    return draft.finish(start=draft.at + 13 + delta)


def _two_summaries() -> bytes:
    """The footer points into a private record that holds another summary; the right one stands where it should."""
    draft = _start()
    wrong = b"".join(map(written, (SCHEMA, _OTHER, RAW, *draft.indexes)))
    offset = draft.add(record(0x80, wrong))
    return draft.finish(start=offset + 9)


_BOMB = zstandard.compress(bytes(64 << 20))
_NO_SIZE = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20))
_LZ4_BOMB = lz4.frame.compress(bytes(64 << 20))

_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "chunk hidden in a private record": (lambda: _hidden_in(0x80), "meets no chunk"),
    "chunk hidden in an attachment": (lambda: _hidden_in(9), "meets no chunk"),
    "second end of the file": (_behind_the_end, "footer"),
    "bytes behind the end": (lambda: _start().finish(after=b"x"), "does not end with"),
    "whole file behind the end": (lambda: _start().finish(after=_start().finish()), "summary: "),
    "chunk without index": (lambda: _summary(without=lambda one: one == _start().indexes[1]), "not the chunk"),
    "chunk indexed twice": (lambda: _summary(_start().indexes[0]), "twice"),
    "index with another length": (lambda: _index(chunk_length=80), "says something else"),
    "index with later times": (lambda: _index(message_start_time=35), "says something else"),
    "index with earlier times": (lambda: _index(message_end_time=35), "says something else"),
    "index with other compression": (lambda: _index(compression="lz4"), "says something else"),
    "index with another size": (lambda: _index(uncompressed_size=31), "says something else"),
    "index without a channel": (lambda: _index(0, message_index_offsets={1: 1}), "says something else"),
    "index with another message index": (lambda: _index(message_index_offsets={1: 9}), "says something else"),
    "times in chunk and index": (lambda: _chunk(message(50), message_end_time=45), "outside the times"),
    "message outside chunks": (lambda: _data(message(50)), "1 messages lie outside"),
    "message index without a message": (
        lambda: _chunk(message(50), message(60), index=lambda all_: [replace(all_[0], records=all_[0].records[:1])]),
        "does not name the messages",
    ),
    "message index that points elsewhere": (
        lambda: _chunk(message(50), index=lambda all_: [replace(all_[0], records=[(50, 7)])]),
        "does not name the messages",
    ),
    "message index with another time": (
        lambda: _chunk(message(50), index=lambda all_: [replace(all_[0], records=[(51, 0)])]),
        "does not name the messages",
    ),
    "message index twice": (lambda: _chunk(message(50), index=lambda all_: all_ * 2), "two of them"),
    "message index for one channel of two": (
        lambda: _chunk(message(50), message(60, channel=2), index=lambda all_: all_[:1]),
        "none for channel 2",
    ),
    "message index for some chunks": (lambda: _chunk(message(50), indexed=False), "has no message index"),
    "message index on its own": (lambda: _data(record(0x80, b""), record(7, bytes(6))), "does not follow a chunk"),
    "channel redefined": (lambda: _chunk(_OTHER, message(50)), "defined twice, differently"),
    "channel redefined outside": (lambda: _data(_OTHER), "defined twice, differently"),
    "schema redefined": (lambda: _chunk(replace(SCHEMA, data=b"int8 x"), message(50)), "defined twice, differently"),
    "channel redefined in the summary": (lambda: _summary(_OTHER), "another one there"),
    "schema redefined in the summary": (lambda: _summary(replace(SCHEMA, name="a/msg/B")), "another one there"),
    "channel left out of the summary": (lambda: _summary(without=lambda one: one is RAW), "not channel 2"),
    "schema left out of the summary": (
        lambda: _summary(Schema(7, b"", "", "x"), without=lambda one: one is SCHEMA),
        "not schema 1",
    ),
    "fewer messages counted": (lambda: _statistics(message_count=3), "counts 3 messages"),
    "other channels counted": (lambda: _statistics(channel_message_counts={1: 4}), "counts 4 messages"),
    "fewer chunks counted": (lambda: _statistics(chunk_count=1), "counts 1 chunks"),
    "times in the statistics": (lambda: _statistics(message_end_time=30), "there are others"),
    "statistics twice": (lambda: _summary(_start().statistics()), "statistics twice"),
    "summary in a private record": (_two_summaries, "the footer says"),
    "summary before its start": (lambda: _wrong_summary_start(9), "the footer says"),
    "summary that the footer denies": (lambda: _start().finish(start=0), "the footer says"),
    "message in the summary": (lambda: _summary(message(50)), "only the data section has"),
    "chunk in the summary": (lambda: _summary(record(6, bytes(40))), "only the data section has"),
    "summary record in the data": (lambda: _data(_start().indexes[0]), "stands where messages are"),
    "footer in the data": (lambda: _data(record(2, bytes(20))), "stands where messages are"),
    "header twice": (lambda: _data(record(1, bytes(8))), "a header stands first"),
    "opcode 0": (lambda: _data(record(0, b"")), "no record has opcode 0"),
    "offset that points elsewhere": (lambda: _summary(SummaryOffset(8, 300, 20)), "points elsewhere"),
    "offset of nothing": (lambda: _summary(SummaryOffset(8, 300, 0)), "points elsewhere"),
    "attachment that is not there": (lambda: _summary(AttachmentIndex(50, 20, 0, 0, 1, "a", "b")), "attachment index"),
    "metadata that is not there": (lambda: _summary(MetadataIndex(50, 20, "a")), "metadata index"),
    "bytes behind a channel's fields": (
        lambda: _chunk(record(4, written(replace(CAMERA, id=9))[9:] + b"\5" + bytes(20)), message(50)),
        "follow its last field",
    ),
    "bytes behind a chunk's fields": (lambda: _data(record(6, bytes(40) + b"more")), "follow its last field"),
    "record within a chunk that goes on": (lambda: _chunk(record(5, bytes(30), length=31)), "goes past its end"),
    "chunk within a chunk": (lambda: _chunk(record(6, bytes(40))), "that no chunk has"),
    "half a record in a chunk": (lambda: _chunk(b"\5\0\0"), "ends within a record"),
    "message without times": (lambda: _chunk(record(5, bytes(21))), "no times"),
    "message of an unknown channel": (lambda: _chunk(message(50, channel=77)), "before it is defined"),
    "channel of an unknown schema": (
        lambda: _chunk(Channel(9, "/x", "cdr", {}, 5), message(50, channel=9)),
        "schema is not defined",
    ),
    "topic that no statement carries": (
        lambda: _chunk(Channel(9, "/" * 300, "cdr", {}, 0), message(50, channel=9)),
        "300 bytes of text",
    ),
    "text that is not UTF-8": (
        lambda: _data(record(4, struct.pack("<HHI", 9, 0, 1) + b"\xff" + bytes(8))),
        "not UTF-8",
    ),
    "text past its record": (
        lambda: _data(record(4, struct.pack("<HHI", 9, 0, 1 << 31))),
        "past the end of its record",
    ),
    "time past 2^63": (lambda: _chunk(message(1 << 63)), "above 2^63 - 1"),
    "record of 2^63 bytes": (lambda: _data(record(5, b"", length=1 << 63)), "file ends before"),
    "attachment longer than its record": (
        lambda: _data(record(9, struct.pack("<QQIIQ", 0, 0, 0, 0, 1 << 60) + bytes(4))),
        "does not end with the record",
    ),
    "no compression that MCAP has": (
        lambda: _chunk(message(50), compression="", data=None, uncompressed_size=5),
        "announces 5",
    ),
    "zstd bomb": (lambda: _chunk(compression="zstd", data=_BOMB, uncompressed_size=100), "announces"),
    "zstd bomb without a size": (
        lambda: _chunk(compression="zstd", data=_NO_SIZE, uncompressed_size=100),
        "not decompress",
    ),
    "zstd bomb of nothing": (
        lambda: _chunk(compression="zstd", data=_NO_SIZE, uncompressed_size=0),
        "more than the nothing",
    ),
    "lz4 bomb": (lambda: _chunk(compression="lz4", data=_LZ4_BOMB, uncompressed_size=100), "more than the 100"),
    "chunk of 2^63 bytes": (lambda: _chunk(compression="lz4", data=_LZ4_BOMB, uncompressed_size=1 << 62), "announces"),
    "two zstd frames": (
        lambda: _chunk(
            compression="zstd", data=zstandard.compress(b"a") + zstandard.compress(b"b"), uncompressed_size=1
        ),
        "not decompress",
    ),
    "bytes behind an lz4 frame": (
        lambda: _chunk(compression="lz4", data=lz4.frame.compress(b"a") + b"x", uncompressed_size=1),
        "follow its lz4 frame",
    ),
}


@pytest.mark.parametrize("name", _FILES)
def test_hostile(name: str, tmp_path: Path) -> None:
    """Each is told apart by its fault, and the four messages that every reader sees are still given."""
    make, reason = _FILES[name]
    path = tmp_path / "hostile.mcap"
    path.write_bytes(make())
    try:
        source = open_mcap(path)
        times = [one.log_time for one in source if one.log_time < 50]
        reasons = [f"{fault.where}: {fault.reason}" for fault in source.faults]
    except PlatemarkError as error:
        times, reasons = [10, 20, 30, 40], [str(error)]
    assert any(reason in each for each in reasons), reasons
    assert times == [10, 20, 30, 40]


def test_sound(tmp_path: Path) -> None:
    """The file that the others are made of, with attachments and metadata that are indexed, has no fault."""
    draft = _start()
    attached, noted = Attachment(3, 4, "a", "b", b"data"), Metadata("n", {"k": "v"})
    offset, place = draft.add(attached), draft.add(noted)
    indexes = (
        AttachmentIndex(offset, len(written(attached)), 4, 3, 4, "a", "b"),
        MetadataIndex(place, len(written(noted)), "n"),
    )
    path = tmp_path / "a.mcap"
    path.write_bytes(draft.finish([SCHEMA, CAMERA, RAW, *draft.indexes, *indexes, draft.statistics()]))
    source = open_mcap(path)
    assert [one.log_time for one in source] == [10, 20, 30, 40]
    assert source.faults == []
