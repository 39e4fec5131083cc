"""`kill -9` at random moments of a send of 200 objects: what was acknowledged is in the PACS and in the ledger, once."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import SOAK
from integration.gateway_process import Running, Site, until
from integration.live import Live
from integration.test_gateway import enrolled
from integration.test_gateway_outward import stored, sums
from objects import CT, data_set, kept, source
from pydicom import dcmread
from pydicom.uid import UID

from peers.dcmtk import storescp
from peers.orthanc import orthanc
from platemark import statement
from platemark.capture import measure
from platemark.gateway.calling import Peer
from platemark.gateway.journal import Received
from platemark.gateway.line import Line
from platemark.rungs import SHA256

Require = Callable[[str], Path]
OBJECTS = 200
KILLS = 20 if SOAK else 2


def kill_all(running: Running) -> None:
    """Every process of the gateway at once, as a power failure does."""
    running.kill()


def kill_one(running: Running) -> None:
    """The process that was started alone, as `kill -9 PID` does; its parts have to notice by themselves."""
    os.kill(running.process.pid, signal.SIGKILL)
    running.stop()


def slices(directory: Path, number: int) -> list[Received]:
    """Well-formed CT slices, each with a UID and pixels of its own."""
    directory.mkdir()
    made = []
    for each in range(1, number + 1):
        slice_ = dcmread(source(CT))
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{each}")
        slice_.PixelData = each.to_bytes(2, "little") + slice_.PixelData[2:]
        path = directory / f"{each}.dcm"
        slice_.save_as(path)
        made.append(kept(directory, CT, number=each, sop_instance=f"1.2.3.{each}", content=data_set(path)))
    return made


class Sending:
    """A modality that sends its objects in order and, after a broken association, again what was not acknowledged."""

    def __init__(self, objects: list[Received], chance: random.Random) -> None:
        self.left = list(objects)
        self._chance = chance

    def until_killed(self, running: Running, kill: Callable[[Running], None], after: int) -> None:
        """Send; the gateway is killed at some moment of object number `after` or soon after it."""
        if not self.left:
            # Everything was sent before the last kills: they come while it is being signed, sent and forwarded.
            kill(running)
            return
        moment = threading.Timer(self._chance.uniform(0, 0.1), kill, (running,))
        self._send(running, lambda sent: moment.start() if sent == after else None)
        moment.join()

    def rest(self, running: Running) -> None:
        """Send what is left."""
        self._send(running, lambda _: None)
        assert self.left == []

    def _send(self, running: Running, before: Callable[[int], None]) -> None:
        line = Line(Peer(ae_title="PLATEMARK", host="127.0.0.1", port=running.port, calling="CT1", answer_s=30))
        try:
            for number, each in enumerate(list(self.left)):
                before(number)
                answer = line.store(each)
                if answer.name != "stored":
                    # Nobody knows whether the gateway has it.
                    return
                self.left.remove(each)
        finally:
            line.close()


@dataclass(frozen=True)
class Case:
    """Which PACS, what a kill is, and the seed of the moments."""

    pacs: str
    kill: Callable[[Running], None]
    seed: int

    def __str__(self) -> str:
        """As a name for the test's directories, too."""
        return f"{self.pacs}-{self.kill.__name__}-{self.seed}"


CASES = [Case("storescp", kill, 1) for kill in (kill_all, kill_one)]
SOAKED = [
    Case(pacs, kill, seed) for pacs in ("storescp", "Orthanc") for kill in (kill_all, kill_one) for seed in (2, 3)
]


@contextmanager
def archive(pacs: str, directory: Path, sent: list[Received]) -> Iterator[tuple[int, str]]:
    """Port and AE title of the PACS inside the block; when it is left well, the PACS has to have what was sent, and no more."""
    if pacs == "storescp":
        with storescp(directory, "+B", "+xa") as storage:
            yield storage.port, storage.aet
            assert stored(storage) == sums(sent)
    else:
        with orthanc(directory) as served:
            yield served.dicom_port, served.aet
            assert served.sop_instances() == sorted(each.sop_instance for each in sent)


@pytest.mark.timeout(300)  # twenty seconds on a machine that has nothing else to do
@pytest.mark.parametrize("case", [*CASES, *(pytest.param(each, marks=pytest.mark.soak) for each in SOAKED)], ids=str)
def test_what_was_acknowledged_is_in_pacs_and_ledger_once(
    require: Require, live: Live, tmp_path: Path, case: Case
) -> None:
    """Whenever the gateway is killed: each object has one statement and one instance, and the key's chain has no gap."""
    require(case.pacs)
    chance = random.Random(case.seed)
    sent = slices(tmp_path / "source", OBJECTS)
    with archive(case.pacs, tmp_path / "pacs", sent) as (port, aet):
        destination = {"name": "main", "address": f"127.0.0.1:{port}", "ae_title": aet, "retry_time": 0.5}
        site = enrolled(live, tmp_path / f"site-{case}", mode="inline", pacs=[destination])
        sending = Sending(sent, chance)
        for left in range(KILLS, 0, -1):
            after = chance.randrange(max(1, len(sending.left) // left))
            sending.until_killed(site.start(), case.kill, after)
        with site.running() as running:
            sending.rest(running)
            _settled(site)
    _logged_once(live, site, sent)


def _settled(site: Site) -> None:
    """Wait until nothing is left to do: every object forwarded and captured, every statement logged."""
    with closing(site.journal()) as journal, closing(site.spool()) as spool:
        until(lambda: True if journal.waiting() == (0, 0) else None, "an empty journal", seconds=120)
        until(lambda: True if spool.counts().depth == 0 else None, "an empty spool", seconds=120)
        assert spool.counts().set_aside == 0


def _logged_once(live: Live, site: Site, sent: list[Received]) -> None:
    """One capture for each object, and the places of the chain taken once each."""
    logged = list(live.client().list_statements(kid=site.key.kid, kind="capture"))
    payloads = [statement.decode(each.statement).payload for each in logged]
    digests = Counter(_data_set(payload) for payload in payloads)
    assert digests == Counter(measure(each.path, pixels=False).digests["dataset"][SHA256] for each in sent)
    assert [payload["seq"] for payload in payloads] == list(range(OBJECTS))
    assert [each.conditions for each in logged] == [()] * OBJECTS


def _data_set(payload: object) -> bytes:
    assert isinstance(payload, dict)
    digest = payload["digests"]["dataset"][SHA256]
    assert isinstance(digest, bytes)
    return digest
