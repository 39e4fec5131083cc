"""What readers are told: proven, at or below the released checkpoint, complete and in order."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import builders
import fakes
from builders import CAMERA, MODALITY, NOW, REGISTRAR
from platemark import evidence, merkle, statement
from platemark.errors import ProofError
from platemark.rungs import SHA256, SHA512
from platemark.verify import verify
from platemark_ledger import service
from platemark_ledger.anchor import Anchored
from platemark_ledger.errors import NotFoundError, RequestError
from platemark_ledger.opening import Ledger
from platemark_ledger.receipts import Proven, Receipts
from platemark_ledger.sequencer import Logged

SECOND = builders.party("second-registrar")
LATE = builders.party("late-camera", "ed25519")


@pytest.fixture(scope="module", name="served")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ledger, list[bytes]]]:
    """policy, enrol modality, enrol registrar, enrol camera by it, 8 captures by two devices, revocation, fork."""
    founded = fakes.Founded.at(tmp_path_factory.mktemp("ledger"))
    log = founded.log
    log.enrol(MODALITY)
    log.enrol(SECOND, role="registrar")
    log.enrol(CAMERA, role="sensor", by=SECOND)
    for number in range(4):
        log.capture(b"image %d" % (number % 2), "file", "pixels", at=NOW + number, by=MODALITY)
        log.capture(b"image %d" % (number % 2), at=NOW + number, by=CAMERA)
    log.revoke(SECOND, effective=NOW + 2)
    log.capture(b"a clone", epoch=0, seq=1, prev=bytes(32))
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        outcomes = sequencer.submit(log.statements[1:]).result(30).outcomes
        assert all(isinstance(outcome, Logged) for outcome in outcomes)
    yield ledger, log.statements
    ledger.close()


@pytest.fixture(name="receipts")
def _receipts(served: tuple[Ledger, list[bytes]]) -> Receipts:
    return served[0].receipts()


@pytest.fixture(name="raws")
def _raws(served: tuple[Ledger, list[bytes]]) -> list[bytes]:
    return served[1]


def check(proven: Proven, checkpoint: Anchored) -> int:
    """Verify a proof; the index."""
    merkle.verify_inclusion(
        index=proven.record.index,
        size=checkpoint.size,
        leaf_hash=merkle.leaf_hash(proven.record.entry),
        path=proven.path,
        root=checkpoint.root,
    )
    return proven.record.index


def test_every_statement_is_found_by_index_and_id(receipts: Receipts, raws: list[bytes]) -> None:
    """Both give the same record with a path to the checkpoint."""
    for index, raw in enumerate(raws):
        by_index, by_id = receipts.statement(index), receipts.by_id(statement.decode(raw).id)
        assert check(by_index.proven, by_index.checkpoint) == check(by_id.proven, by_id.checkpoint) == index
        assert by_index.proven.record.raw == by_id.proven.record.raw == raw
        assert receipts.index_of(statement.decode(raw).id) == index


def test_inclusion_is_proven_at_every_size(receipts: Receipts, raws: list[bytes]) -> None:
    """In the tree of the checkpoint and in every older one that holds the leaf."""
    leaves = [merkle.leaf_hash(statement.decode(raw).entry) for raw in raws]
    for index, leaf in enumerate(leaves):
        for size in (*range(index + 1, len(raws) + 1), None):
            proof = receipts.inclusion(index, size=size)
            merkle.verify_inclusion(
                index=index, size=proof.size, leaf_hash=leaf, path=proof.path, root=merkle.root(leaves[: proof.size])
            )
            assert merkle.leaf_hash(proof.entry) == leaf


def test_consistency_is_proven_between_all_sizes(receipts: Receipts, raws: list[bytes]) -> None:
    """From every size to every later one."""
    leaves = [merkle.leaf_hash(statement.decode(raw).entry) for raw in raws]
    for new in (*range(1, len(raws) + 1), None):
        for old in range(1, (new or len(raws)) + 1):
            proof = receipts.consistency(old, new_size=new)
            merkle.verify_consistency(
                old_size=old,
                new_size=proof.new_size,
                old_root=merkle.root(leaves[:old]),
                new_root=merkle.root(leaves[: proof.new_size]),
                path=proof.path,
            )


QUESTIONS: dict[str, tuple[type[Exception], str, Callable[[Receipts], object]]] = {
    "index above": (NotFoundError, "not-found", lambda r: r.statement(14)),
    "negative index": (RequestError, "invalid-argument", lambda r: r.statement(-1)),
    "evidence above": (NotFoundError, "not-found", lambda r: r.evidence(14)),
    "unknown id": (NotFoundError, "not-found", lambda r: r.by_id(bytes(32))),
    "short id": (RequestError, "invalid-argument", lambda r: r.index_of(b"x")),
    "size above": (RequestError, "out-of-range", lambda r: r.inclusion(0, size=15)),
    "size not above the index": (RequestError, "out-of-range", lambda r: r.inclusion(3, size=3)),
    "size 0": (RequestError, "invalid-argument", lambda r: r.inclusion(0, size=0)),
    "old size 0": (RequestError, "invalid-argument", lambda r: r.consistency(0)),
    "old size above": (RequestError, "out-of-range", lambda r: r.consistency(5, new_size=4)),
    "new size above": (RequestError, "out-of-range", lambda r: r.consistency(1, new_size=15)),
    "odd digest": (RequestError, "invalid-argument", lambda r: r.lookup(bytes(33))),
    "no limit": (RequestError, "invalid-argument", lambda r: r.lookup(bytes(32), limit=0)),
    "negative start": (RequestError, "invalid-argument", lambda r: r.listing(start=-1)),
    "unknown kind": (RequestError, "invalid-argument", lambda r: r.listing(kind="poem")),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_out_of_range_is_answered_with_its_error(receipts: Receipts, name: str) -> None:
    """The class and the code say whether asking later may help."""
    kind, code, ask = QUESTIONS[name]
    with pytest.raises(kind) as caught:
        ask(receipts)
    assert caught.value.code == code  # type: ignore[attr-defined]


def test_lookup_finds_all_records_of_a_digest_earliest_first(receipts: Receipts) -> None:
    """By either hash algorithm, on any rung or on one, page by page."""
    image = builders.digests(b"image 0", "file", "pixels")
    for algorithm in (SHA256, SHA512):
        page = receipts.lookup(image["file"][algorithm])
        assert [check(proven, page.checkpoint) for proven in page.proven] == [4, 5, 8, 9]
        assert page.next is None
    pixels = receipts.lookup(image["pixels"][SHA256])
    assert [proven.record.index for proven in pixels.proven] == [4, 8]
    assert receipts.lookup(image["pixels"][SHA256], rung="file").proven == ()
    assert receipts.lookup(image["file"][SHA256], algorithm=SHA512).proven == ()
    assert receipts.lookup(bytes(32)).proven == ()
    seen: list[int] = []
    start: int | None = 0
    while start is not None:
        page = receipts.lookup(image["file"][SHA256], start=start, limit=3)
        seen += [proven.record.index for proven in page.proven]
        start = page.next
    assert seen == [4, 5, 8, 9]


def test_a_statement_id_is_no_digest_of_an_image(receipts: Receipts, raws: list[bytes]) -> None:
    """Lookup answers for what a rung carries; ids have their own question."""
    assert receipts.lookup(statement.decode(raws[4]).id).proven == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(14))),
        ({"start": 12}, [12, 13]),
        ({"kind": "enrol"}, [1, 2, 3]),
        ({"kind": "policy"}, [0]),
        ({"kind": "keystate"}, []),
        ({"kid": CAMERA.key.kid}, [5, 7, 9, 11]),
        ({"issuer": MODALITY.uri}, [4, 6, 8, 10, 13]),
        ({"issuer": REGISTRAR.uri, "kind": "revoke"}, [12]),
        ({"issuer": "https://nobody.example/"}, []),
        ({"kid": bytes(32)}, []),
        ({"kid": CAMERA.key.kid, "kind": "enrol"}, []),
        ({"stated_from": NOW + 2, "kind": "capture"}, [8, 9, 10, 11]),
        ({"stated_from": NOW, "stated_until": NOW + 1, "kind": "capture"}, [4, 5, 13]),
        ({"stated_until": NOW}, []),
    ],
)
def test_listings_hold_what_was_asked_for(receipts: Receipts, options: dict[str, object], expected: list[int]) -> None:
    """In log order, whole, however small the steps."""
    for limit in (100, 1, 3):
        seen: list[int] = []
        start: int | None = int(str(options.get("start", 0)))
        below: Anchored | None = None
        while start is not None:
            part = receipts.listing(**{**options, "start": start}, limit=limit, below=below)  # type: ignore[arg-type]
            assert len(part.records) <= limit
            seen += [record.index for record in part.records]
            start, below = part.next, part.checkpoint
        assert seen == expected


def test_a_step_of_a_listing_ends_with_the_statement_that_fills_it(
    receipts: Receipts, raws: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a caller holds for a reader that does not read is bounded in bytes, and a listing always gets on."""
    for most in (1, len(raws[0]) + 1, sum(map(len, raws[:5]))):
        monkeypatch.setattr("platemark_ledger.receipts._LISTED", most)
        seen: list[int] = []
        start: int | None = 0
        while start is not None:
            part = receipts.listing(start=start)
            sizes = [len(record.raw) for record in part.records]
            assert sum(sizes[:-1]) < most
            assert part.next is None or sum(sizes) >= most
            seen += [record.index for record in part.records]
            start = part.next
        assert seen == list(range(14))


def test_evidence_reaches_from_the_statement_to_the_policy(receipts: Receipts) -> None:
    """The camera was enrolled by a registrar whom the policy's registrar enrolled and later revoked."""
    members = receipts.evidence(5)
    groups = [
        [members.subject],
        members.policies,
        members.enrolments,
        members.revocation,
    ]
    found = [[check(proven, members.checkpoint) for proven in group] for group in groups]
    assert found == [[5], [0], [3, 2], []]
    assert members.keystate is None


def test_evidence_of_a_revoked_key_holds_the_revocation(receipts: Receipts) -> None:
    """What the revoked registrar signed comes with the revocation, which a registrar of the policy signed."""
    members = receipts.evidence(3)
    assert [check(proven, members.checkpoint) for proven in members.revocation] == [12]


def test_a_verifier_reads_the_evidence_of_a_revoked_key(receipts: Receipts, served: tuple[Ledger, list[bytes]]) -> None:
    """What a key signed before it was revoked is disputed without a time stamp, and the reader is told."""
    bundle = service.evidence_of(receipts.evidence(3))
    named = builders.Log(statements=served[1]).trust()
    verdict = verify(evidence.from_bytes(bundle.to_bytes()), trust=named, image=None, at=NOW + 1)
    assert {check.number: check.status for check in verdict.checks if check.number < 10} == {
        **dict.fromkeys(range(1, 8), "PASS"),
        8: "NOT CHECKED",
        9: "NOT CHECKED",
    }


def test_evidence_about_a_registrars_own_statement_needs_no_enrolment(receipts: Receipts) -> None:
    """A key that the policy names is trusted through the policy."""
    members = receipts.evidence(1)
    assert members.enrolments == ()
    assert [proven.record.index for proven in members.policies] == [0]


def test_conditions_come_with_the_record(receipts: Receipts) -> None:
    """What the ledger noticed is part of every later answer."""
    codes = [condition.code for condition in receipts.statement(13).proven.record.conditions]
    assert codes == ["fork", "prev-mismatch"]


def test_a_damaged_tree_gives_an_error_and_never_a_proof(tmp_path: Path) -> None:
    """A row that rotted inside the tree is found by the ledger itself, before a client sees the proof."""
    founded = fakes.Founded.at(tmp_path)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment(), *founded.captures(6)]).result(30)
        with ledger.store.write() as transaction:
            row = transaction.row(0, 0)
            assert row is not None
            transaction.put_row(0, 0, bytes(32) + row[32:])
            transaction.commit()
        receipts = ledger.receipts()
        with pytest.raises(ProofError):
            receipts.inclusion(1)
        assert receipts.inclusion(6).index == 6
    ledger.close()
