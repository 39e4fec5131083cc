"""Conditions are counted where they are logged."""

from pathlib import Path

from platemark_ledger import noticed
from platemark_ledger.conditions import CONDITIONS, bits_of
from platemark_ledger.store import Store

NONE = dict.fromkeys((each.code for each in CONDITIONS), 0)


def test_each_condition_is_counted_once_for_each_statement(tmp_path: Path) -> None:
    """Counts add up over commits; a transaction that is not committed counts nothing."""
    store = Store.create(tmp_path)
    with store.write() as transaction:
        noticed.add(transaction, [bits_of("fork", "prev-mismatch"), bits_of("fork"), 0])
        transaction.commit()
    with store.write() as transaction:
        noticed.add(transaction, [bits_of("fork")])
    with store.write() as transaction:
        noticed.add(transaction, [bits_of("gap"), bits_of("fork")])
        transaction.commit()
    with store.read() as reading:
        assert noticed.counts(reading) == NONE | {"fork": 3, "prev-mismatch": 1, "gap": 1}
    store.close()


def test_a_condition_of_a_later_release_is_counted_and_not_shown(tmp_path: Path) -> None:
    """A bit that has no name here neither fails nor is taken for another condition."""
    store = Store.create(tmp_path)
    with store.write() as transaction:
        noticed.add(transaction, [1 << len(CONDITIONS) | bits_of("gap")])
        transaction.commit()
    with store.read() as reading:
        assert noticed.counts(reading) == NONE | {"gap": 1}
    store.close()
