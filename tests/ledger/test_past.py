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
from platemark_ledger import quorum, rows
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


def asked(ledger: Ledger, tmp_path: Path, shown: bytes | None, *, origin: str = builders.ORIGIN) -> None:
    """Start with one witness that shows this."""
    witness = Witness("w1.test", LOG)
    if shown is not None:
        witness.newest, witness.note = Checkpoint(origin, 1, bytes(32)), shown
    with witnessing(witness):
        path = tmp_path / "policy"
        path.write_text(policy(1, witness))
        asyncio.run(refuse_other_past(ledger, quorum.load(path, origin=builders.ORIGIN), timeout=30))


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
        asyncio.run(refuse_other_past(ledger, wanted, timeout=0.05))
    assert "no answer within 0.05 s" in caplog.text
