"""A thousand devices, a stream of segments each: what the ledger takes, how evenly, and what a bad neighbour costs the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import fleet
import grpc
from bench.devices import cores
from bench.report import Report, Row, percentile
from fleet import Device, Seen, Signed
from integration.live import Live, found

from platemark.rpc import Logged
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

__all__ = ["run"]

_DEVICES = 1_000
_EACH = 4  # segments of a device in one measurement
_BESIDE = 2  # and beside a neighbour
_PROCESSES = 2
_BATCH = 256
_PATIENCE = 60.0
_SPARE = 256  # statements of a neighbour's own
_PACE = 1.0  # seconds from one segment to the next of a device that records
_PACED = 3


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `fleet`."""
    each, short = (3 * _EACH, 3 * _BESIDE) if full else (_EACH, _BESIDE)
    count = 2 * each + _PACED + short * (1 + len(fleet.NEIGHBOURS))
    signed = _sign([(number, count) for number in range(_DEVICES)])
    spare = [segment.raw for segment in _sign([(_DEVICES, _SPARE)])[0]]
    # All devices here have one address, so that the bound of one caller has to let them in.
    with found(directory / "fleet").served("--workers", "2", MAX_STREAMS="2048", CALLER_STREAMS="1024") as live:
        _enrol(live, _DEVICES + 1)
        _log(live, spare)
        turns = _Turns(signed)
        batches = _batches(turns.take(each))
        unary = asyncio.run(_unary(live.address, batches))
        alone = _round(live, turns.take(each))
        _throughput(report, alone, unary)
        _paced(report, _round(live, turns.take(_PACED), period=_PACE))
        beside = {}
        for name in fleet.NEIGHBOURS:
            with _neighbour(name, live.address, spare):
                beside[name] = _round(live, turns.take(short))
        again = _round(live, turns.take(short))
    _neighbours(report, beside, again)
    report.detail(
        "fleet",
        devices=_DEVICES,
        unary_per_second=unary,
        alone=alone.facts(),
        again=again.facts(),
        beside={name: each.facts() for name, each in beside.items()},
    )


@dataclass(frozen=True)
class _Round:
    """What all devices saw in one measurement."""

    seen: list[Seen]
    frames: int

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
            "jain": fleet.jain(shares),
            "slowest_to_mean": min(shares) * len(shares) / sum(shares),
            **{f"p{p}_ms": percentile(self.delays, p / 100) * 1e3 for p in (50, 99)},
            "max_ms": max(self.delays) * 1e3,
        }


def _throughput(report: Report, alone: _Round, unary: float) -> None:
    facts = alone.facts()
    report.add(
        Row(
            subject="fleet",
            what=f"{_DEVICES:,} devices, a stream each, 1 a message",
            measured=f"{alone.rate:,.0f}/s",
            limit=f"{unary:,.0f}/s = the same segments, unary, {_BATCH} a call",
            ratio=alone.rate / unary,
            note="2 workers, 2 client processes, own keys and connections; at most 16 of a device under way",
        )
    )
    report.add(
        Row(
            subject="fleet",
            what="  frames covered through them",
            measured=f"{facts['frames_per_second']:,.0f}/s",
            limit="200,000/s on two cores",
            ratio=facts["frames_per_second"] / 200_000,
            target=">= 1.00",
            met=facts["frames_per_second"] >= 200_000,
            note="30 to 180 frames a segment",
        )
    )
    report.add(
        Row(
            subject="fleet",
            what="  fairness: Jain's index over devices",
            measured=f"{facts['jain']:.3f}",
            limit=f"1 = all alike; the slowest has {facts['slowest_to_mean']:.0%} of the mean",
            ratio=facts["jain"],
            target=">= 0.90",
            met=facts["jain"] >= 0.9,
        )
    )


def _paced(report: Report, paced: _Round) -> None:
    slowest = [percentile(each.delays, 0.5) for each in paced.seen]
    report.add(
        Row(
            subject="fleet",
            what=f"{_DEVICES:,} devices, a segment every {_PACE:g} s: delay p50",
            measured=f"{percentile(paced.delays, 0.5) * 1e3:.1f} ms",
            limit=f"p99 {percentile(paced.delays, 0.99) * 1e3:.1f} ms, longest {max(paced.delays) * 1e3:.1f} ms; "
            f"of the slowest device p50 {max(slowest) * 1e3:.1f} ms",
            note="from the moment a segment was due to its verified place in the log",
        )
    )
    report.detail("fleet", paced=paced.facts())


def _neighbours(report: Report, beside: Mapping[str, _Round], alone: _Round) -> None:
    for name, each in beside.items():
        facts = each.facts()
        report.add(
            Row(
                subject="fleet",
                what=f"  beside one that {name}"
                if not name.startswith("never")
                else f"  beside one that {name} its answers",
                measured=f"{each.rate:,.0f}/s",
                limit=f"{alone.rate:,.0f}/s alone; p99 {facts['p99_ms']:.0f} ms, alone {alone.facts()['p99_ms']:.0f}; "
                f"Jain {facts['jain']:.3f}",
                ratio=each.rate / alone.rate,
                target=">= 0.50",
                met=each.rate >= 0.5 * alone.rate,
                note="its own work is done on the same cores",
            )
        )


class _Turns:
    """Hands out what was signed, in the order of the chains."""

    def __init__(self, signed: Sequence[Sequence[Signed]]) -> None:
        self._signed = signed
        self._at = 0

    def take(self, count: int) -> list[Sequence[Signed]]:
        """The next `count` of every device."""
        begin, self._at = self._at, self._at + count
        return [each[begin : self._at] for each in self._signed]


def _sign(orders: Sequence[tuple[int, int]]) -> list[list[Signed]]:
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(fleet.sign, *zip(*orders, strict=True), chunksize=16))


def _enrol(live: Live, count: int) -> None:
    registrar, client = live.place.registrar(), live.client()
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        for outcome in client.append([registrar.enrolment(fleet.device(each), "sensor") for each in numbers]).outcomes:
            assert isinstance(outcome, Logged), outcome


def _log(live: Live, raws: Sequence[bytes]) -> None:
    for outcome in live.client().append(raws).outcomes:
        assert isinstance(outcome, Logged), outcome


def _batches(signed: Sequence[Sequence[Signed]]) -> list[list[bytes]]:
    """Each device's in the order of its chain, all in one batch."""
    raws = [segment.raw for each in signed for segment in each]
    each = len(signed[0])
    step = _BATCH // each * each
    return [raws[start : start + step] for start in range(0, len(raws), step)]


async def _unary(address: str, batches: Sequence[list[bytes]]) -> float:
    """Statements a second by four senders that wait for each answer, unverified as those of the streams."""
    left = iter(batches)
    async with grpc.aio.insecure_channel(address) as one, grpc.aio.insecure_channel(address) as two:
        await asyncio.gather(one.channel_ready(), two.channel_ready())
        stubs = [cast("Any", ledger_pb2_grpc.LedgerStub(channel)) for channel in (one, two)]
        began = time.monotonic()

        async def send(number: int) -> None:
            for batch in left:
                reply = await stubs[number % 2].Append(pb.AppendRequest(statements=batch))
                assert all(outcome.HasField("logged") for outcome in reply.outcomes)

        await asyncio.gather(*(send(number) for number in range(4)))
    return sum(map(len, batches)) / (time.monotonic() - began)


def _round(live: Live, signed: Sequence[Sequence[Signed]], *, period: float = 0.0) -> _Round:
    """All devices at once, in processes of their own."""
    devices = [Device(each, period=period, phase=period * number / len(signed)) for number, each in enumerate(signed)]
    context = get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    try:
        for number in range(_PROCESSES):
            ours, theirs = context.Pipe()
            share = devices[number::_PROCESSES]
            process = context.Process(target=_drive, args=(live.address, share, theirs), daemon=True)
            process.start()
            processes.append(process)
            pipes.append(ours)
        for pipe in pipes:
            assert _received(pipe) == "ready"
        for pipe in pipes:
            pipe.send("go")
        seen = [each for pipe in pipes for each in cast("list[Seen]", _received(pipe))]
    finally:
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
    return _Round(seen, sum(segment.frames for each in signed for segment in each))


def _received(pipe: Connection) -> object:
    assert pipe.poll(_PATIENCE), "the devices did not come to an end"
    return pipe.recv()


def _drive(address: str, devices: Sequence[Device], pipe: Connection) -> None:
    async def ready() -> None:
        pipe.send("ready")
        assert await asyncio.to_thread(pipe.recv) == "go"

    pipe.send(asyncio.run(fleet.drive(address, devices, ready=ready)))


@contextmanager
def _neighbour(name: str, address: str, raws: Sequence[bytes]) -> Iterator[None]:
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

    asyncio.run(fleet.neighbour(name, address, raws, begun))
