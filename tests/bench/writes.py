"""How fast the store takes statements that need no examination: with the tree alone, and with admission to a large log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.bulk import DEVICES, Big, release
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
    """Subject `writes`, on the large ledger. The three ways take turns, batch by batch, so that a slow moment is one for all."""
    ledger = big.open()
    alone = _Alone(directory / "alone")
    ways = (alone, _Plain(ledger), admitted := _Admitted(ledger))
    try:
        with ledger.store.read() as transaction:
            size = transaction.head().size
        # Once through all devices first: a worker that has been running knows its keys.
        for _ in range(1 + DEVICES // _BATCH):
            admitted.write(_made(big))
        for way in ways:
            way.reset()
        admitted.upkeep = 0.0
        for _ in range(256 if full else 96):
            for way in ways:
                statements = _made(big)
                with way.timed(len(statements)):
                    way.write(statements)
        release(ledger)
    finally:
        ledger.close()
        alone.close()
    targets = (
        (ways[1], "tree and store, no admission, 256 a commit", 100_000),
        (ways[2], f"the same with admission, {size:,} statements, 1,000 devices", 30_000),
    )
    for way, what, target in targets:
        report.add(
            Row(
                subject="writes",
                what=what,
                measured=f"{way.rate:,.0f}/s ({way.processor / way.statements * 1e6:.0f} us of processor)",
                limit=f"{alone.rate:,.0f}/s LMDB alone, same bytes and commits",
                ratio=way.rate / alone.rate,
                target=f">= {target:,}/s",
                met=way.rate >= target,
                note=f"{way.written / way.statements:,.0f} bytes written for each statement",
            )
        )
    report.detail(
        "writes",
        size=size,
        per_second={way.name: way.rate for way in ways},
        processor_us={way.name: way.processor / way.statements * 1e6 for way in ways},
        bytes_written={way.name: way.written / way.statements for way in ways},
        index_upkeep_share=admitted.upkeep / admitted.seconds,
    )


def _made(big: Big) -> list[Statement]:
    """A batch that continues the chains of the large ledger, decoded; ids are known, as after an examination."""
    found = [statement.decode(big.maker.make().raw) for _ in range(_BATCH)]
    for each in found:
        _ = each.id
    return found


class _Way:
    """One way to write a batch, and what it took so far."""

    name = ""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what it took so far."""
        self.seconds = self.processor = 0.0
        self.written = self.statements = 0

    @property
    def rate(self) -> float:
        """Statements a second."""
        return self.statements / self.seconds

    def write(self, statements: Sequence[Statement]) -> None:
        """Write one batch and commit it."""
        raise NotImplementedError

    @contextmanager
    def timed(self, statements: int) -> Iterator[None]:
        """Count the block."""
        began, processor, written = time.perf_counter(), time.thread_time(), _written()
        yield
        self.seconds += time.perf_counter() - began
        self.processor += time.thread_time() - processor
        self.written += _written() - written
        self.statements += statements


class _Alone(_Way):
    """LMDB with the statements and nothing else, in a store of its own."""

    name = "lmdb alone"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        directory.mkdir()
        self._store = Store.create(directory)
        self._size = 0

    def write(self, statements: Sequence[Statement]) -> None:
        with self._store.write() as transaction:
            transaction.add_statements(self._size, [Stored(0, 0, each.raw) for each in statements])
            transaction.commit()
        self._size += len(statements)

    def close(self) -> None:
        self._store.close()


class _Plain(_Way):
    """Hashes, rows, kinds, digests, statements."""

    name = "tree and store"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._store = ledger.store

    def write(self, statements: Sequence[Statement]) -> None:
        with self._store.write() as transaction:
            stored = [Stored(0, 0, each.raw) for each in statements]
            examined = [Examined(each, digests.names_of(each)) for each in statements]
            batch.append(transaction, transaction.head(), examined, stored)
            transaction.commit()


class _Admitted(_Way):
    """All of that, with keys, chains and the upkeep of the digest index."""

    name = "admitted"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self._cache, self._limits = RegistryCache(), digests.Limits()
        self._log_kids = frozenset(signer.signer.kid for signer in ledger.signers)
        self.upkeep = 0.0

    def write(self, statements: Sequence[Statement]) -> None:
        store = self._ledger.store
        with store.write() as transaction:
            registry = Registry(transaction, self._cache)
            entering = Batch(transaction, registry, log_kids=self._log_kids, now=self._ledger.now_ns())
            for each in statements:
                placed = entering.consider(Examined(each, digests.names_of(each)))
                assert isinstance(placed, Placed), placed
            entering.write()
            transaction.commit()
        began = time.perf_counter()
        with store.read() as reading:
            steps = digests.backlog(reading, self._limits)
        for _ in range(steps):
            with store.write() as transaction:
                if digests.step(transaction, self._limits):
                    transaction.commit()
        self.upkeep += time.perf_counter() - began


def _written() -> int:
    """Bytes that this process has passed to write(2) and its like; LMDB writes nothing through its map."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))
