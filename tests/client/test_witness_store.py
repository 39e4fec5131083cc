"""The database of a witness: it only moves forward, whoever writes to it, and a damaged or missing one is never replaced."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from witnessed import NOW_S, Clock, History, signers, witness

from platemark import checkpoint
from platemark.checkpoint import Checkpoint
from platemark.cosignature import cosignatures
from platemark.witness.cosigner import Cosigner
from platemark.witness.decide import Outcome
from platemark.witness.store import Latest, Store, WitnessError

FACES = (History(), History(seed="b"))
LOG = FACES[0]
SIZES = 24
VERIFIERS = [each.verifier for each in signers()]


def follow(made: Cosigner, face: History, seed: int, rounds: int) -> list[Checkpoint]:
    """Ask for cosignatures as an eager log does, always from where the witness says it is; all that was cosigned, in order."""
    dice, old, found = random.Random(seed), 0, []
    for _ in range(rounds):
        new = min(SIZES, max(1, old + dice.randrange(3)))  # size 0 has one root for everybody
        answer = made.add_checkpoint(face.body(old, new))
        if answer.outcome is Outcome.CONFLICT:
            old = min(SIZES, int(answer.body))
        elif answer.outcome is Outcome.COSIGNED:
            cosignatures(checkpoint.parse(face.note(new) + answer.body), VERIFIERS)
            found.append(face.checkpoint(new))
            old = new
    return found


def check_one_history(told: list[list[Checkpoint]]) -> None:
    """Never two roots for one size, all of one face, and never a smaller size after a greater to one who waits for answers."""
    roots: dict[int, set[bytes]] = {}
    for each in told:
        sizes = [found.size for found in each]
        assert sizes == sorted(sizes)
        for found in each:
            roots.setdefault(found.size, set()).add(found.root)
    assert [size for size, different in roots.items() if len(different) > 1] == []
    once = {size: root for size, (root,) in roots.items()}
    assert once in [{size: face.checkpoint(size).root for size in once} for face in FACES]
    assert max(once) == SIZES


def test_threads_that_race_get_one_history(tmp_path: Path) -> None:
    """Twelve threads, half of them for another history of the same log, on one witness: one history is cosigned."""
    made = witness(tmp_path, LOG)
    told: list[list[Checkpoint]] = []
    order: list[int] = []
    advance = made.store.advance

    def observed(origin: str, step: Callable[[Latest | None], Latest]) -> Latest:
        def watched(latest: Latest | None) -> Latest:
            new = step(latest)
            order.append(new.checkpoint.size)  # inside the transaction, so in its order
            return new

        return advance(origin, watched)

    made.store.advance = observed  # type: ignore[method-assign] # watches, and changes nothing
    threads = [
        threading.Thread(target=lambda face, seed: told.append(follow(made, face, seed, 30)), args=(FACES[n % 2], n))
        for n in range(12)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    check_one_history(told)
    assert len(told) == 12
    assert order == sorted(order)
    assert {bool(each) for each in told} == {True, False}  # the other face got nothing


def _race(folder: Path, number: int, answers: multiprocessing.Queue[list[Checkpoint]]) -> None:
    answers.put(follow(witness(folder, LOG), FACES[number % 2], number, 60))


def test_processes_that_race_get_one_history(tmp_path: Path) -> None:
    """The same with four processes, each with a store of its own on one file."""
    witness(tmp_path, LOG)
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[Checkpoint]] = context.Queue()
    racing = [context.Process(target=_race, args=(tmp_path, number, answers)) for number in range(4)]
    for each in racing:
        each.start()
    told = [answers.get(timeout=60) for _ in racing]
    for each in racing:
        each.join()
    assert [each.exitcode for each in racing] == [0] * 4
    check_one_history(told)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """The database of a witness that has cosigned size 8 of LOG."""
    made = witness(tmp_path, LOG)
    assert made.add_checkpoint(LOG.body(0, 8)).outcome is Outcome.COSIGNED
    return made.store.path


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET size = 7",
        "UPDATE log SET root = zeroblob(32)",
        "UPDATE log SET size = NULL, root = NULL, time_s = NULL, note = NULL",
        "UPDATE log SET time_s = time_s - 1",
        "UPDATE log SET origin = 'log.example/other'",
        "UPDATE log SET hash = 'x'",
        "DELETE FROM log",
        "DELETE FROM log_key",
    ],
)
def test_the_file_itself_refuses_to_go_back(path: Path, statement: str) -> None:
    """Whatever program writes to it: no smaller size, no other root, no earlier time, no log or key removed."""
    before = Store(path).logs()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match=r"never"):
        connection.execute(statement)
    assert Store(path).logs() == before


def test_adding_a_log_again_resets_nothing(path: Path) -> None:
    """Neither with the same key nor with another one."""
    store = Store(path)
    (before,) = store.logs()
    store.add_log([LOG.verifier, History(key="second").verifier, LOG.verifier])
    (after,) = store.logs()
    assert after.latest == before.latest
    assert after.verifiers == (LOG.verifier, History(key="second").verifier)


def test_a_step_that_fails_changes_nothing(path: Path) -> None:
    """Its error comes through, nothing is written, and the next one is not held up."""
    store = Store(path)
    before = store.logs()

    def fail(_: Latest | None) -> Latest:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.advance(LOG.origin, fail)
    with pytest.raises(WitnessError, match="a witness never goes back"):
        store.advance(LOG.origin, lambda _: Latest(LOG.checkpoint(7), NOW_S, LOG.note(7)))
    assert store.logs() == before
    assert Cosigner(store, signers(), now_s=Clock()).add_checkpoint(LOG.body(8, 9)).outcome is Outcome.COSIGNED


def test_an_older_copy_put_in_its_place_is_noticed(path: Path) -> None:
    """While the witness runs: it cosigns nothing any more, neither the second history nor the first again."""
    made = Cosigner(Store(path), signers(), now_s=Clock())
    older = path.read_bytes()
    assert made.add_checkpoint(LOG.body(8, 12)).outcome is Outcome.COSIGNED
    path.write_bytes(older)
    for face in (LOG, FACES[1]):
        with pytest.raises(WitnessError, match="is older than what was cosigned"):
            made.add_checkpoint(face.body(8, 12))
    assert path.read_bytes() == older


def test_a_log_that_is_not_there_is_not_cosigned(path: Path) -> None:
    """Whatever the caller thinks: nothing is put anywhere for a log that was not added."""
    with pytest.raises(WitnessError, match=r"has no log b\.example"):
        Store(path).advance("b.example", lambda _: Latest(LOG.checkpoint(9), NOW_S, LOG.note(9)))
    assert [each.origin for each in Store(path).logs()] == [LOG.origin]


def test_a_new_database_is_private_and_is_made_once(path: Path) -> None:
    """Mode 0600, and never over another."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(WitnessError, match="exists already"):
        Store.create(path, VERIFIERS)
    assert len(Store(path).logs()) == 1


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _scribble(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(len(data) - 100))


def _another_format(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE log (origin)")


def _later_release(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


def _altered(statement: str) -> Callable[[Path], None]:
    def alter(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for name in ("forward", "kept_log", "kept_key"):
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(statement)

    return alter


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_remove, "there is no such database, and a witness that lost its database is retired"),
        (lambda path: path.write_bytes(b""), "is not the database of a witness"),
        (lambda path: path.write_bytes(b"a text, and no database\n" * 100), "is damaged"),
        (_cut, "is damaged"),
        (_scribble, "is damaged"),
        (_another_format, "is not the database of a witness"),
        (_later_release, "of version 2, and this release knows 1"),
        (_altered("DELETE FROM witness"), "names no key of a witness"),
        (_altered("UPDATE log SET size = 7"), "not the one that was cosigned"),
        (_altered("UPDATE log SET time_s = 5"), "not the one that was cosigned"),
        (_altered("UPDATE log SET note = x'00'"), "is damaged"),
        (_altered("UPDATE log SET note = CAST(replace(CAST(note AS TEXT), 'A', 'B') AS BLOB)"), "is damaged"),
        (_altered("UPDATE log SET note = CAST(note AS TEXT)"), "is damaged"),
        (_altered("UPDATE log_key SET vkey = 'nonsense'"), "is damaged"),
        (_altered("UPDATE witness SET vkey = 'nonsense' WHERE rowid = 2"), "is damaged"),
        (_altered("UPDATE witness SET vkey = (SELECT vkey FROM log_key) WHERE rowid = 1"), "is damaged"),
        (_altered("UPDATE log_key SET vkey = (SELECT vkey FROM witness WHERE rowid = 1)"), "is damaged"),
        (_altered("DELETE FROM log_key"), "is damaged"),
    ],
    ids=range(18),
)
def test_a_database_that_is_gone_or_damaged_is_refused(path: Path, damage: Callable[[Path], object], said: str) -> None:
    """In one sentence that names the file, and nothing is repaired or made anew."""
    damage(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(WitnessError) as caught:
        Store(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.exists() else None)
