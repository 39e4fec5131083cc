"""Accepted calls under pressure: a stop, a full house, a caller whose time is up. Holding the sequencer lock makes them wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.live import Live, Place, only
from integration.wire import Said, said

from platemark.rpc import DeadlineError, Retry
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc
from platemark_ledger.lock import SequencerLock
from platemark_ledger.supervisor import backoff


@contextmanager
def _commits_wait(live: Live) -> Iterator[None]:
    """Inside the block this process holds the lock, so that nothing can be committed."""
    lock = SequencerLock(live.place.directory / "data.lock")
    try:
        with lock.hold():
            yield
    finally:
        lock.close()


def _wait_until_accepted(stub: ledger_pb2_grpc.LedgerStub, most: int) -> grpc.RpcError:
    """Calls until one is refused because `most` are under way; that refusal."""
    for _ in range(10_000):
        try:
            stub.GetCheckpoint(pb.GetCheckpointRequest())
        except grpc.RpcError as error:
            return error
    raise AssertionError(f"never {most} calls under way")


def test_an_accepted_call_is_answered_although_the_ledger_was_told_to_stop(place: Place) -> None:
    """The signal comes while a call waits for its commit: new calls get UNAVAILABLE with a reason, it gets its proof."""
    with place.served(MAX_CALLS="1") as live, ThreadPoolExecutor(1) as pool:
        raw = live.device("drain").capture()
        client = live.client()
        with grpc.insecure_channel(live.address) as channel, _commits_wait(live):
            stub = ledger_pb2_grpc.LedgerStub(channel)
            waiting = pool.submit(client.append, [raw])
            full = _wait_until_accepted(stub, 1)
            assert said(full) == Said(grpc.StatusCode.UNAVAILABLE, "platemark", "OVERLOADED", ())
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service="platemark.v1.Ledger"))
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            live.signal(signal.SIGTERM)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetCheckpoint(pb.GetCheckpointRequest())
            assert said(caught.value) == Said(grpc.StatusCode.UNAVAILABLE, "platemark", "STOPPED", ())
            assert not waiting.done()
        assert not only(waiting.result().outcomes).duplicate
        assert live.wait() == 0


def test_a_drain_ends_when_its_time_is_up_and_what_was_accepted_is_not_lost(place: Place) -> None:
    """A commit that takes longer than the drain time: the caller hears nothing, sends again, and has one index."""
    with place.served(DRAIN="0.2", MAX_CALLS="1") as live, ThreadPoolExecutor(1) as pool:
        raw = live.device("slow").capture()
        client = live.client(retry=Retry(attempts=1))
        with grpc.insecure_channel(live.address) as channel, _commits_wait(live):
            waiting = pool.submit(client.append, [raw], timeout=30)
            _wait_until_accepted(ledger_pb2_grpc.LedgerStub(channel), 1)
            live.signal(signal.SIGTERM)
            assert waiting.exception() is not None
            # The commit still waits: the process ends under it, and not by the supervisor's hand.
            assert live.wait() == 0
        log = live.log.read_text()
        assert "a commit outlives the drain time" in log
        assert "does not stop and is ended" not in log
    with place.served() as live:
        first = only(live.client().append([raw]).outcomes)
        again = only(live.client().append([raw]).outcomes)
        assert (again.statement.index, again.duplicate) == (first.statement.index, True)


def test_a_caller_whose_time_is_up_leaves_an_append_that_can_be_repeated(place: Place) -> None:
    """The deadline passes while the statement waits for its commit: nothing is known, and the repeat is safe."""
    with place.served() as live:
        device = live.device("late")
        raw, other = device.capture(b"1"), device.capture(b"2")
        client = live.client(retry=Retry(attempts=1))
        with _commits_wait(live), pytest.raises(DeadlineError):
            client.append([raw], timeout=0.3)
        outcomes = live.client().append([raw, other, raw]).outcomes
        indices = [only((outcome,)).statement.index for outcome in outcomes]
        assert indices == [indices[0], indices[0] + 1, indices[0]]


def test_statements_beyond_the_queue_are_refused_at_once(place: Place) -> None:
    """A full queue answers UNAVAILABLE instead of keeping callers past their deadlines."""
    with place.served(QUEUE="64", MAX_BATCH="64") as live, ThreadPoolExecutor(8) as pool:
        device = live.device("queue")
        batches = [[device.capture(bytes([number, part])) for number in range(60)] for part in range(8)]
        with grpc.insecure_channel(live.address) as channel:
            stub = ledger_pb2_grpc.LedgerStub(channel)

            def append(batch: list[bytes]) -> Said | None:
                try:
                    stub.Append(pb.AppendRequest(statements=batch))
                except grpc.RpcError as error:
                    return said(error)
                return None

            with _commits_wait(live):
                calls = [pool.submit(append, batch) for batch in batches]
                # All but those that the queue had room for come back while nothing can be committed.
                while sum(call.done() for call in calls) < 6:
                    _ = stub.GetCheckpoint(pb.GetCheckpointRequest())
            answers = [call.result() for call in calls]
        refusals = [answer for answer in answers if answer is not None]
        assert len(refusals) in {6, 7}
        assert set(refusals) == {Said(grpc.StatusCode.UNAVAILABLE, "platemark", "OVERLOADED", ())}


def test_pauses_between_restarts_double_up_to_half_a_minute() -> None:
    """A worker that cannot live does not eat the machine."""
    assert [backoff(failures) for failures in (1, 2, 3, 7, 50)] == [0.5, 1.0, 2.0, 30.0, 30.0]
