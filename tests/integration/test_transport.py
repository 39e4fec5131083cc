"""What happens below the RPCs: bytes that are no message, sizes, deadlines, callers that leave, health, reflection."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from integration.live import Live, Place, only
from integration.wire import Said, said

from platemark.rpc import DeadlineError, Retry, TooLargeError
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

SERVICE = "platemark.v1.Ledger"
RPCS = (
    "Append",
    "AppendStream",
    "GetCheckpoint",
    "GetConsistencyProof",
    "GetEvidence",
    "GetInclusionProof",
    "GetStatement",
    "ListStatements",
    "Lookup",
    "WatchCheckpoints",
)


@pytest.mark.parametrize("rpc", RPCS)
def test_bytes_that_are_no_message_are_the_callers_fault(live: Live, rpc: str) -> None:
    """Every RPC answers malformed protobuf with INVALID_ARGUMENT and our reason, not with a fault of its own."""
    with grpc.insecure_channel(live.address) as channel, pytest.raises(grpc.RpcError) as caught:
        _call(channel, rpc, b"\xff\xff\xff")
    assert said(caught.value) == Said(grpc.StatusCode.INVALID_ARGUMENT, "platemark", "MALFORMED_MESSAGE", ())


def test_an_unknown_method_is_unimplemented(live: Live) -> None:
    """RPCs of later releases are told apart from failures."""
    with grpc.insecure_channel(live.address) as channel, pytest.raises(grpc.RpcError) as caught:
        _call(channel, "AppendTwice", b"")
    assert said(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused_and_the_client_says_so(live: Live) -> None:
    """16 MiB is the default; the caller learns that repeating is of no use."""
    with pytest.raises(TooLargeError):
        live.client().append([bytes(60_000)] * 300)


def test_unknown_fields_of_a_later_client_are_ignored(live: Live) -> None:
    """A field that this release does not know (number 1000) does not disturb the fields that it does."""
    raw = pb.GetStatementRequest(index=0).SerializeToString() + b"\xc0\x3e\x01"
    with grpc.insecure_channel(live.address) as channel:
        (answer,) = _call(channel, "GetStatement", raw)
    reply = pb.GetStatementResponse.FromString(answer)
    assert reply.statement.id.hex() == live.place.facts["log_id"]


def test_a_deadline_that_has_passed_is_not_queued(place: Place) -> None:
    """The ledger does not work for a caller that no longer waits: nothing of the call is in the log."""
    with place.served() as live:
        raw = live.device("deadline").capture()
        client = live.client(retry=Retry(attempts=1))
        client.checkpoint()
        # The worker sees the call only after its deadline: it is stopped while the call arrives.
        os.kill(live.workers[0], signal.SIGSTOP)
        with pytest.raises(DeadlineError):
            client.append([raw], timeout=0.2)
        os.kill(live.workers[0], signal.SIGCONT)
        assert not only(live.client().append([raw]).outcomes).duplicate


def test_a_caller_that_leaves_disturbs_nobody(live: Live) -> None:
    """Calls that are cancelled while others share their commit change nothing for the others."""
    device = live.device("cancel")
    raws = [device.capture(bytes([number])) for number in range(60)]

    async def run() -> list[int]:
        async with grpc.aio.insecure_channel(live.address) as channel:
            stub = ledger_pb2_grpc.LedgerStub(channel)
            calls = [stub.Append(pb.AppendRequest(statements=[raw])) for raw in raws]
            await asyncio.gather(*(call.wait_for_connection() for call in calls[::3]))
            for call in calls[::3]:
                call.cancel()
            kept = [call for number, call in enumerate(calls) if number % 3]
            replies = await asyncio.gather(*kept)
            return [reply.outcomes[0].logged.statement.index for reply in replies]

    indices = asyncio.run(run())
    assert len(set(indices)) == 40
    # The ledger goes on, and the statements of those who left are in the log or can be put there.
    again = live.client().append(raws)
    assert len({outcome.statement.index for outcome in again.outcomes if hasattr(outcome, "statement")}) == 60


def test_a_connection_that_breaks_off_or_talks_nonsense_disturbs_nobody(live: Live) -> None:
    """Bytes that are no HTTP/2 end their own connection and nothing else."""
    host, _, port = live.address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    assert live.client().checkpoint().checkpoint.size > 0


@pytest.mark.parametrize("name", ["", SERVICE])
def test_health_says_serving(live: Live, name: str) -> None:
    """The standard health service answers for the server and for the ledger."""
    with grpc.insecure_channel(live.address) as channel:
        reply = _health(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_shows_the_ledger_with_exactly_its_rpcs(live: Live) -> None:
    """What is declared is implemented, and what arrives later is not declared."""
    with grpc.insecure_channel(live.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        described = database.FindFileContainingSymbol(SERVICE)
        assert SERVICE in database.get_services()
    assert sorted(method.name for method in described.service[0].method) == sorted(RPCS)


def _call(channel: grpc.Channel, rpc: str, raw: bytes) -> list[bytes]:
    """The answers to raw request bytes, as raw bytes."""
    if rpc in {"ListStatements", "WatchCheckpoints"}:
        stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{SERVICE}/{rpc}")
        return list(stream(raw))
    if rpc == "AppendStream":
        both: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{SERVICE}/{rpc}")
        return list(both(iter([raw])))
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{rpc}")
    return [call(raw)]


def _health(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)
