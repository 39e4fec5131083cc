"""Protobuf in, protobuf out: each RPC reads its request, asks the domain one question and writes the answer.

Nothing is decided here but whether a request says what ledger.proto lets it say. Errors are raised as the domain's own;
boundary.py turns them into statuses. Writes go to the sequencer, which has threads of its own; reads that search run in
`readers`, proofs at a place that the caller names (0.1 ms) on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from platemark import cbor, tlog_proof
from platemark import evidence as bundle
from platemark.checkpoint import parse
from platemark.kinds import KINDS
from platemark.rungs import RUNGS, SHA256, SHA512
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc
from platemark_ledger.anchor import Anchored
from platemark_ledger.appending import Appending, check_range, checkpoint_message, condition_messages
from platemark_ledger.board import Board, What
from platemark_ledger.errors import RequestError
from platemark_ledger.receipts import EvidenceMembers, Proven, Receipts, Record
from platemark_ledger.records import TimeProof
from platemark_ledger.sequencer import Sequencer
from platemark_ledger.status import CallError
from platemark_ledger.streaming import Streams

__all__ = ["SERVICE", "LedgerService", "Limits", "evidence_of"]

SERVICE = pb.DESCRIPTOR.services_by_name["Ledger"].full_name

_HASH = 32
_DIGEST_SIZES = {SHA256: 32, SHA512: 64}
# Statements that a listing asks the domain for at once.
_LIST_STEP = 256
# Statement bytes in one page of a lookup: well below the 4 MiB that a gRPC client of any language takes unless told otherwise,
# paths included. Messages of a listing are as large as `Receipts.listing` lets one step be, about 1 MiB.
_MESSAGE = 2 * 1024 * 1024
_WHATS = {
    pb.WHAT_UNSPECIFIED: What.LATEST,
    pb.WHAT_LATEST: What.LATEST,
    pb.WHAT_PUBLISHED: What.PUBLISHED,
    pb.WHAT_WITNESSED: What.WITNESSED,
}
_T = TypeVar("_T")
if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[Any, Any]
_Selector = pb.GetStatementRequest | pb.GetEvidenceRequest | pb.GetInclusionProofRequest


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one call may ask for, in statements; `list_time` in seconds of one stream.

    `max_waiting` calls may wait for witnesses at once, which leaves room for the others while there is no quorum.
    `stream_window` statements of one AppendStream may be unanswered, `stream_queue` of all of them wait for a commit.
    """

    max_batch: int
    max_page: int
    max_list: int
    list_time: float
    max_waiting: int
    stream_window: int
    stream_queue: int


class LedgerService(ledger_pb2_grpc.LedgerServicer):
    """platemark.v1.Ledger over a sequencer and receipts."""

    def __init__(
        self, sequencer: Sequencer, receipts: Receipts, board: Board, *, readers: Executor, limits: Limits
    ) -> None:
        self._receipts = receipts
        self._board = board
        self._readers = readers
        self._limits = limits
        self._appending = Appending(
            sequencer, receipts, board, read=self._read, max_batch=limits.max_batch, max_waiting=limits.max_waiting
        )
        self._streams = Streams(self._appending, window=limits.stream_window, room=limits.stream_queue)

    def register(self, server: grpc.aio.Server) -> None:
        """Let the server answer for this ledger."""
        ledger_pb2_grpc.add_LedgerServicer_to_server(self, server)

    async def Append(self, request: pb.AppendRequest, context: _Context) -> pb.AppendResponse:
        """Each statement with its own outcome."""
        return await self._appending.append(request, context)

    async def AppendStream(
        self, request_iterator: AsyncIterator[pb.AppendRequest], context: _Context
    ) -> AsyncIterator[pb.AppendResponse]:
        """One answer per request, in order."""
        async with aclosing(self._streams.answers(request_iterator, context)) as answers:
            async for each in answers:
                yield each

    async def Lookup(self, request: pb.LookupRequest, context: _Context) -> pb.LookupResponse:
        """One page of the statements that carry a digest."""
        rung, algorithm = _digest_of(request)
        page = await self._read(
            lambda: self._receipts.lookup(
                request.digest,
                rung=rung,
                algorithm=algorithm,
                start=request.from_index,
                limit=min(request.page_size or self._limits.max_page, self._limits.max_page),
            )
        )
        fitting = next(_messages(page.proven, lambda each: len(each.record.raw)))
        cut = len(fitting) < len(page.proven)
        return pb.LookupResponse(
            statements=[_proven(each) for each in fitting],
            next_index=page.proven[len(fitting)].record.index if cut else page.next,
            checkpoint=checkpoint_message(page.checkpoint),
        )

    async def GetEvidence(self, request: pb.GetEvidenceRequest, context: _Context) -> pb.GetEvidenceResponse:
        """The members of a bundle about one statement."""
        members = await self._read(lambda: self._receipts.evidence(self._index(request)))
        content = await self._read(lambda: evidence_of(members).members())
        return pb.GetEvidenceResponse(
            members=[pb.GetEvidenceResponse.Member(name=name, content=content[name]) for name in sorted(content)],
            checkpoint=checkpoint_message(members.checkpoint),
        )

    async def GetStatement(self, request: pb.GetStatementRequest, context: _Context) -> pb.GetStatementResponse:
        """One statement with its path."""
        if _selected(request) == "id":
            found = await self._read(lambda: self._receipts.by_id(request.id))
        else:
            found = self._receipts.statement(request.index)
        return pb.GetStatementResponse(statement=_proven(found.proven), checkpoint=checkpoint_message(found.checkpoint))

    async def ListStatements(
        self, request: pb.ListStatementsRequest, context: _Context
    ) -> AsyncIterator[pb.ListStatementsResponse]:
        """Statements in log order, in steps, under one checkpoint."""
        kid, issuer = _writer_of(request)
        if request.kind and request.kind not in KINDS:
            raise RequestError("kind", f"{request.kind[:40]!r} is none of {', '.join(KINDS)}")
        question = partial(
            self._receipts.listing,
            kind=request.kind or None,
            kid=kid,
            issuer=issuer,
            stated_from=request.stated_from if request.HasField("stated_from") else None,
            stated_until=request.stated_until if request.HasField("stated_until") else None,
        )
        left = min(request.limit or self._limits.max_list, self._limits.max_list)
        clock = asyncio.get_running_loop().time
        ends = clock() + self._limits.list_time
        below: Anchored | None = None
        following: int | None = request.from_index
        last = False
        while not last:
            listing = await self._read(partial(question, start=following, limit=min(left, _LIST_STEP), below=below))
            below, following = listing.checkpoint, listing.next
            left -= len(listing.records)
            last = following is None or left == 0 or clock() >= ends
            if listing.records or last:
                part = _part(listing.records, following if last else None, below)
                # A yield lasts until the transport has taken the message, which a slow reader decides. One step of at most
                # about 1 MiB is all that is kept meanwhile: of the records nothing, and the next step is not read yet.
                del listing
                yield part
                del part

    async def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, context: _Context
    ) -> pb.GetInclusionProofResponse:
        """The path of one entry."""
        index = (
            await self._read(lambda: self._receipts.index_of(request.id))
            if _selected(request) == "id"
            else request.index
        )
        proof = self._receipts.inclusion(index, size=request.size or None)
        return pb.GetInclusionProofResponse(
            index=proof.index,
            size=proof.size,
            entry=proof.entry,
            path=proof.path,
            checkpoint=checkpoint_message(proof.checkpoint),
        )

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: _Context
    ) -> pb.GetConsistencyProofResponse:
        """The path between two sizes."""
        check_range("old_size", request.old_size, least=1)
        proof = self._receipts.consistency(request.old_size, new_size=request.new_size or None)
        return pb.GetConsistencyProofResponse(
            old_size=proof.old_size,
            new_size=proof.new_size,
            path=proof.path,
            checkpoint=checkpoint_message(proof.checkpoint),
        )

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: _Context) -> pb.GetCheckpointResponse:
        """The newest checkpoint of the kind that is asked for."""
        return pb.GetCheckpointResponse(checkpoint=checkpoint_message(self._board.get(self._what_of(request.what))))

    async def WatchCheckpoints(
        self, request: pb.WatchCheckpointsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchCheckpointsResponse]:
        """Every newer checkpoint when it is there, until the time of a stream is over."""
        what = self._what_of(request.what)
        clock = asyncio.get_running_loop().time
        ends, size = clock() + self._limits.list_time, request.above_size
        while (found := await self._board.beyond(size, what, timeout=ends - clock())) is not None:
            yield pb.WatchCheckpointsResponse(checkpoint=checkpoint_message(found))
            size = found.size

    def _what_of(self, what: pb.What.ValueType) -> What:
        if what not in _WHATS:
            raise RequestError("what", f"{what} is not a value that this ledger knows")
        if _WHATS[what] is What.WITNESSED and not self._board.witnessed:
            raise CallError("no-witnesses", "this ledger has no witnesses, so nothing is witnessed")
        return _WHATS[what]

    def _index(self, request: _Selector) -> int:
        return self._receipts.index_of(request.id) if _selected(request) == "id" else request.index

    async def _read(self, question: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, question)


def _digest_of(request: pb.LookupRequest) -> tuple[str | None, int | None]:
    if request.rung and request.rung not in RUNGS:
        raise RequestError("rung", f"{request.rung[:40]!r} is none of {', '.join(RUNGS)}")
    if request.hash_algorithm and request.hash_algorithm not in _DIGEST_SIZES:
        raise RequestError(
            "hash_algorithm", f"{request.hash_algorithm} is neither {SHA256} (SHA-256) nor {SHA512} (SHA-512)"
        )
    sizes = [size for algorithm, size in _DIGEST_SIZES.items() if request.hash_algorithm in {0, algorithm}]
    if len(request.digest) not in sizes:
        raise RequestError("digest", f"{len(request.digest)} bytes, not {' or '.join(map(str, sizes))}")
    return request.rung or None, request.hash_algorithm or None


def _writer_of(request: pb.ListStatementsRequest) -> tuple[bytes | None, str | None]:
    which = request.WhichOneof("writer")
    if which == "kid":
        if len(request.kid) != _HASH:
            raise RequestError("kid", f"{len(request.kid)} bytes, not {_HASH}")
        return request.kid, None
    return None, request.device if which == "device" else None


def _selected(request: _Selector) -> str:
    which = request.WhichOneof("statement")
    if which is None:
        raise RequestError("statement", "neither index nor id")
    if which == "id" and len(request.id) != _HASH:
        raise RequestError("id", f"{len(request.id)} bytes, not {_HASH}")
    return which


def _messages(items: Sequence[_T], size: Callable[[_T], int]) -> Iterator[Sequence[_T]]:
    """The items in runs of at most _MESSAGE bytes, at least one item each; one empty run when there are none."""
    start = total = 0
    for position, item in enumerate(items):
        total += size(item)
        if total > _MESSAGE and position > start:
            yield items[start:position]
            start, total = position, size(item)
    yield items[start:]


def _part(records: Sequence[Record], next_index: int | None, checkpoint: Anchored) -> pb.ListStatementsResponse:
    return pb.ListStatementsResponse(
        statements=[_record(each) for each in records], next_index=next_index, checkpoint=checkpoint_message(checkpoint)
    )


def _proven(proven: Proven) -> pb.LoggedStatement:
    message = _record(proven.record)
    message.inclusion_path.extend(proven.path)
    return message


def _record(record: Record) -> pb.LoggedStatement:
    return pb.LoggedStatement(
        index=record.index,
        id=record.statement.id,
        statement=record.raw,
        conditions=condition_messages(record.conditions),
        received=record.received,
    )


def evidence_of(members: EvidenceMembers) -> bundle.Evidence:
    """The bundle that a verifier reads, with every statement and its proof under the one checkpoint."""
    signed = parse(members.checkpoint.note)

    def proven(each: Proven) -> bundle.Proven:
        proof = tlog_proof.TlogProof(each.record.index, each.path, signed)
        return bundle.Proven(each.record.raw, proof.to_bytes())

    stated, leaf = members.keystate, members.keystate_leaf
    return bundle.Evidence(
        record=proven(members.subject),
        enrolments=tuple(proven(each) for each in members.enrolments),
        policies=tuple(proven(each) for each in members.policies),
        revocation=tuple(proven(each) for each in members.revocation),
        conditions=tuple(each.code for each in members.subject.record.conditions),
        keystate=None if stated is None or leaf is None else bundle.Keystate(proven(stated), leaf.to_bytes()),
        receipts=members.receipts,
        stamped=None if members.time is None else _stamped(members.time, signed.checkpoint.size),
    )


def _stamped(time: TimeProof, size: int) -> bundle.Stamped:
    row = time.row
    path = cbor.encode([row.size, size, [*time.path]])
    stamps = tuple(
        bundle.Stamp(stamp.response, stamp.crls, renewals)
        for stamp, renewals in zip(row.stamps, time.renewals, strict=True)
    )
    # The log note alone: stamps are over it, and the witnesses of that time stand beside a later checkpoint too.
    return bundle.Stamped(row.log_note, path, stamps)
