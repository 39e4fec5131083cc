"""An inclusion proof by index, built and verified on the server's side, as the log grows."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

from bench.bulk import add_rows, release
from bench.report import Report, Row, percentile
from integration.live import NOW

import fakes
from platemark_ledger.opening import Ledger
from platemark_ledger.store import Stored

__all__ = ["run"]

_CHUNK = 8192
_SIZES = (10_000, 100_000, 1_000_000)
_ASKED = 2000
_TARGET = 0.2e-3


def run(report: Report, directory: Path, *, full: bool) -> None:
    """Subject `proofs`. The leaves are of random bytes as long as a capture: no proof looks inside."""
    sizes = (*_SIZES, 10_000_000) if full else _SIZES
    ledgers = {size: fakes.Founded.at(directory / f"proofs-{size}").open() for size in sizes}
    try:
        for size, ledger in ledgers.items():
            _grow(ledger, size)
        found = _medians(ledgers)
    finally:
        for ledger in ledgers.values():
            ledger.close()
    least, first = min(found), found[min(found)]
    for size, seconds in found.items():
        logarithmic = math.log2(size) / math.log2(least)
        report.add(
            Row(
                subject="proofs",
                what=f"inclusion proof by index, {size:,} leaves, p50",
                measured=f"{seconds * 1e3:.3f} ms",
                limit=f"{first * 1e3:.3f} ms at {least:,}; log2 grows {logarithmic:.2f}",
                ratio=seconds / first,
                target=f"<= {_TARGET * 1e3} ms, ratio <= {logarithmic:.2f}",
                met=seconds <= _TARGET and seconds / first <= logarithmic * 1.05,
            )
        )
    report.detail("proofs", p50_ms={str(size): seconds * 1e3 for size, seconds in found.items()})


def _grow(ledger: Ledger, size: int) -> None:
    with ledger.store.read() as transaction:
        start = transaction.head().size
    filling = os.urandom(730)
    for first in range(start, size, _CHUNK):
        raws = [b"%020d" % index + filling for index in range(first, min(first + _CHUNK, size))]
        with ledger.store.write() as transaction:
            transaction.add_statements(first, [Stored(NOW, 0, raw) for raw in raws])
            add_rows(transaction, first, raws)
            transaction.commit()
        release(ledger)


def _medians(ledgers: Mapping[int, Ledger]) -> dict[int, float]:
    """Seconds for each size, asked in turns so that a slow moment is one for all; some first, unmeasured, to warm up."""
    receipts, chance = {size: ledger.receipts() for size, ledger in ledgers.items()}, random.Random(1)
    seconds: dict[int, list[float]] = {size: [] for size in ledgers}
    for _ in range(_ASKED + _ASKED // 10):
        for size, each in receipts.items():
            index = chance.randrange(size)
            began = time.perf_counter()
            proof = each.inclusion(index)
            seconds[size].append(time.perf_counter() - began)
            assert (proof.index, proof.size) == (index, size)
    return {size: percentile(each[_ASKED // 10 :], 0.5) for size, each in seconds.items()}
