"""Every step of an append may fail, having done its work or not; the log stays one log, whatever fails.

Each case ends in a verification of the whole log from its statements, and in a fresh start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

import builders
import fakes
from fakes import FaultyAnchor, FaultySigner, FaultyStore, Founded
from platemark import statement
from platemark.errors import PlatemarkError
from platemark_ledger.errors import BatchError, PoisonedError, StartRefusedError, UnavailableError
from platemark_ledger.opening import Ledger
from platemark_ledger.sequencer import Logged, Order
from platemark_ledger.store import Table


@dataclass(frozen=True)
class Fault:
    """A step that fails once. `logged`: the statement is in the data afterwards. `released`: the anchor covers it."""

    arm: Callable[[Ledger, FaultySigner], None]
    persists: bool
    fatal: bool
    logged: bool
    released: bool


def _store(ledger: Ledger) -> FaultyStore:
    return cast("FaultyStore", ledger.store)


def _fail_put(ledger: Ledger, _: FaultySigner) -> None:
    _store(ledger).fail_put = True


def _fail_commit(ledger: Ledger, _: FaultySigner) -> None:
    _store(ledger).fail_commit = True


def _flip_read(ledger: Ledger, _: FaultySigner) -> None:
    _store(ledger).flip_read = True


def _fail_sign(_: Ledger, signer: FaultySigner) -> None:
    signer.armed = True


def _sign_something_else(_: Ledger, signer: FaultySigner) -> None:
    signer.armed = signer.lies = True


def _fail_anchor(ledger: Ledger, _: FaultySigner) -> None:
    cast("FaultyAnchor", ledger.anchor).armed = True


FAULTS = {
    "a write": Fault(_fail_put, persists=False, fatal=False, logged=False, released=False),
    "the commit, nothing on disk": Fault(_fail_commit, persists=False, fatal=True, logged=False, released=False),
    "the commit, all on disk": Fault(_fail_commit, persists=True, fatal=True, logged=True, released=False),
    "the re-read": Fault(_flip_read, persists=False, fatal=True, logged=True, released=False),
    "the signer": Fault(_fail_sign, persists=False, fatal=False, logged=True, released=False),
    "the signature": Fault(_sign_something_else, persists=False, fatal=False, logged=True, released=False),
    "the anchor, nothing on disk": Fault(_fail_anchor, persists=False, fatal=True, logged=True, released=False),
    "the anchor, all on disk": Fault(_fail_anchor, persists=True, fatal=True, logged=True, released=True),
}


@pytest.fixture(name="founded")
def _founded(tmp_path: Path) -> Founded:
    founded = Founded.at(tmp_path)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment(), *founded.captures(2)]).result(30)
    ledger.close()
    return founded


@pytest.mark.parametrize("name", FAULTS)
def test_a_step_that_fails_leaves_one_log(founded: Founded, name: str) -> None:
    """The caller is told, nothing above the anchor is released, and the statement gets one index in the end."""
    fault = FAULTS[name]
    raw, following = founded.captures(2)
    failures: list[str] = []
    with fakes.with_faults(founded, persists=fault.persists) as (ledger, signer):
        before = ledger.anchor.read()
        with fakes.sequencing(ledger, on_failure=failures.append) as sequencer:
            fault.arm(ledger, signer)
            with pytest.raises(PoisonedError if fault.fatal else BatchError) as caught:
                sequencer.submit([raw]).result(30)
            assert isinstance(caught.value, UnavailableError)
            assert ledger.anchor.read().size == before.size + fault.released
            if fault.fatal:
                sequencer.stop(timeout=30)
                assert len(failures) == 1
                assert sequencer.failed == failures[0] == ledger.lock.reason()
                with pytest.raises(PoisonedError):
                    sequencer.submit([raw])
            else:
                again = sequencer.submit([raw, following]).result(30)
                fakes.check_answer(again, founded.log)
                assert [_seen(outcome) for outcome in again.outcomes] == [(4, fault.logged), (5, False)]
                assert sequencer.failed is None
    statements = fakes.check_log(founded)
    assert len(statements) == 4 + (2 if not fault.fatal else fault.logged)
    _start_again(founded, raw, logged=fault.logged or not fault.fatal)


def _start_again(founded: Founded, raw: bytes, *, logged: bool) -> None:
    """A fresh start clears the mark, anchors what the data has ahead, and answers the repeat."""
    ledger = founded.open()
    assert ledger.lock.reason() is None
    with ledger.store.read() as transaction:
        assert ledger.anchor.read().size == transaction.head().size
    with fakes.sequencing(ledger) as sequencer:
        appended = sequencer.submit([raw]).result(30)
        fakes.check_answer(appended, founded.log)
        assert [_seen(outcome) for outcome in appended.outcomes] == [(4, logged)]
    ledger.close()
    assert fakes.check_log(founded).count(raw) == 1


def _seen(outcome: object) -> tuple[int, bool]:
    assert isinstance(outcome, Logged)
    return outcome.index, outcome.duplicate


def test_nothing_above_the_anchor_is_shown_to_readers(founded: Founded) -> None:
    """A statement that is logged and not yet anchored does not exist: not by index, id, digest, list or size."""
    raw = founded.captures(1)[0]
    with fakes.with_faults(founded) as (ledger, signer):
        with fakes.sequencing(ledger) as sequencer:
            signer.armed = True
            with pytest.raises(BatchError):
                sequencer.submit([raw]).result(30)
        with ledger.store.read() as transaction:
            assert transaction.head().size == 5
        receipts = ledger.receipts()
        assert receipts.checkpoint().size == 4
        found = statement.decode(raw)
        digest = builders.digests(b"image 0")["file"][-16]
        assert [proven.record.index for proven in receipts.lookup(digest).proven] == [2]
        assert [record.index for record in receipts.listing().records] == [0, 1, 2, 3]
        assert receipts.inclusion(3).size == 4
        for question in (
            lambda: receipts.statement(4),
            lambda: receipts.by_id(found.id),
            lambda: receipts.inclusion(4),
            lambda: receipts.consistency(1, new_size=5),
            lambda: receipts.evidence(4),
        ):
            with pytest.raises(PlatemarkError):
                question()


def test_other_workers_stop_when_one_has_failed(founded: Founded) -> None:
    """The mark of one sequencer stops another on the same ledger at its next batch."""
    first, second = founded.captures(2)
    with (
        fakes.with_faults(founded) as (ledger, signer),
        fakes.sequencing(ledger) as failing,
        fakes.sequencing(ledger) as other,
    ):
        _fail_commit(ledger, signer)
        with pytest.raises(PoisonedError):
            failing.submit([first]).result(30)
        with pytest.raises(PoisonedError, match="the commit failed on purpose"):
            other.submit([second]).result(30)
        other.stop(timeout=30)
        assert other.failed is not None


def test_calls_that_wait_are_told_when_the_ledger_stops(founded: Founded) -> None:
    """No caller waits for ever for an answer that cannot come."""
    raws = founded.captures(20)
    with fakes.with_faults(founded) as (ledger, signer), fakes.sequencing(ledger, batch=1) as sequencer:
        _fail_commit(ledger, signer)
        answers = []
        for raw in raws:
            try:
                answers.append(sequencer.submit([raw]))
            except PoisonedError:
                break
        assert answers
        for answer in answers:
            assert isinstance(answer.exception(30), PoisonedError)


def test_what_follows_a_failed_call_of_one_order_is_not_logged_before_it(founded: Founded) -> None:
    """A stream's later calls fail with the one that failed, whoever else's calls go on; sent again, the order is kept."""
    raws = founded.captures(4)
    with fakes.with_faults(founded) as (ledger, signer), fakes.sequencing(ledger, batch=1) as sequencer:
        order = Order()
        _fail_put(ledger, signer)
        answers = [sequencer.submit([raw], order=order) for raw in raws[:3]]
        for answer in answers:
            assert isinstance(answer.exception(30), BatchError)
        assert _seen(sequencer.submit([raws[3]]).result(30).outcomes[0]) == (4, False)
        order = Order()
        again = [sequencer.submit([raw], order=order).result(30) for raw in raws[:3]]
        assert [_seen(each.outcomes[0]) for each in again] == [(5, False), (6, False), (7, False)]


def test_a_tail_that_rotted_is_never_anchored(founded: Founded) -> None:
    """A start that finds a flipped bit above the anchor refuses, and says what was at stake."""
    raw = founded.captures(1)[0]
    with fakes.with_faults(founded) as (ledger, signer):
        with fakes.sequencing(ledger) as sequencer:
            signer.armed = True
            with pytest.raises(BatchError):
                sequencer.submit([raw]).result(30)
        with ledger.store.write() as transaction:
            key = (4).to_bytes(8, "big")
            value = transaction.get(Table.STATEMENTS, key)
            assert value is not None
            transaction.put(Table.STATEMENTS, key, value[:-1] + bytes([value[-1] ^ 1]))
            transaction.commit()
    with pytest.raises(StartRefusedError, match=r"not what the stored statements hash to.*never acknowledged"):
        founded.open()
