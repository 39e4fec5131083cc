"""`platemark receipt`: what a log signed for a statement, shown, carried, taken off and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import scitt_cose
from commands import platemark
from cryptography.hazmat.primitives import serialization
from receipts import ISSUED, consistency

import builders
from builders import MODALITY, ORIGIN, Key, key
from platemark import key_files, merkle, note, receipt, statement, transparent
from platemark.keys import Ed25519Verifier

LOG, POST_QUANTUM, OTHER = key("log", "ed25519"), key("log pq", "mldsa44"), key("other log", "ed25519")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """scan.statement, receipts 0 and 1 of it by both keys of a log, the keys, and receipts of other things."""
    log = builders.Log()
    log.enrol(MODALITY)
    raw = log.statements[log.capture(b"image", by=MODALITY)]
    entry = statement.decode(raw).entry
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(5)] + [merkle.leaf_hash(entry)]
    made = [_receipt(each, entry, leaves, 5) for each in (LOG, POST_QUANTUM)]
    (tmp_path / "scan.statement").write_bytes(raw)
    for number, each in enumerate(made):
        (tmp_path / f"scan.{number}.receipt").write_bytes(each)
    (tmp_path / "growth.receipt").write_bytes(consistency())
    (tmp_path / "other.receipt").write_bytes(_receipt(LOG, bytes([3]), leaves, 3))
    (tmp_path / "stranger.receipt").write_bytes(_receipt(OTHER, entry, leaves, 5))
    for name, signer in (("log", LOG), ("pq", POST_QUANTUM), ("other", OTHER)):
        key_files.write_public(tmp_path / f"{name}.pub", signer.private)
    return tmp_path


def _receipt(signer: Key, entry: bytes, leaves: list[bytes], index: int) -> bytes:
    return receipt.sign_inclusion(
        signer=signer,
        issuer=f"https://{ORIGIN}",
        subject="urn:uuid:00000000-0000-4000-8000-000000000000",
        issued_s=ISSUED,
        entry=entry,
        index=index,
        size=len(leaves),
        path=merkle.inclusion_path(leaves, index),
        root=merkle.root(leaves),
    )


def _attached(folder: Path, *names: str) -> Path:
    out = folder / "scan.scitt"
    ran = platemark("receipt", "attach", folder / "scan.statement", *(folder / name for name in names), "--out", out)
    assert (ran.code, ran.err) == (0, "")
    return out


BOTH = ("scan.0.receipt", "scan.1.receipt")


def test_attach_and_detach(folder: Path) -> None:
    """What was attached comes off byte for byte, under names that follow from the file's; nothing is overwritten unasked."""
    whole = _attached(folder, *BOTH)
    assert transparent.detach(whole.read_bytes())[1] == tuple((folder / name).read_bytes() for name in BOTH)
    out = folder / "again"
    ran = platemark("receipt", "detach", whole, "--out", out)
    assert ran.code == 0
    assert (folder / "again.statement").read_bytes() == (folder / "scan.statement").read_bytes()
    assert [(folder / f"again.{each}.receipt").read_bytes() for each in (0, 1)] == [
        (folder / name).read_bytes() for name in BOTH
    ]
    ran = platemark("receipt", "detach", whole, "--out", out, "--force", "--json")
    assert ran.json()["files"] == [
        str(folder / name) for name in ("again.statement", "again.0.receipt", "again.1.receipt")
    ]
    refused = platemark("receipt", "detach", whole)
    assert (refused.code, "exists already" in refused.err) == (2, True)
    assert platemark("receipt", "detach", whole, "--force").code == 0


def test_attach_to_what_carries_some(folder: Path) -> None:
    """Receipts are added after those that are there, to the default place."""
    whole = _attached(folder, BOTH[0])
    ran = platemark("receipt", "attach", whole, folder / BOTH[1], "--json")
    assert ran.json() == {"file": str(folder / "scan.scitt.scitt"), "receipts": 2}
    both = transparent.detach((folder / "scan.scitt.scitt").read_bytes())[1]
    assert both == tuple((folder / name).read_bytes() for name in BOTH)


def test_show(folder: Path) -> None:
    """A receipt and a statement with receipts are shown, as text and as JSON."""
    said = platemark("receipt", "show", _attached(folder, *BOTH), "--json").json()
    first, second = said["receipts"]
    assert (first["index"], first["size"], first["position"], first["issuer"]) == (5, 6, "signed", f"https://{ORIGIN}")
    assert (first["kid"], second["algorithm"]) == (LOG.kid.hex(), "ML-DSA-44")
    assert platemark("receipt", "show", folder / BOTH[0], "--json").json() == {"entry": None, "receipts": [first]}
    text = platemark("receipt", "show", folder / "scan.scitt").out
    assert "receipt 1:" in text
    assert said["entry"] in text
    assert "old size" in platemark("receipt", "show", folder / "growth.receipt").out


def test_verify(folder: Path) -> None:
    """Both receipts verify under both keys, in the statement or beside it, and the words say whose time that is."""
    keys = ("--key", folder / "log.pub", "--key", folder / "pq.pub")
    inside = platemark("receipt", "verify", _attached(folder, *BOTH), *keys)
    assert (inside.code, inside.out.count("PASS"), inside.err) == (0, 2, "")
    assert "leaf 5 of 6" in inside.out
    assert "by the log's own clock" in inside.out
    beside = platemark(
        "receipt", "verify", folder / "scan.statement", *(folder / name for name in BOTH), *keys, "--json"
    )
    assert beside.code == 0
    assert [each["result"] for each in beside.json()["receipts"]] == ["PASS", "PASS"]


def test_verify_with_a_note_key(folder: Path) -> None:
    """A log key may be given as its note key."""
    public = LOG.public
    assert isinstance(public, Ed25519Verifier)
    vkey = note.NoteVerifier(ORIGIN, public).vkey
    assert platemark("receipt", "verify", folder / "scan.statement", folder / BOTH[0], "--key", vkey).code == 0


OUTCOMES = [
    ("none", [], 3, []),
    ("one by a key that was not given", ["scan.0.receipt", "scan.1.receipt"], 1, ["PASS", "NOT CHECKED"]),
    ("only by a stranger", ["stranger.receipt"], 3, ["NOT CHECKED"]),
    ("of growth", ["growth.receipt"], 3, ["NOT CHECKED"]),
    ("of another statement", ["scan.0.receipt", "other.receipt"], 4, ["PASS", "FAIL"]),
    ("malformed", ["scan.statement"], 4, ["FAIL"]),
]


@pytest.mark.parametrize(("names", "code", "results"), [row[1:] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES])
def test_outcomes(folder: Path, names: list[str], code: int, results: list[str]) -> None:
    """Each outcome has its exit code, and nothing that was not checked passes."""
    words = [folder / "scan.statement", *(folder / name for name in names), "--key", folder / "log.pub"]
    ran = platemark("receipt", "verify", *words, "--json")
    assert ran.code == code
    assert [each["result"] for each in ran.json()["receipts"]] == results
    assert platemark("receipt", "verify", *words).code == code


def test_a_foreign_receipt(folder: Path) -> None:
    """A receipt of another implementation verifies when asked for, and its position is said not to be authenticated."""
    entry = statement.decode((folder / "scan.statement").read_bytes()).entry.hex()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    raw = scitt_cose.build_receipt(
        leaf_entry_hex=entry,
        leaf_index=1,
        tree_entries_hex=["00", entry],
        alg="EdDSA",
        log_private_key_pem=LOG.private.secret.private_bytes(pem, pkcs8, serialization.NoEncryption()),
    )
    (folder / "foreign.receipt").write_bytes(raw)
    words = ("receipt", "verify", folder / "scan.statement", folder / "foreign.receipt", "--key", folder / "log.pub")
    assert platemark(*words).code == 4
    ran = platemark(*words, "--foreign")
    assert (ran.code, "leaf 1 of 2 is not authenticated" in ran.out) == (0, True)
    assert platemark(*words[:-1], folder / "other.pub", "--foreign").code == 4
    assert platemark("receipt", "show", folder / "foreign.receipt").code == 2
    said = platemark("receipt", "show", folder / "foreign.receipt", "--foreign", "--json").json()
    assert said["receipts"][0]["position"] == "not authenticated"


def test_another_data_structure(folder: Path) -> None:
    """A receipt that this release cannot check is shown and reported as such, not as false."""
    raw = (folder / "scan.0.receipt").read_bytes()
    (folder / "ccf.receipt").write_bytes(raw.replace(b"\x19\x01\x8b\x01", b"\x19\x01\x8b\x02"))
    ran = platemark("receipt", "verify", folder / "scan.statement", folder / "ccf.receipt", "--key", folder / "log.pub")
    assert (ran.code, "not supported" in ran.out) == (3, True)
    assert "unsupported" in platemark("receipt", "show", folder / "ccf.receipt").out


@pytest.mark.parametrize("command", ["show", "detach"])
def test_not_ours(folder: Path, command: str) -> None:
    """Another file is refused in one line that names it."""
    ran = platemark("receipt", command, folder / "log.pub")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "log.pub: tag" in ran.err
