"""Renewal: one token renews many, an old one is shown to be among them, and nothing else can be."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

import stamps
from platemark import renewal
from platemark.errors import TimeStampError, UnprovenTimeError
from platemark.renewal import Proof, Renewal, Stamped, decode_claim, decode_data, decode_proof, encode_data
from platemark.timestamp import TimeStamp, verify_response
from stamps import NOON, SECOND, YEAR, Shop

# The first authority's root is an RSA key of 2048 bits, acceptable to the end of 2030; the second's keys are to 2035.
OLD = stamps.shop(root_key=rsa.generate_private_key(65537, 2048), until=NOON + 9 * YEAR)
NEW = stamps.shop(until=NOON + 20 * YEAR)
AUTHORITIES = [OLD.authority, NEW.authority]
IN_2029, IN_2031, IN_2033, IN_2037 = (NOON + years * YEAR for years in (3, 5, 7, 11))


def stamped(size: int, shop: Shop = OLD, *, at: int = NOON, crls: tuple[bytes, ...] = ()) -> Stamped:
    """A token over what stands for the log note of the checkpoint of `size`."""
    note = b"note %d\n" % size
    return Stamped(size, note, shop.stamp(note, at=at), crls)


ROWS = [stamped(5), stamped(8, crls=(stamps.crl(OLD),)), stamped(8, NEW), stamped(11), stamped(20)]
NEWEST = b"note 20\n"


def renew(
    rows: list[Stamped], *, at: int = IN_2029, shop: Shop = NEW, size: int = 20, algorithm: str = "sha512"
) -> Renewal:
    """A renewal of `rows`, stamped once."""
    claim = renewal.claim(rows, size=size, note=NEWEST).encode()
    return Renewal(claim, ((shop.stamp(claim, at=at, algorithm=algorithm), ()),))


def first(row: Stamped) -> TimeStamp:
    """The row's own token, verified."""
    return verify_response(row.response, message=row.message, authorities=AUTHORITIES, crls=row.crls)


RENEWAL = renew(ROWS)


def judge(row: Stamped, *proofs: Proof) -> tuple[TimeStamp, ...]:
    """The stamps of the row and of the renewals that these proofs show."""
    return renewal.verify_renewals(row, first(row), proofs, authorities=AUTHORITIES)


@pytest.mark.parametrize("row", ROWS)
def test_every_token_of_a_renewal_is_shown_to_be_among_them(row: Stamped) -> None:
    """With one token for all, and a path; then what the old one proves outlives its algorithms."""
    proof = renewal.prove(ROWS, row, renewal=RENEWAL)
    old, new = judge(row, decode_proof(proof.encode()))
    assert (old.time_ns, new.time_ns) == (NOON, IN_2029)
    assert renewal.acceptable((old, new), IN_2033)
    assert not renewal.acceptable((old, new), IN_2037)


def test_without_a_renewal_a_token_stands_as_long_as_its_algorithms() -> None:
    """RSA with 2048 bits is acceptable to the end of 2030."""
    alone = judge(ROWS[0])
    assert renewal.acceptable(alone, IN_2029)
    assert not renewal.acceptable(alone, IN_2031)


def test_a_renewal_is_renewed_in_turn() -> None:
    """The next covers the token of the one before as well, and the proofs follow each other."""
    again = [*ROWS, *RENEWAL.stamped()]
    second = renew(again, at=IN_2033)
    proofs = (
        renewal.prove(ROWS, ROWS[0], renewal=RENEWAL),
        renewal.prove(again, RENEWAL.stamped()[0], renewal=second),
    )
    assert [each.time_ns for each in judge(ROWS[0], *proofs)] == [NOON, IN_2029, IN_2033]
    with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.path: leads to another root"):
        judge(ROWS[0], proofs[1])


def test_a_renewal_that_came_too_late_renews_nothing() -> None:
    """Once an algorithm is no longer acceptable, whoever breaks it can make old tokens."""
    late = renew(ROWS, at=IN_2031)
    with pytest.raises(UnprovenTimeError, match=r"^renewal\[0\]\.genTime: too late: "):
        judge(ROWS[0], renewal.prove(ROWS, ROWS[0], renewal=late))
    assert judge(ROWS[2], renewal.prove(ROWS, ROWS[2], renewal=late))[-1].time_ns == IN_2031


def test_the_stated_accuracy_counts_against_a_renewal() -> None:
    """What may have been stamped after the end was not shown to be in time."""
    end = first(ROWS[0]).acceptable_until
    assert end is not None
    at = end + 1 - SECOND
    in_time = renew(ROWS, at=at)
    assert judge(ROWS[0], renewal.prove(ROWS, ROWS[0], renewal=in_time))[-1].time_ns == at
    accuracy = stamps.accuracy(seconds=1)
    doubtful = Renewal(in_time.claim, ((NEW.stamp(in_time.claim, at=at, algorithm="sha512", accuracy=accuracy), ()),))
    with pytest.raises(UnprovenTimeError, match=r"^renewal\[0\]\.genTime: too late: "):
        judge(ROWS[0], renewal.prove(ROWS, ROWS[0], renewal=doubtful))


def test_a_renewal_before_what_it_renews_is_refused() -> None:
    """It cannot have covered it."""
    early = renew(ROWS, at=NOON - 1)
    with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.genTime: before the time stamp that it renews$"):
        judge(ROWS[0], renewal.prove(ROWS, ROWS[0], renewal=early))


def test_a_renewal_under_the_old_hash_is_refused() -> None:
    """A renewal is stamped under SHA-512, or it would age with what it renews."""
    weak = renew(ROWS, algorithm="sha256")
    with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.tstInfo\.messageImprint: a renewal is stamped under"):
        judge(ROWS[0], renewal.prove(ROWS, ROWS[0], renewal=weak))


def test_a_renewal_by_nobody_trusted_is_refused() -> None:
    """The error says which renewal and why."""
    foreign = renew(ROWS, shop=stamps.shop())
    with pytest.raises(UnprovenTimeError, match=r"^renewal\[0\]\.certificates: no trusted authority leads"):
        judge(ROWS[0], renewal.prove(ROWS, ROWS[0], renewal=foreign))


@pytest.mark.parametrize(
    "change",
    [
        {"size": 6},
        {"message": b"note 6\n"},
        {"response": ROWS[3].response},
        {"crls": (stamps.crl(OLD),)},
    ],
    ids=["size", "message", "response", "crls"],
)
def test_a_renewal_covers_all_of_a_token_and_nothing_beside(change: dict[str, Any]) -> None:
    """Size, message, response and lists of the revoked: another one was not there when it was renewed."""
    other = dataclasses.replace(ROWS[0], **change)
    proof = renewal.prove(ROWS, ROWS[0], renewal=RENEWAL)
    with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.path: leads to another root: this time stamp is not"):
        renewal.verify_renewals(other, first(ROWS[0]), [proof], authorities=AUTHORITIES)
    with pytest.raises(TimeStampError, match=r"^renewal: it does not cover this time stamp$"):
        renewal.prove(ROWS, other, renewal=RENEWAL)


def test_a_proof_for_another_place_is_refused() -> None:
    """Another index, a path that is too long, too short or another."""
    proof = renewal.prove(ROWS, ROWS[0], renewal=RENEWAL)
    others = (
        dataclasses.replace(proof, index=(proof.index + 1) % len(ROWS)),
        dataclasses.replace(proof, index=99),
        dataclasses.replace(proof, path=(*proof.path, bytes(64))),
        dataclasses.replace(proof, path=proof.path[:-1]),
        dataclasses.replace(proof, path=(bytes(64), *proof.path[1:])),
    )
    for other in others:
        with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.path: "):
            judge(ROWS[0], other)


def test_a_changed_claim_is_not_the_stamped_one() -> None:
    """Count, size and checkpoint are under the token, too."""
    proof = renewal.prove(ROWS, ROWS[0], renewal=RENEWAL)
    made = decode_claim(proof.claim)
    changed = dataclasses.replace(made, checkpoint=bytes(64)).encode()
    with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.tstInfo\.messageImprint: of another message$"):
        judge(ROWS[0], dataclasses.replace(proof, claim=changed))
    smaller = dataclasses.replace(made, size=4).encode()
    with pytest.raises(TimeStampError, match=r"^renewal\[0\]\.claim\.size: 4, below the size 5 of what it renews$"):
        judge(ROWS[0], dataclasses.replace(proof, claim=smaller))


def test_a_claim_says_what_whoever_has_the_rows_can_recompute() -> None:
    """In any order, with repetitions; computed again here with hashlib and cbor2 alone."""
    leaves = []
    for row in ROWS:
        digests = [hashlib.sha512(part).digest() for part in (row.message, row.response)]
        lists = [hashlib.sha512(crl).digest() for crl in row.crls]
        leaves.append(hashlib.sha512(b"\x00" + cbor2.dumps([row.size, *digests, lists])).digest())
    a, b, c, d, e = sorted(leaves)

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha512(b"\x01" + left + right).digest()

    expected = {
        "v": 1,
        "hash": -44,
        "root": node(node(node(a, b), node(c, d)), e),
        "count": 5,
        "size": 20,
        "checkpoint": hashlib.sha512(NEWEST).digest(),
    }
    for rows in (ROWS, ROWS[::-1], [*ROWS, ROWS[0]]):
        assert cbor2.loads(renewal.claim(rows, size=20, note=NEWEST).encode()) == expected


def test_there_is_no_renewal_of_nothing_and_none_of_the_future() -> None:
    """A claim has a token to cover, and its checkpoint is the newest."""
    with pytest.raises(TimeStampError, match=r"^renewal: there is no time stamp to renew$"):
        renewal.claim([], size=20, note=NEWEST)
    with pytest.raises(TimeStampError, match=r"^renewal: a time stamp of size 20, and the newest checkpoint has 19$"):
        renewal.claim(ROWS, size=19, note=NEWEST)


def test_the_data_of_a_note_is_read_as_it_was_written() -> None:
    """And what does not fit into a note is not written."""
    listed = Renewal(RENEWAL.claim, ((RENEWAL.stamps[0][0], (stamps.crl(NEW),)), *RENEWAL.stamps))
    assert decode_data(encode_data(listed)) == listed
    assert [each.size for each in listed.stamped()] == [20, 20]
    with pytest.raises(TimeStampError, match=r"^data: \d+ bytes, more than 32768$"):
        encode_data(Renewal(RENEWAL.claim, ((RENEWAL.stamps[0][0], (bytes(32768),)),)))
    with pytest.raises(TimeStampError, match=r"^data\.stamps: 0 items, not 1 to 8$"):
        encode_data(Renewal(RENEWAL.claim, ()))


CLAIM = {"v": 1, "hash": -44, "root": bytes(64), "count": 1, "size": 1, "checkpoint": bytes(64)}
SHORT = cbor2.dumps(CLAIM, canonical=True)
DATA: dict[str, Any] = {"v": 1, "claim": SHORT, "stamps": [[b"r", []]]}
PROOF: dict[str, Any] = {"v": 1, "claim": SHORT, "response": b"r", "crls": [], "index": 0, "path": []}
WHOLE: dict[str, dict[str, Any]] = {"claim": CLAIM, "data": DATA, "proof": PROOF}
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("claim", "version 2", {"v": 2}, "claim.v"),
    ("claim", "another hash", {"hash": -16}, "claim.hash"),
    ("claim", "a root of 32 bytes", {"root": bytes(32)}, "claim.root"),
    ("claim", "no tokens", {"count": 0}, "claim.count"),
    ("claim", "size 0", {"size": 0}, "claim.size"),
    ("claim", "a checkpoint of 63 bytes", {"checkpoint": bytes(63)}, "claim.checkpoint"),
    ("claim", "an unknown field", {"more": 1}, "claim.more"),
    ("data", "version 2", {"v": 2}, "data.v"),
    ("data", "a claim that is none", {"claim": b"\xa0"}, "data.claim.v"),
    ("data", "no stamps", {"stamps": []}, "data.stamps"),
    ("data", "nine stamps", {"stamps": [[b"r", []]] * 9}, "data.stamps"),
    ("data", "a stamp of three parts", {"stamps": [[b"r", [], 1]]}, "data.stamps[0]"),
    ("data", "an empty response", {"stamps": [[b"", []]]}, "data.stamps[0][0]"),
    ("data", "seventeen lists", {"stamps": [[b"r", [b"c"] * 17]]}, "data.stamps[0][1]"),
    ("data", "an unknown field", {"more": 1}, "data.more"),
    ("proof", "version 2", {"v": 2}, "renewal.v"),
    ("proof", "a long claim", {"claim": bytes(1025)}, "renewal.claim"),
    ("proof", "a long response", {"response": bytes(65537)}, "renewal.response"),
    ("proof", "a negative index", {"index": -1}, "renewal.index"),
    ("proof", "a path of 64", {"path": [bytes(64)] * 64}, "renewal.path"),
    ("proof", "a hash of 32 bytes", {"path": [bytes(32)]}, "renewal.path[0]"),
    ("proof", "an unknown field", {"more": 1}, "renewal.more"),
]
DECODERS: dict[str, Callable[[bytes], object]] = {"claim": decode_claim, "data": decode_data, "proof": decode_proof}


def encoded(kind: str, changes: dict[str, Any]) -> bytes:
    """The bytes of a claim, a note's data or a proof with fields changed."""
    data: bytes = cbor2.dumps(WHOLE[kind] | changes, canonical=True)
    return data


@pytest.mark.parametrize(
    ("kind", "changes", "field"), [(row[0], *row[2:]) for row in REFUSED], ids=[": ".join(row[:2]) for row in REFUSED]
)
def test_what_breaks_the_format_is_refused_by_name(kind: str, changes: dict[str, Any], field: str) -> None:
    """Claims, notes and proofs have one form; the fields of each are all there and no others."""
    DECODERS[kind](encoded(kind, {}))
    with pytest.raises(TimeStampError) as refused:
        DECODERS[kind](encoded(kind, changes))
    assert refused.value.field == field


@given(st.sampled_from([*DECODERS]), st.integers(0, 2000), st.binary(min_size=1, max_size=4))
def test_changed_bytes_end_in_an_error_of_ours_or_in_other_content(kind: str, at: int, noise: bytes) -> None:
    """No reader of these formats leaks another exception, and what it accepts it would write with the same bytes."""
    proof = renewal.prove(ROWS, ROWS[0], renewal=RENEWAL)
    sound = {"claim": RENEWAL.claim, "data": encode_data(RENEWAL), "proof": proof.encode()}[kind]
    changed = sound[: at % len(sound)] + noise + sound[at % len(sound) + len(noise) :]
    try:
        read = DECODERS[kind](changed)
    except TimeStampError:
        return
    written = encode_data(read) if isinstance(read, Renewal) else read.encode()  # type: ignore[attr-defined]
    assert written == changed


@given(st.sets(st.integers(1, 1000), min_size=1, max_size=24), st.data())
def test_one_token_is_provable_among_any_number(sizes: set[int], data: st.DataObject) -> None:
    """The path grows with the logarithm of their number."""
    rows = [Stamped(size, b"m", b"r%d" % size) for size in sizes]
    row = data.draw(st.sampled_from(rows))
    made = Renewal(renewal.claim(rows, size=1000, note=b"n").encode(), ((b"r", ()),))
    assert len(renewal.prove(rows, row, renewal=made).path) <= (len(rows) - 1).bit_length()
