"""The recording proof: every segment that a holder shows of one recording, in one file (proto/segments.md section 1).

`decode` accepts exactly what `to_bytes` writes and what the format allows; whether any of it is true is for
platemark.recording.judging. No input or output.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

from platemark import cbor, evidence, tlog_proof
from platemark.errors import EvidenceError, FormatError, SegmentError
from platemark.evidence import CONDITIONS, Evidence, Proven
from platemark.merkle import HASH_SIZE
from platemark.recording._reading import Reader
from platemark.recording.segments import ProvenSegment, ShownMessage, check_segment, decode_statement, show
from platemark.schema import MAX_INTEGER
from platemark.segment import MAX_COUNT, ROW_SIZE, Channel, unpack_rows

__all__ = ["MAX_PROOF", "MEDIA_TYPE", "ProvenSegment", "RecordingProof", "ShownMessage", "decode"]

MEDIA_TYPE = "application/vnd.platemark.recording+cbor"
MAX_PROOF = 1 << 30
"""Bytes of a recording proof (G1)."""
_MAX_SEGMENTS = 1 << 20
_MAX_SCHEMAS = 1 << 12
_MAX_PATH = 63
_MAX_TREE = 32
_MAX_ALONE = 1 << 16
_RECORDING = 16


@dataclass(frozen=True)
class RecordingProof:
    """A proof in its form: `evidence` is a bundle whose record is the segment of the greatest leaf; segments are ascending.

    `schemas` are data of schemas that channels name by their digest, for whoever compares another text of the same
    definition. Making one checks its form, and raises SegmentError naming the part and the rule that it breaks.
    """

    recording: bytes
    evidence: bytes
    segments: tuple[ProvenSegment, ...]
    schemas: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.segments) <= _MAX_SEGMENTS:
            raise SegmentError("segments", f"{len(self.segments)} segments, not 1 to {_MAX_SEGMENTS}")
        for number, each in enumerate(self.segments):
            check_segment(each, self.recording, f"segments[{number}]")
        if sum(len(each.shown) for each in self.segments if not isinstance(each.shown, bytes)) > _MAX_ALONE:
            raise SegmentError("segments", f"more than {_MAX_ALONE} messages that are shown alone")
        if any(one.place >= other.place for one, other in itertools.pairwise(self.segments)):
            raise SegmentError("segments", "not in ascending order of topic and number, each once")
        if any(one >= other for one, other in itertools.pairwise(self.schemas)):
            raise SegmentError("schemas", "not in ascending order, each once")
        self._check_record()

    @cached_property
    def held(self) -> Evidence:
        """The bundle. Raises SegmentError."""
        try:
            return evidence.from_bytes(self.evidence)
        except EvidenceError as error:
            raise SegmentError(f"evidence: {error.field}", error.reason) from None

    @cached_property
    def record(self) -> ProvenSegment:
        """The segment that is the bundle's record: that of the greatest leaf."""
        return max(self.segments, key=lambda each: each.index)

    def evidence_of(self, segment: ProvenSegment) -> Evidence:
        """An ordinary bundle of one segment: this one with another record, its proof and its conditions (G10)."""
        proof = replace(self._proof, index=segment.index, path=segment.path, extra=None)
        return replace(
            self.held,
            record=Proven(segment.statement, proof.to_bytes()),
            conditions=segment.conditions,
            disclosure=None,
            frames=None,
            receipts=(),
        )

    def single(self, topic: str, place: tuple[int, int], data: bytes | None = None) -> RecordingProof:
        """A proof of one message alone: `place` is the number of its segment and its place there. Raises SegmentError."""
        number, at = place
        segment = next((each for each in self.segments if each.place == (topic, number)), None)
        if segment is None:
            raise SegmentError("segments", f"no segment {number} of topic {topic!r}")
        shown = replace(show(segment, at), data=data)
        alone = replace(segment, shown=(shown,))
        schemas = tuple(each for each in self.schemas if Channel.of("x", schema=each).schema == segment.channel.schema)
        return RecordingProof(self.recording, self.evidence_of(segment).to_bytes(), (alone,), schemas)

    def find(self, topic: str, log_time: int) -> list[tuple[int, int]]:
        """Where the messages of a topic and log time are: (segment number, place in it), in order."""
        return [
            (segment.number, place)
            for segment in self.segments
            if segment.channel.topic == topic
            and cast("int", segment.said.payload["first"]) <= log_time <= cast("int", segment.said.payload["last"])
            for place, row in segment.rows()
            if row.log_time == log_time
        ]

    def to_bytes(self) -> bytes:
        """The file: the same content gives the same bytes."""
        return cbor.encode(
            {
                "v": 1,
                "recording": self.recording,
                "evidence": self.evidence,
                "schemas": list(self.schemas),
                "segments": [each.value() for each in self.segments],
            }
        )

    @cached_property
    def _proof(self) -> tlog_proof.TlogProof:
        try:
            return tlog_proof.parse(self.held.record.proof)
        except FormatError as error:
            raise SegmentError(f"evidence: {error.field}", error.reason) from None

    def _check_record(self) -> None:
        """G5: nothing in the bundle is about another record than the segments, and no two segments share a leaf."""
        if len({each.index for each in self.segments}) != len(self.segments):
            raise SegmentError("segments", "two segments have one log index")
        if any(each.said.kid != self.record.said.kid for each in self.segments):
            raise SegmentError("segments", "not all signed by one key")
        record = self.record
        if self.held.record.statement != record.statement:
            raise SegmentError("evidence", "its record is not the segment with the greatest log index")
        if (self._proof.index, self._proof.path) != (record.index, record.path):
            raise SegmentError("evidence", "it proves its record at another place than the segment says")


def decode(data: bytes) -> RecordingProof:
    """The proof in a file. Raises SegmentError naming the part and the rule that it breaks.

    Takes time and memory in proportion to `data`, whatever it holds.
    """
    if len(data) > MAX_PROOF:
        raise SegmentError("proof", f"{len(data)} bytes, more than {MAX_PROOF}")
    reader = Reader(bytes(data))
    reader.map("proof", size=5)
    reader.key("v")
    if reader.integer("v", most=MAX_INTEGER) != 1:
        raise SegmentError("v", "not 1: a later release may read it")
    reader.key("schemas")
    schemas = tuple(reader.blob(f"schemas[{n}]") for n in range(reader.array("schemas", least=0, most=_MAX_SCHEMAS)))
    reader.key("evidence")
    bundle = reader.blob("evidence")
    reader.key("segments")
    count = reader.array("segments", least=1, most=_MAX_SEGMENTS)
    segments: list[ProvenSegment] = []
    left = _MAX_ALONE
    for number in range(count):
        segments.append(_segment(reader, f"segments[{number}]", left))
        left -= 0 if segments[-1].whole else len(segments[-1].shown)
    reader.key("recording")
    recording = reader.blob("recording", size=_RECORDING)
    reader.end()
    return RecordingProof(recording, bundle, tuple(segments), schemas)


def _segment(reader: Reader, field: str, left: int) -> ProvenSegment:
    reader.array(field, least=6, most=6)
    raw = reader.blob(f"{field}.statement")
    said = decode_statement(raw, f"{field}.statement")
    index = reader.integer(f"{field}.index", most=MAX_INTEGER)
    path = _path(reader, f"{field}.path", _MAX_PATH)
    words = reader.array(f"{field}.conditions", least=0, most=len(CONDITIONS))
    conditions = tuple(reader.text(f"{field}.conditions[{number}]") for number in range(words))
    reader.array(f"{field}.channel", least=4, most=4)
    type_name, schema_encoding = reader.text(f"{field}.channel.type"), reader.text(f"{field}.channel.schema_encoding")
    schema, encoding = reader.blob(f"{field}.channel.schema", size=32), reader.text(f"{field}.channel.encoding")
    try:
        channel = Channel(cast("str", said.payload["topic"]), type_name, schema_encoding, schema, encoding)
    except SegmentError as error:
        raise SegmentError(f"{field}.channel.{error.field}", error.reason) from None
    made = ProvenSegment(raw, index, path, conditions, channel, _shown(reader, f"{field}.shown", left))
    vars(made)["said"] = said  # decoded once: a statement costs more than all else of its segment
    return made


def _shown(reader: Reader, field: str, left: int) -> bytes | tuple[ShownMessage, ...]:
    if reader.is_bytes():
        return reader.blob(field)
    count = reader.array(field, least=1, most=left)
    return tuple(_message(reader, f"{field}[{number}]") for number in range(count))


def _message(reader: Reader, field: str) -> ShownMessage:
    reader.array(field, least=4, most=4)
    place = reader.integer(f"{field}.place", most=MAX_COUNT - 1)
    packed = reader.blob(f"{field}.row", size=ROW_SIZE)
    try:
        (row,) = unpack_rows(packed)
    except SegmentError as error:
        raise SegmentError(f"{field}.row", error.reason) from None
    return ShownMessage(place, row, _path(reader, f"{field}.path", _MAX_TREE), reader.optional_blob(f"{field}.data"))


def _path(reader: Reader, field: str, most: int) -> tuple[bytes, ...]:
    count = reader.array(field, least=0, most=most)
    return tuple(reader.blob(f"{field}[{number}]", size=HASH_SIZE) for number in range(count))
