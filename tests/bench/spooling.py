"""What a spool costs: a put beside the fsync that it cannot do without, a backlog's way to a ledger beside the ledger alone."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.devices import enrol, prepare
from bench.report import Report, Row, percentile
from integration.live import Live, found

from platemark.rpc import Logged
from platemark.rpc.sync import LedgerClient
from platemark.spool import BATCH, Sender, Spool
from platemark.spool.ledger import LedgerDelivery

__all__ = ["run"]


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `spool`."""
    raws = prepare([0], 20_000 if full else 4_000)[0]
    _puts(report, directory, raws[: len(raws) // 2])
    with found(directory / "spool-ledger").served() as live:
        enrol(live, [0])
        _drain(report, directory, live, raws)


def _puts(report: Report, directory: Path, raws: Sequence[bytes]) -> None:
    place = directory / "puts"
    place.mkdir()
    delays: dict[str, list[float]] = {"put": [], "sqlite": [], "fsync": []}
    with Spool(place / "spool") as spool, _sqlite(place) as commit, _file(place) as sync:
        for raw in raws:
            # In turns, so that all three see the same disk under the same load.
            _time(delays["put"], lambda raw=raw: spool.put(raw))  # type: ignore[misc]
            _time(delays["sqlite"], lambda raw=raw: commit(raw))  # type: ignore[misc]
            _time(delays["fsync"], lambda raw=raw: sync(raw))  # type: ignore[misc]
        assert spool.counts().depth == len(raws)
    put, sqlite, fsync = (percentile(delays[name], 0.5) for name in ("put", "sqlite", "fsync"))
    report.add(
        Row(
            subject="spool",
            what="put, durable on return, p50",
            measured=f"{put * 1e3:.2f} ms",
            limit=f"{sqlite * 1e3:.2f} ms = SQLite commit of one row, same bytes, same sync",
            ratio=put / sqlite,
            target="<= 2.00",
            met=put <= 2 * sqlite,
        )
    )
    report.add(
        Row(
            subject="spool",
            what="put, durable on return, p50, beside the disk",
            measured=f"{put * 1e3:.2f} ms",
            limit=f"{fsync * 1e3:.2f} ms = write and fdatasync, same bytes",
            ratio=put / fsync,
        )
    )
    report.detail(
        "spool",
        **{name: {f"p{p}": percentile(each, p / 100) * 1e3 for p in (50, 90, 99)} for name, each in delays.items()},
        puts_per_second=len(raws) / sum(delays["put"]),
    )


def _drain(report: Report, directory: Path, live: Live, raws: Sequence[bytes]) -> None:
    """Four quarters of the same statements: the ledger alone and a spool, each call by call and over a stream."""
    quarter = len(raws) // 4
    parts = [raws[start : start + quarter] for start in range(0, 4 * quarter, quarter)]
    with LedgerClient(live.address, trusted=live.place.trusted) as client:
        alone = _rate(quarter, lambda: _append(client, parts[0]))
        alone_streamed = _rate(quarter, lambda: _append_stream(client, parts[1]))
    drained = _drained(directory / "drain-calls", live, parts[2], streamed=False)
    streamed = _drained(directory / "drain-stream", live, parts[3], streamed=True)
    for what, measured, limit, beside, least in (
        ("one call at a time", drained, alone, "the same calls without a spool", 0.8),
        ("over a stream", streamed, alone_streamed, "the same stream without a spool", 0.8),
        ("over a stream, beside calls", streamed, drained, "the spool drained call by call", 1.0),
    ):
        report.add(
            Row(
                subject="spool",
                what=f"backlog drained, {BATCH} a batch, {what}",
                measured=f"{measured:,.0f}/s",
                limit=f"{limit:,.0f}/s = {beside}",
                ratio=measured / limit,
                target=f">= {least:.2f}",
                met=measured >= least * limit,
            )
        )


def _drained(directory: Path, live: Live, raws: Sequence[bytes], *, streamed: bool) -> float:
    delivery = LedgerDelivery(lambda: LedgerClient(live.address, trusted=live.place.trusted))
    with Spool(directory) as spool, delivery:
        spool.put_many(raws)
        # A delivery that is a plain function has one batch on its way.
        with Sender(spool, delivery if streamed else delivery.__call__) as sender:
            rate = _rate(len(raws), lambda: sender.drain(lambda _: False))
        counts = spool.counts()
        assert (counts.depth, counts.acknowledged) == (0, len(raws)), counts
    return rate


def _append_stream(client: LedgerClient, raws: Sequence[bytes]) -> None:
    for appended in client.append_stream([raws[start : start + BATCH] for start in range(0, len(raws), BATCH)]):
        for outcome in appended.outcomes:
            assert isinstance(outcome, Logged), outcome


def _append(client: LedgerClient, raws: Sequence[bytes]) -> None:
    for start in range(0, len(raws), BATCH):
        for outcome in client.append(raws[start : start + BATCH]).outcomes:
            assert isinstance(outcome, Logged), outcome


@contextmanager
def _sqlite(place: Path) -> Iterator[Callable[[bytes], object]]:
    """SQLite alone, with the same journal and the same sync."""
    with closing(sqlite3.connect(place / "alone.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, raw BLOB)")
        yield lambda raw: connection.execute("INSERT INTO entry (raw) VALUES (?)", (raw,))


@contextmanager
def _file(place: Path) -> Iterator[Callable[[bytes], None]]:
    with (place / "alone.bin").open("wb", buffering=0) as file:

        def sync(raw: bytes) -> None:
            file.write(raw)
            os.fdatasync(file.fileno())

        yield sync


def _time(into: list[float], act: Callable[[], object]) -> None:
    began = time.perf_counter()
    act()
    into.append(time.perf_counter() - began)


def _rate(count: int, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return count / (time.perf_counter() - began)
