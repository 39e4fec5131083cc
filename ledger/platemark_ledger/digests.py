"""From a digest, an id or a key to the statements that carry it, have it or are signed by it, indexed behind the log.

A random 32-byte key per digest would make every commit touch as many pages as it has digests. So each commit writes one row
to `pending`: what its statements can be found by, sorted. When enough is pending, `step` sorts it into a run; eight runs of
like size are merged into one, a few thousand entries per transaction. A lookup asks every run and every pending row,
so that it finds an acknowledged statement the moment it is acknowledged.

An entry is 24 bytes: a name of 16 and the index as u64. The name is a hash of what is looked for, tagged with whether it is a
statement id, a digest or the kid of a key: who writes statements chooses their digests, and must not be able to choose names,
least of all one that some statement id has, since ids are looked up under the sequencer lock. What is found here is a candidate
until the statement itself has been looked at.

pending     index u64 of the batch's first statement             -> its entries, sorted
runs        run u64, the page's first entry                      -> up to 170 entries, sorted (one page of LMDB)
manifest    "run" run u64                                        -> entries u64: a run that lookups ask
            "job"                                                -> the merge under way: output, entries done, last entry, inputs
            "old" run u64                                        -> (nothing): a run whose pages are still to be removed
meta        pending: entries u64, rows u64; run: the last run number given out
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass
from hashlib import sha256
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING, cast

from platemark import cbor
from platemark.statement import decode
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from platemark.statement import Statement
    from platemark_ledger.store import ReadTransaction, WriteTransaction

__all__ = [
    "ENTRY",
    "Limits",
    "add",
    "backlog",
    "digest_name",
    "find",
    "find_id",
    "id_name",
    "names_of",
    "rungs_of",
    "step",
    "writer_name",
]

ENTRY = 24
_NAME = 16
_PAGE = 170  # 170 * 24 + LMDB's page header fill 4096 bytes
_U64 = struct.Struct(">Q")
_COUNTS = struct.Struct(">QQ")


@dataclass(frozen=True, slots=True)
class Limits:
    """How the index is kept. `entries` or `rows` pending make a run; `merge` is the most entries one step moves.

    At the defaults a step holds LMDB's writer for some 10 ms. `fan_in` runs of like size are merged into one.
    """

    entries: int = 16384
    rows: int = 1024
    merge: int = 8192
    fan_in: int = 8


def rungs_of(statement: Statement) -> list[tuple[str, int, bytes]]:
    """Every digest that a statement carries: (rung, COSE hash algorithm, digest)."""
    rungs = cast("Mapping[str, Mapping[int, bytes]]", statement.payload.get("digests", {}))
    return [(rung, algorithm, digest) for rung, by in rungs.items() for algorithm, digest in by.items()]


def digest_name(digest: bytes) -> bytes:
    """The name under which the statements that carry a digest are found, 16 bytes."""
    return sha256(b"digest" + digest).digest()[:_NAME]


def id_name(statement_id: bytes) -> bytes:
    """The name under which a statement is found by its id, 16 bytes; in practice nobody can make a second statement with it."""
    return sha256(b"id" + statement_id).digest()[:_NAME]


def writer_name(kid: bytes) -> bytes:
    """The name under which the statements are found that a key has signed, 16 bytes."""
    return sha256(b"writer" + kid).digest()[:_NAME]


def names_of(statement: Statement) -> list[bytes]:
    """What a statement can be found by: its id, its key, and the digests of each of its rungs."""
    rungs = cast("Mapping[str, Mapping[int, bytes]]", statement.payload.get("digests", {}))
    carried = (digest_name(digest) for by in rungs.values() for digest in by.values())
    return [id_name(statement.id), writer_name(statement.kid), *carried]


def add(transaction: WriteTransaction, first: int, found_by: Iterable[tuple[int, Sequence[bytes]]]) -> None:
    """Note a batch from index `first` on: (index, the names it is found by). In the transaction that logs the batch."""
    entries = sorted([name + number for index, names in found_by for number in [_U64.pack(index)] for name in names])
    transaction.put(Table.PENDING, _U64.pack(first), b"".join(entries))
    pending, rows = _pending(transaction)
    transaction.put(Table.META, b"pending", _COUNTS.pack(pending + len(entries), rows + 1))


def find(transaction: ReadTransaction, name: bytes, start: int = 0) -> Iterator[int]:
    """The indices from `start` on of the statements that may have this name, ascending: candidates, none missing.

    Reads only as far as it is asked, so that a digest which a million statements carry costs no more than its first page.
    """
    low = name + _U64.pack(start)
    high = name + b"\xff" * 8
    sources = [_find_in_run(transaction, run, low, high) for run in _names(transaction, b"run")]
    for entry, _ in groupby(merge(*sources, _find_pending(transaction, low, high))):
        yield int.from_bytes(entry[_NAME:], "big")


def find_id(transaction: ReadTransaction, statement_id: bytes, size: int) -> int | None:
    """The index below `size` of the statement with this id, or None."""
    for index in find(transaction, id_name(statement_id)):
        if index < size and decode(transaction.statement(index).raw).id == statement_id:
            return index
    return None


def backlog(transaction: ReadTransaction, limits: Limits) -> int:
    """How much there is to do, in merges and the like; 0 when there is nothing to do."""
    pending, rows = _pending(transaction)
    to_sort = max(pending // limits.entries, rows // limits.rows)
    job = transaction.get(Table.MANIFEST, b"job") is not None
    old = any(True for _ in _names(transaction, b"old"))
    return to_sort + job + old + sum(len(runs) // limits.fan_in for runs in _classes(transaction, limits).values())


def step(transaction: WriteTransaction, limits: Limits) -> bool:
    """Do one bounded piece of work; False when there was none. The caller commits.

    If we crash before the commit, nothing happened. After any commit the index is whole: a run under way is not in the
    manifest, and its inputs are, until the transaction that swaps them.
    """
    pending, rows = _pending(transaction)
    if pending >= limits.entries or rows >= limits.rows:
        _sort_pending(transaction, limits)
    elif (job := transaction.get(Table.MANIFEST, b"job")) is not None:
        _merge(transaction, _Job.decode(job), limits)
    elif (old := next(_names(transaction, b"old"), None)) is not None:
        _remove(transaction, old, limits)
    elif (due := _due(transaction, limits)) is not None:
        _Job(_new_run(transaction), 0, b"", due).save(transaction)
    else:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Job:
    """A merge of `inputs` into run `output`, of which `done` entries up to `last` have been written."""

    output: int
    done: int
    last: bytes
    inputs: tuple[int, ...]

    @classmethod
    def decode(cls, value: bytes) -> _Job:
        output, done, last, inputs = cast("tuple[int, int, bytes, list[int]]", cbor.decode(value))
        return cls(output, done, last, tuple(inputs))

    def save(self, transaction: WriteTransaction) -> None:
        value = cbor.encode([self.output, self.done, self.last, self.inputs])
        transaction.put(Table.MANIFEST, b"job", value)


def _sort_pending(transaction: WriteTransaction, limits: Limits) -> None:
    """Turn the oldest pending rows into a run that lookups ask, in one transaction."""
    taken: list[tuple[bytes, bytes]] = []
    entries: list[bytes] = []
    for key, row in transaction.scan(Table.PENDING):
        taken.append((key, row))
        entries += _split(row)
        if len(entries) >= limits.entries or len(taken) >= limits.rows:
            break
    entries.sort()
    run = _new_run(transaction)
    _write_pages(transaction, run, entries)
    transaction.put(Table.MANIFEST, b"run" + _U64.pack(run), _U64.pack(len(entries)))
    for key, _ in taken:
        transaction.delete(Table.PENDING, key)
    pending, rows = _pending(transaction)
    transaction.put(Table.META, b"pending", _COUNTS.pack(pending - len(entries), rows - len(taken)))


def _classes(transaction: ReadTransaction, limits: Limits) -> dict[int, list[int]]:
    """The runs by size class, oldest first: up to `entries`, up to `fan_in` times as many, and so on."""
    classes: dict[int, list[int]] = {}
    for run, entries in _sizes(transaction):
        size_class, most = 0, limits.entries
        while entries > most:
            size_class, most = size_class + 1, most * limits.fan_in
        classes.setdefault(size_class, []).append(run)
    return classes


def _due(transaction: ReadTransaction, limits: Limits) -> tuple[int, ...] | None:
    """The runs to merge next: `fan_in` of one size class, the smallest class first."""
    for _, runs in sorted(_classes(transaction, limits).items()):
        if len(runs) >= limits.fan_in:
            return tuple(runs[: limits.fan_in])
    return None


def _merge(transaction: WriteTransaction, job: _Job, limits: Limits) -> None:
    """Move the next entries of the inputs into the output; when there are none left, swap output for inputs."""
    share = max(limits.merge // len(job.inputs), 1)
    gathered: list[bytes] = []
    bound: bytes | None = None
    for run in job.inputs:
        some, ended = _after(transaction, run, job.last, share)
        gathered += some
        if not ended and (bound is None or some[-1] < bound):
            bound = some[-1]  # entries of this run beyond it have not been read yet
    gathered.sort()
    if bound is not None:
        gathered = gathered[: bisect_left(gathered, bound) + 1]
        full = len(gathered) // _PAGE * _PAGE
        gathered = gathered[: full or len(gathered)]
    _write_pages(transaction, job.output, gathered)
    done = job.done + len(gathered)
    if bound is not None:
        _Job(job.output, done, gathered[-1], job.inputs).save(transaction)
        return
    for run in job.inputs:
        transaction.delete(Table.MANIFEST, b"run" + _U64.pack(run))
        transaction.put(Table.MANIFEST, b"old" + _U64.pack(run), b"")
    transaction.put(Table.MANIFEST, b"run" + _U64.pack(job.output), _U64.pack(done))
    transaction.delete(Table.MANIFEST, b"job")


def _remove(transaction: WriteTransaction, run: int, limits: Limits) -> None:
    """Remove some pages of a run that has been merged away."""
    prefix = _U64.pack(run)
    keys: list[bytes] = []
    for key, _ in transaction.scan(Table.RUNS, prefix):
        if not key.startswith(prefix) or len(keys) * _PAGE >= 4 * limits.merge:
            break
        keys.append(key)
    for key in keys:
        transaction.delete(Table.RUNS, key)
    if not keys:
        transaction.delete(Table.MANIFEST, b"old" + prefix)


def _after(transaction: ReadTransaction, run: int, last: bytes, share: int) -> tuple[list[bytes], bool]:
    """At least `share` entries of a run above `last`, and whether they are all there are."""
    prefix = _U64.pack(run)
    found: list[bytes] = []
    for page in _pages_from(transaction, prefix, last):
        entries = _split(page)
        found += entries[bisect_left(entries, last + b"\0") :] if last else entries
        if len(found) >= share:
            return found, False
    return found, True


def _find_pending(transaction: ReadTransaction, low: bytes, high: bytes) -> Iterator[bytes]:
    """Batches are pending in the order of their indices, so what is found in them is in order too."""
    for _, row in transaction.scan(Table.PENDING):
        yield from _between(row, low, high)


def _find_in_run(transaction: ReadTransaction, run: int, low: bytes, high: bytes) -> Iterator[bytes]:
    for page in _pages_from(transaction, _U64.pack(run), low):
        if page[:ENTRY] > high:
            return
        yield from _between(page, low, high)


def _pages_from(transaction: ReadTransaction, prefix: bytes, entry: bytes) -> Iterator[bytes]:
    """The pages of a run from the one that `entry` is or would be in."""
    before = transaction.before(Table.RUNS, prefix + entry)
    start = before[0] if before is not None and before[0].startswith(prefix) else prefix + entry
    for key, page in transaction.scan(Table.RUNS, start):
        if not key.startswith(prefix):
            return
        yield page


def _between(page: bytes, low: bytes, high: bytes) -> Iterator[bytes]:
    """The entries of a sorted page with low <= entry <= high."""
    count = len(page) // ENTRY
    place = bisect_left(range(count), low, key=lambda place: page[place * ENTRY : (place + 1) * ENTRY])
    while place < count and (entry := page[place * ENTRY : (place + 1) * ENTRY]) <= high:
        yield entry
        place += 1


def _write_pages(transaction: WriteTransaction, run: int, entries: list[bytes]) -> None:
    prefix = _U64.pack(run)
    for cut in range(0, len(entries), _PAGE):
        page = entries[cut : cut + _PAGE]
        transaction.put(Table.RUNS, prefix + page[0], b"".join(page))


def _split(page: bytes) -> list[bytes]:
    return [page[cut : cut + ENTRY] for cut in range(0, len(page), ENTRY)]


def _pending(transaction: ReadTransaction) -> tuple[int, int]:
    value = transaction.get(Table.META, b"pending")
    return (0, 0) if value is None else cast("tuple[int, int]", _COUNTS.unpack(value))


def _new_run(transaction: WriteTransaction) -> int:
    value = transaction.get(Table.META, b"run")
    run = 1 if value is None else int.from_bytes(value, "big") + 1
    transaction.put(Table.META, b"run", _U64.pack(run))
    return run


def _names(transaction: ReadTransaction, name: bytes) -> Iterator[int]:
    for key, _ in transaction.scan(Table.MANIFEST, name):
        if not key.startswith(name):
            return
        yield int.from_bytes(key[len(name) :], "big")


def _sizes(transaction: ReadTransaction) -> Iterator[tuple[int, int]]:
    for key, value in transaction.scan(Table.MANIFEST, b"run"):
        if not key.startswith(b"run"):
            return
        yield int.from_bytes(key[3:], "big"), int.from_bytes(value, "big")
