"""The asyncio client of a ledger."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from weakref import WeakSet

import grpc

from platemark.rpc import faults, model, replies, streaming
from platemark.rpc.channel import open_channel
from platemark.rpc.errors import BadReplyError
from platemark.rpc.retry import Retry
from platemark.rpc.trusted import Trusted
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    from platemark.checkpoint import Checkpoint, SignedCheckpoint
    from platemark.rpc.channel import Tls

__all__ = ["LedgerClient"]

_WAITS = {model.Wait.LOGGED: pb.WAIT_LOGGED, model.Wait.WITNESSED: pb.WAIT_WITNESSED}
_WHATS = {
    model.What.LATEST: pb.WHAT_LATEST,
    model.What.PUBLISHED: pb.WHAT_PUBLISHED,
    model.What.WITNESSED: pb.WHAT_WITNESSED,
}
_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Reply_co = TypeVar("_Reply_co", covariant=True)
_Selecting = TypeVar("_Selecting", pb.GetEvidenceRequest, pb.GetStatementRequest, pb.GetInclusionProofRequest)


class _Method(Protocol[_Request_contra, _Reply_co]):
    """One RPC of the stub that answers once."""

    def __call__(self, request: _Request_contra, /, *, timeout: float) -> Awaitable[_Reply_co]: ...


class LedgerClient:
    """Talks to one ledger, believes nothing it cannot check, and calls again when that can help.

    Made inside a running event loop, used there, closed by `close` or `async with`. Calls may run side by side.

    Every reply is verified before it is returned: paths against the checkpoint, ids against statements, the checkpoint's
    signature and origin against `trusted`. Two checkpoints of one size with different roots, in the lifetime of one
    client, raise BadReplyError: a log that says both is broken or lies.

    A call is repeated after UnavailableError and DeadlineError, as `retry` says and within `timeout` seconds in all, each
    attempt getting at most `attempt_timeout`. That is safe for every RPC, appends included, because a ledger gives one
    statement one index. Errors: platemark.rpc.errors.
    """

    def __init__(
        self,
        target: str,
        *,
        trusted: Trusted | None = None,
        tls: Tls | None = None,
        timeout: float = 30.0,
        attempt_timeout: float = 10.0,
        retry: Retry | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._target = target
        self._channel = open_channel(target, tls)
        self._stub = ledger_pb2_grpc.LedgerStub(self._channel)
        self._trusted = trusted or Trusted()
        self._timeout = timeout
        self._attempt_timeout = attempt_timeout
        self._retry = retry or Retry()
        self._sleep = sleep
        self._draw = draw
        # The newest checkpoint seen, for the check of two roots; owned by the event loop.
        self._newest: Checkpoint | None = None
        self._streams: WeakSet[streaming.AppendStream] = WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends calls under way and gives back the connection."""
        for stream in list(self._streams):
            await stream.close()
        await self._channel.close()

    async def append(
        self, statements: Sequence[bytes], *, wait: model.Wait = model.Wait.LOGGED, timeout: float | None = None
    ) -> model.Appended:
        """Append signed statements, at least one. Each has its own outcome; a refused one is no exception.

        When this returns, every logged statement is on the ledger's disk and proven against the checkpoint, which with
        `wait=WITNESSED` a quorum of witnesses has cosigned: the ledger's own quorum, and that of `trusted` if it has one. When it
        raises UnavailableError or DeadlineError, nothing is known; appending the same bytes again is safe, and waits again.
        """
        sent = tuple(statements)
        request = pb.AppendRequest(statements=sent, wait=_WAITS[wait])
        return self.verified(await self._call(self._stub.Append, request, timeout), sent, wait)

    def open_append_stream(
        self, *, wait: model.Wait = model.Wait.LOGGED, timeout: float = streaming.TIMEOUT
    ) -> streaming.AppendStream:
        """A stream of appends for whoever sends and receives by itself. `timeout`: seconds without an answer."""
        stream = streaming.AppendStream(self, wait=wait, request_wait=_WAITS[wait], timeout=timeout)
        self._streams.add(stream)
        return stream

    async def append_stream(
        self,
        batches: AsyncIterable[Sequence[bytes]] | Iterable[Sequence[bytes]],
        *,
        wait: model.Wait = model.Wait.LOGGED,
        ahead: int = streaming.AHEAD,
        timeout: float = streaming.TIMEOUT,
    ) -> AsyncGenerator[model.Appended, None]:
        """As `append` for batch after batch, each with its answer, in order, with up to `ahead` batches on their way.

        The next batch is drawn when there is room for it; drawing may block or wait. A stream that the ledger ends, or that
        breaks, is opened anew and what is unanswered sent again. When this raises, nothing is known of the batches that have
        no answer; appending them again is safe. UnsupportedError: the ledger is of an earlier release; use `append`.
        """
        async with (
            self.open_append_stream(wait=wait, timeout=timeout) as stream,
            aclosing(streaming.appends(stream, batches, ahead)) as answers,
        ):
            async for appended in answers:
                yield appended

    async def lookup(
        self,
        digest: bytes,
        *,
        rung: str | None = None,
        hash_algorithm: int | None = None,
        from_index: int = 0,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> model.Page:
        """One page of the statements that carry a digest, earliest first. No match is an empty page.

        `rung` and `hash_algorithm` (COSE: -16, -44) narrow the search. `page_size` 0: as many as the ledger gives.
        """
        request = pb.LookupRequest(
            digest=digest,
            rung=rung or "",
            hash_algorithm=hash_algorithm or 0,
            from_index=from_index,
            page_size=page_size,
        )
        reply = await self._call(self._stub.Lookup, request, timeout)
        return replies.page(reply, self._open(reply.checkpoint), from_index=from_index)

    async def lookup_all(
        self, digest: bytes, *, rung: str | None = None, hash_algorithm: int | None = None
    ) -> AsyncGenerator[model.LoggedStatement, None]:
        """Every statement that carries a digest, earliest first, page by page; each page has its own timeout."""
        following: int | None = 0
        while following is not None:
            found = await self.lookup(digest, rung=rung, hash_algorithm=hash_algorithm, from_index=following)
            for statement in found.statements:
                yield statement
            following = found.next_index

    async def evidence(
        self, *, index: int | None = None, id: bytes | None = None, timeout: float | None = None
    ) -> model.Evidence:
        """Evidence about one statement, by index or id. Raises NotFoundError."""
        request = _selecting(pb.GetEvidenceRequest(), index, id)
        reply = await self._call(self._stub.GetEvidence, request, timeout)
        return replies.evidence(reply, self._open(reply.checkpoint), index=index, id=id)

    async def statement(
        self, *, index: int | None = None, id: bytes | None = None, timeout: float | None = None
    ) -> model.Stored:
        """One statement, by index or id. Raises NotFoundError."""
        request = _selecting(pb.GetStatementRequest(), index, id)
        reply = await self._call(self._stub.GetStatement, request, timeout)
        return replies.stored(reply, self._open(reply.checkpoint), index=index, id=id)

    async def list_statements(
        self,
        *,
        device: str | None = None,
        kid: bytes | None = None,
        kind: str | None = None,
        stated: tuple[int | None, int | None] = (None, None),
        from_index: int = 0,
        limit: int | None = None,
    ) -> AsyncGenerator[model.LoggedStatement, None]:
        """Statements in log order, all of them unless `limit` says fewer; without inclusion paths.

        `stated` is (from, until) in Unix nanoseconds of the writer's own time, until exclusive. The listing goes on where it
        was cut, by the ledger's own bound or by a lost connection; a statement comes once.
        """
        if device is not None and kid is not None:
            msg = "device or kid, not both"
            raise ValueError(msg)
        following: int | None = from_index
        left, failures = limit, 0
        while following is not None and left != 0:
            request = pb.ListStatementsRequest(
                kind=kind or "",
                stated_from=stated[0],
                stated_until=stated[1],
                from_index=following,
                limit=left or 0,
            )
            if device is not None:
                request.device = device
            elif kid is not None:
                request.kid = kid
            ended: int | None = None
            try:
                async for reply in self._stub.ListStatements(request):
                    part = replies.listed(reply, self._open(reply.checkpoint), from_index=following)
                    for statement in part.statements:
                        yield statement
                        following = statement.index + 1
                        left = None if left is None else left - 1
                    failures, ended = 0, part.next_index
                following = ended
            except grpc.aio.AioRpcError as error:
                failures += 1
                await self.pause_or_raise(error, failures, None)

    async def inclusion_proof(
        self,
        *,
        index: int | None = None,
        id: bytes | None = None,
        size: int | None = None,
        timeout: float | None = None,
    ) -> model.InclusionProof:
        """The inclusion path of one entry, in the tree of `size` leaves or of the newest checkpoint. Raises NotFoundError."""
        request = _selecting(pb.GetInclusionProofRequest(size=size or 0), index, id)
        reply = await self._call(self._stub.GetInclusionProof, request, timeout)
        return replies.inclusion(reply, self._open(reply.checkpoint), index=index, size=size)

    async def consistency_proof(
        self, old_size: int, new_size: int | None = None, *, timeout: float | None = None
    ) -> model.ConsistencyProof:
        """The path from the tree of `old_size` leaves (at least 1) to that of `new_size`, or of the newest checkpoint.

        Verify it with the roots you hold: platemark.merkle.verify_consistency.
        """
        request = pb.GetConsistencyProofRequest(old_size=old_size, new_size=new_size or 0)
        reply = await self._call(self._stub.GetConsistencyProof, request, timeout)
        return replies.consistency(reply, self._open(reply.checkpoint), old_size=old_size, new_size=new_size)

    async def checkpoint(
        self, what: model.What = model.What.LATEST, *, timeout: float | None = None
    ) -> SignedCheckpoint:
        """The newest checkpoint of a kind. Raises NotFoundError when there is none of it yet."""
        reply = await self._call(self._stub.GetCheckpoint, pb.GetCheckpointRequest(what=_WHATS[what]), timeout)
        return self._open_as(what, reply.checkpoint)

    async def watch(
        self, what: model.What = model.What.LATEST, *, above_size: int = 0
    ) -> AsyncGenerator[SignedCheckpoint, None]:
        """The newest checkpoint of a kind, if it is above a size, and every newer one that comes while the caller is ready.

        Sizes only grow. It goes on for ever, over the ledger's own bound and lost connections; stop by leaving the loop.
        """
        size, failures = above_size, 0
        while True:
            request = pb.WatchCheckpointsRequest(what=_WHATS[what], above_size=size)
            try:
                async for reply in self._stub.WatchCheckpoints(request):
                    signed = self._open_as(what, reply.checkpoint)
                    if signed.checkpoint.size <= size:
                        raise BadReplyError("checkpoint", f"size {signed.checkpoint.size} after {size}")
                    size, failures = signed.checkpoint.size, 0
                    yield signed
            except grpc.aio.AioRpcError as error:
                failures += 1
                await self.pause_or_raise(error, failures, None)

    async def _call(
        self, method: _Method[_Request_contra, _Reply_co], request: _Request_contra, timeout: float | None
    ) -> _Reply_co:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout if timeout is None else timeout)
        failures = 0
        while True:
            try:
                left = deadline - loop.time()
                return await method(request, timeout=max(0.0, min(self._attempt_timeout, left)))
            except grpc.aio.AioRpcError as error:
                failures += 1
                await self.pause_or_raise(error, failures, deadline - loop.time())

    # For platemark.rpc.streaming.

    def open_stream(self) -> streaming.Call:
        """A call of AppendStream."""
        return self._stub.AppendStream()

    def verified(self, reply: pb.AppendResponse, sent: Sequence[bytes], wait: model.Wait) -> model.Appended:
        """What was appended, when the reply to what was sent verifies. Raises BadReplyError."""
        signed = self._open(reply.checkpoint)
        appended = replies.appended(reply, signed, sent)
        # When everything was refused, there is nothing that witnesses had to see.
        if wait is model.Wait.WITNESSED and any(isinstance(each, model.Logged) for each in appended.outcomes):
            self._trusted.check_witnessed(signed)
        return appended

    async def pause_or_raise(self, error: grpc.aio.AioRpcError, failures: int, left: float | None) -> None:
        """Wait before the next attempt; raise ours when none can help or none fits in the seconds that are left."""
        ours = faults.translate(error, self._target)
        pause = self._retry.pause(failures, self._draw())
        if not faults.may_repeat(ours) or failures >= self._retry.attempts or (left is not None and pause >= left):
            raise ours from error
        await self._sleep(pause)

    def _open_as(self, what: model.What, message: pb.Checkpoint) -> SignedCheckpoint:
        signed = self._open(message)
        if what is model.What.WITNESSED:
            self._trusted.check_witnessed(signed)
        return signed

    def _open(self, message: pb.Checkpoint) -> SignedCheckpoint:
        signed = self._trusted.open(message.note)
        new, seen = signed.checkpoint, self._newest
        if seen is None or new.size > seen.size:
            self._newest = new
        elif new.size == seen.size and (new.root, new.origin) != (seen.root, seen.origin):
            raise BadReplyError("checkpoint", f"two roots for size {new.size}: {seen.root.hex()} and {new.root.hex()}")
        return signed


def _selecting(request: _Selecting, index: int | None, id: bytes | None) -> _Selecting:
    """The request, about the one statement that index or id names. Raises ValueError for both or none."""
    if index is not None and id is None:
        request.index = index
    elif id is not None and index is None:
        request.id = id
    else:
        msg = "either index or id"
        raise ValueError(msg)
    return request
