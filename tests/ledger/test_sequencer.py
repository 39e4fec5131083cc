"""Appending from many callers: order, group commit, cancellation, back-pressure and an orderly end."""

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import pytest

import builders
import fakes
from fakes import Founded
from platemark_ledger.digests import Limits
from platemark_ledger.errors import OverloadedError, RequestError, StoppedError
from platemark_ledger.lock import SequencerLock
from platemark_ledger.opening import Ledger
from platemark_ledger.sequencer import Appended, Logged, Sequencer
from platemark_ledger.store import Table


@pytest.fixture(name="founded")
def _founded(tmp_path: Path) -> Founded:
    founded = Founded.at(tmp_path)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment()]).result(30)
    ledger.close()
    return founded


@pytest.fixture(name="ledger")
def _ledger(founded: Founded) -> Iterator[Ledger]:
    ledger = founded.open()
    yield ledger
    ledger.close()
    fakes.check_log(founded)


def indices(appended: Appended) -> list[int]:
    """Where the statements of one call are."""
    assert all(isinstance(outcome, Logged) for outcome in appended.outcomes)
    return [outcome.index for outcome in appended.outcomes if isinstance(outcome, Logged)]


class Held:
    """Holds the sequencer lock from a thread of its own, so that batches queue up behind it."""

    def __init__(self, founded: Founded) -> None:
        self._lock = SequencerLock(founded.paths.lock)
        self._held, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._lock.hold():
            self._held.set()
            self._let_go.wait(60)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._held.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._lock.close()

    def let_go(self) -> None:
        """Release the lock."""
        self._let_go.set()
        self._thread.join()


def test_calls_keep_their_order(founded: Founded, ledger: Ledger) -> None:
    """Statements enter in the order of the calls, however long each takes to examine."""
    raws, chance = founded.captures(200), random.Random(2)
    with fakes.sequencing(ledger) as sequencer:
        answers: list[Future[Appended]] = []
        at = 0
        while at < len(raws):
            step = chance.choice((1, 2, 40))
            answers.append(sequencer.submit(raws[at : at + step]))
            at += step
        found = [index for answer in answers for index in indices(answer.result(30))]
    assert found == list(range(2, 202))


def test_what_gathers_is_committed_together(founded: Founded, ledger: Ledger) -> None:
    """Calls that wait while the lock is held elsewhere share one commit and one checkpoint."""
    raws = founded.captures(30)
    with fakes.sequencing(ledger) as sequencer:
        before = ledger.anchor.read().sequence
        with Held(founded):
            answers = [sequencer.submit([raw]) for raw in raws]
            while not all(call.ready for call in list(sequencer._calls)):
                threading.Event().wait(0.001)
        sizes = {answer.result(30).checkpoint.size for answer in answers}
        assert ledger.anchor.read().sequence - before == len(sizes) <= 2


def test_a_call_is_never_split_over_batches(founded: Founded, ledger: Ledger) -> None:
    """One call has one checkpoint, and a batch holds whole calls up to its limit."""
    raws = founded.captures(50)
    with fakes.sequencing(ledger, batch=20) as sequencer:
        with Held(founded):
            answers = [sequencer.submit(raws[at : at + 10]) for at in range(0, 50, 10)]
        results = [answer.result(30) for answer in answers]
    assert [indices(result) for result in results] == [list(range(at + 2, at + 12)) for at in range(0, 50, 10)]
    assert max(result.checkpoint.size for result in results) == 52
    for result in results:
        fakes.check_answer(result, founded.log)


@pytest.mark.parametrize("count", [0, 21])
def test_a_call_of_a_wrong_size_is_refused(founded: Founded, ledger: Ledger, count: int) -> None:
    """No statement, or more than a batch."""
    with fakes.sequencing(ledger, batch=20) as sequencer, pytest.raises(RequestError, match="not 1 to 20"):
        sequencer.submit([founded.log.statements[0]] * count)


def test_a_full_queue_refuses_at_once_and_recovers(founded: Founded, ledger: Ledger) -> None:
    """Back-pressure is an answer, not a wait; afterwards everything goes on."""
    raws = founded.captures(12)
    sequencer = Sequencer(ledger, queue=10, batch=4)
    sequencer.start()
    answers: list[Future[Appended]] = []

    def fill() -> None:
        answers.extend(sequencer.submit([raw]) for raw in raws * 3)

    with Held(founded):
        with pytest.raises(OverloadedError):
            fill()
        assert 10 <= len(answers) <= 14
    for answer in answers:
        answer.result(30)
    assert len(indices(sequencer.submit(raws[:3]).result(30))) == 3
    assert sequencer.stop(timeout=30)


def test_cancelled_callers_disturb_nobody(founded: Founded, ledger: Ledger) -> None:
    """Tasks that are cancelled at any moment leave the others with their answers and the log in order."""
    raws, chance = founded.captures(80), random.Random(7)

    async def run(sequencer: Sequencer) -> list[Appended]:
        tasks = [asyncio.create_task(sequencer.append([raw])) for raw in raws]
        for _ in range(3):
            await asyncio.sleep(0)
        dropped = set(chance.sample(range(80), 40))
        for number in dropped:
            tasks[number].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in enumerate(results):
            assert isinstance(result, Appended) or (number in dropped and isinstance(result, asyncio.CancelledError))
        return [result for result in results if isinstance(result, Appended)]

    with fakes.sequencing(ledger) as sequencer:
        answered = asyncio.run(run(sequencer))
        assert len(answered) >= 40
        for result in answered:
            fakes.check_answer(result, founded.log)
        again = sequencer.submit(raws).result(30)
        fakes.check_answer(again, founded.log)
    assert sorted(indices(again)) == list(range(2, 82))


def test_a_caller_that_gives_up_early_gives_its_place_up(founded: Founded, ledger: Ledger) -> None:
    """A call that is cancelled before its batch begins is not logged; one that has begun is."""
    first, second, third = founded.captures(3)
    with fakes.sequencing(ledger) as sequencer:
        with Held(founded):
            begun = sequencer.submit([first])
            while not begun.running():
                threading.Event().wait(0.001)
            waiting, kept = sequencer.submit([second]), sequencer.submit([third])
            assert waiting.cancel()
            assert not begun.cancel()
        assert indices(begun.result(30)) == [2]
        assert indices(kept.result(30)) == [3]
        assert waiting.cancelled()


def test_stopping_answers_what_was_accepted_and_refuses_the_rest(founded: Founded, ledger: Ledger) -> None:
    """A drain: accepted calls finish, new ones are told to come back."""
    raws = founded.captures(40)
    sequencer = ledger.sequencer(batch=8)
    sequencer.start()
    with Held(founded):
        answers = [sequencer.submit([raw]) for raw in raws]
        assert not sequencer.stop(timeout=0.01)
        with pytest.raises(StoppedError):
            sequencer.submit([raws[0]])
    assert sequencer.stop(timeout=30)
    assert [index for answer in answers for index in indices(answer.result(0))] == list(range(2, 42))


def test_only_repeats_and_refusals_write_nothing(founded: Founded, ledger: Ledger) -> None:
    """A batch without news moves neither data nor anchor, and is answered under the checkpoint that is there."""
    raws = founded.captures(2)
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit(raws).result(30)
        before = ledger.anchor.read()
        appended = sequencer.submit([*raws, b"nonsense"]).result(30)
        assert appended.checkpoint == before == ledger.anchor.read()
        assert [isinstance(outcome, Logged) and outcome.duplicate for outcome in appended.outcomes] == [
            True,
            True,
            False,
        ]


def test_the_digest_index_keeps_up(founded: Founded, ledger: Ledger) -> None:
    """What was appended is sorted away behind the log, and found before, while and after."""
    limits = Limits(entries=64, rows=8, merge=600, fan_in=3)
    sequencer = Sequencer(ledger, index_limits=limits)
    sequencer.start()
    raws = founded.captures(150)
    receipts = ledger.receipts()
    for at, raw in enumerate(raws):
        sequencer.submit([raw]).result(30)
        digest = builders.digests(b"image %d" % at)["file"][-16]
        assert [proven.record.index for proven in receipts.lookup(digest).proven] == [at + 2]
    assert sequencer.stop(timeout=30)
    with ledger.store.read() as transaction:
        assert transaction.count(Table.PENDING) <= 16
    for at in range(150):
        digest = builders.digests(b"image %d" % at)["file"][-16]
        assert [proven.record.index for proven in receipts.lookup(digest).proven] == [at + 2]
