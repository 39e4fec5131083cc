"""The gate as a process of its own, between a sender, a real ledger and a real reader (dcmtk's storescp)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import platemark
from integration.live import Live
from objects import CT, data_set, kept, source, write_object
from pydicom import dcmread

from peers.dcmtk import run, storescp
from peers.process import environment, free_port
from platemark.gateway.answers import Answer
from platemark.gateway.calling import Peer
from platemark.gateway.journal import Received
from platemark.gateway.line import Line

Require = Callable[[str], Path]
PROGRAM = (sys.executable, "-m", "platemark", "gate")
PASSED, REFUSED, LATER = 0x0000, 0x0124, 0xA700


@dataclass
class Gate:
    """A gate that takes objects, and a sender in front of it."""

    directory: Path
    process: subprocess.Popen[str]
    port: int
    metrics: str
    line: Line = field(init=False)

    def __post_init__(self) -> None:
        """One association for all objects."""
        self.line = Line(Peer(ae_title="GATE", host="127.0.0.1", port=self.port, calling="SENDER", answer_s=60))

    def send(self, received: Received) -> Answer:
        """Send an object."""
        return self.line.store(received)

    def status(self, received: Received) -> int | None:
        """Send an object; the status of the answer."""
        return self.send(received).status

    def quarantined(self) -> list[dict[str, Any]]:
        """What is beside the objects in the quarantine."""
        folder = self.directory / "state" / "quarantine"
        found = [json.loads(each.read_text()) for each in sorted(folder.glob("*.json"))]
        assert len(found) == len(list(folder.glob("*.dcm")))
        return found

    def shows(self, name: str) -> float:
        """A sample of its metrics, by its name with labels."""
        lines = httpx.get(self.metrics).text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.rpartition(" ")[0] == name), 0.0)


@contextmanager
def gate(
    directory: Path, reader: int, *, trust: Path, server: str = "", folder: Path | None = None, more: str = ""
) -> Iterator[Gate]:
    """The gate within the block; it has to end well."""
    text = f"""
state_dir = "state"
trust = "{trust}"
[receive]
listen = "127.0.0.1:0"
ae_title = "GATE"
[limits]
free_bytes = 0
[metrics]
listen = "127.0.0.1:0"
[reader]
address = "127.0.0.1:{reader}"
ae_title = "READER"
"""
    text += f'[ledger]\nserver = "{server}"\n' if server else ""
    text += f'[evidence]\nfolder = "{folder}"\n' if folder is not None else ""
    config = directory / "gate.toml"
    config.write_text(text + more)
    log = directory / "gate.log"
    with log.open("a") as errors:
        command = [*PROGRAM, "--config", str(config), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment())
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
        assert line, f"the gate ended with {process.wait()}: {log.read_text()}"
        said = json.loads(line)
        made = Gate(directory, process, said["port"], said["metrics"])
        try:
            yield made
        finally:
            made.line.close()
            os.kill(process.pid, signal.SIGTERM)
            code = process.wait(60)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@dataclass
class Desk:
    """A modality that registers images with the ledger."""

    live: Live
    folder: Path
    key: Path
    uri: str

    @property
    def trust(self) -> Path:
        """The trust file of the log's founder."""
        return self.live.place.directory / "trust.toml"

    def capture(self, image: Path) -> None:
        """Sign and log it."""
        words = ("--key", self.key, "--server", self.live.address, "--trust", self.trust)
        ran = platemark("capture", image, *words)
        assert ran.code == 0, ran.err

    def fetch(self, image: Path, folder: Path, *more: object) -> None:
        """Its evidence into a folder."""
        folder.mkdir(exist_ok=True)
        out = folder / f"{len(list(folder.iterdir()))}.evidence"
        words = ("--server", self.live.address, "--trust", self.trust)
        ran = platemark("fetch", image, "--out", out, *words, *more)
        assert ran.code == 0, ran.err


@pytest.fixture(name="desk")
def _desk(live: Live, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    name = "".join(each if each.isalnum() else "-" for each in request.node.name)
    made = Desk(live, tmp_path / "desk", tmp_path / "desk" / "dx.pem", f"https://devices.test/gate/{name}")
    made.folder.mkdir()
    assert platemark("keygen", made.key).code == 0
    registrar = live.place.directory / "offline" / "registrar.key"
    words = ("--key", made.key, "--device", made.uri, "--role", "modality", "--registrar", registrar)
    ran = platemark("enrol", *words, "--server", live.address, "--trust", made.trust)
    assert ran.code == 0, ran.err
    return made


@pytest.fixture(name="image")
def _image(tmp_path: Path, request: pytest.FixtureRequest) -> Received:
    """A CT slice that no other test has: the ledger is shared."""
    made = dcmread(source(CT))
    pixels = bytearray(made.PixelData)
    name = request.node.name.encode()[:64]
    pixels[: len(name)] = name
    made.PixelData = bytes(pixels)
    made.save_as(tmp_path / "source.dcm")
    return kept(tmp_path, CT, content=data_set(tmp_path / "source.dcm"))


def altered(image: Received, number: int = 2) -> Received:
    """The same with another pixel."""
    changed = data_set(image.path).replace(b"test_", b"tesT_", 1)
    return kept(image.path.parent, CT, number=number, content=changed)


def test_what_the_ledger_knows_passes_and_the_rest_is_kept(
    tmp_path: Path, require: Require, desk: Desk, image: Received
) -> None:
    """The registered object reaches the reader byte for byte; one with another pixel is refused, and lies in quarantine."""
    require("storescp")
    desk.capture(image.path)
    with (
        storescp(tmp_path / "reader", "+B", "+xa", aet="READER") as reader,
        gate(tmp_path, reader.port, trust=desk.trust, server=desk.live.address) as at,
    ):
        assert at.status(image) == PASSED
        (passed,) = reader.files()
        assert data_set(passed) == data_set(image.path)
        assert at.quarantined() == []
        other = altered(image)
        assert at.status(other) == REFUSED
        assert len(reader.files()) == 1
        (kept_there,) = at.quarantined()
        assert (kept_there["code"], kept_there["calling"], kept_there["verdict"]) == ("no-record", "SENDER", None)
        (held,) = (tmp_path / "state" / "quarantine").glob("*.dcm")
        assert data_set(held) == data_set(other.path)
        assert held.stat().st_mode & 0o077 == 0
        assert list((tmp_path / "state" / "objects").iterdir()) == []
        assert at.shows('platemark_gate_objects_total{code="passed"}') == 1
        assert at.shows("platemark_gate_quarantine_objects") == 1


def test_a_quarantined_object_may_be_answered_with_success(tmp_path: Path, desk: Desk, image: Received) -> None:
    """With `quarantined = "accept"` the sender hears success, and the object is kept with its reason."""
    more = '[policy]\nquarantined = "accept"\n'
    with gate(tmp_path, free_port(), trust=desk.trust, server=desk.live.address, more=more) as at:
        assert at.status(image) == PASSED
        assert [each["code"] for each in at.quarantined()] == ["no-record"]


def test_evidence_from_a_folder_needs_no_ledger(tmp_path: Path, require: Require, desk: Desk, image: Received) -> None:
    """Evidence that is put into the folder while the gate runs lets the object pass from then on; junk in it is left out."""
    require("storescp")
    desk.capture(image.path)
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "junk.evidence").write_bytes(b"PK\x03\x04 nothing")
    with (
        storescp(tmp_path / "reader", "+B", "+xa", aet="READER") as reader,
        gate(tmp_path, reader.port, trust=desk.trust, folder=folder) as at,
    ):
        assert at.status(image) == REFUSED
        desk.fetch(image.path, folder)
        answers = iter(lambda: at.status(image), PASSED)  # a folder is looked at every second
        assert all(each == REFUSED for each in answers)
        assert len(reader.files()) == 1


def test_true_pixels_under_another_header_do_not_pass(
    tmp_path: Path, require: Require, desk: Desk, image: Received
) -> None:
    """A lossless copy passes only when its header is proven, or when the owner says that pixels are enough."""
    require("dcmcrle")
    desk.capture(image.path)
    copy, folder = tmp_path / "copy.dcm", tmp_path / "evidence"
    folder.mkdir()
    assert run("dcmcrle", image.path, copy).returncode == 0
    # dcmcrle keeps the instance; the patient of the second copy is somebody else.
    renamed = tmp_path / "renamed.dcm"
    renamed.write_bytes(copy.read_bytes())
    assert run("dcmodify", "-nb", "-m", "PatientID=X9", renamed).returncode == 0
    rle = "1.2.840.10008.1.2.5"
    one = kept(tmp_path, CT, number=11, content=data_set(copy), transfer_syntax=rle)
    two = kept(tmp_path, CT, number=12, content=data_set(renamed), transfer_syntax=rle)
    with storescp(tmp_path / "reader", "+B", "+xa", aet="READER") as reader:
        desk.fetch(image.path, folder)
        with gate(tmp_path, reader.port, trust=desk.trust, folder=folder) as at:
            assert (at.status(one), at.status(two)) == (REFUSED, REFUSED)
            assert [each["code"] for each in at.quarantined()] == ["inconclusive"] * 2
            assert all(each["verdict"]["rung"] == "pixels" for each in at.quarantined())
        desk.fetch(image.path, folder, "--disclose-header")
        with gate(tmp_path, reader.port, trust=desk.trust, folder=folder) as at:
            assert (at.status(one), at.status(two)) == (PASSED, REFUSED)
            assert len(reader.files()) == 1
        more = "[policy]\naccept_pixels = true\n"
        with gate(tmp_path, reader.port, trust=desk.trust, server=desk.live.address, more=more) as at:
            assert at.status(two) == PASSED
        with gate(
            tmp_path, reader.port, trust=desk.trust, server=desk.live.address, more=more + 'rungs = ["dataset"]\n'
        ) as at:
            assert (at.status(one), at.status(image)) == (REFUSED, PASSED)
            assert at.quarantined()[-1]["code"] in {"rung-not-accepted", "inconclusive"}


def test_a_record_of_another_device_does_not_pass(
    tmp_path: Path, require: Require, desk: Desk, image: Received
) -> None:
    """With `devices` only their records count."""
    require("storescp")
    desk.capture(image.path)
    with storescp(tmp_path / "reader", "+B", "+xa", aet="READER") as reader:
        for device, status in (("https://devices.test/other", REFUSED), (desk.uri, PASSED)):
            more = f'[policy]\ndevices = ["{device}"]\norigins = ["modality-signed"]\n'
            with gate(tmp_path, reader.port, trust=desk.trust, server=desk.live.address, more=more) as at:
                assert at.status(image) == status
                assert [each["code"] for each in at.quarantined()] == ["device-not-accepted"]


def test_a_true_object_under_another_name_does_not_pass(tmp_path: Path, desk: Desk, image: Received) -> None:
    """A request that names another instance than the object does is stopped: a reader may go by either."""
    desk.capture(image.path)
    other = kept(tmp_path, CT, number=3, content=data_set(image.path), sop_instance="1.2.3.4")
    with gate(tmp_path, free_port(), trust=desk.trust, server=desk.live.address) as at:
        assert at.status(other) == REFUSED
        assert [each["code"] for each in at.quarantined()] == ["not-what-it-was-sent-as"]


def test_without_the_ledger_nothing_is_judged(tmp_path: Path, desk: Desk, image: Received) -> None:
    """While the ledger is away the sender is asked to come again, and nothing is quarantined."""
    with gate(tmp_path, free_port(), trust=desk.trust, server=f"127.0.0.1:{free_port()}") as at:
        assert at.status(image) == LATER
        assert at.quarantined() == []
        assert at.shows('platemark_gate_objects_total{code="away"}') == 1


def test_without_the_reader_nothing_is_lost(tmp_path: Path, require: Require, desk: Desk, image: Received) -> None:
    """While the reader is away the sender is asked to come again; what the reader refuses is answered as it says."""
    require("storescp")
    desk.capture(image.path)
    with storescp(tmp_path / "reader", "+B", "+xi", aet="READER") as reader:
        reader.peer.stop()
        with gate(tmp_path, reader.port, trust=desk.trust, server=desk.live.address) as at:
            assert at.status(image) == LATER
            reader.peer.start()
            assert at.status(image) == 0x0122  # it takes implicit VR alone, and nothing is converted
            assert at.quarantined() == []


def test_the_quarantine_is_bounded(tmp_path: Path, desk: Desk, image: Received) -> None:
    """When it is full, what does not pass is not taken at all, and nothing is thrown out for it."""
    more = "[quarantine]\nobjects = 1\n[policy]\nquarantined = 'accept'\n"
    with gate(tmp_path, free_port(), trust=desk.trust, server=desk.live.address, more=more) as at:
        assert at.status(image) == PASSED
        assert at.status(altered(image)) == LATER
        assert len(at.quarantined()) == 1


HOSTILE = {
    "nothing like it": b"\x00" * 4096,
    "truncated": b"\x08\x00\x16\x00UI\x1a\x00" + b"1.2.840.",
    "a huge element": b"\x08\x00\x05\x00OB\x00\x00\xff\xff\xff\x7fabcd",
    "a deep nest": b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 500,
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # the sender's own remark
def test_hostile_objects_stay_in_quarantine(tmp_path: Path, desk: Desk, image: Received) -> None:
    """Whatever bytes come, they do not pass, the process lives, and the next object is judged."""
    with gate(tmp_path, free_port(), trust=desk.trust, server=desk.live.address) as at:
        for number, (name, content) in enumerate(HOSTILE.items(), 20):
            path = tmp_path / f"{number:032x}.dcm"
            uids = {
                "sop_class": image.sop_class,
                "sop_instance": "../../etc/x",
                "transfer_syntax": image.transfer_syntax,
            }
            write_object(path, content, **uids)
            hostile = Received(**{**vars(image), "path": path, "object_id": f"{number:032x}", **uids})
            assert at.status(hostile) in {REFUSED, 0x0117}, name
        assert at.status(image) == REFUSED
        assert at.process.poll() is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("[reader]", "[raeder]"), "raeder"),
        (("trust =", "turst ="), "turst"),
        (('ae_title = "READER"', 'ae_title = "far too long a title"'), "reader.ae_title"),
        (("[evidence]", "[evidence]\nmost = 0"), "evidence.most"),
        (("[policy]", '[policy]\nresults = ["EVIDENCE INVALID"]'), "policy.results"),
        (("[policy]", '[policy]\nrungs = ["file"]'), "policy.rungs"),
        (("[policy]", '[policy]\nquarantined = "maybe"'), "policy.quarantined"),
        (("folder =", "most = 3 #"), "evidence.folder"),
        (("state_dir =", "#"), "state_dir"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, change: tuple[str, str], field: str) -> None:
    """One line names the setting; exit code 2; nothing is started."""
    text = """
state_dir = "state"
trust = "trust.toml"
[reader]
address = "127.0.0.1:104"
ae_title = "READER"
[evidence]
folder = "evidence"
[policy]
"""
    (tmp_path / "gate.toml").write_text(text.replace(*change))
    ran = platemark("gate", "--config", tmp_path / "gate.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"platemark: {field}")
    assert ran.err.count("\n") == 1
