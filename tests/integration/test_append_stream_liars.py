"""A sender over AppendStream against a ledger that answers wrongly: what it believes, and what becomes of the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from integration.live import Place

from platemark.rpc import Retry
from platemark.rpc.sync import LedgerClient
from platemark.spool import Sender, Spool, State
from platemark.spool.ledger import LedgerDelivery
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

Lie = Callable[[Iterator[bytes], list[bytes]], Iterator[bytes]]


@contextmanager
def liar(lie: Lie, true: list[bytes]) -> Iterator[str]:
    """The address of a ledger that answers AppendStream as `lie` makes it of the requests and the true answers."""

    def answer(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        context.send_initial_metadata((("platemark-stream", "taken"),))
        yield from lie(requests, true)

    handler: Any = grpc.stream_stream_rpc_method_handler(answer)
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("platemark.v1.Ledger", {"AppendStream": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def _too_many(requests: Iterator[bytes], true: list[bytes]) -> Iterator[bytes]:
    next(requests)
    yield from [true[0]] * 3


def _swapped(requests: Iterator[bytes], true: list[bytes]) -> Iterator[bytes]:
    next(requests)
    yield from reversed(true)


def _too_few(requests: Iterator[bytes], true: list[bytes]) -> Iterator[bytes]:
    next(requests)
    yield true[0]


def _always(content: bytes) -> Lie:
    def lie(requests: Iterator[bytes], _: list[bytes]) -> Iterator[bytes]:
        for _each in requests:
            yield content

    return lie


def _half(requests: Iterator[bytes], true: list[bytes]) -> Iterator[bytes]:
    """The outcome, and one that nobody asked for."""
    reply = pb.AppendResponse.FromString(true[0])
    reply.outcomes.add().CopyFrom(pb.AppendResponse.FromString(true[1]).outcomes[0])
    next(requests)
    yield reply.SerializeToString()


def _nothing(requests: Iterator[bytes], _: list[bytes]) -> Iterator[bytes]:
    next(requests)
    yield from ()


@pytest.mark.parametrize(
    ("lie", "believed"),
    [
        (_too_many, 1),
        (_swapped, 0),
        (_too_few, 1),
        (_always(b""), 0),
        (_always(b"\xff\xff\xff"), 0),
        (_always(bytes(5_000_000)), 0),
        (_half, 0),
        (_nothing, 0),
    ],
    ids=["too many", "swapped", "too few", "empty", "no message", "large", "one more", "nothing"],
)
def test_a_spool_believes_what_verifies_and_blames_no_statement(
    place: Place, tmp_path: Path, lie: Lie, believed: int
) -> None:
    """Only what an answer proves is acknowledged; the rest waits, nothing is set aside, and a true ledger gets it."""
    with place.served() as live, Spool(tmp_path / "spool") as spool:
        device = live.device("honest")
        raws = [device.capture(bytes([number])) for number in range(2)]
        with grpc.insecure_channel(live.address) as channel:
            stub = ledger_pb2_grpc.LedgerStub(channel)
            true = [stub.Append(pb.AppendRequest(statements=[raw])).SerializeToString() for raw in raws]
        for raw in raws:
            spool.put(raw)
        with liar(lie, true) as address:

            def connect() -> LedgerClient:
                return LedgerClient(address, trusted=place.trusted, retry=Retry(attempts=1), timeout=5)

            with LedgerDelivery(connect) as delivery, Sender(spool, delivery, batch=1) as sender:
                for _ in range(4):
                    sender.step()
                assert sender.traffic.failures
        assert (spool.counts().acknowledged, spool.counts().set_aside) == (believed, 0)
        with LedgerDelivery(live.client) as delivery, Sender(spool, delivery) as sender:
            assert sender.drain(lambda _: False)
        indices = [each.index for each in spool.entries(State.ACKNOWLEDGED, 10)]
        assert indices == sorted(
            {pb.AppendResponse.FromString(each).outcomes[0].logged.statement.index for each in true}
        )
