"""A simulated fleet: devices that each keep a stream of segments open to a ledger, and neighbours that behave badly.

On the wire as any client, without the verification that `LedgerClient` does: a thousand devices share two processes here, and
what is measured is the ledger. Every answer is checked for what it says: one outcome for each statement, logged, under its id.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from integration.live import HOUR, NOW, Writer

import builders
from platemark import statement
from platemark.rungs import SHA256
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

__all__ = ["NEIGHBOURS", "Device", "Seen", "Signed", "device", "drive", "jain", "neighbour", "sign"]

_WINDOW = 16
_PAUSE = 0.05
_ELSEWHERE = "127.0.0.9"
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
_FRAMES = range(30, 181, 15)  # rows of a segment: a second at 30 frames a second, up to six


@dataclass(frozen=True)
class Signed:
    """A statement, its id and the frames that it covers."""

    raw: bytes
    id: bytes
    frames: int


@dataclass(frozen=True)
class Device:
    """What one device sends, in the order of its chain. `period`: seconds from one segment to the next; 0: as fast as it may."""

    segments: Sequence[Signed]
    period: float = 0.0
    phase: float = 0.0


@dataclass
class Seen:
    """What one device saw: seconds from when each segment was due to its answer, its index, and when it was answered.

    `reopened`: how often the ledger ended its stream. `moved`: an answer came.
    """

    delays: list[float] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    reopened: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def __getstate__(self) -> tuple[list[float], list[int], list[float], int]:
        """Without the event, which is of one loop."""
        return self.delays, self.indices, self.times, self.reopened

    def __setstate__(self, state: tuple[list[float], list[int], list[float], int]) -> None:
        self.delays, self.indices, self.times, self.reopened = state


def device(number: int) -> Writer:
    """The device of a number at the start of its chain; every process that asks gets the same key."""
    party = builders.party(f"fleet-{number}")
    return Writer(party.key.private, party.uri, bytes(32))


def sign(number: int, count: int) -> list[Signed]:
    """Segments of one device. Their digests are as those of rows that nobody made: a ledger never sees rows."""
    writer, now = device(number), NOW - HOUR
    recording = hashlib.sha256(writer.key.kid).digest()[:16]
    made = []
    for place in range(count):
        frames = _FRAMES[(number + place) % len(_FRAMES)]
        raw = writer.build(
            "segment",
            recording=recording,
            topic="/camera/image/compressed",
            number=place,
            window_ns=10**9,
            first=now,
            last=now + frames * 33_333_333,
            count=frames,
            bytes=frames * 921_600,
            clock={"source": "ptp", "error_ns": 1_000},
            digests={"messages": {SHA256: hashlib.sha256(recording + place.to_bytes(4, "big")).digest()}},
        )
        now += frames * 33_333_333
        made.append(Signed(raw, statement.decode(raw).id, frames))
    return made


@asynccontextmanager
async def _stream(address: str) -> AsyncIterator[Any]:
    """One AppendStream on a connection of its own, as a device has it."""
    async with grpc.aio.insecure_channel(address, options=_OWN_CONNECTION) as channel:
        stub = cast("Any", ledger_pb2_grpc.LedgerStub(channel))
        call = stub.AppendStream()
        try:
            yield call
        finally:
            call.cancel()


async def drive(
    address: str, devices: Sequence[Device], *, ready: Callable[[], Coroutine[Any, Any, None]]
) -> list[Seen]:
    """Every device with a stream of its own: all connect, `ready` is awaited, and then they send until all is answered."""
    gate = asyncio.Event()
    connected = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(_device(address, each, connected, gate)) for each in devices]
    try:
        for _ in devices:
            await connected.acquire()
        await ready()
        gate.set()
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _device(address: str, device: Device, connected: asyncio.Semaphore, gate: asyncio.Event) -> Seen:
    """As `platemark spool send` does it: a stream that the ledger ends is opened anew, and what was not answered sent again."""
    seen, due = Seen(), list[float]()
    async with grpc.aio.insecure_channel(address, options=_OWN_CONNECTION) as channel:
        await channel.channel_ready()
        stub = cast("Any", ledger_pb2_grpc.LedgerStub(channel))
        connected.release()
        await gate.wait()
        began = time.monotonic() + device.phase
        while len(seen.indices) < len(device.segments):
            call = stub.AppendStream()
            sending = asyncio.create_task(_send(call, device, due, began, seen))
            try:
                await _receive(call, device, due, seen)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                if await call.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}:
                    raise
                seen.reopened += 1
                await asyncio.sleep(_PAUSE)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                call.cancel()
    return seen


async def _send(call: Any, device: Device, due: list[float], began: float, seen: Seen) -> None:
    first = len(seen.indices)
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader learns why
        for place in range(first, len(device.segments)):
            wanted = began + place * device.period
            if device.period:
                await asyncio.sleep(wanted - time.monotonic())
            while place - len(seen.indices) >= _WINDOW:
                seen.moved.clear()
                await seen.moved.wait()
            if place == len(due):
                due.append(wanted if device.period else time.monotonic())
            await call.write(pb.AppendRequest(statements=[device.segments[place].raw]))
        await call.done_writing()


async def _receive(call: Any, device: Device, due: Sequence[float], seen: Seen) -> None:
    while len(seen.indices) < len(device.segments):
        place = len(seen.indices)
        reply = await call.read()
        if reply is grpc.aio.EOF:
            break
        now = time.monotonic()
        (outcome,) = reply.outcomes
        assert outcome.HasField("logged"), outcome
        assert outcome.logged.statement.id == device.segments[place].id
        assert not outcome.logged.duplicate or seen.reopened
        seen.delays.append(now - due[place])
        seen.times.append(now)
        seen.indices.append(outcome.logged.statement.index)
        seen.moved.set()
    if len(seen.indices) == len(device.segments):
        assert await call.read() is grpc.aio.EOF
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        raise asyncio.InvalidStateError(code)


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(each * each for each in values))


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
    pumps: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
        for pump in (_pump(reader, back), _pump(there, writer)):
            task = asyncio.create_task(pump)
            pumps.add(task)
            task.add_done_callback(pumps.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(pumps):
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


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
    async with grpc.aio.insecure_channel(address, options=_OWN_CONNECTION) as channel:
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
