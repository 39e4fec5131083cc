"""A vault against a real ledger: an insurer asks for one attribute, the hospital releases it, and the log says so."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, ct, platemark
from integration.live import Live, only

from platemark import statement
from platemark.spool import Spool
from platemark.vault import release as releases

OPERATOR = "https://devices.test/vault/operator"


class Hospital:
    """A modality whose capture is logged and whose disclosure is in a vault; an operator; and an insurer elsewhere."""

    def __init__(self, live: Live, folder: Path, name: str) -> None:
        self.live, self.folder, self.uri = live, folder, f"https://devices.test/vault/{name}"
        self.registrar = live.place.directory / "offline" / "registrar.key"
        self.trust = live.place.directory / "trust.toml"
        self.image = self.path("scan.dcm")
        pixels = hashlib.sha256(name.encode()).digest()[:24]
        self.image.write_bytes(ct(patient="Doe^Jane", pixels=pixels))
        for key in ("dx1", "operator", "insurer"):
            self.done("keygen", self.path(f"{key}.pem"))
        self.enrol("dx1", self.uri, "modality")
        self.done("vault", "init", self.path("vault"), "--out", self.path("vault.pem"))
        more = ("--attribute", "technologist=Roe^Richard")
        self.done("capture", self.image, "--key", self.path("dx1.pem"), *more, server=True)
        self.done("vault", "put", self.path("vault"), self.path("scan.dcm.disclosure"))
        # From here on the values are in the vault alone.
        self.path("scan.dcm.disclosure").unlink()
        self.done("fetch", self.image, server=True)

    def path(self, name: str) -> Path:
        """A file of the test."""
        return self.folder / name

    def run(self, *words: object, server: bool = False) -> Ran:
        """A command; with `server` it talks to the ledger."""
        return platemark(*words, *(("--server", self.live.address, "--trust", self.trust) if server else ()))

    def done(self, *words: object, server: bool = False) -> Any:
        """A command that has to succeed; what it says."""
        ran = self.run(*words, "--json", server=server)
        assert ran.code == 0, ran.err
        return ran.json()

    def enrol(self, key: str, uri: str, role: str) -> None:
        """Enrol a key."""
        words = ("--key", self.path(f"{key}.pem"), "--device", uri, "--role", role, "--registrar", self.registrar)
        self.done("enrol", *words, server=True)

    def ask(self, names: str = "technologist") -> Any:
        """The insurer has the image and its evidence, and a key."""
        words = ("--evidence", self.path("scan.dcm.evidence"), "--attributes", names, "--purpose", "claim 4711")
        out = self.path("r.request")
        out.unlink(missing_ok=True)
        return self.done("vault", "request", *words, "--key", self.path("insurer.pem"), "--out", out)

    def release(self, *more: object, server: bool = True) -> Ran:
        """The hospital's answer."""
        words: tuple[object, ...] = ("--vault", self.path("vault"), "--vault-key", self.path("vault.pem"))
        words += ("--key", self.path("operator.pem"), "--requesters", self.path("insurer.pub"), "--yes", "--json")
        words += ("--out", self.path("r.release"))
        return self.run("vault", "release", self.path("r.request"), *words, *more, server=server)


@pytest.fixture(name="hospital")
def _hospital(live: Live, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    return Hospital(live, tmp_path, request.node.name.replace("_", "-"))


def test_one_attribute_reaches_the_insurer_and_the_log(hospital: Hospital) -> None:
    """The released value is verified offline with the evidence that the insurer had, and the ledger holds the record."""
    hospital.enrol("operator", OPERATOR + "/1", "operator")
    hospital.ask()
    ran = hospital.release()
    assert (ran.code, ran.json()["attributes"], ran.json()["spooled"]) == (0, ["technologist"], False), ran.err
    assert "Roe" not in ran.out + ran.err
    logged = statement.decode(
        hospital.live.client().statement(id=bytes.fromhex(ran.json()["custody"])).statement.statement
    )
    assert (logged.kind, logged.payload["event"], logged.issuer) == ("custody", "accessed", OPERATOR + "/1")
    assert logged.payload["of"] == bytes.fromhex(ran.json()["capture"])
    found = releases.decode(hospital.path("r.release").read_bytes())
    (kept,) = hospital.folder.glob("r.release.*.custody")
    assert logged.raw == found.custody.raw == kept.read_bytes()
    words = ("verify", hospital.image, "--trust", hospital.trust, "--disclosure", hospital.path("r.release"), "--json")
    verdict = hospital.run(*words).json()
    assert (verdict["result"], verdict["disclosed"]) == ("MATCHES RECORD", {"technologist": "Roe^Richard"})
    shown = hospital.run(
        "vault", "show", hospital.path("r.release"), "--signers", hospital.path("operator.pub"), "--json"
    )
    assert (shown.json()["values"], shown.json()["custody_signature_checked"]) == (
        {"technologist": "Roe^Richard"},
        True,
    )


def test_what_the_ledger_refuses_does_not_leave(hospital: Hospital) -> None:
    """An operator who is not enrolled records nothing, so nothing is released; once enrolled, he may try again."""
    hospital.ask()
    ran = hospital.release("--device", OPERATOR + "/2")
    assert (ran.code, "UNKNOWN_KEY" in ran.err) == (2, True), ran.err
    assert not hospital.path("r.release").exists()
    hospital.enrol("operator", OPERATOR + "/2", "operator")
    assert hospital.release().code == 0


def test_a_capture_that_the_ledger_does_not_have(hospital: Hospital) -> None:
    """A statement that was never logged is no capture to release from, also when the vault has its root."""
    hospital.enrol("operator", OPERATOR + "/3", "operator")
    unlogged = hospital.path("other.dcm")
    unlogged.write_bytes(ct(patient="Roe^Jim"))
    hospital.done("sign", unlogged, "--key", hospital.path("dx1.pem"))
    hospital.done("vault", "put", hospital.path("vault"), hospital.path("other.dcm.disclosure"))
    words = ("--statement", hospital.path("other.dcm.statement"), "--attributes", "patient_name", "--purpose", "x")
    asked = hospital.path("r.request")
    hospital.done("vault", "request", *words, "--key", hospital.path("insurer.pem"), "--out", asked)
    ran = hospital.release()
    assert (ran.code, "the ledger has no record of the capture" in ran.err) == (1, True)
    assert not hospital.path("r.release").exists()


def test_a_spooled_record_reaches_the_log_later(hospital: Hospital) -> None:
    """Without a network the record waits in the spool, and is a statement that the ledger takes."""
    hospital.enrol("operator", OPERATOR + "/4", "operator")
    hospital.ask("technologist,patient_name")
    offline = ("--spool", hospital.path("spool"), "--trust", hospital.trust)
    ran = hospital.release(*offline, "--evidence", hospital.path("scan.dcm.evidence"), server=False)
    assert (ran.code, ran.json()["spooled"]) == (0, True), ran.err
    with Spool(hospital.path("spool")) as spool:
        (entry,) = spool.pending(10)
    outcome = only(hospital.live.client().append([entry.raw]).outcomes)
    assert [each.code for each in outcome.statement.conditions] == []
    assert statement.decode(entry.raw).id.hex() == ran.json()["custody"]


def test_an_erasure_is_noted_in_the_log(hospital: Hospital) -> None:
    """The values are gone, the evidence verifies as before, and the log has the operator's note."""
    hospital.enrol("operator", OPERATOR + "/5", "operator")
    words: tuple[object, ...] = ("--vault", hospital.path("vault"), "--vault-key", hospital.path("vault.pem"), "--yes")
    words += ("--statement", hospital.path("scan.dcm.statement"), "--note-key", hospital.path("operator.pem"))
    said = hospital.done("vault", "erase", *words, "--out", hospital.path("erasure.note"), server=True)
    assert (said["erased"], said["noted"]) == (1, True)
    note = statement.decode(hospital.path("erasure.note").read_bytes())
    assert hospital.live.client().statement(id=note.id).statement.statement == note.raw
    hospital.ask()
    ran = hospital.release()
    assert (ran.code, "was erased from it" in ran.err) == (1, True)
    assert hospital.run("verify", hospital.image, "--trust", hospital.trust).code == 0
