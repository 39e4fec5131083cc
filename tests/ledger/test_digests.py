"""The digest index: a lookup finds every statement that carries a digest, whatever has been sorted and merged so far."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platemark_ledger import digests
from platemark_ledger.digests import Limits
from platemark_ledger.store import ReadTransaction, Store, Table

SMALL = Limits(entries=20, rows=6, merge=400, fan_in=3)


def digest(number: int) -> bytes:
    """The name of some digest."""
    return digests.digest_name(hashlib.sha256(b"%d" % number).digest())


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path)
    yield store
    store.close()


class Model:
    """The index and what it should find."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.size = 0
        self.carried: dict[int, list[int]] = {}

    def add(self, batch: list[list[int]]) -> None:
        """One commit: each statement with the numbers of its digests."""
        with self.store.write() as transaction:
            found_by = [
                (index, [digest(number) for number in numbers]) for index, numbers in enumerate(batch, self.size)
            ]
            digests.add(transaction, self.size, found_by)
            transaction.commit()
        for index, numbers in enumerate(batch, self.size):
            for number in set(numbers):
                self.carried.setdefault(number, []).append(index)
        self.size += len(batch)

    def step(self, *, crash: bool = False) -> bool:
        """One step of work, committed or lost."""
        with self.store.write() as transaction:
            worked = digests.step(transaction, SMALL)
            if worked and not crash:
                transaction.commit()
        return worked

    def check(self, numbers: range) -> None:
        """Everything is found, in order, once."""
        with self.store.read() as transaction:
            for number in numbers:
                expected = self.carried.get(number, [])
                assert list(digests.find(transaction, digest(number))) == expected
                middle = self.size // 2
                assert list(digests.find(transaction, digest(number), middle)) == [i for i in expected if i >= middle]


def entries(transaction: ReadTransaction) -> int:
    """How many entries the runs hold."""
    return sum(len(page) // digests.ENTRY for _, page in transaction.scan(Table.RUNS))


@settings(max_examples=25)
@given(st.data())
def test_every_statement_is_found_at_any_moment(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Commits, steps and crashes in any order: a lookup gives all indices of a digest, ascending, each once."""
    store = Store.create(tmp_path_factory.mktemp("store"))
    model = Model(store)
    numbers = st.lists(st.integers(0, 30), min_size=1, max_size=6)
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["add", "add", "step", "steps", "crash"]))
        if action == "add":
            model.add(data.draw(st.lists(numbers, min_size=1, max_size=9)))
        elif action == "steps":
            while model.step():
                pass
        else:
            model.step(crash=action == "crash")
        model.check(range(0, 32, 5))
    while model.step():
        pass
    model.check(range(32))
    store.close()


def test_work_ends_and_leaves_few_runs(store: Store) -> None:
    """When there is nothing left to do, runs are few, nothing merged away is left behind, and no entry was lost."""
    model, chance = Model(store), random.Random(3)
    for _ in range(120):
        model.add([[chance.randrange(200) for _ in range(3)] for _ in range(4)])
        while model.step():
            pass
    with store.read() as transaction:
        assert digests.backlog(transaction, SMALL) == 0
        names = [key[:3] for key, _ in transaction.scan(Table.MANIFEST)]
        assert names == [b"run"] * len(names)
        assert len(names) <= 9
        pending = sum(len(row) // digests.ENTRY for _, row in transaction.scan(Table.PENDING))
        runs = {int.from_bytes(key[3:], "big") for key, _ in transaction.scan(Table.MANIFEST)}
        assert {int.from_bytes(key[:8], "big") for key, _ in transaction.scan(Table.RUNS)} == runs
        unique = sum(len(indices) for indices in model.carried.values())
        assert unique <= entries(transaction) + pending <= 120 * 4 * 3
    model.check(range(200))


def test_a_popular_digest_is_read_page_by_page(store: Store) -> None:
    """A digest that fills many pages is found whole, and a limited reader stops early."""
    model = Model(store)
    for _ in range(60):
        model.add([[7, 1000 + number] for number in range(10)])
    while model.step():
        pass
    model.check(range(7, 8))
    with store.read() as transaction:
        found = digests.find(transaction, digest(7), 100)
        assert [next(found) for _ in range(3)] == [100, 101, 102]


def test_the_backlog_falls_to_nothing(store: Store) -> None:
    """`backlog` is positive exactly while `step` has something to do."""
    model = Model(store)
    for _ in range(40):
        model.add([[number] for number in range(5)])
    for _ in range(10_000):
        with store.read() as transaction:
            left = digests.backlog(transaction, SMALL)
        assert (left > 0) == model.step()
        if not left:
            return
    pytest.fail("the work does not end")


def test_what_a_device_chooses_as_digest_is_no_name_of_a_statement(store: Store) -> None:
    """A statement id or a kid given out as the digest of an image is not found where ids or the statements of keys are."""
    chosen = bytes(range(32))
    with store.write() as transaction:
        names = [digests.digest_name(chosen), digests.id_name(chosen), digests.writer_name(chosen)]
        digests.add(transaction, 0, [(index, [name]) for index, name in enumerate(names)])
        transaction.commit()
    with store.read() as transaction:
        found = [list(digests.find(transaction, name)) for name in names]
    assert found == [[0], [1], [2]]
