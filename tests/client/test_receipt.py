"""COSE receipts: one table of refusals, positions that cannot be moved, and bytes that nobody can vary."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receipts import ENTRIES, ISSUED, LOG, MOVED, consistency, inclusion

from builders import Algorithm, key
from platemark import cbor, cose, merkle, receipt
from platemark.errors import PlatemarkError, ProofError, ReceiptError, SignatureError, UnsupportedReceiptError
from platemark.keys import EDDSA

ALGORITHMS: list[Algorithm] = ["p256", "ed25519", "mldsa44"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_inclusion(algorithm: Algorithm) -> None:
    """What a log signs with any of its keys is read back whole and leads to the root."""
    read = receipt.parse(inclusion(algorithm=algorithm))
    assert read.verify_inclusion(ENTRIES[5], key("log", algorithm).public) == merkle.root(
        map(merkle.leaf_hash, ENTRIES[:8])
    )
    assert (read.issuer, read.subject) == (
        "https://ledger.example/xray",
        "urn:uuid:00000000-0000-4000-8000-000000000000",
    )
    assert (read.issued_s, read.kid, read.position_signed) == (ISSUED, key("log", algorithm).kid, True)
    assert isinstance(read.proof, receipt.Inclusion)
    assert (read.proof.index, read.proof.size) == (5, 8)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_consistency(algorithm: Algorithm) -> None:
    """A receipt of growth leads from the older root to the newer one."""
    read = receipt.parse(consistency(algorithm=algorithm))
    old = merkle.root(map(merkle.leaf_hash, ENTRIES[:3]))
    new = merkle.root(map(merkle.leaf_hash, ENTRIES[:8]))
    assert read.verify_consistency(old, key("log", algorithm).public) == new
    assert isinstance(read.proof, receipt.Consistency)
    assert (read.proof.old_size, read.proof.new_size, read.position_signed) == (3, 8, True)


def test_every_position_of_every_small_tree() -> None:
    """Every leaf of every tree, and every growth between two trees, has a receipt that verifies."""
    for size in range(1, 18):
        root = merkle.root(map(merkle.leaf_hash, ENTRIES[:size]))
        for index in range(size):
            assert receipt.parse(inclusion(index, size)).verify_inclusion(ENTRIES[index], LOG.public) == root
        for old in range(1, size):
            before = merkle.root(map(merkle.leaf_hash, ENTRIES[:old]))
            assert receipt.parse(consistency(old, size)).verify_consistency(before, LOG.public) == root


Parts = dict[str, Any]


def _parts(raw: bytes) -> Parts:
    message: Any = cbor.decode(raw[1:])
    header, unprotected, payload, signature = message
    protected: Any = cbor.decode(header)
    return {"header": protected, "unprotected": unprotected, "payload": payload, "signature": signature}


def _join(parts: Parts, *, tag: bytes = cose.TAG) -> bytes:
    header = parts["header"] if isinstance(parts["header"], bytes) else cbor.encode(parts["header"])
    return tag + cbor.encode([header, parts["unprotected"], parts["payload"], parts["signature"]])


def changed(change: Callable[[Parts], None], raw: bytes = b"") -> bytes:
    """A receipt whose parts were changed, with the signature that it had."""
    parts = _parts(raw or inclusion())
    change(parts)
    return _join(parts)


def _set(*where: Any, to: Any) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        target: Any = parts
        for step in where[:-1]:
            target = target[step]
        target[where[-1]] = to

    return change


def _drop(*where: Any) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        target: Any = parts
        for step in where[:-1]:
            target = target[step]
        del target[where[-1]]

    return change


def _proof(value: object) -> Callable[[Parts], None]:
    return _set("unprotected", 396, -1, to=[cbor.encode(value)])


def _twice(raw: bytes) -> bytes:
    """The receipt with its algorithm given twice in the protected header."""
    header = cbor.encode(_parts(raw)["header"])
    parts = _parts(raw)
    parts["header"] = bytes([header[0] + 1]) + header[1:3] + header[1:]
    return _join(parts)


_PATH = [bytes(32)] * 3
_GROWTH = {-2: [cbor.encode([5, 8, _PATH])]}
# What both readers refuse: name, bytes, the part that the error names.
REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "tag"),
    ("untagged", inclusion()[1:], "tag"),
    ("another tag", b"\xd1" + inclusion()[1:], "tag"),
    ("trailing bytes", inclusion() + b"\x00", "receipt"),
    ("cut", inclusion()[:-1], "signature"),
    ("an array of three", b"\xd2\x83" + inclusion()[2:], "receipt"),
    ("too large", inclusion() + bytes(receipt.MAX_RECEIPT), "receipt"),
    ("an attached payload", changed(_set("payload", to=bytes(32))), "payload"),
    ("a header that is no byte string", cose.TAG + cbor.encode([1, {396: {-1: [b""]}}, None, bytes(64)]), "protected"),
    ("an empty header", changed(_set("header", to=b"")), "protected"),
    ("maps in maps", b"\xd2\x84\x40" + b"\xa1\x00" * 4000, "unprotected"),
    ("maps in maps in the header", cose.TAG + cbor.encode([b"\xa1\x00" * 4000, {}, None, b""]), "protected"),
    ("trailing bytes in the header", changed(_set("header", to=cbor.encode({1: EDDSA}) + b"\x00")), "protected"),
    ("a label twice", _twice(inclusion()), "protected"),
    ("crit", changed(_set("header", 2, to=[395])), "protected.2"),
    ("no algorithm", changed(_drop("header", 1)), "protected.1"),
    ("an unknown algorithm", changed(_set("header", 1, to=-35)), "protected.1"),
    ("the algorithm of another key size", changed(_set("header", 1, to=-48)), "signature"),
    ("a boolean algorithm", changed(_set("header", 1, to=True)), "protected.1"),
    ("a key id that is text", changed(_set("header", 4, to="log")), "protected.4"),
    ("claims that are no map", changed(_set("header", 15, to=[])), "protected.15"),
    ("an issuer that is no text", changed(_set("header", 15, 1, to=b"log")), "protected.15.1"),
    ("an empty subject", changed(_set("header", 15, 2, to="")), "protected.15.2"),
    ("a negative time", changed(_set("header", 15, 6, to=-1)), "protected.15.6"),
    ("a boolean data structure", changed(_set("header", 395, to=True)), "protected.395"),
    ("no data structure", changed(_drop("header", 395)), "protected.395"),
    ("no unprotected header", changed(_set("unprotected", to=[])), "unprotected"),
    ("no proofs", changed(_set("unprotected", to={})), "unprotected"),
    ("the algorithm in the unprotected header", changed(_set("unprotected", 1, to=EDDSA)), "unprotected.1"),
    ("crit in the unprotected header", changed(_set("unprotected", 2, to=[395])), "unprotected.2"),
    ("the data structure in the unprotected header", changed(_set("unprotected", 395, to=1)), "unprotected.395"),
    ("an empty map of proofs", changed(_set("unprotected", 396, to={})), "unprotected.396"),
    ("an unknown type of proof", changed(_set("unprotected", 396, to={-3: [b""]})), "unprotected.396"),
    ("both types of proof", changed(_set("unprotected", 396, -2, to=[b""])), "unprotected.396"),
    ("no proof", changed(_set("unprotected", 396, -1, to=[])), "unprotected.396.-1"),
    ("two proofs", changed(lambda parts: parts["unprotected"][396][-1].append(b"")), "unprotected.396.-1"),
    ("a proof that is not wrapped", changed(_set("unprotected", 396, -1, to=[[8, 5, _PATH]])), "unprotected.396.-1"),
    ("a proof of two", changed(_proof([8, 5])), "unprotected.396.-1"),
    ("a proof with a text size", changed(_proof(["8", 5, _PATH])), "unprotected.396.-1"),
    ("a proof with a negative index", changed(_proof([8, -5, _PATH])), "unprotected.396.-1"),
    ("a proof with a boolean index", changed(_proof([8, True, _PATH])), "unprotected.396.-1"),
    ("a proof of 2^63 leaves", changed(_proof([1 << 63, 5, _PATH])), "unprotected.396.-1"),
    ("a path that is no array", changed(_proof([8, 5, b""])), "unprotected.396.-1"),
    ("a digest of 31 bytes", changed(_proof([8, 5, [bytes(31)]])), "unprotected.396.-1"),
    ("a path of 64", changed(_proof([8, 5, [bytes(32)] * 64])), "unprotected.396.-1"),
    ("an empty path in a tree of two", changed(_proof([2, 0, []])), "unprotected.396.-1"),
    ("an empty consistency path", changed(_set("unprotected", 396, to={-2: [cbor.encode([8, 8, []])]})), "unprotected.396.-2"),
    ("a signature that is no byte string", changed(_set("signature", to="")), "signature"),
    ("a short signature", changed(_set("signature", to=bytes(63))), "signature"),
    ("another index than the claim", changed(_proof([8, 4, _PATH])), "unprotected.396"),
    ("another size than the claim", changed(_proof([7, 5, _PATH])), "unprotected.396"),
    ("another old size than the claim", changed(_set("header", 15, receipt.OLD_SIZE, to=4), consistency()), "unprotected.396"),
    ("consistency under claims of inclusion", changed(_set("unprotected", 396, to=_GROWTH)), "unprotected.396"),
]  # fmt: skip
# What the reader of our own receipts refuses and the reader of foreign ones accepts.
FOREIGN: list[tuple[str, bytes, str]] = [
    ("no key id", changed(_drop("header", 4)), "protected.4"),
    ("a short key id", changed(_set("header", 4, to=b"log")), "protected.4"),
    ("no claims", changed(_drop("header", 15)), "protected.15"),
    ("no time", changed(_drop("header", 15, 6)), "protected.15"),
    ("no index", changed(_drop("header", 15, receipt.LEAF_INDEX)), "protected.15"),
    ("another claim", changed(_set("header", 15, 7, to=b"id")), "protected.15"),
    ("another label", changed(_set("header", -65537, to="grade")), "protected"),
    ("another unprotected label", changed(_set("unprotected", 33, to=b"certificate")), "unprotected"),
]


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize(("raw", "part"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(raw: bytes, part: str, foreign: bool) -> None:
    """What is ambiguous, unsafe or contradicts itself is refused by name, whoever is said to have written it."""
    with pytest.raises(ReceiptError) as caught:
        receipt.parse(raw, foreign=foreign)
    assert caught.value.field == part


@pytest.mark.parametrize(("raw", "part"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_foreign(raw: bytes, part: str) -> None:
    """A receipt without our header is read only by who says that it is not ours."""
    with pytest.raises(ReceiptError) as caught:
        receipt.parse(raw)
    assert caught.value.field == part
    assert receipt.parse(raw, foreign=True).foreign


def test_another_data_structure() -> None:
    """A receipt over the tree of another profile (2 is CCF) is news and has an error of its own."""
    for structure in (2, 3, -1):
        with pytest.raises(UnsupportedReceiptError) as caught:
            receipt.parse(changed(_set("header", 395, to=structure)))
        assert caught.value.code == "unsupported-receipt"


def _bare(index: int, size: int, path: list[bytes], signature: bytes, header: bytes) -> bytes:
    return cose.TAG + cbor.encode([header, {396: {-1: [cbor.encode([size, index, path])]}}, None, signature])


@pytest.mark.parametrize(("index", "size"), MOVED)
def test_a_moved_receipt(index: int, size: int) -> None:
    """A bare RFC 9942 receipt verifies for positions that the log never signed; ours is refused for each of them."""
    leaves = [merkle.leaf_hash(entry) for entry in ENTRIES[:8]]
    path, root = merkle.inclusion_path(leaves, 5), merkle.root(leaves)
    header = cbor.encode({1: EDDSA, 395: 1})
    signature = LOG.sign(cose.sig_structure(header, root))
    for where in ((5, 8), (index, size)):
        bare = receipt.parse(_bare(*where, path, signature, header), foreign=True)
        assert bare.verify_inclusion(ENTRIES[5], LOG.public) == root
        assert not bare.position_signed
    for foreign in (False, True):
        with pytest.raises(ReceiptError, match="signed claim"):
            receipt.parse(changed(_proof([size, index, path])), foreign=foreign)
    # Moving the claims as well breaks the signature.
    both = changed(_proof([size, index, path]))
    parts = _parts(both)
    parts["header"][15].update({receipt.LEAF_INDEX: index, receipt.TREE_SIZE: size})
    with pytest.raises(SignatureError):
        receipt.parse(_join(parts)).verify_inclusion(ENTRIES[5], LOG.public)


def test_another_entry_key_or_kind() -> None:
    """A receipt speaks for one entry, one key and one kind of proof."""
    read = receipt.parse(inclusion())
    with pytest.raises(SignatureError):
        read.verify_inclusion(ENTRIES[4], LOG.public)
    with pytest.raises(ReceiptError, match="signed by the key"):
        read.verify_inclusion(ENTRIES[5], key("other log", "ed25519").public)
    with pytest.raises(ReceiptError, match="not the key's"):
        read.verify_inclusion(ENTRIES[5], key("log").public)
    with pytest.raises(ReceiptError, match="not consistency"):
        read.verify_consistency(bytes(32), LOG.public)
    grown = receipt.parse(consistency())
    with pytest.raises(ReceiptError, match="not inclusion"):
        grown.verify_inclusion(ENTRIES[5], LOG.public)
    with pytest.raises(ProofError):
        grown.verify_consistency(bytes(32), LOG.public)
    with pytest.raises(SignatureError):
        receipt.parse(inclusion(), foreign=True).verify_inclusion(ENTRIES[5], key("other log", "ed25519").public)


def test_nothing_false_is_signed() -> None:
    """A log is not made to sign a root that its own proof does not reach, nor growth of a tree into itself."""
    common: dict[str, Any] = {"signer": LOG, "issuer": "https://log.example", "subject": "x", "issued_s": ISSUED}
    with pytest.raises(ProofError):
        receipt.sign_inclusion(**common, entry=ENTRIES[0], index=0, size=1, path=[], root=bytes(32))
    with pytest.raises(ProofError):
        receipt.sign_consistency(
            **common, old_size=1, new_size=2, path=[bytes(32)], old_root=bytes(32), new_root=bytes(32)
        )
    with pytest.raises(ReceiptError, match="nothing to prove"):
        receipt.sign_consistency(**common, old_size=1, new_size=1, path=[], old_root=bytes(32), new_root=bytes(32))
    leaf = merkle.leaf_hash(ENTRIES[0])
    for wrong in ({"subject": ""}, {"issuer": "x" * 256}, {"issued_s": -1}):
        with pytest.raises(ReceiptError):
            receipt.sign_inclusion(**{**common, **wrong}, entry=ENTRIES[0], index=0, size=1, path=[], root=leaf)


def _unordered(raw: bytes) -> bytes:
    """The receipt as an encoder writes it that keeps its own order of labels."""
    parts = _parts(raw)
    header = bytes([0xA0 + len(parts["header"])])
    for label, value in reversed(parts["header"].items()):
        header += cbor.encode(label)
        if isinstance(value, dict):
            header += bytes([0xA0 + len(value)])
            header += b"".join(cbor.encode(name) + cbor.encode(each) for name, each in reversed(value.items()))
        else:
            header += cbor.encode(value)
    parts["header"] = header
    read = receipt.parse(raw)
    assert isinstance(read.proof, receipt.Inclusion)
    root = read.verify_inclusion(ENTRIES[read.proof.index], LOG.public)
    parts["signature"] = LOG.sign(cose.sig_structure(header, root))
    return _join(parts)


def test_another_order_of_labels() -> None:
    """Ours have one order; a foreign receipt may have another and still says the same."""
    raw = _unordered(inclusion())
    with pytest.raises(ReceiptError, match="bytewise order"):
        receipt.parse(raw)
    read = receipt.parse(raw, foreign=True)
    read.verify_inclusion(ENTRIES[5], LOG.public)
    assert read.position_signed


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_changed_byte_is_noticed(data: st.DataObject) -> None:
    """No other bytes than those of the log are its receipt: none verifies in either reader as ours does."""
    raw = data.draw(st.sampled_from([inclusion(), consistency()]))
    at = data.draw(st.integers(0, len(raw) - 1))
    other = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    old = merkle.root(map(merkle.leaf_hash, ENTRIES[:3]))

    def verify(foreign: bool) -> None:
        read = receipt.parse(other, foreign=foreign)
        if isinstance(read.proof, receipt.Inclusion):
            read.verify_inclusion(ENTRIES[5], LOG.public)
        else:
            read.verify_consistency(old, LOG.public)

    for foreign in (False, True):
        with pytest.raises(PlatemarkError):
            verify(foreign)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: inclusion()[:40] + tail))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are a receipt or refused with a reason, and nothing else happens."""
    for foreign in (False, True):
        with contextlib.suppress(ReceiptError):
            receipt.parse(data, foreign=foreign)
