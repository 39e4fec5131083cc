"""From signed segments and a ledger to one recording proof (proto/segments.md).

Every segment has to be proven under one checkpoint, that of the evidence of the segment with the greatest log index. So the
ledger is asked three things: where the segments are, what it can show of the last one, and the paths of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from platemark import cose, tlog_proof
from platemark.evidence import CONDITIONS
from platemark.recording.proof import RecordingProof
from platemark.recording.segments import ProvenSegment

if TYPE_CHECKING:
    from platemark.robot.model import KeptSegment
    from platemark.rpc.sync import LedgerClient

__all__ = ["Located", "identity", "locate", "prove"]

_AT_ONCE = 8  # calls under way; more only queue in the ledger
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
Step = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Located:
    """Where a statement is in the log, and what the ledger noticed about it."""

    index: int
    conditions: tuple[str, ...]


def identity(segment: KeptSegment) -> bytes:
    """The id of its statement."""
    return cose.identify(segment.statement)


def locate(client: LedgerClient, segments: Sequence[KeptSegment], step: Step) -> dict[bytes, Located]:
    """Where these segments are, by statement id; those that the ledger does not know are left out. Raises RpcError."""
    from platemark.rpc import NotFoundError  # who has a client has it

    def look(segment: KeptSegment) -> Located | None:
        try:
            stored = client.statement(id=identity(segment)).statement
        except NotFoundError:
            return None
        return Located(stored.index, _ordered(condition.code for condition in stored.conditions))

    places = _side_by_side(look, segments, step)
    return {identity(each): place for each, place in zip(segments, places, strict=True) if place is not None}


def prove(
    client: LedgerClient,
    recording: bytes,
    segments: Sequence[KeptSegment],
    located: Mapping[bytes, Located],
    step: Step,
    *,
    schemas: Iterable[bytes] = (),
) -> RecordingProof:
    """The proof of these segments of one recording, at least one, each of which `located` has. Raises RpcError.

    `schemas`: data of schemas that the channels name, so that another text of the same definition can be compared.
    """
    places = [located[identity(each)] for each in segments]
    evidence = client.evidence(index=max(place.index for place in places)).content
    size = tlog_proof.parse(evidence.record.proof).checkpoint.checkpoint.size

    def path(place: Located) -> tuple[bytes, ...]:
        return client.inclusion_proof(index=place.index, size=size).path

    proven = [
        ProvenSegment(
            statement=each.statement,
            index=place.index,
            path=hashes,
            conditions=place.conditions,
            channel=each.segment.channel,
            shown=each.rows,
        )
        for each, place, hashes in zip(segments, places, _side_by_side(path, places, step), strict=True)
    ]
    proven.sort(key=lambda each: each.place)
    return RecordingProof(
        recording=recording, evidence=evidence.to_bytes(), segments=tuple(proven), schemas=tuple(sorted(set(schemas)))
    )


def _side_by_side(call: Callable[[_Given], _Made], items: Sequence[_Given], step: Step) -> list[_Made]:
    """The results in the order of the items; a few calls are under way at once."""
    made = []
    with ThreadPoolExecutor(min(_AT_ONCE, len(items) or 1), thread_name_prefix="ledger") as pool:
        try:
            for each in pool.map(call, items):
                made.append(each)
                step(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return made


def _ordered(codes: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the order of proto/statement.md section 6."""
    present = set(codes)
    return tuple(code for code in CONDITIONS if code in present)
