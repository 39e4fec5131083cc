"""`platemark audit` of a real ledger: its tiles over HTTP, its statements over gRPC."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
from commands import platemark
from integration.live import HOUR, NOW, Live, Place, only

from platemark.checkpoint import parse


def _audit(live: Live, *words: object) -> tuple[int, dict[str, Any]]:
    """The audit of everything that the ledger has logged; it publishes some time after it logs."""
    logged = live.client().checkpoint().checkpoint.size
    deadline = time.monotonic() + 60
    while parse(httpx.get(f"http://{live.http}/checkpoint", trust_env=False).content).checkpoint.size < logged:
        assert time.monotonic() < deadline, f"size {logged} is not published"
    ran = platemark("audit", f"http://{live.http}", *words, "--json")
    return ran.code, json.loads(ran.out)


def test_a_real_ledger_is_found_sound(place: Place, tmp_path: Path) -> None:
    """Tiles, entries, statements, conditions and chains of a ledger with several workers agree, before and after it grows."""
    vkey, state = place.facts["vkey"], tmp_path / "state"
    with place.served("--workers", "2", HTTP_LISTEN="127.0.0.1:0", PUBLISH_INTERVAL="0.05") as live:
        device = live.device("audited")
        live.client().append([device.capture(b"image %d" % number) for number in range(300)])
        first = _audit(live, "--vkey", vkey, "--state", state)
        assert (first[0], first[1]["findings"]) == (0, [])
        live.client().append([device.capture(b"more")])
        code, said = _audit(live, "--vkey", vkey, "--state", state)
        assert (code, said["read"]) == (0, said["size"] - first[1]["size"])
        assert said["read"] >= 1
        trust = place.directory / "trust.toml"
        code, said = _audit(live, "--trust", trust, "--server", live.address, "--statements")
        assert (code, said["counts"], said["incomplete"]) == (0, {}, [])
    (mine,) = [each for each in said["devices"] if each["device"] == device.issuer]
    assert (mine["statements"], mine["missing"], mine["forked"]) == (301, 0, 0)
    assert any("registered 0 to 300 with no gap in epoch 1" in each for each in mine["sentences"])


def test_what_devices_did_is_reported_alike(place: Place) -> None:
    """Gap, fork, late statement, clock and unknown reference: the audit derives what the ledger noticed, and nothing else."""
    with place.served(HTTP_LISTEN="127.0.0.1:0", PUBLISH_INTERVAL="0.05") as live:
        device = live.device("odd")

        def add(image: bytes, **changes: Any) -> int:
            return only(live.client().append([device.capture(image, **changes)]).outcomes).statement.index

        add(b"first")
        late = device.capture(b"late")
        gap = add(b"after the gap")
        late_at = only(live.client().append([late]).outcomes).statement.index
        device.seq -= 1
        fork = add(b"twice")
        backwards = add(b"backwards", captured=NOW - HOUR, parents=[bytes(32)])
        vkey = place.facts["vkey"]
        code, said = _audit(live, "--vkey", vkey, "--server", live.address, "--statements")
    found = {(each["code"], each["position"]) for each in said["findings"]}
    assert code == 1
    assert {each for each in found if each[1] >= gap} == {
        ("chain-gap", gap),
        ("chain-late", late_at),
        ("chain-fork", fork),
        ("chain-prev-mismatch", fork),
        ("chain-clock-backwards", backwards),
        ("chain-unknown-reference", backwards),
    }


def test_whom_to_believe_is_asked_for(tmp_path: Path) -> None:
    """Without keys, or with a trust file and nobody to prove the policy, the command says what it needs."""
    for words in ((), ("--trust", tmp_path / "trust.toml"), ("--vkey", "x", "--statements"), ("--vkey", "x")):
        ran = platemark("audit", tmp_path, *words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
