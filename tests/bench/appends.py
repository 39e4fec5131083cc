"""Signed statements appended over gRPC, durable and proven, against what verifying their signatures alone allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import signatures
from bench.devices import enrol, prepare
from bench.load import Answered, Client, clients, connections, processor_seconds
from bench.report import Report, Row, listening
from integration.live import ORIGIN, Live, found

__all__ = ["run"]

_BATCH = 256
_DEVICES_PER_SENDER = 4
_TARGET = 0.70


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `appends`."""
    processes, senders, batches = 2, 4, 24 if full else 12
    numbers = range(processes * senders * _DEVICES_PER_SENDER)
    prepared = prepare(numbers, batches * _BATCH // _DEVICES_PER_SENDER)
    work = _work(prepared, processes, senders)
    for workers in (1, 2):
        with listening() as noise:
            before = signatures.limit(prepared)
            with found(directory / f"appends-{workers}").served("--workers", str(workers)) as live:
                enrol(live, numbers)
                rate, server, client = _measure(live, work)
            after = signatures.limit(prepared)
        limit = max(before, after, key=lambda each: each.best)
        report.add(
            Row(
                subject="appends",
                what=f"append, 256 a call, {workers} worker{'s' * (workers > 1)}",
                measured=f"{rate:,.0f}/s",
                limit=f"{limit.best:,.0f}/s verifying P-256 alone ({limit.way})",
                ratio=rate / limit.best,
                target=f">= {_TARGET:.2f}",
                met=rate >= _TARGET * limit.best,
                note="2 client processes verify every outcome; 32 devices; proof and anchored checkpoint in each reply",
            )
        )
        whole, alone = server + client, min(before.processor, after.processor)
        report.add(
            Row(
                subject="appends",
                what="  verification's share of the processor time",
                measured=f"{alone * 1e6:.0f} us",
                limit=f"{whole * 1e6:.0f} us a statement: server {server * 1e6:.0f}, clients {client * 1e6:.0f}",
                ratio=alone / whole,
                note="what the ratio above could be if nobody ever waited; steadier on a busy machine",
            )
        )
        report.detail(
            "appends",
            **{
                f"workers={workers}": {
                    "per_second": rate,
                    "limit_threads": [before.threads, after.threads],
                    "verify_us": [before.processor * 1e6, after.processor * 1e6],
                    "limit_processes": [before.processes, after.processes],
                    "server_us_per_statement": server * 1e6,
                    "client_us_per_statement": client * 1e6,
                    "foreign_load": noise.foreign,
                }
            },
        )


def _work(prepared: Mapping[int, list[bytes]], processes: int, senders: int) -> list[list[list[list[bytes]]]]:
    """For each process, for each of its senders: batches in which its devices take turns, each in its chain's order."""
    numbers = iter(prepared)
    share = _BATCH // _DEVICES_PER_SENDER
    return [
        [_batches([prepared[next(numbers)] for _ in range(_DEVICES_PER_SENDER)], share) for _ in range(senders)]
        for _ in range(processes)
    ]


def _batches(devices: Sequence[list[bytes]], share: int) -> list[list[bytes]]:
    return [
        [raw for turn in zip(*(raws[start : start + share] for raws in devices), strict=True) for raw in turn]
        for start in range(0, len(devices[0]), share)
    ]


def _measure(live: Live, work: Sequence[Sequence[Sequence[list[bytes]]]]) -> tuple[float, float, float]:
    """Statements a second, and the processor seconds that server and clients spent on each."""
    with clients(live.address, (live.place.facts["vkey"], ORIGIN), work) as started:
        _spread(live, started)
        before = sum(map(processor_seconds, live.workers))
        for client in started:
            client.go()
        answered = [client.answered() for client in started]
        server = sum(map(processor_seconds, live.workers)) - before
    count = sum(number for each in answered for _, number in each.times)
    return _rate(answered), server / count, sum(each.processor for each in answered) / count


def _spread(live: Live, started: Sequence[Client]) -> None:
    """SO_REUSEPORT spreads connections by chance: connect again until every worker has one."""
    port = int(live.address.rpartition(":")[2])
    for _ in range(64):
        if all(connections(pid, port) > 0 for pid in live.workers):
            return
        started[0].again()
    message = "the connections do not spread over the workers"
    raise AssertionError(message)


def _rate(answered: Sequence[Answered]) -> float:
    """Statements a second between the first tenth and the last tenth of the answers, when every sender is at work."""
    times = sorted(each for part in answered for each in part.times)
    cut = len(times) // 10
    middle = times[cut : len(times) - cut]
    return sum(number for _, number in middle[1:]) / (middle[-1][0] - middle[0][0])
