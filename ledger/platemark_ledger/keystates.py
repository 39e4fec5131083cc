"""The log's own word on its keys: a `keystate` statement after every change of keys, and at an interval.

One worker of all has the task, by a lock that the kernel gives back when its holder dies. It looks once a second, builds the
statement from released data in a thread of its own, and appends it as every other writer does: no append ever waits for it. A
burst of changes gets one keystate, once it has ended or has lasted for a minute.

The chain of the log key continues from what the data says, never from memory: if we crash after the append, the next look finds
the statement there; if we crash before it, it never was.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING, cast

from platemark import statement as statements
from platemark.keys import EDDSA
from platemark.keystate import KeyLeaf, KeyStates, KeyTree
from platemark_ledger import logchain
from platemark_ledger.batch import KIND_NUMBERS
from platemark_ledger.errors import LockError, PoisonedError, Refusal, StoppedError
from platemark_ledger.grants import decode_key
from platemark_ledger.registry import Registry
from platemark_ledger.store import Table

if TYPE_CHECKING:
    from pathlib import Path

    from platemark.keys import Signer
    from platemark_ledger.opening import Ledger
    from platemark_ledger.sequencer import Sequencer
    from platemark_ledger.store import ReadTransaction

__all__ = ["Duty", "KeyStating", "KeyTrees", "Last", "next_statement"]

_log = logging.getLogger("platemark.ledger")
_LOOK = 1.0  # seconds between looks
_REST = 60.0  # after one that failed
_PATIENCE_NS = 60 * 10**9
_KEPT = 4


class KeyTrees:
    """The key tree at a size, from committed data. The last few are kept. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Guarded by _lock: the states after the first _size leaves, and finished trees by size.
        self._states = KeyStates()
        self._size = 0
        self._trees: OrderedDict[int, KeyTree] = OrderedDict()

    def at(self, transaction: ReadTransaction, size: int) -> KeyTree:
        """The tree over the keys enrolled below `size`, which the data of `transaction` reaches. Raises StoreError."""
        with self._lock:
            tree = self._trees.get(size)
            if tree is None:
                self._advance(transaction, size)
                tree = self._trees[size] = self._states.tree()
                if len(self._trees) > _KEPT:
                    self._trees.popitem(last=False)
            return tree

    def _advance(self, transaction: ReadTransaction, size: int) -> None:
        if self._size == 0 or size < self._size:
            self._states = KeyStates(_leaves(transaction, size))
        else:
            kinds = (transaction.of_kind(KIND_NUMBERS[kind], self._size) for kind in ("enrol", "revoke"))
            for index in merge(*kinds):
                if index >= size:
                    break
                self._states.apply(statements.decode(transaction.statement(index).raw), index)
        self._size = size


def _leaves(transaction: ReadTransaction, size: int) -> list[KeyLeaf]:
    """The same from the registry, without decoding every enrolment of the log."""
    found = []
    for _, value in transaction.scan(Table.KEYS):
        record = decode_key(value)
        grant = record.grants[0]
        if grant.by_policy or grant.since >= size:
            continue
        revocation = next((each for each in record.revocations if each.index < size), None)
        revoked, effective = (None, None) if revocation is None else (revocation.index, revocation.effective)
        dates = grant.not_before, grant.not_after
        found.append(KeyLeaf(record.kid, grant.role, grant.issuer, *dates, grant.since, revoked, effective))
    return found


@dataclass(frozen=True, slots=True)
class Last:
    """The newest keystate of a log: over how many leaves, and signed at which time (Unix ns)."""

    size: int
    time: int


class Duty:
    """Decides, once a look, whether a keystate is due; `interval_ns` is the greatest age of the newest."""

    def __init__(self, interval_ns: int) -> None:
        self._interval = interval_ns
        # The registry's revision at the last look with something to tell, and the time of the first such look.
        self._seen = 0
        self._since: int | None = None

    def due(self, *, now: int, revision: int, last: Last | None) -> bool:
        """Whether one is due at `now` (Unix ns); saying so starts a new burst. `revision` is Registry.revision."""
        if last is not None and revision <= last.size:
            self._since = None
            return now - last.time >= self._interval
        if self._since is None:
            self._since = now
        settled, self._seen = revision == self._seen, revision
        if settled or now - self._since >= _PATIENCE_NS:
            self._since = None
            return True
        return False


def next_statement(ledger: Ledger, trees: KeyTrees, duty: Duty) -> bytes | None:
    """The signed keystate that is due, or None; inside `logchain.turn`. Raises StoreError and what the log key raises."""
    signer = _signer(ledger)
    released = ledger.anchor.read()  # before the data, so that the data reaches it
    now = ledger.now_ns()
    with ledger.store.read() as transaction:
        registry = Registry(transaction)
        revision = registry.revision
        # Above the anchor a change is not released yet: the next look sees it.
        if signer is None or revision > released.size:
            return None
        if not duty.due(now=now, revision=revision, last=_last(transaction, released.size)):
            return None
        tree = trees.at(transaction, released.size)
        if not tree.count:
            return None
        payload = {
            **logchain.next_place(transaction, signer.kid),
            "at": now,
            "log": ledger.log_id,
            "size": released.size,
            "root": tree.root,
            "count": tree.count,
        }
    return statements.build("keystate", payload, signer=signer, issuer=statements.policy_issuer(ledger.origin))


def _signer(ledger: Ledger) -> Signer | None:
    return next((each.signer for each in ledger.signers if each.signer.alg == EDDSA), None)


def _last(transaction: ReadTransaction, size: int) -> Last | None:
    index = transaction.last_of_kind(KIND_NUMBERS["keystate"], size)
    if index is None:
        return None
    found = statements.decode(transaction.statement(index).raw)
    return Last(cast("int", found.payload["size"]), cast("int", found.time))


class KeyStating:
    """The task of one worker: logs keystates while it runs and no other worker does. `interval` in seconds, above 0.

    `seat` is the file whose lock says which worker it is. Raises LockError when it cannot be opened.
    """

    def __init__(self, ledger: Ledger, sequencer: Sequencer, *, seat: Path, interval: float) -> None:
        self._ledger = ledger
        self._sequencer = sequencer
        self._trees = KeyTrees()
        self._duty = Duty(int(interval * 10**9))
        self._stopping = threading.Event()
        try:
            self._seat = os.open(seat, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise LockError(f"{seat} cannot be opened: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="platemark-keystates", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give the seat back. Blocks for at most one look; the sequencer has to outlive it."""
        self._stopping.set()
        self._thread.join()
        os.close(self._seat)

    def look(self) -> int | None:
        """One look: the index of the keystate that it logged, None when none was due or another worker has the seat.

        Raises LedgerError, and what the log key raises.
        """
        if not self._take_seat():
            return None
        with logchain.turn(self._ledger):
            raw = next_statement(self._ledger, self._trees, self._duty)
            if raw is None:
                return None
            (outcome,) = self._sequencer.submit([raw]).result().outcomes
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome.index

    def _run(self) -> None:
        pause = _LOOK
        while not self._stopping.wait(pause):
            pause = _LOOK
            try:
                self.look()
            except (PoisonedError, StoppedError):
                return  # and so does this worker
            except Exception as error:  # noqa: BLE001 -- the log does not depend on it, whatever a log key in hardware raises
                _log.warning("no keystate was logged, trying again in %.0f seconds: %s", _REST, error)
                pause = _REST

    def _take_seat(self) -> bool:
        try:
            fcntl.flock(self._seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
