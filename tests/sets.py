"""Small studies for tests: images in a folder, a log that recorded them, their evidence and a trust file."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from commands import Ran, platemark

import builders
import capture_writers as writers
from platemark import trust
from platemark.attributes import Disclosure, commit
from platemark.capture import measure
from platemark.cbor import Value
from platemark.rungs import HEADER_BINDING

__all__ = ["STUDY", "UIDS", "Study", "dicomdir", "instance_of", "record", "slice_of"]

STUDY = "2.25.9"
UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def instance_of(number: int) -> str:
    """The SOP Instance UID of slice `number`."""
    return f"2.25.71.{number}"


def slice_of(
    number: int, *, pixels: bytes | None = None, syntax: str = writers.EXPLICIT, more: writers.Elements | None = None
) -> bytes:
    """A DICOM slice of 4 x 3 pixels whose pixels and instance follow from its number."""
    content = bytes((number + each) % 256 for each in range(24)) if pixels is None else pixels
    elements = writers.image_elements(content, rows=3, columns=4, syntax=syntax)
    uid = instance_of(number).encode()
    elements |= {
        0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        0x00080018: ("UI", uid + b"\0" * (len(uid) % 2)),
        0x00080060: ("CS", b"CT"),
        0x00100010: ("PN", b"Doe^Jane"),
        0x00100020: ("LO", b"P1"),
        0x0020000D: ("UI", b"2.25.9\0\0"),
        0x0020000E: ("UI", b"2.25.10\0"),
        0x00200013: ("IS", writers.text(str(number))),
    } | (more or {})
    return writers.dicom(elements, syntax=syntax)


@dataclass
class Study:
    """A study in `folder`: images in `images`, bundles in `evidence`, and the trust file."""

    folder: Path
    log: builders.Log = field(default_factory=builders.Log)
    _open: dict[str, tuple[int, Disclosure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Folders, and the enrolment of the device at leaf 1."""
        self.images.mkdir()
        self.evidence.mkdir()
        self.log.enrol(builders.MODALITY)
        self.trust.write_text(trust.to_toml(self.log.trusted()))

    @property
    def images(self) -> Path:
        """Where images are."""
        return self.folder / "images"

    @property
    def evidence(self) -> Path:
        """Where bundles are."""
        return self.folder / "evidence"

    @property
    def trust(self) -> Path:
        """The trust file that names the log."""
        return self.folder / "trust.toml"

    def put(self, name: str, content: bytes) -> Path:
        """An image that nobody records."""
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def capture(self, name: str, content: bytes) -> Path:
        """An image and its record in the log."""
        path = self.put(name, content)
        measured = measure(path)
        disclosure = commit(measured.attributes)
        digests = cast("Value", {rung: dict(each) for rung, each in measured.digests.items()})
        index = self.log.capture(
            attributes=disclosure, media=measured.media, digests=digests, frames=measured.frames or 1
        )
        self._open[name] = index, disclosure
        return path

    def bundle(self, name: str, *, opened: Iterable[str] = UIDS, signed: bytes | None = None) -> bytes:
        """The evidence of a captured image, under the log of now."""
        index, disclosure = self._open[name]
        names = [each for each in opened if each in disclosure.values]
        shown = disclosure.open(*names) if names else None
        return self.log.evidence(index, enrolments=[1], disclosure=shown, signed=signed).to_bytes()

    def keep(self, *names: str, header: bool = False) -> None:
        """Write the evidence of these images, all of those that were captured if none is named."""
        for name in names or self._open:
            opened = (*UIDS, *HEADER_BINDING) if header else UIDS
            (self.evidence / f"{name.replace('/', '_')}.evidence").write_bytes(self.bundle(name, opened=opened))

    def verify(self, *more: object, target: Path | None = None, evidence: Path | None = None) -> Ran:
        """`platemark verify` on the images with the evidence, at a fixed time."""
        words = ("--evidence", evidence or self.evidence, "--trust", self.trust, "--at", str(builders.NOW + 1))
        return platemark("verify", target or self.images, *words, *more)


def record(
    path: str | None, *, kind: str = "IMAGE", instance: str = "", in_use: int | None = 0xFFFF, raw: bytes | None = None
) -> bytes:
    """An item of a Directory Record Sequence; `path` has its components joined by a backslash."""
    elements: writers.Elements = {0x00041400: ("UL", bytes(4)), 0x00041430: ("CS", writers.text(kind))}
    if in_use is not None:
        elements[0x00041410] = ("US", struct.pack("<H", in_use))
    if path is not None or raw is not None:
        elements[0x00041500] = ("CS", writers.text(raw if raw is not None else (path or "")))
    if instance:
        elements[0x00041511] = ("UI", instance.encode() + b"\0" * (len(instance) % 2))
    data = b"".join(writers.element(tag, vr, value) for tag, (vr, value) in sorted(elements.items()))
    return writers.element(0xFFFEE000, "UN", data, syntax=writers.IMPLICIT)


def dicomdir(*records: bytes, syntax: str = writers.EXPLICIT) -> bytes:
    """A DICOMDIR of these records."""
    uid = b"1.2.840.10008.1.3.10"
    body = writers.element(0x00020002, "UI", uid) + writers.element(
        0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2)
    )
    length = writers.element(0x00020000, "UL", struct.pack("<I", len(body)))
    sequence = writers.element(0x00041220, "SQ", b"".join(records), syntax=syntax)
    return bytes(128) + b"DICM" + length + body + sequence
