"""How a ledger stops, and what it takes with it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.live import Live, Place, only

from platemark.rpc import Logged, Retry, UnavailableError
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drained_ledger_has_answered_everything_it_accepted(place: Place, number: signal.Signals) -> None:
    """After the signal every call either has its proof, which a restart confirms, or was refused with UNAVAILABLE."""
    with place.served() as live:
        device = live.device("drain")
        raws = [device.capture(bytes([number_ % 256, number_ // 256])) for number_ in range(400)]
        answered, refused = asyncio.run(_append_while_stopping(live, raws, number))
        assert live.wait() == 0
    assert answered
    assert len(answered) + refused == len(raws)
    with place.served() as live:
        for raw, index in answered.items():
            logged = only(live.client().append([raw]).outcomes)
            assert (logged.duplicate, logged.statement.index) == (True, index)


async def _append_while_stopping(live: Live, raws: list[bytes], number: signal.Signals) -> tuple[dict[bytes, int], int]:
    answered: dict[bytes, int] = {}
    refused = 0
    async with grpc.aio.insecure_channel(live.address) as channel:
        stub = ledger_pb2_grpc.LedgerStub(channel)

        async def append(position: int, raw: bytes) -> None:
            nonlocal refused
            if position == 200:
                live.signal(number)
            try:
                reply = await stub.Append(pb.AppendRequest(statements=[raw]))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                refused += 1
            else:
                answered[raw] = reply.outcomes[0].logged.statement.index

        for start in range(0, len(raws), 20):
            await asyncio.gather(*(append(start + offset, raw) for offset, raw in enumerate(raws[start : start + 20])))
    return answered, refused


def test_a_stopped_ledger_is_unavailable_to_its_clients(place: Place) -> None:
    """Nothing listens any more; the client says that the same call may be made again."""
    with place.served() as live:
        client = live.client(retry=Retry(attempts=2, first=0.01))
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        with pytest.raises(UnavailableError):
            client.checkpoint()


def test_health_turns_before_the_ledger_is_gone(place: Place) -> None:
    """A watcher sees NOT_SERVING while the server drains, so that balancers stop sending."""
    with place.served() as live, grpc.insecure_channel(live.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        live.signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


def test_the_workers_end_when_their_supervisor_is_killed(place: Place) -> None:
    """Whatever kills the supervisor, no worker goes on alone: the port is free and the ledger starts again."""
    with place.served("--workers", "2") as live:
        raw = live.device("orphan").capture()
        first = only(live.client().append([raw]).outcomes)
        watchers = [threading.Thread(target=_wait_until_gone, args=(pid,)) for pid in live.workers]
        for watcher in watchers:
            watcher.start()
        live.signal(signal.SIGKILL)
        for watcher in watchers:
            watcher.join(timeout=60)
            assert not watcher.is_alive()
        assert live.wait() == -signal.SIGKILL
    with place.served() as live:
        again = only(live.client().append([raw]).outcomes)
        assert (again.duplicate, again.statement.index) == (True, first.statement.index)


def test_a_killed_worker_is_replaced_and_nothing_acknowledged_is_lost(place: Place) -> None:
    """Kill -9 of one worker while statements flow: the client repeats, every statement has one index, all verify."""
    with place.served("--workers", "2") as live:
        device = live.device("killed")
        client = live.client(retry=Retry(attempts=50, first=0.05, most=0.5), attempt_timeout=5, timeout=60)
        raws = [device.capture(bytes([number])) for number in range(60)]
        first: list[int] = []
        for number, raw in enumerate(raws):
            if number in {20, 40}:
                os.kill(live.workers[0 if number == 20 else 1], signal.SIGKILL)
            first.append(only(client.append([raw]).outcomes).statement.index)
        again = [outcome.statement.index for outcome in client.append(raws).outcomes if isinstance(outcome, Logged)]
        assert again == first
        assert len(set(first)) == len(raws)


def _wait_until_gone(pid: int) -> None:
    """Waits on the process itself, which is nobody's child here."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor)
        poll.poll(60_000)
    finally:
        os.close(descriptor)
