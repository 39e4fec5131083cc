"""From files to records: enrol devices, capture, fetch evidence. Every step is the product's own code."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import attributes, files, statement
from platemark.attributes import decode_disclosure
from platemark.capture import measure
from platemark.chain import Chain
from platemark.cli import media
from platemark.cli.capturing import Item, Signing, prepared, submitted
from platemark.enrolment import enrolment_payload, request_enrolment
from platemark.errors import CaptureError, NotAnImageError
from platemark.key_files import read_private, write_private, write_public
from platemark.keys import generate
from platemark.rpc.model import Refused
from platemark.rungs import HEADER_BINDING
from platemark.signing import Clock
from platemark_ledger.demo.copies import pydicom_files
from platemark_ledger.demo.drawings import drawings
from platemark_ledger.demo.place import DemoError, Place

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.rpc.sync import LedgerClient
    from platemark_ledger.founding import Founded

__all__ = ["Device", "Sources", "capture", "devices", "draw", "enrol", "gather", "keep_evidence"]

_YEAR = 365 * 86_400 * 10**9


@dataclass(frozen=True)
class Device:
    """A device of the demo. `worked_before`: how many ns before its enrolment its key counts from."""

    name: str
    uri: str
    role: str
    algorithm: str
    clock: Clock
    enrolled_with: dict[str, AttributeValue]
    extra: dict[str, AttributeValue] = field(default_factory=dict)
    worked_before: int = 0


@dataclass
class Sources:
    """What pydicom brings along: images that were copied, files without an image, files that cannot be captured."""

    images: list[Path] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def devices() -> tuple[Device, Device]:
    """A radiography modality with a P-256 key and a camera with an Ed25519 key."""
    modality = Device(
        name="dx1",
        uri="https://hospital.example/devices/dx1",
        role="modality",
        algorithm="p256",
        clock=Clock("ntp", 5_000_000),
        enrolled_with={"manufacturer": "Example Imaging", "model": "DX One", "device_serial_number": "DX1-0042"},
    )
    camera = Device(
        name="camera7",
        uri="https://lab.example/robots/arm3/camera7",
        role="sensor",
        algorithm="ed25519",
        clock=Clock("ptp", 200_000),
        enrolled_with={"manufacturer": "Example Optics", "device_serial_number": "C7-1871"},
        extra={"camera_id": "camera7"},
    )
    return modality, camera


def enrol(client: LedgerClient, place: Place, founded: Founded, device: Device) -> int:
    """Make the device's key, have it ask and the registrar answer; the leaf of the enrolment."""
    key_path = place.keys / f"{device.name}.pem"
    key = generate(device.algorithm)
    write_private(key_path, key)
    write_public(key_path.with_suffix(".pub"), key)
    Chain(key_path, key).begin(issuer=device.uri, role=device.role)
    asked = request_enrolment(key, log=founded.log_id, device=device.uri, role=device.role)
    registrar_path = place.ledger / "offline" / "registrar.key"
    registrar = Chain(registrar_path, read_private(registrar_path))
    registrar.begin(issuer=founded.registrar_issuer, role="registrar")
    disclosure = attributes.commit(device.enrolled_with)
    now = time.time_ns()
    signed = registrar.sign(
        "enrol",
        enrolment_payload(
            asked,
            at=now,
            not_before=now - device.worked_before,
            not_after=now + 5 * _YEAR,
            attributes=disclosure.root(),
        ),
    )
    files.create(key_path.with_suffix(".enrolment"), signed.raw)
    files.create(key_path.with_suffix(".enrolment.disclosure"), disclosure.to_bytes(), mode=0o600)
    outcome = client.append([signed.raw]).outcomes[0]
    if isinstance(outcome, Refused):
        raise DemoError(f"the ledger refused to enrol {device.uri}: {outcome.reason}")
    return outcome.statement.index


def gather(place: Place) -> Sources:
    """Look at every file of pydicom, and copy what is an image that can be captured."""
    sources = Sources()
    for path, name in pydicom_files():
        try:
            measured = measure(path)
        except NotAnImageError as error:
            # Tables and texts lie there too; only what calls itself DICOM is worth a line.
            if path.suffix == ".dcm":
                sources.failed.setdefault(error.reason, []).append(name)
            else:
                sources.others.append(name)
            continue
        except CaptureError as error:
            sources.failed.setdefault(error.reason, []).append(name)
            continue
        if measured.attributes.get("rows") is None:
            sources.without.append(name)
            continue
        target = place.modality / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        sources.images.append(target)
    if not sources.images:
        raise DemoError("no image of pydicom's can be captured: are its data files installed?")
    return sources


def draw(place: Place) -> list[Path]:
    """The drawings, as PNG files."""
    for name, drawing in drawings().items():
        (place.camera / name).write_bytes(drawing.to_png())
    return [place.camera / name for name in drawings()]


def capture(
    client: LedgerClient, place: Place, device: Device, images: Sequence[Path], step: Callable[[int], None]
) -> list[Item]:
    """Sign and submit, in order; raises DemoError if one of them does not get into the log."""
    key_path = place.keys / f"{device.name}.pem"
    signing = Signing(
        chain=Chain(key_path, read_private(key_path)),
        origin="modality-signed",
        clock=device.clock,
        extra=device.extra,
    )
    items = []
    for item in submitted(client, prepared(media.find(images, out=None), signing, resume=False)):
        items.append(item)
        step(1)
        if item.index is None:
            raise DemoError(f"{item.name} was not logged: {item.status} {item.reason}")
    return items


def keep_evidence(client: LedgerClient, items: Sequence[Item], step: Callable[[int], None]) -> int:
    """Fetch the evidence of every record and write it beside the image, its header attributes opened; total bytes."""
    total = 0
    for item in items:
        assert item.statement is not None
        own = media.beside(Path(item.name))
        kept = decode_disclosure(own.disclosure.read_bytes())
        kept.verified(attribute_root(item))
        opened = kept.open(*(HEADER_BINDING & kept.values.keys())) if HEADER_BINDING & kept.values.keys() else None
        content = client.evidence(id=item.statement.id).content
        data = content.with_disclosure(None if opened is None else opened.to_bytes()).to_bytes()
        files.create(own.evidence, data)
        total += len(data)
        step(1)
    return total


def attribute_root(item: Item) -> bytes:
    """The attribute root that the item's statement signed."""
    assert item.statement is not None
    root = statement.decode(item.statement.raw).payload["attributes"]
    assert isinstance(root, bytes)
    return root
