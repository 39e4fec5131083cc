"""A large ledger, served: from a digest to evidence over gRPC, and the memory of the worker that answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from bench.bulk import Big
from bench.devices import prepare
from bench.report import Report, Row, percentile
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.live import Live

from platemark.rpc import LedgerClient, Logged

__all__ = ["run"]

_MIB = 1024 * 1024
_MOST_RESIDENT = 250 * _MIB
_MOST_DELAY = 5e-3


def run(report: Report, big: Big, *, full: bool) -> None:
    """Subject `reads`."""
    with big.place.served() as live:
        (worker,) = live.workers
        started = resident(worker)
        size, lookup, empty = asyncio.run(_read(live, big.samples, 2000 if full else 500))
        _write(live, prepare(range(16), 512))
        worked = resident(worker)
    delay, twice = percentile(lookup, 0.5), 2 * percentile(empty, 0.5)
    report.add(
        Row(
            subject="reads",
            what=f"digest lookup, then evidence, {size:,} statements, p50",
            measured=f"{delay * 1e3:.2f} ms",
            limit=f"{twice * 1e3:.2f} ms two empty RPCs",
            ratio=delay / twice,
            target=f"<= {_MOST_DELAY * 1e3:.0f} ms",
            met=delay <= _MOST_DELAY,
            note="two calls, every path verified by the client",
        )
    )
    beyond = worked["resident"] - worked["map"]
    report.add(
        Row(
            subject="reads",
            what=f"memory of a worker, {size:,} statements, beyond the mapped file",
            measured=f"{beyond / _MIB:.0f} MiB",
            limit=f"{(started['resident'] - started['map']) / _MIB:.0f} MiB when it had just started",
            ratio=beyond / (started["resident"] - started["map"]),
            target=f"<= {_MOST_RESIDENT // _MIB} MiB",
            met=beyond <= _MOST_RESIDENT,
            note="after these reads and 8,192 appends",
        )
    )
    report.detail(
        "reads",
        size=size,
        lookup_ms={f"p{p}": percentile(lookup, p / 100) * 1e3 for p in (50, 90, 99)},
        empty_ms={f"p{p}": percentile(empty, p / 100) * 1e3 for p in (50, 90, 99)},
        started=started,
        worked=worked,
    )


async def _read(live: Live, samples: Sequence[tuple[int, bytes]], count: int) -> tuple[int, list[float], list[float]]:
    """The size of the log; seconds of lookup and evidence together, and of an empty call, in turns."""
    asked = random.Random(1).choices(samples, k=count)
    lookup: list[float] = []
    empty: list[float] = []
    async with (
        LedgerClient(live.address, trusted=live.place.trusted) as client,
        grpc.aio.insecure_channel(live.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        size = (await client.checkpoint()).checkpoint.size
        for index, digest in asked:
            began = time.perf_counter()
            page = await client.lookup(digest)
            evidence = await client.evidence(index=page.statements[0].index)
            lookup.append(time.perf_counter() - began)
            assert page.statements[0].index == index
            assert evidence.content.record.statement == page.statements[0].statement
            began = time.perf_counter()
            await health.Check(health_pb2.HealthCheckRequest())
            empty.append(time.perf_counter() - began)
    return size, lookup[count // 10 :], empty[count // 10 :]


def _write(live: Live, prepared: dict[int, list[bytes]]) -> None:
    client = live.client()
    for raws in prepared.values():
        for start in range(0, len(raws), 256):
            for outcome in client.append(raws[start : start + 256]).outcomes:
                assert isinstance(outcome, Logged), outcome


def resident(pid: int) -> dict[str, int]:
    """Bytes of a process that are in memory: all (`resident`), of the store's map, and without a file behind them."""
    found = {"resident": 0, "map": 0, "anonymous": 0, "private_dirty": 0}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            name = fields[-1]
        elif fields[0] == "Rss:":
            found["resident"] += int(fields[1]) * 1024
            found["map"] += int(fields[1]) * 1024 * name.endswith("/data.mdb")
        elif fields[0] in {"Anonymous:", "Private_Dirty:"}:
            found[fields[0][:-1].lower()] += int(fields[1]) * 1024
    return found
