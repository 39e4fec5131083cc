"""The sender: in order, each once, whatever the ledger does; and no statement stands in the way of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from platemark import cbor, statement
from platemark.spool import (
    Backoff,
    Cause,
    DeliveryError,
    Did,
    Logged,
    Outcome,
    Refused,
    Sender,
    Spool,
    SpoolBusyError,
    SpoolError,
    State,
)

UUID = "2b4a0b52-4f4b-4a63-8f0c-6c0f3f7f2d11"


def signed(number: int) -> bytes:
    """The heartbeat of this number: every number is another statement."""
    clock: dict[int | str, cbor.Value] = {"source": "host", "error_ns": None}
    payload: builders.Payload = {"at": number, "since": number, "clock": clock, "epoch": 1, "seq": 0, "prev": None}
    key = builders.key("spooling", "ed25519")
    return statement.build("heartbeat", payload, signer=key, issuer="https://a.example/b", subject=f"urn:uuid:{UUID}")


RAWS = [signed(number) for number in range(40)]
IDS = [statement.decode(raw).id for raw in RAWS]
NUMBER = {raw: number for number, raw in enumerate(RAWS)}


class Book:
    """A ledger in memory: logs what it is sent, one index per statement, unless `judge` says otherwise for a batch.

    `judge` gets the numbers of the statements of one call: it may raise, or return what to answer for some of them. `lose`:
    the calls (from 0) that are logged and whose answer gets lost.
    """

    def __init__(
        self,
        judge: Callable[[list[int]], dict[int, Outcome] | None] = lambda _: None,
        *,
        lose: frozenset[int] = frozenset(),
    ) -> None:
        self.log: list[int] = []
        self.calls: list[list[int]] = []
        self._judge = judge
        self._lose = lose

    def __call__(self, raws: Sequence[bytes]) -> Sequence[Outcome]:
        """As platemark.spool.Deliver."""
        numbers = [NUMBER[raw] for raw in raws]
        self.calls.append(numbers)
        answers = self._judge(numbers) or {}
        outcomes: list[Outcome] = []
        for number in numbers:
            if number not in answers and number not in self.log:
                self.log.append(number)
            outcomes.append(answers[number] if number in answers else Logged(self.log.index(number)))
        if len(self.calls) - 1 in self._lose:
            raise DeliveryError("the answer was lost", cause=Cause.FAILED)
        return outcomes


class StreamedBook(Book):
    """The same as platemark.spool.Streamed: it considers what is sent at once, but for what is behind a failure."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.most = 0  # batches that were on their way together
        self._on_way: list[Sequence[Outcome] | DeliveryError] = []

    def send(self, raws: Sequence[bytes]) -> None:
        """A failure is told when its turn has come."""
        if self._on_way and isinstance(self._on_way[-1], DeliveryError):
            return
        try:
            self._on_way.append(self(raws))
        except DeliveryError as error:
            self._on_way.append(error)
        self.most = max(self.most, len(self._on_way))

    def receive(self) -> Sequence[Outcome]:
        """The oldest one's."""
        first = self._on_way.pop(0)
        if isinstance(first, DeliveryError):
            self._on_way.clear()
            raise first
        return first

    def abandon(self) -> None:
        """As a stream that is closed."""
        self._on_way.clear()


def failing(number: int, cause: Cause = Cause.FAILED) -> Callable[[list[int]], None]:
    """A ledger that fails over every batch with this statement in it."""

    def judge(numbers: list[int]) -> None:
        if number in numbers:
            raise DeliveryError("an internal error", cause=cause, word="ledger-fault")

    return judge


@pytest.fixture(name="spool")
def _spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", now=lambda: builders.NOW) as spool:
        yield spool


def fill(spool: Spool, count: int) -> None:
    """Put the first statements."""
    for raw in RAWS[:count]:
        spool.put(raw)


def never(_: float) -> bool:
    """Waits no time, and never says stop."""
    return False


def aside(spool: Spool) -> dict[int, tuple[str | None, str | None]]:
    """What was set aside, by number, with code and reason."""
    return {NUMBER[each.raw]: (each.code, each.reason) for each in spool.entries(State.SET_ASIDE, 100)}


def test_everything_is_sent_once_and_in_order(spool: Spool) -> None:
    """A backlog goes out in batches, oldest first, and every index is kept."""
    fill(spool, 10)
    book = Book()
    with Sender(spool, book, batch=4) as sender:
        assert sender.drain(never)
    assert book.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [each.index for each in spool.entries(State.ACKNOWLEDGED, 99)] == [*range(10)]
    assert (sender.traffic.logged, sender.traffic.failures, sender.traffic.success_ns) == (10, 0, builders.NOW)


def test_a_stream_has_a_few_batches_on_their_way(spool: Spool) -> None:
    """In the order of putting, settled in that order, and never more than a few; an empty spool is idle."""
    fill(spool, 40)
    book = StreamedBook()
    with Sender(spool, book, batch=4) as sender:
        assert sender.step() is Did.SENT
        assert [each.index for each in spool.entries(State.ACKNOWLEDGED, 99)] == [*range(4)]
        assert sender.drain(never)
        assert sender.step() is Did.IDLE
    assert book.calls == [[*range(start, start + 4)] for start in range(0, 40, 4)]
    assert book.most == 4


def test_statements_put_back_at_their_old_place_are_found_while_others_keep_coming(spool: Spool) -> None:
    """A spool that is never empty does not hide what `retry` released behind what is on its way."""
    fill(spool, 40)
    spool.set_aside(IDS[0], "expired", "too old")
    book = StreamedBook()
    with Sender(spool, book, batch=1) as sender:
        sender.step()
        spool.release(IDS[0])
        assert sender.drain(never)
    assert sorted(book.log) == [*range(40)]
    assert aside(spool) == {}


def test_a_failure_in_a_stream_sends_what_is_behind_it_again(spool: Spool) -> None:
    """One batch fails over one statement: the rest is logged in order but for that one, which is found alone."""
    fill(spool, 20)
    book = StreamedBook(failing(9, Cause.REFUSED))
    with Sender(spool, book, batch=4) as sender:
        assert sender.drain(never)
    assert book.log == [each for each in range(20) if each != 9]
    assert aside(spool) == {9: ("ledger-fault", "an internal error")}


def test_a_batch_is_bounded_in_bytes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large statements make small batches, but never empty ones."""
    fill(spool, 4)
    monkeypatch.setattr("platemark.spool.sender.MAX_BYTES", 2 * len(RAWS[0]))
    book = Book()
    with Sender(spool, book) as sender:
        assert sender.drain(never)
    assert book.calls == [[0, 1], [2, 3]]
    monkeypatch.setattr("platemark.spool.sender.MAX_BYTES", 1)
    spool.put(RAWS[4])
    with Sender(spool, book) as sender:
        assert sender.drain(never)
    assert book.calls[2:] == [[4]]


def test_a_refused_statement_is_set_aside_and_the_rest_goes_on(spool: Spool) -> None:
    """The ledger's code and reason are kept, the others are logged in order, and nothing is sent twice."""
    fill(spool, 6)
    no = Refused("unknown-key", "no key with this kid is named by the log")
    book = Book(lambda _: {0: no, 3: no})
    with Sender(spool, book, batch=3) as sender:
        assert sender.drain(never)
    assert (book.log, book.calls) == ([1, 2, 4, 5], [[0, 1, 2], [3, 4, 5]])
    assert aside(spool) == {0: (no.code, no.reason), 3: (no.code, no.reason)}
    assert sender.traffic.set_aside == 2


def test_a_released_statement_is_sent_again(spool: Spool) -> None:
    """Once the key is enrolled, what was set aside is logged when an operator releases it."""
    fill(spool, 2)
    enrolled: list[bool] = []
    book = Book(lambda _: None if enrolled else {0: Refused("unknown-key", "not yet")})
    with Sender(spool, book) as sender:
        assert sender.drain(never)
        enrolled.append(True)
        spool.release(IDS[0])
        assert sender.drain(never)
    assert (book.log, aside(spool)) == ([1, 0], {})


def test_a_ledger_that_is_away_costs_nothing(spool: Spool) -> None:
    """However long it is away, nothing is set aside and the order stands; the wait grows, with jitter, to its bound."""
    fill(spool, 5)
    away = [True] * 300
    waits: list[float] = []

    def judge(_: list[int]) -> None:
        if away and away.pop():
            raise DeliveryError("no ledger answers", cause=Cause.AWAY)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return spool.counts().depth == 0

    book = Book(judge)
    draws = iter([0.0, 0.5] * 200)
    with Sender(spool, book, backoff=Backoff(first=1.0, most=60.0), draw=lambda: next(draws)) as sender:
        sender.run(wait)
    assert (book.log, aside(spool)) == ([*range(5)], {})
    assert waits[:8] == [0.5, 1.5, 2.0, 6.0, 8.0, 24.0, 30.0, 45.0]
    assert (len(waits), min(waits[7:-1]), max(waits)) == (301, 30.0, 45.0)
    assert (sender.traffic.failed, sender.traffic.failures, sender.traffic.error) == (300, 0, None)


@pytest.mark.parametrize("cause", [Cause.AWAY, Cause.HELD])
def test_sending_once_ends_when_no_ledger_takes_any(spool: Spool, cause: Cause) -> None:
    """`drain` says so at once, sets nothing aside, and the reason is there to be shown."""
    fill(spool, 3)
    book = Book(failing(0, cause))
    with Sender(spool, book) as sender:
        assert not sender.drain(never)
    assert (len(book.calls), spool.counts().depth, str(sender.traffic.error)) == (1, 3, "an internal error")


def test_a_ledger_that_answers_rubbish_is_never_believed(spool: Spool) -> None:
    """Answers that do not verify, or are not one for each statement, acknowledge nothing and set nothing aside."""
    fill(spool, 3)
    with Sender(spool, lambda _: [Logged(7)]) as sender:
        assert [sender.step() for _ in range(50)] == [Did.FAILED] * 50
        assert "1 answers for 3 statements" in str(sender.traffic.error)
    assert (spool.counts().depth, spool.counts().set_aside) == (3, 0)
    with Sender(spool, Book(failing(1, Cause.HELD))) as sender:
        assert [sender.step() for _ in range(50)] == [Did.FAILED] * 50
    assert (spool.counts().depth, spool.counts().set_aside) == (3, 0)


@pytest.mark.parametrize("culprit", [0, 3, 7])
def test_a_batch_refused_as_a_whole_is_halved_down_to_the_one(spool: Spool, culprit: int) -> None:
    """The one that cannot be sent is set aside with the refusal, the others are logged in order, all without waiting."""
    fill(spool, 8)
    book = Book(failing(culprit, Cause.REFUSED))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    with Sender(spool, book) as sender:
        assert sender.drain(wait)
    assert book.log == [each for each in range(8) if each != culprit]
    assert aside(spool) == {culprit: ("ledger-fault", "an internal error")}
    assert set(waits) == {0.0}


def test_a_ledger_with_a_smaller_batch_is_sent_smaller_ones(spool: Spool) -> None:
    """Nothing is set aside when only the size is wrong, and few calls are wasted."""
    fill(spool, 40)

    def judge(numbers: list[int]) -> None:
        if len(numbers) > 8:
            raise DeliveryError("more than 8 statements", cause=Cause.REFUSED)

    book = Book(judge)
    with Sender(spool, book, batch=32) as sender:
        assert sender.drain(never)
    assert (book.log, aside(spool), len(book.calls) < 16) == ([*range(40)], {}, True)


@pytest.mark.parametrize("culprit", [0, 2, 3])
def test_a_statement_that_a_ledger_always_fails_over_is_set_aside_in_the_end(spool: Spool, culprit: int) -> None:
    """It blocks the others a while; then one of them shows that the ledger works, and the culprit is known."""
    fill(spool, 6)
    book = Book(failing(culprit))
    with Sender(spool, book) as sender:
        assert sender.drain(never)
        _until_empty(sender)
    assert sorted(book.log) == [each for each in range(6) if each != culprit]
    assert aside(spool) == {culprit: ("ledger-fault", "an internal error")}
    # The order slips by the statements that had to be tried out of turn, and by no others.
    moved = [each for at, each in enumerate(book.log) if any(later < each for later in book.log[at + 1 :])]
    assert len(moved) <= 2


def test_the_only_statement_is_kept_until_others_show_that_the_ledger_works(spool: Spool) -> None:
    """With nothing else to send nobody can tell whose fault it is: it stays pending, and goes once others are taken."""
    fill(spool, 1)
    book = Book(failing(0))
    with Sender(spool, book) as sender:
        assert not sender.drain(never)
        assert [sender.step() for _ in range(50)] == [Did.FAILED] * 50
        assert spool.counts().depth == 1
        fill(spool, 4)
        _until_empty(sender)
    assert (book.log, [*aside(spool)]) == ([1, 2, 3], [0])


def _until_empty(sender: Sender) -> None:
    for _ in range(200):
        if sender.step() is Did.IDLE:
            return
    pytest.fail(f"not empty: {sender.traffic}")


def test_a_statement_that_is_to_be_sent_again_does_not_hold_up_the_others(spool: Spool) -> None:
    """'Try again' for one: the others are logged at once and in order, and it comes when the ledger can."""
    fill(spool, 6)
    times = [4]

    def judge(numbers: list[int]) -> dict[int, Outcome] | None:
        if 2 in numbers and times[0]:
            times[0] -= 1
            return {2: Refused("batch-failed", "send again", again=True)}
        return None

    book = Book(judge)
    with Sender(spool, book) as sender:
        assert sender.drain(never)
    assert (book.log, aside(spool)) == ([0, 1, 3, 4, 5, 2], {})


def test_a_statement_that_is_to_be_sent_again_for_ever_is_set_aside(spool: Spool) -> None:
    """'Try again' for one while the others are taken, over and over: it is the statement, and its reason is kept."""
    fill(spool, 30)
    book = Book(lambda _: {0: Refused("internal", "a fault of the ledger", again=True)})
    with Sender(spool, book, batch=4) as sender:
        _until_empty(sender)
    assert book.log == [*range(1, 30)]
    assert aside(spool) == {0: ("internal", "a fault of the ledger")}


@pytest.mark.parametrize("poison", [2, 7, 11])
def test_many_culprits_do_not_block_the_rest(spool: Spool, poison: int) -> None:
    """Also when more statements than a batch holds fail for ever, at the head of the queue, the rest is logged."""
    fill(spool, 20)

    def judge(numbers: list[int]) -> dict[int, Outcome]:
        return {each: Refused("internal", "a fault", again=True) for each in numbers if each < poison}

    book = Book(judge)
    with Sender(spool, book, batch=4) as sender:
        for _ in range(1000):
            if spool.counts().depth == 0:
                break
            sender.step()
    assert sorted(book.log) == [*range(poison, 20)]
    assert sorted(aside(spool)) == [*range(poison)]


def test_a_ledger_that_fails_over_everything_costs_nothing(spool: Spool) -> None:
    """While it takes no statement at all, no statement is to blame, however often it fails and in whatever way."""
    fill(spool, 10)
    bad = [True]

    def judge(numbers: list[int]) -> dict[int, Outcome] | None:
        if not bad[0]:
            return None
        if len(book.calls) % 3:
            raise DeliveryError("an internal error", cause=Cause.FAILED)
        return {each: Refused("unavailable", "send again", again=True) for each in numbers}

    book = Book(judge)
    with Sender(spool, book, batch=4) as sender:
        assert [sender.step() for _ in range(500)] == [Did.FAILED] * 500
        bad[0] = False
        _until_empty(sender)
    assert (sorted(book.log), aside(spool)) == ([*range(10)], {})


@pytest.mark.parametrize("kind", [Book, StreamedBook])
def test_a_damaged_statement_is_set_aside_unsent(spool: Spool, kind: type[Book]) -> None:
    """Bytes that are no longer those that were put are not sent under another's name, and do not block the rest."""
    fill(spool, 3)
    assert spool._connection is not None
    spool._connection.execute("DROP TRIGGER fixed")
    spool._connection.execute("UPDATE entry SET raw = zeroblob(10) WHERE number = 2")
    book = kind()
    with Sender(spool, book) as sender:
        assert sender.drain(never)
    assert book.log == [0, 2]
    (found,) = spool.entries(State.SET_ASIDE, 9)
    assert (found.id, found.code) == (IDS[1], "damaged")


def test_a_second_sender_is_refused(spool: Spool) -> None:
    """Two senders would send out of order: the second says that there is one, and can begin when that has ended."""
    with (
        Spool(spool.directory) as other,
        Sender(spool, Book()),
        pytest.raises(SpoolBusyError, match="another sender is at work"),
    ):
        Sender(other, Book()).__enter__()
    with Sender(spool, Book()):
        pass


def test_a_sender_that_could_not_settle_sends_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full after the ledger answered, the batch is sent again and gets the same indices."""
    fill(spool, 3)
    book = Book()
    real = spool.acknowledge
    full = [True, True]

    def acknowledge(logged: Sequence[tuple[bytes, int]]) -> None:
        if full and full.pop():
            raise SpoolError("the disk is full")
        real(logged)

    monkeypatch.setattr(spool, "acknowledge", acknowledge)
    with Sender(spool, book) as sender:
        assert not sender.drain(never)
        assert (str(sender.traffic.error), spool.counts().depth) == ("the disk is full", 3)
        assert sender.step() is Did.FAILED
        assert sender.drain(never)
    assert (book.log, len(book.calls)) == ([0, 1, 2], 3)
    assert [each.index for each in spool.entries(State.ACKNOWLEDGED, 9)] == [0, 1, 2]


def test_a_running_sender_prunes_once_an_hour(tmp_path: Path) -> None:
    """What was acknowledged long ago goes away by itself."""
    now = [builders.NOW]
    with Spool(tmp_path, now=lambda: now[0], keep_ns=0) as spool:
        steps = iter(range(5))

        def wait(_: float) -> bool:
            now[0] += 1800 * 10**9
            return next(steps) == 4

        fill(spool, 2)
        with Sender(spool, Book()) as sender:
            sender.run(wait)
        assert spool.counts().acknowledged == 0


def test_a_sender_works_only_while_it_holds_the_spool(spool: Spool) -> None:
    """Outside of its `with` it is a mistake of the program."""
    with pytest.raises(RuntimeError, match="with"):
        Sender(spool, Book()).step()


FAULTS = st.sampled_from([None, None, None, Cause.AWAY, Cause.FAILED, Cause.HELD, "again", "lost", "restart"])


@pytest.mark.parametrize("kind", [Book, StreamedBook])
@given(script=st.lists(FAULTS, max_size=60), batch=st.integers(1, 12), refused=st.sets(st.integers(0, 39), max_size=5))
def test_whatever_fails_for_a_while_everything_is_logged_once(
    kind: type[Book],
    tmp_path_factory: pytest.TempPathFactory,
    script: list[Cause | str | None],
    batch: int,
    refused: set[int],
) -> None:
    """Under any run of faults that ends: each statement is logged once or, if refused, set aside; senders may die between."""
    faults = iter(script)
    lost: set[int] = set()

    def judge(numbers: list[int]) -> dict[int, Outcome]:
        fault = next(faults, None)
        if isinstance(fault, Cause):
            raise DeliveryError("a fault", cause=fault)
        if fault == "restart":
            raise KeyboardInterrupt
        if fault == "lost":
            lost.add(len(book.calls) - 1)
        if fault == "again":
            return {each: Refused("unavailable", "send again", again=True) for each in numbers}
        return {each: Refused("expired", "too old") for each in refused}

    book = kind(judge)
    book._lose = lost  # type: ignore[assignment] # grows as the script says
    with Spool(tmp_path_factory.mktemp("spool") / "s") as spool:
        fill(spool, 40)
        for _ in range(len(script) + 1):
            try:
                with Sender(spool, book, batch=batch) as sender:
                    _until_empty(sender)
                break
            except KeyboardInterrupt:
                continue
        assert sorted(book.log) == [each for each in range(40) if each not in refused]
        assert set(aside(spool)) == refused
        assert {each.index for each in spool.entries(State.ACKNOWLEDGED, 99)} == set(range(40 - len(refused)))
        if not {Cause.FAILED, "again", "lost"} & set(script):
            assert book.log == sorted(book.log)


@given(failures=st.integers(1, 10_000), fraction=st.floats(0, 1, exclude_max=True))
def test_the_back_off_is_bounded(failures: int, fraction: float) -> None:
    """Never less than half of the first pause and never more than the greatest."""
    pause = Backoff(first=0.5, most=60.0).pause(failures, fraction)
    assert 0.25 <= pause <= 60.0
