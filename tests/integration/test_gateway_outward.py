"""A real gateway in mode inline: what it passes on, whatever happens to it and to the PACS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from integration.gateway_process import Running, Site, until
from integration.test_commitment import Modality, ask, of
from objects import CT, IMAGES, data_set, kept

from peers.dcmtk import Storage, storescp
from peers.orthanc import orthanc
from platemark.gateway.calling import Peer
from platemark.gateway.journal import Received
from platemark.gateway.line import Line

Require = Callable[[str], Path]


def inline(directory: Path, port: int, aet: str, **pacs: object) -> Site:
    """A gateway that passes on to one PACS."""
    table = {"name": "main", "address": f"127.0.0.1:{port}", "ae_title": aet, "retry_time": 0.5, **pacs}
    return Site(directory, settings={"mode": "inline", "pacs": [table]})


def send(running: Running, objects: list[Received], *, until_broken: bool = False) -> list[Received]:
    """Send as a modality does, over one association; what was acknowledged."""
    line = Line(Peer(ae_title="PLATEMARK", host="127.0.0.1", port=running.port, calling="CT1", answer_s=30))
    acknowledged = []
    try:
        for each in objects:
            answer = line.store(each)
            if answer.name != "stored":
                assert until_broken, answer
                break
            acknowledged.append(each)
    finally:
        line.close()
    return acknowledged


def objects(directory: Path, number: int) -> list[Received]:
    """Different instances, each with content of its own."""
    directory.mkdir(exist_ok=True)
    content = data_set(kept(directory, CT, number=0).path)
    return [
        kept(
            directory,
            CT,
            number=each,
            sop_instance=f"1.2.3.{each}",
            content=content.replace(b"Toshiba", b"T%06d" % each) + bytes(2 * each),
        )
        for each in range(1, number + 1)
    ]


def stored(pacs: Storage) -> dict[str, str]:
    """SHA-256 of the data sets that the PACS has, by instance."""
    return {
        each.name.partition(".")[2]: hashlib.sha256(data_set(each)).hexdigest()
        for each in pacs.files()
        if each.stat().st_size
    }


def sums(received: list[Received]) -> dict[str, str]:
    """SHA-256 of the data sets that were sent, by instance."""
    return {each.sop_instance: hashlib.sha256(data_set(each.path)).hexdigest() for each in received}


def test_the_pacs_gets_the_bytes_that_the_gateway_got(require: Require, tmp_path: Path) -> None:
    """Through receiver, disk and forwarder no byte of a data set changes, in any transfer syntax; then the files go."""
    require("storescp")
    source = tmp_path / "source"
    source.mkdir()
    sent = [kept(source, name, number=number, sop_instance=f"1.2.3.{number}") for number, name in enumerate(IMAGES, 1)]
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        site = inline(tmp_path / "site", pacs.port, pacs.aet)
        with site.running() as running:
            assert send(running, sent) == sent
            until(lambda: True if len(pacs.files()) == len(sent) else None, "all objects in the PACS")
            with closing(site.journal()) as journal:
                until(lambda: True if journal.waiting() == (0, 0) else None, "an empty directory of objects")
        assert stored(pacs) == sums(sent)
        assert [each for each in (site.state / "objects").iterdir() if each.suffix == ".dcm"] == []


def test_a_pacs_that_was_away_gets_everything(require: Require, tmp_path: Path) -> None:
    """While the PACS is down every object is acknowledged; when it is back it gets them all, over a restart as well."""
    require("storescp")
    sent = objects(tmp_path / "source", 20)
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        pacs.peer.stop()
        site = inline(tmp_path / "site", pacs.port, pacs.aet)
        with site.running() as running:
            assert send(running, sent) == sent
            shown = until(
                lambda: running.shows("platemark_gateway_undelivered_objects").get('{destination="main"}'), "numbers"
            )
            assert shown == 20
        with site.running():
            pacs.peer.start()
            until(lambda: True if len(pacs.files()) == 20 else None, "all objects in the PACS")
        assert stored(pacs) == sums(sent)


def test_a_kill_in_the_middle_loses_nothing(require: Require, tmp_path: Path) -> None:
    """Killed with all of its processes while it receives and forwards: after a restart all that was acknowledged is there."""
    require("storescp")
    sent = objects(tmp_path / "source", 60)
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        site = inline(tmp_path / "site", pacs.port, pacs.aet)
        running = site.start()
        acknowledged = send(running, sent[:30])
        running.kill()
        running = site.start()
        acknowledged += send(running, sent[30:])
        running.kill()
        with site.running():
            until(lambda: True if set(stored(pacs)) >= set(sums(acknowledged)) else None, "all objects in the PACS")
        assert stored(pacs) == sums(sent)


def test_a_modality_hears_of_commitment_across_a_crash(require: Require, tmp_path: Path) -> None:
    """Asked before the PACS has committed, killed, started again: the modality gets its report when it calls."""
    require("Orthanc")
    modality = Modality()
    sent = [kept(tmp_path, CT, number=1)]
    with orthanc(tmp_path / "orthanc") as pacs:
        site = inline(tmp_path / "site", pacs.dicom_port, pacs.aet, commitment=True)
        pacs.peer.stop()
        running = site.start()
        send(running, sent)
        with modality.call(running.port) as association:
            assert ask(association, "1.2.3", of(sent[0])) == 0x0000
        running.kill()
        pacs.peer.start()
        with site.running() as running:
            pacs.modality("gateway", "PLATEMARK", running.port)
            with modality.call(running.port):
                until(lambda: modality.reports or None, "a report")
        assert [each.committed for each in modality.reports] == [(of(sent[0]),)]
        assert pacs.sop_instances() == [sent[0].sop_instance]
