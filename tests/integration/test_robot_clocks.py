"""Sensors that lie or are lied about: broken and jumping clocks, a cloned key, a segment that never came."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from commands import platemark
from integration.live import HOUR, NOW, Live, Place, found, only

from platemark import statement, tlog_proof, trust
from platemark.checkpoint import parse
from platemark.recording.conclusion import check_recording
from platemark.recording.proof import ProvenSegment, RecordingProof, decode
from platemark.recording.verdict import RecordingVerdict
from platemark.rpc import Logged
from platemark.rpc.sync import LedgerClient
from platemark.segment import pack_rows
from platemark.spool import Sender, Spool, State
from platemark.spool.ledger import LedgerDelivery
from segments import Camera, Frames

SECOND = 10**9


@dataclass(frozen=True)
class Watched:
    """A ledger whose public side is read."""

    live: Live

    def camera(self, name: str) -> Camera:
        """A newly enrolled sensor."""
        return Camera(self.live.device(name, "sensor"))

    def add(self, raw: bytes) -> Logged:
        """Log one segment."""
        return only(self.live.client().append([raw]).outcomes)

    def conditions(self, index: int) -> tuple[str, ...]:
        """What the evidence of a statement says that the ledger noticed."""
        return self.live.client().evidence(index=index).content.conditions

    def counted(self) -> dict[str, float]:
        """The alarms' counters, by condition; whichever worker answers."""
        lines = httpx.get(f"http://{self.live.http}/metrics", trust_env=False).text.splitlines()
        prefix = 'platemark_conditions_total{condition="'
        samples = [line.removeprefix(prefix).split('"} ') for line in lines if line.startswith(prefix)]
        return {code: float(value) for code, value in samples}

    def verdict(self, camera: Camera, logged: Sequence[Logged], *, at: int = NOW + HOUR) -> RecordingVerdict:
        """Of all frames of a camera, by a proof of these segments of it, `at` some time."""
        client = self.live.client()
        held = client.evidence(index=logged[-1].statement.index).content
        size = tlog_proof.parse(held.record.proof).checkpoint.checkpoint.size
        segments = []
        for each in (one.statement for one in logged):
            proof = client.inclusion_proof(index=each.index, size=size)
            number = cast("int", statement.decode(each.statement).payload["number"])
            rows, codes = pack_rows(camera.rows[number]), self.conditions(each.index)
            segments.append(ProvenSegment(each.statement, each.index, tuple(proof.path), codes, camera.channel, rows))
        segments.sort(key=lambda each: each.place)
        made = RecordingProof(camera.recording, held.to_bytes(), tuple(segments))
        trusted = trust.parse((self.live.place.directory / "trust.toml").read_bytes())
        return check_recording(Frames(camera), [decode(made.to_bytes())], trust=trusted, at=at)

    def audit(self, camera: Camera) -> tuple[set[tuple[str, int]], dict[str, Any]]:
        """What an audit of everything logged finds, and its line about the device. It always ends with findings, here."""
        size = self.live.client().checkpoint().checkpoint.size
        deadline = time.monotonic() + 60
        while parse(httpx.get(f"http://{self.live.http}/checkpoint", trust_env=False).content).checkpoint.size < size:
            assert time.monotonic() < deadline, f"size {size} is not published"
        vkey = self.live.place.facts["vkey"]
        words = ("--vkey", vkey, "--server", self.live.address, "--statements", "--json")
        ran = platemark("audit", f"http://{self.live.http}", *words)
        assert ran.code == 1, ran
        said = json.loads(ran.out)
        assert "condition-mismatch" not in said["counts"]
        (device,) = [each for each in said["devices"] if each["device"] == camera.writer.issuer]
        return {(each["code"], each["position"]) for each in said["findings"]}, device


@pytest.fixture(scope="module", name="watched")
def _watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    place: Place = found(tmp_path_factory.mktemp("clocks") / "ledger")
    with place.served("--workers", "2", HTTP_LISTEN="127.0.0.1:0", PUBLISH_INTERVAL="0.05") as live:
        yield Watched(live)


def test_a_clock_of_1970_sets_aside_its_segments_and_no_others(watched: Watched, tmp_path: Path) -> None:
    """Refused as not-yet-valid and kept with the reason; the mended clock goes on, and the gap is named for ever."""
    camera, other = watched.camera("reset"), watched.camera("beside")
    camera.now = 12 * SECOND  # a board without a battery starts at the epoch
    broken = [camera.segment(), camera.segment()]
    camera.now = NOW
    mended = [camera.segment(), camera.segment()]
    beside = [other.segment(), other.segment()]
    raws = [broken[0], beside[0], broken[1], mended[0], beside[1], mended[1]]
    directory = tmp_path / "spool"
    with Spool(directory) as spool:
        for raw in raws:
            spool.put(raw)

        def connect() -> LedgerClient:
            return LedgerClient(watched.live.address, trusted=watched.live.place.trusted)

        with LedgerDelivery(connect) as delivery, Sender(spool, delivery) as sender:
            sender.drain(lambda _: False)
        counts = spool.counts()
        assert (counts.depth, counts.set_aside, counts.acknowledged) == (0, 2, 4)
        refused = spool.entries(State.SET_ASIDE, 10)
        assert [(each.raw, each.code) for each in refused] == [(raw, "not-yet-valid") for raw in broken]
        indices = {each.raw: each.index for each in spool.entries(State.ACKNOWLEDGED, 10)}

    # What the operator does: reads why, mends the clock, and gives up what can never be logged. One key is enrolled once, so
    # no later enrolment reaches back to 1970; the rows of those segments stay in the device's journal, unproven.
    listed = platemark("spool", "list", directory, "--json").json()["entries"]
    assert ["not_before" in each["reason"] for each in listed] == [True, True]
    assert platemark("spool", "discard", directory, *(each["number"] for each in listed)).code == 0
    with Spool(directory) as spool:
        assert spool.counts().set_aside == 0

    first = indices[mended[0]]
    assert first is not None
    assert watched.conditions(first) == ("gap",)
    findings, device = watched.audit(camera)
    assert ("chain-gap", first) in findings
    assert (device["statements"], device["missing"], device["forked"]) == (2, 2, 0)
    logged = list(watched.live.client().list_statements(kid=other.writer.key.kid))
    assert [(each.statement, each.conditions) for each in logged] == [(raw, ()) for raw in beside]


def test_a_clock_that_jumps_is_logged_and_shown(watched: Watched) -> None:
    """Back an hour, then a day ahead: nothing is refused; evidence, audit and counters say which segments stated it."""
    camera, before = watched.camera("jumping"), watched.counted()
    sound = watched.add(camera.segment())
    camera.now -= HOUR
    back = watched.add(camera.segment())
    camera.now += 25 * HOUR
    ahead = watched.add(camera.segment())
    camera.now -= 24 * HOUR
    again = watched.add(camera.segment())
    expected = {
        sound: (),
        back: ("clock-backwards",),
        ahead: ("clock-future",),
        again: ("clock-backwards",),
    }
    assert {each: watched.conditions(each.statement.index) for each in expected} == expected
    findings, device = watched.audit(camera)
    found_here = {each for each in findings if each[1] >= sound.statement.index}
    assert found_here == {(f"chain-{codes[0]}", each.statement.index) for each, codes in expected.items() if codes}
    assert (device["missing"], device["forked"]) == (0, 0)
    verdict = watched.verdict(camera, list(expected))
    # The one ahead states a time that has not come yet, and is not relied on before it has.
    assert verdict.result == "INCONCLUSIVE"
    assert "the time of verification is before the stated time" in verdict.reason
    verdict = watched.verdict(camera, list(expected), at=NOW + 48 * HOUR)
    (recording,) = verdict.recordings
    assert verdict.result == "MATCHES RECORD", verdict.reason
    assert dict(recording.conditions) == {"clock-backwards": 2, "clock-future": 1}
    after = watched.counted()
    assert after["clock-backwards"] - before["clock-backwards"] == 2
    assert after["clock-future"] - before["clock-future"] == 1


def test_a_cloned_key_is_a_fork_and_raises_the_alarm(watched: Watched) -> None:
    """Two devices with one key and one state: every place both signed is a fork in the log, counted where an alarm looks."""
    camera, before = watched.camera("cloned"), watched.counted()["fork"]
    watched.add(camera.segment())
    clone = Camera(copy(camera.writer), topic="/stolen/image", number=camera.number)
    ours, theirs = [camera.segment() for _ in range(3)], [clone.segment() for _ in range(3)]
    for raw in ours:
        watched.add(raw)
    assert watched.counted()["fork"] == before
    forks = [watched.add(raw).statement.index for raw in theirs]
    assert watched.counted()["fork"] == before + 3
    assert ["fork" in watched.conditions(each) for each in forks] == [True] * 3
    # Sent once more, by a spool that lost the answer: neither logged nor counted again.
    assert watched.add(theirs[0]).duplicate
    assert watched.counted()["fork"] == before + 3
    findings, device = watched.audit(camera)
    assert {("chain-fork", each) for each in forks} <= findings
    assert device["forked"] == 3
    assert sum("two devices or two states of one sign with this key" in each for each in device["sentences"]) == 3


def test_a_segment_that_was_left_out_is_named(watched: Watched) -> None:
    """The place in the chain and the segment's own number are both missing; sent later it is late and no gap is left."""
    camera = watched.camera("omitting")
    first = watched.add(camera.segment())
    omitted = camera.segment()
    last = watched.add(camera.segment())
    after = last.statement.index
    assert watched.conditions(after) == ("gap",)
    findings, device = watched.audit(camera)
    assert ("chain-gap", after) in findings
    assert (device["statements"], device["missing"]) == (2, 1)
    assert not any("0 to 2 with no gap" in each for each in device["sentences"])
    verdict = watched.verdict(camera, [first, last])
    (topic,) = verdict.topics
    assert [(gap.first, gap.last, gap.between) for gap in topic.gaps] == [(1, 1, True)]
    assert (verdict.result, verdict.exit_code) == ("INCONCLUSIVE", 3)
    assert "segment 1 is missing from the evidence" in verdict.reason
    filled = watched.add(omitted)
    late = filled.statement.index
    assert watched.conditions(late) == ("late",)
    verdict = watched.verdict(camera, [first, last, filled])
    assert (verdict.result, verdict.topics[0].gaps) == ("MATCHES RECORD", ())
    _, device = watched.audit(camera)
    assert (device["statements"], device["missing"]) == (3, 0)
