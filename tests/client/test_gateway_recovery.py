"""What a start of the gateway makes of what the last end left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from objects import CT, kept

from platemark.gateway import recovery
from platemark.gateway.config import parse
from platemark.gateway.journal import Capture, Journal
from platemark.gateway.recovery import Recovered
from platemark.gateway.settings import Gateway

PACS = '[[pacs]]\nname = "main"\naddress = "pacs:104"\nae_title = "PACS"\n'


@pytest.fixture(name="gateway")
def _gateway(tmp_path: Path) -> Gateway:
    made = parse('mode = "inline"\nstate_dir = "state"\n[sign]\nkey = "k"\n' + PACS, tmp_path)
    recovery.make_directories(made)
    return made


@pytest.fixture(name="journal")
def _journal(gateway: Gateway) -> Iterator[Journal]:
    made = Journal(gateway.journal, destinations=gateway.destinations)
    yield made
    made.close()


def test_the_state_directory_is_ours_alone(gateway: Gateway) -> None:
    """Nobody else on the machine reads an image."""
    assert (gateway.state_dir.stat().st_mode & 0o777, gateway.objects.stat().st_mode & 0o777) == (0o700, 0o700)


def test_what_was_never_acknowledged_is_removed(gateway: Gateway, journal: Journal) -> None:
    """A file without a row goes, one with a row stays."""
    known = kept(gateway.objects, CT, number=1)
    journal.add(known)
    kept(gateway.objects, CT, number=2)
    (gateway.objects / "half").write_bytes(b"half an object")
    assert recovery.recover(gateway, journal) == Recovered(waiting=1, unacknowledged=2, missing=0)
    assert list(gateway.objects.iterdir()) == [known.path]


def test_an_acknowledged_object_without_its_file_is_an_alarm(gateway: Gateway, journal: Journal) -> None:
    """It is counted and named, and stops nobody."""
    gone = kept(gateway.objects, CT, number=1)
    journal.add(gone)
    gone.path.unlink()
    assert recovery.recover(gateway, journal) == Recovered(waiting=1, unacknowledged=0, missing=1)
    standing = journal.get(gone.object_id)
    assert standing is not None
    assert (standing.capture, standing.reason) == (Capture.FAILED, "its file is missing")
    assert journal.to_capture(10) == []


def test_what_failed_before_is_tried_again(gateway: Gateway, journal: Journal) -> None:
    """It may have been the machine's fault."""
    there = kept(gateway.objects, CT, number=1)
    journal.add(there)
    journal.capture_failed(there.object_id, "cannot be read")
    recovery.recover(gateway, journal)
    assert [each.object_id for each in journal.to_capture(10)] == [there.object_id]


def test_objects_of_a_renamed_pacs_are_named(
    gateway: Gateway, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits for a PACS that the settings no longer have is an error of every start; of one that they have it is none."""
    journal.add(kept(gateway.objects, CT, number=1))
    recovery.recover(gateway, journal)
    assert caplog.records == []
    recovery.recover(replace(gateway, pacs=(replace(gateway.pacs[0], name="other"),)), journal)
    assert [vars(each)["destination"] for each in caplog.records] == ["main"]


def test_what_is_done_leaves_the_disk_and_nothing_else_does(gateway: Gateway, journal: Journal) -> None:
    """Captured and delivered: the file goes. Only one of these: it stays."""
    done, captured, delivered = (kept(gateway.objects, CT, number=number) for number in (1, 2, 3))
    for each in (done, captured, delivered):
        journal.add(each)
    for each in (done, captured):
        journal.captured(each.object_id, bytes([int(each.object_id, 16)]) * 32)
    for each in (done, delivered):
        journal.forwarded(each.object_id, "main")
    assert recovery.clear(journal) == 1
    assert sorted(gateway.objects.iterdir()) == [captured.path, delivered.path]
    assert recovery.clear(journal) == 0


def test_a_crash_while_clearing_leaves_no_alarm(gateway: Gateway, journal: Journal) -> None:
    """A file whose row says that it may go is removed by the next start."""
    done = kept(gateway.objects, CT, number=1)
    journal.add(done)
    journal.captured(done.object_id, bytes(32))
    journal.forwarded(done.object_id, "main")
    journal.removed([done.object_id])
    assert recovery.recover(gateway, journal) == Recovered(waiting=0, unacknowledged=1, missing=0)
    assert list(gateway.objects.iterdir()) == []
