"""Renewing a log's time stamps: what the note covers, what evidence can show of it, and what it does without."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import fakes
import stamps
from platemark import renewal, statement, timestamp
from platemark.checkpoint import Checkpoint
from platemark.renewal import Stamped
from platemark.timestamp import Authority, verify_response
from platemark_ledger import published, renewing
from platemark_ledger.demo import stamping
from platemark_ledger.opening import Ledger
from platemark_ledger.published import Published, Stamp
from platemark_ledger.renewing import SETTLED_NS, RenewingError
from platemark_ledger.signing import sign_checkpoint
from stamps import NOON, SECOND, YEAR, Shop

SHOP = stamps.shop(label="renewing", until=NOON + 9 * YEAR)
OTHER = stamps.shop(label="renewing, too", until=NOON + 9 * YEAR)
AUTHORITIES = [SHOP.authority, OTHER.authority]


class Stamping:
    """A ledger whose checkpoints are stamped when a test says so."""

    def __init__(self, founded: fakes.Founded, ledger: Ledger) -> None:
        self.founded, self.ledger = founded, ledger

    def publish(self, *shops: Shop, crls: tuple[bytes, ...] = ()) -> Published:
        """The log's newest checkpoint, published now and stamped by these."""
        released, now = self.ledger.anchor.read(), self.founded.clock.now
        note = sign_checkpoint(self.ledger.signers, Checkpoint(self.ledger.origin, released.size, released.root))
        answers = tuple(Stamp(f"tsa {number}", shop.stamp(note, at=now), crls) for number, shop in enumerate(shops))
        with self.ledger.store.write() as transaction:
            row = published.put(transaction, Published(released.size, released.root, note, now, stamps=answers))
            transaction.commit()
        return row

    def grow(self) -> None:
        """One more capture."""
        with fakes.sequencing(self.ledger) as sequencer:
            (outcome,) = sequencer.submit(self.founded.captures(1)).result(30).outcomes
        assert not isinstance(outcome, Exception)

    def wait(self, seconds: int = SETTLED_NS // SECOND) -> None:
        """Time passes."""
        self.founded.clock.now += seconds * SECOND

    def renew(self) -> renewing.Renewed:
        """Renewed by SHOP at the clock's time."""
        return renewing.append(self.ledger, self.ask)

    def ask(self, claim: bytes) -> Sequence[Stamp]:
        """SHOP's answer."""
        return [Stamp("tsa", SHOP.stamp(claim, at=self.founded.clock.now, algorithm="sha512"))]

    def evidence(self, row: Published, number: int = 0) -> list[int]:
        """The times at which a stamp of a row and its renewals are proven, as a verifier finds them."""
        stamp = row.stamps[number]
        one = Stamped(row.size, row.log_note, stamp.response, stamp.crls)
        with self.ledger.store.read() as transaction:
            proofs = renewing.proofs(transaction, one, transaction.head().size)
        first = verify_response(one.response, message=one.message, authorities=AUTHORITIES, crls=one.crls)
        return [each.time_ns for each in renewal.verify_renewals(one, first, proofs, authorities=AUTHORITIES)]


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Iterator[Stamping]:
    founded = fakes.Founded.at(tmp_path, log=None)
    founded.clock.now = NOON
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        assert sequencer.submit([founded.enrolment()]).result(30).outcomes
    yield Stamping(founded, ledger)
    ledger.close()


def test_one_note_renews_every_stamp_and_evidence_shows_it(log: Stamping) -> None:
    """Also the stamps of renewals before it; each is proven at the time of its own token and at those of its renewals."""
    first = log.publish(SHOP, crls=(stamps.crl(SHOP, made=NOON),))
    log.wait(60)
    log.grow()
    second = log.publish(SHOP, OTHER)
    log.wait()
    renewed = log.renew()
    assert (renewed.size, renewed.count, renewed.stamps) == (second.size, 3, 1)
    assert log.evidence(first) == [NOON, NOON + 660 * SECOND]
    log.wait()
    log.grow()
    third = log.publish(SHOP)
    log.wait()
    again = log.renew()
    assert (again.size, again.count, again.index) == (third.size, 5, third.size)
    assert log.evidence(first) == [NOON, NOON + 660 * SECOND, NOON + 1860 * SECOND]
    assert log.evidence(second, 1) == [NOON + 60 * SECOND, NOON + 660 * SECOND, NOON + 1860 * SECOND]
    assert log.evidence(third) == [NOON + 1260 * SECOND, NOON + 1860 * SECOND]


def test_the_note_is_the_logs_own_and_continues_its_chain(log: Stamping) -> None:
    """Signed by the log key, of topic renewal, without a gap or a fork; and anybody can compute its claim again."""
    row = log.publish(SHOP)
    log.wait()
    for place in (0, 1):
        renewed = log.renew()
        with log.ledger.store.read() as transaction:
            stored = transaction.statement(renewed.index)
            covered = list(renewing.items(transaction, renewed.size, renewed.index))
        note = statement.decode(stored.raw)
        note.verify(log.ledger.signers[0].signer.public)  # type: ignore[attr-defined]  # the signer of the tests has it
        assert (note.kind, note.payload["topic"], note.seq, stored.conditions) == ("note", "renewal", place, 0)
        made = renewal.decode_data(note.payload["data"])  # type: ignore[arg-type]  # bytes, by its kind
        assert renewal.claim(covered, size=row.size, note=row.log_note).encode() == made.claim


def test_what_may_still_get_a_stamp_is_left_to_the_next(log: Stamping) -> None:
    """A checkpoint younger than ten minutes is not covered yet; without an older one there is nothing to renew."""
    log.publish(SHOP)
    log.wait(SETTLED_NS // SECOND - 1)
    with pytest.raises(RenewingError, match=r"^no published checkpoint that is older than 600 s has a time stamp$"):
        log.renew()
    log.wait(1)
    log.grow()
    fresh = log.publish(SHOP)
    renewed = log.renew()
    assert renewed.size < fresh.size
    assert renewed.count == 1
    assert log.evidence(fresh) == [fresh.at]


def test_a_log_without_stamps_has_nothing_to_renew(log: Stamping) -> None:
    """Publishing alone is no time stamp."""
    log.publish()
    log.wait()
    with pytest.raises(RenewingError, match=r"has a time stamp$"):
        log.renew()


def test_lists_that_do_not_fit_into_a_note_are_left_out(log: Stamping) -> None:
    """The answer itself is what counts."""
    log.publish(SHOP)
    log.wait()

    def ask(claim: bytes) -> Sequence[Stamp]:
        return [Stamp(each.authority, each.response, (bytes(40_000),)) for each in log.ask(claim)]

    assert renewing.append(log.ledger, ask).stamps == 1
    with pytest.raises(RenewingError, match=r"^no answer of an authority fits into a note$"):
        renewing.append(log.ledger, lambda _: [Stamp("tsa", bytes(40_000))])


def test_notes_of_another_form_renew_nothing(log: Stamping) -> None:
    """A renewal that cannot be read is passed over, and the next one covers all that there is."""
    row = log.publish(SHOP)
    log.wait()
    with fakes.sequencing(log.ledger) as sequencer:
        assert not isinstance(sequencer.submit([_note(log, b"\xa0")]).result(30).outcomes[0], Exception)
    assert log.renew().count == 1
    assert len(log.evidence(row)) == 2


def _note(log: Stamping, data: bytes) -> bytes:
    """A note of topic renewal with any data, at the start of the log key's chain."""
    ledger = log.ledger
    payload = {
        "epoch": 0,
        "seq": 0,
        "prev": None,
        "at": log.founded.clock.now,
        "log": ledger.log_id,
        "topic": "renewal",
        "text": "not a renewal",
        "data": data,
    }
    issuer = statement.policy_issuer(ledger.origin)
    return statement.build("note", payload, signer=ledger.signers[0].signer, issuer=issuer)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: b"garbage", "response: "),
        (lambda _: stamping.REJECTED["badAlg"], "status: the authority did not grant the request: rejection"),
        (lambda _: SHOP.stamp(b"another", algorithm="sha512"), "tstInfo.messageImprint: of another message"),
        (lambda query: stamping.respond(query, stamper=SHOP.stamper, now=NOON), None),
    ],
    ids=["garbage", "a rejection", "another message", "sound"],
)
def test_an_answer_is_checked_before_it_is_logged(
    answer: Callable[[bytes], bytes], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as that is possible without the root of the authority; the reason names the authority."""
    monkeypatch.setattr(renewing, "_posted", lambda _url, content, _timeout: answer(content))
    ask = renewing.over_http(["http://tsa.test/"], timeout=1, now_ns=lambda: NOON)
    if reason is None:
        (stamp,) = ask(b"claim")
        authority = Authority("test", SHOP.authority.roots)
        assert verify_response(stamp.response, message=b"claim", authorities=[authority]).hash_algorithm == "SHA-512"
        return
    with pytest.raises(RenewingError, match=rf"^http://tsa\.test/: {reason}"):
        ask(b"claim")


def _flipped(query: bytes) -> bytes:
    body = stamping.respond(query, stamper=SHOP.stamper, now=NOON)
    return body[:-1] + bytes([body[-1] ^ 1])


@pytest.mark.parametrize(
    ("answer", "now", "crl", "reason"),
    [
        (_flipped, NOON, None, "signature: it does not verify"),
        (None, NOON + 301 * SECOND, None, "genTime: more than 300 s from the clock here"),
        (None, NOON, b"a list", r"crls\[0\]: not a DER certificate revocation list"),
        (None, NOON, stamps.crl(SHOP, revoked=NOON), "certificate: revoked at or before the time of the token"),
    ],
    ids=["a flipped bit", "another time", "no list", "taken back"],
)
def test_what_every_verifier_calls_a_fault_renews_nothing(
    answer: Callable[[bytes], bytes] | None,
    now: int,
    crl: bytes | None,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A renewal with a fault would make the evidence that rests on it invalid."""
    sound = answer or (lambda query: stamping.respond(query, stamper=SHOP.stamper, now=NOON))
    monkeypatch.setattr(renewing, "_posted", lambda _url, content, _timeout: sound(content))
    ask = renewing.over_http(["http://tsa.test/"], timeout=1, now_ns=lambda: now, crls=[] if crl is None else [crl])
    with pytest.raises(RenewingError, match=rf"^http://tsa\.test/: {reason}"):
        ask(b"claim")


def test_one_authority_that_answers_is_enough_and_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faults of the others are told only when nobody answered."""

    def posted(url: str, content: bytes, _: float) -> bytes:
        return b"" if "bad" in url else stamping.respond(content, stamper=SHOP.stamper, now=NOON)

    monkeypatch.setattr(renewing, "_posted", posted)
    crl, urls = stamps.crl(SHOP), ["http://bad.test/", "http://good.test/"]
    (stamp,) = renewing.over_http(urls, timeout=1, now_ns=lambda: NOON, crls=[crl])(b"claim")
    assert (stamp.authority, stamp.crls) == ("http://good.test/", (crl,))
    assert timestamp.check_response(stamp.response, message=b"claim").hash_algorithm == "SHA-512"
    with pytest.raises(RenewingError, match=r"^no time-stamping authority is configured \(tsa\)$"):
        renewing.over_http([], timeout=1, now_ns=lambda: NOON)(b"claim")
