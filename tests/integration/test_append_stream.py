"""AppendStream against real ledgers: order, flow, fairness, and every way in which a stream ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from integration.live import Live, Place, Writer, only, refused
from integration.test_slow_readers import mute
from integration.wire import Said, said

from platemark.rpc import LedgerClient, Logged, RefusedError, Retry, UnavailableError, UnsupportedError
from platemark.rpc.sync import LedgerClient as Blocking
from platemark.spool import Sender, Spool, State
from platemark.spool.ledger import LedgerDelivery
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


def captures(device: Writer, count: int) -> list[bytes]:
    """So many captures, in the order of the chain."""
    return [device.capture(bytes([number % 256, number // 256])) for number in range(count)]


def indices(outcomes: tuple[object, ...]) -> list[int]:
    """The places of outcomes that are all logged, without any condition."""
    for each in outcomes:
        assert isinstance(each, Logged), each
        assert not each.statement.conditions, each
    return [each.statement.index for each in outcomes if isinstance(each, Logged)]


def test_batches_are_answered_in_order_and_logged_in_order(live: Live) -> None:
    """Many batches are on their way at once, and the chain of the device has neither gap nor fork in the log."""
    raws = captures(live.device("streaming"), 700)
    batches = [raws[start : start + 30] for start in range(0, 700, 30)]
    appended = list(live.client().append_stream(batches, ahead=8))
    assert [len(each.outcomes) for each in appended] == [len(each) for each in batches]
    places = [place for each in appended for place in indices(each.outcomes)]
    assert places == sorted(set(places))


def test_a_batch_of_the_greatest_size_is_answered_under_one_checkpoint(live: Live) -> None:
    """It is logged in slices, and its answer verifies as one."""
    raws = captures(live.device("large"), 1024)
    (appended,) = live.client().append_stream([raws])
    assert len(indices(appended.outcomes)) == 1024


def test_a_refused_statement_does_not_disturb_its_neighbours(live: Live) -> None:
    """As in Append: an outcome of its own, and the stream goes on; so does a duplicate."""
    device, stranger = live.device("neighbours"), Writer(live.device("other").key, "https://elsewhere.test/x", b"")
    first, second = captures(device, 2)
    answers = list(live.client().append_stream([[first, stranger.capture(), first], [second]]))
    assert refused(answers[0].outcomes[1])[1] == "WRONG_ISSUER"
    assert [isinstance(each, Logged) and each.duplicate for each in answers[0].outcomes] == [False, False, True]
    only(answers[1].outcomes)


def test_a_request_that_append_would_refuse_ends_the_stream_behind_the_others(live: Live) -> None:
    """What came before is answered, what came behind is not logged by this stream."""
    first, second = captures(live.device("empty"), 2)
    with live.client().open_append_stream() as stream:
        for batch in ([first], [], [second]):
            stream.send(batch)
        only(stream.receive().outcomes)
        with pytest.raises(RefusedError) as caught:
            stream.receive()
    assert [each.field for each in caught.value.violations] == ["statements"]
    assert not only(live.client().append([second]).outcomes).duplicate


def test_a_stream_of_age_is_opened_anew_unnoticed(place: Place) -> None:
    """Its client sends on in another one; nothing is lost, and nothing comes twice."""
    with place.served(STREAM_AGE="0.1") as live:
        raws = captures(live.device("ageing"), 400)
        answers = list(live.client().append_stream([[raw] for raw in raws]))
        places = [place for each in answers for place in indices(each.outcomes)]
        assert places == sorted(set(places))


def test_an_idle_stream_ends_and_the_next_batch_opens_another(place: Place) -> None:
    """The client need not know."""
    with place.served(STREAM_IDLE="0.1") as live:
        raws = captures(live.device("idle"), 3)

        async def run() -> list[int]:
            async with (
                LedgerClient(live.address, trusted=live.place.trusted) as client,
                client.open_append_stream() as stream,
            ):
                found = []
                for raw in raws:
                    stream.send([raw])
                    found += indices((await stream.receive()).outcomes)
                    call = stream._call
                    assert call is not None
                    await call.code()  # until the ledger has ended it
                return found

        assert len(asyncio.run(run())) == 3


def test_a_drained_ledger_answers_what_it_has_read_and_the_rest_is_sent_to_the_next(place: Place) -> None:
    """SIGTERM with batches on their way: each is logged once, in order, by two ledgers after another."""
    with place.served() as live:
        raws = captures(live.device("drained"), 300)
        stream = live.client(retry=Retry(attempts=1)).open_append_stream()
        for raw in raws:
            stream.send([raw])
        found = indices(stream.receive().outcomes)
        live.signal(signal.SIGTERM)
        with suppress(UnavailableError):
            while stream.unanswered:
                found += indices(stream.receive().outcomes)
        assert live.wait() == 0
    with place.served() as live:
        rest = [
            place for each in live.client().append_stream([[raw] for raw in raws]) for place in indices(each.outcomes)
        ]
    assert rest == sorted(set(rest))
    assert rest[: len(found)] == found


def test_a_killed_ledger_loses_nothing_that_it_answered(place: Place) -> None:
    """SIGKILL of the worker while streaming: the client opens another stream, and every place is as it was told."""
    with place.served() as live:
        raws = captures(live.device("killed"), 400)
        answers = live.client(retry=Retry(attempts=40)).append_stream([[raw] for raw in raws])
        found = indices(next(iter(answers)).outcomes)
        os.kill(live.workers[0], signal.SIGKILL)
        found += [place for each in answers for place in indices(each.outcomes)]
        assert found == sorted(set(found))
        assert len(found) == 400
        told = live.client().append(raws[:5])
        assert [each.statement.index for each in told.outcomes if isinstance(each, Logged)] == found[:5]


def test_a_cancelled_stream_disturbs_nobody(live: Live) -> None:
    """What it had sent is logged or not; another stream, sharing its commits, goes on, and so does its own device."""
    leaving, staying = live.device("leaving"), live.device("staying")
    gone, kept = captures(leaving, 600), captures(staying, 200)

    async def run() -> list[int]:
        async with LedgerClient(live.address, trusted=live.place.trusted) as client:
            for _ in range(3):
                stream = client.open_append_stream()
                for start in range(0, 600, 200):
                    stream.send(gone[start : start + 200])
                await stream.receive()
                await stream.close()
            answers = client.append_stream([kept[start : start + 20] for start in range(0, 200, 20)])
            return [place async for each in answers for place in indices(each.outcomes)]

    assert len(asyncio.run(run())) == 200
    again = live.client().append(gone)
    assert len(indices(again.outcomes)) == 600


def test_a_caller_has_so_many_streams_and_no_more(place: Place) -> None:
    """Further ones are told to come again, others' calls go on, and a place is free again once a stream has ended."""
    with place.served(CALLER_STREAMS="2") as live:
        raws = captures(live.device("many"), 4)
        client = live.client(retry=Retry(attempts=1))
        streams = [client.open_append_stream() for _ in range(3)]
        for stream, raw in zip(streams[:2], raws, strict=False):
            stream.send([raw])
            only(stream.receive().outcomes)
        streams[2].send([raws[2]])
        with pytest.raises(UnavailableError) as caught:
            streams[2].receive()
        assert caught.value.info == "OVERLOADED"
        only(client.append([raws[2]]).outcomes)
        streams[0].close()
        only(next(iter(live.client().append_stream([[raws[3]]]))).outcomes)


def test_a_client_that_takes_no_answers_is_ended_and_harms_nobody(place: Place) -> None:
    """Its stream ends after the time for one answer; meanwhile and after it, others are served, and its place is free."""
    with place.served(STREAM_STALL="0.5", CALLER_STREAMS="1") as live:
        raws = captures(live.device("mute"), 2)
        request = pb.AppendRequest(statements=[raws[0]])
        with mute(live.address, request, calls=1, method="AppendStream"):
            assert only(live.client().append([raws[0]]).outcomes).duplicate
            stream = live.client(retry=Retry(attempts=40)).open_append_stream()
            stream.send([raws[1]])
            only(stream.receive().outcomes)


def test_bytes_that_are_no_message_end_a_stream_behind_its_answers(live: Live) -> None:
    """The hostile part of a stream costs the stream and nothing that came before."""
    (raw,) = captures(live.device("garbage"), 1)
    good = pb.AppendRequest(statements=[raw]).SerializeToString()
    with grpc.insecure_channel(live.address) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/platemark.v1.Ledger/AppendStream")
        answers = call(iter([good, b"\xff\xff\xff", good]))
        assert pb.AppendResponse.FromString(next(answers)).outcomes[0].HasField("logged")
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert said(caught.value) == Said(grpc.StatusCode.INVALID_ARGUMENT, "platemark", "MALFORMED_MESSAGE", ())


def test_single_statements_are_not_starved_by_greedy_streams(place: Place) -> None:
    """Beside four streams of batches of 1,024, one that sends 1 at a time is answered while they still have much to come."""
    with place.served(STREAM_QUEUE="256") as live:
        greedy = [captures(live.device(f"greedy-{number}"), 2048) for number in range(4)]
        single = captures(live.device("single"), 4)

        async def run() -> int:
            async with LedgerClient(live.address, trusted=live.place.trusted) as client:
                streams = [client.open_append_stream() for _ in greedy]
                for stream, raws in zip(streams, greedy, strict=True):
                    stream.send(raws[:1024])
                    stream.send(raws[1024:])
                tasks = [asyncio.create_task(stream.receive()) for stream in streams]
                async for appended in client.append_stream([[raw] for raw in single], ahead=1):
                    only(appended.outcomes)
                last = appended.outcomes[0]
                await asyncio.gather(*tasks)
                assert isinstance(last, Logged)
                return last.statement.index

        # By calls in the order of coming, it would have been behind 8,192 statements; here it is behind a few slices each time.
        assert asyncio.run(run()) < 6500


def test_waiting_for_witnesses_that_are_not_there_ends_a_stream_behind_its_answers(live: Live) -> None:
    """As in Append, and nothing of that request or of one behind it is logged."""
    first, second = captures(live.device("wait"), 2)
    requests = [
        pb.AppendRequest(statements=[first]),
        pb.AppendRequest(statements=[second], wait=pb.WAIT_WITNESSED),
        pb.AppendRequest(statements=[second]),
    ]
    with grpc.insecure_channel(live.address) as channel:
        answers = ledger_pb2_grpc.LedgerStub(channel).AppendStream(iter(requests))
        assert next(answers).outcomes[0].HasField("logged")
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
    assert said(caught.value) == Said(grpc.StatusCode.FAILED_PRECONDITION, "platemark", "NO_WITNESSES", ())
    assert not only(live.client().append([second]).outcomes).duplicate


@contextmanager
def of_an_earlier_release(live: Live) -> Iterator[str]:
    """The address of a server that knows Append alone, and hands it on to the ledger byte by byte."""
    with grpc.insecure_channel(live.address) as channel, ThreadPoolExecutor(2) as threads:
        append: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/platemark.v1.Ledger/Append")
        server = grpc.server(threads)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda raw, _: append(raw))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("platemark.v1.Ledger", {"Append": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def test_a_ledger_of_an_earlier_release_is_told_apart_and_a_spool_goes_on_with_append(
    live: Live, tmp_path: Path
) -> None:
    """The client names it; the sender of a spool needs no setting, and keeps the order."""
    raws = captures(live.device("earlier"), 100)
    with of_an_earlier_release(live) as address:
        with Blocking(address, trusted=live.place.trusted) as client, pytest.raises(UnsupportedError):
            next(iter(client.append_stream([[raws[0]]])))
        assert drained(tmp_path, address, live, raws) == 100


def test_a_spool_over_a_stream_keeps_the_order_and_sets_aside_what_is_refused(live: Live, tmp_path: Path) -> None:
    """With batches on their way at once, a refused statement in the middle holds nobody up."""
    raws = captures(live.device("spooled"), 300)
    stranger = Writer(live.device("unknown").key, "https://elsewhere.test/x", b"").capture()
    assert drained(tmp_path, live.address, live, [*raws[:150], stranger, *raws[150:]], aside=1) == 300


def drained(directory: Path, address: str, live: Live, raws: list[bytes], *, aside: int = 0) -> int:
    """How many a sender brings there; in the order of putting, or it fails."""
    with (
        Spool(directory / "spool") as spool,
        LedgerDelivery(lambda: Blocking(address, trusted=live.place.trusted)) as delivery,
        Sender(spool, delivery, batch=16) as sender,
    ):
        spool.put_many(raws)
        assert sender.drain(lambda _: False)
        assert len(spool.entries(State.SET_ASIDE, 9)) == aside
        places = [each.index for each in spool.entries(State.ACKNOWLEDGED, 1000)]
        assert places == sorted(place for place in places if place is not None)
        assert (sender.traffic.failed, sender.traffic.logged) == (0, len(places))
        return len(places)
