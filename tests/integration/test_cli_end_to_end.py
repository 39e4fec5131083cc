"""The command line against a real ledger: from a new key to a verdict."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Ran, ct, platemark, png
from integration.live import Live, Place

from platemark import evidence, statement
from platemark.rungs import HEADER_BINDING


class Desk:
    """A device's desk: a key, some images, and the ledger they go to."""

    def __init__(self, live: Live, folder: Path, name: str) -> None:
        self.live, self.folder, self.name = live, folder, name
        self.key = folder / "dx1.pem"
        self.registrar = live.place.directory / "offline" / "registrar.key"
        self.trust = live.place.directory / "trust.toml"
        assert platemark("keygen", self.key).code == 0

    @property
    def uri(self) -> str:
        """The device's URI, unlike that of any other test."""
        return f"https://devices.test/cli/{self.name}"

    def run(self, *words: object) -> Ran:
        """A command that talks to the ledger, which has to prove who it is."""
        return platemark(*words, "--server", self.live.address, "--trust", self.trust)

    def enrol(self, role: str = "modality", *more: object) -> Ran:
        """Both halves at once."""
        words = ("--key", self.key, "--device", self.uri, "--role", role, "--registrar", self.registrar)
        return self.run("enrol", *words, *more)

    def image(self, name: str, content: bytes) -> Path:
        """An image in the folder `images`."""
        path = self.folder / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def verify(self, image: Path, *more: object) -> Ran:
        """Offline."""
        return platemark("verify", image, "--trust", self.trust, *more)


@pytest.fixture(name="desk")
def _desk(live: Live, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    return Desk(live, tmp_path, "".join(each if each.isalnum() else "-" for each in request.node.name))


def slice_of(desk: Desk) -> bytes:
    """A slice that no other test has: the ledger is shared."""
    pixels = hashlib.sha256(desk.name.encode()).digest()[:24]
    return ct(patient=desk.name[:60], pixels=pixels)


def test_from_key_to_verdict(desk: Desk) -> None:
    """keygen, enrol, capture, lookup, fetch, verify: every command does its part, and the verdict is MATCHES RECORD."""
    assert ((ran := desk.enrol()).code, ran.err) == (0, "")
    image = desk.image("scan.dcm", slice_of(desk))
    ran = desk.run("capture", image, "--key", desk.key, "--json")
    assert (ran.code, ran.json()["counts"]) == (0, {"logged": 1})
    index = ran.json()["items"][0]["index"]
    found = desk.run("lookup", image, "--json").json()["records"]
    assert [(index, "file", desk.uri, "modality-signed")] == [
        (each["index"], each["rung"], each["device"], each["origin"]) for each in found
    ]
    ran = desk.run("fetch", image, "--json")
    assert (ran.code, ran.json()["result"]) == (0, "MATCHES RECORD")
    verdict = desk.verify(image, "--json").json()
    assert ("MATCHES RECORD", desk.uri, index) == (
        verdict["result"],
        verdict["facts"]["device"],
        verdict["facts"]["index"],
    )


def test_two_halves_of_an_enrolment(desk: Desk) -> None:
    """The device makes a request offline, the registrar answers it; the device's key never leaves the device."""
    log_id = desk.live.place.facts["log_id"]
    request = desk.folder / "dx1.request"
    words = ("--key", desk.key, "--device", desk.uri, "--role", "sensor", "--log", log_id)
    assert platemark("enrol", *words, "--request-out", request).code == 0
    moved = desk.folder / "elsewhere" / "dx1.request"
    moved.parent.mkdir()
    request.rename(moved)
    facts = ("--attribute", "device_serial_number=4711")
    ran = desk.run("enrol", "--request", moved, "--registrar", desk.registrar, *facts, "--json")
    assert (0, desk.uri, "sensor") == (ran.code, ran.json()["device"], ran.json()["role"])
    kept = platemark("inspect", moved.with_suffix(".enrolment.disclosure"), "--reveal", "--json").json()
    assert kept["attributes"] == {"device_serial_number": "4711"}
    assert desk.run("capture", desk.image("a.png", png(shade=31)), "--key", desk.key).code == 0


def test_an_enrolment_is_not_made_twice(desk: Desk) -> None:
    """A second try is stopped by the file that is there; forced, the ledger refuses it and says why."""
    desk.enrol()
    ran = desk.enrol()
    assert (ran.code, "exists already; send it with `platemark submit`" in ran.err) == (2, True)
    ran = desk.enrol("modality", "--force")
    assert (ran.code, "ALREADY_ENROLLED" in ran.err) == (2, True)


def test_a_request_for_another_log_is_refused(desk: Desk) -> None:
    """The registrar's side compares the log, the device and the role before it signs."""
    request = desk.folder / "dx1.request"
    words = ("--key", desk.key, "--device", desk.uri, "--role", "modality", "--log", "00" * 32)
    platemark("enrol", *words, "--request-out", request)
    ran = desk.run("enrol", "--request", request, "--registrar", desk.registrar)
    assert (ran.code, "asks for the log" in ran.err) == (2, True)


def test_an_unenrolled_key_is_set_apart(desk: Desk) -> None:
    """What the ledger refuses is listed apart with the ledger's own code; exit code 1."""
    image = desk.image("scan.dcm", slice_of(desk))
    ran = desk.run("capture", image, "--key", desk.key, "--device", desk.uri)
    assert ran.code == 1
    assert "Refused:" in ran.out
    assert "unknown-key: " in ran.out


def test_a_folder_is_captured_and_resumed(desk: Desk) -> None:
    """Images are logged, other files skipped, broken ones named; the second run signs nothing again."""
    desk.enrol()
    desk.image("a.png", png(shade=41))
    desk.image("b.dcm", slice_of(desk))
    desk.image("cut.png", png()[:30])
    desk.image("notes.txt", b"no image")
    folder = desk.folder / "images"
    first = desk.run("capture", folder, "--key", desk.key, "--json")
    assert (first.code, first.json()["counts"]) == (1, {"logged": 2, "failed": 1, "skipped": 1})
    second = desk.run("capture", folder, "--key", desk.key, "--json")
    assert (second.code, second.json()["counts"]) == (1, {"repeated": 2, "failed": 1, "skipped": 1})
    assert [each["id"] for each in first.json()["items"]] == [each["id"] for each in second.json()["items"]]


def test_a_statement_of_other_content_is_not_sent_for_an_image(desk: Desk) -> None:
    """An image that changed after it was signed is told apart; --force signs what it is now."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    assert desk.run("capture", image, "--key", desk.key).code == 0
    image.write_bytes(ct(patient="Changed^After"))
    ran = desk.run("capture", image, "--key", desk.key)
    assert (ran.code, "made for another content of this file" in ran.out) == (1, True)
    assert desk.run("capture", image, "--key", desk.key, "--force", "--json").json()["counts"] == {"logged": 1}


def test_a_statement_of_another_key_is_not_sent_for_this_one(desk: Desk) -> None:
    """Who captures with a key gets a record by that key, or hears that there is one by another."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    other = desk.folder / "other.pem"
    assert platemark("keygen", other).code == 0
    assert platemark("sign", image, "--key", other, "--device", desk.uri).code == 0
    ran = desk.run("capture", image, "--key", desk.key)
    assert (ran.code, "signed by another key" in ran.out) == (1, True)
    assert desk.run("capture", image, "--key", desk.key, "--force", "--json").json()["counts"] == {"logged": 1}


def test_what_was_signed_before_its_enrolment_says_how_to_go_on(desk: Desk) -> None:
    """A key that was enrolled after the capture: the refusal names --force, and that helps."""
    image = desk.image("scan.dcm", slice_of(desk))
    assert desk.run("capture", image, "--key", desk.key, "--device", desk.uri).code == 1
    desk.enrol()
    ran = desk.run("capture", image, "--key", desk.key)
    assert (ran.code, "not-yet-valid: " in ran.out, "--force signs it anew" in ran.out) == (1, True, True)


def test_evidence_of_another_content_is_exit_code_1(desk: Desk) -> None:
    """IMAGE.statement of an older content is not followed; a record that was asked for by leaf is, and differs."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    index = desk.run("capture", image, "--key", desk.key, "--json").json()["items"][0]["index"]
    image.write_bytes(ct(patient="Changed^After", pixels=bytes(24)))
    ran = desk.run("fetch", image)
    assert (ran.code, "made for another content" in ran.err, "no record" in ran.err) == (2, True, True)
    ran = desk.run("fetch", image, "--index", index)
    assert (ran.code, "DOES NOT MATCH" in ran.out) == (1, True)


def test_sign_now_and_submit_later(desk: Desk) -> None:
    """What was signed without a network is submitted later; again is the same place."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    assert platemark("sign", image, "--key", desk.key).code == 0
    signed = image.with_name("scan.dcm.statement")
    first = desk.run("submit", signed, "--json").json()["items"][0]
    second = desk.run("submit", signed, "--json").json()["items"][0]
    assert ("logged", "repeated", first["index"]) == (first["status"], second["status"], second["index"])


def test_a_gateway_states_that_it_received(desk: Desk) -> None:
    """The default origin follows from the role that the key asked for."""
    desk.enrol("gateway")
    image = desk.image("scan.dcm", slice_of(desk))
    assert desk.run("capture", image, "--key", desk.key).code == 0
    signed = statement.decode(image.with_name("scan.dcm.statement").read_bytes())
    assert signed.payload["origin"] == "gateway-received"


def test_several_records_of_one_image(desk: Desk) -> None:
    """The earliest is fetched and all are listed; --index chooses; a statement beside the image is preferred."""
    desk.enrol()
    content = slice_of(desk)
    image, copy = desk.image("one.dcm", content), desk.image("two.dcm", content)
    ran = desk.run("capture", image, copy, "--key", desk.key, "--json").json()["items"]
    first, second = (each["index"] for each in ran)
    stranger = desk.folder / "received.dcm"
    stranger.write_bytes(content)

    def fetched(path: Path, *more: object) -> int:
        done = desk.run("fetch", path, "--force", *more)
        assert (done.code, done.err) == (0, "")
        verdict = desk.verify(path, "--json").json()
        return int(verdict["facts"]["index"])

    assert first == fetched(stranger)
    assert "2 records carry a digest of this image" in desk.run("fetch", stranger, "--force").out
    assert second == fetched(stranger, "--index", second)
    assert second == fetched(copy)


@pytest.mark.parametrize(
    ("words", "opened"),
    [
        ((), set()),
        (("--disclose", "patient_id, rows"), {"patient_id", "rows"}),
        (("--disclose-header",), set(HEADER_BINDING)),
        (("--disclose-header", "--disclose", "rows"), {*HEADER_BINDING, "rows"}),
    ],
    ids=["none", "some", "header", "both"],
)
def test_attributes_are_opened_one_by_one(desk: Desk, words: tuple[str, ...], opened: set[str]) -> None:
    """The evidence shows what was asked for and nothing else."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    desk.run("capture", image, "--key", desk.key)
    assert desk.run("fetch", image, *words).code == 0
    assert opened == set(desk.verify(image, "--json").json()["disclosed"])


def test_everything_can_be_opened(desk: Desk) -> None:
    """--disclose-all hands over K: every attribute, and the proof that there are no others."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    desk.run("capture", image, "--key", desk.key)
    desk.run("fetch", image, "--disclose-all")
    kept = image.with_name("scan.dcm.disclosure").read_bytes()
    held = evidence.from_bytes(image.with_name("scan.dcm.evidence").read_bytes())
    assert kept == held.disclosure


def test_a_folder_is_fetched_elsewhere_with_the_disclosures_beside_its_images(desk: Desk) -> None:
    """--out is where evidence goes; what was signed beside an image is found there, and what is nowhere is said."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    desk.run("capture", image, "--key", desk.key)
    folder, out = image.parent / "cd", image.parent / "out"
    folder.mkdir()
    for suffix in ("", ".statement", ".disclosure"):
        name = image.name + suffix
        image.with_name(name).rename(folder / name)
    ran = desk.run("fetch", folder, "--out", out, "--disclose-header")
    assert ran.code == 0, ran.out + ran.err
    assert evidence.from_bytes((out / "scan.dcm.evidence").read_bytes()).disclosure is not None
    (folder / "scan.dcm.disclosure").unlink()
    ran = desk.run("fetch", folder, "--out", out, "--disclose-header", "--force")
    assert (ran.code, "platemark vault export" in ran.out) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--disclose", "shoe_size"), "attributes.shoe_size: not in the registry"),
        (("--disclose", "camera_id"), "attributes.camera_id: not among"),
        (("--disclosure", "other.disclosure", "--disclose-all"), "do not belong to this statement"),
        (("--index", "99999999"), "platemark: "),
    ],
    ids=["unknown", "absent", "another", "index"],
)
def test_fetch_writes_nothing_when_it_cannot_do_all(desk: Desk, words: tuple[str, ...], said: str) -> None:
    """A disclosure that does not fit, or a record that is not there: one line, and no file."""
    desk.enrol()
    image, other = desk.image("scan.dcm", slice_of(desk)), desk.image("other.png", png(shade=51))
    desk.run("capture", image, other, "--key", desk.key)
    known = [str(other.with_name("other.png.disclosure")) if word == "other.disclosure" else word for word in words]
    ran = desk.run("fetch", image, *known)
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)
    assert not image.with_name("scan.dcm.evidence").exists()


def test_fetch_keeps_what_is_there(desk: Desk) -> None:
    """Evidence is not replaced without --force."""
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    desk.run("capture", image, "--key", desk.key)
    desk.run("fetch", image)
    ran = desk.run("fetch", image)
    assert (ran.code, "scan.dcm.evidence: exists already" in ran.err) == (2, True)


def test_an_image_that_nobody_registered(desk: Desk) -> None:
    """Lookup says so with exit code 1, fetch with one line."""
    image = desk.image("scan.dcm", slice_of(desk))
    assert ((ran := desk.run("lookup", image)).code, ran.out) == (1, "no record of this image\n")
    assert ((ran := desk.run("fetch", image)).code, "the ledger has no record of it" in ran.err) == (2, True)


def test_a_ledger_that_the_trust_file_does_not_name_gets_nothing(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With --trust, a stranger's ledger is turned down before a statement is sent."""
    from integration.live import found

    other = found(tmp_path_factory.mktemp("other") / "ledger")
    desk.enrol()
    image = desk.image("scan.dcm", slice_of(desk))
    words = ("capture", image, "--key", desk.key, "--server", desk.live.address)
    ran = platemark(*words, "--trust", other.directory / "trust.toml")
    assert (ran.code, "which the trust file does not name" in ran.err) == (2, True)


def test_no_ledger_is_one_line(desk: Desk) -> None:
    """A ledger that is not there: exit code 5, and what was signed is on disk."""
    image = desk.image("scan.dcm", slice_of(desk))
    words = ("capture", image, "--key", desk.key, "--device", desk.uri, "--server", "127.0.0.1:9")
    ran = platemark(*words)
    assert (ran.code, "running this again goes on" in ran.err) == (5, True)
    assert image.with_name("scan.dcm.statement").exists()


def test_plain_text_to_another_machine_is_refused(desk: Desk) -> None:
    """Statements never cross a network in the clear."""
    image = desk.image("scan.dcm", slice_of(desk))
    ran = platemark("lookup", image, "--server", "ledger.example:50151")
    assert (ran.code, "plain text is for loopback only" in ran.err) == (2, True)


def test_the_program_itself(place: Place, tmp_path: Path) -> None:
    """As a shell runs it, in processes of their own, on a ledger that is gone when the verdict is made."""
    (tmp_path / "scan.dcm").write_bytes(ct(patient="Shell^Test"))

    def shell(*words: object, server: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PLATEMARK_SERVER": server, "PLATEMARK_TRUST": str(place.directory / "trust.toml")}
        command = [sys.executable, "-m", "platemark", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    with place.served() as live:
        registrar = place.directory / "offline" / "registrar.key"
        device = ("--device", "https://devices.test/shell", "--role", "modality")
        for words in (
            ("keygen", "dx1.pem"),
            ("enrol", "--key", "dx1.pem", *device, "--registrar", registrar),
            ("capture", "scan.dcm", "--key", "dx1.pem"),
            ("fetch", "scan.dcm"),
        ):
            done = shell(*words, server=live.address)
            assert (done.returncode, done.stderr) == (0, "")
    done = shell("verify", "scan.dcm", "--json")
    assert (done.returncode, json.loads(done.stdout)["result"]) == (0, "MATCHES RECORD")
