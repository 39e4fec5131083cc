"""Evidence and answers under published checkpoints: which one they are under, and how early a time they prove."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

import fakes
from platemark import merkle, tlog_proof
from platemark_ledger import published, rows, service
from platemark_ledger.opening import Ledger
from platemark_ledger.published import Published, Stamp
from platemark_ledger.records import EvidenceMembers
from platemark_ledger.sequencer import Appended, Logged

SIZE = 12


@dataclass
class Scene:
    """A ledger of twelve leaves, and what was published of it."""

    ledger: Ledger
    appended: Appended

    def root(self, size: int) -> bytes:
        """The log's root at a size."""
        with self.ledger.store.read() as transaction:
            return rows.root(transaction.row, size)

    def publish(self, size: int, *, witnessed: bool = True, stamped: bool = False) -> Published:
        """As a publisher does; the note is the anchored one's with another text, which nobody verifies here."""
        stamps = (Stamp("https://tsa.example", b"a response"),) if stamped else ()
        text = self.ledger.anchor.read().note.split(b"\n\n")[1]
        note = f"{self.ledger.origin}\n{size}\n{b64encode(self.root(size)).decode()}\n\n".encode() + text
        with self.ledger.store.write() as transaction:
            row = published.put(transaction, Published(size, self.root(size), note, 0, (), witnessed, stamps))
            transaction.commit()
        return row

    def evidence(self, index: int) -> EvidenceMembers:
        """What a reader gets, with every path verified against the one checkpoint."""
        members = self.ledger.receipts().evidence(index)
        for each in (members.subject, *members.policies, *members.enrolments):
            merkle.verify_inclusion(
                index=each.record.index,
                size=members.checkpoint.size,
                leaf_hash=merkle.leaf_hash(each.record.entry),
                path=each.path,
                root=members.checkpoint.root,
            )
        return members


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    founded = fakes.Founded.at(tmp_path / "ledger")
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        appended = sequencer.submit([founded.enrolment(), *founded.captures(SIZE - 2)]).result(30)
    yield Scene(ledger, appended)
    ledger.close()


def test_without_a_published_checkpoint_evidence_is_under_the_anchored_one(scene: Scene) -> None:
    """As before there were any."""
    members = scene.evidence(5)
    assert members.checkpoint == scene.ledger.anchor.read()
    assert (members.published, members.time) == (None, None)


def test_evidence_is_under_the_newest_witnessed_checkpoint_that_covers_it(scene: Scene) -> None:
    """Not under an unwitnessed one, and under the anchored one for what no quorum has seen yet."""
    scene.publish(4)
    row = scene.publish(8)
    scene.publish(10, witnessed=False)
    for index in (1, 3, 7):
        members = scene.evidence(index)
        assert members.published == row
        assert (members.checkpoint.size, members.checkpoint.note) == (8, row.note)
    for index in (8, 11):
        members = scene.evidence(index)
        assert members.published is None
        assert members.checkpoint.size == SIZE


def test_the_bundle_carries_the_published_note(scene: Scene) -> None:
    """Every proof of it, verbatim."""
    row = scene.publish(8)
    bundle = service.evidence_of(scene.evidence(5))
    for each in (bundle.record, *bundle.policies, *bundle.enrolments):
        assert tlog_proof.parse(each.proof).checkpoint.raw == row.note


@pytest.mark.parametrize(("index", "size"), [(1, 3), (2, 3), (3, 6), (5, 6), (6, None), (7, None), (9, 11), (11, None)])
def test_the_time_is_that_of_the_earliest_stamp_that_covers_the_record(
    scene: Scene, index: int, size: int | None
) -> None:
    """Whether witnessed or not, with a path to the checkpoint of the evidence; a stamp above that one proves nothing here."""
    scene.publish(3, witnessed=False, stamped=True)
    scene.publish(6, stamped=True)
    scene.publish(8)
    scene.publish(11, witnessed=False, stamped=True)
    time = scene.evidence(index).time
    if size is None:
        assert time is None
        return
    assert time is not None
    assert time.row.size == size
    checkpoint = scene.evidence(index).checkpoint
    merkle.verify_consistency(
        old_size=size,
        new_size=checkpoint.size,
        old_root=time.row.root,
        new_root=checkpoint.root,
        path=time.path,
    )


def test_the_stamped_checkpoint_may_be_that_of_the_evidence(scene: Scene) -> None:
    """Then there is nothing between them."""
    row = scene.publish(8, stamped=True)
    time = scene.evidence(5).time
    assert time is not None
    assert (time.row, time.path) == (row, ())


def test_an_answer_can_be_proven_under_a_later_checkpoint(scene: Scene) -> None:
    """The same outcomes, with paths to the published root."""
    scene.publish(SIZE)
    with scene.ledger.store.read() as transaction:
        row = published.newest_witnessed(transaction)
    assert row is not None
    again = scene.ledger.receipts().under(scene.appended, row.released)
    assert again.checkpoint.note == row.note
    for before, after in zip(scene.appended.outcomes, again.outcomes, strict=True):
        assert isinstance(before, Logged)
        assert isinstance(after, Logged)
        assert (before.index, before.raw) == (after.index, after.raw)
        leaf = merkle.leaf_hash(sha256(after.raw).digest())
        merkle.verify_inclusion(index=after.index, size=SIZE, leaf_hash=leaf, path=after.path, root=row.root)
