"""The witness's decision: every status of c2sp.org/tlog-witness, and what it never says."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from witnessed import NOW_S, Clock, History, cosigned, signers, witness

import builders
from platemark import checkpoint, merkle, note, witness_wire
from platemark.note import NoteSigner
from platemark.witness.cosigner import Answer, Cosigner
from platemark.witness.decide import Outcome
from platemark.witness.store import Latest, WitnessError

LOG, OTHER = History(), History(seed="b")
STRANGER = History(key="stranger")
VERIFIERS = [each.verifier for each in signers()]
SIZE = 5  # what the witness of the table has cosigned


def body(old: int, note: bytes, proof: tuple[bytes, ...] = ()) -> bytes:
    """A request of any content."""
    return witness_wire.encode_request(old_size=old, proof=proof, note=note)


def signed(text: str, history: History = LOG) -> bytes:
    """A note of any text with the log's signature."""
    return note.sign(text, [history.signer]).encode()


def good_proof(old: int, new: int) -> tuple[bytes, ...]:
    """As a tuple."""
    return tuple(LOG.proof(old, new))


EMPTY = base64.b64encode(merkle.EMPTY_ROOT).decode()
ZEROS = base64.b64encode(bytes(32)).decode()
_FAILING = note.sign("another text\n", [LOG.signer]).rpartition("\n\n")[2].encode()

# (what, the body, the status, the text that the answer holds); the witness has cosigned size 5 of LOG.
TABLE: list[tuple[str, bytes, int, str]] = [
    ("extension", LOG.body(5, 9), 200, ""),
    ("far extension", LOG.body(5, 300), 200, ""),
    ("the same again", LOG.body(5, 5), 200, ""),
    ("signed by a stranger too", body(5, LOG.note(5) + STRANGER.note(5).rpartition(b"\n\n")[2]), 200, ""),
    ("nothing", b"", 400, "no empty line"),
    ("no old size", b"\n\n" + LOG.note(9), 400, "old: missing"),
    ("old size with a zero before", LOG.body(5, 9).replace(b"old 5", b"old 05"), 400, "leading zeros"),
    ("negative old size", LOG.body(5, 9).replace(b"old 5", b"old -5"), 400, "not a decimal"),
    ("old size of 2^63", LOG.body(5, 9).replace(b"old 5", b"old 9223372036854775808"), 400, "not below"),
    ("64 hashes", body(5, LOG.note(9), (bytes(32),) * 64), 400, "more than 63"),
    ("a hash of 31 bytes", body(5, LOG.note(9), (bytes(31),)), 400, "31 bytes"),
    ("no checkpoint", b"old 5\n\n", 400, "note:"),
    ("a checkpoint without signature", b"old 5\n\n" + LOG.checkpoint(9).text.encode(), 400, "note:"),
    ("extension lines", body(5, signed(LOG.checkpoint(9).text + "more\n")), 400, "extension lines"),
    ("no root", body(5, signed(f"{LOG.origin}\n9\n")), 400, "checkpoint"),
    ("a root of 31 bytes", body(5, signed(f"{LOG.origin}\n9\n{ZEROS[:-4]}AA==\n")), 400, "checkpoint.root"),
    ("size 0, a root of 31 bytes", body(0, signed(f"{LOG.origin}\n0\n{ZEROS[:-4]}AA==\n")), 400, "checkpoint.root"),
    ("old size above the checkpoint's", body(5, LOG.note(3)), 400, "above"),
    ("far too old a checkpoint", body(9, LOG.note(3)), 400, "above"),
    ("a stranger's signature", STRANGER.body(5, 9), 403, "no signature"),
    ("a failing line beside a good one", body(5, LOG.note(9) + _FAILING, good_proof(5, 9)), 403, "does not verify"),
    ("another log", History(origin="log.example/other").body(0, 3), 404, "not a log"),
    ("old size 0", LOG.body(0, 9), 409, "5\n"),
    ("an older old size", LOG.body(3, 9), 409, "5\n"),
    ("a later old size", LOG.body(7, 9), 409, "5\n"),
    ("an older checkpoint", LOG.body(2, 3), 409, "5\n"),
    ("size 0 again", LOG.body(0, 0), 409, "5\n"),
    ("no proof", body(5, LOG.note(9)), 422, "path is empty"),
    ("a hash too many", body(5, LOG.note(9), (*good_proof(5, 9), bytes(32))), 422, "too long"),
    ("a wrong hash", body(5, LOG.note(9), (bytes(32), *good_proof(5, 9)[1:])), 422, "root"),
    ("another history", OTHER.body(5, 9), 422, "root"),
    ("another root for the same size", OTHER.body(5, 5), 422, "another root"),
    ("a proof between equal sizes", body(5, LOG.note(5), (bytes(32),)), 422, "empty consistency path"),
    ("size 0 with another root", body(0, signed(f"{LOG.origin}\n0\n{ZEROS}\n")), 422, "empty tree"),
]


def newest(made: Cosigner) -> Latest | None:
    """What the witness has for LOG."""
    log = made.store.log(LOG.origin)
    assert log is not None
    return log.latest


def at_five(folder: Path) -> Cosigner:
    """A witness that has cosigned size 5 of LOG."""
    made = witness(folder, LOG)
    assert made.add_checkpoint(LOG.body(0, SIZE)).outcome is Outcome.COSIGNED
    return made


@pytest.mark.parametrize(("asked", "status", "said"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_every_request_gets_its_status(tmp_path: Path, asked: bytes, status: int, said: str) -> None:
    """What is refused changes nothing; what is cosigned is by both keys, and is what the witness has from then on."""
    made = at_five(tmp_path)
    before = newest(made)
    answer = made.add_checkpoint(asked)
    assert (answer.outcome.value, said in answer.body.decode()) == (status, True), answer
    if status != 200:
        assert newest(made) == before
        assert answer.body.count(b"\n") == 1
        assert b"\xe2\x80\x94" not in answer.body  # no signature line
        return
    new = checkpoint.parse(witness_wire.decode_request(asked).note).checkpoint
    assert cosigned(LOG.note(new.size), answer.body, VERIFIERS) == [NOW_S, NOW_S]
    assert newest(made) == Latest(new, NOW_S, LOG.note(new.size) + answer.body)


def test_the_table_has_every_status() -> None:
    """Nothing in the decision is untested by its table."""
    assert {row[2] for row in TABLE} == {each.value for each in Outcome}


def test_a_conflict_says_the_size_in_its_own_type(tmp_path: Path) -> None:
    """The body is the size and a line feed, text/x.tlog.size; everything else is plain text."""
    assert at_five(tmp_path).add_checkpoint(LOG.body(0, 9)) == Answer(Outcome.CONFLICT, b"5\n")
    media = {each: each.media for each in Outcome}
    assert media.pop(Outcome.CONFLICT) == "text/x.tlog.size"
    assert set(media.values()) == {"text/plain; charset=utf-8"}


@pytest.mark.parametrize("size", [0, 1, 2, 300])
def test_the_first_checkpoint_may_have_any_size(tmp_path: Path, size: int) -> None:
    """From old size 0 without a proof; a tree of nothing is cosigned as well, and everything extends it."""
    made = witness(tmp_path, LOG)
    assert made.add_checkpoint(body(1, LOG.note(max(size, 1)))) == Answer(Outcome.CONFLICT, b"0\n")
    unproven = made.add_checkpoint(body(0, LOG.note(size), (bytes(32),)))
    assert unproven.outcome is Outcome.UNPROVEN
    assert made.add_checkpoint(LOG.body(0, size)).outcome is Outcome.COSIGNED
    assert made.add_checkpoint(LOG.body(size, size)).outcome is Outcome.COSIGNED
    assert made.add_checkpoint(LOG.body(size, size + 7)).outcome is Outcome.COSIGNED


def test_a_proof_from_an_empty_tree_that_was_cosigned_is_empty(tmp_path: Path) -> None:
    """Size 0 has nothing to prove, cosigned or not."""
    made = witness(tmp_path, LOG)
    assert made.add_checkpoint(LOG.body(0, 0)).outcome is Outcome.COSIGNED
    assert made.add_checkpoint(body(0, LOG.note(3), (bytes(32),))).outcome is Outcome.UNPROVEN
    assert made.add_checkpoint(LOG.body(0, 3)).outcome is Outcome.COSIGNED


def test_times_are_never_zero_and_never_go_back(tmp_path: Path) -> None:
    """A clock that is put back, even to nothing, does not put the cosignatures back; after a restart neither."""
    clock = Clock()
    made = witness(tmp_path, LOG, clock=clock)
    times = []
    for old, new, now in ((0, 3, 0), (3, 3, NOW_S), (3, 4, NOW_S - 9), (4, 5, NOW_S + 1), (5, 6, -5)):
        clock.now = now
        if new == 6:
            made = witness(tmp_path, LOG, clock=clock)
        times.append(cosigned(LOG.note(new), made.add_checkpoint(LOG.body(old, new)).body, VERIFIERS))
    assert times == [[each] * 2 for each in (1, NOW_S, NOW_S, NOW_S + 1, NOW_S + 1)]


def test_more_than_one_key_of_a_log(tmp_path: Path) -> None:
    """Any of its keys is enough; a known key whose line fails is not outvoted; the stored note has the lines that count."""
    second = History(key="second")
    made = witness(tmp_path, LOG, second)
    assert made.add_checkpoint(second.body(0, 3)).outcome is Outcome.COSIGNED
    assert made.add_checkpoint(LOG.body(3, 4)).outcome is Outcome.COSIGNED
    both = checkpoint.sign(LOG.checkpoint(6), [LOG.signer, STRANGER.signer, second.signer])
    answer = made.add_checkpoint(body(4, both, good_proof(4, 6)))
    lines = checkpoint.sign(LOG.checkpoint(6), [LOG.signer, second.signer]) + answer.body
    assert newest(made) == Latest(LOG.checkpoint(6), NOW_S, lines)
    failing = LOG.note(7) + second.note(8).rpartition(b"\n\n")[2]
    assert made.add_checkpoint(body(6, failing, good_proof(6, 7))).outcome is Outcome.UNTRUSTED


def test_a_log_of_two_faces_is_exposed_by_the_first_witness_that_meets_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the second history sends, and however it asks, nothing of it is cosigned; the proof is written down once."""
    made = witness(tmp_path, LOG)
    first = LOG.note(8) + made.add_checkpoint(LOG.body(0, 8)).body
    for old in range(13):
        for new in range(old, 13):
            answer = made.add_checkpoint(OTHER.body(old, new))
            assert answer.outcome in {Outcome.CONFLICT, Outcome.UNPROVEN}, (old, new)
            mixed = made.add_checkpoint(body(old, OTHER.note(new), tuple(LOG.proof(old, new))))
            assert mixed.outcome in {Outcome.CONFLICT, Outcome.UNPROVEN}, (old, new)
    (proof,) = (each.getMessage().split(" ")[-2:] for each in caplog.records if each.levelno == logging.ERROR)
    assert [base64.b64decode(each) for each in proof] == [first, OTHER.note(8)]
    assert made.add_checkpoint(LOG.body(8, 13)).outcome is Outcome.COSIGNED


def test_other_keys_than_the_databases_are_refused(tmp_path: Path) -> None:
    """Two witnesses cannot share one database, nor a witness go on with another's."""
    store = witness(tmp_path, LOG).store
    with pytest.raises(WitnessError, match="was made for other keys"):
        Cosigner(store, signers()[:1], now_s=Clock())


def test_what_cannot_be_persisted_is_not_cosigned(tmp_path: Path) -> None:
    """The database goes away under a running witness: an error, no lines, and no new database."""
    made = at_five(tmp_path)
    made.store.path.unlink()
    with pytest.raises(WitnessError, match="is retired"):
        made.add_checkpoint(LOG.body(5, 9))
    assert list(tmp_path.iterdir()) == []


def _flip(data: bytes, at: int, with_: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ with_]) + data[at + 1 :]


_CHANGES: list[Callable[[bytes, int, int], bytes]] = [
    _flip,
    lambda data, at, _: data[: at % len(data)],
    lambda data, at, with_: data[: at % len(data)] + bytes([with_]) + data[at % len(data) :],
    lambda data, at, with_: data[: at % len(data)] + data[at % len(data) + with_ :],
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda change, at, with_, new: change(LOG.body(SIZE, new), at, with_),
            st.sampled_from(_CHANGES),
            st.integers(0, 1000),
            st.integers(1, 255),
            st.integers(SIZE, 12),
        ),
    )
)
def test_a_changed_request_never_moves_the_witness(tmp_path: Path, asked: bytes) -> None:
    """Whatever comes in is one of the outcomes; what is cosigned all the same is a checkpoint of the log, verbatim."""
    tmp_path = tmp_path / hashlib.sha256(asked).hexdigest()
    tmp_path.mkdir(exist_ok=True)
    made = witness(tmp_path, LOG)
    if newest(made) is None:
        made.add_checkpoint(LOG.body(0, SIZE))
    answer = made.add_checkpoint(asked)
    found = newest(made)
    assert found is not None
    assert found.checkpoint == LOG.checkpoint(found.checkpoint.size)
    if answer.outcome is not Outcome.COSIGNED:
        assert found.checkpoint.size == SIZE


def test_a_signer_of_another_log_cannot_speak_for_this_one(tmp_path: Path) -> None:
    """A key is bound to its origin: known keys of one log sign nothing for another."""
    other = History(origin="log.example/other", key="other")
    made = witness(tmp_path, LOG, other)
    forged = checkpoint.sign(LOG.checkpoint(3), [NoteSigner(other.origin, builders.key("other", "ed25519"))])
    assert made.add_checkpoint(body(0, forged)).outcome is Outcome.UNTRUSTED
    assert newest(made) is None
