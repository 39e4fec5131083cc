"""A real gateway in mode inline: what it passes on, whatever happens to it and to the PACS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from commands import platemark
from integration.gateway_process import Running, Site, until
from integration.test_commitment import Modality, ask, of
from integration.test_worklist import item
from objects import CT, IMAGES, data_set, kept

from peers.dcmtk import Storage, storescp, wlmscpfs
from peers.orthanc import orthanc
from platemark import statement
from platemark.capture import measure
from platemark.gateway.calling import Peer
from platemark.gateway.journal import Received
from platemark.gateway.line import Line
from platemark.gateway.worklist import REMARK
from platemark.vault import OpenVault

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


def test_the_operator_sees_and_retries_what_was_refused(require: Require, tmp_path: Path) -> None:
    """An object that the PACS refuses for good is listed with its reason, and sent again when the operator says so."""
    require("storescp")
    (tmp_path / "source").mkdir()
    sent = [kept(tmp_path / "source", "MR_small_RLE.dcm", number=1)]
    with storescp(tmp_path / "pacs", "+B", "+xi") as pacs:
        site = inline(tmp_path / "site", pacs.port, pacs.aet)
        with site.running() as running:
            send(running, sent)
            until(
                lambda: True if running.shows("platemark_gateway_undeliverable_objects") else None, "a refused object"
            )
        ran = platemark("gateway", "--config", site.config, "--refused", "--json")
        (row,) = ran.json()["refused"]
        assert (ran.code, row["pacs"], row["sop_instance"]) == (0, "main", sent[0].sop_instance)
        assert row["reason"].startswith("not-accepted: ")
        assert "not-accepted" in platemark("gateway", "--config", site.config, "--refused").out
    assert platemark("gateway", "--config", site.config, "--retry", "mian").code == 2
    with storescp(tmp_path / "mended", "+B", "+xa") as pacs:
        site.settings["pacs"][0]["address"] = f"127.0.0.1:{pacs.port}"
        with site.running():
            assert platemark("gateway", "--config", site.config, "--retry", "main", "--json").json()["retried"] is True
            until(lambda: pacs.files() or None, "the object in the PACS")
        assert stored(pacs) == sums(sent)


def test_the_technologist_of_the_worklist_is_in_the_vault(require: Require, tmp_path: Path) -> None:
    """An object without an operator is recorded with the name of the worklist, marked as stated there."""
    require("wlmscpfs")
    (tmp_path / "source").mkdir()
    source = kept(tmp_path / "source", CT, number=1)
    accession = measure(source.path).attributes
    with wlmscpfs(tmp_path / "worklist") as worklist:
        entry = item("", "Roe^Robin", study=str(accession["study_instance_uid"]), patient=str(accession["patient_id"]))
        worklist.add("one", entry)
        site = Site(
            tmp_path / "site",
            settings={"worklist": {"address": f"127.0.0.1:{worklist.port}", "ae_title": worklist.aet}},
        )
        with site.running() as running:
            send(running, [source])
            running.captured(1)
    with closing(site.spool()) as spool:
        (entry_in_spool,) = spool.pending(10)
    root = statement.decode(entry_in_spool.raw).payload["attributes"]
    assert isinstance(root, bytes)
    with OpenVault(site.state / "vault", site.recipient) as vault:
        values = vault.get(root).values
    assert (values["technologist"], values["remark"]) == ("Roe^Robin", REMARK)
