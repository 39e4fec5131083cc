"""Golden evidence: what a release wrote, kept as it was; every later release must come to the same verdicts.

golden/RELEASE/ holds images, evidence, one trust file and for each image the verdict as JSON, whose `at` is the time
of verification. The files of a release are made once, when there are none, and from then on only read.
"""

import base64
import hashlib
import json
import struct
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import stamps
from builders import CAMERA, MODALITY, NOW, Key, Log, Party, Payload, key
from capture_writers import EXPLICIT, IMPLICIT, Elements, dicom, image_elements
from platemark import attributes, cbor, checkpoint, evidence, merkle, receipt, report, statement, trust
from platemark.attributes import Disclosure
from platemark.capture import measure
from platemark.cosignature import CosignatureSigner
from platemark.evidence import Keystate, Stamp, Stamped
from platemark.keystate import KeyStates
from platemark.rungs import HEADER_BINDING, Measurement
from platemark.verdict import Verdict
from platemark.verify import verify
from vectors.shapes import VECTORS

__all__ = ["CASES", "RELEASE", "Case", "judge", "missing"]

RELEASE = "0.1"
HOUR = 3600 * 10**9


@dataclass(frozen=True)
class Case:
    """An image and the evidence that it is judged against."""

    image: str
    evidence: str
    trust: str = "trust.toml"
    at: int = NOW


CASES = (
    Case("image.png", "image.png.evidence"),
    Case("scan.dcm", "scan.dcm.evidence"),
    Case("transcoded.dcm", "scan.dcm.evidence"),  # the same pixels and header in another transfer syntax
    Case("renamed.dcm", "scan.dcm.evidence"),  # the same pixels under another patient's name
    Case("image.png", "scan.dcm.evidence"),  # another image's evidence
    # Seen by two witnesses, stamped, its key stated later, with receipts, under a log that signs with ML-DSA-44 as well.
    Case("image.png", "witnessed.evidence", "trust-witnessed.toml", NOW + 2 * HOUR),
)


def judge(folder: Path, case: Case, *, at: int) -> Verdict:
    """The verdict of this release on files of another."""
    given = evidence.from_bytes((folder / case.evidence).read_bytes())
    trusted = trust.parse((folder / case.trust).read_bytes())
    return verify(given, trust=trusted, image=measure(folder / case.image), at=at)


def missing() -> dict[str, bytes]:
    """The golden files of this release, if there are none."""
    folder = f"golden/{RELEASE}"
    if (VECTORS / folder).exists():
        return {}
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for name, content in _images().items():
            (root / name).write_bytes(content)
        _register(root)
        _register_witnessed(root)
        cases = []
        for number, case in enumerate(CASES):
            verdict = judge(root, case, at=case.at)
            (root / f"{number}.verdict.json").write_text(report.to_json(verdict) + "\n", encoding="utf-8")
            named = {"image": case.image, "evidence": case.evidence, "trust": case.trust}
            cases.append({**named, "verdict": f"{number}.verdict.json"})
        (root / "cases.json").write_text(json.dumps(cases, indent=1) + "\n", encoding="utf-8")
        return {f"{folder}/{path.name}": path.read_bytes() for path in sorted(root.iterdir())}


def _register(root: Path) -> None:
    """One log with both images in it, and what it gives out."""
    scan, picture = measure(root / "scan.dcm"), measure(root / "image.png")
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor")
    opened, seen = _disclosure(scan), _disclosure(picture)
    scanned = _capture(log, scan, opened, enrolled="modality")
    pictured = _capture(log, picture, seen, enrolled="camera")
    log.capture(b"a later image", by=CAMERA)
    bundles = {
        "scan.dcm.evidence": log.evidence(scanned, enrolments=[1], disclosure=opened.open(*HEADER_BINDING)),
        "image.png.evidence": log.evidence(pictured, enrolments=[2], disclosure=seen.open("rows"), conditions=("gap",)),
    }
    for name, given in bundles.items():
        (root / name).write_bytes(given.to_bytes())
    (root / "trust.toml").write_text(trust.to_toml(log.trusted()), encoding="utf-8")


def _register_witnessed(root: Path) -> None:
    """A log of its own, with everything that evidence can carry. Two of its signatures are random: it is written once."""
    picture = measure(root / "image.png")
    quantum = key("log", "mldsa44")
    log = Log(more_log_keys=(quantum,))
    log.enrol(CAMERA, role="sensor")
    recorded = _capture(log, picture, _disclosure(picture), enrolled="camera")
    early = log.published(quantum=quantum)
    stamp = stamps.shop(since=NOW - 24 * HOUR, until=NOW + 24 * HOUR, label="golden")
    response = stamp.stamp(checkpoint.parse(early).log_note, at=NOW + HOUR)
    known = KeyStates()
    for index, raw in enumerate(log.statements):
        known.apply(statement.decode(raw), index)
    tree = known.tree()
    payload: Payload = {"at": NOW + HOUR, "log": log.id, "size": 3, "root": tree.root, "count": tree.count}
    stated = log.say("keystate", payload, by=Party(log.log_key, statement.policy_issuer(log.origin)))
    shown = tree.show(CAMERA.key.kid)
    assert shown is not None
    witnesses = {"north": key("north", "ed25519"), "south": key("south", "mldsa44")}
    cosigners = [(f"{name}.example/witness", signer) for name, signer in witnesses.items()]
    signed = log.published(quantum=quantum, cosigners=cosigners, time_s=NOW // 10**9 + 3600)
    given = replace(
        log.evidence(recorded, enrolments=[1], signed=signed),
        receipts=tuple(_receipt(log, recorded, each) for each in (log.log_key, quantum)),
        keystate=Keystate(log.proven(stated, signed), shown.to_bytes()),
        stamped=Stamped(early, log.consistency(3), (Stamp(response),)),
    )
    (root / "witnessed.evidence").write_bytes(given.to_bytes())
    lines = [
        f"witness {name} {CosignatureSigner(*each).verifier.vkey}"
        for name, each in zip(witnesses, cosigners, strict=True)
    ]
    policy = "\n".join([*lines, "group both all north south", "quorum both", ""])
    root_certificate = base64.b64encode(stamp.authority.roots[0]).decode()
    (root / "trust-witnessed.toml").write_text(
        f"{trust.to_toml(log.trusted())}post_quantum = true\nwitness_policy = '''\n{policy}'''\n\n"
        f'[[tsa]]\nname = "Golden TSA"\nroots = ["{root_certificate}"]\n',
        encoding="utf-8",
    )


def _receipt(log: Log, index: int, signer: Key) -> bytes:
    record = statement.decode(log.statements[index])
    return receipt.sign_inclusion(
        signer=signer,
        issuer=statement.policy_issuer(log.origin),
        subject=record.subject,
        issued_s=NOW // 10**9 + 3600,
        entry=record.entry,
        index=index,
        size=len(log.statements),
        path=merkle.inclusion_path(log.leaves, index),
        root=merkle.root(log.leaves),
    )


def _disclosure(image: Measurement) -> Disclosure:
    return attributes.commit(image.attributes, key=hashlib.sha256(b"golden " + image.media.encode()).digest())


def _capture(log: Log, image: Measurement, disclosure: Disclosure, *, enrolled: str) -> int:
    by = MODALITY if enrolled == "modality" else CAMERA
    digests = cast("cbor.Value", {rung: dict(each) for rung, each in image.digests.items()})
    return log.capture(by=by, media=image.media, attributes=disclosure, digests=digests, frames=image.frames)


def _images() -> dict[str, bytes]:
    return {
        "image.png": _png(),
        "scan.dcm": _scan("4711", EXPLICIT),
        "transcoded.dcm": _scan("4711", IMPLICIT),
        "renamed.dcm": _scan("4712", EXPLICIT),
    }


def _scan(patient: str, syntax: str) -> bytes:
    """A radiograph of two by two pixels."""
    elements: Elements = {
        0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.1.1\0"),
        0x00080018: ("UI", b"2.25.1234\0"),
        0x00080060: ("CS", b"DX"),
        0x00100010: ("PN", b"Doe^Jane"),
        0x00100020: ("LO", patient.encode()),
        0x0020000D: ("UI", b"2.25.12\0"),
        0x00200060: ("CS", b"L "),
    }
    pixels = struct.pack("<4H", 1, 2, 3, 4095)
    return dicom(elements | image_elements(pixels, rows=2, columns=2, stored=12, syntax=syntax), syntax=syntax)


def _png() -> bytes:
    """A grey picture of two by two pixels, stored and not deflated: its bytes depend on no version of zlib."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"\x00\x10\x20\x00\x30\x40"
    head, tail = b"\x78\x01\x01" + struct.pack("<HH", 6, 6 ^ 0xFFFF), struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", head + rows + tail) + chunk(b"IEND", b"")
