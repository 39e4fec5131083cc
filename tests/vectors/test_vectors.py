"""Every vector is consumed, the generator gives the files that are there, and what old releases wrote still verifies."""

import base64
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import key, letters
from platemark import (
    attributes,
    cbor,
    checkpoint,
    cose,
    evidence,
    frame_proofs,
    keys,
    keystate,
    merkle,
    note,
    receipt,
    renewal,
    report,
    statement,
    tiles,
    tlog_proof,
    transparent,
    trust,
    witness_policy,
    witness_wire,
)
from platemark.audit import AuditState, Frontier
from platemark.capture import measure
from platemark.checkpoint import Checkpoint
from platemark.cosignature import CosignatureVerifier, parse_vkey
from platemark.errors import (
    AttributeTreeError,
    CborError,
    CoseError,
    EvidenceError,
    FormatError,
    KeyFormatError,
    NoteError,
    PlatemarkError,
    ProofError,
    ReceiptError,
    SegmentError,
    SignatureError,
    StateError,
    TimeStampError,
    UnknownKindError,
    UnsupportedReceiptError,
    WitnessPolicyError,
)
from platemark.recording import proof as recording_proof
from platemark.recording.comparing import compare
from platemark.recording.judging import Judged, judge
from platemark.recording.model import Message
from platemark.segment import Channel, SegmentTree, pack_rows, unpack_rows
from platemark.segment import Row as Row48
from platemark.timestamp import Authority, TimeStamp, verify_response
from platemark.verify import verify
from platemark_ledger import accesslog
from vectors import audits, cosigned, formats, golden_files, objects, receipt_rows, records, segments, times
from vectors.shapes import VECTORS, tagged, unmeasured, untagged

Row = dict[str, Any]


def _load(name: str) -> dict[str, list[Row]]:
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return {group: rows for group, rows in content.items() if isinstance(rows, list)}


# --- one function for each group of each file: it raises AssertionError or the wrong error, or returns --------------


def _bytes(row: Row, name: str) -> bytes:
    return bytes.fromhex(row[name])


def _refuses(error: type[PlatemarkError], action: Callable[[], object]) -> Any:
    with pytest.raises(error) as caught:
        action()
    return caught.value


def _cbor_accepted(row: Row) -> None:
    encoded, value = _bytes(row, "encoded"), untagged(row["value"])
    assert (tagged(cbor.decode(encoded)), cbor.encode(value)) == (row["value"], encoded)


def _cbor_refused(row: Row) -> None:
    _refuses(CborError, lambda: cbor.decode(_bytes(row, "encoded")))


def _cose_accepted(row: Row) -> None:
    message = cose.decode(_bytes(row, "message"))
    message.verify(keys.load_public(_bytes(row, "spki")))
    assert (message.alg, tagged(message.protected)) == (row["alg"], row["protected"])
    found = [message.payload, message.to_be_signed, message.id]
    assert found == [_bytes(row, name) for name in ("payload", "to_be_signed", "id")]


def _cose_malformed(row: Row) -> None:
    assert _refuses(CoseError, lambda: cose.decode(_bytes(row, "message"))).field == row["part"]


def _cose_unverified(row: Row) -> None:
    message, key = cose.decode(_bytes(row, "message")), keys.load_public(_bytes(row, "spki"))
    with pytest.raises((SignatureError, CoseError)):
        message.verify(key)


def _receipts_inclusion(row: Row) -> None:
    read = receipt.parse(_bytes(row, "receipt"))
    root = read.verify_inclusion(_bytes(row, "entry"), keys.load_public(_bytes(row, "spki")))
    assert isinstance(read.proof, receipt.Inclusion)
    assert (read.proof.index, read.proof.size, root) == (row["index"], row["size"], _bytes(row, "root"))


def _receipts_consistency(row: Row) -> None:
    read = receipt.parse(_bytes(row, "receipt"))
    root = read.verify_consistency(_bytes(row, "old_root"), keys.load_public(_bytes(row, "spki")))
    assert isinstance(read.proof, receipt.Consistency)
    assert (read.proof.old_size, read.proof.new_size, root) == (row["old_size"], row["new_size"], _bytes(row, "root"))


def _receipts_malformed(row: Row) -> None:
    for foreign in (False, True):
        error = _refuses(ReceiptError, lambda: receipt.parse(_bytes(row, "bytes"), foreign=foreign))  # noqa: B023
        assert error.field == row["part"]


def _receipts_foreign(row: Row) -> None:
    assert _refuses(ReceiptError, lambda: receipt.parse(_bytes(row, "bytes"))).field == row["part"]
    assert receipt.parse(_bytes(row, "bytes"), foreign=True).foreign


def _receipts_unsupported(row: Row) -> None:
    _refuses(UnsupportedReceiptError, lambda: receipt.parse(_bytes(row, "bytes")))


def _receipts_unproven(row: Row) -> None:
    read = receipt.parse(_bytes(row, "receipt"))
    with pytest.raises((SignatureError, ReceiptError)):
        read.verify_inclusion(_bytes(row, "entry"), keys.load_public(_bytes(row, "spki")))


def _receipts_transparent(row: Row) -> None:
    carried = [bytes.fromhex(each) for each in row["receipts"]]
    assert transparent.attach(_bytes(row, "statement"), carried) == _bytes(row, "whole")
    assert transparent.detach(_bytes(row, "whole")) == (_bytes(row, "statement"), tuple(carried))


def _receipts_unwrapped(row: Row) -> None:
    carried = tuple(bytes.fromhex(each) for each in row["receipts"])
    assert transparent.detach(_bytes(row, "whole")) == (_bytes(row, "statement"), carried)


def _receipts_refused(row: Row) -> None:
    assert _refuses(ReceiptError, lambda: transparent.detach(_bytes(row, "bytes"))).field == row["part"]


def _keys_accepted(row: Row) -> None:
    key = keys.load_public(_bytes(row, "spki"))
    assert (key.alg, key.kid) == (row["alg"], _bytes(row, "kid"))


def _keys_refused(row: Row) -> None:
    _refuses(KeyFormatError, lambda: keys.load_public(_bytes(row, "spki")))


def _proof_arguments(row: Row) -> Row:
    arguments: Row = {name: value for name, value in row.items() if name not in {"name", "path"}}
    for name, value in arguments.items():
        arguments[name] = int(value) if name in {"index", "size", "old_size", "new_size"} else bytes.fromhex(value)
    return {**arguments, "path": [bytes.fromhex(digest) for digest in row["path"]]}


def _merkle_leaves(row: Row) -> None:
    assert merkle.leaf_hash(_bytes(row, "entry")) == _bytes(row, "leaf_hash")


def _merkle_roots(row: Row) -> None:
    leaves = [_bytes(each, "leaf_hash") for each in _load("merkle")["leaves"][: row["size"]]]
    assert merkle.root(leaves) == _bytes(row, "root")


def _merkle_inclusion(row: Row) -> None:
    merkle.verify_inclusion(**_proof_arguments(row))


def _merkle_consistency(row: Row) -> None:
    merkle.verify_consistency(**_proof_arguments(row))


def _merkle_refused_inclusion(row: Row) -> None:
    _refuses(ProofError, lambda: merkle.verify_inclusion(**_proof_arguments(row)))


def _merkle_refused_consistency(row: Row) -> None:
    _refuses(ProofError, lambda: merkle.verify_consistency(**_proof_arguments(row)))


def _note_accepted(row: Row) -> None:
    verifier = note.parse_vkey(row["vkey"])
    assert note.parse(_bytes(row, "note")).verify([verifier]) == (verifier,)


def _note_unverified(row: Row) -> None:
    opened = note.parse(_bytes(row, "note"))
    _refuses(SignatureError, lambda: opened.verify([note.parse_vkey(row["vkey"])]))


def _note_malformed(row: Row) -> None:
    _refuses(NoteError, lambda: note.parse(_bytes(row, "note")))


def _note_malformed_vkeys(row: Row) -> None:
    _refuses(FormatError, lambda: note.parse_vkey(row["vkey"]))


def _checkpoint_accepted(row: Row) -> None:
    verifiers = [note.parse_vkey(row["vkey"])]
    opened = checkpoint.open_checkpoint(row["checkpoint"].encode(), verifiers, origin=row["origin"])
    assert (opened.size, opened.root) == (int(row["size"]), _bytes(row, "root"))


def _checkpoint_malformed(row: Row) -> None:
    assert _refuses(NoteError, lambda: checkpoint.parse(row["checkpoint"].encode())).field == row["part"]


def _tiles_paths(row: Row) -> None:
    tile = tiles.Tile(row["level"], int(row["number"]), row["width"])
    assert (tile.path, tiles.parse_path(row["path"])) == (row["path"], tile)


def _tiles_refused(row: Row) -> None:
    _refuses(NoteError, lambda: tiles.parse_path(base64.b64decode(row["path"]).decode()))


def _tiles_sizes(row: Row) -> None:
    assert tiles.tiles_of(int(row["size"])) == [(level, int(full), width) for level, full, width in row["tiles"]]


def _tlog_proof_accepted(row: Row) -> None:
    proof = tlog_proof.parse(_bytes(row, "proof"))
    proof.checkpoint.verify([note.parse_vkey(row["vkey"])])
    proof.verify_leaf(_bytes(row, "leaf_hash"))
    assert (proof.index, proof.to_bytes()) == (row["index"], _bytes(row, "proof"))


def _tlog_proof_unproven(row: Row) -> None:
    proof = tlog_proof.parse(_bytes(row, "proof"))
    _refuses(ProofError, lambda: proof.verify_leaf(_bytes(row, "leaf_hash")))


def _tlog_proof_malformed(row: Row) -> None:
    assert _refuses(NoteError, lambda: tlog_proof.parse(_bytes(row, "proof"))).field == row["part"]


def _chain(row: Row, remembered: accesslog.Head | None = None) -> accesslog.Chain:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"1-{number:06d}.jsonl" for number, _ in enumerate(row["files"], 1)]
        for path, content in zip(paths, row["files"], strict=True):
            path.write_bytes(content.encode())
        return accesslog.verify(1, paths, remembered=remembered)


def _audit_accepted(row: Row) -> None:
    state = AuditState.parse(row["state"].encode(), origin=row["origin"])
    frontier = Frontier()
    for index in range(row["entries"]):
        frontier.add(merkle.leaf_hash(hashlib.sha256(str(index).encode()).digest()))
    assert state.frontier is not None
    assert (state.size, state.frontier.rows) == (row["entries"], frontier.rows)
    assert state.note is not None
    assert checkpoint.parse(state.note).checkpoint.root == frontier.root()
    assert json.loads(state.to_bytes()) == json.loads(row["state"])


def _audit_refused(row: Row) -> None:
    _refuses(StateError, lambda: AuditState.parse(row["state"].encode(), origin=row["origin"]))


def _access_log_whole(row: Row) -> None:
    chain = _chain(row)
    assert [getattr(chain, name) for name in row if name not in {"name", "files"}] == [
        value for name, value in row.items() if name not in {"name", "files"}
    ]


def _access_log_broken(row: Row) -> None:
    _refuses(accesslog.AccessLogError, lambda: _chain(row))


def _access_log_cut_off(row: Row) -> None:
    _chain(row)
    remembered = accesslog.Head(row["remembered"]["seq"], row["remembered"]["hash"])
    _refuses(accesslog.AccessLogError, lambda: _chain(row, remembered))


def _statement_accepted(row: Row) -> None:
    decoded = statement.decode(_bytes(row, "statement"))
    decoded.verify(keys.load_public(_bytes(row, "spki")))
    time = None if row["time"] is None else int(row["time"])
    found = (decoded.kind, decoded.issuer, decoded.subject, decoded.time, tagged(decoded.payload))
    assert found == (row["kind"], row["issuer"], row["subject"], time, row["payload"])
    assert [decoded.kid, decoded.id, decoded.entry] == [_bytes(row, name) for name in ("kid", "id", "entry")]


def _statement_unknown(row: Row) -> None:
    _refuses(UnknownKindError, lambda: statement.decode(_bytes(row, "statement")))


def _statement_refused(row: Row) -> None:
    assert _refuses(FormatError, lambda: statement.decode(_bytes(row, "statement"))).field == row["field"]


def _attributes_trees(row: Row) -> None:
    values = {name: untagged(value) for name, value in row["values"].items()}
    tree = attributes.commit(values, key=_bytes(row, "key"))
    assert (tree.root(), tree.to_bytes()) == (_bytes(row, "root"), _bytes(row, "disclosure"))
    assert merkle.root(bytes.fromhex(leaf) for leaf in row["leaves"]) == tree.root()
    assert attributes.decode_disclosure(_bytes(row, "disclosure")).verified(tree.root()) == values


def _attributes_openings(row: Row) -> None:
    disclosed = attributes.decode_disclosure(_bytes(row, "disclosure")).verified(_bytes(row, "root"))
    assert {name: tagged(value) for name, value in disclosed.items()} == row["values"]


def _attributes_unproven(row: Row) -> None:
    disclosure = attributes.decode_disclosure(_bytes(row, "disclosure"))
    _refuses(ProofError, lambda: disclosure.verified(_bytes(row, "root")))


def _attributes_malformed(row: Row) -> None:
    error = _refuses(AttributeTreeError, lambda: attributes.decode_disclosure(_bytes(row, "disclosure")))
    assert error.field == row["field"]


def _evidence_accepted(row: Row) -> None:
    raw = base64.b64decode(row["bundle"])
    read = evidence.from_bytes(raw)
    members = {name: content.hex() for name, content in read.members().items() if name != "README.txt"}
    assert (members, read.to_bytes()) == (row["members"], raw)


def _evidence_refused(row: Row) -> None:
    _refuses(EvidenceError, lambda: evidence.from_bytes(base64.b64decode(row["bundle"])))


def _verdict_verdicts(row: Row) -> None:
    trusted = None if row["trust"] is None else trust.parse(row["trust"].encode())
    given = evidence.from_bytes(base64.b64decode(row["bundle"]))
    verdict = verify(given, trust=trusted, image=unmeasured(row["image"]), at=int(row["at"]))
    facts = {name: str(value) for name, value in verdict.facts.items()}
    found = (letters(verdict), verdict.result, verdict.exit_code, verdict.rung, facts)
    assert found == tuple(row[name] for name in ("checks", "result", "exit_code", "rung", "facts"))


def _keystate_statements(row: Row) -> None:
    assert statement.decode(_bytes(row, "statement")).kind in {"policy", "enrol", "revoke"}


def _keystate_trees(row: Row) -> None:
    states = keystate.KeyStates()
    for index, each in enumerate(_load("keystate")["statements"][: row["size"]]):
        states.apply(statement.decode(_bytes(each, "statement")), index)
    tree = states.tree()
    assert (tree.root, tree.count) == (_bytes(row, "root"), row["count"])
    assert [tagged(leaf.fields()) for leaf in tree.leaves] == row["leaves"]
    for leaf, member in zip(tree.leaves, row["members"], strict=True):
        shown = keystate.decode_shown(bytes.fromhex(member))
        shown.verify(root=tree.root, count=tree.count)
        assert (shown.leaf, shown.to_bytes().hex()) == (leaf, member)


def _keystate_unproven(row: Row) -> None:
    shown = keystate.decode_shown(_bytes(row, "member"))
    _refuses(ProofError, lambda: shown.verify(root=_bytes(row, "root"), count=row["count"]))


def _keystate_malformed(row: Row) -> None:
    assert _refuses(EvidenceError, lambda: keystate.decode_shown(_bytes(row, "member"))).field == row["field"]


def _authorities(row: Row) -> list[Authority]:
    return [Authority("test", (bytes.fromhex(root),)) for root in row["roots"]]


def _crls(row: Row) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(crl) for crl in row["crls"])


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _stamp(row: Row) -> TimeStamp:
    response, message = _bytes(row, "response"), _bytes(row, "message")
    return verify_response(response, message=message, authorities=_authorities(row), crls=_crls(row))


def _timestamp_accepted(row: Row) -> None:
    stamp = _stamp(row)
    numbers = (stamp.time_ns, stamp.accuracy_ns, stamp.serial, stamp.acceptable_until, stamp.revocation_known)
    names = ("time", "accuracy", "serial", "acceptable_until", "revocation_known")
    assert numbers == tuple(_number(row[name]) for name in names)
    assert (stamp.policy, list(stamp.algorithms)) == (row["policy"], row["algorithms"])


def _timestamp_refused(row: Row) -> None:
    assert _refuses(TimeStampError, lambda: _stamp(row)).field == row["field"]


def _stamped(row: Row) -> renewal.Stamped:
    return renewal.Stamped(row["size"], _bytes(row, "message"), _bytes(row, "response"), _crls(row))


def _renewals(row: Row) -> tuple[TimeStamp, ...]:
    proofs = [renewal.decode_proof(bytes.fromhex(proof)) for proof in row["proofs"]]
    assert [proof.encode().hex() for proof in proofs] == row["proofs"]
    return renewal.verify_renewals(_stamped(row), _stamp(row), proofs, authorities=_authorities(row))


def _renewal_items(row: Row) -> None:
    assert _stamped(row).leaf == _bytes(row, "leaf")


def _renewal_claims(row: Row) -> None:
    items = [_stamped(each) for each in _load("renewal")["items"][: row["items"]]]
    made = renewal.claim(items, size=row["size"], note=_bytes(row, "note"))
    assert (made.encode(), renewal.decode_claim(made.encode())) == (_bytes(row, "claim"), made)


def _renewal_data(row: Row) -> None:
    assert renewal.encode_data(renewal.decode_data(_bytes(row, "data"))) == _bytes(row, "data")


def _renewal_accepted(row: Row) -> None:
    stamps = _renewals(row)
    assert [stamp.time_ns for stamp in stamps] == [int(time) for time in row["times"]]
    assert stamps[-1].acceptable_until == int(row["acceptable_until"])


def _renewal_unproven(row: Row) -> None:
    assert _refuses(TimeStampError, lambda: _renewals(row)).field == row["field"]


def _renewal_malformed(row: Row) -> None:
    readers: dict[str, Callable[[bytes], object]] = {
        "claim": renewal.decode_claim,
        "data": renewal.decode_data,
        "proof": renewal.decode_proof,
    }
    assert _refuses(TimeStampError, lambda: readers[row["kind"]](_bytes(row, "bytes"))).field == row["field"]


def _checkpoint_of(row: Row) -> Checkpoint:
    said = row["checkpoint"]
    return Checkpoint(said["origin"], int(said["size"]), bytes.fromhex(said["root"]))


def _cosignature_ed25519(row: Row) -> None:
    covered, verifier = _checkpoint_of(row), parse_vkey(row["vkey"])
    assert isinstance(verifier, CosignatureVerifier)
    name, blob = row["line"].removeprefix("\u2014 ").split(" ")
    data = base64.b64decode(blob)
    assert (name, data[:4]) == (verifier.name, verifier.key_id)
    assert verifier.verify(covered, data[4:]) == int(row["time"])
    verifier.key.verify(row["message"].encode(), data[12:])


def _cosignature_ml_dsa_44(row: Row) -> None:
    covered, verifier = _checkpoint_of(row), parse_vkey(row["vkey"])
    assert isinstance(verifier, CosignatureVerifier)
    signature = key("w", "mldsa44").sign(_bytes(row, "message"))
    assert verifier.verify(covered, int(row["time"]).to_bytes(8, "big") + signature) == int(row["time"])


def _witness_policy_accepted(row: Row) -> None:
    policy = witness_policy.parse(row["text"])
    assert all(policy.satisfied_by(each) for each in row["met"])
    assert not any(policy.satisfied_by(each) for each in row["not_met"])


def _witness_policy_refused(row: Row) -> None:
    assert _refuses(WitnessPolicyError, lambda: witness_policy.parse(row["text"])).field == row["field"]


def _add_checkpoint_accepted(row: Row) -> None:
    read = witness_wire.decode_request(_bytes(row, "body"))
    assert (read.old_size, [each.hex() for each in read.proof]) == (int(row["old_size"]), row["proof"])
    assert read.note == _bytes(row, "note")
    encoded = witness_wire.encode_request(old_size=read.old_size, proof=read.proof, note=read.note)
    assert encoded == _bytes(row, "body")


def _add_checkpoint_refused(row: Row) -> None:
    _refuses(NoteError, lambda: witness_wire.decode_request(_bytes(row, "body")))


def _rungs_objects(row: Row) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        path.write_bytes(base64.b64decode(row["file"]))
        found = measure(path)
    digests = {
        rung: {str(algorithm): digest.hex() for algorithm, digest in each.items()}
        for rung, each in found.digests.items()
        if rung not in {"file", "dataset"}
    }
    assert digests == row["digests"]
    assert digests["content"]["-16"] == hashlib.sha256(_bytes(row, "stream")).hexdigest()
    assert [each.hex() for each in found.frame_digests] == [
        hashlib.sha256(bytes.fromhex(each)).hexdigest() for each in row["frames"]
    ]
    tags = [f"{tag:08x}" for tag in sorted(found.uncovered)]
    assert (tags, found.encapsulated) == (row["uncovered"], row["encapsulated"])


def _frames_proven(row: Row) -> str:
    shown = frame_proofs.decode(_bytes(row, "member"))
    if shown.count != row["frames"]:
        raise ProofError("another number of frames")
    shown.verify({row["rung"]: {-16: _bytes(row, "digest")}}, media=row["media"])
    return shown.numbers


def _frames_accepted(row: Row) -> None:
    assert (_frames_proven(row), frame_proofs.decode(_bytes(row, "member")).to_bytes()) == (
        row["shown"],
        _bytes(row, "member"),
    )


def _frames_unproven(row: Row) -> None:
    _refuses(ProofError, lambda: _frames_proven({**row, "rung": "pixels"}))


def _frames_malformed(row: Row) -> None:
    _refuses(EvidenceError, lambda: frame_proofs.decode(_bytes(row, "member")))


def _segments_channel(form: Row) -> Channel:
    return Channel(form["topic"], form["type"], form["schema_encoding"], _bytes(form, "schema"), form["encoding"])


def _segments_leaves(row: Row) -> None:
    digest = hashlib.sha256(_bytes(row, "data")).digest()
    leaf = Row48(int(row["log_time"]), int(row["publish_time"]), digest)
    assert _segments_channel(row["channel"]).leaf_hash(leaf).hex() == row["leaf"]


def _segments_digests(row: Row) -> None:
    tree = SegmentTree(_segments_channel(row["channel"]))
    rows = list(unpack_rows(_bytes(row, "rows")))
    for each in rows:
        tree.add(each, 1)
    assert (tree.digest().hex(), pack_rows(rows).hex()) == (row["messages"], row["rows"])


def _segments_refused_rows(row: Row) -> None:
    _refuses(SegmentError, lambda: list(unpack_rows(_bytes(row, "rows"))))


def _segments_accepted(row: Row) -> None:
    data = base64.b64decode(row["proof"])
    assert recording_proof.decode(data).to_bytes() == data


def _segments_malformed(row: Row) -> None:
    error = _refuses(SegmentError, lambda: recording_proof.decode(base64.b64decode(row["proof"])))
    assert error.field == row["part"]


def _segments_found(row: Row) -> Judged:
    believed = trust.parse(row["trust"].encode()) if row["trust"] else None
    return judge(recording_proof.decode(base64.b64decode(row["proof"])), trust=believed, at=segments.AT)


def _segments_judged(row: Row) -> None:
    found = _segments_found(row).segments
    assert "".join("r" if e.relied else "x" if e.invalid else "n" for e in found) == row["segments"]


def _segments_misshown(row: Row) -> None:
    assert next(iter(_segments_found(row).segments)).invalid


@functools.cache
def _segments_recording() -> Judged:
    return _segments_found(_load("segments")["compared"][0])


def _segments_compared(row: Row) -> None:
    channels = [_segments_channel(each) for each in row["channels"]]
    messages = [
        Message(channels[channel], int(log_time), int(publish_time), bytes.fromhex(digest), 0)
        for channel, log_time, publish_time, digest in row["messages"]
    ]
    finding = next(each for each in compare(messages, [_segments_recording()]) if each.topic == row["topic"])
    assert {kind: count for kind, count in finding.counts.items() if count} == row["counts"]


FILES = sorted(path.stem for path in VECTORS.glob("*.json"))
GROUPS = [(name, group) for name in FILES for group in _load(name)]


@pytest.mark.parametrize(("name", "group"), GROUPS, ids=[f"{name}: {group}" for name, group in GROUPS])
def test_every_vector_has_its_outcome(name: str, group: str) -> None:
    """A second implementation does the same with the same files: a group without a function here fails."""
    check: Callable[[Row], None] = globals()[f"_{name}_{group}"]
    rows = _load(name)[group]
    failed = []
    for row in rows:
        try:
            check(row)
        except (AssertionError, PlatemarkError, pytest.fail.Exception) as error:
            failed.append((row.get("name"), repr(error)))
    assert (failed, rows != []) == ([], True)


@functools.cache
def _generated() -> dict[str, bytes]:
    return {
        **formats.files(),
        **records.files(),
        **receipt_rows.files(),
        **times.files(),
        **audits.files(),
        **cosigned.files(),
        **objects.files(),
        **segments.files(),
    }


@pytest.mark.parametrize("name", FILES)
def test_the_generator_gives_the_file_that_is_there(name: str) -> None:
    """Vectors are never edited by hand, and a change of a format shows as a difference here."""
    assert _generated()[f"{name}.json"] == (VECTORS / f"{name}.json").read_bytes()


def test_the_generator_makes_no_other_file() -> None:
    """A file that nobody generates any more would never be compared."""
    assert set(_generated()) == {f"{each}.json" for each in FILES}


def test_the_generator_runs_as_a_program() -> None:
    """`make vectors` writes nothing when nothing has changed, whatever the hash seed."""
    command = [sys.executable, str(VECTORS / "generate.py")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_every_file_has_its_origin_in_the_readme() -> None:
    """Nothing lies here whose source is not told."""
    readme = (VECTORS / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([^`]+)` \|", readme, re.MULTILINE))
    assert named == {f"{name}.json" for name in FILES} | {"golden/"}


# --- golden ---------------------------------------------------------------------------------------

RELEASES = sorted((VECTORS / "golden").iterdir())
GOLDEN: list[tuple[Path, Row]] = [
    (folder, case) for folder in RELEASES for case in json.loads((folder / "cases.json").read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(
    ("folder", "case"), GOLDEN, ids=[f"{folder.name}: {case['image']}, {case['evidence']}" for folder, case in GOLDEN]
)
def test_what_a_release_wrote_verifies_as_it_did(folder: Path, case: Row) -> None:
    """Golden evidence has the verdict that its release gave, at its time; texts for people may differ, members be added (J4)."""
    expected = json.loads((folder / case["verdict"]).read_text(encoding="utf-8"))
    verdict = golden_files.judge(
        folder, golden_files.Case(case["image"], case["evidence"], case["trust"]), at=int(expected["at"])
    )
    found = json.loads(report.to_json(verdict))
    known = {name: found[name] for name in expected}
    assert _without_reasons(known) == _without_reasons(expected)


def _without_reasons(verdict: Row) -> Row:
    checks = [{name: value for name, value in check.items() if name != "reason"} for check in verdict["checks"]]
    return {**verdict, "checks": checks, "reason": None, "not_proven": None}


def test_the_golden_verdicts_are_the_promised_ones() -> None:
    """This release's own: the file, the file, the pixels with an opened header, another patient, another image, every proof."""
    folder = VECTORS / "golden" / golden_files.RELEASE
    verdicts = [golden_files.judge(folder, case, at=case.at) for case in golden_files.CASES]
    shown = [(case.image, each.result, each.rung) for case, each in zip(golden_files.CASES, verdicts, strict=True)]
    assert shown == [
        ("image.png", "MATCHES RECORD", "file"),
        ("scan.dcm", "MATCHES RECORD", "file"),
        ("transcoded.dcm", "MATCHES RECORD", "pixels"),
        ("renamed.dcm", "DOES NOT MATCH", "pixels"),
        ("image.png", "DOES NOT MATCH", None),
        ("image.png", "MATCHES RECORD", "file"),
    ]
    assert letters(verdicts[-1]) == "PPPPPPPPPPPNNPP"
