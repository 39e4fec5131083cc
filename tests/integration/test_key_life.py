"""Keys come and go while a ledger runs: revocation, rotation and loss, by the commands that people use."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, platemark, png
from integration.live import ORIGIN, Live, found

from platemark import evidence, statement, tlog_proof
from platemark.key_files import read_private, read_public
from platemark.keystate import decode_shown
from platemark.note import NoteSigner


class Hospital:
    """A ledger of its own, its offline keys, and devices with images. `live` changes with every restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = found(folder / "ledger", "--policy-keys", "3", "--threshold", "2")
        self.offline = self.place.directory / "offline"
        self.trust = self.place.directory / "trust.toml"
        self.live: Live | None = None
        self.images = 0

    @contextmanager
    def served(self, **changes: str) -> Iterator[Live]:
        """Serve until the block ends."""
        with self.place.served(**changes) as live:
            self.live = live
            yield live
        self.live = None

    def run(self, *words: object) -> Ran:
        """A command that talks to the ledger, which has to prove who it is."""
        assert self.live is not None
        return platemark(*words, "--server", self.live.address, "--trust", self.trust)

    def done(self, *words: object) -> dict[str, Any]:
        """A command that succeeds; what it says in JSON."""
        ran = self.run(*words, "--json")
        assert (ran.code, ran.err) == (0, "")
        said: dict[str, Any] = ran.json()
        return said

    def key(self, name: str, *more: object) -> Path:
        """A new key file."""
        path = self.folder / f"{name}.pem"
        assert platemark("keygen", path, *more).code == 0
        return path

    def uri(self, name: str) -> str:
        """The device's URI."""
        return f"https://hospital.test/{name}"

    def enrol(
        self, name: str, *, role: str = "modality", device: str | None = None, registrar: Path | None = None
    ) -> Path:
        """A newly enrolled key."""
        key = self.key(name)
        ran = self.enrol_key(key, device or self.uri(name), role, registrar or self.offline / "registrar.key")
        assert (ran.code, ran.err) == (0, "")
        return key

    def enrol_key(self, key: Path, device: str, role: str, registrar: Path) -> Ran:
        """An enrolment that may be refused."""
        words = ("--key", key, "--device", device, "--role", role, "--registrar", registrar)
        return self.run("enrol", *words, "--registrar-uri", self.registrar_uri(registrar))

    def registrar_uri(self, registrar: Path) -> str:
        """The URI of the founding registrar, or that of a later one by its name."""
        first = registrar.name == "registrar.key"
        return str(self.place.facts["registrar_issuer"]) if first else self.uri(registrar.stem)

    def image(self) -> Path:
        """An image that is unlike every other."""
        self.images += 1
        path = self.folder / f"image-{self.images}.png"
        path.write_bytes(png(shade=self.images))
        return path

    def capture(self, key: Path, *more: object) -> tuple[Path, dict[str, Any]]:
        """A captured image and what became of it."""
        image = self.image()
        ran = self.run("capture", image, "--key", key, "--json", *more)
        (item,) = ran.json()["items"]
        return image, item

    def fetched(self, key: Path) -> Path:
        """A captured image whose evidence lies beside it."""
        image, item = self.capture(key)
        assert item["status"] == "logged"
        assert self.run("fetch", image).code == 0
        return image

    def verdict(self, image: Path) -> dict[str, Any]:
        """Offline, from the evidence beside the image."""
        verdict: dict[str, Any] = platemark("verify", image, "--trust", self.trust, "--json").json()
        return verdict

    def statuses(self, image: Path) -> tuple[str, str, str]:
        """The result, and checks 8 and 9."""
        verdict = self.verdict(image)
        checks = {each["number"]: each["status"] for each in verdict["checks"]}
        return verdict["result"], checks[8], checks[9]

    def change_policy(self, *changes: object, signers: tuple[int, ...] = (1, 2)) -> Ran:
        """Propose, sign with these policy keys, submit."""
        proposal = self.folder / f"change-{time.monotonic_ns()}.policy"
        self.done("policy", "propose", *changes, "--out", proposal)
        signed = []
        for number in signers:
            key = self.offline / f"policy-{number}.key"
            ran = platemark("policy", "sign", proposal, "--key", key, "--yes", "--json")
            assert (ran.code, ran.err) == (0, "")
            signed.append(ran.json()["statement"])
        return self.run("policy", "submit", *signed, "--json")


@pytest.fixture(name="hospital")
def _hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Hospital(tmp_path)


def test_a_lost_device_is_revoked(hospital: Hospital) -> None:
    """The ledger takes nothing more from it; without a time stamp its records are disputed, and nothing undoes that."""
    with hospital.served():
        key = hospital.enrol("dx1")
        image = hospital.fetched(key)
        assert hospital.statuses(image) == ("MATCHES RECORD", "PASS", "NOT CHECKED")
        public = key.with_suffix(".pub")
        words = ("revoke", public, "--reason", "device-lost", "--registrar", hospital.offline / "registrar.key")
        ran = hospital.run(*words)
        assert (ran.code, "--yes goes on without asking" in ran.err) == (2, True)
        said = hospital.done(*words, "--effective", "2026-01-02T03:04:05Z", "--yes")
        assert (said["kid"], said["reason"], said["effective"]) == (
            read_public(public).kid.hex(),
            "device-lost",
            "1767323045000000000",
        )
        kept = statement.decode(Path(said["revocation"]).read_bytes())
        assert (kept.kind, kept.id.hex()) == ("revoke", said["id"])
        _, item = hospital.capture(key)
        assert (item["status"], "revoked" in item["reason"]) == ("refused", True)
        ran = hospital.run(*words, "--yes")
        assert (ran.code, "exists already" in ran.err) == (2, True)
        ran = hospital.run(*words, "--yes", "--effective", "2020-01-01", "--out", "again.revocation")
        assert (ran.code, "ALREADY_REVOKED" in ran.err) == (2, True)
        assert "INCONCLUSIVE" in hospital.run("fetch", image, "--force").out
    assert hospital.statuses(image) == ("INCONCLUSIVE", "NOT CHECKED", "NOT CHECKED")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no-such-file", "--reason", "superseded"), "neither a key id of 64 hex digits nor a file"),
        (("00" * 32, "--reason", "superseded"), "UNKNOWN_TARGET"),
        (("00" * 32, "--reason", "superseded", "--effective", "2200-01-01"), "--effective is in the future"),
        (("00" * 32, "--reason", "boredom"), "Invalid value for '--reason'"),
        (("00" * 32,), "Missing option '--reason'"),
    ],
    ids=["file", "stranger", "future", "reason", "no reason"],
)
def test_what_cannot_be_revoked_is_one_line(hospital: Hospital, words: tuple[str, ...], said: str) -> None:
    """A wrong key, time or reason is told before or by the ledger."""
    with hospital.served():
        ran = hospital.run("revoke", *words, "--registrar", hospital.offline / "registrar.key", "--yes")
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1)


def test_the_log_key_is_exchanged(hospital: Hospital) -> None:
    """A policy with both keys, a restart with the new one, a policy without the old one: old evidence stays valid throughout."""
    new = hospital.key("log-2", "--algorithm", "ed25519")
    with hospital.served():
        key = hospital.enrol("dx1")
        before = hospital.fetched(key)
        old = hospital.done("policy", "show")["log_keys"][0]["kid"]
        ran = hospital.change_policy("--add-log-key", new.with_suffix(".pub"))
        assert (ran.code, ran.json()["in_force"]) == (0, True)
        between = hospital.fetched(key)
        # The server still runs with the old key alone, so that it refuses to lose it.
        ran = hospital.change_policy("--drop-log-key", old)
        assert (ran.code, "BAD_POLICY" in ran.out) == (1, True)
    with hospital.served(LOG_KEY=str(new)):
        assert hospital.change_policy("--drop-log-key", old, signers=(3, 1)).code == 0
        shown = hospital.done("policy", "show")
        kids = {each["kid"] for each in shown["log_keys"]}
        # The ML-DSA-44 key that init made beside the old one stays.
        assert (read_public(new.with_suffix(".pub")).kid.hex() in kids, len(kids), shown["version"]) == (True, 2, 2)
        after = hospital.fetched(key)
        assert hospital.run("fetch", before, "--out", hospital.folder / "before-again.evidence").code == 0
    for image in (before, between, after):
        assert hospital.statuses(image)[0] == "MATCHES RECORD"
    again = platemark(
        "verify", before, "--evidence", hospital.folder / "before-again.evidence", "--trust", hospital.trust
    )
    assert again.code == 0
    for image, key_file in ((before, hospital.place.directory / "keys" / "log.key"), (after, new)):
        signer = NoteSigner(ORIGIN, read_private(key_file))
        bundle = evidence.from_bytes(image.with_name(image.name + ".evidence").read_bytes())
        tlog_proof.parse(bundle.record.proof).checkpoint.verify([signer.verifier])
    with pytest.raises(AssertionError, match="does not list the log key"):
        Live.start(hospital.place)


def test_one_signature_is_not_a_policy(hospital: Hospital) -> None:
    """Below the threshold nothing changes; the second signature completes it, and a third changes nothing."""
    with hospital.served():
        registrar = hospital.key("second")
        words = ("--add-registrar", registrar.with_suffix(".pub"), "--registrar-uri", hospital.uri("second"))
        proposal = hospital.folder / "second.policy"
        hospital.done("policy", "propose", *words, "--out", proposal)
        signed = [
            platemark(
                "policy", "sign", proposal, "--key", hospital.offline / f"policy-{number}.key", "--yes", "--json"
            ).json()["statement"]
            for number in (1, 2, 3)
        ]
        ran = hospital.run("policy", "submit", signed[0])
        assert (ran.code, "NOT in force" in ran.out) == (1, True)
        assert hospital.done("policy", "show")["version"] == 0
        assert hospital.run("policy", "submit", signed[1], signed[2]).code == 0
        assert len(hospital.done("policy", "show")["registrars"]) == 2


def test_a_registrar_is_exchanged_by_policy(hospital: Hospital) -> None:
    """The new one enrols, the old one no longer does, and what the old one enrolled goes on."""
    with hospital.served():
        first = hospital.enrol("dx1")
        before = hospital.fetched(first)
        second = hospital.key("second")
        words = ("--add-registrar", second.with_suffix(".pub"), "--registrar-uri", hospital.uri("second"))
        old = hospital.offline / "registrar.pub"
        assert hospital.change_policy(*words, "--drop-registrar", old).code == 0
        # Without a URI: the policy in force, not the first one, knows the new registrar.
        other = hospital.key("dx2")
        hospital.done(
            "enrol", "--key", other, "--device", hospital.uri("dx2"), "--role", "modality", "--registrar", second
        )
        ran = hospital.enrol_key(
            hospital.key("dx3"), hospital.uri("dx3"), "modality", hospital.offline / "registrar.key"
        )
        assert (ran.code, "REVOKED" in ran.err) == (2, True)
        after, still = hospital.fetched(other), hospital.fetched(first)
        revoked = ("revoke", first.with_suffix(".pub"), "--reason", "device-retired", "--yes")
        assert hospital.run(*revoked, "--registrar", hospital.offline / "registrar.key").code == 2
        Path(f"{read_public(first.with_suffix('.pub')).kid.hex()[:16]}.revocation").unlink()
        hospital.done(*revoked, "--registrar", second)
    for image in (before, after, still):
        assert hospital.statuses(image)[0] == "MATCHES RECORD"


def test_a_registrar_may_be_enrolled_and_revoked(hospital: Hospital) -> None:
    """What it enrolled before stays; an enrolment by it after its revocation is refused."""
    with hospital.served():
        second = hospital.enrol("second", role="registrar")
        image = hospital.fetched(hospital.enrol("dx1", registrar=second))
        hospital.done(
            "revoke",
            second.with_suffix(".pub"),
            "--reason",
            "key-compromise",
            "--registrar",
            hospital.offline / "registrar.key",
            "--yes",
        )
        ran = hospital.enrol_key(hospital.key("dx2"), hospital.uri("dx2"), "modality", second)
        assert (ran.code, "REVOKED" in ran.err) == (2, True)
        assert hospital.run("fetch", image, "--force").code == 0
    assert hospital.statuses(image)[0] == "MATCHES RECORD"


def test_a_device_gets_a_new_key(hospital: Hospital) -> None:
    """Both keys are the same device; the old one is revoked as superseded and takes nothing from the new one."""
    with hospital.served():
        old = hospital.enrol("dx1-old", device=hospital.uri("dx1"))
        hospital.fetched(old)
        new = hospital.enrol("dx1-new", device=hospital.uri("dx1"))
        both = [hospital.capture(key)[1]["status"] for key in (old, new)]
        registrar = ("--registrar", hospital.offline / "registrar.key")
        hospital.done("revoke", old.with_suffix(".pub"), "--reason", "superseded", *registrar, "--yes")
        image = hospital.fetched(new)
        assert both == ["logged", "logged"]
        assert hospital.capture(old)[1]["status"] == "refused"
    verdict = hospital.verdict(image)
    assert (verdict["result"], verdict["facts"]["device"]) == ("MATCHES RECORD", hospital.uri("dx1"))


def test_a_device_that_was_set_up_anew_opens_an_epoch(hospital: Hospital) -> None:
    """Its key came back from a backup and its state did not: no fork, no gap, a greater epoch."""
    with hospital.served():
        key = hospital.enrol("dx1")
        first, item = hospital.capture(key)
        hospital.capture(key)
        key.with_name(key.name + ".state").unlink()
        # An epoch is the second in which it was opened, and a machine takes longer to set up.
        second = time.time_ns() // 10**9
        while time.time_ns() // 10**9 == second:
            pass
        again, other = hospital.capture(key, "--device", hospital.uri("dx1"))
    assert (item["status"], other["status"], other["conditions"]) == ("logged", "logged", [])
    before, after = (statement.decode(Path(f"{image}.statement").read_bytes()) for image in (first, again))
    assert (before.seq, after.seq, after.prev) == (0, 0, None)
    assert before.epoch is not None
    assert after.epoch is not None
    assert before.epoch < after.epoch


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_log_states_its_keys(hospital: Hospital, workers: str) -> None:
    """After a change one keystate by the log itself, whichever worker took the enrolment; none when it is switched off."""
    with hospital.served(KEYSTATE_INTERVAL="3600", WORKERS=workers) as live:
        key = hospital.enrol("dx1")
        client = live.client()
        deadline = time.monotonic() + 60
        while not (stated := list(client.list_statements(kind="keystate"))) and time.monotonic() < deadline:
            pass
        hospital.enrol("dx2")
        while len(stated) < 2 and time.monotonic() < deadline:
            stated = list(client.list_statements(kind="keystate"))
        first, second = (statement.decode(each.statement) for each in stated)
        assert [each.index for each in stated] == [3, 5]
        assert (first.payload["size"], first.payload["count"], first.seq) == (3, 1, 0)
        assert (second.payload["size"], second.payload["count"], second.prev) == (5, 2, first.id)
        image = hospital.fetched(key)
    held = evidence.from_bytes(image.with_name(image.name + ".evidence").read_bytes())
    assert held.keystate is not None
    assert statement.decode(held.keystate.proven.statement).id == second.id
    shown = decode_shown(held.keystate.leaf)
    root, count = second.payload["root"], second.payload["count"]
    assert isinstance(root, bytes)
    assert isinstance(count, int)
    shown.verify(root=root, count=count)
    assert (shown.leaf.kid, shown.leaf.revoked) == (read_public(key.with_suffix(".pub")).kid, None)
