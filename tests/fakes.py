"""Ledgers for tests, and the parts of one that fail on purpose.

The fakes wrap the real store, anchor and signer, which stay in charge: a part that fails either leaves everything as it was or
does its whole work first, so that a test can say "failed and not persisted" and "failed but persisted".
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import builders
from platemark import merkle, statement
from platemark.checkpoint import open_checkpoint
from platemark.cosignature import CosignatureSigner
from platemark.keys import ML_DSA_44
from platemark.note import NoteSigner
from platemark_ledger import admission, digests, genesis
from platemark_ledger.admission import references_of
from platemark_ledger.anchor import Anchor, Anchored
from platemark_ledger.batch import check_tail
from platemark_ledger.conditions import Condition, conditions_of
from platemark_ledger.errors import AnchorError, StoreError
from platemark_ledger.opening import Ledger, Paths, open_ledger
from platemark_ledger.registry import MemoryRows, Registry
from platemark_ledger.sequencer import Appended, Logged, Sequencer
from platemark_ledger.store import ReadTransaction, Store, Stored, Table, WriteTransaction

__all__ = [
    "Clock",
    "FaultyAnchor",
    "FaultySigner",
    "FaultyStore",
    "Founded",
    "check_answer",
    "check_log",
    "flipped",
    "high_s",
    "sequencing",
    "signed_again",
    "with_faults",
]


@dataclass
class Clock:
    """A clock that moves only when told to, in Unix nanoseconds."""

    now: int = builders.NOW

    def __call__(self) -> int:
        """The time."""
        return self.now


@dataclass
class Founded:
    """A ledger on disk and the writers who know its policy; `log` builds statements whose places nobody has decided yet."""

    paths: Paths
    log: builders.Log
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def at(cls, directory: Path, *, log: builders.Log | None = None) -> "Founded":
        """A new ledger below `directory`."""
        founded = cls(Paths.of(directory), log or builders.Log())
        genesis.create(founded.paths, policy=founded.log.statements, signers=founded.signers, now_ns=founded.clock)
        return founded

    @property
    def signers(self) -> list[NoteSigner]:
        """The log's own."""
        return [NoteSigner(self.log.origin, self.log.log_key)]

    def open(self) -> Ledger:
        """Open it, with all the checks of a start."""
        second = next((each for each in self.log.more_log_keys if each.alg == ML_DSA_44), None)
        cosigner = None if second is None else CosignatureSigner(self.log.origin, second)
        return open_ledger(self.paths, signers=self.signers, cosigner=cosigner, now_ns=self.clock)

    def made(self, *indices: int) -> list[bytes]:
        """The statements that `log` built under these numbers."""
        return [self.log.statements[index] for index in indices]

    def enrolment(self, who: builders.Party = builders.MODALITY, *, role: str = "modality") -> bytes:
        """The enrolment of a device by the registrar of the policy."""
        return self.made(self.log.enrol(who, role=role))[0]

    def captures(self, count: int, *, by: builders.Party = builders.MODALITY) -> list[bytes]:
        """Captures in the order of their key's chain."""
        return self.made(*(self.log.capture(b"image %d" % number, by=by) for number in range(count)))


class FaultyAnchor(Anchor):
    """An anchor whose next `advance` fails, after having written when `persists`."""

    def __init__(self, path: Path, *, persists: bool) -> None:
        super().__init__(path)
        self.armed = False
        self._persists = persists

    def advance(self, *, size: int, root: bytes, note: bytes) -> Anchored:
        """Fail once when armed."""
        if not self.armed:
            return super().advance(size=size, root=root, note=note)
        self.armed = False
        if self._persists:
            super().advance(size=size, root=root, note=note)
        raise AnchorError("the anchor failed on purpose")


class FaultyStore(Store):
    """A store whose next commit fails, after having committed when `persists`; or whose next reading back has flipped bits."""

    def __init__(self, path: Path, *, persists: bool = False, create: bool = False) -> None:
        super().__init__(path, create=create)
        self.fail_commit = False
        self.fail_put = False
        self.flip_read = False
        self._persists = persists

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """The transaction, which fails once when armed."""
        with super().write() as transaction:
            yield cast("WriteTransaction", _FaultyWrite(transaction, self, persists=self._persists))

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """The transaction, which lies once about what it reads back when armed."""
        with super().read() as transaction:
            yield cast("ReadTransaction", _FlippedRead(transaction, self)) if self.flip_read else transaction


class _FaultyWrite:
    def __init__(self, transaction: WriteTransaction, store: FaultyStore, *, persists: bool) -> None:
        self._transaction = transaction
        self._store = store
        self._persists = persists

    def __getattr__(self, name: str) -> object:
        return getattr(self._transaction, name)

    def add_statements(self, first: int, statements: Sequence[Stored]) -> None:
        self._transaction.add_statements(first, statements)
        if self._store.fail_put:
            self._store.fail_put = False
            raise StoreError("the disk of the test is full")

    def commit(self) -> None:
        if self._store.fail_commit:
            self._store.fail_commit = False
            if self._persists:
                self._transaction.commit()
            raise StoreError("the commit failed on purpose")
        self._transaction.commit()


class _FlippedRead:
    """Reads in which one bit of every statement has flipped, once."""

    def __init__(self, transaction: ReadTransaction, store: FaultyStore) -> None:
        self._transaction = transaction
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._transaction, name)

    def statements(self, start: int, stop: int) -> list[Stored]:
        self._store.flip_read = False
        found = self._transaction.statements(start, stop)
        return [replace(each, raw=each.raw[:-1] + bytes([each.raw[-1] ^ 1])) for each in found]


@dataclass
class FaultySigner:
    """A log key that fails once when armed, or signs something else than it was asked to."""

    key: builders.Key
    armed: bool = False
    lies: bool = False

    @property
    def alg(self) -> int:
        """As the key."""
        return self.key.alg

    @property
    def spki(self) -> bytes:
        """As the key."""
        return self.key.spki

    @property
    def kid(self) -> bytes:
        """As the key."""
        return self.key.kid

    def sign(self, message: bytes) -> bytes:
        """Sign, unless armed."""
        armed, self.armed = self.armed, False
        if armed and not self.lies:
            raise RuntimeError("the token of the test was pulled out")
        return self.key.sign(message + b"!" if armed else message)


@contextmanager
def sequencing(
    ledger: Ledger, *, on_failure: Callable[[str], None] | None = None, batch: int = 1024
) -> Iterator[Sequencer]:
    """A running sequencer, stopped at the end."""
    sequencer = ledger.sequencer(on_failure=on_failure, batch=batch)
    sequencer.start()
    try:
        yield sequencer
    finally:
        assert sequencer.stop(timeout=30)


@contextmanager
def with_faults(founded: Founded, *, persists: bool = False) -> Iterator[tuple[Ledger, FaultySigner]]:
    """The ledger with a store, an anchor and a signer that can be armed."""
    signer = FaultySigner(founded.log.log_key)
    real = founded.open()
    real.store.close()
    real.anchor.close()
    ledger = replace(
        real,
        store=FaultyStore(founded.paths.data, persists=persists),
        anchor=FaultyAnchor(founded.paths.anchor, persists=persists),
        signers=(NoteSigner(founded.log.origin, signer),),
    )
    try:
        yield ledger, signer
    finally:
        ledger.close()


def check_answer(appended: Appended, log: builders.Log) -> None:
    """What a client checks: the checkpoint is the log's own, and every path leads from the statement to it."""
    verifiers = [signer.verifier for signer in [NoteSigner(log.origin, log.log_key)]]
    said = open_checkpoint(appended.checkpoint.note, verifiers, origin=log.origin)
    assert (appended.checkpoint.size, appended.checkpoint.root) == (said.size, said.root)
    for outcome in appended.outcomes:
        if isinstance(outcome, Logged):
            found = statement.decode(outcome.raw)
            assert found.id == outcome.id
            merkle.verify_inclusion(
                index=outcome.index,
                size=said.size,
                leaf_hash=merkle.leaf_hash(found.entry),
                path=outcome.path,
                root=said.root,
            )


def check_log(founded: Founded) -> list[bytes]:
    """Verify the whole log from its statements alone and compare everything that is stored; returns the statements.

    Root and rows from the entries, registry from a replay, chains and names from the statements. The ledger must be closed.
    """
    store, anchor = Store.open(founded.paths.data), Anchor(founded.paths.anchor)
    try:
        with store.read() as transaction:
            head, anchored = transaction.head(), anchor.read()
            assert head.size >= anchored.size
            check_tail(transaction, replace(anchored, size=0, root=merkle.EMPTY_ROOT))
            raws = [transaction.statement(index).raw for index in range(head.size)]
            found = [statement.decode(raw) for raw in raws]
            leaves = [merkle.leaf_hash(each.entry) for each in found]
            assert merkle.root(leaves) == head.root
            assert merkle.root(leaves[: anchored.size]) == anchored.root
            assert len({each.id for each in found}) == len(found)
            _check_registry(transaction, found)
            _check_names(transaction, found)
            _check_conditions(
                [conditions_of(transaction.statement(index).conditions) for index in range(head.size)], found
            )
            return raws
    finally:
        store.close()
        anchor.close()


def _check_registry(transaction: ReadTransaction, found: Sequence[statement.Statement]) -> None:
    rows = MemoryRows()
    registry = Registry(rows)
    threshold = cast("int", found[0].payload["threshold"])
    registry.begin(list(found[:threshold]))
    for index, each in enumerate(found[threshold:], threshold):
        registry.check(each)
        registry.apply(each, index)
    for table in (Table.KEYS, Table.POLICIES):
        assert list(rows.scan(table, b"")) == list(transaction.scan(table))


def _check_names(transaction: ReadTransaction, found: Sequence[statement.Statement]) -> None:
    registry = Registry(transaction)
    chained = [(index, each) for index, each in enumerate(found) if each.epoch is not None]
    assert transaction.count(Table.CHAIN) == len(chained)
    assert transaction.count(Table.KINDS) == len(found)
    for index, each in chained:
        record = registry.key(each.kid)
        assert record is not None
        assert each.epoch is not None
        assert each.seq is not None
        assert transaction.chain_index(record.number, each.epoch, each.seq, each.id) == index
        prevs = transaction.chain_prevs(record.number, each.epoch, each.seq, most=len(found))
        assert (each.id, each.prev) in prevs.items()
    for index, each in enumerate(found):
        for name in digests.names_of(each):
            assert next(digests.find(transaction, name, index), None) == index


def _check_conditions(stored: Sequence[Sequence[Condition]], found: Sequence[statement.Statement]) -> None:
    """The conditions that a replay derives by proto/statement.md section 6; clock-future rests on the ledger's clock."""
    chains: dict[bytes, list[statement.Statement]] = {}
    seen: set[bytes] = set()
    for each, conditions in zip(found, stored, strict=True):
        expected: set[str] = set()
        if each.epoch is not None:
            chain = chains.setdefault(each.kid, [])
            expected = _derived(each, chain)
            chain.append(each)
        if not seen.issuperset(references_of(each)):
            expected.add("unknown-reference")
        seen.add(each.id)
        assert {condition.code for condition in conditions} - {"clock-future"} == expected


def _derived(each: statement.Statement, earlier: Sequence[statement.Statement]) -> set[str]:
    """Of the chain, from the earlier statements of the key alone, one definition after another."""
    epoch, seq = _place(each)
    furthest = max(map(_place, earlier), default=(-1, -1))
    at = {shift: [one for one in earlier if _place(one) == (epoch, seq + shift)] for shift in (-1, 0, 1)}
    greatest = max((number for other, number in map(_place, earlier) if other == epoch), default=-1)
    beyond = (epoch, seq) > furthest
    found = set()
    if beyond and seq > greatest + 1:
        found.add("gap")
    if not beyond:
        found.add("fork" if at[0] else "late")
    if at[-1] and each.prev not in {one.id for one in at[-1]}:
        found.add("prev-mismatch")
    compared = sorted(at[1], key=lambda one: one.id)[: admission.MAX_COMPARED]
    if "late" in found and compared and each.id not in {one.prev for one in compared}:
        found.add("prev-mismatch")
    if epoch < furthest[0]:
        found.add("old-epoch")
    first_furthest = next((one for one in earlier if _place(one) == furthest), None)
    if beyond and first_furthest is not None and (each.time or 0) < (first_furthest.time or 0):
        found.add("clock-backwards")
    return found


def _place(each: statement.Statement) -> tuple[int, int]:
    assert each.epoch is not None
    assert each.seq is not None
    return each.epoch, each.seq


def flipped(raw: bytes) -> bytes:
    """The statement with the last bit of its signature flipped."""
    return raw[:-1] + bytes([raw[-1] ^ 1])


def with_signature(raw: bytes, signature: bytes) -> bytes:
    """The statement with another signature of the same length."""
    assert raw.endswith(statement.decode(raw).message.signature)
    return raw[: -len(signature)] + signature


def high_s(raw: bytes) -> bytes:
    """The statement with the other ES256 signature that anybody can make from it."""
    signature = statement.decode(raw).message.signature
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    s = order - int.from_bytes(signature[32:], "big")
    return with_signature(raw, signature[:32] + s.to_bytes(32, "big"))


def signed_again(raw: bytes, by: builders.Party) -> bytes:
    """The same to-be-signed bytes with a fresh signature."""
    return with_signature(raw, by.key.private.sign(statement.decode(raw).message.to_be_signed))
