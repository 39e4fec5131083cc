"""DICOM: `file`, `dataset` and `pixels`, against an independent slow reference, real pairs of transcodes and generated pixels."""

import hashlib
import itertools
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels.decoders.base import get_decoder

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
from platemark.capture import measure
from platemark.errors import DecodeError
from platemark.rungs import HEADER_BINDING, SHA256, SHA512, Measurement

_NAMES = {SHA256: "sha256", SHA512: "sha512"}


def _path(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(found, str), name
    return Path(found)


def _write(folder: Path, data: bytes) -> Path:
    path = folder / "image.dcm"
    path.write_bytes(data)
    return path


def _tree(leaves: list[bytes], name: str) -> bytes:
    """RFC 9162 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return hashlib.new(name, b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.new(name, b"\1" + _tree(leaves[:split], name) + _tree(leaves[split:], name)).digest()


def _reference(samples: Any, *, stored: int, signed: bool, photometric: str, width: int) -> dict[int, bytes]:
    """PX2 of an array of (frames, rows, columns, samples), value by value, from the rules alone."""
    roots = {}
    for algorithm, name in _NAMES.items():
        leaves = []
        for frame in samples:
            rows, columns, count = frame.shape
            words = bytearray()
            for value in frame.reshape(-1).tolist():
                low = value & (1 << stored) - 1
                if signed and low >= 1 << stored - 1:
                    low -= 1 << stored
                words += low.to_bytes(width, "little", signed=signed)
            head = struct.pack(">IIHBB", rows, columns, count, width, int(signed))
            leaves.append(hashlib.new(name, b"PX2\0" + head + photometric.encode() + b"\0" + words).digest())
        root = _tree(leaves, name)
        roots[algorithm] = hashlib.new(name, b"PX2-ROOT\0" + struct.pack(">Q", len(leaves)) + root).digest()
    return roots


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "rtdose_1frame.dcm",
        "SC_rgb_16bit_2frame.dcm",
        "SC_rgb_rle_32bit_2frame.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "color-pl.dcm",
        "examples_palette.dcm",
        "liver_1frame.dcm",
        "image_dfl.dcm",
    ],
)
def test_pixels_equal_the_reference_over_what_pydicom_decodes(name: str) -> None:
    """The `pixels` rung of native and RLE files is PX2 over pydicom's raw array, computed sample by sample."""
    path = _path(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path)
        array, facts = get_decoder(data_set.file_meta.TransferSyntaxUID).as_array(data_set, raw=True)
    shape = (-1, data_set.Rows, data_set.Columns, data_set.SamplesPerPixel)
    expected = _reference(
        array.reshape(shape),
        stored=data_set.BitsStored,
        signed=data_set.PixelRepresentation == 1,
        photometric=str(facts["photometric_interpretation"]),
        width={1: 1, 8: 1, 16: 2, 32: 4}[data_set.BitsAllocated],
    )
    measurement = measure(path)
    assert expected == measurement.digests["pixels"]
    assert measurement.frames == array.reshape(shape).shape[0]


@pytest.mark.parametrize(
    "names",
    [
        (
            "MR_small.dcm MR_small_RLE.dcm MR_small_bigendian.dcm MR_small_expb.dcm MR_small_implicit.dcm"
            " MR_small_jp2klossless.dcm MR_small_jpeg_ls_lossless.dcm MR_small_padded.dcm"
        ),
        "693_UNCR.dcm 693_J2KR.dcm",
        "MR2_UNCR.dcm MR2_J2KR.dcm",
        "RG1_UNCR.dcm RG1_J2KR.dcm",
        "US1_UNCR.dcm US1_J2KR.dcm",
        (
            "emri_small.dcm emri_small_RLE.dcm emri_small_big_endian.dcm emri_small_jpeg_2k_lossless.dcm"
            " emri_small_jpeg_ls_lossless.dcm"
        ),
        "SC_rgb.dcm SC_rgb_expb.dcm SC_rgb_rle.dcm SC_rgb_jpeg_gdcm.dcm SC_rgb_gdcm2k_uncompressed.dcm",
        "SC_rgb_16bit_2frame.dcm SC_rgb_expb_16bit_2frame.dcm SC_rgb_rle_16bit_2frame.dcm",
        "SC_rgb_32bit_2frame.dcm SC_rgb_expb_32bit_2frame.dcm SC_rgb_rle_32bit_2frame.dcm",
        "color-pl.dcm color-px.dcm",
        "gdcm-US-ALOKA-16.dcm gdcm-US-ALOKA-16_big.dcm",
        "liver.dcm liver_expb.dcm",
        "OBXXXX1A_2frame.dcm OBXXXX1A_expb_2frame.dcm OBXXXX1A_rle_2frame.dcm",
        "rtdose.dcm rtdose_expb.dcm rtdose_rle.dcm",
        "SC_ybr_full_422_uncompressed.dcm SC_ybr_full_uncompressed.dcm",
    ],
)
def test_lossless_transcodes_of_real_images_have_equal_pixels(names: str) -> None:
    """Files that others transcoded losslessly differ in `file` and `dataset` and agree on `pixels`."""
    measurements = [measure(_path(name)) for name in names.split()]
    assert len({measurement.digests["pixels"][SHA256] for measurement in measurements}) == 1
    assert len({measurement.digests["pixels"][SHA512] for measurement in measurements}) == 1
    assert len(measurements) == len({measurement.digests["file"][SHA256] for measurement in measurements})


def test_different_images_have_different_pixels() -> None:
    """The pixels of unrelated files differ."""
    names = "CT_small.dcm MR_small.dcm 693_UNCR.dcm 693_UNCI.dcm RG1_UNCR.dcm RG1_UNCI.dcm US1_UNCR.dcm"
    assert len(names.split()) == len({measure(_path(name)).digests["pixels"][SHA256] for name in names.split()})


def test_file_and_dataset_are_plain_hashes() -> None:
    """`file` hashes the file; `dataset` the transfer syntax UID, NUL and the bytes after group 0002."""
    path = _path("CT_small.dcm")
    data = path.read_bytes()
    meta = pydicom.filereader.read_file_meta_info(path)
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    digests = measure(path).digests
    for algorithm, name in _NAMES.items():
        assert hashlib.new(name, data).digest() == digests["file"][algorithm]
        expected = hashlib.new(name, meta.TransferSyntaxUID.encode() + b"\0" + data[start:]).digest()
        assert expected == digests["dataset"][algorithm]


@st.composite
def _native(draw: st.DrawFn) -> tuple[dict[str, Any], Any, list[int]]:
    """The shape of a native image, its values, and junk for the unused bits."""
    allocated = draw(st.sampled_from([8, 16, 32]))
    stored = draw(st.integers(1, allocated))
    shape = {
        "rows": draw(st.integers(1, 5)),
        "columns": draw(st.integers(1, 5)),
        "samples": draw(st.sampled_from([1, 3])),
        "frames": draw(st.integers(1, 3)),
        "planar": draw(st.integers(0, 1)),
        "allocated": allocated,
        "stored": stored,
        "high": draw(st.integers(stored - 1, allocated - 1)),
        "representation": draw(st.integers(0, 1)),
    }
    count = shape["rows"] * shape["columns"] * shape["samples"] * shape["frames"]
    values = draw(st.lists(st.integers(0, 2**stored - 1), min_size=count, max_size=count))
    junk = draw(st.lists(st.integers(0, 2**allocated - 1), min_size=count, max_size=count))
    array = np.array(values, dtype=object)
    return shape, array.reshape(shape["frames"], shape["rows"], shape["columns"], shape["samples"]), junk


def _stored_bytes(shape: dict[str, Any], array: Any, junk: list[int], *, big: bool) -> bytes:
    ordered = array.transpose(0, 3, 1, 2) if shape["planar"] else array
    shift = shape["high"] + 1 - shape["stored"]
    mask = (1 << shape["stored"]) - 1 << shift
    words = [(value << shift) | (other & ~mask) for value, other in zip(ordered.reshape(-1), junk, strict=True)]
    data = b"".join(word.to_bytes(shape["allocated"] // 8, "big" if big else "little") for word in words)
    data += b"\0" * (len(data) % 2)
    if big and shape["allocated"] == 8:
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    return data


@given(native=_native(), syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
def test_native_pixels_equal_the_reference(
    tmp_path_factory: pytest.TempPathFactory, native: tuple[dict[str, Any], Any, list[int]], syntax: str
) -> None:
    """Any depth, high bit, sign, planar order, byte order and junk in unused bits gives the reference PX2."""
    shape, array, junk = native
    photometric = "RGB" if shape["samples"] == 3 else "MONOCHROME2"
    pixels = _stored_bytes(shape, array, junk, big=syntax == BIG)
    elements = image_elements(pixels, photometric=photometric, syntax=syntax, **shape)
    path = _write(tmp_path_factory.getbasetemp(), dicom(elements, syntax=syntax))
    expected = _reference(
        array,
        stored=shape["stored"],
        signed=shape["representation"] == 1,
        photometric=photometric,
        width=shape["allocated"] // 8,
    )
    assert expected == measure(path).digests["pixels"]


@given(
    rows=st.integers(1, 5), columns=st.integers(1, 9), frames=st.integers(1, 4), syntax=st.sampled_from([EXPLICIT, BIG]),
    bits=st.integers(0, 2**180 - 1),
)  # fmt: skip
def test_one_bit_frames_follow_each_other_without_padding(
    tmp_path_factory: pytest.TempPathFactory, *, rows: int, columns: int, frames: int, syntax: str, bits: int
) -> None:
    """1-bit samples are packed least significant bit first, frame behind frame; OW swaps their bytes in big endian."""
    count = rows * columns * frames
    values = [bits >> index & 1 for index in range(count)]
    packed = sum(value << index for index, value in enumerate(values)).to_bytes(-(-count // 16) * 2, "little")
    if syntax == BIG:
        packed = b"".join(packed[at : at + 2][::-1] for at in range(0, len(packed), 2))
    elements = image_elements(packed, rows=rows, columns=columns, frames=frames, allocated=1, syntax=syntax)
    path = _write(tmp_path_factory.getbasetemp(), dicom(elements, syntax=syntax))
    array = np.array(values, dtype=object).reshape(frames, rows, columns, 1)
    expected = _reference(array, stored=1, signed=False, photometric="MONOCHROME2", width=1)
    assert expected == measure(path).digests["pixels"]


def test_blocks_do_not_show(tmp_path: Path) -> None:
    """An image of several read blocks has the same pixels by plane, by pixel, in RLE and in big endian."""
    generator = np.random.default_rng(7)
    array = generator.integers(0, 4096, (1, 500, 401, 3), dtype=np.uint16)
    shape: dict[str, Any] = {"rows": 500, "columns": 401, "samples": 3, "stored": 12, "photometric": "RGB"}
    digests = set()
    for planar, syntax, order in ((0, EXPLICIT, "<"), (1, EXPLICIT, "<"), (0, BIG, ">"), (1, BIG, ">")):
        ordered = array.transpose(0, 3, 1, 2) if planar else array
        elements = image_elements(ordered.astype(order + "u2").tobytes(), planar=planar, syntax=syntax, **shape)
        digests.add(measure(_write(tmp_path, dicom(elements, syntax=syntax))).digests["pixels"][SHA256])
    assert {_reference(array, stored=12, signed=False, photometric="RGB", width=2)[SHA256]} == digests


def _compressed(fragments: list[bytes], *, syntax: str, table: bytes = b"", **shape: Any) -> bytes:
    elements = image_elements(b"", **shape)
    del elements[0x7FE00010]
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    return file_meta(syntax) + head + element(0x7FE00010, "OB", encapsulated(fragments, table=table), length=0xFFFFFFFF)


def _rle(plane: bytes) -> bytes:
    literal = b"".join(bytes([len(plane[i : i + 128]) - 1]) + plane[i : i + 128] for i in range(0, len(plane), 128))
    data = struct.pack("<16I", 1, 64, *[0] * 14) + literal
    return data + b"\0" * (len(data) % 2)


@pytest.mark.parametrize("fragmented", ["alone", "table"])
def test_fragments_are_joined_by_frame(tmp_path: Path, fragmented: str) -> None:
    """Frames are told apart by one fragment each or by the basic offset table."""
    frames = [bytes(range(i, i + 12)) for i in range(3)]
    shape: dict[str, Any] = {"rows": 3, "columns": 4, "frames": 3, "allocated": 8}
    plain = measure(_write(tmp_path, dicom(image_elements(b"".join(frames), **shape))))
    streams = [_rle(frame) for frame in frames]
    if fragmented == "table":
        fragments = [part for stream in streams for part in (stream[:64], stream[64:])]
        starts = [sum(8 + len(part) for part in fragments[: 2 * i]) for i in range(3)]
        data = _compressed(fragments, syntax=RLE, table=struct.pack("<3I", *starts), **shape)
    else:
        data = _compressed(streams, syntax=RLE, **shape)
    assert plain.digests["pixels"] == measure(_write(tmp_path, data)).digests["pixels"]


_HEADER: Elements = {
    0x00080005: ("CS", text("ISO_IR 100")),
    0x00080022: ("DA", b"20261123"),
    0x00080032: ("TM", b"101112.5"),
    0x00080201: ("SH", text("+0100")),
    0x00081070: ("PN", text(b"M\xfcller ^Eva\\Roe^ Jo ")),
    0x00100010: ("PN", text("Doe^Jane^^")),
    0x00100020: ("LO", text(" 4711 ")),
    0x00200037: ("DS", text("1.000\\0\\0\\0\\1.0\\-0")),
    0x0020000D: ("UI", b"1.2.3\0"),
    0x00281052: ("DS", text("-1024.0")),
    0x00281053: ("DS", text("1")),
}


def _attributes(measurement: Measurement) -> dict[str, Any]:
    return {name: value for name, value in measurement.attributes.items() if value is not None}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED])
def test_attributes_are_read_and_normalised(tmp_path: Path, syntax: str) -> None:
    """The attributes of the header are normalised by their value representation, whatever the transfer syntax."""
    elements = _HEADER | image_elements(bytes(8), rows=2, columns=2, syntax=syntax)
    expected = {
        "acquisition_datetime": "20261123101112.5+0100",
        "bits_stored": 16,
        "columns": 2,
        "file_name": "image.dcm",
        "frames": 1,
        "image_orientation_patient": "1\\0\\0\\0\\1\\0",
        "patient_id": "4711",
        "patient_name": "Doe^Jane",
        "photometric_interpretation": "MONOCHROME2",
        "rescale": "1\\-1024",
        "rows": 2,
        "study_instance_uid": "1.2.3",
        "technologist": "Müller^Eva\\Roe^Jo",
    }
    assert expected == _attributes(measure(_write(tmp_path, dicom(elements, syntax=syntax))))


def test_the_header_binding_is_always_there(tmp_path: Path) -> None:
    """A DICOM measurement carries every name of HEADER_BINDING, None where the object has no value."""
    attributes = measure(_write(tmp_path, dicom(image_elements(bytes(8), rows=2, columns=2)))).attributes
    assert dict.fromkeys(HEADER_BINDING) == {name: attributes[name] for name in HEADER_BINDING}


def _item(*elements: bytes) -> bytes:
    return element(0xFFFEE000, "UN", b"".join(elements), syntax=IMPLICIT)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("vr", ["SQ", "UN"])
def test_sequences_are_read_in_every_encoding(tmp_path: Path, *, undefined: bool, vr: str) -> None:
    """Operator codes and frame orientations are found in sequences of defined and undefined length, SQ or UN."""
    inner = IMPLICIT if vr == "UN" else EXPLICIT
    end = element(0xFFFEE0DD, "UN", b"", syntax=IMPLICIT)

    def sequence(tag: int, *items: bytes, top: bool = False) -> bytes:
        length = 0xFFFFFFFF if undefined else None
        data = b"".join(_item(item) for item in items) + (end if undefined else b"")
        return element(tag, vr if top else "SQ", data, syntax=EXPLICIT if top else inner, length=length)

    code = element(0x00080100, "SH", text("R17"), syntax=inner)
    frames = [
        sequence(0x00209116, element(0x00200037, "DS", text(value), syntax=inner))
        for value in ("1\\0", "1.0\\0", "0\\1")
    ]
    body = image_elements(bytes(8), rows=2, columns=2)
    pixels = element(0x7FE00010, "OW", body.pop(0x7FE00010)[1])
    data = (
        file_meta(EXPLICIT)
        + sequence(0x00081072, sequence(0x00401101, code), top=True)
        + dicom(body)[len(file_meta(EXPLICIT)) :]
        + sequence(0x52009230, *frames, top=True)
        + pixels
    )
    attributes = measure(_write(tmp_path, data)).attributes
    expected = ("R17", "frames 1-2 \\1\\0\\frames 3-3 \\0\\1")
    assert expected == (attributes["technologist_id"], attributes["image_orientation_patient"])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_source_images_are_found_wherever_they_stand(tmp_path: Path, syntax: str) -> None:
    """V17: top level, shared groups, groups of frames; each UID once, in the order of its first place."""

    def sources(*uids: str) -> bytes:
        items = b"".join(_item(element(0x00081155, "UI", uid.encode(), syntax=syntax)) for uid in uids)
        return element(0x00082112, "SQ", items, syntax=syntax)

    def group(*uids: str) -> bytes:
        return _item(element(0x00089124, "SQ", _item(sources(*uids)), syntax=syntax))

    elements = image_elements(bytes(8), rows=2, columns=2, syntax=syntax) | {
        0x00082112: ("SQ", sources("2.25.9\0", "2.25.8", "\0\0")[8 if syntax == IMPLICIT else 12 :]),
        0x00282112: ("DS", text("10.50\\+3")),
        0x00282114: ("CS", text("ISO_10918_1 \\ISO_14495_1")),
        0x52009229: ("SQ", group("2.25.8", "2.25.7\0")),
        0x52009230: ("SQ", group("2.25.9\0") + group("2.25.6")),
    }
    attributes = measure(_write(tmp_path, dicom(elements, syntax=syntax))).attributes
    names = ("source_image_uids", "lossy_compression_ratio", "lossy_compression_method")
    expected = ("2.25.9\\2.25.8\\2.25.7\\2.25.6", "10.5\\3", "ISO_10918_1\\ISO_14495_1")
    assert expected == tuple(attributes[name] for name in names)


def test_an_object_without_a_history_states_none(tmp_path: Path) -> None:
    """Empty elements and empty sequences are no value, and no value is not committed (V13)."""
    empty: Elements = {0x00082112: ("SQ", b""), 0x00282112: ("DS", b""), 0x00282114: ("CS", b"")}
    attributes = measure(_write(tmp_path, dicom(image_elements(bytes(8), rows=2, columns=2) | empty))).attributes
    assert {"source_image_uids", "lossy_compression_ratio", "lossy_compression_method"} & attributes.keys() == set()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_the_orientation_of_frames_is_read_in_both_forms(tmp_path: Path, syntax: str) -> None:
    """V10 holds for Patient Orientation in Frame Sequence too where the encoding names no sequence."""
    inner = _item(element(0x00200020, "CS", b"R\\A ", syntax=syntax))
    groups = _item(element(0x00209450, "SQ", inner, syntax=syntax))
    elements = image_elements(bytes(8), rows=2, columns=2, syntax=syntax) | {0x52009230: ("SQ", groups)}
    attributes = measure(_write(tmp_path, dicom(elements, syntax=syntax))).attributes
    assert attributes["patient_orientation"] == "frames 1-1 \\R\\A"


_GROUPED = {
    "image_laterality": (0x00200062, 0x00209071, 0x00209072, "CS"),
    "patient_orientation": (0x00200020, 0x00209450, 0x00200020, "CS"),
    "image_orientation_patient": (0x00200037, 0x00209116, 0x00200037, "DS"),
}
_Groups = tuple[tuple[str, ...], ...]


def _grouped(name: str, top: str, shared: _Groups, frames: _Groups) -> bytes:
    """An object that states one attribute at the top level, in shared groups and in those of frames."""
    tag, sequence, inner, vr = _GROUPED[name]

    def group(values: tuple[str, ...]) -> bytes:
        items = b"".join(_item(element(inner, vr, text(value)) if value else b"") for value in values)
        return _item(element(sequence, "SQ", items) if values else b"")

    elements = image_elements(bytes(8), rows=2, columns=2)
    elements |= {tag: (vr, text(top))} if top else {}
    for number, groups in ((0x52009229, shared), (0x52009230, frames)):
        elements |= {number: ("SQ", b"".join(map(group, groups)))} if groups else {}
    return dicom(elements)


@pytest.mark.parametrize(
    ("top", "shared", "frames", "expected"),
    [
        ("", (), (), None),
        ("1", (), (), "1"),
        ("1", ((),), ((), ("",)), "1"),
        ("", (("1",),), (), "shared \\1"),
        ("1", (("1",),), ((), ()), "1\\shared \\1\\frames 1-2 "),
        ("1", (), (("2",),), "1\\frames 1-1 \\2"),
        ("", (), (("1",), ("2",), ("2",)), "frames 1-1 \\1\\frames 2-3 \\2"),
        ("", (), (("1",), ("1",), ("2",)), "frames 1-2 \\1\\frames 3-3 \\2"),
        ("", (), (("1", "2"), ()), "frames 1-1 \\1\\and \\2\\frames 2-2 "),
        ("", (), (("", "1"),), "frames 1-1 \\and \\1"),
        ("", (), (("1\\2",),), "frames 1-1 \\1\\2"),
        ("frames 1-1 \\1", (), (), "frames 1-1\\1"),
    ],
)
@pytest.mark.parametrize("name", _GROUPED)
def test_every_place_of_an_orientation_is_in_its_value(
    tmp_path: Path, *, name: str, top: str, shared: _Groups, frames: _Groups, expected: str | None
) -> None:
    """Readers believe one place or the other: the value holds both, and every frame, and is no other header's (V10)."""
    attributes = measure(_write(tmp_path, _grouped(name, top, shared, frames))).attributes
    assert attributes[name] == expected


def test_headers_that_differ_have_values_that_differ(tmp_path: Path) -> None:
    """No two ways to spread R and L over top level, shared group and two frames give one value."""
    sides = ["", "L", "R"]
    spread = list(itertools.product(["", "L", "R", "L\\R", "shared\\R"], sides, sides, sides))
    values = {
        measure(_write(tmp_path, _grouped("image_laterality", top, ((shared,),), ((one,), (two,))))).attributes[
            "image_laterality"
        ]
        for top, shared, one, two in spread
    }
    assert len(values) == len(spread)


@pytest.mark.parametrize(
    "uid",
    [
        EXPLICIT + "\0" + element(0x00100010, "PN", b"Doe^Jane").decode(),
        *("1.2\0.3", "1..2", ".1", "1.", "1. 2", "", " 1.2", "1.2\n", "1.2.x", "1.\u0662", "1." + "2" * 63),
    ],
)
def test_a_transfer_syntax_that_is_no_uid_leaves_the_file_rung_alone(tmp_path: Path, uid: str) -> None:
    """A UID that swallows the front of the data set would make another data set of the same digest (R6)."""
    whole = dicom(image_elements(bytes(8), rows=2, columns=2))
    path = _write(tmp_path, file_meta(uid) + whole[len(file_meta(EXPLICIT)) :])
    with pytest.raises(DecodeError, match="not a UID"):
        measure(path)
    assert list(measure(path, tolerant=True).digests) == ["file"]
