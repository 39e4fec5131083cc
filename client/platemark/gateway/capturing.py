"""From a received object to a measurement that can be signed, whatever the object is.

An object is measured as any other DICOM file, tolerantly; the rung `file` is left out, because the file is our own making
and nobody else has it. An object that cannot be measured has what stands: always the rung `dataset`, which needs nothing but
its bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.capture import Limits, measure
from platemark.capture._faults import MalformedError
from platemark.capture._source import hashing_tails, open_regular
from platemark.capture.dicom import MEDIA, dataset_digester, read_file_meta
from platemark.errors import CaptureError
from platemark.rungs import Measurement

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.gateway.journal import Received

__all__ = ["Measure", "bare_measurement", "full_measurement", "sender_attributes"]

Measure = Callable[[Path], Measurement]

NO_CERTIFICATE = "none"


def full_measurement(path: Path, *, seconds: float = 300.0) -> Measurement:
    """Every rung and attribute that can be had. Raises CaptureError for a file that cannot be read."""
    measured = measure(path, tolerant=True, limits=Limits(seconds=seconds))
    if "dataset" not in measured.digests:
        raise CaptureError(path, measured.absent.get("dataset", "no rung dataset"))
    return replace(
        measured,
        digests={rung: digests for rung, digests in measured.digests.items() if rung != "file"},
        attributes={name: value for name, value in measured.attributes.items() if name != "file_name"},
    )


def bare_measurement(path: Path) -> Measurement:
    """The rung `dataset` and nothing else: no element of the object is looked at. Raises CaptureError."""
    file, facts = open_regular(path)
    with file:
        try:
            meta = read_file_meta(file, facts.st_size)
            digester = dataset_digester(meta)
            with hashing_tails(file, facts.st_size, [(digester, meta.data_set_offset)]) as finish:
                finish()
        except MalformedError as error:
            raise CaptureError(path, str(error)) from None
        except OSError as error:
            raise CaptureError(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    return Measurement(media=MEDIA, digests={"dataset": digester.digests()}, attributes={})


def sender_attributes(received: Received) -> dict[str, AttributeValue]:
    """Who sent it, as far as the gateway knows (proto/attributes.md, V18)."""
    return {
        "sender_identity": received.certificate or NO_CERTIFICATE,
        "sender_ae_title": received.calling,
    }
