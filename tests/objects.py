"""DICOM objects as the gateway keeps them, made of the images of the pydicom package."""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom.data import get_testdata_file

from platemark.capture._file_meta import read_file_meta
from platemark.gateway.journal import Received

__all__ = ["CT", "IMAGES", "data_set", "kept", "source", "write_object"]

CT = "CT_small.dcm"
IMAGES = (
    "CT_small.dcm",  # explicit VR little endian
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "image_dfl.dcm",  # deflated
    "rtdose.dcm",
    "reportsi.dcm",
)
"""One of many transfer syntaxes and classes, as pydicom ships them."""
_PREAMBLE = bytes(128) + b"DICM"


def source(name: str) -> Path:
    """A file of pydicom's package."""
    found = get_testdata_file(name, download=False)
    assert found is not None, name
    return Path(str(found))


def data_set(path: Path) -> bytes:
    """The bytes of the data set of a Part 10 file: what C-STORE carries, which is always even (PS3.5 annex A.5)."""
    with path.open("rb") as file:
        offset = read_file_meta(file, path.stat().st_size).data_set_offset
        file.seek(offset)
        content = file.read()
    return content + b"\0" * (len(content) % 2)


def write_object(path: Path, content: bytes, *, sop_class: str, sop_instance: str, transfer_syntax: str) -> None:
    """A Part 10 file with file meta information of these UIDs over any bytes at all (PS3.10 section 7.1)."""
    uids = {2: sop_class, 3: sop_instance, 0x10: transfer_syntax, 0x12: "1.2.826.0.1.3680043.9.3811.3.0.4"}
    elements = struct.pack("<HH2sHIH", 2, 1, b"OB", 0, 2, 0x0100)
    for number, uid in uids.items():
        value = uid.encode() + b"\0" * (len(uid) % 2)
        elements += struct.pack("<HH2sH", 2, number, b"UI", len(value)) + value
    path.write_bytes(_PREAMBLE + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(elements)) + elements + content)


def kept(directory: Path, name: str, *, number: int = 1, **changes: object) -> Received:
    """An object as it lies in the gateway's directory, with the journal's row for it."""
    from pydicom import dcmread

    meta = dcmread(source(name), stop_before_pixels=True, specific_tags=[]).file_meta
    uids = {
        "sop_class": str(meta.MediaStorageSOPClassUID),
        "sop_instance": str(meta.MediaStorageSOPInstanceUID),
        "transfer_syntax": str(meta.TransferSyntaxUID),
    }
    for field in tuple(uids):
        uids[field] = str(changes.pop(field, uids[field]))
    content = changes.pop("content", None)
    path = directory / f"{number:032x}.dcm"
    write_object(path, content if isinstance(content, bytes) else data_set(source(name)), **uids)
    assert not changes, f"unknown: {changes}"
    return Received(
        object_id=f"{number:032x}",
        path=path,
        bytes=path.stat().st_size,
        received_ns=number * 10**9,
        calling="CT1",
        called="PLATEMARK",
        address="127.0.0.1",
        **uids,
    )
