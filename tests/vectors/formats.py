"""Vectors of the encodings and of the log: CBOR, COSE, keys, trees, notes, tiles, proofs."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import reference
from builders import Algorithm, key
from platemark import cbor, checkpoint, cose, keys, merkle, note, tiles
from platemark.errors import PlatemarkError
from platemark.note import NoteSigner
from vectors.shapes import VECTORS, dump, table, tagged

__all__ = ["files"]

_LARGEST = 4000  # bytes of a case; what is larger is made in the tests
ALGORITHMS: list[Algorithm] = ["p256", "ed25519", "mldsa44"]


def files() -> dict[str, bytes]:
    """File name -> content."""
    return {
        "cbor.json": _cbor(),
        "cose.json": _cose(),
        "keys.json": _keys(),
        "merkle.json": _merkle(),
        "note.json": _note(),
        "checkpoint.json": _checkpoint(),
        "tiles.json": _tiles(),
        "tlog_proof.json": _tlog_proof(),
        "access_log.json": _access_log(),
    }


def _cbor() -> bytes:
    tests = table("client/test_cbor.py")
    refused = [(name, data) for name, data, _ in tests.REFUSED if len(data) <= 2 * _LARGEST]
    return dump(
        "CBOR, proto/statement.md section 1",
        "accepted: RFC 8949 appendix A and the edges of each width; refused: the table of tests/client/test_cbor.py",
        accepted=[{"encoded": encoded, "value": tagged(value)} for encoded, value in tests.ACCEPTED],
        refused=[{"name": name, "encoded": data} for name, data in refused],
    )


def _signed_messages() -> Iterator[dict[str, Any]]:
    kept = _kept()
    for algorithm in ALGORITHMS:
        signer = key("alice", algorithm)
        raw = cose.sign({cose.CONTENT_TYPE: "text/plain", cose.KID: signer.kid}, b"payload", signer)
        if algorithm == "mldsa44" and _still_good(kept, raw):
            raw = kept
        message = cose.decode(raw)
        message.verify(signer.public)
        yield {
            "name": keys.ALGORITHM_NAMES[signer.alg],
            "message": raw.hex(),
            "spki": signer.spki.hex(),
            "alg": signer.alg,
            "protected": tagged(message.protected),
            "payload": message.payload.hex(),
            "to_be_signed": message.to_be_signed.hex(),
            "id": message.id.hex(),
        }


def _kept() -> bytes:
    """The ML-DSA-44 message of the file as it is now, or nothing."""
    try:
        accepted = json.loads((VECTORS / "cose.json").read_text(encoding="utf-8"))["accepted"]
        return next(bytes.fromhex(row["message"]) for row in accepted if row["alg"] == keys.ML_DSA_44)
    except (OSError, ValueError, KeyError, StopIteration):
        return b""


def _still_good(kept: bytes, fresh: bytes) -> bool:
    """Whether `kept` is the message of `fresh` with another signature that verifies."""
    try:
        message = cose.decode(kept)
        message.verify(key("alice", "mldsa44").public)
    except PlatemarkError:
        return False
    return message.id == cose.decode(fresh).id


def _cose() -> bytes:
    tests = table("client/test_cose.py")
    message, r, s = tests._es256()
    unverified = []
    for name, change, _ in tests.ES256_FAULTS:
        signature = b"".join(part.to_bytes(32, "big") for part in change(r, s))
        unverified.append((name, message.protected_bytes, signature, key("alice").spki))
    ed = key("alice", "ed25519")
    header = cbor.encode({1: keys.EDDSA})
    signature = ed.sign(cose.sig_structure(header, b"payload"))
    above = (int.from_bytes(signature[32:], "little") + tests._L).to_bytes(32, "little")
    unverified.append(("EdDSA with S + L", header, signature[:32] + above, ed.spki))
    unverified.append(("EdDSA of another key", header, signature, key("mallory", "ed25519").spki))
    unverified.append(("an algorithm that is not the key's", header, signature, key("alice").spki))
    return dump(
        "COSE_Sign1, proto/statement.md sections 2 and 3",
        "keys derived from names (tests/builders.py), ES256 with RFC 6979 nonces, tables of tests/client/test_cose.py; "
        "ML-DSA-44 signatures are random: the generator keeps the one in the file while it verifies",
        accepted=_signed_messages(),
        malformed=[{"name": name, "message": make().hex(), "part": part} for name, make, part in tests.REFUSED],
        unverified=[
            {
                "name": name,
                "message": (cose.TAG + cbor.encode([protected, {}, b"payload", bad])).hex(),
                "spki": spki.hex(),
            }
            for name, protected, bad, spki in unverified
        ],
    )


def _keys() -> bytes:
    tests = table("client/test_keys.py")
    small = [
        (f"Ed25519, {name}, sign {sign}", tests._ed25519((y | sign << 255).to_bytes(32, "little")))
        for name, y in tests.SMALL_ORDER.items()
        for sign in (0, 1)
    ]
    beyond = [(f"Ed25519, y = p + {y}", tests._ed25519((tests._P + y).to_bytes(32, "little"))) for y in range(19)]
    off = [("Ed25519, y = 2 is not on the curve", tests._ed25519((2).to_bytes(32, "little")))]
    refused = [*((name, make()) for name, make, _ in tests.REFUSED), *small, *beyond, *off]
    accepted = [key(name, algorithm) for name in ("alice", "bob") for algorithm in ALGORITHMS]
    return dump(
        "Public keys, proto/statement.md section 3",
        "keys derived from names or small numbers; the table of tests/client/test_keys.py",
        accepted=[{"spki": each.spki.hex(), "alg": each.alg, "kid": each.kid.hex()} for each in accepted],
        refused=[{"name": name, "spki": spki.hex()} for name, spki in refused],
    )


def _merkle() -> bytes:
    tests = table("client/test_merkle.py")
    leaves = [reference.leaf(entry) for entry in tests.PUBLIC_LEAVES]
    roots = [reference.root(leaves[:size]) for size in range(9)]
    inclusion = [
        tests.Inclusion(index, size, leaves[index], reference.inclusion_path(leaves[:size], index), roots[size])
        for size in range(1, 9)
        for index in range(size)
    ]
    consistency = [
        tests.Consistency(old, new, roots[old], roots[new], reference.consistency_path(leaves[:new], old))
        for new in range(1, 9)
        for old in range(1, new + 1)
    ]
    chosen = [each for each in inclusion if (each.index, each.size) in {(0, 1), (0, 2), (1, 3), (2, 3), (4, 5), (5, 8)}]
    pairs = {(1, 2), (2, 3), (2, 4), (3, 4), (4, 7), (6, 8), (8, 8)}
    grown = [each for each in consistency if (each.old_size, each.new_size) in pairs]
    return dump(
        "RFC 9162 trees, proto/log.md section 1",
        "the eight public leaves of RFC 6962 and the roots published for them; proofs by tests/reference.py; "
        "refused: the mutations of tests/client/test_merkle.py",
        leaves=[
            {"entry": entry.hex(), "leaf_hash": leaf.hex()}
            for entry, leaf in zip(tests.PUBLIC_LEAVES, leaves, strict=True)
        ],
        roots=[{"size": size, "root": root} for size, root in enumerate(tests.PUBLIC_ROOTS)],
        inclusion=[_printed(each) for each in inclusion],
        consistency=[_printed(each) for each in consistency],
        refused_inclusion=_mutated(chosen, tests, ("index", "size"), ("leaf_hash", "root")),
        refused_consistency=_mutated(grown, tests, ("old_size", "new_size"), ("old_root", "new_root")),
    )


def _mutated(
    proofs: list[Any], tests: Any, numbers: tuple[str, ...], digests: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Every mutation that JSON can say and that changes what is proven (M6: a size is believed from the checkpoint)."""
    changes = [(f"{name} {how}", name, change) for name in numbers for how, change in tests.NUMBER_MUTATIONS.items()]
    changes += [(f"{name} {how}", name, change) for name in digests for how, change in tests.DIGEST_MUTATIONS.items()]
    for proof in proofs:
        candidates = [(how, name, change(getattr(proof, name))) for how, name, change in changes]
        for how, change in tests.PATH_MUTATIONS.items():
            candidates += [(f"path {how}", "path", path) for path in change(proof.path)]
        for how, name, value in candidates:
            if _sayable(value) and value != getattr(proof, name):
                mutated = type(proof)(**{**vars(proof), name: value})
                if _refused(mutated):
                    yield {"name": how, **_printed(mutated)}


def _refused(proof: Any) -> bool:
    try:
        proof.verify()
    except PlatemarkError:
        return True
    return False


def _sayable(value: Any) -> bool:
    if isinstance(value, list):
        return all(type(each) is bytes for each in value)
    return type(value) in {int, bytes} and (not isinstance(value, int) or value >= 0)


def _printed(proof: Any) -> dict[str, Any]:
    """A proof in JSON: numbers as decimal text, digests as hex."""
    shown: dict[str, Any] = {}
    for name, value in vars(proof).items():
        if isinstance(value, int):
            shown[name] = str(value)
        else:
            shown[name] = [each.hex() for each in value] if isinstance(value, list) else value.hex()
    return shown


def _note() -> bytes:
    tests = table("client/test_note.py")
    two = note.sign(tests.TEXT, [tests.ALICE, tests.BOB])
    accepted = [
        ("the example of c2sp.org/signed-note", tests.SPEC_VKEY, tests.SPEC_NOTE.encode()),
        ("two signers, the first known", tests.ALICE.verifier.vkey, two.encode()),
        ("two signers, the second known", tests.BOB.verifier.vkey, two.encode()),
    ]
    renamed = tests.LINE.replace("log.example/a", "log.example/c")
    bad = note.sign("another text\n", [tests.ALICE]).rpartition("\n\n")[2]
    unverified = [
        ("another text", tests.SPEC_VKEY, tests.SPEC_NOTE.replace("example message", "exemple message").encode()),
        ("nobody known", tests.BOB.verifier.vkey, tests.NOTE.encode()),
        ("under another name", tests.ALICE.verifier.vkey, f"{tests.TEXT}\n{renamed}".encode()),
        ("good, then bad", tests.ALICE.verifier.vkey, f"{tests.TEXT}\n{tests.LINE}{bad}".encode()),
        ("bad, then good", tests.ALICE.verifier.vkey, f"{tests.TEXT}\n{bad}{tests.LINE}".encode()),
    ]
    malformed = [(name, data) for name, data in tests.REFUSED if len(data) <= _LARGEST]
    return dump(
        "Signed notes, proto/log.md section 2",
        "the example of c2sp.org/signed-note; keys derived from names; the tables of tests/client/test_note.py",
        accepted=[{"name": name, "vkey": vkey, "note": data.hex()} for name, vkey, data in accepted],
        unverified=[{"name": name, "vkey": vkey, "note": data.hex()} for name, vkey, data in unverified],
        malformed=[{"name": name, "note": data.hex()} for name, data in malformed],
        malformed_vkeys=[{"name": name, "vkey": vkey} for name, vkey in tests.VKEYS],
    )


def _checkpoint() -> bytes:
    tests = table("client/test_checkpoint.py")
    empty = checkpoint.sign(checkpoint.Checkpoint(tests.ORIGIN, 0, merkle.EMPTY_ROOT), [tests.LOG])
    return dump(
        "Checkpoints, proto/log.md section 3",
        "keys derived from names; the table of tests/client/test_checkpoint.py",
        accepted=[
            {
                "checkpoint": raw.decode(),
                "vkey": tests.LOG.verifier.vkey,
                "origin": tests.ORIGIN,
                "size": str(checkpoint.parse(raw).checkpoint.size),
                "root": checkpoint.parse(raw).checkpoint.root.hex(),
            }
            for raw in (tests.SIGNED, empty)
        ],
        malformed=[
            {"name": name, "checkpoint": tests._note(text).decode(), "part": part} for name, text, part in tests.REFUSED
        ],
    )


def _tiles() -> bytes:
    tests = table("client/test_tiles.py")
    sizes = [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000, 16_777_216, (1 << 63) - 1]
    return dump(
        "Tiles, proto/log.md section 4",
        "the examples of c2sp.org/tlog-tiles; the tables of tests/client/test_tiles.py; refused paths as base64 of UTF-8",
        paths=[
            {"path": path, "level": tile.level, "number": str(tile.number), "width": tile.width}
            for tile, path in tests.EXAMPLES
        ],
        refused=[{"path": base64.b64encode(path.encode()).decode()} for path in tests.REFUSED if len(path) < 200],
        sizes=[
            {"size": str(size), "tiles": [[level, str(full), width] for level, full, width in tiles.tiles_of(size)]}
            for size in sizes
        ],
    )


def _tlog_proof() -> bytes:
    tests = table("client/test_tlog_proof.py")
    log: NoteSigner = tests.LOG
    accepted = [
        (index, tests._proof(tests.LEAVES, index, extra=extra)) for index in range(6) for extra in (None, b"hint")
    ]
    malformed = [(name, make(), part) for name, make, part in tests.REFUSED]
    return dump(
        "tlog-proof@v1, proto/log.md section 5",
        "a tree of six leaves by tests/reference.py; the tables of tests/client/test_tlog_proof.py",
        accepted=[
            {"proof": raw.hex(), "index": index, "leaf_hash": tests.LEAVES[index].hex(), "vkey": log.verifier.vkey}
            for index, raw in accepted
        ],
        unproven=[
            {"name": name, "proof": make().hex(), "leaf_hash": tests.LEAVES[4].hex()} for name, make in tests.MUTATIONS
        ],
        malformed=[
            {"name": name, "proof": raw.hex(), "part": part} for name, raw, part in malformed if len(raw) <= _LARGEST
        ],
    )


def _access_log() -> bytes:
    tests = table("ledger/test_accesslog.py")
    return dump(
        "The access log, proto/access-log.md",
        "the tables of tests/ledger/test_accesslog.py; the files of one chain, in their order",
        whole=[
            {
                "name": name,
                "files": ["\n".join(lines) for lines in files],
                **dict(zip(("records", "begins", "torn", "open_end"), expected, strict=True)),
            }
            for name, files, expected in tests.WHOLE
        ],
        broken=[{"name": name, "files": ["\n".join(lines) for lines in files]} for name, files in tests.BROKEN],
        cut_off=[
            {
                "name": name,
                "files": ["\n".join(lines) for lines in files],
                "remembered": {"seq": 2, "hash": tests._HEAD},
            }
            for name, files in tests.CUT_OFF
        ],
    )
