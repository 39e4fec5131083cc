"""A real ledger and real witnesses of ours, all processes: quorum, outage, recovery, a forked log."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from dataclasses import replace

import httpx
import pytest
from integration.live import NOW, ORIGIN, Live, Place, only
from integration.test_witnessed import ONCE, QUICK, eventually, metrics
from integration.witness_process import WitnessProcess, policy, running

from platemark import checkpoint, witness_policy
from platemark.rpc import DeadlineError, Wait, What


def _scene(place: Place, count: int) -> list[WitnessProcess]:
    vkeys = [place.facts["vkey"]]
    return [
        WitnessProcess.made(place.directory.parent / f"w{number}", f"w{number}.test", *vkeys) for number in range(count)
    ]


def _settings(place: Place, count: int, witnesses: list[WitnessProcess]) -> dict[str, str]:
    path = place.directory / "witnesses.policy"
    path.write_text(policy(count, *witnesses))
    return {"WITNESS_POLICY": str(path), "HTTP_LISTEN": "127.0.0.1:0", **QUICK}


def _seen(place: Place, witness: WitnessProcess) -> checkpoint.SignedCheckpoint:
    """What a witness shows to everyone, signed by the log."""
    url = f"http://{witness.address}/{hashlib.sha256(ORIGIN.encode()).hexdigest()}/checkpoint"
    shown = checkpoint.parse(httpx.get(url, trust_env=False).content)
    shown.verify(place.trusted.log_keys)
    return shown


def test_two_witnesses_cosign_with_both_keys_and_show_what_they_have_seen(place: Place) -> None:
    """Four cosignatures of two witnesses under a client's own policy, and the witnesses show the same log."""
    witnesses = _scene(place, 2)
    with running(*witnesses), place.served(**_settings(place, 2, witnesses)) as live:
        trusted = replace(place.trusted, witnesses=witness_policy.parse(policy(2, *witnesses)))
        device = live.device("dx1")
        appended = live.client(trusted=trusted).append([device.capture()], wait=Wait.WITNESSED)
        names = [name for name, _, _ in appended.checkpoint.signed.signatures]
        assert names == [ORIGIN, ORIGIN, "w0.test", "w0.test", "w1.test", "w1.test"]
        size = appended.checkpoint.checkpoint.size
        assert all(_seen(place, each).checkpoint.size >= size for each in witnesses)


def test_a_witness_that_is_killed_and_comes_back_is_asked_again(place: Place) -> None:
    """Without it there is no quorum and nothing is witnessed; with it back, the very same statement is."""
    witnesses = _scene(place, 2)
    with running(*witnesses), place.served(**_settings(place, 2, witnesses)) as live:
        device = live.device("dx1")
        live.client().append([device.capture()], wait=Wait.WITNESSED)
        witnesses[1].stop(signal.SIGKILL)
        raw = device.capture()
        with pytest.raises(DeadlineError) as caught:
            live.client(timeout=2.0, retry=ONCE).append([raw], wait=Wait.WITNESSED)
        assert caught.value.info == "NOT_WITNESSED"
        assert metrics(live)["platemark_witness_quorum_missing"] == 1
        witnesses[1].start()
        appended = live.client(timeout=60.0).append([raw], wait=Wait.WITNESSED)
        assert only(appended.outcomes).duplicate


def test_two_ledgers_with_one_key_are_exposed_by_the_first_witness_that_meets_both(place: Place) -> None:
    """A copy of the ledger tells another history of the same size: the witness refuses it, and the copy stops publishing."""
    (witness,) = _scene(place, 1)
    with running(witness):
        settings = _settings(place, 1, [witness])
        copy = Place(place.directory.parent / "copy", place.facts)
        subprocess.run(["cp", "-a", str(place.directory), str(copy.directory)], check=True)
        with place.served(**settings) as live:
            live.client().append([live.device("dx1").capture()], wait=Wait.WITNESSED)
            size = live.client().checkpoint(What.WITNESSED).checkpoint.size
        # It does not look at its witnesses before it serves, and tells another past as long as this one.
        unchecked = {**settings, "WITNESS_START_CHECK": "false"}
        with copy.served(**unchecked) as other:
            _grow(other, size)
            eventually(lambda: True if metrics(other)["platemark_rollback_suspected"] == 1 else None)
            assert "PUBLISHING HAS STOPPED" in other.log.read_text()
            before = other.client().checkpoint().checkpoint.size
            assert (
                other.client().append([other.place.registrar().new("x").capture()]).checkpoint.checkpoint.size == before
            )
        # A restart changes nothing, with the witness or without it.
        witness.stop()
        with copy.served(**unchecked) as other:
            eventually(lambda: True if "PUBLISHING HAS STOPPED, as before" in other.log.read_text() else None)
            assert metrics(other)["platemark_rollback_suspected"] == 1


def _grow(live: Live, size: int) -> None:
    registrar = live.place.registrar()
    while live.client().checkpoint().checkpoint.size < size:
        writer = registrar.new(f"other-{live.client().checkpoint().checkpoint.size}")
        live.client().append([registrar.enrolment(writer, "modality", not_after=NOW + 10**15)])
