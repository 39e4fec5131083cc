"""Another implementation of RFC 9942, the released scitt-cose: it verifies our receipts and we verify its."""

import hashlib
from typing import Any

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives import serialization
from receipts import ENTRIES, MOVED, inclusion

from builders import Algorithm, key
from platemark import cbor, cose, key_files, merkle, receipt, transparent
from platemark.errors import PlatemarkError, SignatureError, UnsupportedReceiptError

BOTH: list[Algorithm] = ["p256", "ed25519"]  # it has no ML-DSA
NAMES = {"p256": "ES256", "ed25519": "EdDSA"}
HEX = [entry.hex() for entry in ENTRIES[:8]]


def _private(algorithm: Algorithm) -> bytes:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key("log", algorithm).private.secret.private_bytes(pem, pkcs8, serialization.NoEncryption())


def _theirs(algorithm: Algorithm = "ed25519", index: int = 5, **more: Any) -> bytes:
    receipt_bytes: bytes = scitt_cose.build_receipt(
        leaf_entry_hex=HEX[index],
        leaf_index=index,
        tree_entries_hex=HEX,
        alg=NAMES[algorithm],
        log_private_key_pem=_private(algorithm),
        **more,
    )
    return receipt_bytes


def _accepts(raw: bytes, entry: bytes, algorithm: Algorithm = "ed25519") -> scitt_cose.ReceiptResult:
    pem = key_files.public_pem(key("log", algorithm).spki)
    return scitt_cose.verify_receipt(raw, leaf_entry_hex=entry.hex(), log_public_key_pem=pem)


@pytest.mark.parametrize("algorithm", BOTH)
def test_ours_with_theirs(algorithm: Algorithm) -> None:
    """It verifies our receipts of every leaf of every small tree, and reads the same position, issuer and time."""
    for size in range(1, 9):
        for index in range(size):
            result = _accepts(inclusion(index, size, algorithm=algorithm), ENTRIES[index], algorithm)
            assert result.ok, result.errors
            assert (result.leaf_index, result.tree_size) == (index, size)
            assert (result.issuer, result.iat) == ("https://ledger.example/xray", 1_800_000_000)
            assert not _accepts(inclusion(index, size, algorithm=algorithm), b"\xff" * 32, algorithm).ok


@pytest.mark.parametrize("algorithm", BOTH)
@pytest.mark.parametrize(
    "more", [{}, {"iss": "https://log.example", "sub": "a", "iat": 7, "kid": b"1", "grade": "observed-only"}]
)
def test_theirs_with_ours(algorithm: Algorithm, more: dict[str, Any]) -> None:
    """We verify its receipts, whatever optional header they have, and say that their position is not signed."""
    for index, entry in enumerate(ENTRIES[:8]):
        raw = _theirs(algorithm, index, **more)
        read = receipt.parse(raw, foreign=True)
        root = read.verify_inclusion(entry, key("log", algorithm).public)
        assert root.hex() == _accepts(raw, entry, algorithm).root
        assert isinstance(read.proof, receipt.Inclusion)
        assert (read.proof.index, read.proof.size, read.position_signed) == (index, 8, False)
        assert (read.issuer, read.issued_s) == (more.get("iss"), more.get("iat"))
        with pytest.raises(PlatemarkError):
            receipt.parse(raw)


@pytest.mark.parametrize(("index", "size"), MOVED)
def test_a_moved_receipt(index: int, size: int) -> None:
    """It takes the leaf's receipt for another position, which RFC 9942 allows; we refuse it."""
    parts: Any = cbor.decode(inclusion()[1:])
    proof: Any = cbor.decode(parts[1][396][-1][0])
    parts[1][396][-1] = [cbor.encode([size, index, proof[2]])]
    moved = cose.TAG + cbor.encode(parts)
    assert _accepts(moved, ENTRIES[5]).ok
    with pytest.raises(PlatemarkError, match="signed claim"):
        receipt.parse(moved, foreign=True)


def test_its_negatives() -> None:
    """What it refuses for an altered root, path, header or signature we refuse too."""
    good = _theirs(iss="https://log.example", sub="a")
    header, unprotected, payload, signature = cbor2.loads(good).value
    (blob,) = unprotected[396][-1]
    size, index, path = cbor2.loads(blob)

    def joined(*parts: Any) -> bytes:
        return cbor2.dumps(cbor2.CBORTag(18, list(parts)))

    def proof(*parts: Any) -> dict[int, Any]:
        return {396: {-1: [cbor2.dumps(list(parts))]}}

    bad = {
        "path": joined(header, proof(size, index, [*path[:-1], bytes(32)]), payload, signature),
        "short path": joined(header, proof(size, index, list(path[:-1])), payload, signature),
        "index": joined(header, proof(size, index - 1, list(path)), payload, signature),
        "index beyond": joined(header, proof(size, size, list(path)), payload, signature),
        "signature": joined(header, dict(unprotected), payload, bytes(64)),
        "header": joined(header.replace(b"log", b"gol"), dict(unprotected), payload, signature),
        "attached": joined(header, dict(unprotected), bytes(32), signature),
        "trailing": good + b"\x00",
        "untagged": good[1:],
    }
    assert _accepts(good, ENTRIES[5]).ok
    for name, raw in bad.items():
        assert not _accepts(raw, ENTRIES[5]).ok, name
        with pytest.raises(PlatemarkError):
            receipt.parse(raw, foreign=True).verify_inclusion(ENTRIES[5], key("log", "ed25519").public)


def test_ccf() -> None:
    """A receipt of its second profile, CCF, is reported as unsupported and not as bad."""
    header = cbor2.dumps({1: -35, 395: 2})
    proof = cbor2.dumps({1: [bytes(32), "ce:2.3:abc", bytes(32)], 2: [[True, bytes(32)]]})
    raw = cbor2.dumps(cbor2.CBORTag(18, [header, {396: {-1: [proof]}}, None, bytes(96)]))
    with pytest.raises(UnsupportedReceiptError):
        receipt.parse(raw, foreign=True)


def test_transparent_statements() -> None:
    """Each reads the other's transparent statements, and both hash the same bytes for the log entry."""
    statement = scitt_cose.build_signed_statement(
        b"payload",
        alg="EdDSA",
        private_key_pem=_private("ed25519"),
        issuer="https://a.example",
        subject="s",
        content_type="text/plain",
    )
    entry = hashlib.sha256(statement).digest()
    leaf = merkle.leaf_hash(entry)
    raw = receipt.sign_inclusion(
        signer=key("log", "ed25519"),
        issuer="https://log.example",
        subject="s",
        issued_s=7,
        entry=entry,
        index=0,
        size=1,
        path=[],
        root=leaf,
    )
    ours = transparent.attach(statement, [raw])
    assert scitt_cose.extract_receipts(ours) == [raw]
    theirs = scitt_cose.attach_receipts(statement, [raw])
    assert transparent.detach(theirs) == (statement, (raw,))
    assert _accepts(raw, entry).ok


def test_high_s() -> None:
    """Half of its ES256 signatures have a high s: accepted as foreign, while nobody can vary ours."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    parts: Any = cbor.decode(inclusion(algorithm="p256")[1:])
    s = int.from_bytes(parts[3][32:], "big")
    parts[3] = parts[3][:32] + (order - s).to_bytes(32, "big")
    raw = cose.TAG + cbor.encode(parts)
    assert _accepts(raw, ENTRIES[5], "p256").ok
    with pytest.raises(SignatureError, match="high s"):
        receipt.parse(raw).verify_inclusion(ENTRIES[5], key("log").public)
    receipt.parse(raw, foreign=True).verify_inclusion(ENTRIES[5], key("log").public)
