"""Golden evidence: what a release wrote, kept as it was, which every later release must verify with the same verdict.

golden/RELEASE/ holds an image, its evidence, a trust file and the verdict as JSON at the time in `verdict.json`. The
files of a release are made once, when there are none, and from then on only read.
"""

import hashlib
import struct
import zlib

from builders import CAMERA, MODALITY, NOW, Log, digests
from platemark import attributes, report, trust
from platemark.rungs import Measurement
from platemark.verify import verify
from vectors.shapes import VECTORS

__all__ = ["RELEASE", "measure", "missing", "tiny_png"]

RELEASE = "0.1"


def tiny_png() -> bytes:
    """A grey picture of two by two pixels, written from the PNG specification."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"\x00\x10\x20" + b"\x00\x30\x40"
    # Stored, not deflated: the bytes do not depend on a version of zlib.
    stored = (
        b"\x78\x01\x01"
        + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF)
        + rows
        + struct.pack(">I", zlib.adler32(rows))
    )
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stored) + chunk(b"IEND", b"")


def measure(image: bytes) -> Measurement:
    """The rung `file`, with the standard library alone."""
    found = {"file": {-16: hashlib.sha256(image).digest(), -44: hashlib.sha512(image).digest()}}
    return Measurement(media="image/png", digests=found, attributes={})


def missing() -> dict[str, bytes]:
    """The golden files of this release, if they do not exist yet."""
    folder = f"golden/{RELEASE}"
    if (VECTORS / folder).exists():
        return {}
    image = tiny_png()
    disclosure = attributes.commit(
        {"camera_id": "front", "rows": 2, "columns": 2, "technologist": "Doe^Jane", "gps_position": None},
        key=hashlib.sha256(b"platemark golden key").digest(),
    )
    log = Log()
    log.enrol(MODALITY)
    log.enrol(CAMERA, role="sensor")
    record = log.capture(image, by=CAMERA, attributes=disclosure, digests={"file": digests(image)["file"]})  # type: ignore[dict-item] # a Value
    log.capture(b"the next image", by=CAMERA)
    shown = log.evidence(record, enrolments=[2], disclosure=disclosure.open("camera_id", "rows"), conditions=("late",))
    verdict = verify(shown, trust=log.trust(), image=measure(image), at=NOW)
    return {
        f"{folder}/image.png": image,
        f"{folder}/image.png.evidence": shown.to_bytes(),
        f"{folder}/trust.toml": trust.to_toml(log.trusted()).encode(),
        f"{folder}/verdict.json": (report.to_json(verdict) + "\n").encode(),
    }
