"""A fleet in processes of its own, what its devices saw, and a process that behaves badly beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Self, cast

from bench.load import processor_seconds
from bench.report import percentile
from integration.live import Live

import fleet
from fleet import Device, Seen, Signed
from neighbours import neighbour

__all__ = ["Fleet", "Round", "beside", "server_seconds"]

_PROCESSES = 2
_PATIENCE = 60.0


@dataclass(frozen=True)
class Round:
    """What all devices saw in one measurement."""

    seen: list[Seen]
    frames: int
    server: float  # processor seconds of the ledger

    @property
    def seconds(self) -> float:
        """From the moment all were told to go until the last answer."""
        return max(each.times[-1] for each in self.seen) - min(each.times[0] - each.delays[0] for each in self.seen)

    @property
    def rate(self) -> float:
        """Statements a second."""
        return sum(len(each.indices) for each in self.seen) / self.seconds

    @property
    def delays(self) -> list[float]:
        """Of every statement, seconds."""
        return [delay for each in self.seen for delay in each.delays]

    @property
    def shares(self) -> list[float]:
        """Of every device: its statements a second while it was at work."""
        return [len(each.delays) / (each.times[-1] - each.times[0] + each.delays[0]) for each in self.seen]

    def facts(self) -> dict[str, float]:
        """For the JSON file."""
        shares = self.shares
        return {
            "per_second": self.rate,
            "frames_per_second": self.frames / self.seconds,
            "server_us_per_statement": self.server / len(self.delays) * 1e6,
            "jain": fleet.jain(shares),
            "slowest_to_mean": min(shares) * len(shares) / sum(shares),
            **{f"p{p}_ms": percentile(self.delays, p / 100) * 1e3 for p in (50, 99)},
            "max_ms": max(self.delays) * 1e3,
        }


class Fleet:
    """The devices, in processes of their own that serve all measurements."""

    def __init__(self, live: Live) -> None:
        context = get_context("spawn")
        self._live = live
        self._pipes: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        for _ in range(_PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=_drive, args=(live.address, theirs), daemon=True)
            process.start()
            self._processes.append(process)
            self._pipes.append(ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def round(self, signed: Sequence[Sequence[Signed]], *, period: float = 0.0) -> Round:
        """All devices at once."""
        devices = [
            Device(each, period=period, phase=period * number / len(signed)) for number, each in enumerate(signed)
        ]
        for number, pipe in enumerate(self._pipes):
            pipe.send(devices[number::_PROCESSES])
        for pipe in self._pipes:
            assert _received(pipe) == "ready"
        before = server_seconds(self._live)
        for pipe in self._pipes:
            pipe.send("go")
        seen = [each for pipe in self._pipes for each in cast("list[Seen]", _received(pipe))]
        server = server_seconds(self._live) - before
        return Round(seen, sum(segment.frames for each in signed for segment in each), server)


def server_seconds(live: Live) -> float:
    """Processor time that the ledger's workers have used so far."""
    return sum(map(processor_seconds, live.workers))


def _received(pipe: Connection) -> object:
    assert pipe.poll(_PATIENCE), "the devices did not come to an end"
    return pipe.recv()


def _drive(address: str, pipe: Connection) -> None:
    async def ready() -> None:
        pipe.send("ready")
        assert await asyncio.to_thread(pipe.recv) == "go"

    while True:
        devices = cast("list[Device]", pipe.recv())
        pipe.send(asyncio.run(fleet.drive(address, devices, ready=ready)))


@contextmanager
def beside(name: str, address: str, raws: Sequence[bytes]) -> Iterator[None]:
    """A process that behaves badly inside the block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_behave, args=(name, address, raws, theirs), daemon=True)
    process.start()
    try:
        assert _received(ours) == "begun"
        yield
        assert process.is_alive(), f"the one that {name} gave up"
    finally:
        process.kill()
        process.join()


def _behave(name: str, address: str, raws: Sequence[bytes], pipe: Connection) -> None:
    said = False

    def begun() -> None:
        nonlocal said
        if not said:
            said = True
            pipe.send("begun")

    asyncio.run(neighbour(name, address, raws, begun))
