"""One caller, one statement a call: the delay of an append beside the delays of the parts that it cannot do without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from bench.devices import device, enrol, prepare
from bench.report import Report, Row, percentile
from grpc_health.v1 import health_pb2, health_pb2_grpc
from integration.live import Live, found

from platemark import statement
from platemark.merkle import leaf_hash
from platemark.rpc import LedgerClient, Logged
from platemark_ledger import anchor
from platemark_ledger.anchor import Anchor
from platemark_ledger.store import Store, Stored

__all__ = ["run"]


@dataclass
class _Delays:
    """Seconds, one of each for every append, measured in turns."""

    append: list[float] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)
    anchor: list[float] = field(default_factory=list)
    verify: list[float] = field(default_factory=list)


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `unary`."""
    raws = prepare([0], 3000 if full else 600)[0]
    with found(directory / "unary").served() as live:
        enrol(live, [0])
        delays = asyncio.run(_measure(live, raws, _Parts(directory / "parts")))
    parts = (delays.empty, delays.commit, delays.anchor, delays.verify)
    whole = sum(percentile(part, 0.5) for part in parts)
    for share, most in ((0.5, 2), (0.99, 5)):
        delay = percentile(delays.append, share)
        report.add(
            Row(
                subject="unary",
                what=f"unary append, one caller, p{share * 100:.0f}",
                measured=f"{delay * 1e3:.2f} ms",
                limit=f"{whole * 1e3:.2f} ms = LMDB commit + anchor write + verify + empty RPC, p50 each",
                ratio=delay / whole,
                target=f"<= {most}.00",
                met=delay <= most * whole,
            )
        )
    names = ("append", "empty", "commit", "anchor", "verify")
    report.detail(
        "unary",
        **{name: {f"p{p}": percentile(getattr(delays, name), p / 100) * 1e3 for p in (50, 90, 99)} for name in names},
    )


class _Parts:
    """The same store and anchor code on the same disk, with one statement a commit and nothing around it."""

    def __init__(self, directory: Path) -> None:
        (directory / "data").mkdir(parents=True)
        self._store = Store.create(directory / "data")
        anchor.create(directory / "anchor", size=1, root=bytes(32), note=bytes(300))
        self._anchor = Anchor(directory / "anchor")
        self._size = 0

    def commit(self, raw: bytes) -> None:
        with self._store.write() as transaction:
            transaction.add_statements(self._size, [Stored(0, 0, raw)])
            transaction.put_row(0, self._size // 256, leaf_hash(raw))
            transaction.commit()
        self._size += 1

    def advance(self, raw: bytes) -> None:
        self._anchor.advance(size=self._size + 1, root=leaf_hash(raw), note=bytes(300))

    def close(self) -> None:
        self._store.close()
        self._anchor.close()


async def _measure(live: Live, raws: Sequence[bytes], parts: _Parts) -> _Delays:
    delays, key = _Delays(), device(0).key.public
    warm = len(raws) // 10
    async with (
        LedgerClient(live.address, trusted=live.place.trusted) as client,
        grpc.aio.insecure_channel(live.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        for place, raw in enumerate(raws):
            began = time.perf_counter()
            (outcome,) = (await client.append([raw])).outcomes
            delays.append.append(time.perf_counter() - began)
            assert isinstance(outcome, Logged), outcome
            began = time.perf_counter()
            await health.Check(health_pb2.HealthCheckRequest())
            delays.empty.append(time.perf_counter() - began)
            message = statement.decode(raw).message
            _time(delays.commit, lambda raw=raw: parts.commit(raw))  # type: ignore[misc]
            _time(delays.anchor, lambda raw=raw: parts.advance(raw))  # type: ignore[misc]
            _time(delays.verify, lambda message=message: message.verify(key))  # type: ignore[misc]
            if place == warm:
                delays = _Delays()
    parts.close()
    return delays


def _time(into: list[float], act: Callable[[], None]) -> None:
    began = time.perf_counter()
    act()
    into.append(time.perf_counter() - began)
