"""A real gateway between real senders, a real ledger and a real PACS."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from commands import platemark
from integration.gateway_process import Running, Site, until
from integration.live import Live, Place
from objects import source
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, build_context

from peers.dcmtk import PROPOSE, storescp, storescu
from platemark import statement
from platemark.gateway.journal import Capture
from platemark.spool import State
from platemark.vault import OpenVault

Require = Callable[[str], Path]
AET = "PLATEMARK"
DISTINCT = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "image_dfl.dcm", "reportsi.dcm")
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def enrolled(live: Live, directory: Path, **settings: object) -> Site:
    """A site whose key the ledger knows as a gateway's, and whose gateway sends to it."""
    writer = live.device(directory.name + "-gateway", "gateway")
    ledger = {"server": live.address}
    site = Site(directory, key=writer.key, settings={"ledger": ledger, **settings})
    site.settings["sign"]["device"] = writer.issuer
    return site


def send(running: Running, *names: str) -> None:
    """By storescu, each in its own transfer syntax."""
    for name in names:
        syntax = str(dcmread(source(name), specific_tags=[]).file_meta.TransferSyntaxUID)
        done = storescu(running.port, source(name), options=[PROPOSE[syntax]], aet=AET)
        assert done.returncode == 0, done.stderr


def test_what_a_modality_sends_is_in_the_ledger(require: Require, live: Live, tmp_path: Path) -> None:
    """From C-STORE to the log: the data set's digest, the origin, the role; and who sent it, salted, in the vault."""
    require("storescu")
    site = enrolled(live, tmp_path / "site")
    with site.running() as running:
        send(running, "CT_small.dcm")
        with closing(site.spool()) as spool:
            entry = until(lambda: next(iter(spool.entries(State.ACKNOWLEDGED, 1)), None), "a logged statement")
        assert entry.index is not None
        evidence = live.client().evidence(index=entry.index)
        assert evidence.content.record.statement == entry.raw
    payload = statement.decode(entry.raw).payload
    assert isinstance(payload["attributes"], bytes)
    assert isinstance(payload["digests"], dict)
    assert payload["origin"] == "gateway-received"
    assert "file" not in payload["digests"]
    with OpenVault(site.state / "vault", site.recipient) as vault:
        opened = vault.get(payload["attributes"])
    assert opened.values["sender_ae_title"] == "STORESCU"
    assert opened.values["sender_identity"] == "none"


def test_inline_passes_on_the_very_bytes_and_clears_up(require: Require, live: Live, tmp_path: Path) -> None:
    """What the PACS has is what the modality sent; objects that are done leave the disk, and the journal knows them still."""
    require("storescu")
    require("storescp")
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        places = [{"name": "main", "address": f"127.0.0.1:{pacs.port}", "ae_title": pacs.aet}]
        site = enrolled(live, tmp_path / "site", mode="inline", pacs=places)
        with site.running() as running, closing(site.journal()) as journal:
            send(running, *DISTINCT)
            until(lambda: len(pacs.files()) == 5 or None, "five objects in the PACS")
            until(lambda: journal.waiting() == (0, 0) or None, "an empty objects/")
            # The journal is told first, the files go after it.
            until(lambda: not any((site.state / "objects").iterdir()) or None, "no file in objects/")
            for name in DISTINCT:
                image = dcmread(source(name), stop_before_pixels=True)
                (standing,) = journal.find(image.SOPClassUID, image.SOPInstanceUID)
                assert standing.capture is Capture.CAPTURED
            assert running.shows("platemark_gateway_objects_total") == {"": 5.0}
            assert running.shows("platemark_gateway_undelivered_objects") == {}
            assert running.shows("platemark_gateway_part_up") == {
                '{part="sign"}': 1.0,
                '{part="send"}': 1.0,
                '{part="forward"}': 1.0,
            }


def numbered(directory: Path, count: int) -> list[Path]:
    """So many small CT images, each an instance of its own."""
    directory.mkdir()
    image = dcmread(source("CT_small.dcm"))
    image.Rows = image.Columns = 16
    image.PixelData = image.PixelData[:512]
    paths = []
    for number in range(count):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.{number + 1}")
        path = directory / f"{number:04}.dcm"
        image.save_as(path)
        paths.append(path)
    return paths


def acknowledged(port: int, paths: Sequence[Path], done: list[str]) -> None:
    """Send each; the instances that were answered success, until the association breaks. Sends each once."""
    entity = AE(ae_title="CT1")
    entity.dimse_timeout = entity.acse_timeout = 10
    contexts = [build_context(CT_CLASS, ExplicitVRLittleEndian)]
    association = entity.associate("127.0.0.1", port, contexts=contexts, ae_title=AET)
    wire = association.dul.socket
    connection = wire.socket if wire is not None else None
    try:
        for path in paths:
            if not association.is_established:
                return
            image = dcmread(path)
            if association.send_c_store(image).get("Status") == 0:
                done.append(str(image.SOPInstanceUID))
        association.release()
    except RuntimeError:
        return  # the association broke in between
    finally:
        if association.is_alive():
            association.join(10)
        if connection is not None:
            connection.close()  # which pynetdicom leaves open when the peer is gone


def in_order(site: Site, live: Live, count: int) -> bool:
    """The log has what the spool has, in its order, each of another object, and the chain has neither gap nor fork."""
    with closing(site.spool()) as spool:
        made = [statement.decode(each.raw) for each in spool.entries(State.ACKNOWLEDGED, 1000)]
    assert [each.id for each in live.client().list_statements(kid=site.key.kid)] == [each.id for each in made]
    assert [each.seq for each in made] == list(range(count))
    assert len({each.payload["captured"] for each in made}) == count
    return True


@pytest.mark.parametrize("after", [5, 37])
def test_what_was_acknowledged_survives_a_kill(require: Require, live: Live, tmp_path: Path, after: int) -> None:
    """Killed in the middle of a send, with all of its processes: what was acknowledged is in ledger and PACS, once."""
    require("storescp")
    paths = numbered(tmp_path / "images", 60)
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        places = [{"name": "main", "address": f"127.0.0.1:{pacs.port}", "ae_title": pacs.aet}]
        site = enrolled(live, tmp_path / "site", mode="inline", pacs=places)
        running = site.start()
        done: list[str] = []
        sender = threading.Thread(target=acknowledged, args=(running.port, paths, done))
        sender.start()
        until(lambda: len(done) >= after or None, f"{after} acknowledged objects")
        running.kill()
        sender.join(60)
        assert len(done) < 60
        with site.running() as again:
            rest: list[str] = []
            acknowledged(again.port, paths, rest)  # as a modality does that did not hear of all
            assert len(rest) == 60
            with closing(site.spool()) as spool:
                until(lambda: spool.counts().acknowledged == 60 or None, "60 logged statements")
            until(lambda: len(pacs.files()) == 60 or None, "60 objects in the PACS")
            with closing(site.journal()) as journal:
                until(lambda: journal.waiting() == (0, 0) or None, "an empty objects/")
        assert set(done) <= {path.name.partition(".")[2] for path in pacs.files()}
    assert in_order(site, live, 60)


def _some(done: list[str], enough: int, sender: threading.Thread) -> None:
    until(lambda: len(done) >= enough or not sender.is_alive() or None, "some objects")


@pytest.mark.soak
def test_kills_at_any_moment_lose_nothing(require: Require, live: Live, tmp_path: Path) -> None:
    """A send of 200 objects that is killed again and again, at random moments: everything is in ledger and PACS once."""
    require("storescp")
    paths = numbered(tmp_path / "images", 200)
    draw = random.Random(4)
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        places = [{"name": "main", "address": f"127.0.0.1:{pacs.port}", "ae_title": pacs.aet}]
        site = enrolled(live, tmp_path / "site", mode="inline", pacs=places)
        known: set[str] = set()
        for _ in range(20):
            running = site.start()
            done: list[str] = []
            start = draw.randrange(0, 190)
            sender = threading.Thread(target=acknowledged, args=(running.port, paths[start:], done))
            sender.start()
            _some(done, draw.randrange(0, 30), sender)
            running.kill()
            sender.join(60)
            known.update(done)
        with site.running() as again:
            rest: list[str] = []
            acknowledged(again.port, paths, rest)
            assert len(rest) == 200
            with closing(site.spool()) as spool:
                until(lambda: spool.counts().acknowledged == 200 or None, "200 logged statements")
            until(lambda: len(pacs.files()) == 200 or None, "200 objects in the PACS")
    assert in_order(site, live, 200)


def test_images_flow_while_the_ledger_is_away(require: Require, place: Place, tmp_path: Path) -> None:
    """The PACS has them at once; the statements catch up in order when the ledger comes."""
    require("storescp")
    paths = numbered(tmp_path / "images", 20)
    with storescp(tmp_path / "pacs", "+B", "+xa") as pacs:
        places = [{"name": "main", "address": f"127.0.0.1:{pacs.port}", "ae_title": pacs.aet}]
        with place.served() as live:
            site = enrolled(live, tmp_path / "site", mode="inline", pacs=places)
            address = live.address
        with site.running() as running:
            done: list[str] = []
            acknowledged(running.port, paths, done)
            assert len(done) == 20
            until(lambda: len(pacs.files()) == 20 or None, "20 objects in the PACS")
            running.captured(20)
            with closing(site.spool()) as spool:
                assert spool.counts().depth == 20
                with place.served("--listen", address) as live:
                    until(lambda: spool.counts().acknowledged == 20 or None, "20 logged statements")
                    assert in_order(site, live, 20)


def test_a_part_that_is_killed_is_started_again(require: Require, live: Live, tmp_path: Path) -> None:
    """The signing process may be killed at any time; the receiver goes on, and nothing is lost."""
    require("storescu")
    site = enrolled(live, tmp_path / "site")
    with site.running() as running:
        for pid in running.children():
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        send(running, "CT_small.dcm")
        with closing(site.spool()) as spool:
            until(lambda: spool.counts().acknowledged == 1 or None, "a logged statement")
        starts = running.shows("platemark_gateway_part_starts")
        assert starts['{part="sign"}'] >= 2


def test_a_second_gateway_on_the_same_state_is_refused(live: Live, tmp_path: Path) -> None:
    """Two would share nothing but trouble."""
    site = enrolled(live, tmp_path / "site")
    with site.running():
        ran = platemark("gateway", "--config", str(site.config))
        assert ran.code == 2
        assert "another gateway has this state directory" in ran.err


def test_no_patient_is_in_log_or_metrics(require: Require, live: Live, tmp_path: Path) -> None:
    """Neither a name, nor an id, nor a UID of an object is in what goes to the operator's systems."""
    require("storescu")
    site = enrolled(live, tmp_path / "site")
    with site.running() as running:
        send(running, *DISTINCT)
        running.captured(5)
        shown = httpx.get(running.metrics).text
    shown += running.log.read_text()
    for name in DISTINCT:
        image = dcmread(source(name), stop_before_pixels=True)
        for value in (image.PatientName, image.PatientID, image.StudyInstanceUID, image.SOPInstanceUID):
            assert not value or str(value) not in shown
