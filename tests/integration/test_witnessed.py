"""A real ledger with witnesses: who waits for them gets a quorum or the truth, and who does not never notices them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from integration.authority import running
from integration.live import ORIGIN, PROGRAM, Live, Place, environment, only

from platemark import checkpoint, witness_policy
from platemark.rpc import BadReplyError, DeadlineError, NotFoundError, RefusedError, Retry, UnavailableError, Wait, What
from platemark.rpc.sync import LedgerClient
from platemark.timestamp import Authority, verify_response
from platemark_ledger import published
from platemark_ledger.published import Published
from platemark_ledger.store import Store, Table
from witnesses import Witness, policy, witnessing

_T = TypeVar("_T")
ONCE = Retry(attempts=1)
QUICK = {"PUBLISH_INTERVAL": "0.05"}


@contextmanager
def scene(place: Place, count: int, *witnesses: Witness, workers: int = 1, **changes: str) -> Iterator[Live]:
    """The ledger, served with a policy that demands so many of the witnesses, which run as long as the block."""
    with witnessing(*witnesses):
        path = place.directory / "witnesses.policy"
        path.write_text(policy(count, *witnesses))
        options = ("--workers", str(workers))
        with place.served(*options, WITNESS_POLICY=str(path), HTTP_LISTEN="127.0.0.1:0", **QUICK, **changes) as live:
            yield live


def named(place: Place, *names: str) -> list[Witness]:
    """Witnesses of this ledger."""
    return [Witness(name, place.trusted.log_keys) for name in names]


def trusting(live: Live, count: int, *witnesses: Witness, **options: Any) -> LedgerClient:
    """A client that checks the quorum itself."""
    trusted = replace(live.place.trusted, witnesses=witness_policy.parse(policy(count, *witnesses)))
    return live.client(trusted=trusted, **options)


def eventually(look: Callable[[], _T | None]) -> _T:
    """What `look` finds within 30 s."""
    ends = time.monotonic() + 30
    while (found := look()) is None:
        assert time.monotonic() < ends, "it does not happen"
        threading.Event().wait(0.02)
    return found


def metrics(live: Live) -> dict[str, float]:
    """What /metrics says."""
    said = httpx.get(f"http://{live.http}/metrics", trust_env=False).text
    lines = (line.rsplit(" ", 1) for line in said.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_an_append_that_waits_is_answered_under_a_cosigned_checkpoint(place: Place) -> None:
    """Its paths lead to the root that two of three witnesses have signed, and everyone sees the same checkpoint."""
    witnesses = named(place, "w1.test", "w2.test", "w3.test")
    witnesses[2].fault = "busy"
    with scene(place, 2, *witnesses, workers=2) as live:
        device = live.device("dx1")
        client = trusting(live, 2, *witnesses)
        raws = [device.capture(b"image %d" % number) for number in range(3)]
        appended = client.append(raws, wait=Wait.WITNESSED)
        covered = appended.checkpoint.checkpoint
        assert all(only((outcome,)).statement.index < covered.size for outcome in appended.outcomes)
        assert {name for name, _, _ in appended.checkpoint.signed.signatures} == {ORIGIN, "w1.test", "w2.test"}
        newest = client.checkpoint(What.WITNESSED)
        assert newest.checkpoint.size >= covered.size
        shown = checkpoint.parse(httpx.get(f"http://{live.http}/checkpoint", trust_env=False).content)
        assert shown.checkpoint.size >= covered.size
        again = client.append(raws, wait=Wait.WITNESSED)
        assert [only((outcome,)).duplicate for outcome in again.outcomes] == [True, True, True]
        assert "HTTP Request" not in live.log.read_text()


def test_a_stream_that_waits_is_answered_under_cosigned_checkpoints(place: Place) -> None:
    """Every answer, in order, verifies with the client's own quorum, whatever checkpoint its statements were first under."""
    witnesses = named(place, "w1.test", "w2.test")
    with scene(place, 2, *witnesses) as live:
        device = live.device("dx1")
        raws = [device.capture(b"image %d" % number) for number in range(12)]
        batches = [raws[start : start + 3] for start in range(0, 12, 3)]
        answers = list(trusting(live, 2, *witnesses).append_stream(batches, wait=Wait.WITNESSED))
        places = [only((outcome,)).statement.index for each in answers for outcome in each.outcomes]
        assert places == sorted(set(places))
        for each in answers:
            names = {name for name, _, _ in each.checkpoint.signed.signatures}
            assert names == {ORIGIN, "w1.test", "w2.test"}


def test_without_a_quorum_an_append_is_logged_and_its_caller_told_the_truth(place: Place) -> None:
    """NOT_WITNESSED at the deadline; a plain append goes on; the alarm is on; with the witness back, the repeat succeeds."""
    witnesses = named(place, "w1.test", "w2.test")
    witnesses[1].fault = "busy"
    with scene(place, 2, *witnesses) as live:
        device = live.device("dx1")
        raw = device.capture()
        client = trusting(live, 2, *witnesses, timeout=2.0, retry=ONCE)
        with pytest.raises(DeadlineError) as caught:
            client.append([raw], wait=Wait.WITNESSED)
        assert caught.value.info == "NOT_WITNESSED"
        with pytest.raises(NotFoundError):
            client.checkpoint(What.WITNESSED)
        logged = only(live.client().append([raw]).outcomes)
        assert logged.duplicate
        said = metrics(live)
        assert said["platemark_witness_quorum_missing"] == 1
        assert said['platemark_witness_failures_total{witness="w2.test"}'] > 0
        shown = checkpoint.parse(httpx.get(f"http://{live.http}/checkpoint", trust_env=False).content)
        assert {name for name, _, _ in shown.signed.signatures} == {ORIGIN}
        witnesses[1].fault = None
        appended = trusting(live, 2, *witnesses).append([raw], wait=Wait.WITNESSED)
        assert only(appended.outcomes).statement.index == logged.statement.index
        eventually(lambda: True if metrics(live)["platemark_witness_quorum_missing"] == 0 else None)


def test_a_client_does_not_take_the_ledgers_word_for_a_quorum(place: Place) -> None:
    """With a policy of its own that demands more, it refuses what the ledger calls witnessed."""
    witnesses = named(place, "w1.test", "w2.test")
    witnesses[1].fault = "stranger"
    with scene(place, 1, *witnesses) as live:
        raw = live.device("dx1").capture()
        with pytest.raises(BadReplyError, match="called witnessed, and only 1 known witnesses"):
            trusting(live, 2, *witnesses).append([raw], wait=Wait.WITNESSED)
        assert only(trusting(live, 1, *witnesses).append([raw], wait=Wait.WITNESSED).outcomes).duplicate


def test_when_all_is_refused_there_is_nothing_to_wait_for(place: Place) -> None:
    """A refused statement waits for no witness, although none answers."""
    (witness,) = named(place, "w1.test")
    witness.fault = "busy"
    with scene(place, 1, witness) as live:
        stranger = live.place.registrar().new("stranger")
        (outcome,) = live.client().append([stranger.capture()], wait=Wait.WITNESSED).outcomes
        assert not hasattr(outcome, "statement")


def test_watchers_see_every_kind_of_checkpoint_grow(place: Place) -> None:
    """A stream gives the newest at once and each that follows, with sizes that only grow, and goes on over its own end."""
    (witness,) = named(place, "w1.test")
    with scene(place, 1, witness, LIST_TIME="0.3") as live:
        device = live.device("dx1")
        client, target = trusting(live, 1, witness), 0
        for what in What:
            watch = client.watch(what)
            sizes = [next(watch).checkpoint.size]
            for _ in range(3):
                target = live.client().append([device.capture()]).checkpoint.checkpoint.size
                while sizes[-1] < target:
                    sizes.append(next(watch).checkpoint.size)
            watch.close()  # type: ignore[attr-defined] # a generator
            assert sizes == sorted(set(sizes))
        watch = client.watch(What.LATEST, above_size=target)
        threading.Timer(1.0, lambda: live.client().append([device.capture()])).start()
        assert next(watch).checkpoint.size == target + 1


def test_kinds_that_a_ledger_does_not_have_are_said_so(live: Live) -> None:
    """A ledger without witnesses has no witnessed checkpoint, to get or to watch; a published one it has."""
    client = live.client()
    with pytest.raises(RefusedError) as got:
        client.checkpoint(What.WITNESSED)
    with pytest.raises(RefusedError) as watched:
        next(client.watch(What.WITNESSED))
    assert got.value.info == watched.value.info == "NO_WITNESSES"
    found = eventually(lambda: _published(client))
    assert len(found.signed.signatures) == 2


def _published(client: LedgerClient) -> checkpoint.SignedCheckpoint | None:
    try:
        return client.checkpoint(What.PUBLISHED)
    except NotFoundError:
        return None


def test_evidence_leads_to_the_witnessed_checkpoint(place: Place) -> None:
    """Every proof of a bundle is under the newest checkpoint that a quorum has cosigned, once one covers the record."""
    (witness,) = named(place, "w1.test")
    with scene(place, 1, witness) as live:
        device = live.device("dx1")
        appended = live.client().append([device.capture()], wait=Wait.WITNESSED)
        index = only(appended.outcomes).statement.index
        evidence = trusting(live, 1, witness).evidence(index=index)
        assert {name for name, _, _ in evidence.checkpoint.signed.signatures} == {ORIGIN, "w1.test"}
        assert evidence.checkpoint.checkpoint.size > index


def rows(place: Place) -> list[Published]:
    """The published checkpoints that are stored, smallest first."""
    store = Store.open(place.directory / "data")
    try:
        with store.read() as transaction:
            sizes = [int.from_bytes(key, "big") for key, _ in transaction.scan(Table.PUBLISHED)]
            found = [published.at_size(transaction, size) for size in sizes]
    finally:
        store.close()
    return [each for each in found if each is not None]


def test_authorities_stamp_what_is_published_and_go_on_without_witnesses(place: Place, tmp_path: Path) -> None:
    """A real authority stamps the log note, with its list of the revoked; without a quorum the unwitnessed one is stamped."""
    (witness,) = named(place, "w1.test")
    with running(tmp_path / "tsa") as authority:
        changes = {"TSA": authority["url"], "TSA_CRL": authority["crl"], "TSA_INTERVAL": "1"}
        with scene(place, 1, witness, **changes) as live:
            device = live.device("dx1")
            live.client().append([device.capture()], wait=Wait.WITNESSED)
            first = eventually(lambda: next((each for each in rows(place) if each.stamps and each.witnessed), None))
            witness.fault = "busy"
            size = live.client().append([device.capture()]).checkpoint.checkpoint.size
            second = eventually(lambda: next((each for each in rows(place) if each.stamps and each.size == size), None))
            assert not second.witnessed
            assert metrics(live)[f'platemark_tsa_size{{tsa="{authority["url"]}"}}'] == size
        trusted = Authority("demo", (Path(authority["root"]).read_bytes(),))
        for row in (first, second):
            (stamp,) = row.stamps
            verified = verify_response(
                stamp.response, message=row.log_note, authorities=[trusted], crls=list(stamp.crls)
            )
            assert verified.revocation == "checked"
            assert verified.time_ns <= time.time_ns()


def test_published_checkpoints_outlive_a_restart(place: Place) -> None:
    """What was witnessed before is served before any witness is asked again."""
    (witness,) = named(place, "w1.test")
    with witnessing(witness):
        path = place.directory / "witnesses.policy"
        path.write_text(policy(1, witness))
        changes = {"WITNESS_POLICY": str(path), **QUICK}
        with place.served(**changes) as live:
            device = live.device("dx1")
            before = live.client().append([device.capture()], wait=Wait.WITNESSED).checkpoint
            newest = live.client().checkpoint(What.WITNESSED)
        witness.fault = "busy"
        with place.served(**changes) as live:
            assert live.client().checkpoint(What.WITNESSED).raw == newest.raw
            assert newest.checkpoint.size >= before.checkpoint.size


def test_when_the_publishing_worker_is_killed_another_one_publishes(place: Place) -> None:
    """Killed twice in a row, whoever it was: a caller who waits is still answered."""
    (witness,) = named(place, "w1.test")
    with scene(place, 1, witness, workers=2) as live:
        device = live.device("dx1")
        client = live.client(timeout=60.0, retry=Retry(attempts=200))
        for worker in live.workers:
            os.kill(worker, signal.SIGKILL)
            appended = client.append([device.capture()], wait=Wait.WITNESSED)
            assert {name for name, _, _ in appended.checkpoint.signed.signatures} == {ORIGIN, "w1.test"}


def test_callers_who_wait_for_witnesses_do_not_crowd_out_the_others(place: Place) -> None:
    """While nobody cosigns, at most half of the calls may wait; the next one is told to come back, and plain appends go on."""
    (witness,) = named(place, "w1.test")
    witness.fault = "busy"
    with scene(place, 1, witness, MAX_CALLS="4") as live:
        devices = [live.device(f"dx{number}") for number in range(4)]
        raws = [device.capture() for device in devices]
        clients = [live.client(timeout=20.0, attempt_timeout=20.0) for _ in range(3)]
        waiting = [
            threading.Thread(target=_append_and_fail, args=(client, raw))
            for client, raw in zip(clients[:2], raws[:2], strict=True)
        ]
        for thread in waiting:
            thread.start()
        eventually(lambda: True if _waits_are_full(live, raws[2]) else None)
        assert not only(live.client().append([raws[3]]).outcomes).duplicate
        witness.fault = None
        for thread in waiting:
            thread.join(30)
            assert not thread.is_alive()


def _append_and_fail(client: LedgerClient, raw: bytes) -> None:
    client.append([raw], wait=Wait.WITNESSED)


def _waits_are_full(live: Live, raw: bytes) -> bool:
    try:
        live.client(timeout=0.3, retry=ONCE).append([raw], wait=Wait.WITNESSED)
    except DeadlineError:
        return False
    except UnavailableError as error:
        return "2 calls wait for witnesses already" in str(error)
    raise AssertionError("nobody cosigns")


def test_a_snapshot_put_back_is_found_by_the_witnesses_at_the_start(place: Place, tmp_path: Path) -> None:
    """Data and anchor restored together pass every check inside; a witness shows what our own key signed, and serve refuses."""
    (witness,) = named(place, "w1.test")
    with witnessing(witness):
        path = place.directory / "witnesses.policy"
        path.write_text(policy(1, witness))
        changes = {"WITNESS_POLICY": str(path), **QUICK}
        snapshot = tmp_path / "snapshot"
        subprocess.run(["cp", "-a", str(place.directory), str(snapshot)], check=True)
        with place.served(**changes) as live:
            live.client().append([live.device("dx1").capture()], wait=Wait.WITNESSED)
            size = witness.size
        command = [*PROGRAM, "serve", str(snapshot), "--listen", "127.0.0.1:0"]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(changes), timeout=60, check=False
        )
        assert done.returncode == 3
        assert f"has seen size {size}, and the data ends at size 1" in done.stderr


def test_a_ledger_starts_although_its_witnesses_are_gone(place: Place) -> None:
    """Nobody answers at start: the ledger says so in its log and serves."""
    (witness,) = named(place, "w1.test")
    with witnessing(witness):
        path = place.directory / "witnesses.policy"
        path.write_text(policy(1, witness))
    with place.served(WITNESS_POLICY=str(path), WITNESS_TIMEOUT="2", **QUICK) as live:
        live.device("dx1")
        assert "does not say what it has seen" in live.log.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "quorum"),
        ("quorum nobody\n", "line 1: nobody is not defined before it is used"),
        ("witness w VKEY\nquorum w\n", "the witnesses that have a URL are no quorum"),
        (f"witness w {ORIGIN}+KEY http://127.0.0.1:1\nquorum w\n", f"a witness has the log's own name {ORIGIN}"),
    ],
)
def test_a_policy_that_cannot_be_used_stops_the_start(place: Place, text: str, reason: str) -> None:
    """The setting, the file and the reason are named; nothing is served."""
    vkey = Witness("w.test", ()).signers[0].verifier.vkey
    own = Witness(ORIGIN, ()).signers[0].verifier.vkey
    path = place.directory / "witnesses.policy"
    path.write_text(text.replace(f"{ORIGIN}+KEY", own).replace("VKEY", vkey))
    command = [*PROGRAM, "serve", str(place.directory), "--listen", "127.0.0.1:0"]
    changes = environment({"WITNESS_POLICY": str(path)})
    done = subprocess.run(command, capture_output=True, text=True, env=changes, timeout=60, check=False)
    assert done.returncode == 2
    assert "witness_policy" in done.stderr
    assert reason in done.stderr
