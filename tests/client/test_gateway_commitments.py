"""Storage Commitment's data sets, and the file of its requests."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from platemark.gateway._commitment_sets import (
    CommitmentError,
    Failure,
    Reference,
    Report,
    encode_report,
    new_transaction,
    read_report,
    read_request,
    write_report,
    write_request,
)
from platemark.gateway.commitments import COMMITTED, Commitments, FullError, Requester
from platemark.gateway.journal import Delivery, DeliveryState, JournalError, Received

UIDS = st.from_regex(r"(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){1,4}", fullmatch=True)
REFERENCES = st.builds(Reference, UIDS, UIDS)
REPORTS = st.builds(
    Report,
    UIDS,
    st.lists(REFERENCES, max_size=5).map(tuple),
    st.lists(st.builds(Failure, REFERENCES, st.integers(1, 0xFFFF)), max_size=5).map(tuple),
)
A, B = Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"), Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.4")
WHO = Requester("CT1", "10.0.0.7", "spiffe://hospital.example/ct1")
DUPLICATE = 0x0131


@given(UIDS, st.lists(REFERENCES, min_size=1, max_size=5))
def test_a_request_is_read_as_it_was_written(uid: str, references: list[Reference]) -> None:
    """Transaction and references survive."""
    assert read_request(write_request(uid, references)) == (uid, tuple(references))


@given(REPORTS)
def test_a_report_is_read_as_it_was_written(report: Report) -> None:
    """Type 1 without failures, type 2 with; nothing is lost, and it can be encoded in every syntax that is offered."""
    kind, content = write_report(report)
    assert (kind, read_report(content)) == (2 if report.failed else 1, report)
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        assert encode_report(report, syntax)[0] == kind


def test_transactions_differ() -> None:
    """Each is a UID of its own, of at most 64 characters."""
    made = {new_transaction() for _ in range(100)}
    assert len(made) == 100
    assert all(len(each) <= 64 and each.startswith("2.25.") for each in made)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("fault", ["no uid", "two uids", "a line", "long", "no items", "no instance", "many"])
def test_a_request_that_is_none_names_the_element(fault: str) -> None:
    """What cannot be a request is refused, with the element that is to blame."""
    content = write_request("1.2", [A] * (20_001 if fault == "many" else 1))
    if fault == "no uid":
        del content.TransactionUID
    elif fault == "two uids":
        content.TransactionUID = ["1.2", "1.3"]
    elif fault == "a line":
        content.TransactionUID = "1.2\n3"
    elif fault == "long":
        content.TransactionUID = "1." + "2" * 63
    elif fault == "no items":
        del content.ReferencedSOPSequence
    elif fault == "no instance":
        content.ReferencedSOPSequence[0] = Dataset()
    with pytest.raises(CommitmentError) as caught:
        read_request(content)
    assert caught.value.field in {"TransactionUID", "ReferencedSOPSequence", "ReferencedSOPClassUID"}


class Hand:
    """A clock that is set by hand."""

    time = 10**18

    def __call__(self) -> int:
        """The time that was set."""
        return self.time


@pytest.fixture(name="clock")
def _clock() -> Hand:
    return Hand()


@pytest.fixture(name="file")
def _file(tmp_path: Path, clock: Hand) -> Commitments:
    return Commitments(tmp_path / "commitment.sqlite", now=clock)


def test_a_request_is_there_for_another_process(file: Commitments, clock: Hand) -> None:
    """Everything about it is found again by whoever opens the file after `request` returned."""
    number = file.request("1.2", WHO, [A, B], refused=DUPLICATE)
    (found,) = Commitments(file.path, now=clock).due(10)
    assert (found.number, found.transaction_uid, found.requester) == (number, "1.2", WHO)
    assert (found.references, found.outcomes, found.decided) == ((A, B), (None, None), False)
    file.decide(number, {0: COMMITTED}, not_before_ns=clock.time + 1)
    assert file.due(10) == []
    clock.time += 1
    file.decide(number, {1: 0x0112}, not_before_ns=0)
    (found,) = file.due(10)
    assert found.report() == Report("1.2", (A,), (Failure(B, 0x0112),))
    file.reported(number)
    assert (file.due(10), file.open_requests()) == ([], 0)


def test_a_transaction_in_use_is_refused_for_its_own_requester(file: Commitments) -> None:
    """The same UID of the same AE title fails with its reason while the first is open; another AE's, or a later one, does not."""
    first = file.request("1.2", WHO, [A], refused=DUPLICATE)
    file.request("1.2", WHO, [A, B], refused=DUPLICATE)
    file.request("1.2", Requester("CT2", "10.0.0.8"), [A], refused=DUPLICATE)
    assert [each.outcomes for each in file.due(10)] == [(None,), (DUPLICATE, DUPLICATE), (None,)]
    for each in file.due(10):
        file.reported(each.number)
    assert file.request("1.2", WHO, [A], refused=DUPLICATE) > first
    assert file.due(10)[0].outcomes == (None,)


def test_a_modality_that_calls_wakes_its_own_requests(file: Commitments, clock: Hand) -> None:
    """What was put off is due at once when its very requester is there, and nobody else's."""
    other = Requester("CT1", "10.0.0.7")
    for who in (WHO, other):
        file.not_reported(file.request("1.2", who, [A], refused=DUPLICATE), not_before_ns=clock.time + 10**12)
    assert file.due(10) == []
    file.wake(WHO)
    assert [(each.requester, each.attempts) for each in file.due(10)] == [(WHO, 1)]


def test_there_is_room_for_so_many(file: Commitments, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused by name."""
    monkeypatch.setattr("platemark.gateway.commitments._MOST_REQUESTS", 2)
    for _ in range(2):
        file.request("1.2", WHO, [A], refused=DUPLICATE)
    with pytest.raises(FullError, match="2 requests"):
        file.request("1.3", WHO, [A], refused=DUPLICATE)


def delivery(number: int) -> Delivery:
    """An object that was sent."""
    received = Received(
        object_id=f"{number:032x}",
        path=Path("/x"),
        bytes=1,
        received_ns=1,
        sop_class=A.sop_class,
        sop_instance="1.2.3",
        transfer_syntax="1.2",
        calling="CT1",
        called="PLATEMARK",
        address="10.0.0.7",
    )
    return Delivery(
        received=received, destination="PACS", state=DeliveryState.SENT, attempts=1, not_before_ns=0, reason=None
    )


def test_what_was_asked_is_known_by_its_transaction(file: Commitments, clock: Hand) -> None:
    """Destination and objects come back, an instance that was sent twice with both; what was never asked is nobody's."""
    uid = file.ask("PACS", [delivery(1), delivery(2)])
    assert file.asked(uid) == ("PACS", {A: [f"{1:032x}", f"{2:032x}"]})
    assert file.asked("1.2.3") is None
    file.forget(clock.time + 1)
    assert file.asked(uid) is None


def test_another_file_is_not_taken_for_it(tmp_path: Path) -> None:
    """A file of something else is refused by name."""
    (tmp_path / "x.sqlite").write_bytes(b"not a database at all")
    with pytest.raises(JournalError, match="sqlite: "):
        Commitments(tmp_path / "x.sqlite")


def _ask_for(path: str, number: int) -> None:
    file = Commitments(Path(path))
    for each in range(20):
        file.request(f"1.{number}.{each}", WHO, [A], refused=DUPLICATE)
    file.close()


def test_processes_take_turns(tmp_path: Path) -> None:
    """Requests of several processes at once are all kept, from the first that makes the file on."""
    path = tmp_path / "commitment.sqlite"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_ask_for, args=(str(path), number)) for number in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert Commitments(path).open_requests() == 60


@pytest.mark.parametrize(
    ("bound", "who", "reason"),
    [
        ("_MOST_REQUESTS", Requester("CT2", "10.0.0.8"), "2 requests for storage commitment are open"),
        ("_MOST_OF_ONE", WHO, "2 requests of this AE title"),
        ("_MOST_REFERENCES", Requester("CT2", "10.0.0.8"), "name 2 instances"),
    ],
)
def test_requests_are_bounded_in_all_and_for_each(
    file: Commitments, monkeypatch: pytest.MonkeyPatch, bound: str, who: Requester, reason: str
) -> None:
    """Neither many requests, nor those of one title, nor long ones fill the disk; what was taken stays."""
    monkeypatch.setattr(f"platemark.gateway.commitments.{bound}", 2)
    file.request("1.1", WHO, [A], refused=DUPLICATE)
    file.request("1.2", WHO, [B], refused=DUPLICATE)
    with pytest.raises(FullError, match=reason):
        file.request("1.3", who, [A], refused=DUPLICATE)
    assert file.open_requests() == 2
