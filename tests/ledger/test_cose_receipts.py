"""Receipts of a ledger: one by each log key over the same position, and none that does not verify."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

import fakes
from builders import LOG_KEY, MODALITY, NOW, ORIGIN, key
from platemark import merkle, receipt, statement, transparent
from platemark.errors import ProofError, ReceiptError, SignatureError
from platemark_ledger.cose_receipts import consistency_receipts, inclusion_receipts
from platemark_ledger.opening import Ledger

SIGNERS = [LOG_KEY, key("log pq", "mldsa44")]
ISSUED = NOW // 10**9


@pytest.fixture(scope="module", name="ledger")
def _ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """policy, enrol modality, 7 captures."""
    founded = fakes.Founded.at(tmp_path_factory.mktemp("ledger"))
    founded.log.enrol(MODALITY)
    for number in range(7):
        founded.log.capture(b"image %d" % number, at=NOW + number, by=MODALITY)
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit(founded.log.statements[1:]).result(30)
    yield ledger
    ledger.close()


def test_a_receipt_by_each_key(ledger: Ledger) -> None:
    """Every record has a receipt by every log key, under one position, root, issuer and subject."""
    receipts = ledger.receipts()
    for index in range(receipts.checkpoint().size):
        found = receipts.statement(index)
        made = inclusion_receipts(found.proven, found.checkpoint, origin=ORIGIN, signers=SIGNERS, issued_s=ISSUED)
        assert len(made) == 2
        for raw, signer in zip(made, SIGNERS, strict=True):
            read = receipt.parse(raw)
            assert read.verify_inclusion(found.proven.record.entry, signer.public) == found.checkpoint.root
            assert read.proof == receipt.Inclusion(index, found.checkpoint.size, found.proven.path)
            assert (read.issuer, read.issued_s) == (f"https://{ORIGIN}", ISSUED)
            assert read.subject == found.proven.record.statement.subject
        whole = transparent.attach(found.proven.record.raw, made)
        bare, carried = transparent.detach(whole)
        assert carried == made
        assert statement.decode(bare).entry == found.proven.record.entry


def test_growth(ledger: Ledger) -> None:
    """Growth from every older size to the newest has its receipts, and a tree has none of itself."""
    receipts = ledger.receipts()
    released = receipts.checkpoint()
    leaves = [merkle.leaf_hash(receipts.statement(index).proven.record.entry) for index in range(released.size)]
    for old in range(1, released.size):
        grown, before = receipts.consistency(old), merkle.root(leaves[:old])
        made = consistency_receipts(
            grown, old_root=before, new_root=released.root, origin=ORIGIN, signers=SIGNERS, issued_s=ISSUED
        )
        for raw, signer in zip(made, SIGNERS, strict=True):
            assert receipt.parse(raw).verify_consistency(before, signer.public) == released.root
    same = receipts.consistency(released.size)
    with pytest.raises(ReceiptError, match="nothing to prove"):
        consistency_receipts(
            same, old_root=released.root, new_root=released.root, origin=ORIGIN, signers=SIGNERS, issued_s=ISSUED
        )


def test_nothing_false_leaves(ledger: Ledger) -> None:
    """A path to another root is never signed, and a signature that does not verify never leaves."""
    found = ledger.receipts().statement(3)
    other = replace(found.checkpoint, root=bytes(32))
    with pytest.raises(ProofError):
        inclusion_receipts(found.proven, other, origin=ORIGIN, signers=SIGNERS, issued_s=ISSUED)

    lying = fakes.FaultySigner(LOG_KEY, armed=True, lies=True)
    with pytest.raises(SignatureError):
        inclusion_receipts(found.proven, found.checkpoint, origin=ORIGIN, signers=[lying], issued_s=ISSUED)
