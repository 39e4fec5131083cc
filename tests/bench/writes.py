"""How fast the store takes statements that need no examination: with the tree alone, and with admission to a large log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.bulk import Big, release
from bench.report import Report, Row

from platemark import statement
from platemark.statement import Statement
from platemark_ledger import batch, digests
from platemark_ledger.admission import Examined
from platemark_ledger.batch import Batch, Placed
from platemark_ledger.opening import Ledger
from platemark_ledger.registry import Registry, RegistryCache
from platemark_ledger.store import Store, Stored

__all__ = ["run"]

_BATCH = 256


def run(report: Report, directory: Path, big: Big, *, full: bool) -> None:
    """Subject `writes`, on the large ledger."""
    count = 256 if full else 96
    ledger = big.open()
    try:
        with ledger.store.read() as transaction:
            size = transaction.head().size
        alone = _alone(directory / "alone", _made(big, count))
        admitted, upkeep = _admitted(ledger, _made(big, count))
        plain = _plain(ledger, _made(big, count))
        release(ledger)
    finally:
        ledger.close()
    limit = f"{alone:,.0f}/s LMDB alone, same bytes and commits"
    for what, rate, target in (
        ("tree and store, no admission, 256 a commit", plain, 100_000),
        (f"the same with admission, {size:,} statements, 1,000 devices", admitted, 30_000),
    ):
        report.add(
            Row(
                subject="writes",
                what=what,
                measured=f"{rate:,.0f}/s",
                limit=limit,
                ratio=rate / alone,
                target=f">= {target:,}/s",
                met=rate >= target,
            )
        )
    report.detail("writes", size=size, lmdb_alone=alone, plain=plain, admitted=admitted, index_share=upkeep)


def _made(big: Big, batches: int) -> list[list[Statement]]:
    """Batches that continue the chains of the large ledger, decoded; their ids are known, as after an examination."""
    found = [[statement.decode(big.maker.make().raw) for _ in range(_BATCH)] for _ in range(batches)]
    for each in (each for statements in found for each in statements):
        _ = each.id
    return found


def _alone(directory: Path, batches: Sequence[Sequence[Statement]]) -> float:
    """LMDB with the statements and nothing else."""
    directory.mkdir()
    store = Store.create(directory)
    places = iter(range(len(batches)))

    def write(statements: Sequence[Statement]) -> None:
        with store.write() as transaction:
            transaction.add_statements(next(places) * _BATCH, [Stored(0, 0, each.raw) for each in statements])
            transaction.commit()

    try:
        return _rate(batches, write)
    finally:
        store.close()


def _plain(ledger: Ledger, batches: Sequence[Sequence[Statement]]) -> float:
    """Hashes, rows, kinds, digests, statements, commit."""

    def write(statements: Sequence[Statement]) -> None:
        with ledger.store.write() as transaction:
            stored = [Stored(0, 0, each.raw) for each in statements]
            batch.append(transaction, transaction.head(), statements, stored)
            transaction.commit()

    return _rate(batches, write)


def _admitted(ledger: Ledger, batches: Sequence[Sequence[Statement]]) -> tuple[float, float]:
    """Statements a second with keys, chains and the upkeep of the digest index, and the upkeep's share of the time."""
    cache, limits = RegistryCache(), digests.Limits()
    log_kids = frozenset(signer.signer.kid for signer in ledger.signers)
    upkeep = 0.0

    def write(statements: Sequence[Statement]) -> None:
        nonlocal upkeep
        with ledger.store.write() as transaction:
            entering = Batch(transaction, Registry(transaction, cache), log_kids=log_kids, now=ledger.now_ns())
            for each in statements:
                placed = entering.consider(Examined(each))
                assert isinstance(placed, Placed), placed
            entering.write()
            transaction.commit()
        began = time.perf_counter()
        for _ in range(_due(ledger, limits)):
            with ledger.store.write() as transaction:
                if digests.step(transaction, limits):
                    transaction.commit()
        upkeep += time.perf_counter() - began

    rate = _rate(batches, write)
    return rate, upkeep / (len(batches) * _BATCH / rate)


def _due(ledger: Ledger, limits: digests.Limits) -> int:
    with ledger.store.read() as transaction:
        return digests.backlog(transaction, limits)


def _rate(batches: Sequence[Sequence[Statement]], write: Callable[[Sequence[Statement]], None]) -> float:
    began = time.perf_counter()
    for statements in batches:
        write(statements)
    return sum(map(len, batches)) / (time.perf_counter() - began)
