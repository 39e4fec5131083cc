"""The log's statements about its keys: when one is due, what it says, and that evidence shows a key's state in it."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest

import builders
import fakes
from builders import CAMERA, LOG_KEY, MODALITY, NOW, Party
from platemark import statement
from platemark.keystate import KeyStates, KeyTree
from platemark_ledger import logchain
from platemark_ledger.errors import LockError, Refusal
from platemark_ledger.keystates import Duty, KeyStating, KeyTrees, Last
from platemark_ledger.opening import Ledger
from platemark_ledger.sequencer import Appended, Logged, Sequencer

SECOND, HOUR = 10**9, 3600 * 10**9
LAST = Last(5, NOW)
OPERATOR = builders.party("operator")


@pytest.fixture(name="founded")
def _founded(tmp_path: Path) -> fakes.Founded:
    return fakes.Founded.at(tmp_path)


@contextmanager
def stating(founded: fakes.Founded, ledger: Ledger, sequencer: Sequencer) -> Iterator[KeyStating]:
    """The task of one worker, not started: the test looks itself."""
    task = KeyStating(ledger, sequencer, seat=founded.paths.data.with_name("seat"), interval=3600.0)
    try:
        yield task
    finally:
        task.start()  # so that there is something to stop
        task.stop()


@contextmanager
def served(founded: fakes.Founded) -> Iterator[tuple[Ledger, Sequencer, KeyStating]]:
    """One worker; the whole log is checked at the end."""
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer, stating(founded, ledger, sequencer) as task:
        yield ledger, sequencer, task
    ledger.close()
    fakes.check_log(founded)


def said(sequencer: Sequencer, *raws: bytes) -> list[Logged]:
    """What was logged, all of it."""
    outcomes = sequencer.submit(raws).result(30).outcomes
    found = [each for each in outcomes if isinstance(each, Logged)]
    assert len(found) == len(outcomes), outcomes
    return found


def replayed(raws: list[bytes], size: int) -> KeyTree:
    """The tree that whoever replays the log computes."""
    states = KeyStates()
    for index, raw in enumerate(raws[:size]):
        states.apply(statement.decode(raw), index)
    return states.tree()


def everything(ledger: Ledger) -> list[bytes]:
    """Every statement of the log."""
    with ledger.store.read() as transaction:
        return [each.raw for each in transaction.statements(0, transaction.head().size)]


# --- when -----------------------------------------------------------------------------------------


def due(duty: Duty, *looks: tuple[int, int], last: Last | None = LAST) -> list[bool]:
    """What `duty` says at these (seconds, revision)."""
    return [duty.due(now=NOW + seconds * SECOND, revision=revision, last=last) for seconds, revision in looks]


def test_a_change_is_stated_once_it_has_settled() -> None:
    """Due at the second look that finds the same revision, and not as long as it changes."""
    assert due(Duty(HOUR), (0, 6), (1, 7), (2, 9), (3, 9)) == [False, False, False, True]


def test_a_burst_without_end_is_stated_once_a_minute() -> None:
    """A thousand enrolments do not wait for the last of them, and do not get a thousand keystates."""
    found = due(Duty(HOUR), *((second, 100 + second) for second in range(200)))
    assert [second for second, one in enumerate(found) if one] == [60, 121, 182]


def test_a_quiet_log_is_stated_at_the_interval() -> None:
    """Without a change one is due when the newest is of age."""
    assert due(Duty(HOUR), (1, 5), (3599, 5), (3600, 5), (3601, 3)) == [False, False, True, True]


def test_a_log_without_a_keystate_gets_one() -> None:
    """The first is due without any change since."""
    assert due(Duty(HOUR), (0, 1), (1, 1), last=None) == [False, True]


# --- what -----------------------------------------------------------------------------------------


def test_a_log_without_keys_states_nothing(founded: fakes.Founded) -> None:
    """There is no tree of no keys."""
    with served(founded) as (_, _, task):
        assert [task.look() for _ in range(3)] == [None] * 3


def test_a_keystate_is_what_a_replay_computes(founded: fakes.Founded) -> None:
    """After enrolments and a revocation: size, root and count of the log below it, signed by the log, in its key's chain."""
    with served(founded) as (ledger, sequencer, task):
        said(sequencer, founded.enrolment(), founded.enrolment(OPERATOR, role="operator"))
        assert task.look() is None
        assert task.look() == 3
        founded.clock.now += 5 * SECOND
        assert task.look() is None
        said(sequencer, *founded.made(founded.log.revoke(MODALITY, effective=NOW)))
        assert [task.look(), task.look(), task.look()] == [None, 5, None]
        raws = everything(ledger)
        first, second = (statement.decode(raws[index]) for index in (3, 5))
        for found, size in ((first, 3), (second, 5)):
            tree = replayed(raws, size)
            assert (size, tree.root, tree.count) == tuple(found.payload[name] for name in ("size", "root", "count"))
            assert (found.issuer, found.log) == (f"https://{founded.log.origin}", founded.log.id)
            found.verify(LOG_KEY.public)
        assert (first.seq, first.prev, second.seq, second.prev) == (0, None, 1, first.id)
        assert second.time == NOW + 5 * SECOND


def test_the_chain_of_the_log_key_goes_on_after_a_restart(founded: fakes.Founded) -> None:
    """The place is asked of the data: a new process neither forks nor leaves a gap."""
    for first, size in ((True, 2), (False, 3)):
        with served(founded) as (ledger, sequencer, task):
            if first:
                said(sequencer, founded.enrolment())
            else:
                founded.clock.now += HOUR
            assert [task.look(), task.look()][first] == size
            found = ledger.receipts().statement(size).proven.record
            assert (found.statement.seq, found.conditions) == (0 if first else 1, ())


def test_one_worker_has_the_task(founded: fakes.Founded) -> None:
    """Another finds the seat taken, and takes it over when the first is gone."""
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        said(sequencer, founded.enrolment())
        with stating(founded, ledger, sequencer) as second:
            with stating(founded, ledger, sequencer) as first:
                assert [first.look(), second.look(), second.look(), first.look()] == [None, None, None, 2]
            said(sequencer, founded.enrolment(OPERATOR, role="operator"))
            assert [second.look(), second.look()] == [None, 4]
    ledger.close()


def test_the_log_s_own_statements_take_turns(founded: fakes.Founded, monkeypatch: pytest.MonkeyPatch) -> None:
    """From reading its place until it is logged, no other process that asks for its turn gets it; afterwards one does."""
    with served(founded) as (ledger, sequencer, task):
        said(sequencer, founded.enrolment())
        submit, taken = sequencer.submit, []
        path = founded.paths.lock.with_name(f"{founded.paths.lock.name}-chain")

        def submitted(raws: Sequence[bytes]) -> Future[Appended]:
            taken.append(locked(path))
            return submit(raws)

        monkeypatch.setattr(sequencer, "submit", submitted)
        assert [task.look(), task.look()] == [None, 2]
        assert (taken, locked(path)) == ([True], False)
        with logchain.turn(ledger):
            assert locked(path)


def test_a_turn_that_cannot_be_had_says_so(founded: fakes.Founded) -> None:
    """One sentence with the file."""
    with served(founded) as (ledger, _, _):
        founded.paths.lock.with_name(f"{founded.paths.lock.name}-chain").mkdir()
        with pytest.raises(LockError, match="lock-chain: Is a directory"), logchain.turn(ledger):
            pass
        founded.paths.lock.with_name(f"{founded.paths.lock.name}-chain").rmdir()


def locked(path: Path) -> bool:
    """Whether somebody has the lock of a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_a_log_key_that_may_no_longer_sign_is_told(founded: fakes.Founded) -> None:
    """A policy that drops the running key: the append is refused as everybody's is, and the log goes on."""
    with served(founded) as (ledger, sequencer, task):
        log = founded.log
        other = builders.key("log-2", "ed25519")
        said(sequencer, founded.enrolment())
        task.look()
        both = sorted([LOG_KEY.spki, other.spki])
        prev = log.id
        for version, keys in ((1, both), (2, [other.spki])):
            index = log.policy(builders.POLICY_KEY, version=version, log=log.id, prev=prev, log_keys=[*keys])
            prev = statement.decode(log.statements[index]).id
            outcome = sequencer.submit(founded.made(index)).result(30).outcomes[0]
            # The last policy would leave this server without a key, so that it is refused here.
            assert isinstance(outcome, Logged if version == 1 else Refusal)
        assert [task.look(), task.look()] == [None, 3]
        assert statement.decode(everything(ledger)[3]).kid == LOG_KEY.kid


def test_a_seat_that_cannot_be_opened_says_so(founded: fakes.Founded) -> None:
    """One sentence with the file."""
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer, pytest.raises(LockError, match="keystates cannot be opened"):
        KeyStating(ledger, sequencer, seat=founded.paths.data / "none" / "keystates", interval=1.0)
    ledger.close()


def test_trees_of_any_size_are_those_of_a_replay(founded: fakes.Founded) -> None:
    """Forwards, backwards and again, from the registry or from the statements: the same roots."""
    with served(founded) as (ledger, sequencer, _):
        log = founded.log
        said(
            sequencer,
            founded.enrolment(),
            *founded.captures(2),
            founded.enrolment(OPERATOR, role="operator"),
            *founded.made(log.revoke(MODALITY, effective=NOW), log.enrol(CAMERA, role="sensor")),
            *founded.made(log.revoke(CAMERA, effective=7)),
        )
        raws, trees = everything(ledger), KeyTrees()
        with ledger.store.read() as transaction:
            for size in [*range(1, len(raws) + 1), 3, 2, 8, 5, 6, 1]:
                assert replayed(raws, size).leaves == trees.at(transaction, size).leaves


# --- evidence -------------------------------------------------------------------------------------


def test_evidence_shows_the_key_in_the_newest_keystate(founded: fakes.Founded) -> None:
    """The leaf of the record's key proves itself under the root that the keystate states."""
    with served(founded) as (ledger, sequencer, task):
        receipts = ledger.receipts()
        said(sequencer, founded.enrolment(), *founded.captures(1))
        assert receipts.evidence(2).keystate is None
        task.look()
        task.look()
        said(
            sequencer,
            founded.enrolment(OPERATOR, role="operator"),
            *founded.made(founded.log.revoke(MODALITY, effective=9)),
        )
        members = receipts.evidence(2)
        assert (members.keystate is not None and members.keystate.record.index, members.keystate_leaf is not None) == (
            3,
            True,
        )
        assert members.keystate is not None
        assert members.keystate_leaf is not None
        payload = members.keystate.record.statement.payload
        root, count = payload["root"], payload["count"]
        assert isinstance(root, bytes)
        assert isinstance(count, int)
        members.keystate_leaf.verify(root=root, count=count)
        assert (members.keystate_leaf.leaf.kid, members.keystate_leaf.leaf.revoked) == (MODALITY.key.kid, None)
        task.look()
        task.look()
        later = receipts.evidence(2).keystate_leaf
        assert later is not None
        assert (later.leaf.revoked, later.leaf.effective, later.count) == (5, 9, 2)


def test_a_key_without_a_leaf_has_none_in_its_evidence(founded: fakes.Founded) -> None:
    """A registrar that the policy names, and a key that was enrolled after the newest keystate."""
    with served(founded) as (ledger, sequencer, task):
        said(sequencer, founded.enrolment())
        task.look()
        task.look()
        said(sequencer, founded.enrolment(CAMERA, role="sensor"), *founded.captures(1, by=CAMERA))
        for index in (1, 4):
            members = ledger.receipts().evidence(index)
            assert (members.keystate is not None, members.keystate_leaf) == (True, None)


@pytest.mark.parametrize("change", [{"root": bytes(32)}, {"count": 2}, {"size": 1}], ids=["root", "count", "size"])
def test_a_keystate_that_states_something_else_is_not_handed_out(
    founded: fakes.Founded, change: dict[str, bytes | int]
) -> None:
    """Whoever has the log key can log a false one; this ledger's own evidence does not carry it."""
    with served(founded) as (ledger, sequencer, _):
        said(sequencer, founded.enrolment(), *founded.captures(1))
        tree = replayed(everything(ledger), 3)
        good: builders.Payload = {"at": NOW, "log": founded.log.id, "size": 3, "root": tree.root, "count": 1}
        by = Party(LOG_KEY, statement.policy_issuer(founded.log.origin))
        said(sequencer, *founded.made(founded.log.say("keystate", good, by=by)))
        assert ledger.receipts().evidence(2).keystate_leaf is not None
        said(sequencer, *founded.made(founded.log.say("keystate", {**good, **change}, by=by)))
        members = ledger.receipts().evidence(2)
        assert (members.keystate, members.keystate_leaf) == (None, None)


def test_a_keystate_of_what_is_not_logged_yet_is_refused(founded: fakes.Founded) -> None:
    """It may speak of every leaf before its own and of no other."""
    with served(founded) as (_, sequencer, _):
        said(sequencer, founded.enrolment())
        by = Party(LOG_KEY, statement.policy_issuer(founded.log.origin))
        payload: builders.Payload = {"at": NOW, "log": founded.log.id, "root": bytes(32), "count": 1}
        made = founded.made(*(founded.log.say("keystate", {**payload, "size": size}, by=by) for size in (3, 2)))
        refused, logged = sequencer.submit(made).result(30).outcomes
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.field, isinstance(logged, Logged)) == ("malformed", "payload.size", True)
