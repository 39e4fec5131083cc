"""A simulated fleet: devices that each keep a stream of segments open to a ledger.

On the wire as any client, without the verification that `LedgerClient` does: a thousand devices share two processes here, and
what is measured is the ledger. Every answer is checked for what it says: one outcome for each statement, logged, under its id.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
from integration.live import HOUR, NOW, Writer

import builders
from platemark import statement
from platemark.rungs import SHA256
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

__all__ = ["OWN_CONNECTION", "Device", "Seen", "Signed", "device", "drive", "jain", "sign"]

_WINDOW = 16
_PAUSE = 0.05
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
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
    async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
        await channel.channel_ready()
        stub = cast("Any", ledger_pb2_grpc.LedgerStub(channel))
        call = stub.AppendStream()
        with suppress(grpc.aio.AioRpcError):
            await call.wait_for_connection()
        connected.release()
        await gate.wait()
        began = time.monotonic() + device.phase
        while len(seen.indices) < len(device.segments):
            if call.done():
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
