"""Asking one witness: what its answers teach, when it is left alone, and that no answer does more than fail without proof."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from platemark import checkpoint as checkpoints
from platemark import note, witness_wire
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureSigner
from platemark_ledger.asking import AskingError
from platemark_ledger.witnessing import Lines, Question, RollbackError, Witness, lines_of

CHECKPOINT = Checkpoint("log.example/a", 5, sha256(b"root").digest())
LOG = note.NoteSigner(CHECKPOINT.origin, builders.key("log", "ed25519"))
SIGNER = CosignatureSigner("w1.test", builders.key("w1.test", "ed25519"))
NOTE = b"a signed note\n"
Answer = tuple[int, str, bytes]
GOOD: Answer = (200, "text/plain", SIGNER.sign(CHECKPOINT, time_s=1).encode())


def signed(size: int, root: bytes = bytes(32), *, by: str = "log", origin: str = CHECKPOINT.origin) -> bytes:
    """What a witness may show."""
    return checkpoints.sign(Checkpoint(origin, size, root), [note.NoteSigner(origin, builders.key(by, "ed25519"))])


def root_at(size: int) -> bytes:
    """The log's roots."""
    return CHECKPOINT.root if size == CHECKPOINT.size else sha256(b"%d" % size).digest()


def conflict(size: int) -> Answer:
    """409 with a size."""
    return 409, "text/x.tlog.size", b"%d\n" % size


class Scene:
    """A witness that gives these answers, one after the other, and the old sizes that it was asked from.

    `shown`: what it shows to everyone as the newest checkpoint; None for nothing.
    """

    def __init__(self, answers: Sequence[Answer], *, anchored: int = 5, shown: bytes | None = None) -> None:
        self.shown = shown
        self.looked = 0
        self.asked: list[tuple[int, int]] = []
        self.answers = list(answers)
        self.anchored = anchored

    def handle(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        if request.method == "GET":
            assert request.url == f"https://w.test/prefix/{sha256(CHECKPOINT.origin.encode()).hexdigest()}/checkpoint"
            self.looked += 1
            return httpx.Response(404) if self.shown is None else httpx.Response(200, content=self.shown)
        assert request.url == "https://w.test/prefix/add-checkpoint"
        said = witness_wire.decode_request(request.content)
        assert said.note == NOTE
        self.asked.append((said.old_size, len(said.proof)))
        status, media, body = self.answers.pop(0)
        return httpx.Response(status, content=body, headers={"content-type": media})

    def cosign(self, *, rounds: int = 1, then: Callable[[Witness, float], None] | None = None) -> list[Lines | str]:
        """What comes of some rounds."""

        async def run() -> list[Lines | str]:
            outcomes: list[Lines | str] = []
            async with httpx.AsyncClient(transport=httpx.MockTransport(self.handle)) as client:
                witness = Witness(
                    client, "https://w.test/prefix/", [SIGNER.verifier], timeout=5.0, pause=1.0, draw=lambda: 1.0
                )
                question = Question(
                    CHECKPOINT,
                    NOTE,
                    lambda old: (bytes(32),) * old,
                    lambda: self.anchored,
                    root_at,
                    lambda: [LOG.verifier],
                )
                for _ in range(rounds):
                    try:
                        outcomes.append(await witness.cosign(question, now_ns=lambda: 7))
                    except AskingError as error:
                        outcomes.append(error.reason)
                if then is not None:
                    then(witness, asyncio.get_running_loop().time())
            return outcomes

        return asyncio.run(run())


LINES = {("w1.test", SIGNER.verifier.key_id): GOOD[2].decode()}


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([GOOD], [(0, 0)]),
        ([conflict(3), GOOD], [(0, 0), (3, 3)]),
        ([conflict(3), conflict(4), GOOD], [(0, 0), (3, 3), (4, 4)]),
        ([conflict(5), GOOD], [(0, 0), (5, 0)]),
    ],
)
def test_a_conflict_teaches_the_size_from_which_to_prove(answers: list[Answer], asked: list[tuple[int, int]]) -> None:
    """The next attempt is from there, with a proof unless it is 0 or this very size."""
    scene = Scene(answers)
    assert scene.cosign() == [LINES]
    assert scene.asked == asked


def test_what_was_learnt_is_kept_for_the_next_round() -> None:
    """After a cosignature the next question starts at its size."""
    scene = Scene([conflict(2), GOOD, GOOD])
    assert scene.cosign(rounds=2) == [LINES, LINES]
    assert scene.asked == [(0, 0), (2, 2), (5, 0)]


def test_a_witness_that_moves_each_time_is_left_for_the_next_round() -> None:
    """Three attempts in a round are enough."""
    scene = Scene([conflict(1), conflict(2), conflict(3)])
    assert scene.cosign() == ["it names another size each time"]


UNPROCESSABLE: Answer = (422, "text/plain", b"no\n")
claims = pytest.mark.parametrize(
    ("answers", "claim"),
    [
        ([conflict(6)], "says that it has cosigned size 6, and this log has 5"),
        ([UNPROCESSABLE], "refuses the proof from size 0 to 5"),
        ([conflict(5), conflict(5)], "says that it has another root at size 5"),
        ([conflict(4), UNPROCESSABLE], "refuses the proof from size 4 to 5"),
    ],
    ids=["a larger size", "unprocessable", "the old way to say another root", "after learning"],
)


@claims
@pytest.mark.parametrize(
    ("shown", "proof"),
    [
        (signed(6), "has seen size 6, and the data ends at size 5"),
        (signed(5), "has seen another root at size 5"),
        (signed(3), "has seen another root at size 3"),
    ],
    ids=["a later past", "another root", "another root below"],
)
def test_another_past_over_our_own_signature_is_not_a_failure_but_an_alarm(
    answers: list[Answer], claim: str, shown: bytes, proof: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it claimed, what it shows decides; the error has the proof."""
    with pytest.raises(RollbackError) as caught:
        Scene(answers, shown=shown).cosign()
    assert caught.value.reason == f"witness w1.test {proof}"
    assert claim not in caplog.text  # that line is for claims without proof
    assert (caught.value.url, caught.value.note) == ("https://w.test/prefix", shown)


@claims
@pytest.mark.parametrize(
    "shown",
    [
        None,
        b"hello",
        signed(6, by="stranger"),
        signed(6, origin="other.example"),
        signed(5, CHECKPOINT.root),
        signed(3, root_at(3)),
    ],
    ids=["nothing", "no note", "another key", "another log", "this very past", "an earlier part of it"],
)
def test_who_claims_another_past_and_shows_none_fails_and_rests(
    answers: list[Answer], claim: str, shown: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """No witness stops a log by talking: it counts as any that fails, and the log says critically what it claimed."""

    def rests(witness: Witness, now: float) -> None:
        assert witness.rests(now)
        assert witness.state.failures == 1

    scene = Scene(answers, shown=shown)
    assert scene.cosign(then=rests) == [f"it {claim}: it claims another past and shows none that this log signed"]
    assert scene.looked == 1
    assert [(record.levelname, claim in record.message) for record in caplog.records] == [("CRITICAL", True)]


def test_a_claim_is_one_line_in_the_log_until_the_witness_cosigns(caplog: pytest.LogCaptureFixture) -> None:
    """Not one for each try, not even when it fails in other ways between; one again after it has cosigned."""
    failure: Answer = (500, "text/plain", b"oops\n")
    answers = [failure, UNPROCESSABLE, failure, UNPROCESSABLE, conflict(9), GOOD, UNPROCESSABLE]
    with caplog.at_level(logging.INFO, "platemark.publisher"):
        Scene(answers).cosign(rounds=7)
    said = [record.levelname for record in caplog.records if record.name == "platemark.publisher"]
    assert said == ["WARNING", "CRITICAL", "INFO", "CRITICAL"]


def test_who_claims_another_past_and_then_hangs_fails() -> None:
    """What it shows is waited for no longer than an answer."""

    async def run() -> None:
        async def handle(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                await asyncio.Event().wait()
            return httpx.Response(422)

        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
            witness = Witness(client, "https://w.test", [SIGNER.verifier], timeout=0.05, pause=1.0)
            question = Question(CHECKPOINT, NOTE, lambda _: (), lambda: 5, root_at, lambda: [LOG.verifier])
            with pytest.raises(AskingError, match="claims another past and shows none"):
                await witness.cosign(question, now_ns=lambda: 7)

    asyncio.run(run())


def test_a_witness_that_is_ahead_of_an_old_question_is_no_alarm() -> None:
    """Below the size that is anchored by now, it was asked by the publisher before us."""
    scene = Scene([conflict(6)], anchored=9)
    assert scene.cosign() == ["it is ahead of this question"]
    assert scene.looked == 0


def test_who_fails_rests_longer_each_time_up_to_a_bound() -> None:
    """2, 4, 8 and then 15 seconds here; who cosigns again is asked again at once."""
    failure: Answer = (500, "text/plain", b"oops\n")
    for count, pause in ((1, 2.0), (2, 4.0), (3, 8.0), (4, 15.0), (5, 15.0), (60, 15.0)):

        def check(witness: Witness, now: float, *, count: int = count, pause: float = pause) -> None:
            assert witness.rests(now + pause - 1)
            assert not witness.rests(now + pause + 1)
            assert witness.state.failures == count

        assert Scene([failure] * count).cosign(rounds=count, then=check) == ["status 500: oops"] * count

    def recovered(witness: Witness, now: float) -> None:
        assert witness.state.answered == 7
        assert not witness.rests(now + 3)

    Scene([failure, GOOD]).cosign(rounds=2, then=recovered)


@given(
    st.sampled_from([200, 201, 204, 400, 403, 404, 409, 422, 429, 500]),
    st.text(max_size=30) | st.just("text/x.tlog.size"),
    st.binary(max_size=200) | st.integers(0, 2**63).map(b"%d\n".__mod__),
    st.none() | st.binary(max_size=200),
)
def test_any_answer_is_cosignatures_or_a_failure(status: int, media: str, body: bytes, shown: bytes | None) -> None:
    """Whatever a witness says, without this log's signature nothing but AskingError comes of it."""
    safe = "".join(each for each in media if each.isascii() and each.isprintable())
    outcomes = Scene([(status, safe, body)] * 3, shown=shown).cosign()
    assert all(isinstance(each, str) or status == 200 for each in outcomes)


@given(st.binary(max_size=300))
def test_lines_are_verified_or_refused(said: bytes) -> None:
    """No bytes but a signature of a known key over this checkpoint are cosignatures."""
    with pytest.raises(AskingError):
        lines_of(said, CHECKPOINT, [SIGNER.verifier])


def test_what_a_stranger_says_reaches_the_log_printable_and_short() -> None:
    """Control characters and length are cut."""
    (said,) = Scene([(500, "text/html", b"\x1b[31m<h1>\xff" + b"x" * 500)]).cosign()
    assert isinstance(said, str)
    assert said.isprintable()
    assert len(said) < 150
