"""Neighbours of a fleet that behave badly, each from an address of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import grpc

from fleet import OWN_CONNECTION
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

__all__ = ["NEIGHBOURS", "neighbour"]

_ELSEWHERE = "127.0.0.9"


async def neighbour(name: str, address: str, raws: Sequence[bytes], begun: Callable[[], None]) -> None:
    """Behave badly until cancelled, from an address of its own: a ledger tells callers without a certificate apart by that.

    `raws` are statements that it may send, logged already; `begun` is called when it is at it, and again and again.
    """
    async with _from(_ELSEWHERE, address) as own:
        await NEIGHBOURS[name](own, raws, begun)


@asynccontextmanager
async def _from(source: str, address: str) -> AsyncIterator[str]:
    """An address at which whoever connects reaches the ledger, which sees `source` as the caller's address."""
    host, _, port = address.rpartition(":")
    served: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            await _abort(back)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connect(reader, writer))
        served.add(task)
        await asyncio.gather(task, return_exceptions=True)
        await _abort(writer)
        served.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        while served:
            for task in served:
                task.cancel()
            await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other; where one ends, so does the other."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _abort(writer: asyncio.StreamWriter) -> None:
    """Closed before this returns, whatever the other side has not read."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def _stream(address: str) -> AsyncIterator[Any]:
    """One AppendStream on a connection of its own, as a device has it."""
    async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
        stub = cast("Any", ledger_pb2_grpc.LedgerStub(channel))
        call = stub.AppendStream()
        try:
            yield call
        finally:
            call.cancel()


async def _deaf(address: str, raws: Sequence[bytes], begun: Callable[[], None]) -> None:
    """Sends on 16 streams what it may, and never reads an answer."""

    async def one() -> None:
        while True:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with _stream(address) as call:
                    begun()
                    while True:
                        await call.write(pb.AppendRequest(statements=raws[:64]))

    await asyncio.gather(*(one() for _ in range(16)))


async def _flood(address: str, raws: Sequence[bytes], begun: Callable[[], None]) -> None:
    """The largest batches on 8 streams, as fast as they are taken: repeats, which cost the ledger a signature each."""

    async def one() -> None:
        while True:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with _stream(address) as call:

                    async def read(call: Any = call) -> None:
                        while await call.read() is not grpc.aio.EOF:
                            begun()

                    reading = asyncio.create_task(read())
                    try:
                        while not reading.done():
                            await call.write(pb.AppendRequest(statements=raws[:256]))
                    finally:
                        reading.cancel()

    await asyncio.gather(*(one() for _ in range(8)))


async def _garbage(address: str, raws: Sequence[bytes], begun: Callable[[], None]) -> None:
    """Bytes that are no statement, empty and too large requests, on a new stream each time, 8 at once."""
    kinds = [
        pb.AppendRequest(statements=[secrets.token_bytes(800)] * 256),
        pb.AppendRequest(),
        pb.AppendRequest(statements=[bytes(65_536)] * 64),
        pb.AppendRequest(statements=[bytes(16 << 20)]),
        pb.AppendRequest(statements=[raw[:-1] + bytes([raw[-1] ^ 1]) for raw in raws[:256]]),
        pb.AppendRequest(statements=[b""] * 5000),
    ]

    async def one(turn: int) -> None:
        while True:
            turn += 1
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with _stream(address) as call:
                    await call.write(kinds[turn % len(kinds)])
                    begun()
                    await call.read()

    await asyncio.gather(*(one(turn) for turn in range(8)))


async def _hoard(address: str, raws: Sequence[bytes], begun: Callable[[], None]) -> None:
    """One connection that opens streams without end and says nothing on most of them."""
    async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
        stub = cast("Any", ledger_pb2_grpc.LedgerStub(channel))
        held: list[Any] = []
        while True:
            call = stub.AppendStream()
            held.append(call)
            if len(held) % 16 == 0:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(pb.AppendRequest(statements=raws[:1]))
            held = [each for each in held if not each.done()]
            if len(held) >= 2_000:
                await asyncio.sleep(0.01)
            if len(held) % 64 == 0:
                begun()
                await asyncio.sleep(0)


NEIGHBOURS = {"never reads": _deaf, "floods": _flood, "sends garbage": _garbage, "opens streams": _hoard}
"""By what they do."""
