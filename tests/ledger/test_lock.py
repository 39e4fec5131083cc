"""The sequencer lock: one holder at a time over all processes, and a mark that stops every worker."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from platemark_ledger.errors import LockError, PoisonedError
from platemark_ledger.lock import SequencerLock, create

HOLD = """
import sys, time
from pathlib import Path
from platemark_ledger.lock import SequencerLock
lock = SequencerLock(Path(sys.argv[1]))
with lock.hold():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    create(tmp_path / "lock")
    return tmp_path / "lock"


@pytest.fixture(name="lock")
def _lock(path: Path) -> Iterator[SequencerLock]:
    lock = SequencerLock(path)
    yield lock
    lock.close()


def test_nobody_holds_a_new_lock(lock: SequencerLock) -> None:
    """A lock that nobody took has no holder and no mark."""
    assert lock.holder() is None
    assert lock.reason() is None


def test_the_holder_is_seen_while_it_holds(lock: SequencerLock, path: Path) -> None:
    """Who holds the lock, and for how long, is seen from another description of the file and gone afterwards."""
    watcher = SequencerLock(path)
    with lock.hold():
        holder = watcher.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
        assert holder.held_ns >= 0
    assert watcher.holder() is None
    watcher.close()


def test_a_holder_that_hangs_is_seen_and_its_end_frees_the_lock(lock: SequencerLock, path: Path) -> None:
    """A supervisor finds the process that hangs with the lock; once that is killed, the next worker goes on."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        holder = lock.holder()
        assert holder is not None
        assert holder.pid == child.pid
        os.kill(holder.pid, signal.SIGKILL)
        with lock.hold():
            own = lock.holder()
            assert own is not None
            assert own.pid == os.getpid()


def test_a_dead_holder_is_no_holder(lock: SequencerLock, path: Path) -> None:
    """The kernel frees the lock of a process that died, whatever its record in the file still says."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    assert lock.holder() is None


def test_a_mark_stops_every_worker(lock: SequencerLock, path: Path) -> None:
    """Once one worker marks the ledger, no other takes the lock, and each is told why."""
    other = SequencerLock(path)
    lock.poison("the disk said no")
    for each in (lock, other):
        with pytest.raises(PoisonedError, match="the disk said no"), each.hold():
            pass
    other.close()


def test_the_first_reason_is_kept(lock: SequencerLock) -> None:
    """What went wrong first is what the operator reads."""
    lock.poison("first")
    lock.poison("second")
    assert lock.reason() == "first"


def test_a_long_reason_is_cut(lock: SequencerLock) -> None:
    """The mark fits into the space that was allocated for it."""
    lock.poison("x" * 10_000)
    assert lock.reason() == "x" * 1024


def test_marking_allocates_nothing(lock: SequencerLock, path: Path) -> None:
    """A full disk cannot keep a worker from stopping the others: the file has the same size before and after."""
    before = path.stat()
    lock.poison("the disk is full")
    assert (path.stat().st_size, path.stat().st_blocks) == (before.st_size, before.st_blocks)


def test_a_damaged_mark_is_a_mark(lock: SequencerLock, path: Path) -> None:
    """A mark that a crash tore still stops everybody."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"PLTMKPM1\0\0")
    assert lock.reason() == "the poison mark is damaged"
    with pytest.raises(PoisonedError), lock.hold():
        pass


def test_a_start_clears_the_mark_and_stops_who_was_there_before(lock: SequencerLock, path: Path) -> None:
    """After a fresh start a new worker works; one of before, which had not looked yet, does not."""
    old = SequencerLock(path)
    old.poison("the disk said no")
    with lock.hold_to_start():
        assert lock.clear() == "the disk said no"
    with lock.hold():
        pass
    with pytest.raises(PoisonedError, match="started again since"), old.hold():
        pass
    old.close()


def test_a_start_without_a_mark_disturbs_nobody(lock: SequencerLock, path: Path) -> None:
    """A worker that is replaced does not stop the others."""
    new = SequencerLock(path)
    with new.hold_to_start():
        assert new.clear() is None
    with lock.hold():
        pass
    new.close()


@pytest.mark.parametrize("content", [b"", bytes(100)])
def test_a_lock_file_that_is_not_whole_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is something else is never locked."""
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(LockError, match="not whole"):
        SequencerLock(tmp_path / "lock")


def test_a_missing_lock_file_is_not_made_anew(tmp_path: Path) -> None:
    """A second lock file beside one that workers still hold would be a second lock."""
    with pytest.raises(LockError, match="cannot be opened"):
        SequencerLock(tmp_path / "lock")
