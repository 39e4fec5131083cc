"""Vectors of receipts and transparent statements, from the tables of their tests."""

from collections.abc import Iterator
from typing import Any

import receipts as made

from builders import Algorithm, key
from platemark import cbor, cose, merkle, receipt, transparent
from vectors.shapes import dump, table

__all__ = ["files"]

_LARGEST = 8000  # bytes of a case; what is larger is made in the tests
_ALGORITHMS: list[Algorithm] = ["p256", "ed25519"]
_PLACES = [(0, 1), (0, 2), (5, 8), (16, 17)]
_GROWTHS = [(1, 2), (3, 8), (8, 17)]


def files() -> dict[str, bytes]:
    """File name -> content."""
    tests, carried = table("client/test_receipt.py"), table("client/test_transparent.py")
    return {
        "receipts.json": dump(
            "COSE receipts and transparent statements, proto/receipts.md",
            "made here; keys derived from names (tests/builders.py), ES256 with RFC 6979 nonces; tables of "
            "tests/client/test_receipt.py and test_transparent.py; ML-DSA-44 differs in its signature alone (cose.json)",
            inclusion=_inclusion(),
            consistency=_consistency(),
            malformed=_rows(tests.REFUSED),
            foreign=_rows(tests.FOREIGN),
            unsupported=_unsupported(),
            unproven=_unproven(),
            transparent=_transparent(carried.STATEMENT),
            unwrapped=_unwrapped(carried.STATEMENT),
            refused=_rows(carried.REFUSED),
        )
    }


def _rows(rows: Any) -> Iterator[dict[str, Any]]:
    for name, raw, part in rows:
        if len(raw) <= _LARGEST:
            yield {"name": name, "bytes": raw.hex(), "part": part}


def _inclusion() -> Iterator[dict[str, Any]]:
    for algorithm in _ALGORITHMS:
        for index, size in _PLACES:
            yield {
                "receipt": made.inclusion(index, size, algorithm=algorithm).hex(),
                "spki": key("log", algorithm).spki.hex(),
                "entry": made.ENTRIES[index].hex(),
                "index": index,
                "size": size,
                "root": merkle.root(map(merkle.leaf_hash, made.ENTRIES[:size])).hex(),
            }


def _consistency() -> Iterator[dict[str, Any]]:
    for algorithm in _ALGORITHMS:
        for old, new in _GROWTHS:
            yield {
                "receipt": made.consistency(old, new, algorithm=algorithm).hex(),
                "spki": key("log", algorithm).spki.hex(),
                "old_size": old,
                "new_size": new,
                "old_root": merkle.root(map(merkle.leaf_hash, made.ENTRIES[:old])).hex(),
                "root": merkle.root(map(merkle.leaf_hash, made.ENTRIES[:new])).hex(),
            }


def _unsupported() -> Iterator[dict[str, Any]]:
    structure = cbor.encode(395)
    for name, number in (("CCF", 2), ("one that nobody registered", 23)):
        raw = made.inclusion().replace(structure + cbor.encode(1), structure + cbor.encode(number))
        yield {"name": name, "bytes": raw.hex()}


def _unproven() -> Iterator[dict[str, Any]]:
    raw, log = made.inclusion(), key("log", "ed25519")
    forged = raw[:-64] + log.sign(cose.sig_structure(receipt.parse(raw).protected_bytes, bytes(32)))
    rows = [
        ("another entry", raw, made.ENTRIES[4], log.spki),
        ("another key", raw, made.ENTRIES[5], key("other log", "ed25519").spki),
        ("a key of another algorithm", raw, made.ENTRIES[5], key("log").spki),
        ("a signature over another root", forged, made.ENTRIES[5], log.spki),
    ]
    for name, each, entry, spki in rows:
        yield {"name": name, "receipt": each.hex(), "entry": entry.hex(), "spki": spki.hex()}


def _transparent(statement: bytes) -> Iterator[dict[str, Any]]:
    for receipts in ([made.inclusion()], [made.inclusion(), made.consistency()]):
        whole = transparent.attach(statement, receipts)
        yield {"whole": whole.hex(), "statement": statement.hex(), "receipts": [each.hex() for each in receipts]}


def _unwrapped(statement: bytes) -> Iterator[dict[str, Any]]:
    end = cbor.item(statement, 2)[1]
    receipts = [made.inclusion(), made.consistency()]
    header = bytes([0xA1]) + cbor.encode(394) + bytes([0x80 + len(receipts)]) + b"".join(receipts)
    whole = statement[:end] + header + statement[end + 1 :]
    yield {"whole": whole.hex(), "statement": statement.hex(), "receipts": [each.hex() for each in receipts]}
