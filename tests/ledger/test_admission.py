"""What enters the log, what is refused and with which code, and what is logged with a condition."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

import builders
import fakes
from builders import BEGIN, CAMERA, END, MODALITY, NOW, REGISTRAR, Party
from platemark import evidence, keys, statement
from platemark.cbor import Value
from platemark.errors import StatementError
from platemark_ledger import admission
from platemark_ledger.conditions import CONDITIONS, bits_of, conditions_of
from platemark_ledger.errors import REFUSALS, Refusal, RequestError
from platemark_ledger.opening import Ledger
from platemark_ledger.sequencer import MAX_REFERENCES, Appended, Logged, Outcome, Sequencer

SECOND = 10**9
GATEWAY, OPERATOR, STRANGER = builders.party("gateway"), builders.party("operator"), builders.party("stranger")


@dataclass
class Bench:
    """A served ledger: `say` builds with the log of the test and appends."""

    founded: fakes.Founded
    ledger: Ledger
    sequencer: Sequencer
    appended: list[Appended] = field(default_factory=list)

    @property
    def log(self) -> builders.Log:
        """The builder."""
        return self.founded.log

    def append(self, *raws: bytes) -> list[Outcome]:
        """Append in one call and check the answer as a client does."""
        appended = self.sequencer.submit(raws).result(30)
        fakes.check_answer(appended, self.log)
        return list(appended.outcomes)

    def say(self, *indices: int) -> list[Outcome]:
        """Append what the builder made."""
        return self.append(*self.founded.made(*indices))

    def enrolled(self, who: Party, role: str = "modality") -> Party:
        """Enrol a device."""
        (outcome,) = self.say(self.log.enrol(who, role=role))
        assert isinstance(outcome, Logged)
        return who


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Iterator[Bench]:
    founded = fakes.Founded.at(tmp_path)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        yield Bench(founded, ledger, sequencer)
    ledger.close()
    fakes.check_log(founded)


def refusal(outcome: Outcome) -> tuple[str, str]:
    """Code and field."""
    assert isinstance(outcome, Refusal), outcome
    return outcome.code, outcome.field


def codes(outcome: Outcome) -> list[str]:
    """The codes of the conditions with which it was logged."""
    assert isinstance(outcome, Logged), outcome
    return [condition.code for condition in outcome.conditions]


def foreign(log: builders.Log) -> bytes:
    """A capture by a key that nobody enrolled."""
    return log.statements[log.capture(by=STRANGER)]


Refused = Callable[[Bench], bytes]


def _made(bench: Bench, index: int) -> bytes:
    return bench.log.statements[index]


REFUSED: dict[str, tuple[tuple[str, str], Refused]] = {
    "unenrolled key": (("unknown-key", "protected.4"), lambda b: foreign(b.log)),
    "not a statement": (("malformed", "tag"), lambda _: b"hello"),
    "no bytes": (("malformed", "tag"), lambda _: b""),
    "too large for the formats": (("too-large", "statement"), lambda _: bytes(61441)),
    "wrong signature": (("bad-signature", "signature"), lambda b: fakes.flipped(_made(b, b.log.capture()))),
    "high s": (("bad-signature", "signature"), lambda b: fakes.high_s(_made(b, b.log.capture()))),
    "a modality that received": (
        ("wrong-role", "payload.origin"),
        lambda b: _made(b, b.log.capture(origin="gateway-received")),
    ),
    "a modality that enrols": (("wrong-role", "protected.3"), lambda b: _made(b, b.log.enrol(STRANGER, by=MODALITY))),
    "a registrar that captures": (("wrong-role", "protected.3"), lambda b: _made(b, b.log.capture(by=REGISTRAR))),
    "another issuer": (
        ("wrong-issuer", "protected.15.1"),
        lambda b: _made(b, b.log.capture(by=Party(MODALITY.key, "https://hospital.example/other"))),
    ),
    "another log": (("wrong-log", "payload.log"), lambda b: _made(b, b.log.enrol(STRANGER, log=bytes(32)))),
    "before its validity": (("not-yet-valid", "payload"), lambda b: _made(b, b.log.capture(at=BEGIN - 1))),
    "after its validity": (("expired", "payload"), lambda b: _made(b, b.log.capture(at=END + 1))),
    "enrolled twice": (("already-enrolled", "payload.key"), lambda b: _made(b, b.log.enrol(MODALITY))),
    "enrolling a policy key": (
        ("already-enrolled", "payload.key"),
        lambda b: _made(b, b.log.enrol(Party(builders.POLICY_KEY, "https://hospital.example/p"))),
    ),
    "revoking a stranger": (
        ("unknown-target", "payload.kid"),
        lambda b: _made(b, b.log.revoke(STRANGER, effective=NOW)),
    ),
    "revoking the log key": (
        ("unknown-target", "payload.kid"),
        lambda b: _made(b, b.log.revoke(Party(builders.LOG_KEY, "https://x.example/"), effective=NOW)),
    ),
    "policy of the wrong version": (
        ("bad-policy", "payload.version"),
        lambda b: _made(b, b.log.policy(builders.POLICY_KEY, version=2, log=b.log.id, prev=b.log.id)),
    ),
    "policy of another predecessor": (
        ("bad-policy", "payload.prev"),
        lambda b: _made(b, b.log.policy(builders.POLICY_KEY, version=1, log=b.log.id, prev=bytes(32))),
    ),
    "policy without a key of this server": (
        ("bad-policy", "payload.log_keys"),
        lambda b: _made(
            b,
            b.log.policy(
                builders.POLICY_KEY,
                version=1,
                log=b.log.id,
                prev=b.log.id,
                log_keys=[builders.key("other log", "ed25519").spki],
            ),
        ),
    ),
    "policy that renames the log": (
        ("bad-policy", "payload.origin"),
        lambda b: _made(b, _renamed(b.log)),
    ),
    "founding policy again, signed anew": (
        ("wrong-log", "payload.log"),
        lambda b: _made(b, b.log.policy(builders.POLICY_KEY, threshold=1, limits={"statement": 2048, "skew_ns": 0})),
    ),
    "policy naming an enrolled key": (
        ("bad-policy", "payload"),
        lambda b: _made(
            b,
            b.log.policy(
                builders.POLICY_KEY,
                version=1,
                log=b.log.id,
                prev=b.log.id,
                registrars=[builders.registrar_entry(MODALITY)],
            ),
        ),
    ),
}


def _renamed(log: builders.Log) -> int:
    index = log.policy(builders.POLICY_KEY, version=1, log=log.id, prev=log.id)
    payload: dict[str, Value] = {**statement.decode(log.statements[index]).payload, "origin": "other.example/log"}
    issuer = statement.policy_issuer(log.origin)
    return log.add(statement.build("policy", payload, signer=builders.POLICY_KEY, issuer=issuer))


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_enter_is_refused_with_its_code_and_leaves_no_trace(bench: Bench, case: str) -> None:
    """The refusal names the field, the log is as before, neighbours enter, and the operator finds the refusal."""
    expected, make = REFUSED[case]
    bench.enrolled(MODALITY)
    neighbour = bench.log.statements[bench.log.enrol(CAMERA, role="sensor")]
    outcomes = bench.append(make(bench), neighbour)
    assert refusal(outcomes[0]) == expected
    assert isinstance(outcomes[1], Logged)
    assert outcomes[1].index == 2
    bench.sequencer.stop()
    newest = bench.ledger.refused(1)[0]
    assert (newest.code, newest.field) == expected


def test_every_refusal_of_the_table_is_a_declared_code() -> None:
    """No code is invented on the way."""
    assert {expected[0] for expected, _ in REFUSED.values()} <= REFUSALS
    with pytest.raises(ValueError, match="no such refusal"):
        Refusal("because", "x", "y")


def test_the_policy_limits_the_size(tmp_path: Path) -> None:
    """A policy may allow less than the formats do."""
    log = builders.Log(statements=[], registrars=(REGISTRAR,))
    log.statements.clear()
    log.policy(builders.POLICY_KEY, limits={"statement": 1024, "skew_ns": 0})
    founded = fakes.Founded.at(tmp_path, log=log)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        bench = Bench(founded, ledger, sequencer)
        bench.enrolled(OPERATOR, "operator")
        note: builders.Payload = {"at": NOW, "log": log.id, "topic": "remark", "text": "x" * 900}
        (outcome,) = bench.say(log.say("note", note, by=OPERATOR))
        assert refusal(outcome) == ("too-large", "statement")
    ledger.close()


def test_a_key_may_sign_only_below_its_enrolment(bench: Bench) -> None:
    """A capture before its enrolment is refused; in one call with its enrolment before it, it is logged."""
    capture, enrol = bench.log.capture(), bench.log.enrol(MODALITY)
    assert [refusal(outcome) for outcome in bench.say(capture)] == [("unknown-key", "protected.4")]
    outcomes = bench.say(capture, enrol, capture)
    assert refusal(outcomes[0]) == ("unknown-key", "protected.4")
    assert [outcome.index for outcome in outcomes[1:] if isinstance(outcome, Logged)] == [1, 2]


def test_an_enrolment_with_a_false_proof_is_refused(bench: Bench) -> None:
    """Nobody enrols a key whose holder did not ask for it, and its captures in the same call stay out."""
    index = bench.log.enrol(MODALITY)
    payload = {**statement.decode(bench.log.statements[index]).payload, "proof": bytes(64)}
    with pytest.raises(StatementError):
        statement.build("enrol", payload, signer=REGISTRAR.key, issuer=REGISTRAR.uri)
    raw = bench.log.statements[index]
    proof = statement.decode(raw).payload["proof"]
    assert isinstance(proof, bytes)
    forged = raw.replace(proof, bytes(64))
    outcomes = bench.append(forged, bench.log.statements[bench.log.capture()])
    assert refusal(outcomes[0]) == ("malformed", "payload.proof")
    assert refusal(outcomes[1]) == ("unknown-key", "protected.4")


def test_a_revoked_key_is_refused_above_its_revocation(bench: Bench) -> None:
    """Key state is judged by the place in the log: what came before stays, what comes after is refused, a repeat is answered."""
    bench.enrolled(MODALITY)
    before, revoke, after = bench.log.capture(b"1"), bench.log.revoke(MODALITY, effective=NOW), bench.log.capture(b"2")
    outcomes = bench.say(before, revoke, after, before)
    assert [type(outcome) for outcome in outcomes] == [Logged, Logged, Refusal, Logged]
    assert refusal(outcomes[2]) == ("revoked", "protected.4")
    assert isinstance(outcomes[3], Logged)
    assert outcomes[3].duplicate
    record = bench.ledger.key(MODALITY.key.kid)
    assert record is not None
    assert [len(record.at(index)) for index in (1, 2, 3, 4)] == [0, 1, 1, 0]


def test_a_key_is_revoked_once(bench: Bench) -> None:
    """A second revocation, above all one with an earlier effective time, is refused: nobody takes back what had been proven."""
    bench.enrolled(MODALITY)
    first, *others = (bench.log.revoke(MODALITY, effective=NOW + change) for change in (0, 0, -SECOND, SECOND))
    outcomes = bench.say(first, *others)
    assert [refusal(each) for each in outcomes[1:]] == [("already-revoked", "payload.kid")] * 3
    record = bench.ledger.key(MODALITY.key.kid)
    assert record is not None
    assert [each.effective for each in record.revocations] == [NOW]


def test_a_revoked_registrar_enrols_nobody(bench: Bench) -> None:
    """Revoking a registrar that a policy names takes effect at once."""
    outcomes = bench.say(bench.log.revoke(REGISTRAR, effective=NOW), bench.log.enrol(MODALITY))
    assert isinstance(outcomes[0], Logged)
    assert refusal(outcomes[1]) == ("revoked", "protected.4")


def test_an_enrolled_registrar_enrols(bench: Bench) -> None:
    """A registrar may enrol a registrar."""
    second = builders.party("second-registrar")
    bench.enrolled(second, "registrar")
    (outcome,) = bench.say(bench.log.enrol(MODALITY, by=second))
    assert isinstance(outcome, Logged)


def test_a_revoked_enrolled_registrar_enrols_nobody(bench: Bench) -> None:
    """What it enrolled before its revocation stays, in the same batch as in any other; what it enrols after that is refused."""
    second, early, late = (builders.party(name) for name in ("second-registrar", "early", "late"))
    bench.enrolled(second, "registrar")
    outcomes = bench.say(
        bench.log.enrol(early, by=second),
        bench.log.revoke(second, effective=NOW + SECOND),
        bench.log.enrol(late, by=second),
        bench.log.capture(by=early),
    )
    assert [type(outcome) for outcome in outcomes] == [Logged, Logged, Refusal, Logged]
    assert refusal(outcomes[2]) == ("revoked", "protected.4")
    assert bench.ledger.key(late.key.kid) is None


def test_a_repeat_gets_the_first_answer_whatever_its_signature(bench: Bench) -> None:
    """The same to-be-signed bytes have one index: with the same, a fresh or a flipped signature; the first bytes are returned."""
    bench.enrolled(MODALITY)
    raw = _made(bench, bench.log.capture())
    first, again, fresh, high = bench.append(raw, raw, fakes.signed_again(raw, MODALITY), fakes.high_s(raw))
    later = bench.append(fakes.signed_again(raw, MODALITY), fakes.high_s(raw))
    assert isinstance(first, Logged)
    assert not first.duplicate
    for outcome in (again, fresh, high, *later):
        assert isinstance(outcome, Logged)
        assert (outcome.index, outcome.raw, outcome.received, outcome.duplicate) == (
            first.index,
            raw,
            first.received,
            True,
        )
    assert [refusal(each)[0] for each in bench.append(fakes.flipped(raw))] == ["bad-signature"]


@pytest.mark.parametrize("algorithm", ["ed25519", "mldsa44"])
def test_the_other_algorithms_repeat_as_well(bench: Bench, algorithm: builders.Algorithm) -> None:
    """A fresh ML-DSA signature, or the same Ed25519 one, over the same bytes is the same statement."""
    who = bench.enrolled(builders.party(f"device {algorithm}".replace(" ", "-"), algorithm))
    raw = _made(bench, bench.log.capture(by=who))
    first, again = bench.append(raw, fakes.signed_again(raw, who))
    assert isinstance(first, Logged)
    assert isinstance(again, Logged)
    assert (again.index, again.raw) == (first.index, raw)


def chained(bench: Bench, epoch: int, seq: int, prev: int | None, *, at: int = NOW, content: bytes = b"x") -> int:
    """A capture at a place of the modality's chain that names statement `prev`."""
    named = None if prev is None else statement.decode(bench.log.statements[prev]).id
    return bench.log.capture(content, epoch=epoch, seq=seq, prev=named, at=at)


def test_a_chain_that_grows_has_no_conditions(bench: Bench) -> None:
    """Statement after statement, then a new epoch."""
    bench.enrolled(MODALITY)
    places = [chained(bench, 0, 0, None)]
    places += [chained(bench, 0, seq, places[-1]) for seq in (1,)]
    places.append(chained(bench, 0, 2, places[-1]))
    places.append(chained(bench, 5, 0, None))
    assert [codes(outcome) for outcome in bench.say(*places)] == [[], [], [], []]


def test_what_is_wrong_with_a_chain_is_logged_and_noted(bench: Bench) -> None:
    """Gap, late arrival, fork, wrong predecessor and old epoch are never refused."""
    bench.enrolled(MODALITY)
    first = chained(bench, 1, 0, None)
    third = chained(bench, 1, 2, first)
    second = chained(bench, 1, 1, first)
    fork = chained(bench, 1, 2, second, content=b"a cloned key")
    stray = chained(bench, 1, 3, first)
    new = chained(bench, 3, 2, first)
    old = chained(bench, 0, 0, None)
    old_fork = chained(bench, 1, 0, None, content=b"again")
    outcomes = bench.say(first, third, second, fork, stray, new, old, old_fork)
    assert [codes(outcome) for outcome in outcomes] == [
        [],
        ["gap"],
        ["late", "prev-mismatch"],
        ["fork"],
        ["prev-mismatch"],
        ["gap"],
        ["late", "old-epoch"],
        ["fork", "old-epoch"],
    ]


def test_conditions_do_not_depend_on_the_batches(bench: Bench) -> None:
    """Statement by statement the same conditions are found as in one batch."""
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    gap = chained(bench, 0, 2, first)
    fork = chained(bench, 0, 2, first, content=b"other")
    assert [codes(bench.say(each)[0]) for each in (first, gap, fork)] == [[], ["gap"], ["fork"]]


def test_the_first_statement_of_a_chain_may_be_missing(bench: Bench) -> None:
    """A chain that begins in the middle has a gap."""
    bench.enrolled(MODALITY)
    lost = chained(bench, 0, 0, None)
    assert [codes(outcome) for outcome in bench.say(chained(bench, 0, 1, lost))] == [["gap"]]


def test_clocks_are_noted_and_never_a_reason_to_refuse(bench: Bench) -> None:
    """Backwards within a chain, and later than the log's clock by more than the policy allows."""
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    back = chained(bench, 0, 1, first, at=NOW - 1)
    allowed = chained(bench, 0, 2, back, at=NOW + 10 * SECOND)
    ahead = chained(bench, 0, 3, allowed, at=NOW + 10 * SECOND + 1)
    outcomes = bench.say(first, back, allowed, ahead)
    assert [codes(outcome) for outcome in outcomes] == [[], ["clock-backwards"], [], ["clock-future"]]


def test_the_time_of_receipt_never_runs_backwards(bench: Bench) -> None:
    """A clock of the server that is set back does not reorder the log."""
    received = []
    for number, now in enumerate([NOW + 5, NOW + 9, NOW + 2, NOW + 10]):
        bench.founded.clock.now = now
        (outcome,) = bench.say(bench.log.enrol(builders.party(f"device-{number}")))
        assert isinstance(outcome, Logged)
        received.append(outcome.received)
    assert received == [NOW + 5, NOW + 9, NOW + 9, NOW + 10]


def test_a_reference_to_nothing_is_noted(bench: Bench) -> None:
    """An attestation of a statement that the log holds, of one earlier in its batch, and of none."""
    bench.enrolled(MODALITY)
    bench.enrolled(OPERATOR, "operator")
    logged, fresh, lost = (bench.log.capture(content) for content in (b"1", b"2", b"3"))
    bench.say(logged)

    def attest(index: int) -> int:
        of = statement.decode(bench.log.statements[index]).id
        payload: builders.Payload = {"at": NOW, "log": bench.log.id, "of": of, "meaning": "reviewed"}
        return bench.log.say("attest", payload, by=OPERATOR)

    outcomes = bench.say(fresh, attest(logged), attest(fresh), attest(lost))
    assert [codes(outcome) for outcome in outcomes[1:]] == [[], [], ["unknown-reference"]]


def test_roles_sign_what_the_table_allows(bench: Bench) -> None:
    """A gateway states that it received, a sensor signs, an operator attests."""
    bench.enrolled(GATEWAY, "gateway")
    bench.enrolled(CAMERA, "sensor")
    outcomes = bench.say(
        bench.log.capture(by=GATEWAY, origin="gateway-received"),
        bench.log.capture(by=CAMERA, origin="modality-signed"),
        bench.log.capture(by=GATEWAY, origin="modality-signed"),
    )
    assert [type(outcome) for outcome in outcomes] == [Logged, Logged, Refusal]


def test_the_log_key_may_note(bench: Bench) -> None:
    """The log's own key signs notes under the issuer of the policy."""
    note: builders.Payload = {
        "at": NOW,
        "log": bench.log.id,
        "topic": "watchdog",
        "text": "one device has fallen silent",
    }
    by = Party(builders.LOG_KEY, statement.policy_issuer(bench.log.origin))
    (outcome,) = bench.say(bench.log.say("note", note, by=by))
    assert isinstance(outcome, Logged)


def test_conditions_are_the_words_of_the_evidence_format() -> None:
    """The ledger and the verifier know the same conditions in the same order."""
    assert tuple(condition.code for condition in CONDITIONS) == evidence.CONDITIONS


def test_a_condition_of_a_later_release_is_shown() -> None:
    """An unknown bit is never dropped."""
    found = conditions_of(bits_of("fork", "gap") | 1 << 12)
    assert [condition.code for condition in found] == ["gap", "fork", "condition-12"]
    assert all(condition.detail.endswith(".") for condition in found)


def test_low_s_of_the_product_undoes_the_flip(bench: Bench) -> None:
    """The test's flipped signature is the one that the product knows how to undo."""
    raw = _made(bench, bench.log.capture())
    assert keys.low_s(statement.decode(fakes.high_s(raw)).message.signature) == statement.decode(raw).message.signature


def test_forks_without_number_cost_a_search_each(bench: Bench) -> None:
    """A cloned key that signs one place again and again is noted each time; `prev` may name any of them."""
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    forks = [chained(bench, 0, 0, None, content=b"%d" % number) for number in range(50)]
    after = [chained(bench, 0, 1, fork, content=b"after %d" % fork) for fork in forks[-2:]]
    outcomes = bench.say(first, *forks, *after)
    assert [codes(outcome) for outcome in outcomes] == [[], *[["fork"]] * 50, [], ["fork"]]


def test_a_call_that_refers_to_too_many_statements_is_refused_whole(bench: Bench) -> None:
    """Every reference is a search under the lock; the caller is told, and nothing of the call is logged."""
    bench.enrolled(MODALITY)
    parents = cast("list[Value]", [bytes([0, number]) + bytes(30) for number in range(64)])
    captures = [bench.log.capture(b"%d" % number, parents=parents) for number in range(MAX_REFERENCES // 64 + 1)]
    size = bench.ledger.anchor.read().size
    with pytest.raises(RequestError, match="refer to"):
        bench.say(*captures)
    assert bench.ledger.anchor.read().size == size
    assert codes(bench.say(captures[0])[0]) == ["unknown-reference"]


def test_a_policy_key_that_was_a_registrar_is_withdrawn_by_a_policy_alone(tmp_path: Path) -> None:
    """What a key was before does not matter: a registrar cannot freeze the log's policy by revoking its key."""
    other = builders.party("registrar2")
    founded = fakes.Founded.at(tmp_path, log=builders.Log(registrars=(REGISTRAR, other)))
    log, ledger = founded.log, founded.open()
    entry: list[Value] = [builders.registrar_entry(other)]
    keys_of_v1: list[Value] = [REGISTRAR.key.spki]
    made = [
        log.policy(builders.POLICY_KEY, version=1, log=log.id, prev=log.id, keys=keys_of_v1, registrars=entry),
        log.revoke(REGISTRAR, effective=NOW, by=other),
    ]
    prev = statement.decode(log.statements[made[0]]).id
    made.append(log.policy(REGISTRAR.key, version=2, log=log.id, prev=prev, registrars=entry))
    with fakes.sequencing(ledger) as sequencer:
        outcomes = sequencer.submit(founded.made(*made)).result(30).outcomes
    ledger.close()
    assert [each.code if isinstance(each, Refusal) else "logged" for each in outcomes] == [
        "logged",
        "unknown-target",
        "logged",
    ]


def test_a_late_statement_is_compared_with_what_the_key_signed_after_it(bench: Bench) -> None:
    """A clone that fills a place whose true statement is still on the way is found out; the true one is not."""
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    true = [chained(bench, 0, seq, first, content=b"true %d" % seq) for seq in (1, 4)]
    after = [chained(bench, 0, seq, place) for seq, place in zip((2, 5), true, strict=True)]
    clone = chained(bench, 0, 1, first, content=b"a clone")
    outcomes = bench.say(first, *after, clone, true[0], true[1])
    assert [codes(outcome) for outcome in outcomes] == [
        [],
        ["gap"],
        ["gap"],
        ["late", "prev-mismatch"],
        ["fork"],
        ["late"],
    ]


def test_a_late_statement_is_found_out_whatever_the_batches(bench: Bench) -> None:
    """What was committed before says the same as what is in the same batch."""
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    true, clone = (chained(bench, 0, 1, first, content=content) for content in (b"true", b"a clone"))
    after = chained(bench, 0, 2, true)
    found = [codes(bench.say(each)[0]) for each in (first, after, clone, true)]
    assert found == [[], ["gap"], ["late", "prev-mismatch"], ["fork"]]


def test_a_late_statement_that_one_of_a_fork_names_is_no_mismatch(bench: Bench) -> None:
    """After a fork at the place after it, one of the two goes on from the late one."""
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    late, other = (chained(bench, 0, 1, first, content=content) for content in (b"1", b"2"))
    after = [chained(bench, 0, 2, place, content=b"%d" % place) for place in (other, late)]
    bench.say(first, after[0])
    assert [codes(outcome) for outcome in bench.say(after[1], late)] == [["fork"], ["late"]]


def test_a_late_statement_is_compared_with_a_bounded_number(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """Of a place with forks without number those with the least ids are looked at, committed or not."""
    monkeypatch.setattr(admission, "MAX_COMPARED", 2)
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    places = [chained(bench, 0, 1, first, content=b"%d" % number) for number in range(4)]
    after = [chained(bench, 0, 2, place, content=b"after %d" % place) for place in places]
    ids = [statement.decode(bench.log.statements[each]).id for each in after]
    order = sorted(range(4), key=ids.__getitem__)
    bench.say(first, after[order[0]], after[order[3]])
    rest = [after[order[1]], after[order[2]]]
    assert codes(bench.say(*rest, places[order[2]])[2]) == ["late", "prev-mismatch"]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_least_ids_are_the_ones_that_count(monkeypatch: pytest.MonkeyPatch, bench: Bench, rank: int) -> None:
    """A late statement that one of the looked at names is no mismatch, whether that is committed or new."""
    monkeypatch.setattr(admission, "MAX_COMPARED", 2)
    bench.enrolled(MODALITY)
    first = chained(bench, 0, 0, None)
    places = [chained(bench, 0, 1, first, content=b"%d" % number) for number in range(4)]
    after = [chained(bench, 0, 2, place, content=b"after %d" % place) for place in places]
    order = sorted(range(4), key=lambda each: statement.decode(bench.log.statements[after[each]]).id)
    bench.say(first, after[order[0]], after[order[3]])
    assert codes(bench.say(after[order[2]], after[order[1]], places[order[rank]])[2]) == ["late"]


@pytest.mark.parametrize("seed", range(8))
def test_conditions_of_any_order_are_those_of_a_replay(bench: Bench, seed: int) -> None:
    """Two keys at random places, naming anything as `prev`, in batches of any size: the definitions of the format hold."""
    draw = random.Random(seed)
    devices = [bench.enrolled(MODALITY), bench.enrolled(builders.party("modality-2"))]
    made: list[int] = []
    for number in range(80):
        seq = draw.randrange(5)
        prev = statement.decode(bench.log.statements[draw.choice(made)]).id if made else bytes(32)
        made.append(
            bench.log.capture(
                b"%d" % number,
                by=draw.choice(devices),
                epoch=draw.randrange(3),
                seq=seq,
                prev=prev if seq else None,
                at=NOW + draw.randrange(SECOND),
            )
        )
    draw.shuffle(made)
    noticed: set[str] = set()
    while made:
        count = draw.randrange(1, 12)
        noticed |= {code for outcome in bench.say(*made[:count]) for code in codes(outcome)}
        del made[:count]
    assert noticed >= {"gap", "late", "fork", "prev-mismatch", "old-epoch", "clock-backwards"}
