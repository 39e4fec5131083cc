"""The vault on the command line, with a spool and without a network: what leaves, what is refused, and what is never shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from commands import Case, Ran, case, ct, platemark

import builders
from platemark import attributes, key_files, statement
from platemark.cli import revoke
from platemark.rungs import HEADER_BINDING
from platemark.spool import Spool
from platemark.vault import release as releases
from platemark.vault import request as requests

PATIENT = "Doe^Jane"


@dataclass
class Office:
    """A holder with a vault, one registered image and an operator; and an insurer with a key."""

    folder: Path
    case: Case

    def path(self, name: str) -> Path:
        """A file of this office."""
        return self.folder / name

    def ask(self, *more: object, names: str = "patient_name", out: str = "r.request") -> Ran:
        """`vault request` with the evidence."""
        words = ("--evidence", self.case.evidence, "--attributes", names, "--purpose", "claim 4711")
        return platemark("vault", "request", *words, "--key", self.path("insurer.pem"), "--out", self.path(out), *more)

    def answer(self, *more: object, out: str = "r.release", asked: str = "r.request") -> Ran:
        """`vault release` to a spool."""
        words: tuple[object, ...] = ("--vault", self.path("vault"), "--vault-key", self.path("vault.pem"))
        words += ("--key", self.path("operator.pem"), "--device", "https://hospital.example/operator")
        words += ("--spool", self.path("spool"), "--trust", self.case.trust, "--out", self.path(out))
        return platemark("vault", "release", self.path(asked), *words, *more)

    @property
    def known(self) -> tuple[object, ...]:
        """What makes an answer possible: who may ask, and whose captures these are."""
        return ("--requesters", self.path("insurer.pub"), "--signers", self.path("device.pub"), "--yes")

    def spooled(self) -> list[statement.Statement]:
        """The records that wait for the ledger."""
        with Spool(self.path("spool")) as spool:
            return [statement.decode(each.raw) for each in spool.pending(100)]


@pytest.fixture(name="office")
def _office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    for name in ("PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_VAULT_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    made = case(tmp_path, ct(patient=PATIENT), name="scan.dcm")
    office = Office(tmp_path, made)
    office.path("scan.dcm.disclosure").write_bytes(made.disclosure.to_bytes())
    key_files.write_public(office.path("device.pub"), builders.MODALITY.key.private)
    for key in ("insurer.pem", "operator.pem"):
        assert platemark("keygen", office.path(key)).code == 0
    assert platemark("vault", "init", office.path("vault"), "--out", office.path("vault.pem")).code == 0
    assert platemark("vault", "put", office.path("vault"), office.path("scan.dcm.disclosure")).code == 0
    return office


def test_one_attribute_from_its_holder_to_whoever_asked(office: Office) -> None:
    """Request, release, show and verify: the value arrives, proven, and the record waits in the spool."""
    ran = office.ask("--name", "Example Insurance", "--json")
    assert (ran.code, ran.json()["attributes"], ran.json()["says_to_be"]) == (0, ["patient_name"], "Example Insurance")
    ran = office.answer(*office.known)
    assert (ran.code, "in the spool" in ran.out) == (0, True)
    found = releases.decode(office.path("r.release").read_bytes())
    assert [found.custody.id] == [each.id for each in office.spooled()]
    assert (found.custody.log, found.custody.issuer) == (office.case.log.id, "https://hospital.example/operator")
    ran = platemark("vault", "show", office.path("r.release"), "--json")
    assert (ran.code, ran.json()["values"]) == (0, {"patient_name": PATIENT})
    assert ran.json()["purpose"] == "claim 4711"
    assert not ran.json()["custody_signature_checked"]
    ran = platemark("vault", "show", office.path("r.release"), "--signers", office.path("operator.pub"))
    assert (ran.code, "custody signature checked  yes" in ran.out, PATIENT in ran.out) == (0, True, True)
    ran = platemark("vault", "show", office.path("r.release"), "--signers", office.path("insurer.pub"))
    assert (ran.code, "not among the signers" in ran.err) == (2, True)
    verdict = office.case.verify("--disclosure", office.path("r.release"), "--json").json()
    assert (verdict["disclosed"], verdict["checks"][12]["status"]) == ({"patient_name": PATIENT}, "PASS")
    assert office.case.verify("--json").json()["disclosed"] == {}


def test_what_is_released_joins_what_the_evidence_shows(tmp_path: Path) -> None:
    """Half of the header in the bundle and half beside it clear a copy of which only the pixels match."""
    names = sorted(HEADER_BINDING)
    made = case(tmp_path, ct(patient=PATIENT), name="scan.dcm", open_names=tuple(names[:5]))
    beside = tmp_path / "more.disclosure"
    beside.write_bytes(made.disclosure.open(*names[5:]).to_bytes())
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(ct(patient=PATIENT).replace(b"2.25.71\0", b"2.25.72\0"))
    assert made.verify("--evidence", made.evidence, "--json", image=copy).json()["result"] == "INCONCLUSIVE"
    shown = made.verify("--evidence", made.evidence, "--disclosure", beside, "--json", image=copy).json()
    assert (shown["result"], shown["rung"], sorted(shown["disclosed"])) == ("MATCHES RECORD", "pixels", names)


def test_a_disclosure_of_something_else_is_no_verdict(office: Office, tmp_path: Path) -> None:
    """A release of another capture and an unreadable file are exit code 2; values that do not belong are check 13."""
    office.ask()
    office.answer(*office.known)
    other = tmp_path / "other"
    other.mkdir()
    theirs = case(other, ct(patient="Roe^Jim"), name="scan.dcm")
    ran = theirs.verify("--disclosure", office.path("r.release"))
    assert (ran.code, "a release of another capture" in ran.err, ran.err.count("\n")) == (2, True, 1)
    junk = tmp_path / "junk"
    junk.write_bytes(b"\xa5\x61v\x01")
    assert (theirs.verify("--disclosure", junk).code, theirs.verify("--disclosure", theirs.image).code) == (2, 2)
    foreign = theirs.verify("--disclosure", office.path("scan.dcm.disclosure"), "--json")
    assert (foreign.code, foreign.json()["checks"][12]["status"], foreign.json()["disclosed"]) == (4, "FAIL", {})


@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        ("patient_name", ("--requesters", "operator.pub", "--signers", "device.pub"), "not among the requesters"),
        ("kvp", ("--requesters", "insurer.pub", "--signers", "device.pub"), "did not commit to kvp"),
        ("patient_name", ("--requesters", "insurer.pub", "--signers", "operator.pub"), "not among the signers"),
        ("patient_name", ("--requesters", "insurer.pub"), "give --signers, or --evidence with --trust"),
    ],
    ids=["unknown asker", "uncommitted attribute", "unknown device", "unproven capture"],
)
def test_refused_requests_leave_nothing(office: Office, names: str, words: tuple[str, ...], said: str) -> None:
    """Exit code 1 and one line; no release, no record, no place in the operator's chain used up, no value shown."""
    assert office.ask(names=names).code == 0
    given = [office.path(word) if word.endswith(".pub") else word for word in words]
    plain, scripted = (office.answer(*given, "--yes", *more) for more in ((), ("--json",)))
    for ran in (plain, scripted):
        assert (ran.code, said in ran.err, ran.err.count("\n"), PATIENT in ran.out + ran.err) == (1, True, 1, False)
    assert scripted.json()["error"]["code"] == "request-refused"
    assert not office.path("r.release").exists()
    assert office.spooled() == []


def test_an_expired_request_is_refused(office: Office) -> None:
    """What was asked for long ago is not answered today."""
    insurer = key_files.read_private(office.path("insurer.pem"))
    record = office.case.log.statements[-1]
    old = requests.build(insurer, capture=record, attributes=["patient_name"], purpose="x", at=1, expires=2)
    office.path("old.request").write_bytes(old.raw)
    ran = office.answer(*office.known, asked="old.request")
    assert (ran.code, "expired at" in ran.err) == (1, True)


def test_a_forged_capture_is_refused(office: Office) -> None:
    """A statement that the asker made up around the root of a real capture would make a false record."""
    insurer = key_files.read_private(office.path("insurer.pem"))
    forged = statement.build(
        "capture",
        {**statement.decode(office.case.log.statements[-1]).payload, "captured": 5},
        signer=insurer,
        issuer=builders.MODALITY.uri,
    )
    office.path("forged.statement").write_bytes(forged)
    words = ("--statement", office.path("forged.statement"), "--attributes", "patient_name", "--purpose", "x")
    asked = office.path("forged.request")
    assert platemark("vault", "request", *words, "--key", office.path("insurer.pem"), "--out", asked).code == 0
    ran = office.answer(*office.known, asked="forged.request")
    assert (ran.code, "not among the signers" in ran.err) == (1, True)
    proven = ("--requesters", office.path("insurer.pub"), "--evidence", office.case.evidence, "--yes")
    ran = office.answer(*proven, asked="forged.request")
    assert (ran.code, "another capture than the evidence" in ran.err) == (1, True)
    office.ask()
    assert office.answer(*proven).code == 0


def test_a_noted_statement_is_known(office: Office) -> None:
    """Put with its statement beside it, a capture needs no list of devices; a request for another statement is refused."""
    office.ask()
    words = ("--requesters", office.path("insurer.pub"), "--yes")
    assert office.answer(*words).code == 1
    office.path("scan.dcm.statement").write_bytes(office.case.log.statements[-1])
    ran = platemark("vault", "put", office.path("vault"), office.path("scan.dcm.disclosure"), "--json")
    assert (ran.code, ran.json()["noted"], ran.json()["count"]) == (0, 1, 1)
    assert office.answer(*words).code == 0
    payload = {**statement.decode(office.case.log.statements[-1]).payload, "captured": 5}
    insurer = key_files.read_private(office.path("insurer.pem"))
    forged = statement.build("capture", payload, signer=insurer, issuer=builders.MODALITY.uri)
    office.path("scan.dcm.statement").write_bytes(forged)
    ran = office.ask("--statement", office.path("scan.dcm.statement"), out="second.request")
    assert ran.code == 2
    asked = requests.build(insurer, capture=forged, attributes=["patient_name"], purpose="x", at=time.time_ns(),
                           expires=time.time_ns() + 10**12)  # fmt: skip
    office.path("second.request").write_bytes(asked.raw)
    ran = office.answer(*words, asked="second.request", out="second.release")
    assert (ran.code, "it names another" in ran.err) == (1, True)


def test_anybody_may_be_answered_when_the_holder_says_so(office: Office) -> None:
    """Without a list the holder has to say that none is meant; both or neither is a usage error."""
    office.ask()
    signers = ("--signers", office.path("device.pub"), "--yes")
    assert office.answer(*signers).code == 2
    assert office.answer(*office.known, "--accept-any-requester").code == 2
    assert office.answer(*signers, "--accept-any-requester").code == 0


def test_a_person_is_shown_what_leaves(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for what of which capture and why, and no value; a no leaves nothing."""
    shown: list[str] = []

    def no(lines: list[str], *, yes: bool) -> None:
        assert not yes
        shown.extend(lines)
        raise KeyboardInterrupt

    office.ask("--name", "Example Insurance")
    listed = office.path("list.pem")
    listed.write_text("# Insurance of the north\n" + office.path("insurer.pub").read_text())
    monkeypatch.setattr("platemark.cli.vault_handover.confirm", no)
    words = ("--requesters", listed, "--signers", office.path("device.pub"))
    assert office.answer(*words).code == 130
    text = "\n".join(shown)
    for said in ("patient_name", "claim 4711", "Example Insurance", "Insurance of the north", builders.MODALITY.uri):
        assert said in text
    assert PATIENT not in text
    assert (office.path("r.release").exists(), office.spooled()) == (False, [])
    monkeypatch.setattr("platemark.cli.vault_handover.confirm", revoke.confirm)
    ran = office.answer(*words)
    assert (ran.code, "there is no terminal" in ran.err) == (2, True)


def test_no_value_in_what_a_release_says(office: Office) -> None:
    """Neither text nor JSON nor errors of `release` and `request` hold a value; only `show` does."""
    ran = office.ask(names="patient_name,patient_id,study_instance_uid")
    said = ran.out + ran.err
    for number, more in enumerate(((), ("--json",))):
        ran = office.answer(*office.known, *more, out=f"{number}.release")
        assert ran.code == 0
        said += ran.out + ran.err
    said += platemark("vault", "list", office.path("vault"), "--json").out
    for value in (PATIENT, "Doe", "2.25.9", "P1\n"):
        assert value not in said


def test_inspect_knows_the_files(office: Office) -> None:
    """`platemark inspect` tells a request and a release, and keeps values closed until it is asked to reveal them."""
    office.ask()
    office.answer(*office.known)
    shown = platemark("inspect", office.path("r.request"), "--json").json()
    assert (shown["file"], shown["purpose"]) == ("request to a vault", "claim 4711")
    ran = platemark("inspect", office.path("r.release"))
    assert (ran.code, "release from a vault" in ran.out, PATIENT in ran.out) == (0, True, False)
    assert platemark("inspect", office.path("r.release"), "--reveal", "--json").json()["values"] == {
        "patient_name": PATIENT
    }


def test_secret_files_are_the_owners_alone(office: Office) -> None:
    """Key, vault, request, release, exported disclosure: 0600."""
    office.ask()
    office.answer(*office.known)
    words = ("--vault", office.path("vault"), "--vault-key", office.path("vault.pem"), "--out", office.path("opened"))
    assert platemark("vault", "export", *words, "--root", office.case.disclosure.root().hex()).code == 0
    (opened,) = office.path("opened").iterdir()
    assert attributes.decode_disclosure(opened.read_bytes()) == office.case.disclosure
    for path in (opened, office.path("vault.pem"), office.path("r.request"), office.path("r.release")):
        assert path.stat().st_mode & 0o777 == 0o600


def test_list_and_export_by_study(office: Office) -> None:
    """A study's captures are found without the private key, and opened with it."""
    root = office.case.disclosure.root()
    ran = platemark("vault", "list", office.path("vault"), "--study", "2.25.9")
    assert (ran.code, ran.out) == (0, root.hex() + "\n")
    ran = platemark("vault", "list", office.path("vault"), "--study", "2.25.10")
    assert (ran.code, ran.out, "nothing is found" in ran.err) == (1, "", True)
    words = ("--vault", office.path("vault"), "--vault-key", office.path("vault.pem"), "--out", office.path("opened"))
    assert platemark("vault", "export", *words, "--sop-instance", "2.25.71", "--json").code == 0
    ran = platemark("vault", "export", *words, "--study", "2.25.9")
    assert (ran.code, "exists already" in ran.err) == (2, True)
    ran = platemark("vault", "export", *words, "--study", "9.9")
    assert (ran.code, "no capture of that study" in ran.err) == (2, True)
    assert platemark("vault", "export", *words).code == 2
    assert platemark("vault", "export", *words, "--root", "12").code == 2


def test_erased_and_noted(office: Office) -> None:
    """The values are gone, requests are refused, and a note of it waits in the spool; again is harmless."""
    record = office.path("scan.statement")
    record.write_bytes(office.case.log.statements[-1])
    words: tuple[object, ...] = ("--vault", office.path("vault"), "--vault-key", office.path("vault.pem"))
    words += ("--statement", record, "--note-key", office.path("operator.pem"))
    words += (
        "--device",
        "https://hospital.example/operator",
        "--spool",
        office.path("spool"),
        "--trust",
        office.case.trust,
    )
    ran = platemark("vault", "erase", *words)
    assert (ran.code, "there is no terminal" in ran.err) == (2, True)
    ran = platemark("vault", "erase", *words, "--yes", "--json")
    assert (ran.code, ran.json()["erased"], ran.json()["noted"]) == (0, 1, True)
    (note,) = office.spooled()
    assert (note.kind, note.payload["topic"]) == ("note", "erasure")
    assert note.payload["of"] == [statement.decode(record.read_bytes()).id]
    office.ask()
    ran = office.answer(*office.known)
    assert (ran.code, "was erased from it" in ran.err) == (1, True)
    ran = platemark("vault", "put", office.path("vault"), office.path("scan.dcm.disclosure"))
    assert (ran.code, "was erased here" in ran.err) == (2, True)
    assert platemark("vault", "erase", *words, "--yes").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("init", "new"), "give --out"),
        (("init", "new", "--out", "a.pem", "--recipient", "b.pub"), "give --out"),
        (("init", "new", "--out", "new/a.pem"), "within the vault"),
        (("init", "new", "--out", "a.pub"), "its public key"),
        (("init", "new", "--out", "insurer.pem"), "its public key"),
        (("init", "vault", "--recipient", "vault.pub"), "a vault already"),
        (("init", "new", "--recipient", "insurer.pub"), "of another type"),
        (("init", "new", "--recipient", "vault.pem"), "this is a private key"),
        (("put", "vault", "scan.dcm"), "disclosure"),
        (("put", "gone", "scan.dcm.disclosure"), "no vault"),
        (("list", "gone"), "no vault"),
        (("show", "scan.dcm"), "release"),
        (("show", "scan.dcm.disclosure"), "release"),
        (("release", "r.request", "--vault", "vault", "--vault-key", "operator.pem"), "Missing option"),
        (("export", "--vault", "vault", "--vault-key", "operator.pem", "--out", "o", "--study", "1"), "a signing key"),
        (
            ("export", "--vault", "vault", "--vault-key", "vault.pub", "--out", "o", "--study", "1"),
            "this is a public key",
        ),
        (
            ("erase", "--vault", "vault", "--vault-key", "vault.pem", "--study", "1", "--note-key", "k"),
            "give --statement",
        ),
    ],
    ids=lambda value: "-".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line(
    office: Office, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    """Exit code 2, and the line says what is wrong."""
    monkeypatch.chdir(office.folder)
    ran = platemark("vault", *words)
    assert (ran.code, said in ran.err, ran.err.count("\n")) == (2, True, 1), ran.err


def test_a_passphrase_guards_the_private_key(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made with a passphrase, the key opens with it alone: from a file, or from its own environment variable."""
    secret = office.path("secret.txt")
    secret.write_text("correct horse\n")
    place, key = office.path("second"), office.path("second.pem")
    ran = platemark("vault", "init", place, "--out", key, "--passphrase-file", secret, "--json")
    assert (ran.code, ran.json()["encrypted"], b"ENCRYPTED" in key.read_bytes()) == (0, True, True)
    assert platemark("vault", "put", place, office.path("scan.dcm.disclosure")).code == 0
    words = (
        "vault",
        "export",
        "--vault",
        place,
        "--vault-key",
        key,
        "--study",
        "2.25.9",
        "--force",
        "--out",
        office.path("o"),
    )
    ran = platemark(*words)
    assert (ran.code, "--vault-passphrase-file FILE or PLATEMARK_VAULT_PASSPHRASE" in ran.err) == (2, True)
    assert platemark(*words, "--vault-passphrase-file", secret).code == 0
    monkeypatch.setenv("PLATEMARK_VAULT_PASSPHRASE", "correct horse")
    assert platemark(*words).code == 0
    monkeypatch.setenv("PLATEMARK_VAULT_PASSPHRASE", "wrong")
    ran = platemark(*words)
    assert (ran.code, "the passphrase is wrong" in ran.err) == (2, True)


def test_a_full_spool_holds_the_release_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the record cannot be kept, nothing leaves."""
    office.ask()
    original = Spool.__init__

    def tiny(self: Spool, directory: Path) -> None:
        original(self, directory, capacity=1)

    monkeypatch.setattr(Spool, "__init__", tiny)
    assert office.answer(*office.known).code == 0
    ran = office.answer(*office.known, out="second.release")
    assert (ran.code, "full" in ran.err) == (2, True)
    assert not office.path("second.release").exists()
    assert len(office.spooled()) == 1


def test_request_needs_one_capture(office: Office) -> None:
    """Evidence or statement, a known name, a readable key."""
    record = office.path("scan.statement")
    record.write_bytes(office.case.log.statements[-1])
    assert office.ask("--statement", record).code == 2
    ran = office.ask(names="shoe_size")
    assert (ran.code, "shoe_size is not in the registry" in ran.err) == (2, True)
    assert "(is it technologist" in office.ask(names="technologists").err
    assert office.ask().code == 0
    ran = office.ask()
    assert (ran.code, "exists already" in ran.err) == (2, True)
    shown = platemark("vault", "show", office.path("r.request"))
    assert (shown.code, "claim 4711" in shown.out) == (0, True)
    asked = requests.decode(office.path("r.request").read_bytes())
    assert cast("bytes", asked.capture.payload["attributes"]) == office.case.disclosure.root()
