"""The publisher against witnesses: what is published, what is not, and what happens when one of them fails or lies."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest

import builders
import fakes
from platemark import checkpoint, note
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner, cosignatures
from platemark_ledger import published, quorum, rollback
from platemark_ledger.metrics import LedgerMetrics
from platemark_ledger.opening import Ledger
from platemark_ledger.published import Published, Stamp
from platemark_ledger.publisher import Publisher
from platemark_ledger.seat import PartyState, Seat
from platemark_ledger.sequencer import Sequencer
from platemark_ledger.settings import Settings
from platemark_ledger.stamping import Authorities
from platemark_ledger.store import Table
from platemark_ledger.term import Term
from witnesses import Witness, policy, witnessing

_T = TypeVar("_T")
LOG = (note.NoteVerifier(builders.ORIGIN, builders.LOG_KEY.public),)  # type: ignore[arg-type] # an Ed25519 key


@dataclass
class Scene:
    """A ledger with a sequencer, and a publisher that may come and go."""

    directory: Path
    founded: fakes.Founded
    ledger: Ledger
    sequencer: Sequencer
    failures: list[str]

    def settings(self, text: str | None, **changes: object) -> Settings:
        """Quick ones, with a policy."""
        path = self.directory / "policy"
        if text is not None:
            path.write_text(text)
        given = Settings(
            origin=builders.ORIGIN,
            data=self.founded.paths.data,
            anchor=self.founded.paths.anchor,
            witness_policy=path if text is not None else None,
            publish_interval=0.05,
        )
        return replace(given, **changes)  # type: ignore[arg-type] # names of settings

    @contextmanager
    def publishing(self, text: str | None, **changes: object) -> Iterator[Seat]:
        """A publisher of this policy, inside the block."""
        settings = self.settings(text, **changes)
        wanted = None if text is None else quorum.load(self.directory / "policy", origin=builders.ORIGIN)
        publisher = Publisher(self.ledger, settings, wanted, on_failure=self.failures.append)
        seat = Seat(settings.seat)
        publisher.start()
        try:
            yield seat
        finally:
            publisher.stop()
            seat.close()

    def append(self, count: int = 1) -> int:
        """Append captures; the size then."""
        self.sequencer.submit(self.founded.captures(count)).result(30)
        return self.ledger.anchor.read().size

    def rows(self) -> tuple[Published | None, Published | None]:
        """The newest published row and the newest witnessed one."""
        with self.ledger.store.read() as transaction:
            return published.newest(transaction), published.newest_witnessed(transaction)

    def reached(self, size: int) -> Published:
        """The witnessed row of a size, as soon as it is there."""
        return eventually(lambda: row if (row := self.rows()[1]) is not None and row.size == size else None)


def eventually(look: Callable[[], _T | None]) -> _T:
    """What `look` finds within 30 s."""
    ends = time.monotonic() + 30
    while (found := look()) is None:
        assert time.monotonic() < ends, "it does not happen"
        threading.Event().wait(0.01)
    return found


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    founded = fakes.Founded.at(tmp_path / "ledger", log=builders.Log(more_log_keys=[builders.LOG_KEY_PQ]))
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment()]).result(30)
        scene = Scene(tmp_path, founded, ledger, sequencer, [])
        yield scene
        assert scene.failures == []
    ledger.close()


def three(*, fault: str | None = None) -> list[Witness]:
    """Three witnesses: one with both kinds of key, one with each; the last with a fault."""
    return [
        Witness("w1.test", LOG, ("ed25519", "mldsa44")),
        Witness("w2.test", LOG, ("mldsa44",)),
        Witness("w3.test", LOG, ("ed25519",), fault=fault),
    ]


def test_a_published_checkpoint_has_every_signature_in_its_place(scene: Scene) -> None:
    """The log's Ed25519 line, its ML-DSA-44 line with the real time, then the cosignatures in the order of the policy."""
    witnesses = three()
    with witnessing(*witnesses):
        text = policy(3, *witnesses)
        with scene.publishing(text):
            size = scene.append(5)
            row = scene.reached(size)
    signed = checkpoint.parse(row.note)
    assert (signed.checkpoint.size, signed.checkpoint.root) == (size, scene.ledger.anchor.read().root)
    names = [name for name, _, _ in signed.signed.signatures]
    assert names == [builders.ORIGIN, builders.ORIGIN, "w1.test", "w1.test", "w2.test", "w3.test"]
    signed.verify(LOG)
    own = CosignatureSigner(builders.ORIGIN, builders.LOG_KEY_PQ).verifier
    verifiers = [own, *(signer.verifier for each in witnesses for signer in each.signers)]
    found = cosignatures(signed, verifiers)
    assert [each.verifier for each in found] == verifiers
    assert found[0].time_s == builders.NOW // 10**9
    assert row.log_note == scene.ledger.anchor.read().note + row.note.split(b"\n")[5] + b"\n"


def test_each_witness_is_led_from_the_size_it_knows(scene: Scene) -> None:
    """The first question of a term learns the size from a conflict; from then on one request a round is enough."""
    witness = Witness("w1.test", LOG)
    with witnessing(witness):
        with scene.publishing(policy(1, witness)):
            first = scene.reached(scene.append(2)).size
            second = scene.reached(scene.append(3)).size
        asked = list(witness.asked)
        assert asked[-1] == first
        with scene.publishing(policy(1, witness)):
            scene.reached(scene.append(1))
        assert witness.asked[len(asked) :] == [0, second]


@pytest.mark.parametrize(
    "fault",
    [
        "unknown log", "busy", "broken", "silent", "garbage", "endless", "redirect",
        "no size", "plain conflict", "same conflict", "no time", "stranger", "wrong signature", "larger", "other root",
    ],
)  # fmt: skip
def test_a_witness_that_does_not_do_its_part_is_not_counted(scene: Scene, fault: str) -> None:
    """Two of three are enough without it, and when all three are demanded nothing is published until it does its part."""
    witnesses = three(fault=fault)
    with witnessing(*witnesses):
        with scene.publishing(policy(2, *witnesses)):
            row = scene.reached(scene.append())
            assert {line.split()[1] for line in row.cosignatures} == {"w1.test", "w2.test"}
        with scene.publishing(policy(3, *witnesses)) as seat:
            size = scene.append()
            state = eventually(lambda: found if (found := seat.told()).quorum is False else None)
            assert state.witnesses["w3.test"].failures > 0
            assert scene.rows()[1] == row
            witnesses[2].fault = None
            assert len(scene.reached(size).cosignatures) == 4
            eventually(lambda: True if seat.told().quorum else None)


def test_without_a_quorum_there_is_one_line_in_the_log_for_each_change(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Not one for each try."""
    witnesses = three(fault="busy")
    with (
        witnessing(*witnesses),
        caplog.at_level(logging.INFO, "platemark.publisher"),
        scene.publishing(policy(3, *witnesses)),
    ):
        size = scene.append()
        eventually(lambda: True if len(witnesses[2].asked) >= 3 else None)
        witnesses[2].fault = None
        scene.reached(size)
    said = [(record.levelname, record.message) for record in caplog.records if record.name == "platemark.publisher"]
    assert said == [
        ("WARNING", "witness w3.test does not cosign: status 429: later"),
        (
            "CRITICAL",
            "NO QUORUM OF WITNESSES: w1.test, w2.test cosigned; nothing is published until there is one",
        ),
        ("INFO", "witness w3.test cosigns again"),
        ("INFO", "the witnesses' quorum cosigns"),
    ]


def test_a_witness_that_hangs_delays_neither_appends_nor_the_quorum_of_the_others(scene: Scene) -> None:
    """While one is mute, appends are answered and what the others cosign is published; it is not asked a second thing."""
    witnesses = three(fault="hang")
    with witnessing(*witnesses), scene.publishing(policy(2, *witnesses), witness_timeout=60.0):
        for _ in range(3):
            scene.reached(scene.append())
        assert witnesses[2].hanging.wait(30)
        assert len(witnesses[2].asked) == 1


def test_appends_go_on_while_every_witness_hangs(scene: Scene) -> None:
    """The publisher waits, nobody else does, and nothing is published."""
    witness = Witness("w1.test", LOG, fault="hang")
    with witnessing(witness), scene.publishing(policy(1, witness), witness_timeout=60.0):
        scene.append()
        assert witness.hanging.wait(30)
        sizes = [scene.append() for _ in range(5)]
        assert sizes == sorted(set(sizes))
        assert scene.rows() == (None, None)
        witness.fault = None
        witness.open.set()
        scene.reached(sizes[-1])


def test_one_witness_with_two_keys_is_one_witness(scene: Scene) -> None:
    """Both cosignatures of it, or one of them twice, do not make a quorum of two."""
    witnesses = [Witness("w1.test", LOG, ("ed25519", "mldsa44"), fault="twice"), Witness("w2.test", LOG, fault="busy")]
    with witnessing(*witnesses), scene.publishing(policy(2, *witnesses)) as seat:
        scene.append()
        eventually(lambda: True if seat.told().quorum is False else None)
        assert scene.rows() == (None, None)


def showing(witness: Witness, size: int) -> None:
    """The witness has cosigned another past of this log, of this size, and shows what the log signed for it."""
    witness.newest = Checkpoint(builders.ORIGIN, size, bytes(32))
    witness.note = checkpoint.sign(witness.newest, [note.NoteSigner(builders.ORIGIN, builders.LOG_KEY)])


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (1_000_000, "witness w3.test has seen size 1000000, and the data ends at size 4"),
        (2, "witness w3.test has seen another root at size 2"),
    ],
)
def test_a_witness_that_shows_another_past_stops_publishing_for_good(
    scene: Scene, size: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Even when the others would be a quorum, and in every later term until the mark is removed; appends go on."""
    witnesses = three()
    showing(witnesses[2], size)
    settings = scene.settings(None)
    with witnessing(*witnesses):
        # Appended before, so that the first question is about this size.
        appended = scene.append(2)
        with scene.publishing(policy(3, *witnesses)) as seat:
            state = eventually(lambda: found if (found := seat.told()).rollback else None)
            assert state.rollback == reason
            assert scene.append() == appended + 1
            assert scene.rows() == (None, None)
        assert rollback.kept(settings.rollback) == rollback.Mark(reason, witnesses[2].url, witnesses[2].note)
        # Neither a fresh start, nor a lost state file, nor a witness that says nothing of it any more.
        settings.seat.unlink()
        witnesses[2].newest = None
        asked = [len(each.asked) for each in witnesses]
        with scene.publishing(policy(2, *witnesses)) as seat:
            assert eventually(lambda: seat.told().rollback) == reason
            assert scene.append() == appended + 2
            assert scene.rows() == (None, None)
        assert [len(each.asked) for each in witnesses] == asked
        assert "PUBLISHING HAS STOPPED, as before" in caplog.text
        settings.rollback.unlink()
        with scene.publishing(policy(2, *witnesses)) as seat:
            scene.reached(appended + 2)
            eventually(lambda: True if seat.told().rollback is None else None)


def test_time_stamps_go_on_after_another_past_was_shown(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is appended later is stored unwitnessed and stamped, by this term and by the next one."""

    async def stamp(_: Authorities, url: str, log_note: bytes) -> Stamp:
        return Stamp(url, log_note)

    monkeypatch.setattr(Authorities, "stamp", stamp)
    witnesses = three()
    showing(witnesses[2], 1_000_000)

    def stamped(size: int) -> Published | None:
        row = scene.rows()[0]
        return row if row is not None and row.size == size and row.stamps else None

    with witnessing(*witnesses):
        scene.append()
        for _ in range(2):
            with scene.publishing(policy(3, *witnesses), tsa=("https://tsa.test",), tsa_interval=1.0) as seat:
                eventually(lambda: seat.told().rollback)
                size = scene.append()
                row = eventually(lambda size=size: stamped(size))  # type: ignore[misc] # mypy cannot infer it
                assert row.stamps == (Stamp("https://tsa.test", row.log_note),)
                assert (row.witnessed, row.cosignatures) == (False, ())
    assert scene.rows()[1] is None


def test_a_mark_that_cannot_be_written_is_written_as_soon_as_it_can(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a full disk publishing has stopped all the same, and the log says what is missing."""
    full = threading.Event()
    full.set()
    keep = rollback.keep

    def keeping(path: Path, mark: rollback.Mark) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        keep(path, mark)

    monkeypatch.setattr(rollback, "keep", keeping)
    witness = Witness("w1.test", LOG)
    showing(witness, 1_000_000)
    with witnessing(witness), scene.publishing(policy(1, witness)) as seat:
        scene.append()
        eventually(lambda: seat.told().rollback)
        eventually(lambda: True if "cannot be written: No space left on device" in caplog.text else None)
        assert not scene.settings(None).rollback.exists()
        full.clear()
        eventually(lambda: rollback.kept(scene.settings(None).rollback))


@pytest.mark.parametrize("fault", ["larger", "other root"])
def test_a_witness_that_only_talks_of_another_past_stops_nothing(
    scene: Scene, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The others publish without it, no mark is left, and one critical line says what it claimed."""
    witnesses = three(fault=fault)
    with witnessing(*witnesses), scene.publishing(policy(2, *witnesses)) as seat:
        for _ in range(3):
            scene.reached(scene.append())
        eventually(lambda: True if seat.told().witnesses["w3.test"].failures else None)
        assert seat.told().rollback is None
    assert not scene.settings(None).rollback.exists()
    said = [record.message for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(said) == 1
    assert said[0].startswith("WITNESS w3.test CONTRADICTS THIS LOG WITHOUT PROOF")


def test_a_new_publisher_does_not_publish_again_what_is_published(scene: Scene) -> None:
    """It begins with what is stored, and asks nobody before the log has grown."""
    witness = Witness("w1.test", LOG)
    with witnessing(witness):
        with scene.publishing(policy(1, witness)):
            row = scene.reached(scene.append())
        asked = len(witness.asked)
        with scene.publishing(policy(1, witness)) as seat:
            eventually(lambda: True if seat.told().witnesses.get("w1.test") == PartyState() else None)
        assert len(witness.asked) == asked
        assert scene.rows() == (row, row)


def test_without_a_policy_checkpoints_are_published_unwitnessed(scene: Scene) -> None:
    """They have the log's two signatures and no more, and nothing is ever called witnessed."""
    with scene.publishing(None) as seat:
        size = scene.append()
        row = eventually(lambda: found if (found := scene.rows()[0]) is not None and found.size == size else None)
        assert seat.told().quorum is None
    assert (row.witnessed, row.cosignatures, row.note) == (False, (), row.log_note)
    assert scene.rows()[1] is None


def test_a_policy_that_demands_nobody_makes_nothing_witnessed(scene: Scene) -> None:
    """`quorum none`: witnesses are asked, their lines are kept, and a quorum of nobody is none."""
    witness = Witness("w1.test", LOG)
    with witnessing(witness):
        text = "\n".join([*witness.lines, "quorum none", ""])
        with scene.publishing(text):
            size = scene.append()
            row = eventually(lambda: found if (found := scene.rows()[0]) is not None and found.size == size else None)
    assert not row.witnessed
    assert len(row.cosignatures) <= 1
    assert scene.rows()[1] is None


def test_where_nobody_is_demanded_a_witness_that_hangs_is_not_waited_for(scene: Scene) -> None:
    """The checkpoint is published without its line."""
    witness = Witness("w1.test", LOG, fault="hang")
    with witnessing(witness):
        text = "\n".join([*witness.lines, "quorum none", ""])
        with scene.publishing(text, witness_timeout=60.0):
            size = scene.append()
            row = eventually(lambda: found if (found := scene.rows()[0]) is not None and found.size == size else None)
    assert row.cosignatures == ()


def test_one_publisher_at_a_time_and_the_next_when_it_has_stopped(scene: Scene) -> None:
    """A second one waits for the seat and then goes on from what the first has published."""
    witness = Witness("w1.test", LOG)
    with witnessing(witness), scene.publishing(policy(1, witness)):
        first = scene.reached(scene.append())
        settings = scene.settings(None)
        second = Publisher(scene.ledger, settings, None)
        second.start()
        second.stop()  # it never had the seat
        assert scene.rows()[1] == first
        scene.reached(scene.append())


def test_a_fault_of_ours_interrupts_publishing_and_does_not_end_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has its stack, the seat is given back, and the next term publishes."""
    faults = [ZeroDivisionError("a fault")]
    hold = Term.hold

    async def failing(self: Term, stopping: threading.Event) -> None:
        if faults:
            raise faults.pop()
        await hold(self, stopping)

    monkeypatch.setattr(Term, "hold", failing)
    witness = Witness("w1.test", LOG)
    with witnessing(witness), scene.publishing(policy(1, witness)):
        scene.reached(scene.append())
    assert "publishing was interrupted" in caplog.text


def _damage(scene: Scene) -> None:
    with scene.ledger.store.write() as transaction:
        transaction.put(Table.PUBLISHED, (2).to_bytes(8, "big"), b"damaged")
        transaction.commit()


def _lose_a_list(scene: Scene) -> None:
    row = replace(eventually(lambda: scene.rows()[0]), stamps=(Stamp("https://tsa.test", b"r", (b"a list",)),))
    with scene.ledger.store.write() as transaction:
        published.put(transaction, row)
        transaction.delete(Table.CRLS, sha256(b"a list").digest())
        transaction.commit()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_damage, "the published checkpoint of size 2 is damaged"),
        (_lose_a_list, "a CRL of the published checkpoint of size 2 is missing from the data"),
    ],
)
def test_published_checkpoints_that_cannot_be_read_or_stored_stop_publishing_and_nothing_else(
    scene: Scene, fault: Callable[[Scene], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Before a commit nothing has happened to the data: no poison, this process serves on, and the alarms are there."""
    with scene.publishing(None) as seat:
        eventually(lambda: scene.rows()[0])
        fault(scene)
        scene.append()
        eventually(lambda: True if reason in caplog.text else None)
        eventually(lambda: True if not seat.taken() else None)
        assert scene.ledger.lock.reason() is None
        assert scene.failures == []
        scene.append()
        values = {
            each.name: sample.value
            for each in LedgerMetrics(scene.ledger, seat, witnessed=False).collect()
            for sample in each.samples
        }
    assert values["platemark_publisher_running"] == 0
    assert values["platemark_published_age_seconds"] == math.inf
    assert "PUBLISHING HAS STOPPED in this process" in caplog.text


def test_a_second_published_checkpoint_of_a_size_is_refused_without_poison(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever stored another one while the witnesses were asked: what is on disk is known."""
    witness = Witness("w1.test", LOG, fault="hang")
    with witnessing(witness), scene.publishing(policy(1, witness), witness_timeout=60.0) as seat:
        assert witness.hanging.wait(30)
        size = scene.ledger.anchor.read().size
        with scene.ledger.store.write() as transaction:
            published.put(transaction, Published(size, bytes(32), b"another note", 1))
            transaction.commit()
        witness.fault = None
        witness.open.set()
        eventually(lambda: True if f"refused a second published checkpoint of size {size}" in caplog.text else None)
        eventually(lambda: True if not seat.taken() else None)
        assert scene.ledger.lock.reason() is None
        scene.append()


@pytest.mark.parametrize("persists", [False, True])
def test_a_failed_commit_stops_the_ledger(tmp_path: Path, *, persists: bool) -> None:
    """Whether it is on disk or not: the ledger is marked, this process is told, and a fresh start is sound and publishes."""
    founded = fakes.Founded.at(tmp_path / "ledger")
    failures: list[str] = []
    with fakes.with_faults(founded, persists=persists) as (ledger, _):
        assert isinstance(ledger.store, fakes.FaultyStore)
        ledger.store.fail_commit = True
        scene = Scene(tmp_path, founded, ledger, ledger.sequencer(), failures)
        with scene.publishing(None):
            eventually(lambda: True if failures else None)
        assert ledger.lock.reason() == "the commit failed on purpose"
    assert failures == ["the commit failed on purpose"]
    again = founded.open()
    try:
        scene = Scene(tmp_path, founded, again, again.sequencer(), failures)
        with scene.publishing(None):
            row = eventually(lambda: scene.rows()[0])
        assert (row.size, row.root) == (1, again.anchor.read().root)
    finally:
        again.close()
