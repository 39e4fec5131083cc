"""One message of a recording: taken out as a picture with its proof, and a picture checked against the message."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from platemark import files
from platemark.cli.mcap_opening import open_recording
from platemark.cli.mcap_proofs import gathered
from platemark.errors import RecordingError, SegmentError
from platemark.recording.judging import judge
from platemark.recording.verdict import NOT_PROVEN
from platemark.report import format_time
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, EXIT_CODES, INCONCLUSIVE, MATCHES_RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from platemark.capture.mcap import McapSource
    from platemark.capture.rosbag import BagSource
    from platemark.recording.judging import Judged, JudgedSegment
    from platemark.recording.model import Message
    from platemark.recording.proof import RecordingProof
    from platemark.segment import Row
    from platemark.trust import Trust

__all__ = ["FrameVerdict", "Taken", "take", "verify_frame"]

_MAX_FILE = 1 << 30
_SUFFIXES = {"image/png": (".png",), "image/jpeg": (".jpg", ".jpeg")}
_PIXELS = "pixels"
_MOST_DRAWN = 16


@dataclass(frozen=True)
class Taken:
    """A message that was taken out of a recording: what was written, and the proof of this message alone."""

    message: Message
    content: bytes
    proof: RecordingProof
    stamp: int | None
    note: str


@dataclass(frozen=True)
class FrameVerdict:
    """Whether a file is a recorded message, or its picture. `as_` says how: message, picture or samples."""

    result: str
    reason: str
    at: int
    as_: str | None = None
    topic: str | None = None
    row: Row | None = None
    stamp: int | None = None
    facts: dict[str, object] | None = None

    @property
    def exit_code(self) -> int:
        """As that of `platemark verify`."""
        return EXIT_CODES[self.result]

    def to_json(self) -> dict[str, object]:
        """For --json."""
        message = None
        if self.row is not None:
            message = {
                "topic": self.topic,
                "log_time": self.row.log_time,
                "publish_time": self.row.publish_time,
                "stamp": self.stamp,
                "digest": self.row.digest,
                "as": self.as_,
            }
        return {
            "result": self.result,
            "exit_code": self.exit_code,
            "reason": self.reason,
            "at": self.at,
            "message": message,
            "facts": self.facts or {},
            "not_proven": list(NOT_PROVEN),
        }


def take(
    path: Path, topic: str, *, time: int | None, number: int | None, raw: bool, named: Sequence[Path] | None, out: Path
) -> Taken:
    """The message of `topic` nearest to a log time, or the one with this number (from 0), as it is to be written.

    Raises RecordingError: no such topic or message, no picture, no proof of it.
    """
    source = open_recording(path)
    message = _chosen(source, topic, time, number)
    data, schema = _data(source, message)
    proof = _with_schema(_proof(path, gathered(path, source.proofs, named), message, data), schema)
    stamp: int | None = None
    content, note = data, ""
    if not raw:
        from platemark.capture.ros_image import picture

        drawn = picture(message.channel, schema, data)
        if drawn.content is None:
            raise RecordingError(path, f"{drawn.refusal}; --raw writes the message itself")
        if out.suffix.lower() not in _SUFFIXES[drawn.media_type]:
            raise RecordingError(
                out, f"the frame is {drawn.media_type}: name it {' or '.join(_SUFFIXES[drawn.media_type])}"
            )
        content, stamp, note = drawn.content, drawn.stamp, drawn.note
    return Taken(message, content, proof, stamp, note)


def _chosen(source: McapSource | BagSource, topic: str, time: int | None, number: int | None) -> Message:
    best: Message | None = None
    count = 0
    topics = set()
    for message in source:
        topics.add(message.channel.topic)
        if message.channel.topic != topic:
            continue
        if number is not None:
            if count == number:
                return message
        elif time is not None and (best is None or abs(message.log_time - time) < abs(best.log_time - time)):
            best = message
        count += 1
    if best is not None:
        return best
    if not count:
        raise RecordingError(source.path, f"has no topic {topic}; it has {', '.join(sorted(topics)) or 'none'}")
    raise RecordingError(source.path, f"has {count} messages on {topic}, so none has the number {number}")


def _data(source: McapSource | BagSource, message: Message) -> tuple[bytes, bytes]:
    for each in source.recorded():
        same = each.channel == message.channel and each.log_time == message.log_time
        if same and hashlib.sha256(each.data).digest() == message.digest:
            return bytes(each.data), each.schema
    raise RecordingError(source.path, "changed while it was read")


def _proof(path: Path, proofs: list[RecordingProof], message: Message, data: bytes) -> RecordingProof:
    """That message alone, out of the first proof that has it."""
    topic = message.channel.topic
    for proof in proofs:
        for segment in proof.segments:
            if segment.channel.topic != topic:
                continue
            first, last = cast("int", segment.said.payload["first"]), cast("int", segment.said.payload["last"])
            if not first <= message.log_time <= last:
                continue
            for place, row in segment.rows():
                if (row.log_time, row.digest) == (message.log_time, message.digest):
                    return proof.single(topic, (segment.number, place), data)
    raise RecordingError(
        path, f"its proofs do not have the message on {topic} at {format_time(message.log_time)} as it is here"
    )


def _with_schema(proof: RecordingProof, schema: bytes) -> RecordingProof:
    """With the schema of its message, if the file has the recorded one: without it nobody draws the picture."""
    named = proof.segments[0].channel.schema
    if proof.schemas or not schema or hashlib.sha256(schema).digest() != named:
        return proof
    return replace(proof, schemas=(schema,))


def verify_frame(path: Path, named: Sequence[Path] | None, *, trust: Trust | None, at: int) -> FrameVerdict:
    """Judge a file that is no recording: is it a recorded message, or the picture of one? Raises FileError, SegmentError."""
    content = files.read(path, limit=_MAX_FILE)
    judged = [judge(proof, trust=trust, at=at) for proof in gathered(path, [], named)]
    best: FrameVerdict | None = None
    for proof, segment, row, how, stamp in _matches(path, content, judged):
        facts: dict[str, object] = dict(proof.record.facts)
        topic = segment.segment.channel.topic
        what = {
            "message": "this file is the message recorded",
            "picture": "this file is the picture of the message recorded",
            "samples": "this picture has exactly the samples of the message recorded",
        }[how]
        if segment.relied:
            reason = f"{what} on {topic} at {format_time(row.log_time)}"
            return FrameVerdict(MATCHES_RECORD, reason, at, how, topic, row, stamp, facts)
        result = EVIDENCE_INVALID if segment.invalid else INCONCLUSIVE
        best = best or FrameVerdict(result, segment.fault or "", at, how, topic, row, stamp, {})
    return best or _nothing(judged, at)


def _nothing(judged: list[Judged], at: int) -> FrameVerdict:
    """No shown message is this file."""
    segments = [each for proof in judged for each in proof.segments]
    for each in segments:
        if each.invalid:
            return FrameVerdict(EVIDENCE_INVALID, each.fault or "", at)
    for each in segments:
        if not each.relied:
            return FrameVerdict(INCONCLUSIVE, each.fault or "", at)
    if not any(isinstance(each.segment.shown, tuple) for each in segments):
        reason = "no recorded message has these data; a picture is checked with the evidence of its frame (mcap frame)"
        return FrameVerdict(DOES_NOT_MATCH, reason, at)
    return FrameVerdict(
        DOES_NOT_MATCH, "this file is not the recorded message that the evidence shows, nor its picture", at
    )


def _matches(
    path: Path, content: bytes, judged: list[Judged]
) -> Iterator[tuple[Judged, JudgedSegment, Row, str, int | None]]:
    from platemark.capture.ros_image import picture

    digest = hashlib.sha256(content).digest()
    samples = cache(lambda: _samples(path))
    drawn_before = 0
    for proof in judged:
        schemas = {hashlib.sha256(each).digest(): each for each in proof.proof.schemas}
        for segment in proof.segments:
            for _, row in segment.segment.rows():
                if row.digest == digest:
                    yield proof, segment, row, "message", None
            shown = segment.segment.shown
            for each in shown if isinstance(shown, tuple) else ():
                if each.data is None or hashlib.sha256(each.data).digest() != each.row.digest:
                    continue
                drawn_before += 1
                if drawn_before > _MOST_DRAWN:  # each may take a second and a gigabyte, and a proof may have 65536
                    reason = f"more than {_MOST_DRAWN} are shown with their data: use the proof of this frame alone"
                    raise SegmentError("messages", reason)
                channel = segment.segment.channel
                drawn = picture(channel, schemas.get(channel.schema, b""), each.data)
                how = None if drawn.content is None else _same(content, drawn.content, samples)
                if how is not None:
                    yield proof, segment, each.row, how, drawn.stamp


def _same(content: bytes, drawn: bytes, samples: Callable[[], object]) -> str | None:
    """How a picture file is the one that was drawn: byte for byte, or in every sample."""
    if content == drawn:
        return "picture"
    if samples() is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "drawn"
        again.write_bytes(drawn)
        return "samples" if _samples(again) == samples() else None


def _samples(path: Path) -> object:
    """The digest of the samples of a picture file, None where it has none."""
    from platemark.capture import measure
    from platemark.errors import CaptureError

    try:
        return measure(path, tolerant=True).digests.get(_PIXELS)
    except CaptureError:
        return None
