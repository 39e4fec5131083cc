"""The examination of statements in threads: form and signature, many calls at once, before anything is locked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from hashlib import sha256
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from platemark.keys import load_public
from platemark_ledger.admission import Examined, decode, references_of, unknown_key, verify
from platemark_ledger.digests import names_of
from platemark_ledger.errors import Refusal
from platemark_ledger.registry import Registry

if TYPE_CHECKING:
    from platemark.keys import Verifier
    from platemark.statement import Statement
    from platemark_ledger.store import Store

__all__ = ["Call", "Examiner", "Order"]

_MAX_KEYS = 100_000  # some 60 MB of parsed public keys
_PIECE = 16  # statements that one thread decodes, and then verifies, at a time
_Answer = TypeVar("_Answer")


class Order:
    """That calls were made one behind the other by one caller: once one of them has failed, none behind it is considered.

    Without it, what a stream sent behind a failed request would be logged before that request. Owned by the commit thread.
    """

    def __init__(self) -> None:
        self.broken = False


class Call(Generic[_Answer]):
    """The statements of one append and the future of its answer.

    `examined` and `references`, how many statements its statements refer to, are filled by the examiner's threads and belong to
    the sequencer's thread once `ready`.
    """

    def __init__(self, raws: Sequence[bytes], order: Order | None = None) -> None:
        self.raws = raws
        self.order = order
        self.examined: list[Examined | Refusal | None] = [None] * len(raws)
        self.future: Future[_Answer] = Future()
        self.pieces = -(-len(raws) // _PIECE)
        self.references = 0
        self.ready = False

    def fail(self, error: Exception) -> None:
        """The call comes to nothing, and so does every later one of its order."""
        if self.order is not None:
            self.order.broken = True
        self.future.set_exception(error)

    def outcomes(self) -> list[Examined | Refusal]:
        """What the examination found, one per statement."""
        return [cast("Examined | Refusal", each) for each in self.examined]


class Examiner(Generic[_Answer]):
    """Threads that examine; verifying a signature leaves Python's lock, so that as many run as there are cores.

    Decoding does not leave it, and the commit thread leaves it in every call to LMDB: each such call would then wait for some
    decoder to let go. So decoders take `turn`, and the commit thread holds it while it works on a batch.
    `finished` is called from one of the threads when every statement of a call has been examined.
    """

    def __init__(
        self, store: Store, *, threads: int, turn: threading.Lock, finished: Callable[[Call[_Answer]], None]
    ) -> None:
        self._store = store
        self._turn = turn
        self._finished = finished
        self._pieces: queue.SimpleQueue[tuple[Call[_Answer], int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards Call.pieces
        self._verifiers: dict[bytes, Verifier] = {}  # a key, once named, never changes: lost updates do no harm
        self._threads = [
            threading.Thread(target=self._run, name=f"platemark-examiner-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads once they have examined what was submitted."""
        for _ in self._threads:
            self._pieces.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, call: Call[_Answer]) -> None:
        """Examine the statements of a call."""
        for start in range(0, len(call.raws), _PIECE):
            self._pieces.put((call, start))

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            call, start = piece
            if not call.future.cancelled():
                stop = min(start + _PIECE, len(call.raws))
                call.examined[start:stop] = self._examine(call.raws[start:stop], {})
            with self._lock:
                call.pieces -= 1
                last = call.pieces == 0
            if last:
                self._examine_new_keys(call)
                call.references = sum(
                    len(references_of(each.statement)) for each in call.examined if isinstance(each, Examined)
                )
                self._finished(call)

    def _examine(self, raws: Sequence[bytes], also: Mapping[bytes, Verifier]) -> list[Examined | Refusal]:
        """What becomes of each; `also` are keys that the log does not name yet."""
        with self._turn:
            decoded = [self._decode(raw, also) for raw in raws]
        return [each if isinstance(each, Refusal) else _verify(*each) for each in decoded]

    def _decode(self, raw: bytes, also: Mapping[bytes, Verifier]) -> tuple[Statement, Verifier, list[bytes]] | Refusal:
        try:
            statement = decode(raw)
        except Refusal as refusal:
            return refusal.as_value()
        verifier = self._find_key(statement.kid) or also.get(statement.kid)
        if verifier is None:
            return unknown_key(statement)
        # Hashed here, and not inside the write transaction.
        _ = statement.id, statement.entry
        return statement, verifier, names_of(statement)

    def _examine_new_keys(self, call: Call[_Answer]) -> None:
        """Statements whose key an earlier statement of the same call enrols are examined under that key.

        Whether the enrolment is logged is decided with everything else, by its place.
        """
        enrolled: dict[bytes, Verifier] = {}
        for place, raw in enumerate(call.raws):
            outcome = call.examined[place]
            if isinstance(outcome, Refusal) and outcome.code == "unknown-key" and enrolled:
                (outcome,) = self._examine([raw], enrolled)
                call.examined[place] = outcome
            if isinstance(outcome, Examined) and outcome.statement.kind == "enrol":
                spki = cast("bytes", outcome.statement.payload["key"])
                enrolled[sha256(spki).digest()] = load_public(spki)

    def _find_key(self, kid: bytes) -> Verifier | None:
        """The key that the log names by this kid."""
        verifier = self._verifiers.get(kid)
        if verifier is None:
            with self._store.read() as transaction:
                record = Registry(transaction).key(kid)
            if record is None:
                return None
            verifier = load_public(record.spki)
            if len(self._verifiers) >= _MAX_KEYS:
                self._verifiers.clear()
            self._verifiers[kid] = verifier
        return verifier


def _verify(statement: Statement, verifier: Verifier, names: list[bytes]) -> Examined | Refusal:
    try:
        return verify(statement, verifier, names)
    except Refusal as refusal:
        return refusal.as_value()
