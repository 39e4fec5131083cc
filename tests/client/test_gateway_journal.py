"""The journal of the gateway: what was acknowledged, and how far it is."""

from __future__ import annotations

import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from platemark.gateway.journal import Capture, DeliveryState, Journal, JournalError, Received

A_MINUTE = 60 * 10**9


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1_000 * A_MINUTE

    def __call__(self) -> int:
        """The time that was set."""
        return self.time


def received(number: int, **changes: object) -> Received:
    """An object, its fields made of a number."""
    made = Received(
        object_id=f"{number:032x}",
        path=Path(f"/var/lib/gateway/objects/{number:032x}.dcm"),
        bytes=100 + number,
        received_ns=number * A_MINUTE,
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        sop_instance=f"1.2.3.{number}",
        transfer_syntax="1.2.840.10008.1.2.1",
        calling="CT1",
        called="PLATEMARK",
        address="10.0.0.7",
        certificate="spiffe://hospital.example/ct1",
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields by name


@pytest.fixture(name="clock")
def _clock() -> Hand:
    return Hand()


@pytest.fixture(name="journal")
def _journal(tmp_path: Path, clock: Hand) -> Journal:
    return Journal(tmp_path / "journal.sqlite", destinations=["PACS", "BACKUP"], now=clock)


def test_what_was_added_is_there_for_another_process(journal: Journal, clock: Hand) -> None:
    """An object is found again, field by field, by whoever opens the file after `add` returned."""
    journal.add(received(1))
    other = Journal(journal.path, now=clock)
    assert [received(1)] == other.to_capture(10) == other.unsettled()
    standing = other.get(received(1).object_id)
    assert standing is not None
    assert (standing.capture, standing.statement_id, standing.reason) == (Capture.WAITING, None, None)
    assert [(each.destination, each.state, each.attempts) for each in standing.deliveries] == [
        ("BACKUP", DeliveryState.WAITING, 0),
        ("PACS", DeliveryState.WAITING, 0),
    ]


def test_objects_are_captured_in_the_order_of_their_arrival(journal: Journal) -> None:
    """`to_capture` gives the oldest first and none twice."""
    for number in (3, 1, 2):
        journal.add(received(number))
    assert [int(each.object_id, 16) for each in journal.to_capture(2)] == [3, 1]
    journal.captured(received(3).object_id, b"s" * 32, digest=b"d" * 32, study_uid="1.2", accession="A1")
    assert [int(each.object_id, 16) for each in journal.to_capture(5)] == [1, 2]
    standing = journal.get(received(3).object_id)
    assert standing is not None
    assert (
        standing.received.study_uid,
        standing.received.accession,
        standing.statement_id,
    ) == ("1.2", "A1", b"s" * 32)


def test_a_failed_capture_blocks_nobody_and_is_kept(journal: Journal) -> None:
    """What cannot be captured leaves the line, stays in the counts and comes back on the operator's word."""
    for number in (1, 2):
        journal.add(received(number))
    journal.capture_failed(received(1).object_id, "its file is gone")
    assert [received(2)] == journal.to_capture(10)
    assert (journal.counts().failed, journal.counts().uncaptured) == (1, 1)
    journal.captured(received(2).object_id, b"s" * 32)
    for each in ("PACS", "BACKUP"):
        for number in (1, 2):
            journal.forwarded(received(number).object_id, each)
    assert [int(each.object_id, 16) for each in journal.settled(10)] == [2]
    journal.retry_capture(received(1).object_id)
    assert [received(1)] == journal.to_capture(10)


def test_a_captured_object_never_goes_back(journal: Journal) -> None:
    """Neither a failure nor another statement changes what was captured."""
    journal.add(received(1))
    journal.captured(received(1).object_id, b"s" * 32)
    journal.captured(received(1).object_id, b"t" * 32)
    journal.capture_failed(received(1).object_id, "late")
    journal.retry_capture(received(1).object_id)
    standing = journal.get(received(1).object_id)
    assert standing is not None
    assert (standing.capture, standing.statement_id, standing.reason) == (Capture.CAPTURED, b"s" * 32, None)


def test_delivery_waits_for_its_time_and_counts_attempts(journal: Journal, clock: Hand) -> None:
    """A delivery that failed for now comes back at its time, to that destination alone."""
    journal.add(received(1))
    key = received(1).object_id
    journal.forward_failed(key, "PACS", "no answer", again=True, not_before_ns=clock.time + A_MINUTE)
    assert journal.to_forward("PACS", 10) == []
    assert [each.destination for each in journal.to_forward("BACKUP", 10)] == ["BACKUP"]
    clock.time += A_MINUTE
    (again,) = journal.to_forward("PACS", 10)
    assert (received(1), 1, "no answer") == (again.received, again.attempts, again.reason)


def test_a_clock_that_was_ahead_holds_up_nothing(journal: Journal, clock: Hand) -> None:
    """What was put off while the clock was a year ahead is due once the clock is right again."""
    made, year = received(1), 365 * 24 * 3600 * 10**9
    journal.add(made)
    clock.time += year
    journal.forward_failed(made.object_id, "PACS", "x", again=True, not_before_ns=clock.time + 10**10)
    assert journal.to_forward("PACS", 10) == []
    clock.time -= year
    assert [each.received for each in journal.to_forward("PACS", 10)] == [made]


def test_a_refused_delivery_is_kept_and_named(journal: Journal) -> None:
    """What a destination refuses for good is not tried again, keeps its file, and is counted until it is retried."""
    journal.add(received(1))
    key = received(1).object_id
    journal.captured(key, b"s" * 32)
    journal.forwarded(key, "BACKUP")
    journal.forward_failed(key, "PACS", "0122 SOP class not supported", again=False)
    assert journal.to_forward("PACS", 10) == []
    assert journal.settled(10) == []
    assert journal.counts().refused == (("PACS", 1),)
    journal.retry_forward(key, "PACS")
    assert len(journal.to_forward("PACS", 10)) == 1
    journal.forwarded(key, "PACS")
    journal.forward_failed(key, "PACS", "late", again=True)
    assert [received(1)] == journal.settled(10)


def test_rows_outlive_files_until_they_are_forgotten(journal: Journal) -> None:
    """A removed object is still found for Storage Commitment, is in no limit, and goes when it is old."""
    journal.add(received(1))
    key = received(1).object_id
    journal.captured(key, b"s" * 32)
    for each in ("PACS", "BACKUP"):
        journal.forwarded(key, each)
    assert journal.waiting() == (1, 101)
    journal.removed([key])
    assert (journal.waiting(), journal.settled(10), journal.unsettled()) == ((0, 0), [], [])
    assert [key] == [each.received.object_id for each in journal.find(received(1).sop_class, received(1).sop_instance)]
    assert journal.forget(received(1).received_ns) == 0
    assert journal.forget(received(1).received_ns + 1) == 1
    assert journal.find(received(1).sop_class, received(1).sop_instance) == []


def test_find_gives_the_newest_first(journal: Journal) -> None:
    """An instance that was sent twice is found twice, the newest first; another class is another object."""
    journal.add(received(1))
    journal.add(received(2, sop_instance="1.2.3.1"))
    journal.add(received(3, sop_instance="1.2.3.1", sop_class="1.2.3"))
    assert [
        int(each.received.object_id, 16) for each in journal.find(received(1).sop_class, received(1).sop_instance)
    ] == [2, 1]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"calling": "CT2"}, False),
        ({"certificate": None}, False),
        ({"sop_instance": "1.2.3.9"}, False),
        ({"address": "10.0.0.8"}, True),
    ],
)
def test_an_object_sent_again_has_its_statement_already(
    journal: Journal, changes: dict[str, object], found: bool
) -> None:
    """Same instance, bytes, AE title and certificate: the statement of the first; anything else is a capture of its own."""
    journal.add(received(1))
    journal.captured(received(1).object_id, b"s" * 32, digest=b"d" * 32)
    again = received(2, **{"sop_instance": "1.2.3.1", **changes})
    assert (b"s" * 32 if found else None) == journal.same(again, b"d" * 32)
    assert journal.same(again, b"e" * 32) is None


def test_no_certificate_is_the_same_as_no_certificate(journal: Journal) -> None:
    """Without TLS an object that was sent again is known as well."""
    journal.add(received(1, certificate=None))
    journal.captured(received(1).object_id, b"s" * 32, digest=b"d" * 32)
    assert journal.same(received(2, sop_instance="1.2.3.1", certificate=None), b"d" * 32) == b"s" * 32


def test_the_newest_of_the_asking_title_comes_first(journal: Journal) -> None:
    """Of an instance that came several times the newest of one AE title is found, else the newest of all, else none."""
    first, second, third = (
        received(number, sop_instance="1.2", calling=title) for number, title in enumerate(("CT1", "CT1", "CT2"))
    )
    for each in (first, second, third):
        journal.add(each)
    found = [journal.newest(first.sop_class, "1.2", title) for title in ("CT1", "CT2", "CT9")]
    assert [None if each is None else each.received for each in found] == [second, third, third]
    assert journal.newest(first.sop_class, "1.3", "CT1") is None
    assert journal.newest("1.9", "1.2", "CT1") is None


def test_counts_name_the_oldest_undone(journal: Journal) -> None:
    """The oldest is that of the objects that are not captured or not delivered."""
    for number in (5, 6):
        journal.add(received(number))
    assert journal.counts().oldest_ns == 5 * A_MINUTE
    assert journal.counts().undelivered == (("BACKUP", 2), ("PACS", 2))
    key = received(5).object_id
    journal.captured(key, b"s" * 32)
    journal.forwarded(key, "PACS")
    journal.forwarded(key, "BACKUP")
    assert journal.counts().oldest_ns == 6 * A_MINUTE


def test_an_object_is_added_once(journal: Journal) -> None:
    """A second row of one object id is refused, and nothing of it stays."""
    journal.add(received(1))
    with pytest.raises(JournalError, match="UNIQUE"):
        journal.add(received(1))
    assert journal.waiting() == (1, 101)


@pytest.mark.parametrize("content", [b"", b"not a database at all, whatever its name says" * 100])
def test_another_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """A file that is not a journal is refused, not overwritten."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        Journal(path)
    assert content == path.read_bytes()


def test_a_journal_of_another_release_is_refused(journal: Journal) -> None:
    """The version of the tables is checked."""
    with sqlite3.connect(journal.path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(JournalError, match="another release"):
        Journal(journal.path)


def _add_many(path: Path, first: int) -> None:
    journal = Journal(path, destinations=["PACS"])
    for number in range(first, first + 40):
        journal.add(received(number))


def test_processes_take_turns(tmp_path: Path) -> None:
    """Four processes that open and fill one journal at once lose nothing."""
    path = tmp_path / "journal.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_many, args=(path, start)) for start in (0, 100, 200, 300)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert [each.exitcode for each in workers] == [0, 0, 0, 0]
    assert Journal(path).waiting()[0] == 160


def test_a_state_directory_can_be_moved(tmp_path: Path) -> None:
    """Objects beside the journal are found where the journal is now."""
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "objects").mkdir(parents=True)
    journal = Journal(before / "journal.sqlite")
    journal.add(received(1, path=before / "objects" / "a.dcm"))
    journal.close()
    before.rename(after)
    (found,) = Journal(after / "journal.sqlite").unsettled()
    assert found.path == after / "objects" / "a.dcm"
