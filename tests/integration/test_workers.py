"""Several worker processes on one port and one log."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from integration.live import Live, Place, only

from platemark import merkle, statement
from platemark.rpc import Logged, Retry
from platemark.rpc.sync import LedgerClient
from platemark_ledger.lock import SequencerLock

# A client keeps one connection, and the kernel gives each connection to some worker: so many reach both of two.
_CONNECTIONS = 12


def test_two_workers_that_race_with_the_same_statements_give_each_one_index(place: Place) -> None:
    """Twelve connections send the same statements at once, in different orders: every one has one index and one first answer."""
    with place.served("--workers", "2") as live:
        assert len(set(live.workers)) == 2
        device = live.device("race")
        raws = [device.capture(bytes([number])) for number in range(40)]
        clients = [live.client() for _ in range(_CONNECTIONS)]
        together = threading.Barrier(_CONNECTIONS)

        def send(number: int) -> dict[bytes, tuple[int, bool]]:
            together.wait()
            answers = {}
            # Each begins elsewhere and goes round, so that firsts and repeats mix.
            for raw in raws[number:] + raws[:number]:
                logged = only(clients[number].append([raw]).outcomes)
                answers[raw] = (logged.statement.index, logged.duplicate)
            return answers

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            answers = list(pool.map(send, range(_CONNECTIONS)))
        for raw in raws:
            indices = {answer[raw][0] for answer in answers}
            firsts = [answer[raw][1] for answer in answers].count(False)
            assert (len(indices), firsts) == (1, 1)
        check_replay(live)


def test_writers_and_readers_of_two_workers_see_one_log(place: Place) -> None:
    """Ten writers and a reader that watches the checkpoint: sizes only grow, every step is proven consistent."""
    with place.served("--workers", "2") as live:
        devices = [live.device(f"writer-{number}") for number in range(10)]
        batches = [[device.capture(bytes([number])) for number in range(40)] for device in devices]
        done = threading.Event()

        def write(number: int) -> int:
            client = live.client()
            outcomes = [client.append(batches[number][start : start + 8]).outcomes for start in range(0, 40, 8)]
            return sum(isinstance(outcome, Logged) for part in outcomes for outcome in part)

        def watch() -> int:
            client, steps = live.client(), 0
            old = client.checkpoint().checkpoint
            while not done.is_set():
                proof = client.consistency_proof(old.size)
                new = proof.checkpoint.checkpoint
                merkle.verify_consistency(
                    old_size=old.size, new_size=new.size, old_root=old.root, new_root=new.root, path=proof.path
                )
                old, steps = new, steps + 1
            return steps

        with ThreadPoolExecutor(11) as pool:
            watching = pool.submit(watch)
            logged = sum(pool.map(write, range(10)))
            done.set()
            assert watching.result() > 0
        assert logged == 400
        check_replay(live)


def test_a_worker_that_hangs_with_the_lock_is_ended_and_the_log_goes_on(place: Place) -> None:
    """A worker that is frozen while it holds the lock blocks all writers only until the supervisor ends it by its pid."""
    with place.served("--workers", "2", LOCK_LIMIT="1") as live:
        device = live.device("hang")
        client = live.client(retry=Retry(attempts=100, first=0.05, most=0.5), attempt_timeout=3, timeout=90)
        raws = [device.capture(bytes([number, 1])) for number in range(200)]
        sending = threading.Thread(target=_send_all, args=(live, raws))
        frozen = _freeze_with_lock(live, sending)
        logged = only(client.append([device.capture(b"after")]).outcomes)
        assert logged.statement.index > 0
        sending.join()
        assert f"worker {frozen} has held the lock" in live.log.read_text()
        check_replay(live)


def test_a_worker_that_dies_again_and_again_is_restarted_with_growing_pauses(place: Place) -> None:
    """The first pause is short, the second twice as long; meanwhile the other worker serves."""
    with place.served("--workers", "2") as live:
        os.kill(live.workers[0], signal.SIGKILL)
        client = live.client(retry=Retry(attempts=50, first=0.05, most=0.5))
        only(client.append([live.device("restart").capture()]).outcomes)
    assert "died (signal SIGKILL); a new one in 0.5 s" in live.log.read_text()


def check_replay(live: Live) -> None:
    """The whole log, read from outside, has the root that the checkpoint says, and nothing twice."""
    with LedgerClient(live.address, trusted=live.place.trusted) as client:
        listed = list(client.list_statements())
        covered = client.checkpoint().checkpoint
    assert [each.index for each in listed] == list(range(covered.size))
    assert len({each.id for each in listed}) == covered.size
    assert merkle.root(merkle.leaf_hash(statement.decode(each.statement).entry) for each in listed) == covered.root


def _freeze_with_lock(live: Live, sending: threading.Thread) -> int:
    """The pid of a worker that was stopped (SIGSTOP) at a moment when it held the sequencer's lock."""
    lock = SequencerLock(live.place.directory / "data.lock")
    sending.start()
    try:
        while True:
            holder = lock.holder()
            if holder is None:
                continue
            os.kill(holder.pid, signal.SIGSTOP)
            # It may have let go between the look and the stop: then it goes on, and we look again.
            still = lock.holder()
            if still is not None and still.pid == holder.pid:
                return holder.pid
            os.kill(holder.pid, signal.SIGCONT)
    finally:
        lock.close()


def _send_all(live: Live, raws: list[bytes]) -> None:
    retry = Retry(attempts=100, first=0.05, most=0.5)
    with LedgerClient(live.address, retry=retry, attempt_timeout=3, timeout=90) as client:
        for raw in raws:
            client.append([raw])
