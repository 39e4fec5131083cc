"""The spool: what is put is there, once and in order, until a ledger has it; and nothing about it is silent."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import builders
from platemark import cbor, statement
from platemark.errors import FormatError
from platemark.spool import (
    DAY_NS,
    Full,
    Spool,
    SpoolBusyError,
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
    State,
)

KEY = builders.key("spooling")


def signed(number: int, *, algorithm: builders.Algorithm = "p256") -> bytes:
    """The heartbeat of this number: every number is another statement."""
    clock: dict[int | str, cbor.Value] = {"source": "host", "error_ns": None}
    payload: builders.Payload = {"at": number, "since": number, "clock": clock, "epoch": 1, "seq": 0, "prev": None}
    key = builders.key("spooling", algorithm)
    return statement.build("heartbeat", payload, signer=key, issuer="https://a.example/b", subject=f"urn:uuid:{UUID}")


UUID = "2b4a0b52-4f4b-4a63-8f0c-6c0f3f7f2d11"


def identity(raw: bytes) -> bytes:
    """The id of a statement."""
    return statement.decode(raw).id


@pytest.fixture(name="spool")
def _spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", now=lambda: builders.NOW) as spool:
        yield spool


def test_what_is_put_is_there_in_order(spool: Spool) -> None:
    """Pending statements come oldest first, as they were put, and another spool on the directory sees them too."""
    raws = [signed(number) for number in range(5)]
    entries = [spool.put(raw) for raw in raws]
    assert [each.number for each in entries] == [1, 2, 3, 4, 5]
    with Spool(spool.directory) as other:
        assert entries == other.pending(9)
        assert entries[2:4] == other.pending(2, after=2)
    assert [(raw, identity(raw), State.PENDING, builders.NOW) for raw in raws] == [
        (each.raw, each.id, each.state, each.put_ns) for each in spool.pending(9)
    ]


def test_one_entry_per_statement(spool: Spool) -> None:
    """A second put of a statement, also under another signature, gives the first entry, whatever became of it."""
    first = spool.put(signed(1, algorithm="mldsa44"))
    again = signed(1, algorithm="mldsa44")
    assert again != first.raw
    assert first == spool.put(again)
    spool.acknowledge([(first.id, 7)])
    found = spool.put(again)
    assert (found.number, found.raw, found.state, found.index) == (1, first.raw, State.ACKNOWLEDGED, 7)
    assert spool.counts().depth == 0


def test_one_entry_per_key(spool: Spool) -> None:
    """A second put under a key gives the first entry, also when the statement is another one."""
    first = spool.put(signed(1), key="object 1")
    assert first == spool.put(signed(2), key="object 1")
    assert first == spool.get(key="object 1") == spool.get(id=first.id)
    assert first.key == "object 1"
    assert spool.get(id=identity(signed(2))) is None
    assert spool.get(key="object 2") is None
    assert spool.counts().depth == 1


def test_several_are_put_together_or_not_at_all(tmp_path: Path) -> None:
    """One commit for all of them, first entries for those that are there; without room, or with a bad one, none is new."""
    raws = [signed(number) for number in range(6)]
    with Spool(tmp_path / "spool", capacity=4) as spool:
        kept = spool.put(raws[1])
        entries = spool.put_many([raws[0], raws[1], raws[2], raws[0]])
        assert [each.number for each in entries] == [2, 1, 3, 2]
        assert entries[1] == kept
        for full in (Full.REFUSE, Full.LENGTHEN):
            with pytest.raises(SpoolFullError):
                spool.put_many(raws[3:5], full=full)
        with pytest.raises(FormatError):
            spool.put_many([raws[3], b"not a statement"])
        assert [each.number for each in spool.put_many([raws[2], raws[3], raws[3]])] == [3, 4, 4]
        assert spool.put_many([]) == []
        assert [each.raw for each in spool.pending(9)] == [raws[1], raws[0], raws[2], raws[3]]


def test_the_room_of_a_spool_is_told(tmp_path: Path) -> None:
    """Set-aside statements take up room, acknowledged ones do not; a smaller capacity leaves less than nothing."""
    with Spool(tmp_path / "spool", capacity=4) as spool:
        first, second, _ = spool.put_many([signed(number) for number in range(3)])
        spool.acknowledge([(first.id, 0)])
        spool.set_aside(second.id, "revoked", "no more")
        room = spool.room()
        assert (room.unsent, room.capacity, room.left, room.filled) == (2, 4, 2, 0.5)
    with Spool(tmp_path / "spool", capacity=1) as spool:
        assert (spool.room().left, spool.room().filled) == (0, 2.0)


@pytest.mark.parametrize("raw", [b"", b"not a statement", signed(1)[:-1], signed(1) + b"\0", b"\xd2" + bytes(70_000)])
def test_what_is_no_statement_is_not_put(spool: Spool, raw: bytes) -> None:
    """Bytes that a ledger could only refuse are refused here, by the field that is wrong, and use up nothing."""
    with pytest.raises(FormatError):
        spool.put(raw)
    assert spool.counts().depth == 0


def test_an_acknowledged_statement_is_no_longer_sent(spool: Spool) -> None:
    """Acknowledging keeps the index and takes the statement out of the queue; doing it again changes nothing."""
    ids = [spool.put(signed(number)).id for number in range(3)]
    spool.acknowledge([(ids[0], 10), (ids[2], 12)])
    spool.acknowledge([(ids[0], 10)])
    assert [ids[1]] == [each.id for each in spool.pending(9)]
    found = spool.get(id=ids[2])
    assert found is not None
    assert (found.state, found.index, found.settled_ns) == (State.ACKNOWLEDGED, 12, builders.NOW)
    assert (spool.counts().depth, spool.counts().acknowledged) == (1, 2)


@pytest.mark.parametrize("second", [(1, 11), (9, 11)], ids=["another-index", "unknown"])
def test_a_statement_has_one_index(spool: Spool, second: tuple[int, int]) -> None:
    """Another index for a statement, and an index for none, are errors that leave everything as it was."""
    ids = [spool.put(signed(number)).id for number in range(3)]
    spool.acknowledge([(ids[1], 10)])
    number, index = second
    with pytest.raises(SpoolError, match="has index 10" if number == 1 else "has no statement"):
        spool.acknowledge([(ids[0], 9), (identity(signed(number)), index)])
    assert [ids[0], ids[2]] == [each.id for each in spool.pending(9)]
    found = spool.get(id=ids[1])
    assert found is not None
    assert found.index == 10


def test_a_refused_statement_is_kept_with_its_reason_and_can_be_sent_again(spool: Spool) -> None:
    """Set aside it is not pending; released it is back at its old place; the reason is shown in between."""
    ids = [spool.put(signed(number)).id for number in range(3)]
    spool.set_aside(ids[0], "revoked", "the key is revoked")
    assert ids[1:] == [each.id for each in spool.pending(9)]
    (aside,) = spool.entries(State.SET_ASIDE, 9)
    assert (aside.id, aside.code, aside.reason) == (ids[0], "revoked", "the key is revoked")
    with pytest.raises(SpoolError, match="is set-aside, not pending"):
        spool.set_aside(ids[0], "revoked", "again")
    spool.release(ids[0])
    assert ids == [each.id for each in spool.pending(9)]
    assert spool.pending(1)[0].reason is None
    for wrong in (ids[0], bytes(32)):
        with pytest.raises(SpoolError, match=r"is pending, not set aside|has no statement"):
            spool.release(wrong)


def test_a_discarded_statement_is_kept_a_while_and_never_sent(tmp_path: Path) -> None:
    """Only what was set aside can be discarded; it makes room, can be released, and is pruned like an acknowledged one."""
    now = [builders.NOW]
    with Spool(tmp_path, now=lambda: now[0], capacity=1, keep_ns=30 * DAY_NS) as spool:
        entry = spool.put(signed(1))
        with pytest.raises(SpoolError, match="is pending, not set aside"):
            spool.discard(entry.id)
        spool.set_aside(entry.id, "expired", "too old")
        with pytest.raises(SpoolFullError, match="1 of them set aside"):
            spool.put(signed(2))
        spool.discard(entry.id)
        assert (spool.counts().discarded, spool.pending(9)) == (1, [])
        spool.put(signed(2))
        now[0] += 31 * DAY_NS
        assert (spool.prune(), spool.counts().discarded, spool.counts().depth) == (1, 0, 1)


def test_acknowledged_statements_are_kept_for_the_time_given(tmp_path: Path) -> None:
    """Pruning takes what was acknowledged longer ago, and neither what waits nor what was set aside, however old."""
    now = [builders.NOW]
    with Spool(tmp_path, now=lambda: now[0]) as spool:
        ids = [spool.put(signed(number)).id for number in range(4)]
        spool.set_aside(ids[3], "revoked", "the key is revoked")
        for day, each in enumerate(ids[:2]):
            now[0] = builders.NOW + day * DAY_NS
            spool.acknowledge([(each, day)])
        now[0] = builders.NOW + 30 * DAY_NS
        assert spool.prune() == 0
        now[0] += 1
        assert spool.prune() == 1
        now[0] += 1000 * DAY_NS
        assert spool.prune() == 1
        counts = spool.counts()
        assert (counts.depth, counts.set_aside, counts.acknowledged) == (1, 1, 0)
        # Numbers are never used twice, so what is put later stays later.
        assert spool.put(signed(0)).number == 5


def test_counts_say_how_many_and_since_when(tmp_path: Path) -> None:
    """Depth, the age of the oldest and what was set aside are kept in step with every change."""
    now = [builders.NOW]
    with Spool(tmp_path, now=lambda: now[0], capacity=9) as spool:
        assert (spool.counts().depth, spool.counts().oldest_ns, spool.counts().capacity) == (0, None, 9)
        first = spool.put(signed(1))
        now[0] += 5
        second = spool.put(signed(2))
        assert (spool.counts().depth, spool.counts().oldest_ns) == (2, builders.NOW)
        spool.set_aside(first.id, "revoked", "why")
        assert (spool.counts().depth, spool.counts().oldest_ns, spool.counts().set_aside) == (1, builders.NOW + 5, 1)
        spool.acknowledge([(first.id, 0), (second.id, 1)])
        counts = spool.counts()
        assert (counts.unsent, counts.oldest_ns, counts.set_aside, counts.acknowledged) == (0, None, 0, 2)


def test_a_full_spool_refuses_and_says_so(tmp_path: Path) -> None:
    """Nothing is dropped to make room and nothing is put; what is in it already can be put again."""
    with Spool(tmp_path, capacity=2) as spool:
        first = spool.put(signed(1))
        spool.put(signed(2))
        with pytest.raises(SpoolFullError, match="full: 2 statements wait for a ledger; nothing was put"):
            spool.put(signed(3))
        assert first == spool.put(signed(1))
        spool.acknowledge([(first.id, 0)])
        assert spool.put(signed(3)).number == 3


def test_a_full_spool_makes_the_patient_wait(tmp_path: Path) -> None:
    """With BLOCK a put waits until another thread, or another process, has made room; without patience it refuses."""
    with Spool(tmp_path, capacity=1) as spool, Spool(tmp_path, capacity=1) as other:
        spool.put(signed(0), full=Full.BLOCK, patience=0.0)
        with pytest.raises(SpoolFullError):
            spool.put(signed(9), full=Full.BLOCK, patience=0.0)
        for number, maker in ((1, spool), (2, other)):
            putting = threading.Thread(target=spool.put, args=(signed(number),), kwargs={"full": Full.BLOCK})
            putting.start()
            maker.acknowledge([(identity(signed(number - 1)), number)])
            putting.join(60)
            assert [identity(signed(number))] == [each.id for each in spool.pending(9)]


def test_threads_share_a_spool(spool: Spool) -> None:
    """Four threads at once: every statement once, each thread's in its own order."""
    raws = [[signed(100 * thread + number) for number in range(25)] for thread in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: [spool.put(each) for each in mine]) for mine in raws]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    found = [each.id for each in spool.pending(1000)]
    assert len(found) == 100
    for mine in raws:
        ids = [identity(raw) for raw in mine]
        assert ids == [each for each in found if each in set(ids)]


def test_the_spool_is_the_owner_s_alone(tmp_path: Path) -> None:
    """Directories that are made are 0700 and the files in them 0600."""
    with Spool(tmp_path / "a" / "spool") as spool:
        spool.put(signed(1))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert modes.pop("spool") == 0o700
    assert modes == dict.fromkeys(("spool.lock", "spool.sqlite", "spool.sqlite-shm", "spool.sqlite-wal"), 0o600)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_every_change_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit syncs the log, new directories are synced into the ones above them, and a repeated put syncs too."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    place = tmp_path / "a" / "spool"
    with Spool(place) as spool:
        assert [str(tmp_path), str(place.parent)] == synced[:2]
        assert str(place) in synced[2:]
        assert spool._connection is not None
        pragmas = [
            spool._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
        assert pragmas == ["wal", 2]
        spool.put(signed(1))
        synced.clear()
        spool.put(signed(1))
        assert synced == [f"{spool.path}-wal"]


def test_a_closed_spool_is_a_mistake_of_the_program(spool: Spool) -> None:
    """Closing twice is fine, using it after that is not."""
    spool.close()
    spool.close()
    with pytest.raises(RuntimeError, match="closed"):
        spool.counts()


def damage_nothing(path: Path) -> None:
    """Leave nothing but an empty file."""
    path.write_bytes(b"")


def damage_header(path: Path) -> None:
    """Another kind of file."""
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])


def damage_middle(path: Path) -> None:
    """Every page but the first is noise."""
    path.write_bytes(path.read_bytes()[:4096] + b"\xa5" * (len(path.read_bytes()) - 4096))


def damage_tail(path: Path) -> None:
    """The file is cut."""
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])


def another_database(path: Path) -> None:
    """A database of something else."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entry (id)")


@pytest.mark.parametrize(
    "damage",
    [damage_nothing, damage_header, damage_middle, damage_tail, another_database],
    ids=lambda value: value.__name__,
)
def test_a_damaged_database_is_named_and_never_begun_anew(tmp_path: Path, damage: Any) -> None:
    """Whatever happened to the file, the error says damaged or not a spool's, and the file stays as it is."""
    with Spool(tmp_path) as spool:
        for number in range(50):
            spool.put(signed(number))
    damage(spool.path)
    before = spool.path.read_bytes()
    with pytest.raises(SpoolDamagedError, match=r"spool\.sqlite: (the database is damaged|is not the database of a)"):
        _use(tmp_path)
    assert before == spool.path.read_bytes()


def _use(directory: Path) -> None:
    with Spool(directory) as spool:
        spool.pending(100)
        spool.put(signed(99))


def test_a_database_that_went_away_takes_no_statement_with_it(tmp_path: Path) -> None:
    """A put into a file that was removed or replaced is an error; a log without its database is one too."""
    with Spool(tmp_path) as spool:
        spool.put(signed(1))
        aside = spool.path.rename(tmp_path / "aside")
        with pytest.raises(SpoolError, match="was removed or replaced"):
            spool.put(signed(2))
        with pytest.raises(SpoolDamagedError, match="is gone, and the log beside it"):
            Spool(tmp_path)
        aside.rename(spool.path)
        assert spool.put(signed(2)).number == 2


def test_another_version_is_refused(tmp_path: Path) -> None:
    """A database of a later release is left alone."""
    Spool(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "spool.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(SpoolError, match="of version 2, and this release knows 1"):
        Spool(tmp_path)


def test_the_file_itself_keeps_what_no_ledger_has(spool: Spool) -> None:
    """Whatever program opens it: an unsent statement cannot be removed, none can be changed, and an index stays."""
    spool.put(signed(1))
    spool.acknowledge([(spool.put(signed(2)).id, 5)])
    with closing(sqlite3.connect(spool.path)) as connection:
        for change in (
            "DELETE FROM entry WHERE number = 1",
            "UPDATE entry SET raw = x'00' WHERE number = 2",
            "UPDATE entry SET log_index = 6 WHERE number = 2",
            "UPDATE entry SET state = 'pending', settled_ns = NULL, log_index = NULL WHERE number = 2",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(change)


def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    """When the database cannot grow, put says so; what was put before is there, and room makes it work again."""
    with Spool(tmp_path) as spool:
        assert spool._connection is not None
        pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
        spool._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(SpoolError, match="the disk is full"):
            _put_many(spool)
        found = [each.id for each in spool.pending(1000)]
        assert found == [identity(signed(each)) for each in range(len(found))]
        spool._connection.execute("PRAGMA max_page_count = 1000000")
        assert spool.put(signed(len(found))).number == len(found) + 1


def _put_many(spool: Spool) -> None:
    for number in range(1000):
        spool.put(signed(number))


_TRY = """
import os, resource, sys
from pathlib import Path
from platemark.errors import PlatemarkError
from platemark.spool import Spool
directory, most, user = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if user:
    os.seteuid(user)
try:
    with Spool(directory) as spool:
        for number, line in enumerate(sys.stdin):
            spool.put(bytes.fromhex(line))
            print(number, flush=True)
            if most:  # bytes that any file may have from now on
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
except PlatemarkError as error:
    print(type(error).__name__, error)
"""


def _tried(directory: Path, raws: list[bytes], *, most: int = 0, user: int = 0) -> list[str]:
    """What a process of its own says that puts these, with a limit on the size of files or as another user."""
    command = [sys.executable, "-c", _TRY, str(directory), str(most), str(user)]
    lines = "".join(raw.hex() + "\n" for raw in raws)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_file_that_cannot_grow_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    """The same for real: the system refuses to write, put says so, and what was acknowledged before is there."""
    raws = [signed(number) for number in range(60)]
    *acknowledged, last = _tried(tmp_path, raws, most=400_000)
    assert 0 < len(acknowledged) < 60
    assert last.startswith(f"SpoolError {tmp_path}")
    with Spool(tmp_path) as spool:
        assert [each.raw for each in spool.pending(100)] == raws[: len(acknowledged)]
        assert spool.put(raws[-1]).state is State.PENDING


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("below", ["", "below"])
def test_a_directory_that_cannot_be_written_is_named(below: str) -> None:
    """Neither made nor used, and the sentence begins with the path."""
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o555)
        # Root writes everywhere, so it tries as nobody.
        (said,) = _tried(place / below, [signed(1)], user=65534 if os.geteuid() == 0 else 0)
        assert said.startswith(f"SpoolError {place}")
        assert said.endswith("Permission denied")
    finally:
        place.rmdir()


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_is_no_directory(tmp_path: Path, below: str) -> None:
    """A spool at, or below, a file is an error of one sentence."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpoolError, match="file"):
        Spool(tmp_path / "file" / below)


def test_a_process_that_does_not_let_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A put waits for another process's transaction, and then says who is in the way."""
    monkeypatch.setattr("platemark.spool.outbox._PATIENCE", 0.0)
    with Spool(tmp_path) as spool, Spool(tmp_path) as other, other._lock.held(0) as had:
        assert had
        with pytest.raises(SpoolBusyError, match="another process has been writing"):
            spool.put(signed(1))


_PUT = """
import sys
from pathlib import Path
from platemark.spool import Spool
with Spool(Path(sys.argv[1])) as spool:
    for line in sys.stdin:
        entry = spool.put(bytes.fromhex(line))
        print(entry.number, entry.id.hex(), flush=True)
"""


def _kill_after(directory: Path, raws: list[bytes], answers: int, extra: int) -> list[str]:
    """Put statements in a child that is killed once it has answered some; what it acknowledged.

    `extra` are sent beyond those that are waited for, so that the kill comes while it works on them.
    """
    command = [sys.executable, "-c", _PUT, str(directory)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    for raw in raws[: answers + extra]:
        child.stdin.write(raw.hex() + "\n")
    child.stdin.flush()
    said = [child.stdout.readline() for _ in range(answers)]
    child.kill()
    said += child.stdout.readlines()
    child.wait(60)
    child.stdout.close()
    child.stdin.close()
    return [line.split()[1] for line in said if line.endswith("\n")]


def _check_kills(directory: Path, rounds: int) -> None:
    """After each kill: what was acknowledged is there, once, in the order of putting, before what was not."""
    put: list[str] = []
    for number in range(rounds):
        raws = [signed(1_000 * number + each) for each in range(60)]
        acknowledged = _kill_after(directory, raws, answers=number % 7, extra=40)
        sent = [identity(raw).hex() for raw in raws]
        with Spool(directory) as spool:
            found = [each.id.hex() for each in spool.pending(100_000)]
        assert found[: len(put)] == put
        new = found[len(put) :]
        # At most one more than was told is there: the one whose answer the kill swallowed.
        assert sent[: len(new)] == new
        assert acknowledged == new[: len(acknowledged)]
        assert len(new) - len(acknowledged) in {0, 1}
        put = found


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A real process, killed with no warning while it puts: every put that returned is there, once, in order."""
    _check_kills(tmp_path, rounds=8)


@pytest.mark.soak
def test_what_was_acknowledged_survives_many_kills(tmp_path: Path) -> None:
    """The same a thousand times on one directory."""
    _check_kills(tmp_path, rounds=1000)


def test_a_torn_log_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """As after a power failure: whatever of the bytes behind the last acknowledged put reached the disk, the rest is there."""
    raws = [signed(number) for number in range(12)]
    sizes = []
    with Spool(tmp_path / "spool") as spool:
        log = Path(f"{spool.path}-wal")
        for raw in raws:
            spool.put(raw)
            sizes.append(log.stat().st_size)
        files = {path.name: path.read_bytes() for path in (spool.path, log)}
    written = files[log.name]
    for size in range(sizes[0], sizes[-1], 9973):
        put = sum(each <= size for each in sizes)
        for tail in (b"", b"\0" * 5000, b"\xa5" * 5000):
            copy = tmp_path / f"{size}-{tail[:1].hex()}"
            copy.mkdir()
            (copy / spool.path.name).write_bytes(files[spool.path.name])
            (copy / log.name).write_bytes(written[:size] + tail)
            with Spool(copy) as found:
                assert [each.raw for each in found.pending(100)] == raws[:put]
                assert found.put(raws[-1]).state is State.PENDING


def test_processes_share_a_spool(tmp_path: Path) -> None:
    """Three processes put while a fourth one takes away: every statement once, those of each process in its own order."""
    parts = [[signed(1_000 * process + number) for number in range(40)] for process in range(3)]
    command = [sys.executable, "-c", _PUT, str(tmp_path)]
    with Spool(tmp_path) as spool:
        children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in parts]
        for child, raws in zip(children, parts, strict=True):
            assert child.stdin is not None
            child.stdin.write("".join(raw.hex() + "\n" for raw in raws).encode())
            child.stdin.close()
        taken: list[bytes] = []
        while len(taken) < 120:
            batch = spool.pending(7)
            spool.acknowledge([(each.id, len(taken) + place) for place, each in enumerate(batch)])
            taken += [each.raw for each in batch]
            assert batch or any(child.poll() is None for child in children) or spool.counts().depth
        assert [child.wait(60) for child in children] == [0, 0, 0]
        assert [each.number for each in spool.entries(State.ACKNOWLEDGED, 999)] == [*range(1, 121)]
    for raws in parts:
        assert [raw for raw in taken if raw in set(raws)] == raws
