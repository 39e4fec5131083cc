"""One pass over the data section of an MCAP file: every message in the order of the file, and the facts about it.

Nothing is taken from the summary, so that what it says can be held against what is there. A length is compared with the file
before anything is read, and with a limit before anything is allocated. Damage is a fault, and reading goes on behind it as far
as records can still be told apart.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from platemark.capture._faults import MalformedError, NoCodecError
from platemark.capture._mcap_chunk import crc_fault, unpack_chunk
from platemark.capture._mcap_definitions import Definitions
from platemark.capture._mcap_facts import ChunkFacts, DataFacts, chunk_name
from platemark.capture._mcap_records import (
    HEAD,
    MAGIC,
    MESSAGE_HEAD,
    AttachmentFacts,
    ChunkRecord,
    Fields,
    Opcode,
)
from platemark.errors import DecoderMissingError, RecordingError
from platemark.schema import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from platemark.capture._mcap_summary import Summary
    from platemark.capture._message_rows import Faults
    from platemark.capture._recording_limits import RecordingLimits
    from platemark.segment import Channel

__all__ = ["DataSection", "Recorded"]

_SUMMARY_ONLY = {
    Opcode.CHUNK_INDEX,
    Opcode.ATTACHMENT_INDEX,
    Opcode.STATISTICS,
    Opcode.METADATA_INDEX,
    Opcode.SUMMARY_OFFSET,
}
_ATTACHMENT_HEAD = 1 << 16
_MAX_RECORD = 1 << 40


class Recorded(NamedTuple):
    """A message with its data as published, and its channel with the bytes of its schema."""

    channel: Channel
    schema: bytes
    log_time: int
    publish_time: int
    data: memoryview


class DataSection:
    """The data section of an open file. `reach(end)` says whether the file has bytes up to `end`, and may wait for them.

    `summary` gives the one that the footer points to, if it is sound: where to go on behind damage, and the channels and
    schemas that a damaged chunk took along.
    """

    def __init__(
        self,
        path: str,
        file: BinaryIO,
        reach: Callable[[int], bool],
        *,
        limits: RecordingLimits,
        faults: Faults,
        summary: Callable[[], Summary | None] = lambda: None,
    ) -> None:
        self.facts = DataFacts()
        self._path, self._file, self._reach, self._limits, self._faults = path, file, reach, limits, faults
        self._summary = summary
        self._definitions = Definitions(path, self.facts, limits.definition_bytes, faults, summary)
        self._chunk: ChunkFacts | None = None
        self._expanded = self._others = 0
        self._places: list[int] | None = None

    def records(self) -> Iterator[tuple[int, int, int]]:
        """Opcode, offset and length of the body of every record up to DataEnd or a footer, as far as they are whole.

        Raises RecordingError: it is not an MCAP file.
        """
        if not self._reach(len(MAGIC)) or self._read(0, len(MAGIC)) != MAGIC:
            raise RecordingError(self._path, "is not an MCAP file")
        at: int | None = len(MAGIC)
        while at is not None and self._reach(at + HEAD.size):
            opcode, length = HEAD.unpack(self._read(at, HEAD.size))
            where = f"{Opcode.NAMES[opcode] if opcode < 16 else 'record'} at byte {at}"
            if opcode == 0 or (at == len(MAGIC)) != (opcode == Opcode.HEADER):
                self._lost(where, "a header stands first, once, and no record has opcode 0: what follows is not read")
                at = self._resume(at)
                continue
            if length > _MAX_RECORD or not self._reach(
                at + HEAD.size + length
            ):  # whoever follows the file need not wait
                self._cut(where, opcode, at + HEAD.size)
                at = self._resume(at)
                continue
            yield opcode, at, length
            at += HEAD.size + length
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                self.facts.end = at if opcode == Opcode.DATA_END else 0
                return
        if at is not None:
            self._lost(f"byte {at}", "the recording was cut off: it has no end")

    def _resume(self, at: int) -> int | None:
        """Where the next chunk is, or the end of the data, by a sound summary: the record at `at` does not say how long it is."""
        if self._places is None:
            summary = self._summary()
            self._places = [] if summary is None else sorted(summary.places())
        following = bisect_right(self._places, at)
        return self._places[following] if following < len(self._places) else None

    def _cut(self, where: str, opcode: int, body: int) -> None:
        times = ""
        if opcode == Opcode.CHUNK and self._reach(body + 16):
            fields = Fields(self._read(body, 16))
            times = f", with messages of log times {fields.u64()} to {fields.u64()} ns"
        self._lost(where, f"the file ends before it does{times}")

    def _lost(self, where: str, reason: str) -> None:
        self.facts.complete = False
        self._faults.note(where, reason)

    def messages(self) -> Iterator[Recorded]:
        """Every message that can be read, in the order of the file. Raises RecordingError: past the limits; not MCAP."""
        for opcode, offset, length in self.records():
            if self._chunk is not None and not (opcode == Opcode.MESSAGE_INDEX and offset == self._chunk.end):
                self._chunk.settle(self._faults)
                self._chunk = None
            try:
                yield from self._record(opcode, offset, length)
            except MalformedError as error:
                self._lost(f"{Opcode.NAMES[opcode]} at byte {offset}", str(error))
        if self._chunk is not None:
            self._chunk.settle(self._faults)

    def _record(self, opcode: int, offset: int, length: int) -> Iterator[Recorded]:
        if opcode == Opcode.CHUNK:
            yield from self._open_chunk(offset, length)
        elif opcode == Opcode.MESSAGE:
            self.facts.outside += 1
            body = memoryview(self._body(offset, length, self._limits.message_bytes + MESSAGE_HEAD.size))
            yield from self._message(body, None, 0)
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            self._definitions.add(opcode, self._body(offset, length, self._limits.definition_bytes))
        elif opcode == Opcode.MESSAGE_INDEX:
            self._index(offset, length)
        elif opcode in (Opcode.ATTACHMENT, Opcode.METADATA):
            self._extra(opcode, offset, length)
        elif opcode in _SUMMARY_ONLY or opcode == Opcode.FOOTER:
            raise MalformedError("it stands where messages are, not behind the end of the data")
        elif opcode == Opcode.HEADER:
            fields = Fields(self._body(offset, length, 1 << 20))
            fields.text()
            fields.text()
            fields.end()
        elif opcode == Opcode.DATA_END and length != 4:
            raise MalformedError(f"it has {length} bytes, not 4")

    def _index(self, offset: int, length: int) -> None:
        if self._chunk is None:
            raise MalformedError("it does not follow a chunk")
        self._chunk.add_index(offset, self._body(offset, length, self._limits.chunk_bytes), self._faults)

    def _extra(self, opcode: int, offset: int, length: int) -> None:
        if len(self.facts.attachments) + len(self.facts.metadata) >= self._limits.records:
            raise RecordingError(self._path, f"more than {self._limits.records} attachments and metadata records")
        if opcode == Opcode.ATTACHMENT:
            self.facts.attachments.append(self.attachment(offset, length))
            return
        self.facts.metadata[offset] = (HEAD.size + length, self.metadata_name(offset, length))

    def attachment(self, offset: int, length: int) -> AttachmentFacts:
        """The attachment at `offset`, its data left where it is. MalformedError."""
        head = self._read(offset + HEAD.size, min(length, _ATTACHMENT_HEAD))
        return AttachmentFacts.read(head, offset, length)

    def metadata_name(self, offset: int, length: int) -> str:
        """The name of the metadata record at `offset`. MalformedError."""
        fields = Fields(self._body(offset, length, self._limits.definition_bytes))
        name = fields.text()
        fields.texts()
        fields.end()
        return name

    # --- chunks ---------------------------------------------------------------------------------------------------

    def _open_chunk(self, offset: int, length: int) -> Iterator[Recorded]:
        if len(self.facts.chunks) >= self._limits.chunks:
            raise RecordingError(self._path, f"more than {self._limits.chunks} chunks")
        record = ChunkRecord.read(self._body(offset, length, self._limits.chunk_bytes))
        facts = self._chunk = self.facts.chunks[offset] = ChunkFacts(offset, HEAD.size + length, record)
        where = chunk_name(offset)
        try:
            self._expand(min(record.uncompressed_size, self._limits.chunk_bytes), offset)
            data = unpack_chunk(record, self._limits.chunk_bytes)
        except NoCodecError as error:
            raise DecoderMissingError(self._path, str(error), extra=error.extra) from None
        except MalformedError as error:
            facts.whole = False
            self._lost(where, f"{error}; its messages, from {record.start} to {record.end}, are not read")
            return
        before = len(self._faults.found)
        try:
            yield from self._in_chunk(data, facts)
        except MalformedError as error:
            facts.whole = False
            self._lost(where, f"{error}; its messages behind that, up to {record.end}, are not read")
        if len(self._faults.found) == before and (damage := crc_fault(record.uncompressed_crc, data)):
            self._faults.note(where, damage)

    def _expand(self, size: int, offset: int) -> None:
        self._expanded += size
        if self._expanded > self._limits.expansion_bytes + self._limits.expansion_ratio * offset:
            raise RecordingError(self._path, f"its chunks decompress to more than {self._expanded - size} bytes")

    def _in_chunk(self, data: memoryview, facts: ChunkFacts) -> Iterator[Recorded]:
        at, end = 0, len(data)
        while at < end:
            if end - at < HEAD.size:
                raise MalformedError("it ends within a record")
            opcode, length = HEAD.unpack_from(data, at)
            body = at + HEAD.size
            if length > end - body:
                raise MalformedError(f"the record at its byte {at} goes past its end")
            if opcode == Opcode.MESSAGE:
                yield from self._message(data[body : body + length], facts, at)
                at = body + length
                continue
            self._others += 1
            if self._others > self._limits.chunk_records:
                reason = f"its chunks have more than {self._limits.chunk_records} records that are not messages"
                raise RecordingError(self._path, reason)
            if opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._definitions.add(opcode, data[body : body + length])
            elif opcode <= Opcode.DATA_END:
                raise MalformedError(f"there is a record within it that no chunk has ({Opcode.NAMES[opcode]})")
            at = body + length

    # --- messages ----------------------------------------------------------------------------

    def _message(self, body: memoryview, chunk: ChunkFacts | None, at: int) -> Iterator[Recorded]:
        if len(body) < MESSAGE_HEAD.size:
            raise MalformedError(f"a message of {len(body)} bytes has no data and no times")
        channel, _, log_time, publish_time = MESSAGE_HEAD.unpack_from(body)
        if chunk is not None:
            entries = chunk.messages.get(channel)
            if entries is None:
                entries = chunk.messages[channel] = array("Q")
            entries.append(log_time)
            entries.append(at)
            chunk.first = min(chunk.first, log_time)
            chunk.last = max(chunk.last, log_time)
        self.facts.count(channel, log_time)
        known = self._definitions.of(channel)
        if known is None:
            return
        if log_time > MAX_INTEGER or publish_time > MAX_INTEGER:
            self._lost(f"topic {known[0].topic}", "a message at a time above 2^63 - 1 is not read")
            return
        yield Recorded(known[0], known[1], log_time, publish_time, body[MESSAGE_HEAD.size :])

    # --- bytes ------------------------------------------------------------------------------------------------------

    def _body(self, offset: int, length: int, limit: int) -> bytes:
        if length > limit:
            raise MalformedError(f"its {length} bytes are above the limit of {limit}")
        return self._read(offset + HEAD.size, length)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            data = self._file.read(size)
        except OSError as error:
            raise RecordingError(self._path, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
        if len(data) != size:
            raise RecordingError(self._path, "became shorter while it was read")
        return data
