"""Running the command line inside the test process, and small files for it to work on."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import builders
import capture_writers as writers
from platemark import trust
from platemark.attributes import Disclosure, commit
from platemark.capture import measure
from platemark.cbor import Value
from platemark.cli import main

__all__ = ["Case", "Ran", "case", "ct", "platemark", "png"]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output, which is one JSON document."""
        return json.loads(self.out)


def platemark(*words: object) -> Ran:
    """Run `platemark` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Ran(code, out.getvalue(), err.getvalue())


def png(*, shade: int = 100) -> bytes:
    """A grey PNG of 4 x 3 pixels."""
    return writers.png([bytes([shade + x for x in range(4)])] * 3, columns=4, depth=8, colour=0)


def ct(*, patient: str = "Doe^Jane", pixels: bytes = bytes(range(24)), syntax: str = writers.EXPLICIT) -> bytes:
    """A DICOM slice of 4 x 3 pixels."""
    elements = writers.image_elements(pixels, rows=3, columns=4, syntax=syntax)
    elements |= {
        0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        0x00080018: ("UI", b"2.25.71\0"),
        0x00100010: ("PN", writers.text(patient)),
        0x00100020: ("LO", writers.text("P1")),
        0x0020000D: ("UI", b"2.25.9\0\0"),
    }
    return writers.dicom(elements, syntax=syntax)


@dataclass(frozen=True)
class Case:
    """An image in a folder with its evidence and a trust file, all as the commands expect them."""

    image: Path
    trust: Path
    disclosure: Disclosure
    log: builders.Log

    @property
    def evidence(self) -> Path:
        """The default place."""
        return self.image.with_name(self.image.name + ".evidence")

    @property
    def at(self) -> str:
        """A moment after the capture."""
        return str(builders.NOW + 1)

    def verify(self, *more: object, image: Path | None = None) -> Ran:
        """`platemark verify` with the trust file and a fixed time."""
        return platemark("verify", image or self.image, "--trust", self.trust, "--at", self.at, *more)


def case(folder: Path, content: bytes, *, name: str = "image.bin", open_names: tuple[str, ...] = ()) -> Case:
    """Write `content`, a capture of it in a small log, its evidence and the trust file."""
    image = folder / name
    image.write_bytes(content)
    measured = measure(image)
    log = builders.Log()
    enrolment = log.enrol(builders.MODALITY)
    disclosure = commit(measured.attributes)
    digests = cast("Value", {rung: dict(each) for rung, each in measured.digests.items()})
    framed: dict[str, Any] = {"frames": measured.frames} if measured.frames else {}
    record = log.capture(attributes=disclosure, media=measured.media, digests=digests, **framed)
    opened = disclosure.open(*open_names) if open_names else None
    held = log.evidence(record, enrolments=[enrolment], disclosure=opened)
    made = Case(image, folder / "trust.toml", disclosure, log)
    made.evidence.write_bytes(held.to_bytes())
    made.trust.write_text(trust.to_toml(log.trusted()))
    return made
