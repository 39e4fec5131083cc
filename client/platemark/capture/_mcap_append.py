"""A copy of an MCAP file with attachments and metadata records added behind its data.

Every byte of the data section up to its DataEnd record is copied as it is; only what follows is written anew, by mcap's own
record writers: the added records, DataEnd, the summary with its counts, indexes and offsets, the footer. CRCs are written
where the file had them.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files
from platemark.capture._faults import MalformedError
from platemark.capture._mcap_data import DataSection
from platemark.capture._mcap_records import HEAD, MAGIC, AttachmentFacts, Opcode, StatisticsRecord
from platemark.capture._mcap_summary import Summary
from platemark.capture._message_rows import Faults
from platemark.capture._recording_limits import RecordingLimits
from platemark.capture._source import CHUNK, open_regular, require_unchanged
from platemark.errors import DecoderMissingError, RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, BinaryIO

__all__ = ["append_records"]

_DATA_END_SIZE = HEAD.size + 4


def append_records(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    attachments: Iterable[tuple[str, str, bytes]] = (),
    metadata: Iterable[tuple[str, Mapping[str, str]]] = (),
    limits: RecordingLimits | None = None,
) -> None:
    """Write `source` with these records added to `target`, which may be the same path and is whole or not there.

    `attachments`: name, media type, data; `metadata`: name, texts. The times of both are 0, which MCAP has for unknown.
    Raises RecordingError: a file that is not understood to its last byte (cut off, a summary in another place or with records
    that nobody knows, an index that points elsewhere), or that changed meanwhile; FileError: `target` cannot be written.
    """
    path, bounds = os.fspath(source), limits or RecordingLimits()
    try:
        import mcap.records  # noqa: F401
    except ModuleNotFoundError:
        reason = 'adding records needs mcap: pip install "platemark[robot]"'
        raise DecoderMissingError(path, reason, extra="robot") from None
    file, before = open_regular(path)
    with file:
        try:
            old = _Old(path, file, before.st_size, bounds)
            added = _Added(old, list(attachments), list(metadata))
            end = added.end()
        except MalformedError as error:
            raise RecordingError(path, f"records cannot be added to it: {error}") from None

        def pieces() -> Iterator[bytes | memoryview]:
            yield from _copy(path, file, old.data_end)
            yield from added.records()
            yield end
            require_unchanged(path, file, before)  # before what was copied takes its place

        files.replace(Path(target), pieces(), mode=before.st_mode & 0o777)  # type: ignore[arg-type]


class _Old:
    """The file as it is: everything but the content of chunks, messages and definitions. RecordingError, MalformedError."""

    def __init__(self, path: str, file: BinaryIO, size: int, limits: RecordingLimits) -> None:
        faults = Faults(1)
        section = DataSection(path, file, lambda end: end <= size, limits=limits, faults=faults)
        self.attachments: list[AttachmentFacts] = []
        self.metadata: list[tuple[int, int, str]] = []
        for opcode, offset, length in section.records():
            if opcode == Opcode.ATTACHMENT:
                self.attachments.append(section.attachment(offset, length))
            elif opcode == Opcode.METADATA:
                self.metadata.append((offset, HEAD.size + length, section.metadata_name(offset, length)))
        if faults.found:
            raise MalformedError(f"{faults.found[0].where}: {faults.found[0].reason}")
        if not section.facts.end:
            raise MalformedError("its data section has no end")
        if size - section.facts.end > limits.summary_bytes:
            raise MalformedError(f"its summary is larger than {limits.summary_bytes} bytes")
        self.data_end = section.facts.end - _DATA_END_SIZE
        file.seek(self.data_end)
        record = file.read(_DATA_END_SIZE)
        if record[: HEAD.size] != HEAD.pack(Opcode.DATA_END, 4):
            raise MalformedError("its DataEnd record has another size")
        self.crc = int.from_bytes(record[HEAD.size :], "little")
        self.summary = Summary.read(file.read(size - section.facts.end), section.facts.end)


class _Added:
    """What comes behind the copied bytes."""

    def __init__(
        self,
        old: _Old,
        attachments: list[tuple[str, str, bytes]],
        metadata: list[tuple[str, Mapping[str, str]]],
    ) -> None:
        self._old = old
        self._parts: list[bytes] = []
        self._attached, self._noted = list(old.attachments), list(old.metadata)
        at = old.data_end
        for name, media_type, data in attachments:
            head = _attachment_head(name, media_type, len(data))
            parts = [head, data, struct.pack("<I", zlib.crc32(data, zlib.crc32(head[HEAD.size :])))]
            length = sum(map(len, parts))
            self._attached.append(AttachmentFacts(at, length, 0, 0, len(data), name, media_type, at + len(head)))
            self._parts += parts
            at += length
        for name, texts in metadata:
            record = _metadata(name, texts)
            self._noted.append((at, len(record), name))
            self._parts.append(record)
            at += len(record)
        self._at = at

    def records(self) -> Iterator[bytes]:
        """The added records, end to end."""
        yield from self._parts

    def end(self) -> bytes:
        """DataEnd, summary, footer. MalformedError: the summary is not understood."""
        from mcap.records import DataEnd

        crc = self._old.crc
        for part in self._parts if crc else ():
            crc = zlib.crc32(part, crc)
        data_end = _written(DataEnd(crc))
        start = self._at + len(data_end)
        return data_end + (self._summary(start) if self._old.summary.records else self._footer(0, 0, b""))

    def _summary(self, start: int) -> bytes:
        """The groups in the order of the old summary, then those that it did not have, then their offsets."""
        from mcap.records import SummaryOffset

        groups = self._groups()
        body, offsets = bytearray(), bytearray()
        for opcode, records in groups.items():
            place, content = start + len(body), b"".join(records)
            body += content
            offsets += _written(SummaryOffset(opcode, place, len(content)))
        if not self._old.summary.footer.offsets_start:
            return self._footer(start, 0, bytes(body))
        return self._footer(start, start + len(body), bytes(body + offsets))

    def _groups(self) -> dict[int, list[bytes]]:
        from mcap.records import AttachmentIndex, MetadataIndex

        groups: dict[int, list[bytes]] = {}
        for opcode, offset, body in self._old.summary.records:
            if opcode > Opcode.DATA_END:
                raise MalformedError(f"its summary has a record of unknown kind {opcode} at byte {offset}")
            if opcode == Opcode.STATISTICS:
                groups[opcode] = [self._statistics(body)]
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.CHUNK_INDEX):
                groups.setdefault(opcode, []).append(HEAD.pack(opcode, len(body)) + bytes(body))
            elif opcode in (Opcode.ATTACHMENT_INDEX, Opcode.METADATA_INDEX):
                groups.setdefault(opcode, [])
            elif opcode != Opcode.SUMMARY_OFFSET:
                raise MalformedError(f"its summary has a record at byte {offset} that belongs to the data")
        # All of them are named, also those that were not: a reader that goes by the index sees what the file has.
        groups[Opcode.ATTACHMENT_INDEX] = [
            _written(AttachmentIndex(each.offset, each.length, *each[2:7])) for each in self._attached
        ]
        groups[Opcode.METADATA_INDEX] = [_written(MetadataIndex(*each)) for each in self._noted]
        return {opcode: records for opcode, records in groups.items() if records}

    def _statistics(self, body: memoryview) -> bytes:
        from mcap.records import Statistics

        old = StatisticsRecord.read(body)
        return _written(
            Statistics(
                attachment_count=len(self._attached),
                channel_count=old.channel_count,
                channel_message_counts=old.channel_message_counts,
                chunk_count=old.chunk_count,
                message_count=old.message_count,
                message_end_time=old.end,
                message_start_time=old.start,
                metadata_count=len(self._noted),
                schema_count=old.schema_count,
            )
        )

    def _footer(self, start: int, offsets_start: int, body: bytes) -> bytes:
        from mcap.records import Footer

        crc = 0
        if self._old.summary.footer.crc:
            head = HEAD.pack(Opcode.FOOTER, 20) + struct.pack("<QQ", start, offsets_start)
            crc = zlib.crc32(head, zlib.crc32(body))
        return body + _written(Footer(start, offsets_start, crc)) + MAGIC


def _attachment_head(name: str, media_type: str, size: int) -> bytes:
    """An attachment record up to its data, which mcap's own writer would copy three times."""
    texts = [text.encode() for text in (name, media_type)]
    fields = struct.pack("<QQ", 0, 0) + b"".join(struct.pack("<I", len(text)) + text for text in texts)
    fields += struct.pack("<Q", size)
    return HEAD.pack(Opcode.ATTACHMENT, len(fields) + size + 4) + fields


def _metadata(name: str, texts: Mapping[str, str]) -> bytes:
    from mcap.records import Metadata

    return _written(Metadata(name, dict(texts)))


def _written(record: Any) -> bytes:
    from mcap.data_stream import RecordBuilder

    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())  # type: ignore[no-untyped-call]


def _copy(path: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    file.seek(0)
    left = size
    while left:
        piece = file.read(min(CHUNK, left))
        if not piece:
            raise RecordingError(path, "became shorter while it was read")
        left -= len(piece)
        yield piece
