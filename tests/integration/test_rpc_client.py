"""The client against ledgers that lie or fail, and its blocking twin."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import pytest
from integration.live import Live, only

from platemark import rpc
from platemark.rpc import (
    BadReplyError,
    DeadlineError,
    LedgerClient,
    LedgerFaultError,
    Retry,
    Trusted,
    UnavailableError,
    client,
    sync,
)
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


class Altering:
    """Stands between a client and a ledger and alters what comes back, or fails instead of answering."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = ledger_pb2_grpc.LedgerStub(channel)
        self.alter: Callable[[Any], object] = lambda _: None
        self.failures: list[grpc.StatusCode] = []
        self.calls = 0

    async def _pass(self, method: str, request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        self.calls += 1
        if self.failures:
            await context.abort(self.failures.pop(0), "as the test wants it")
        reply = await getattr(self._stub, method)(request)
        self.alter(reply)
        return reply

    async def _pass_stream(self, request: object, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        self.calls += 1
        async for reply in self._stub.ListStatements(request):
            self.alter(reply)
            yield reply
            if self.failures:
                await context.abort(self.failures.pop(0), "as the test wants it")


def _passing(name: str) -> Callable[[Altering, object, Any], Awaitable[Any]]:
    # A coroutine function, not a lambda that returns a coroutine: gRPC looks at the difference.
    async def answer(self: Altering, request: object, context: Any) -> Any:
        return await self._pass(name, request, context)

    return answer


for _method in pb.DESCRIPTOR.services_by_name["Ledger"].methods:
    setattr(Altering, _method.name, Altering._pass_stream if _method.server_streaming else _passing(_method.name))


def between(
    live: Live, test: Callable[[LedgerClient, Altering], Awaitable[None]], *, trusted: Trusted | None = None
) -> list[float]:
    """Run the test with a client that reaches the ledger through an Altering; the pauses that the client made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def run() -> None:
        async with grpc.aio.insecure_channel(live.address) as channel:
            servicer = Altering(channel)
            server = grpc.aio.server()
            ledger_pb2_grpc.add_LedgerServicer_to_server(cast("ledger_pb2_grpc.LedgerServicer", servicer), server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            client = LedgerClient(
                f"127.0.0.1:{port}",
                trusted=live.place.trusted if trusted is None else trusted,
                retry=Retry(attempts=4, first=1, most=8),
                sleep=sleep,
                draw=lambda: 0.5,
            )
            try:
                async with client:
                    await test(client, servicer)
            finally:
                await server.stop(None)

    asyncio.run(run())
    return pauses


def _first(reply: pb.AppendResponse) -> pb.LoggedStatement:
    return reply.outcomes[0].logged.statement


def _flip(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def _set_index(reply: pb.AppendResponse) -> None:
    _first(reply).index += 1


def _drop_path(reply: pb.AppendResponse) -> None:
    del _first(reply).inclusion_path[0]


def _flip_path(reply: pb.AppendResponse) -> None:
    path = _first(reply).inclusion_path
    path[0] = _flip(path[0])


def _short_path(reply: pb.AppendResponse) -> None:
    _first(reply).inclusion_path[0] = b"short"


def _flip_id(reply: pb.AppendResponse) -> None:
    _first(reply).id = _flip(_first(reply).id)


def _other_statement(reply: pb.AppendResponse) -> None:
    _first(reply).statement = b"\xd2\x84"


def _lose_outcome(reply: pb.AppendResponse) -> None:
    del reply.outcomes[:]


def _empty_outcome(reply: pb.AppendResponse) -> None:
    reply.outcomes[0].Clear()


def _flip_root(reply: pb.AppendResponse) -> None:
    origin, size, _, rest = reply.checkpoint.note.split(b"\n", 3)
    reply.checkpoint.note = b"\n".join([origin, size, b"A" * 43 + b"=", rest])


def _no_checkpoint(reply: pb.AppendResponse) -> None:
    reply.ClearField("checkpoint")


def _beyond_checkpoint(reply: pb.AppendResponse) -> None:
    _first(reply).index = 10**12


@pytest.mark.parametrize(
    "alter",
    [
        _set_index,
        _drop_path,
        _flip_path,
        _short_path,
        _flip_id,
        _other_statement,
        _lose_outcome,
        _empty_outcome,
        _flip_root,
        _no_checkpoint,
        _beyond_checkpoint,
    ],
)
def test_an_altered_answer_to_an_append_is_never_believed(
    live: Live, alter: Callable[[pb.AppendResponse], None]
) -> None:
    """Whatever is changed between ledger and caller, the caller gets BadReplyError, and the call is not repeated."""
    raw = live.device("altered").capture()
    live.client().append([live.device("altered-too").capture()])

    async def test(client: LedgerClient, servicer: Altering) -> None:
        servicer.alter = alter
        with pytest.raises(BadReplyError):
            await client.append([raw])
        assert servicer.calls == 1

    assert between(live, test) == []


def test_another_statement_is_no_answer(live: Live) -> None:
    """A sound proof about a statement that was not sent is refused, as new and as a duplicate."""
    device = live.device("exchange")
    mine, other = device.capture(b"mine"), device.capture(b"other")
    found = live.client().append([other])
    answer = only(found.outcomes)

    async def test(client: LedgerClient, servicer: Altering) -> None:
        for duplicate in (False, True):
            size = found.checkpoint.checkpoint.size

            def alter(reply: pb.AppendResponse, *, duplicate: bool = duplicate) -> None:
                logged = reply.outcomes[0].logged
                logged.duplicate = duplicate
                logged.statement.index, logged.statement.id = answer.statement.index, answer.statement.id
                logged.statement.statement = other
                del logged.statement.inclusion_path[:]
                logged.statement.inclusion_path.extend(answer.statement.inclusion_path)
                reply.checkpoint.note = found.checkpoint.raw

            servicer.alter = alter
            with pytest.raises(BadReplyError, match=r"other bytes than those sent|another statement"):
                await client.append([mine])
            assert size > 0

    between(live, test)


def test_two_roots_for_one_size_are_noticed_without_any_key(live: Live) -> None:
    """A client that trusts nobody still sees a log that contradicts itself."""

    async def test(client: LedgerClient, servicer: Altering) -> None:
        await client.checkpoint()
        servicer.alter = _flip_root
        with pytest.raises(BadReplyError, match="two roots for size"):
            await client.checkpoint()

    between(live, test, trusted=Trusted())


@pytest.mark.parametrize(
    ("call", "alter"),
    [
        (lambda client: client.statement(index=0), lambda reply: setattr(reply.statement, "index", 1)),
        (lambda client: client.inclusion_proof(index=0), lambda reply: setattr(reply, "index", 1)),
        (lambda client: client.inclusion_proof(index=0), lambda reply: setattr(reply, "size", 1)),
        (lambda client: client.inclusion_proof(index=0), lambda reply: setattr(reply, "entry", bytes(32))),
        (lambda client: client.consistency_proof(1), lambda reply: setattr(reply, "old_size", 2)),
        (lambda client: client.consistency_proof(1), lambda reply: reply.path.append(b"short")),
        (lambda client: client.evidence(index=1), lambda reply: reply.members.pop()),
        (lambda client: client.evidence(index=1), lambda reply: reply.members.append(reply.members[0])),
        (lambda client: client.evidence(index=1), lambda reply: setattr(reply.members[-1], "content", b"x")),
    ],
    ids=["index", "asked index", "size", "entry", "asked size", "path", "lost member", "member twice", "content"],
)
def test_other_altered_answers_are_never_believed(
    live: Live, call: Callable[[LedgerClient], Awaitable[object]], alter: Callable[[Any], object]
) -> None:
    """The same holds for every RPC that proves something."""
    live.client().append([live.device("others").capture()])

    async def test(client: LedgerClient, servicer: Altering) -> None:
        await call(client)
        servicer.alter = alter
        with pytest.raises(BadReplyError):
            await call(client)

    between(live, test)


def test_a_page_that_does_not_lead_on_is_refused(live: Live) -> None:
    """A ledger cannot keep a walk over pages going for ever."""

    async def test(client: LedgerClient, servicer: Altering) -> None:
        servicer.alter = lambda reply: setattr(reply, "next_index", 0)
        with pytest.raises(BadReplyError, match="does not lead on"):
            _ = [statement async for statement in client.lookup_all(bytes(32))]

    between(live, test)


def test_a_call_is_repeated_with_growing_pauses_while_that_can_help(live: Live) -> None:
    """UNAVAILABLE and DEADLINE_EXCEEDED are worth another attempt; the pauses double."""
    raw = live.device("repeat").capture()

    async def test(client: LedgerClient, servicer: Altering) -> None:
        unavailable, late = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED
        servicer.failures = [unavailable, late, unavailable]
        logged = only((await client.append([raw], timeout=60)).outcomes)
        assert (logged.duplicate, servicer.calls) == (False, 4)

    assert between(live, test) == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("code", "raised", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError, 4),
        (grpc.StatusCode.CANCELLED, UnavailableError, 4),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, UnavailableError, 4),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError, 4),
        (grpc.StatusCode.INTERNAL, LedgerFaultError, 1),
        (grpc.StatusCode.UNIMPLEMENTED, LedgerFaultError, 1),
        (grpc.StatusCode.PERMISSION_DENIED, rpc.RefusedError, 1),
        (grpc.StatusCode.NOT_FOUND, rpc.NotFoundError, 1),
    ],
)
def test_a_failure_becomes_our_error_after_as_many_attempts_as_make_sense(
    live: Live, code: grpc.StatusCode, raised: type[Exception], calls: int
) -> None:
    """The table of gRPC codes: which error, and whether repeating could help."""

    async def test(client: LedgerClient, servicer: Altering) -> None:
        servicer.failures = [code] * 4
        with pytest.raises(raised) as caught:
            await client.checkpoint(timeout=60)
        assert servicer.calls == calls
        assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)

    between(live, test)


def test_no_pause_outlives_the_time_that_the_caller_gave(live: Live) -> None:
    """When the next pause would end after the timeout, the error comes at once."""

    async def test(client: LedgerClient, servicer: Altering) -> None:
        servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 4
        with pytest.raises(UnavailableError):
            await client.checkpoint(timeout=0.4)
        assert servicer.calls == 1

    assert between(live, test) == []


def test_a_listing_goes_on_where_a_lost_connection_cut_it(live: Live) -> None:
    """Every statement comes once, in order, although the stream broke twice."""
    device = live.device("cut")
    live.client().append([device.capture(bytes([number, 9])) for number in range(200)])
    live.client().append([device.capture(bytes([number, 8])) for number in range(200)])

    async def test(client: LedgerClient, servicer: Altering) -> None:
        servicer.failures = [grpc.StatusCode.UNAVAILABLE] * 2
        indices = [each.index async for each in client.list_statements(kid=device.key.kid)]
        assert (len(indices), indices) == (400, sorted(set(indices)))
        assert servicer.calls == 3

    between(live, test)


def test_the_blocking_twin_has_every_method_with_the_same_words() -> None:
    """Nothing is missing, nothing is documented twice."""
    names = [name for name, value in vars(client.LedgerClient).items() if inspect.isfunction(value) and name[0] != "_"]
    assert names
    for name in names:
        ours, theirs = getattr(sync.LedgerClient, name), getattr(client.LedgerClient, name)
        assert name == "close" or ours.__doc__ == theirs.__doc__


def test_the_blocking_twin_may_be_shared_by_threads(live: Live) -> None:
    """Calls from many threads run side by side on its one loop."""
    shared = live.client()
    sizes: list[int] = []
    threads = [threading.Thread(target=lambda: sizes.append(shared.checkpoint().checkpoint.size)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 20


def test_a_closed_twin_says_so_and_leaves_no_thread(live: Live) -> None:
    """Closing twice is fine; calling afterwards is an error of ours."""
    before = threading.active_count()
    twin = sync.LedgerClient(live.address)
    listing = twin.list_statements()
    next(listing)
    twin.close()
    twin.close()
    with pytest.raises(UnavailableError, match="closed"):
        twin.checkpoint()
    with pytest.raises(UnavailableError, match="closed"):
        next(listing)
    assert threading.active_count() == before


@pytest.mark.parametrize("values", [{"attempts": 0}, {"first": 0}, {"first": 2, "most": 1}])
def test_a_retry_that_makes_no_sense_is_a_programmers_mistake(values: dict[str, int]) -> None:
    """It is refused where it is made."""
    with pytest.raises(ValueError, match=r"attempts|first"):
        Retry(**values)
