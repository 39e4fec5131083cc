"""A person's own signature on a capture, against a real ledger: from the token to the verdict that shows who signed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from commands import Ran, ct, platemark
from integration.live import Live

from tokens import PIN, Token

PERSON = "https://devices.test/attest/people/7"
DEVICE = "https://devices.test/attest/dx1"


class Desk:
    """An X-ray unit with a key in a file, and a technologist with a badge."""

    def __init__(self, live: Live, folder: Path) -> None:
        self.live, self.folder = live, folder
        self.trust = live.place.directory / "trust.toml"
        self.registrar = live.place.directory / "offline" / "registrar.key"
        self.image = folder / "scan.dcm"
        self.image.write_bytes(ct(patient="Attested", pixels=hashlib.sha256(b"attested").digest()[:24]))

    def run(self, *words: object) -> Ran:
        """A command that talks to the ledger."""
        ran = platemark(*words, "--server", self.live.address, "--trust", self.trust)
        assert ran.code == 0, ran.err
        return ran

    def enrol(self, key: str, device: str, role: str) -> None:
        """Let the key sign in this role."""
        words = ("--key", self.folder / key, "--device", device, "--role", role, "--registrar", self.registrar)
        self.run("enrol", *words)


@pytest.fixture(name="desk")
def _desk(live: Live, tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_TLS_CA", "PLATEMARK_SPOOL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", PIN)
    desk = Desk(live, tmp_path)
    assert platemark("keygen", tmp_path / "dx1.pem").code == 0
    assert platemark("keygen", tmp_path / "badge.p11", "--token", token.uri("live badge")).code == 0
    desk.enrol("dx1.pem", DEVICE, "modality")
    desk.enrol("badge.p11", PERSON, "operator")
    return desk


def test_a_verdict_shows_who_signed_beside_what_the_device_stated(desk: Desk) -> None:
    """Attested with a key in a token, logged, fetched as evidence of its own, and relied on by the offline verifier."""
    desk.run("capture", desk.image, "--key", desk.folder / "dx1.pem", "--attribute", "technologist=Roe^Richard")
    desk.run("fetch", desk.image, "--disclose", "technologist")
    said = ("--device", PERSON, "--attribute", "technologist=Roe^Richard")
    signed = desk.folder / "scan.dcm.attest.statement"
    ran = platemark(
        "attest", f"{desk.image}.statement", "--key", desk.folder / "badge.p11", "--trust", desk.trust, *said
    )
    assert ran.code == 0, ran.err
    desk.run("submit", signed)
    desk.run("fetch", signed, "--disclose", "technologist")
    words = ("verify", desk.image, "--trust", desk.trust)
    alone = platemark(*words)
    assert alone.code == 0
    assert "Roe^Richard (the file does not say; as stated, not signed by that person)" in alone.out
    shown = platemark(*words, "--also", desk.folder / "scan.dcm.attest.evidence", "--json").json()
    (reference,) = shown["references"]
    assert (reference["by"], reference["says"]) == (PERSON, "performed")
    assert (reference["disclosed"], "fault" in reference) == ({"technologist": "Roe^Richard"}, False)
    assert shown["result"] == "MATCHES RECORD"
