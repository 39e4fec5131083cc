"""Several worker processes on one ledger: they race, die and hang, and the log stays one log."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import builders
import fakes
from fakes import Founded
from platemark import merkle, statement
from platemark.kinds import CHAINED
from platemark_ledger.lock import SequencerLock
from platemark_ledger.receipts import Receipts
from platemark_ledger.sequencer import Logged, Sequencer

SOAK = os.environ.get("PLATEMARK_SOAK") == "1"
APPENDER = Path(__file__).parent.parent / "appender.py"


@dataclass
class Worker:
    """A process of tests/appender.py."""

    process: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)

    def hear(self) -> dict[str, Any] | None:
        """The next line, None at the end."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            return None
        self.said.append(json.loads(line))
        return self.said[-1]

    def finish(self) -> list[dict[str, Any]]:
        """Let it run to its end; every answer."""
        while self.hear() is not None:
            pass
        assert self.process.wait(60) == 0
        return self.answers

    def tell(self) -> None:
        """Send the line it waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The released answers so far."""
        return [line for line in self.said if "answers" in line]


@contextmanager
def worker(founded: Founded, raws: Sequence[bytes], *options: str, batch: int = 1) -> Iterator[Worker]:
    """A worker on the ledger, ready to append; gone at the end."""
    directory = founded.paths.data.parent
    file = directory / f"statements-{random.getrandbits(64):x}"
    file.write_bytes(pickle.dumps(list(raws)))
    command = [sys.executable, str(APPENDER), str(directory), str(file), str(batch), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        started = Worker(process)
        try:
            assert started.hear() is not None
            yield started
        finally:
            process.kill()


def founded_with_modality(directory: Path) -> Founded:
    """A ledger that has enrolled the modality."""
    founded = Founded.at(directory)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment()]).result(30)
    ledger.close()
    return founded


def check_answers(answers: Sequence[dict[str, Any]], log: Sequence[bytes]) -> None:
    """Every acknowledged statement is where it was said to be, and every released root is a root of this log."""
    leaves = [merkle.leaf_hash(statement.decode(raw).entry) for raw in log]
    for answer in answers:
        assert merkle.root(leaves[: answer["size"]]).hex() == answer["root"]
        for _, index, raw in answer["answers"]:
            assert index < answer["size"]
            assert log[index].hex() == raw


def test_two_processes_give_one_statement_one_index(tmp_path: Path) -> None:
    """The same to-be-signed bytes, with the same, a fresh and a flipped signature, from three processes: one index."""
    founded = founded_with_modality(tmp_path)
    raws = founded.captures(60)
    fresh = [fakes.signed_again(raw, builders.MODALITY) for raw in raws]
    shuffled = random.Random(5).sample(raws, len(raws))
    with (
        worker(founded, raws, "--wait", batch=3) as first,
        worker(founded, fresh, "--wait", batch=2) as second,
        worker(founded, shuffled, "--wait", batch=5) as third,
    ):
        for each in (first, second, third):
            each.tell()
        answers = [*first.finish(), *second.finish(), *third.finish()]
    log = fakes.check_log(founded)
    check_answers(answers, log)
    assert len(log) == 2 + 60
    found: dict[str, set[tuple[int, str]]] = {}
    for answer in answers:
        for name, index, raw in answer["answers"]:
            found.setdefault(name, set()).add((index, raw))
    assert len(found) == 60
    assert {len(places) for places in found.values()} == {1}
    with worker(founded, [fakes.high_s(raw) for raw in raws], batch=60) as flipped:
        (answer,) = flipped.finish()
    assert {name: {(index, raw)} for name, index, raw in answer["answers"]} == found


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL at any moment: every acknowledged answer still holds and verifies, and the next worker goes on."""
    founded = founded_with_modality(tmp_path)
    chance = random.Random(11)
    answers: list[dict[str, Any]] = []
    sent: list[bytes] = []
    for _ in range(200 if SOAK else 6):
        raws = founded.captures(40)
        sent += raws
        with worker(founded, raws, batch=chance.randint(1, 4)) as victim:
            for _ in range(chance.randint(0, 8)):
                if victim.hear() is None:
                    break
            os.kill(victim.process.pid, signal.SIGKILL)
            while victim.hear() is not None:
                pass
            answers += victim.answers
        check_answers(answers, fakes.check_log(founded))
    founded.open().close()
    log = fakes.check_log(founded)
    check_answers(answers, log)
    assert set(log[2:]) <= set(sent)


def test_workers_that_race_and_die_release_one_root_per_size(tmp_path: Path) -> None:
    """Two workers append, one is killed in the middle, a third takes its statements: all roots are of one log."""
    founded = founded_with_modality(tmp_path)
    mine = founded.captures(80)
    camera = founded.enrolment(builders.CAMERA, role="sensor")
    others = [camera, *founded.captures(80, by=builders.CAMERA)]
    with worker(founded, mine, "--wait", batch=2) as victim, worker(founded, others, "--wait", batch=3) as survivor:
        victim.tell()
        survivor.tell()
        for _ in range(10):
            victim.hear()
        os.kill(victim.process.pid, signal.SIGKILL)
        while victim.hear() is not None:
            pass
        answers = [*victim.answers, *survivor.finish()]
    with worker(founded, mine, batch=20) as heir:
        answers += heir.finish()
    log = fakes.check_log(founded)
    check_answers(answers, log)
    assert sorted(log[2:]) == sorted([*mine, *others])
    roots: dict[int, set[str]] = {}
    for answer in answers:
        roots.setdefault(answer["size"], set()).add(answer["root"])
    assert {len(each) for each in roots.values()} == {1}


def test_a_worker_that_hangs_with_the_lock_can_be_ended_and_the_other_goes_on(tmp_path: Path) -> None:
    """The lock file names who hangs; once that process is killed, lock and writer are free."""
    founded = founded_with_modality(tmp_path)
    raws = founded.captures(3)
    watch = SequencerLock(founded.paths.lock)
    with worker(founded, raws, "--wait", batch=3) as other, worker(founded, [], "--hang") as hanging:
        other.tell()
        holder = watch.holder()
        assert holder is not None
        assert holder.pid == hanging.process.pid
        os.kill(holder.pid, signal.SIGKILL)
        (answer,) = other.finish()
    watch.close()
    check_answers([answer], fakes.check_log(founded))


def test_ten_writers_and_readers_share_one_log(tmp_path: Path) -> None:
    """Every reply verifies while ten devices write and readers read; the log is exactly what was accepted."""
    founded = Founded.at(tmp_path)
    count = 1000 if SOAK else 100
    devices = [builders.party(f"device-{number}") for number in range(10)]
    enrolments = [founded.enrolment(device) for device in devices]
    written = {device.uri: founded.captures(count, by=device) for device in devices}
    ledger = founded.open()
    done = Event()
    with fakes.sequencing(ledger) as sequencer, ThreadPoolExecutor(13) as pool:
        sequencer.submit(enrolments).result(30)
        readers = [pool.submit(_read, ledger.receipts(), done, seed) for seed in range(3)]
        writers = [
            pool.submit(_write, founded, sequencer, written[device.uri], seed) for seed, device in enumerate(devices)
        ]
        placed: dict[int, bytes] = {}
        for writer in writers:
            placed.update(writer.result(600))
        done.set()
        assert sum(reader.result(60) for reader in readers) > 0
    ledger.close()
    log = fakes.check_log(founded)
    assert log == [founded.log.statements[0], *enrolments, *(placed[index] for index in sorted(placed))]
    assert sorted(placed.values()) == sorted(raw for raws in written.values() for raw in raws)


def _write(founded: Founded, sequencer: Sequencer, raws: Sequence[bytes], seed: int) -> dict[int, bytes]:
    chance = random.Random(seed)
    placed: dict[int, bytes] = {}
    at = 0
    while at < len(raws):
        step = chance.choice((1, 1, 2, 5))
        appended = sequencer.submit(raws[at : at + step]).result(60)
        fakes.check_answer(appended, founded.log)
        for outcome, raw in zip(appended.outcomes, raws[at : at + step], strict=True):
            assert isinstance(outcome, Logged)
            assert (outcome.raw, outcome.conditions, outcome.duplicate) == (raw, (), False)
            placed[outcome.index] = raw
        at += step
    return placed


def _read(receipts: Receipts, done: Event, seed: int) -> int:
    """Ask until all is written; how many answers were checked."""
    chance = random.Random(seed)
    before = receipts.checkpoint()
    asked = 0
    while not done.is_set():
        now = receipts.checkpoint()
        assert now.size >= before.size
        proof = receipts.consistency(before.size, new_size=now.size)
        merkle.verify_consistency(
            old_size=before.size, new_size=now.size, old_root=before.root, new_root=now.root, path=proof.path
        )
        found = receipts.statement(chance.randrange(now.size))
        merkle.verify_inclusion(
            index=found.proven.record.index,
            size=found.checkpoint.size,
            leaf_hash=merkle.leaf_hash(found.proven.record.entry),
            path=found.proven.path,
            root=found.checkpoint.root,
        )
        said = found.proven.record.statement
        if said.kind in CHAINED:
            assert receipts.index_of(said.id) == found.proven.record.index
        before = now
        asked += 1
    return asked
