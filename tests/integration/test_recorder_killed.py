"""`kill -9` of recorder, sender and ledger at random moments: what the recorder said is kept is in the log, once and in order."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import SOAK
from integration.gateway_process import until
from integration.live import HOUR, NOW, Live, Place, Writer, only

import recording_process
from platemark import merkle, statement
from platemark.key_files import write_private
from platemark.robot import KeptSegment, SegmentJournal, open_chain
from platemark.rpc.sync import LedgerClient
from platemark.rungs import SHA256
from platemark.segment import digest_of_root, unpack_rows
from platemark.spool import Spool, State

KILLS = 200 if SOAK else 6
DEVICE = "https://devices.test/robot"
_LONGEST = 0.4  # seconds from a start to a kill, beyond what was waited for


@dataclass
class Robot:
    """A robot's directory, and its programs: each is started again when it has been killed."""

    place: Place
    directory: Path
    port: str
    told: dict[tuple[str, str, int], str] = field(default_factory=dict)
    live: Live | None = None
    recorder: subprocess.Popen[str] | None = None
    sender: subprocess.Popen[bytes] | None = None
    _listeners: list[threading.Thread] = field(default_factory=list)

    def start(self, program: str) -> None:
        """Start one of `ledger`, `recorder`, `sender`."""
        if program == "ledger":
            self.live = Live.start(self.place, "--listen", self.port, "--workers", "2")
        elif program == "recorder":
            command = [sys.executable, recording_process.__file__, str(self.directory)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log("recorder"), text=True
            )
            self.recorder = process
            listener = threading.Thread(target=self._listen, args=(process,))
            listener.start()
            self._listeners.append(listener)
        else:
            command = [sys.executable, "-m", "platemark", "spool", "send", str(self.directory / "spool"), "--follow"]
            command += ["--server", self.port, "--trust", str(self.place.directory / "trust.toml")]
            self.sender = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._log("sender"))

    def kill(self, program: str) -> None:
        """With SIGKILL, by its process ids."""
        if program in {"ledger", "worker"}:
            assert self.live is not None
            # A worker alone is started again by its supervisor, and so is not in the list of those that were announced.
            supervisor = self.live.process.pid
            whom = self._ledger_pids()
            if program == "worker":
                whom = until(lambda: _children(supervisor)[:1] or None, "a worker")
            for pid in whom:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if program == "ledger":
                self.live.stop()
            return
        process = self.recorder if program == "recorder" else self.sender
        assert process is not None
        assert process.poll() is None, (self.directory / f"{program}.log").read_text()[-4000:]
        process.kill()
        process.wait(60)

    def settle(self) -> None:
        """Let the recorder close, and wait until nothing is left to be sent."""
        assert self.recorder is not None
        assert self.recorder.stdin is not None
        self.recorder.stdin.write("\n")
        self.recorder.stdin.flush()
        assert self.recorder.wait(60) == 0, (self.directory / "recorder.log").read_text()[-4000:]
        for each in self._listeners:
            each.join(60)
        with Spool(self.directory / "spool") as spool:
            until(lambda: True if spool.counts().depth == 0 else None, "an empty spool", seconds=120)
            assert spool.counts().set_aside == 0

    def end(self) -> None:
        """End everything that runs."""
        for process in (self.recorder, self.sender):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(60)
        for each in self._listeners:
            each.join(60)
        if self.live is not None:
            self.live.stop()

    def _ledger_pids(self) -> list[int]:
        assert self.live is not None
        return [self.live.process.pid, *_children(self.live.process.pid)]

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Keep what a recorder says is kept, until it is gone. A segment may be told again, with the same statement."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):
                    recording, topic, number, identity = line.split()
                    assert self.told.setdefault((recording, topic, int(number)), identity) == identity
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()

    def _log(self, program: str) -> Any:
        with (self.directory / f"{program}.log").open("ab") as file:
            return os.dup(file.fileno())


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def enrolled(place: Place, directory: Path) -> Robot:
    """A robot whose key the ledger knows, and a ledger that listens at the same port whenever it runs."""
    directory.mkdir()
    with place.served() as live:
        registrar = place.registrar()
        key = registrar.new("robot").key
        enrolment = registrar.enrolment(Writer(key, DEVICE, registrar.log), "sensor", not_before=NOW - HOUR)
        only(live.client().append([enrolment]).outcomes)
        port = live.address
    write_private(directory / "robot.pem", key)
    open_chain(directory / "robot.pem", device=DEVICE)
    return Robot(place, directory, port)


@pytest.mark.timeout(0 if SOAK else 180)  # twelve seconds on a machine that has nothing else to do
def test_what_was_kept_is_logged_once_and_in_order(place: Place, tmp_path: Path) -> None:
    """Whatever is killed whenever: nothing kept is lost or doubled, no gap, no fork, and every frame of it can be proven."""
    chance = random.Random(5)
    robot = enrolled(place, tmp_path / "robot")
    with ExitStack() as stack:
        stack.callback(robot.end)
        for program in ("ledger", "recorder", "sender"):
            robot.start(program)
        victims = ["recorder", "sender", "ledger", "worker"]
        for turn in range(KILLS):
            victim = victims[turn % 4] if turn < 4 else chance.choice(victims)
            threading.Event().wait(chance.uniform(0, _LONGEST))
            robot.kill(victim)
            if victim != "worker":
                robot.start(victim)
        told = len(robot.told)
        until(lambda: True if len(robot.told) > told else None, "a segment after the last kill")
        robot.settle()
        assert robot.live is not None
        with LedgerClient(robot.port, trusted=place.trusted) as client:
            _check(robot, client)


def _check(robot: Robot, client: LedgerClient) -> None:
    kid = open_chain(robot.directory / "robot.pem").signer.kid
    logged = list(client.list_statements(kid=kid, kind="segment"))
    payloads = [cast("dict[str, Any]", statement.decode(each.statement).payload) for each in logged]
    # The chain as one run: every place once, in order, each naming the one before it.
    assert [payload["seq"] for payload in payloads] == list(range(len(logged)))
    assert len({payload["epoch"] for payload in payloads}) == 1
    assert [payload["prev"] for payload in payloads] == [None, *(each.id for each in logged[:-1])]
    assert [each.conditions for each in logged] == [()] * len(logged)
    # What the owner was told: there, once; and nothing that no recorder made.
    places = [(payload["recording"].hex(), payload["topic"], payload["number"]) for payload in payloads]
    assert len(set(places)) == len(places)
    held = dict(zip(places, (each.id.hex() for each in logged), strict=True))
    assert {place: held.get(place) for place in robot.told} == robot.told
    # The spool says of each the index that it has.
    with Spool(robot.directory / "spool") as spool:
        acknowledged = spool.entries(State.ACKNOWLEDGED, len(logged) + 1)
    assert [(each.id, each.index) for each in acknowledged] == [(each.id, each.index) for each in logged]
    # The journal proves every frame of every one of them.
    indices = {each.id: each.index for each in logged}
    with SegmentJournal(robot.directory / "journal") as journal:
        recordings = [each.recording for each in journal.recordings()]
        proven = [_proven(list(journal.segments(each)), client, indices) for each in recordings]
    assert sum(proven) == len(logged)
    assert len(recordings) > 1
    assert len(robot.told) > KILLS


def _proven(segments: Sequence[KeptSegment], client: LedgerClient, indices: dict[bytes, int]) -> int:
    """How many segments of a recording prove every frame, without a hole between two frames of a topic."""
    following = dict.fromkeys(
        recording_process.TOPICS, (0, 0)
    )  # of each topic: number of the next segment, of the next frame
    for kept in segments:
        channel, recording = kept.segment.channel, kept.segment.recording
        number, frame = following[channel.topic]
        assert kept.segment.number == number
        rows = list(unpack_rows(kept.rows))
        for place, row in enumerate(rows, frame):
            assert row.digest == hashlib.sha256(recording_process.frame(recording, channel.topic, place)).digest()
        signed = statement.decode(kept.statement)
        payload = cast("dict[str, Any]", signed.payload)
        leaves = [channel.leaf_hash(row) for row in rows]
        root = merkle.root(leaves)
        for place in (0, len(leaves) // 2, len(leaves) - 1):
            path = merkle.inclusion_path(leaves, place)
            merkle.verify_inclusion(index=place, size=len(leaves), leaf_hash=leaves[place], path=path, root=root)
        assert payload["digests"] == {"messages": {SHA256: digest_of_root(len(leaves), root)}}
        assert (payload["topic"], payload["number"], payload["recording"]) == (channel.topic, number, recording)
        # Verified by the client: signature of the checkpoint, path of the statement.
        if kept is segments[-1]:
            assert client.statement(id=signed.id).statement.index == indices[signed.id]
        assert signed.id in indices
        following[channel.topic] = (number + 1, frame + len(rows))
    return len(segments)
