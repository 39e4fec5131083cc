"""A thousand devices, a stream of segments each: what the ledger takes, how evenly, and what a bad neighbour costs the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import grpc
from bench.devices import cores
from bench.devices_streaming import Fleet, Round, beside, server_seconds
from bench.report import Report, Row, percentile
from integration.live import Live, found

import fleet
from fleet import Signed
from neighbours import NEIGHBOURS
from platemark.rpc import Logged
from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

__all__ = ["run"]

_DEVICES = 1_000
_EACH = 6  # segments of a device in one measurement
_BESIDE = 4  # and beside a neighbour
_BATCH = 256
_SPARE = 256  # statements of a neighbour's own
_PACE = 1.0  # seconds from one segment to the next of a device that records
_PACED = 3


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `fleet`."""
    each, short = (3 * _EACH, 3 * _BESIDE) if full else (_EACH, _BESIDE)
    count = 2 * each + _PACED + short * (1 + len(NEIGHBOURS))
    signed = _sign([(number, count) for number in range(_DEVICES)])
    spare = [segment.raw for segment in _sign([(_DEVICES, _SPARE)])[0]]
    # All devices here have one address, so that the bound of one caller has to let them in.
    with found(directory / "fleet").served("--workers", "2", MAX_STREAMS="2048", CALLER_STREAMS="1024") as live:
        _enrol(live, _DEVICES + 1)
        _log(live, spare)
        turns = _Turns(signed)
        batches = _batches(turns.take(each))
        before = server_seconds(live)
        unary = asyncio.run(_unary(live.address, batches))
        unary_server = (server_seconds(live) - before) / sum(map(len, batches))
        with Fleet(live) as devices:
            alone = devices.round(turns.take(each))
            _throughput(report, alone, unary, unary_server)
            _paced(report, devices.round(turns.take(_PACED), period=_PACE))
            besides = {}
            for name in NEIGHBOURS:
                with beside(name, live.address, spare):
                    besides[name] = devices.round(turns.take(short))
            again = devices.round(turns.take(short))
    _neighbours(report, besides, again)
    report.detail(
        "fleet",
        devices=_DEVICES,
        unary_per_second=unary,
        alone=alone.facts(),
        again=again.facts(),
        beside={name: each.facts() for name, each in besides.items()},
    )


def _throughput(report: Report, alone: Round, unary: float, unary_server: float) -> None:
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
    own = facts["server_us_per_statement"]
    report.add(
        Row(
            subject="fleet",
            what="  the ledger's processor time of one",
            measured=f"{own:.0f} us",
            limit=f"{unary_server * 1e6:.0f} us unary, {_BATCH} a call",
            ratio=own / (unary_server * 1e6),
            note="without the clients, which share the cores and take more than the ledger",
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


def _paced(report: Report, paced: Round) -> None:
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


def _neighbours(report: Report, besides: Mapping[str, Round], alone: Round) -> None:
    for name, each in besides.items():
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
