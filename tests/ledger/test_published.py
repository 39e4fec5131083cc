"""Published checkpoints as they are stored: what is kept, what is removed, and what is never taken back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark_ledger import published
from platemark_ledger.errors import StoreError
from platemark_ledger.published import Published, Stamp
from platemark_ledger.store import Store, Table

CRL = b"a list of revoked certificates"


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path)
    yield store
    store.close()


@contextmanager
def fresh() -> Iterator[Store]:
    """A new store, for one example."""
    with TemporaryDirectory() as directory:
        store = Store.create(Path(directory))
        try:
            yield store
        finally:
            store.close()


def row(size: int, *, witnessed: bool = False, by: tuple[str, ...] = ()) -> Published:
    """A published checkpoint of a size, stamped by some authorities."""
    return Published(
        size=size,
        root=sha256(b"%d" % size).digest(),
        log_note=b"note %d\n" % size,
        at=size,
        cosignatures=("\u2014 w1 AAAA\n",) if witnessed else (),
        witnessed=witnessed,
        stamps=tuple(Stamp(each, b"response " + each.encode(), (CRL,)) for each in by),
    )


def no_crl(_name: bytes) -> None:
    """A store without revocation lists."""


def put(store: Store, each: Published) -> Published:
    """Store one row durably."""
    with store.write() as transaction:
        stored = published.put(transaction, each)
        transaction.commit()
    return stored


def rows(store: Store) -> list[Published]:
    """Every row, smallest first."""
    with store.read() as transaction:
        sizes = [int.from_bytes(key, "big") for key, _ in transaction.scan(Table.PUBLISHED)]
        found = [published.at_size(transaction, size) for size in sizes]
    return [each for each in found if each is not None]


_rows = st.builds(
    lambda size, witnessed, by: row(size, witnessed=witnessed, by=tuple(sorted(by))),
    st.integers(1, 12),
    st.booleans(),
    st.sets(st.sampled_from(["tsa1", "tsa2"])),
)


@given(_rows)
def test_a_row_comes_back_as_it_was_stored(each: Published) -> None:
    """Encode and decode are inverse."""
    lists = {sha256(CRL).digest(): CRL}
    assert published.decode(each.size, published.encode(each), lists.get) == each


@given(puts=st.lists(_rows, max_size=12))
def test_what_was_stamped_or_is_newest_stays_and_the_rest_goes(puts: list[Published]) -> None:
    """After any puts: every stamp is there, so are the newest and the newest witnessed row, and no other unstamped one."""
    with fresh() as store:
        for each in puts:
            put(store, each)
        found = rows(store)
        stamped = {(each.size, stamp.authority) for each in puts for stamp in each.stamps}
        assert {(each.size, stamp.authority) for each in found for stamp in each.stamps} == stamped
        with store.read() as transaction:
            newest, witnessed = published.newest(transaction), published.newest_witnessed(transaction)
        greatest = max((each.size for each in puts), default=None)
        assert (newest.size if newest else None) == greatest
        most = max((each.size for each in puts if each.witnessed), default=None)
        assert (witnessed.size if witnessed else None) == most
        assert witnessed is None or witnessed.witnessed
        unstamped = {each.size for each in found if not each.stamps}
        assert unstamped <= {greatest, most}


@given(puts=st.lists(_rows, max_size=12), index=st.integers(0, 13), most=st.integers(0, 13))
def test_the_earliest_stamped_row_that_covers_an_index_is_found(puts: list[Published], index: int, most: int) -> None:
    """The smallest size above the index, not above the bound, that anybody stamped."""
    with fresh() as store:
        for each in puts:
            put(store, each)
        with store.read() as transaction:
            found = published.earliest_stamped(transaction, index, most)
        sizes = [each.size for each in puts if each.stamps and index < each.size <= most]
        assert (found.size if found else None) == min(sizes, default=None)


def test_nothing_that_was_published_is_taken_back(store: Store) -> None:
    """A later row of the same size adds its stamps and, if it is witnessed, its cosignatures; it removes nothing."""
    put(store, row(3, witnessed=True, by=("tsa1",)))
    again = put(store, replace(row(3, by=("tsa2",)), at=99))
    assert again.witnessed
    assert again.cosignatures == ("\u2014 w1 AAAA\n",)
    assert {stamp.authority for stamp in again.stamps} == {"tsa1", "tsa2"}
    assert again.at == 3
    assert rows(store) == [again]


@pytest.mark.parametrize("changes", [{"root": bytes(32)}, {"log_note": b"another\n"}])
def test_one_size_has_one_log_note(store: Store, changes: dict[str, bytes]) -> None:
    """A second root or note for a size is refused, and what was there stays."""
    put(store, row(3))
    with pytest.raises(StoreError, match="refused a second published checkpoint of size 3"):
        put(store, replace(row(3), **changes))  # type: ignore[arg-type] # the fields that are bytes
    assert rows(store) == [row(3)]


def test_a_revocation_list_is_stored_once(store: Store) -> None:
    """However many stamps carry it."""
    for size in (1, 2, 3):
        put(store, row(size, by=("tsa1", "tsa2")))
    with store.read() as transaction:
        assert transaction.count(Table.CRLS) == 1
    assert all(stamp.crls == (CRL,) for each in rows(store) for stamp in each.stamps)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\xa0", b"\xa1av\x02", b"\xf6", b"\x80", published.encode(row(3))[:-1]],
)
def test_a_damaged_row_is_an_error_of_the_data(data: bytes) -> None:
    """Whatever is in a row, reading it ends in StoreError and in nothing else."""
    with pytest.raises(StoreError):
        published.decode(3, data, no_crl)


def test_a_missing_revocation_list_is_an_error_of_the_data() -> None:
    """Evidence would otherwise silently lose it."""
    with pytest.raises(StoreError, match="a CRL of the published checkpoint of size 3 is missing"):
        published.decode(3, published.encode(row(3, by=("tsa1",))), no_crl)
