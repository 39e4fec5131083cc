"""Whole studies against a real ledger: captured, fetched from a vault, and verified as a patient CD."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from commands import Ran, platemark, png
from integration.live import Live
from sets import dicomdir, record, slice_of

import capture_writers as writers
from platemark import attributes, statement
from platemark.vault import Vault


class Ward:
    """A hospital's ward: a gateway's key, a folder of images, a vault, and the ledger they go to."""

    def __init__(self, live: Live, folder: Path, name: str) -> None:
        self.live, self.folder = live, folder
        self.name = name
        self.trust = live.place.directory / "trust.toml"
        self.key, self.images = folder / "gw.pem", folder / "images"
        self.vault, self.vault_key = folder / "vault", folder / "safe.pem"
        self.images.mkdir()
        registrar = live.place.directory / "offline" / "registrar.key"
        assert platemark("keygen", self.key).code == 0
        words = ("--key", self.key, "--device", f"https://devices.test/study/{name}", "--role", "gateway")
        assert self.run("enrol", *words, "--registrar", registrar).code == 0
        assert platemark("vault", "init", self.vault, "--out", self.vault_key).code == 0

    def run(self, *words: object) -> Ran:
        """A command that talks to the ledger."""
        return platemark(*words, "--server", self.live.address, "--trust", self.trust)

    @property
    def study(self) -> str:
        """The study's UID, unlike that of any other test."""
        return f"2.25.{int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], 'big')}"

    def slice(self, number: int) -> bytes:
        """A slice of the study that no other test has."""
        uid = self.study.encode()
        pixels = hashlib.sha256(f"{self.name} {number}".encode()).digest()[:24]
        return slice_of(number, pixels=pixels, more={0x0020000D: ("UI", uid + b"\0" * (len(uid) % 2))})

    def capture(self, count: int) -> None:
        """So many slices, captured, their disclosures in the vault and nowhere else."""
        for number in range(1, count + 1):
            (self.images / f"IM{number}").write_bytes(self.slice(number))
        assert self.run("capture", self.images, "--key", self.key).code == 0
        # Away from their statements, which `put` would note.
        kept = [path.rename(self.folder / path.name) for path in sorted(self.images.glob("*.disclosure"))]
        assert platemark("vault", "put", self.vault, *kept).code == 0
        for path in kept:
            path.unlink()

    def link(self) -> None:
        """What a gateway notes after it has signed."""
        with Vault(self.vault) as vault:
            for path in sorted(self.images.glob("*.statement")):
                signed = statement.decode(path.read_bytes())
                root = signed.payload["attributes"]
                assert isinstance(root, bytes)
                vault.link(root, signed.id)

    def fetch_study(self, out: Path, *more: object) -> Ran:
        """`platemark fetch --study`."""
        words = ("--study", self.study, "--vault", self.vault, "--vault-key", self.vault_key, "--out", out)
        return self.run("fetch", *words, *more)

    def verify(self, target: Path, evidence: Path) -> Ran:
        """Offline, as a set."""
        return platemark("verify", target, "--evidence", evidence, "--trust", self.trust, "--json")


@pytest.fixture(name="ward")
def _ward(live: Live, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ward:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    return Ward(live, tmp_path, "".join(each if each.isalnum() else "-" for each in request.node.name))


@pytest.mark.parametrize("linked", [True, False], ids=["linked", "from the log"])
def test_a_study_goes_to_a_patient_cd_and_is_verified(ward: Ward, *, linked: bool) -> None:
    """Captured, fetched by study from the vault, burnt, one file lost, one added: the verdict names both."""
    ward.capture(4)
    if linked:
        ward.link()
    out = ward.folder / "evidence"
    ran = ward.fetch_study(out, "--json")
    assert (ran.code, ran.json()["counts"]) == (0, {"written": 4})
    assert ("looking through the whole log" in ran.err) is not linked
    disc = ward.folder / "cd"
    (disc / "DICOM").mkdir(parents=True)
    for number in range(1, 5):
        shutil.copy(ward.images / f"IM{number}", disc / "DICOM" / f"IM{number}")
    records = [record(f"DICOM\\IM{number}", instance=f"2.25.71.{number}") for number in range(1, 5)]
    (disc / "DICOMDIR").write_bytes(dicomdir(*records))
    ran = ward.verify(disc / "DICOMDIR", out)
    assert (ran.code, ran.json()["result"]) == (0, "ALL MATCH")
    assert ran.json()["studies"] == {ward.study: {"records": 4, "matching": 4, "missing": []}}
    (disc / "DICOM" / "IM2").unlink()
    (disc / "DICOM" / "IM9").write_bytes(ward.slice(9))
    ran = ward.verify(disc, out)
    found = ran.json()
    assert (ran.code, found["extra"]) == (1, ["DICOM/IM9"])
    assert found["studies"][ward.study]["missing"] == ["2.25.71.2"]
    assert [each["path"] for each in found["directory"]["missing"]] == ["DICOM/IM2"]
    assert found["directory"]["unreferenced"] == ["DICOM/IM9"]


def test_a_study_opens_its_place_and_nothing_else(ward: Ward) -> None:
    """Study, series and instance are shown; the patient stays closed unless asked for."""
    ward.capture(1)
    ward.link()
    assert ward.fetch_study(ward.folder / "a").code == 0
    assert ward.fetch_study(ward.folder / "b", "--disclose", "patient_id").code == 0
    (closed,), (opened,) = ((ward.folder / name).iterdir() for name in "ab")
    shown = [platemark("inspect", each, "--json").out for each in (closed, opened)]
    assert ["patient_id" in each for each in shown] == [False, True]
    assert all("sop_instance_uid" in each for each in shown)


def test_a_study_is_fetched_again_without_loss(ward: Ward) -> None:
    """What is there is kept, what is not is written; --force writes all."""
    ward.capture(2)
    ward.link()
    out = ward.folder / "evidence"
    ward.fetch_study(out)
    next(out.iterdir()).unlink()
    assert ward.fetch_study(out, "--json").json()["counts"] == {"kept": 1, "written": 1}
    assert ward.fetch_study(out, "--force", "--json").json()["counts"] == {"written": 2}


def test_a_capture_that_never_reached_the_ledger_is_named(ward: Ward) -> None:
    """A disclosure in the vault whose statement the log does not have: absent, exit code 1, the others are written."""
    ward.capture(1)
    values: dict[str, attributes.AttributeValue] = {"study_instance_uid": ward.study, "sop_instance_uid": "../../etc"}
    with Vault(ward.vault) as vault:
        vault.put(attributes.commit(values))
    ran = ward.fetch_study(ward.folder / "evidence", "--json")
    assert (ran.code, ran.json()["counts"]) == (1, {"written": 1, "absent": 1})
    ward.link()
    with Vault(ward.vault) as vault:
        (lost,) = [root for root in vault.roots() if vault.statement_of(root) is None]
        vault.link(lost, bytes(32))
    ran = ward.fetch_study(ward.folder / "evidence", "--json")
    assert (ran.code, ran.json()["counts"]) == (1, {"kept": 1, "absent": 1})


def test_a_folder_gets_the_evidence_that_there_is(ward: Ward) -> None:
    """Each image its bundle; what the ledger does not know is named, and the exit code is 1."""
    ward.capture(2)
    (ward.images / "stranger.png").write_bytes(png(shade=77))
    (ward.images / "notes.txt").write_bytes(b"text")
    (ward.images / "DICOMDIR").write_bytes(dicomdir())
    ran = ward.run("fetch", ward.images, "--json")
    assert (ran.code, ran.json()["counts"]) == (1, {"written": 2, "absent": 1, "skipped": 2})
    assert "stranger.png: the ledger has no record of it" in ward.run("fetch", ward.images).out
    assert ward.run("fetch", ward.images, "--json").json()["counts"] == {"kept": 2, "absent": 1, "skipped": 2}
    for name in ("stranger.png", "DICOMDIR"):
        (ward.images / name).unlink()
    assert platemark("verify", ward.images, "--trust", ward.trust).code == 0


def test_a_folder_s_evidence_may_lie_elsewhere(ward: Ward) -> None:
    """--out takes the bundles, each in its place; --disclose opens what each image's own disclosure has."""
    (ward.images / "a").mkdir()
    (ward.images / "a" / "IM1").write_bytes(ward.slice(1))
    assert ward.run("capture", ward.images, "--key", ward.key).code == 0
    out = ward.folder / "out"
    for path in (ward.images / "a").glob("*.statement"):
        path.unlink()
    ran = ward.run("fetch", ward.images, "--out", out, "--json")
    assert (ran.code, (out / "a" / "IM1.evidence").exists()) == (0, True)
    ran = ward.run("fetch", ward.images, "--disclose", "rows", "--json")
    assert (ran.code, ran.json()["items"][0]["status"]) == (0, "written")
    ran = ward.run("fetch", ward.images, "--disclose", "camera_id", "--force", "--json")
    assert (ran.code, "not among" in ran.json()["items"][0]["reason"]) == (1, True)


def test_a_transcoded_study_needs_its_headers(ward: Ward) -> None:
    """After a lossless hop that added an element the pixels match; with --disclose-header the set does too."""
    ward.capture(2)
    ward.link()
    assert ward.fetch_study(ward.folder / "bare").code == 0
    assert ward.fetch_study(ward.folder / "full", "--disclose-header").code == 0
    hop = ward.folder / "hop"
    hop.mkdir()
    for number in (1, 2):
        uid = ward.study.encode()
        pixels = hashlib.sha256(f"{ward.name} {number}".encode()).digest()[:24]
        more: writers.Elements = {0x0020000D: ("UI", uid + b"\0" * (len(uid) % 2)), 0x00081040: ("LO", b"Archive ")}
        content = slice_of(number, pixels=pixels, syntax=writers.DEFLATED, more=more)
        (hop / f"{number}").write_bytes(content)
    assert ward.verify(hop, ward.folder / "full").code == 0
    ran = ward.verify(hop, ward.folder / "bare")
    assert (ran.code, ran.json()["counts"]["INCONCLUSIVE"]) == (3, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give an image or a folder; or --study"),
        (("--study", "2.25.1"), "--study needs --vault, --vault-key and --out"),
        (("--study", "2.25.1", "x.dcm"), "--study goes without an image"),
        (("--vault", "v", "x.dcm"), "give an image or a folder; or --study"),
        (("IMAGES", "--index", "1"), "are about one image"),
        (("IMAGES", "--frame", "1"), "are about one image"),
        (("--study", "2.25.1", "--vault", "VAULT", "--vault-key", "KEY", "--out", "o"), "has no capture of the study"),
        (("--study", "2.25.1", "--vault", "none", "--vault-key", "KEY", "--out", "o"), "none: no vault"),
    ],
)
def test_wrong_words_are_one_line(ward: Ward, words: tuple[str, ...], said: str) -> None:
    """What does not go together is told, exit code 2, and nothing is written."""
    known = {"IMAGES": ward.images, "VAULT": ward.vault, "KEY": ward.vault_key}
    ran = ward.run("fetch", *(known.get(each, each) for each in words))
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)
