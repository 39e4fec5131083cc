"""The technologist from a modality worklist: dcmtk's wlmscpfs, and worklists that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from objects import CT, kept
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from peers.dcmtk import wlmscpfs
from peers.process import free_port
from platemark.gateway._worklist_sets import Entry
from platemark.gateway.calling import Peer
from platemark.gateway.journal import Received
from platemark.gateway.worklist import REMARK, Worklist, performer
from platemark.rungs import AttributeValue, Measurement

Require = Callable[[str], Path]
FIND = "1.2.840.10008.5.1.4.31"


def item(accession: str, *names: str, study: str = "1.2.3", patient: str = "P1") -> Dataset:
    """An entry of a worklist, with a scheduled step for each name."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.AccessionNumber, made.StudyInstanceUID = accession, study
    made.PatientID, made.PatientName, made.PatientBirthDate = patient, "Doe^Jane", "19800101"
    made.RequestedProcedureID, made.RequestedProcedureDescription = "R1", "CT"
    steps = []
    for name in names:
        step = Dataset()
        step.ScheduledStationAETitle, step.Modality = "CT1", "CT"
        step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20260101", "120000"
        step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = "S1", "CT"
        step.ScheduledPerformingPhysicianName = name
        steps.append(step)
    made.ScheduledProcedureStepSequence = steps
    return made


def measured(**attributes: AttributeValue) -> Measurement:
    """An object with these attributes."""
    return Measurement(media="application/dicom", digests={}, attributes=attributes)


@pytest.fixture(name="received")
def _received(tmp_path: Path) -> Received:
    return kept(tmp_path, CT)


def at(port: int, aet: str = "WORKLIST", *, answer_s: float = 10.0) -> Worklist:
    """A worklist on loopback."""
    return Worklist(
        Peer(ae_title=aet, host="127.0.0.1", port=port, calling="PLATEMARK", connect_s=5, answer_s=answer_s)
    )


def test_the_technologist_of_the_accession_number(tmp_path: Path, require: Require, received: Received) -> None:
    """Wlmscpfs is asked for the object's accession number, and the name of its entry is taken, marked as stated there."""
    require("wlmscpfs")
    with wlmscpfs(tmp_path / "worklist") as peer:
        peer.add("one", item("A1", "Roe^Robin^^^"))
        peer.add("other", item("A2", "Poe^Paula", study="1.2.4"))
        worklist = at(peer.port, peer.aet)
        found = worklist.stated(received, measured(accession_number="A1", study_instance_uid="1.2.3", patient_id="P1"))
        assert found == {"technologist": "Roe^Robin", "remark": REMARK}
        assert worklist.stated(received, measured(accession_number="A3")) == {}
        assert worklist.stated(received, measured(accession_number="A1", patient_id="P2")) == {}
        assert worklist.stated(received, measured(patient_id="P1")) == {}


def test_the_study_serves_without_an_accession_number(tmp_path: Path, require: Require, received: Received) -> None:
    """An object without an accession number is looked for by its study, whether or not the SCP knows that key."""
    require("wlmscpfs")
    with wlmscpfs(tmp_path / "worklist") as peer:
        peer.add("one", item("A1", "Roe^Robin"))
        peer.add("other", item("A2", "Poe^Paula", study="1.2.4"))
        found = at(peer.port, peer.aet).stated(received, measured(study_instance_uid="1.2.4"))
        assert found == {"technologist": "Poe^Paula", "remark": REMARK}


def test_what_the_object_says_is_not_overruled(received: Received) -> None:
    """With a technologist in the object nobody is asked."""
    asked = at(free_port()).stated(received, measured(technologist="Doe^John", accession_number="A1"))
    assert asked == {}


ROE = Entry("A1", "1.2.3", "P1", frozenset({"Roe^Robin"}))


@pytest.mark.parametrize(
    ("entries", "name"),
    [
        ([], None),
        ([ROE], "Roe^Robin"),
        ([ROE, ROE], "Roe^Robin"),
        ([ROE, Entry("A1", "1.2.3", "P1", frozenset({"Poe^Paula"}))], None),
        ([ROE, Entry("A1", "1.2.9", "P1", frozenset({"Poe^Paula"}))], "Roe^Robin"),
        ([Entry("A1", "1.2.3", "P1", frozenset({"Roe^Robin", "Poe^Paula"}))], None),
        ([Entry("A1", "1.2.3", "P1", frozenset())], None),
        ([Entry("A1", "", "", frozenset({"Roe^Robin"}))], "Roe^Robin"),
        ([Entry("A1", "1.2.9", "P1", frozenset({"Roe^Robin"}))], None),
        ([Entry("", "1.2.3", "P1", frozenset({"Roe^Robin"}))], "Roe^Robin"),
        ([Entry("A1", "1.2.3", "P9", frozenset({"Roe^Robin"}))], None),
        ([Entry("", "", "P1", frozenset({"Roe^Robin"}))], None),
    ],
)
def test_a_name_is_taken_only_when_all_agree(entries: list[Entry], name: str | None) -> None:
    """Entries that contradict the object, or each other, give no name."""
    assert performer(entries, accession="A1", study_uid="1.2.3", patient_id="P1") == name


@contextmanager
def misbehaving(answer: Callable[[Event], Iterator[tuple[int, Dataset | None]]]) -> Iterator[int]:
    """A worklist SCP in this process; its port."""
    entity = AE(ae_title="WORKLIST")
    entity.add_supported_context(FIND)
    port = free_port()
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    try:
        yield port
    finally:
        entity.shutdown()


def test_a_study_is_asked_for_once(received: Received) -> None:
    """Six hundred slices of a study are one query."""
    asked: list[int] = []

    def answer(_: Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(1)
        yield 0xFF00, item("A1", "Roe^Robin")

    with misbehaving(answer) as port:
        worklist = at(port)
        found = [worklist.stated(received, measured(accession_number="A1")) for _ in range(600)]
    assert (len(asked), found[0]["technologist"], found[-1]) == (1, "Roe^Robin", found[0])


def test_a_worklist_that_is_away_costs_one_wait(received: Received) -> None:
    """Without an answer there is no name, and for a while nobody is asked again."""
    worklist = at(free_port())
    assert worklist.stated(received, measured(accession_number="A1")) == {}
    worklist._find = None  # type: ignore[assignment, method-assign] # would raise
    assert worklist.stated(received, measured(accession_number="A2")) == {}


def test_a_worklist_without_end_is_left(received: Received) -> None:
    """An SCP that answers for ever, whatever it is asked, gives no name."""

    def answer(event: Event) -> Iterator[tuple[int, Dataset | None]]:
        while not event.is_cancelled:
            if not event.assoc.is_established:
                return
            yield 0xFF00, item("A1", "Roe^Robin")

    with misbehaving(answer) as port:
        assert at(port).stated(received, measured(accession_number="A1")) == {}


def test_a_worklist_that_fails_gives_no_name(received: Received) -> None:
    """A failure after an answer counts as no answer."""

    def answer(_: Event) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, item("A1", "Roe^Robin")
        yield 0xA700, None

    with misbehaving(answer) as port:
        assert at(port).stated(received, measured(accession_number="A1")) == {}
