"""The channels of an MCAP file's messages, with their schemas: what a message belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark.capture._mcap_records import ChannelRecord, Opcode, SchemaRecord
from platemark.errors import RecordingError, SegmentError
from platemark.segment import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from platemark.capture._mcap_facts import DataFacts
    from platemark.capture._mcap_summary import Summary
    from platemark.capture._message_rows import Faults

__all__ = ["Definitions"]


class Definitions:
    """Those of the data section, kept in `facts`; where damage took some along, those of the summary."""

    def __init__(
        self, path: str, facts: DataFacts, limit: int, faults: Faults, summary: Callable[[], Summary | None]
    ) -> None:
        self._path, self._facts, self._limit, self._faults, self._summary = path, facts, limit, faults, summary
        self._known: dict[int, tuple[Channel, bytes] | None] = {}
        self._size = 0

    def of(self, number: int) -> tuple[Channel, bytes] | None:
        """The channel with this number and the bytes of its schema, as at its first message; None: a fault says why."""
        try:
            return self._known[number]
        except KeyError:
            found = self._known[number] = self._resolve(number)
            return found

    def _missing(self, where: str, reason: str) -> None:
        self._facts.complete = False
        self._faults.note(where, reason)

    def add(self, opcode: int, body: bytes | memoryview) -> None:
        """Keep a schema or channel; a second one of its id must say the same. MalformedError, RecordingError."""
        record: SchemaRecord | ChannelRecord
        if opcode == Opcode.SCHEMA:
            record = schema = SchemaRecord.read(body)
            kept = self._facts.schemas.setdefault(schema.id, schema) is schema
            same = self._facts.schemas[schema.id] == schema
        else:
            record = channel = ChannelRecord.read(body)
            kept = self._facts.channels.setdefault(channel.id, channel) is channel
            same = self._facts.channels[channel.id] == channel
            if channel.schema_id and channel.schema_id not in self._facts.schemas and self._facts.complete:
                self._faults.note(f"channel {channel.id}", "it stands before its schema, where other readers stop")
        if not same:
            self._faults.note(f"{Opcode.NAMES[opcode]} {record.id}", "it is defined twice, differently")
        self._size += len(body) if kept else 0
        if self._size > self._limit:
            raise RecordingError(self._path, f"its schemas and channels are more than {self._limit} bytes")

    def _resolve(self, number: int) -> tuple[Channel, bytes] | None:
        """The channel of a message, and its schema; None with a fault: there is none that a statement could carry."""
        where = f"channel {number}"
        channel, schema = self._defined(number)
        if channel is None:
            self._missing(where, "its messages come before it is defined, and are not read")
            return None
        if channel.schema_id and schema is None:
            self._missing(
                f"{where}, topic {channel.topic[:80]}", "its schema is not defined; its messages are not read"
            )
            return None
        try:
            if schema is None:
                return Channel.of(channel.topic, encoding=channel.encoding), b""
            named = {"type_name": schema.name, "schema_encoding": schema.encoding, "schema": schema.data}
            return Channel.of(channel.topic, encoding=channel.encoding, **named), schema.data  # type: ignore[arg-type]
        except SegmentError as error:
            self._missing(where, f"{error}; its messages are not read")
            return None

    def _defined(self, number: int) -> tuple[ChannelRecord | None, SchemaRecord | None]:
        channel = self._facts.channels.get(number)
        schema = self._facts.schemas.get(channel.schema_id) if channel else None
        if channel and (schema or not channel.schema_id):
            return channel, schema
        if self._facts.complete:  # nothing was lost, so nothing may be missing
            return channel, None
        summary = self._summary()
        if summary is None:
            return channel, None
        channels, schemas = summary.definitions()
        channel = channel or channels.get(number)
        if channel is not None:
            schema = self._facts.schemas.get(channel.schema_id) or schemas.get(channel.schema_id)
        return channel, schema
