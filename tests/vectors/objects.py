"""Vectors of rungs: small DICOM objects, what is hashed of each, and proofs of single frames.

Nothing here asks platemark for a digest: streams are written element by element with pydicom as the reader, frames from
the samples that went in, and trees by tests/reference.py. The tests measure the objects and compare.
"""

import base64
import hashlib
import io
import struct
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

import reference
from capture_writers import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RLE,
    Elements,
    dicom,
    element,
    encapsulated,
    file_meta,
    image_elements,
    text,
)
from platemark import cbor
from platemark.frame_proofs import FrameProofs, ProvenFrame
from vectors.shapes import dump, table

__all__ = ["files"]

_ALGORITHMS = {"-16": "sha256", "-44": "sha512"}
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_TEXTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
_WORDS = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4, "FD": 8, "OD": 8, "OV": 8}
_NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
_BASELINE, _J2K, _VIDEO = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 90, 102))
_PATIENT: Elements = {0x00080060: ("CS", b"MR"), 0x00100010: ("PN", text("Doe^Jane "))}
_PRIVATE: Elements = {0x00090010: ("LO", b"OURS"), 0x00091001: ("LO", b"ab")}
_ITEM = b"\xfe\xff\x00\xe0"
_COUNT = 30


def files() -> dict[str, bytes]:
    """File name -> content."""
    return {"rungs.json": _rungs(), "frames.json": _frames()}


# --- the MAC byte stream, from the rules M1 to M11 --------------------------------------------------


def _stream(data: bytes) -> tuple[bytes, list[int]]:
    """The stream of a file, and the tags of its top level that it leaves out."""
    found = pydicom.dcmread(io.BytesIO(data))
    syntax = str(found.file_meta.TransferSyntaxUID)
    stream, left_out = b"", []
    stored = _stored(found)
    for tag in sorted(found.keys()):
        if tag >> 16 < 8 or tag & 0xFFFF == 0 or tag == 0xFFFCFFFC:
            continue
        encoded = _encoded(found[tag], stored[tag], native=syntax in _NATIVE, big=syntax == BIG)
        if encoded is None:
            left_out.append(int(tag))
        else:
            stream += encoded
    return stream, left_out


def _stored(found: Dataset) -> dict[int, tuple[str, bytes]]:
    """VR and bytes of every value, before pydicom makes numbers and texts of them; no bytes of a sequence."""
    tags: list[Any] = sorted(found.keys())
    raw: dict[int, Any] = {tag: found.get_item(tag) for tag in tags}
    return {tag: (each.VR or "", (each.value or b"") if each.is_raw else b"") for tag, each in raw.items()}


def _encoded(each: DataElement, stored: tuple[str, bytes], *, native: bool, big: bool) -> bytes | None:
    tag = each.tag
    given, value = stored
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if each.VR == "SQ":
        items = b""
        for item in each.value:
            inside = _stored(item)
            inner = [_encoded(item[tag], inside[tag], native=native, big=big) for tag in sorted(item.keys())]
            if None in inner:
                return None
            items += _ITEM + b"".join(filter(None, inner))
        return head + b"SQ\0\0" + items + b"\xfe\xff\xdd\xe0"
    if "UN" in {given, each.VR}:
        return None
    if tag == 0x7FE00010 and not native:
        return head + b"OB\0\0" + _fragments(value) + b"\xfe\xff\xdd\xe0"
    vr = "OW" if each.VR == "OB or OW" else each.VR
    if big and (width := _WORDS.get(vr)):
        value = b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))
    if vr in _TEXTS:
        value = value.rstrip(b"\0 " if vr == "UI" else b" ")
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    form = "<2xI" if vr in _LONG else "<H"
    return head + vr.encode() + struct.pack(form, len(value)) + value


def _fragments(value: bytes) -> bytes:
    """Items of encapsulated pixel data without their lengths."""
    at, out = 0, b""
    while at < len(value) and value[at : at + 4] == _ITEM:
        (length,) = struct.unpack("<I", value[at + 4 : at + 8])
        out += _ITEM + value[at + 8 : at + 8 + length]
        at += 8 + length
    return out


# --- objects ----------------------------------------------------------------------------------------


def _px2(samples: bytes, *, rows: int, columns: int, width: int, sign: int = 0) -> bytes:
    head = struct.pack(">IIHBB", rows, columns, 1, width, sign)
    return b"PX2\0" + head + b"MONOCHROME2\0" + samples


def _pxc(codestream: bytes, syntax: str, *, rows: int = 2, columns: int = 4) -> bytes:
    return (
        b"PXC\0" + struct.pack(">IIHB", rows, columns, 1, 0) + b"MONOCHROME2\0" + syntax.encode() + b"\0" + codestream
    )


def _compressed(fragments: list[bytes], syntax: str, *, table: bytes = b"", **shape: Any) -> bytes:
    elements = image_elements(b"", **{"rows": 2, "columns": 4, "allocated": 8, **shape}) | _PATIENT
    del elements[0x7FE00010]
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    value = encapsulated(fragments, table=table)
    return file_meta(syntax) + head + element(0x7FE00010, "OB", value, length=0xFFFFFFFF)


def _deflated(elements: Elements) -> bytes:
    """In one stored block of RFC 1951: compressors differ, and this file must not."""
    data = dicom(elements)[len(file_meta(EXPLICIT)) :]
    return file_meta(DEFLATED) + b"\1" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def _sequence() -> bytes:
    """Two items: one of defined length, one of undefined length with a delimiter."""
    code = element(0x00080100, "SH", b"T-D1") + element(0x00080104, "LO", b"Body")
    return (
        _ITEM + struct.pack("<I", len(code)) + code
        + _ITEM + b"\xff\xff\xff\xff" + code + b"\xfe\xff\x0d\xe0" + bytes(4)
    )  # fmt: skip


def _objects() -> list[tuple[str, bytes, str, list[bytes]]]:
    """Name, file, the rung of its frames and what is hashed of each."""
    words = struct.pack("<8H", *range(4090, 4098))
    low = struct.pack("<8H", *(number & 0xFFF for number in range(4090, 4098)))
    plain = image_elements(words, rows=2, columns=4, stored=12) | _PATIENT
    big = image_elements(struct.pack(">8H", *range(4090, 4098)), rows=2, columns=4, stored=12, syntax=BIG) | _PATIENT
    px2 = [_px2(low, rows=2, columns=4, width=2)]
    signed = struct.pack("<8H", *(0x0FFF - number for number in range(8)))
    extended = struct.pack("<8h", *(-1 - number for number in range(8)))
    mr = image_elements(signed, rows=2, columns=4, stored=12, representation=1) | _PATIENT
    bits = image_elements(bytes([0b10110010, 0b00000001]), rows=1, columns=3, frames=3, allocated=1, vr="OB") | _PATIENT
    pairs = [bytes([0, 1, 0]), bytes([0, 1, 1]), bytes([0, 1, 1])]
    run = struct.pack("<16I", 1, 64, *[0] * 14) + bytes([7]) + bytes(range(8)) + b"\0"
    jpegs = [b"\xff\xd8 first \xff\xd9", b"\xff\xd8 second\xff\xd9"]
    lossy = [_pxc(each, _BASELINE) for each in jpegs]
    starts = struct.pack("<2I", 0, 2 * 8 + 12)
    pixel_un = {tag: each for tag, each in plain.items() if tag != 0x7FE00010} | {0x7FE00010: ("UN", words)}
    grouped = plain | {0x00082218: ("SQ", _sequence()), 0xFFFCFFFC: ("OB", bytes(4))}
    return [
        ("explicit VR little endian", dicom(plain), "pixels", px2),
        ("implicit VR little endian", dicom(plain, syntax=IMPLICIT), "pixels", px2),
        ("big endian", dicom(big, syntax=BIG), "pixels", px2),
        ("deflated", _deflated(plain), "pixels", px2),
        ("sequences, trailing padding", dicom(grouped), "pixels", px2),
        ("private elements in explicit VR", dicom(plain | _PRIVATE), "pixels", px2),
        ("private elements in implicit VR", dicom(plain | _PRIVATE, syntax=IMPLICIT), "pixels", px2),
        ("private element as UN", dicom(plain | _PRIVATE | {0x00091001: ("UN", b"ab")}), "pixels", px2),
        ("laterality as UN", dicom(plain | {0x00200060: ("UN", b"L ")}), "pixels", px2),
        ("pixel data as UN", dicom(pixel_un), "pixels", px2),
        ("signed, 12 bits", dicom(mr), "pixels", [_px2(extended, rows=2, columns=4, width=2, sign=1)]),
        ("1 bit, three frames", dicom(bits), "pixels", [_px2(each, rows=1, columns=3, width=1) for each in pairs]),
        ("run lengths", _compressed([run], RLE), "pixels", [_px2(bytes(range(8)), rows=2, columns=4, width=1)]),
        ("JPEG baseline, two frames", _compressed([each + b"\0" for each in jpegs], _BASELINE, frames=2), "codestream", lossy),
        (
            "JPEG baseline, two frames in three fragments",
            _compressed([jpegs[0][:4], jpegs[0][4:] + b"\x20", jpegs[1]], _BASELINE, frames=2, table=starts),
            "codestream",
            lossy,
        ),
        ("no JPEG 2000 in spite of the transfer syntax", _compressed([b"\xff\xd8ab\xff\xd9"], _J2K), "codestream",
         [_pxc(b"\xff\xd8ab\xff\xd9", _J2K)]),
        ("a video of 90 frames", _compressed([b"\0\0\0\1 a", b" film\0"], _VIDEO, frames=90), "codestream",
         [_pxc(b"\0\0\0\1 a film", _VIDEO)]),
        ("no image", dicom(_PATIENT), "", []),
    ]  # fmt: skip


def _rungs() -> bytes:
    rows = []
    for name, file, rung, frames in _objects():
        stream, left_out = _stream(file)
        digests: dict[str, Any] = {"content": _hashed(stream)}
        if rung:
            digests[rung] = {key: _root(rung, frames, algorithm) for key, algorithm in _ALGORITHMS.items()}
        rows.append(
            {
                "name": name,
                "file": base64.b64encode(file).decode(),
                "stream": stream.hex(),
                "uncovered": [f"{tag:08x}" for tag in left_out],
                "encapsulated": b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" in file,
                "frames": [each.hex() for each in frames],
                "digests": digests,
            }
        )
    return dump(
        "Rungs content, pixels and codestream of DICOM objects, proto/statement.md section 7",
        "made here; `stream` is written with pydicom as the reader, `frames` (what is hashed of each) from the samples that went "
        "in, roots by tests/reference.py",
        objects=rows,
    )


def _hashed(data: bytes) -> dict[str, str]:
    return {key: hashlib.new(name, data).hexdigest() for key, name in _ALGORITHMS.items()}


def _root(rung: str, frames: list[bytes], algorithm: str) -> str:
    leaves = [reference.leaf(hashlib.new(algorithm, each).digest(), algorithm) for each in frames]
    domain = {"pixels": b"PX2-ROOT\0", "codestream": b"PXC-ROOT\0", "picture": b"PXI-ROOT\0"}[rung]
    return hashlib.new(
        algorithm, domain + struct.pack(">Q", len(frames)) + reference.root(leaves, algorithm)
    ).hexdigest()


# --- proofs of single frames ------------------------------------------------------------------------


def _proofs(rung: str, inputs: list[bytes], *numbers: int) -> FrameProofs:
    digests = [hashlib.sha256(each).digest() for each in inputs]
    leaves = [reference.leaf(each) for each in digests]
    frames = (
        ProvenFrame(number - 1, digests[number - 1], tuple(reference.inclusion_path(leaves, number - 1)))
        for number in numbers
    )
    return FrameProofs("codestream" if rung == "codestream" else "pixels", len(inputs), tuple(frames))


def _row(name: str, media: str, digest: str, count: int, shown: FrameProofs) -> dict[str, Any]:
    return {
        "name": name,
        "media": media,
        "frames": count,
        "rung": shown.rung,
        "digest": digest,
        "member": shown.to_bytes().hex(),
        "shown": shown.numbers,
    }


def _frames() -> bytes:
    tests = table("client/test_frame_proofs.py")
    inputs = {
        count: [f"frame {number} of {count}".encode() for number in range(1, count + 1)] for count in (1, 7, _COUNT)
    }
    accepted = []
    for rung, media in (
        ("pixels", "application/dicom"),
        ("codestream", "application/dicom"),
        ("picture", "image/tiff"),
    ):
        for count, numbers in ((1, (1,)), (7, (3,)), (7, (1, 2, 7)), (_COUNT, (3,)), (_COUNT, (3, 7, _COUNT))):
            shown = _proofs(rung, inputs[count], *numbers)
            root = _root(rung, inputs[count], "sha256")
            accepted.append(_row(f"{rung}, {shown.numbers} of {count}", media, root, count, shown))
    honest = _proofs("pixels", inputs[_COUNT], 3)
    root, dicom_media = _root("pixels", inputs[_COUNT], "sha256"), "application/dicom"
    unproven = [
        _row(name, dicom_media, root, _COUNT, lie(honest))
        for name, lie in zip(tests.LIE_NAMES, tests.LIES, strict=True)
    ]
    other = _root("pixels", inputs[_COUNT][::-1], "sha256")
    unproven += [
        _row("another object", dicom_media, other, _COUNT, honest),
        _row("another kind of image", "image/tiff", root, _COUNT, honest),
    ]
    return dump(
        "Proofs of single frames (frames.cbor), proto/evidence.md section 7",
        "made here; trees and paths by tests/reference.py; unproven, malformed: the tables of tests/client/test_frame_proofs.py",
        accepted=accepted,
        unproven=unproven,
        malformed=[{"name": f"{reason}, {number}", "member": cbor.encode(content).hex()}
                   for number, (content, reason) in enumerate(tests.FORMS)],
    )  # fmt: skip
