"""Later statements about a record: who else signed, what of it is relied on, and that the verdict never changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import platemark

from builders import MODALITY, NOW, REGISTRAR, Log, party
from platemark import statement, trust
from platemark.attributes import commit
from platemark.errors import EvidenceError
from platemark.evidence import Evidence
from platemark.references import refer
from platemark.verdict import Reference

PERSON = party("person")


class Scene:
    """A capture, and a person who attests it."""

    def __init__(self) -> None:
        self.log = Log()
        self.enrolled = self.log.enrol(MODALITY)
        self.badge = self.log.enrol(PERSON, role="operator")
        self.capture = self.log.capture()
        self.record = statement.decode(self.log.statements[self.capture]).id
        self.named = commit({"technologist": "Roe^Richard"}, key=bytes(32))

    def attest(self, of: bytes | None = None, *, at: int = NOW + 5, kind: str = "attest", **more: object) -> int:
        """Log what the person says of a capture."""
        says = {"attest": {"meaning": "performed"}, "custody": {"event": "exported"}}.get(kind, {"topic": "remark"})
        payload = {"at": at, "log": self.log.id, "of": of or self.record, **says, **more}
        return self.log.say(kind, payload, by=PERSON)  # type: ignore[arg-type]

    def evidence(self, index: int, **more: object) -> Evidence:
        """The evidence of one statement of the person."""
        return self.log.evidence(index, enrolments=[self.badge], **more)  # type: ignore[arg-type]

    def refer(self, *bundles: Evidence, trusted: bool = True) -> tuple[Reference, ...]:
        """What a reader who trusts the log makes of them."""
        named = [(f"{number}.evidence", each) for number, each in enumerate(bundles)]
        return refer(self.record, named, trust=self.log.trust() if trusted else None, at=NOW + 10)


@pytest.fixture(name="scene")
def _scene() -> Scene:
    return Scene()


def test_an_attestation_is_relied_on_when_its_own_evidence_holds(scene: Scene) -> None:
    """Who, what, where in the log and the facts that were disclosed with it."""
    index = scene.attest(attributes=scene.named.root())
    (said,) = scene.refer(scene.evidence(index, disclosure=scene.named))
    assert said.fault is None
    assert (said.kind, said.says, said.by, said.index) == ("attest", "performed", PERSON.uri, index)
    assert (said.stated_time, said.disclosed) == (NOW + 5, {"technologist": "Roe^Richard"})


def test_without_trust_nothing_is_relied_on(scene: Scene) -> None:
    """A reader who believes no log is told what the statement says and why it counts for nothing."""
    (said,) = scene.refer(scene.evidence(scene.attest()), trusted=False)
    assert (said.index, said.disclosed) == (None, {})
    assert "no trust file" in str(said.fault)


def test_a_forged_attestation_is_shown_and_not_relied_on(scene: Scene) -> None:
    """A signature of another key, and a proof of another leaf, are named as the fault."""
    good = scene.evidence(scene.attest())
    other = scene.attest(at=NOW + 6)
    swapped = replace(good, record=replace(good.record, proof=scene.evidence(other).record.proof))
    unsigned = bytearray(good.record.statement)
    unsigned[-1] ^= 1
    forged = replace(good, record=replace(good.record, statement=bytes(unsigned)))
    for bundle in (swapped, forged):
        (said,) = scene.refer(bundle)
        assert said.fault is not None
        assert said.index is None


def test_the_devices_own_key_cannot_attest(scene: Scene) -> None:
    """A key with the role modality may not sign as a person: the role is what makes the signature a person's."""
    payload = {"at": NOW + 5, "log": scene.log.id, "of": scene.record, "meaning": "performed"}
    index = scene.log.say("attest", payload, by=MODALITY)  # type: ignore[arg-type]
    (said,) = scene.refer(scene.log.evidence(index, enrolments=[scene.enrolled]))
    assert "role" in str(said.fault)


def test_custody_is_shown_too_in_the_order_of_the_log(scene: Scene) -> None:
    """Whatever order the files come in."""
    attested, moved = scene.attest(), scene.attest(kind="custody", at=NOW + 6)
    said = scene.refer(scene.evidence(moved), scene.evidence(attested))
    assert [(each.kind, each.says) for each in said] == [("attest", "performed"), ("custody", "exported")]


def test_a_statement_about_another_record_is_refused_by_name(scene: Scene) -> None:
    """Evidence that is not about the record is unreadable input, never a silent nothing."""
    elsewhere = scene.attest(of=bytes(32))
    with pytest.raises(EvidenceError, match=r"0\.evidence: .*about another record"):
        scene.refer(scene.evidence(elsewhere))
    with pytest.raises(EvidenceError, match="kind capture, which says nothing about another one"):
        scene.refer(scene.log.evidence(scene.capture, enrolments=[scene.enrolled]))


@pytest.fixture(name="files")
def _files(scene: Scene, tmp_path: Path) -> Path:
    (tmp_path / "scan.bin").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    held = scene.log.evidence(scene.capture, enrolments=[scene.enrolled])
    (tmp_path / "scan.bin.evidence").write_bytes(held.to_bytes())
    attested = scene.evidence(scene.attest(attributes=scene.named.root()), disclosure=scene.named)
    (tmp_path / "attest.evidence").write_bytes(attested.to_bytes())
    (tmp_path / "trust.toml").write_text(trust.to_toml(scene.log.trusted()))
    return tmp_path


def test_the_command_shows_who_signed_and_keeps_the_verdict(files: Path) -> None:
    """The same result and checks with and without the attestation; the person's name only with it."""
    words = ("verify", files / "scan.bin", "--trust", files / "trust.toml", "--at", NOW + 10)
    alone = platemark(*words, "--json")
    both = platemark(*words, "--json", "--also", files / "attest.evidence")
    assert both.code == alone.code
    shown = both.json()
    (said,) = shown.pop("references")
    assert json.dumps(shown) == json.dumps(alone.json())
    assert (said["by"], said["disclosed"]) == (PERSON.uri, {"technologist": "Roe^Richard"})
    text = platemark(*words, "--also", files / "attest.evidence").out
    assert f"attest performed    by {PERSON.uri}, leaf" in text


def test_a_broken_file_of_a_later_statement_is_named(files: Path) -> None:
    """Exit code 2 and the name of the file."""
    (files / "broken.evidence").write_bytes(b"PK")
    words = ("verify", files / "scan.bin", "--trust", files / "trust.toml", "--also", files / "broken.evidence")
    ran = platemark(*words)
    assert ran.code == 2
    assert "broken.evidence" in ran.err


def test_a_registrar_cannot_speak_for_a_person(scene: Scene) -> None:
    """Enrolled as registrar, a key signs enrolments and no attestation."""
    payload = {"at": NOW + 5, "log": scene.log.id, "of": scene.record, "meaning": "performed"}
    index = scene.log.say("attest", payload, by=REGISTRAR)  # type: ignore[arg-type]
    (said,) = scene.refer(scene.log.evidence(index, enrolments=[]))
    assert said.fault is not None
