"""The question at the start: what witnesses have seen, believed only over the log's own signature."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import builders
import fakes
from platemark import checkpoint, note
from platemark.checkpoint import Checkpoint
from platemark_ledger import quorum, rollback, rows
from platemark_ledger.errors import StartRefusedError
from platemark_ledger.opening import Ledger
from platemark_ledger.past import refuse_other_past
from witnesses import Witness, policy, witnessing

LOG = (note.NoteVerifier(builders.ORIGIN, builders.LOG_KEY.public),)  # type: ignore[arg-type] # an Ed25519 key


@pytest.fixture(name="ledger")
def _ledger(tmp_path: Path) -> Iterator[Ledger]:
    founded = fakes.Founded.at(tmp_path / "ledger")
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment(), *founded.captures(3)]).result(30)
    yield ledger
    ledger.close()


def asked(
    ledger: Ledger,
    tmp_path: Path,
    shown: bytes | None,
    *,
    origin: str = builders.ORIGIN,
    marked: bytes | None = None,
    by_another: bool = False,
) -> Path:
    """Start with one witness that shows this; the place of the mark, which holds `marked` if that is given."""
    mark = tmp_path / "data.rollback"
    witness = Witness("w1.test", LOG)
    if shown is not None:
        witness.newest, witness.note = Checkpoint(origin, 1, bytes(32)), shown
    with witnessing(witness):
        path = tmp_path / "policy"
        path.write_text(policy(1, witness))
        if marked is not None:
            url = "https://other.test" if by_another else witness.url
            rollback.keep(mark, rollback.Mark("it has seen another past", url, marked))
        wanted = quorum.load(path, origin=builders.ORIGIN)
        asyncio.run(refuse_other_past(ledger, wanted, timeout=30, mark=mark))
    return mark


def signed(size: int, root: bytes, *, by: str = "log", origin: str = builders.ORIGIN) -> bytes:
    """A checkpoint of this size and root."""
    return checkpoint.sign(Checkpoint(origin, size, root), [note.NoteSigner(origin, builders.key(by, "ed25519"))])


def roots(ledger: Ledger) -> Callable[[int], bytes]:
    """The log's own roots."""

    def root(size: int) -> bytes:
        with ledger.store.read() as transaction:
            return rows.root(transaction.row, size)

    return root


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_past_that_is_ours_is_fine(ledger: Ledger, tmp_path: Path, size: int) -> None:
    """Any size up to that of the data, with the root that it has."""
    asked(ledger, tmp_path, signed(size, roots(ledger)(size)))


@pytest.mark.parametrize(
    ("size", "reason"),
    [(6, "has seen size 6, and the data ends at size 5"), (3, "has seen another root at size 3")],
)
def test_another_past_with_our_own_signature_is_refused(ledger: Ledger, tmp_path: Path, size: int, reason: str) -> None:
    """A later size, or another root: nobody but this log's key can have said it."""
    with pytest.raises(StartRefusedError, match=reason):
        asked(ledger, tmp_path, signed(size, bytes(32)))


@pytest.mark.parametrize(
    "shown",
    [
        None,
        b"",
        b"hello",
        signed(1_000_000, bytes(32), by="stranger"),
        signed(1_000_000, bytes(32), origin="other.example"),
        b"x" * 200_000,
    ],
    ids=["nothing", "empty", "no note", "another key", "another log", "too much"],
)
def test_talk_stops_nobody(
    ledger: Ledger, tmp_path: Path, shown: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without our own signature a witness cannot keep a log from starting; what it said is in the log."""
    asked(ledger, tmp_path, shown)
    assert ("does not say what it has seen" in caplog.text) == (shown is not None)


def test_a_witness_that_hangs_stops_nobody(ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After its time it is not waited for any more."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        witness = Witness("w1.test", LOG, url=f"http://127.0.0.1:{mute.getsockname()[1]}")
        path = tmp_path / "policy"
        path.write_text(policy(1, witness))
        wanted = quorum.load(path, origin=builders.ORIGIN)
        asyncio.run(refuse_other_past(ledger, wanted, timeout=0.05, mark=tmp_path / "data.rollback"))
    assert "no answer within 0.05 s" in caplog.text


def test_the_mark_goes_when_the_data_has_what_was_shown(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The data was rolled forward, and the witness that showed the other past shows a part of this one."""
    root = roots(ledger)
    mark = asked(ledger, tmp_path, signed(5, root(5)), marked=signed(4, root(4)))
    assert not mark.exists()
    assert "publishing goes on" in caplog.text


@pytest.mark.parametrize(
    ("shown", "marked", "by_another"),
    [
        (5, signed(6, bytes(32)), False),
        (5, signed(4, bytes(32)), False),
        (5, b"damaged", False),
        (None, None, False),
        (5, None, True),
    ],
    ids=["a later past", "another root", "no proof", "the witness shows nothing", "another witness showed it"],
)
def test_the_mark_stays(
    ledger: Ledger, tmp_path: Path, shown: int | None, marked: bytes | None, *, by_another: bool
) -> None:
    """While the data lacks what was shown, or the witness that showed it has not said otherwise. `None`: a past of ours."""
    root = roots(ledger)
    said = None if shown is None else signed(shown, root(shown))
    given = signed(4, root(4)) if marked is None else marked
    mark = asked(ledger, tmp_path, said, marked=given, by_another=by_another)
    kept = rollback.kept(mark)
    assert kept is not None
    assert kept.note == given


def test_a_mark_that_cannot_be_removed_keeps_no_log_from_starting(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and publishing stays stopped."""

    def failing(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(rollback, "clear", failing)
    root = roots(ledger)
    mark = asked(ledger, tmp_path, signed(5, root(5)), marked=signed(4, root(4)))
    assert mark.exists()
    assert "cannot be removed: Permission denied" in caplog.text
    assert "publishing goes on" not in caplog.text
