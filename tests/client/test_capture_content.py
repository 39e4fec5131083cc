"""The `content` rung: what every re-encoding of an object has in common, and what it does not cover."""

import hashlib
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from capture_writers import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Elements,
    dicom,
    element,
    encapsulated,
    file_meta,
    image_elements,
    text,
)
from platemark.capture import measure
from platemark.errors import CaptureError
from platemark.rungs import SHA256, SHA512, Measurement, strongest_match
from platemark.signing import require_complete

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
LATERALITY, PRIVATE, CREATOR = 0x00200060, 0x00091001, 0x00090010
ITEM = b"\xfe\xff\x00\xe0"


def _path(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(found, str), name
    return Path(found)


def _measured(folder: Path, data: bytes) -> Measurement:
    path = folder / "image.dcm"
    path.write_bytes(data)
    return measure(path)


def _image(syntax: str = EXPLICIT, **changes: tuple[str, bytes]) -> Elements:
    elements = image_elements(bytes(range(32)), rows=4, columns=4, syntax=syntax)
    elements[0x00100010] = ("PN", text("Doe^Jane"))
    return elements | {int(tag[1:], 16): each for tag, each in changes.items()}


def test_content_is_the_hash_of_the_stream_that_the_rules_describe(tmp_path: Path) -> None:
    """Elements, a sequence and pixel data, put together by hand from the rules of the MAC byte stream."""
    item = element(0x00080100, "SH", b"T-D1") + element(0x00080104, "LO", b"Body")
    sequence = ITEM + struct.pack("<I", len(item)) + item
    elements = {
        0x00080000: ("UL", bytes(4)),
        0x00080060: ("CS", b"CT  "),
        0x00082218: ("SQ", sequence),
        0x00280010: ("US", b"\2\0"),
        0x7FE00010: ("OW", bytes(range(4))),
        0xFFFCFFFC: ("OB", bytes(6)),
    }
    stream = (
        struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
        + struct.pack("<HH2s2x", 0x0008, 0x2218, b"SQ") + ITEM
        + struct.pack("<HH2sH", 0x0008, 0x0100, b"SH", 4) + b"T-D1"
        + struct.pack("<HH2sH", 0x0008, 0x0104, b"LO", 4) + b"Body"
        + b"\xfe\xff\xdd\xe0"
        + struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 2) + b"\2\0"
        + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", 4) + bytes(range(4))
    )  # fmt: skip
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom(elements))
    measurement = measure(path, tolerant=True)
    expected = {SHA256: hashlib.sha256(stream).digest(), SHA512: hashlib.sha512(stream).digest()}
    assert measurement.digests["content"] == expected


def test_every_native_encoding_of_an_object_has_one_content(tmp_path: Path) -> None:
    """Implicit, explicit, deflated and big endian copies differ in `dataset` and agree on `content`."""
    found = []
    for syntax in (IMPLICIT, EXPLICIT, DEFLATED, BIG):
        order = ">" if syntax == BIG else "<"
        words = struct.pack(order + "16H", *range(16))
        elements = _image(syntax) | {0x7FE00010: ("OW", words)}
        found.append(_measured(tmp_path, dicom(elements, syntax=syntax)))
    assert len({each.digests["content"][SHA256] for each in found}) == 1
    assert len({each.digests["content"][SHA512] for each in found}) == 1
    assert len({each.digests["dataset"][SHA256] for each in found}) == len(found)
    assert {each.content_alone for each in found} == {True}


@pytest.mark.parametrize(
    "names",
    [
        "MR_small.dcm MR_small_bigendian.dcm MR_small_expb.dcm MR_small_implicit.dcm",
        "emri_small.dcm emri_small_big_endian.dcm",
        "liver.dcm liver_expb.dcm",
        "gdcm-US-ALOKA-16.dcm gdcm-US-ALOKA-16_big.dcm",
        "OBXXXX1A_2frame.dcm OBXXXX1A_expb_2frame.dcm",
    ],
)
def test_real_re_encodings_have_one_content(names: str) -> None:
    """Native copies that others made of real images agree on `content`."""
    measurements = [measure(_path(name)) for name in names.split()]
    assert len({each.digests["content"][SHA256] for each in measurements}) == 1
    assert len({each.digests["dataset"][SHA256] for each in measurements}) == len(measurements)


@pytest.mark.parametrize(
    "options", ["+te -e", "+te +e", "+te +g", "+te +p 128 0", "+ti", "+tb", "+td"], ids=lambda each: each
)
@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "rtdose.dcm", "examples_palette.dcm"])
def test_content_survives_dcmtk(require: Callable[[str], Path], tmp_path: Path, name: str, options: str) -> None:
    """Lengths, group lengths, padding and native transfer syntaxes, as dcmconv changes them, do not show."""
    copy = tmp_path / "copy.dcm"
    command = [str(require("dcmconv")), *options.split(), str(_path(name)), str(copy)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    original, again = measure(_path(name)), measure(copy)
    match = strongest_match(again.digests, original.digests, content_alone=again.content_alone)
    if (name, options) == ("rtdose.dcm", "+tb"):
        assert match.rung is None  # dcmtk turns the halves of a 32-bit word, most readers the whole word
    elif again.uncovered - original.uncovered:
        assert match.rung == "pixels"  # private elements lost their type on the way through implicit VR
    else:
        assert match.rung in {"dataset", "content"}


def test_everything_that_is_covered_shows(tmp_path: Path) -> None:
    """Another value, another element, another sample or one element less is another content."""
    base = _image()
    without = {tag: each for tag, each in base.items() if tag != 0x00100010}
    changed = [
        base,
        without,
        base | {0x00100010: ("PN", text("Doe^John"))},
        base | {LATERALITY: ("CS", b"L ")},
        base | {PRIVATE: ("LO", b"ab")},
        base | {0x7FE00010: ("OW", bytes(32))},
        base | {0x7FE00010: ("OB", bytes(range(32)))},
    ]
    found = {_measured(tmp_path, dicom(elements)).digests["content"][SHA256] for elements in changed}
    assert len(found) == len(changed)


@pytest.mark.parametrize(("syntax", "lost"), [(IMPLICIT, "LO"), (EXPLICIT, "UN")])
def test_an_element_that_lost_its_type_is_named_and_not_covered(tmp_path: Path, syntax: str, lost: str) -> None:
    """A private element of implicit VR, or one that became UN, is left out: with it or without, the content is one."""
    with_it = _measured(
        tmp_path, dicom(_image(syntax) | {CREATOR: ("LO", b"ours"), PRIVATE: (lost, b"ab")}, syntax=syntax)
    )
    without = _measured(tmp_path, dicom(_image(syntax) | {CREATOR: ("LO", b"ours")}, syntax=syntax))
    known = _measured(tmp_path, dicom(_image() | {CREATOR: ("LO", b"ours"), PRIVATE: ("LO", b"ab")}))
    assert (with_it.uncovered, without.uncovered, known.uncovered) == (frozenset({PRIVATE}), frozenset(), frozenset())
    assert with_it.digests["content"] == without.digests["content"]
    assert with_it.digests["content"] != known.digests["content"]
    assert (with_it.content_alone, with_it.content_covers_header) == (True, True)


@pytest.mark.parametrize(
    ("tag", "value", "alone", "header"),
    [
        (LATERALITY, b"L ", True, False),
        (0x00280010, b"\4\0", False, False),
        (0x7FE00010, bytes(32), False, False),
        (PRIVATE, b"ab", True, True),
    ],
)
def test_standard_elements_that_lost_their_type_cost_content_what_it_proves(
    tmp_path: Path, tag: int, value: bytes, *, alone: bool, header: bool
) -> None:
    """Without a standard element `content` clears no header, without one of the image it proves no image alone."""
    measurement = _measured(tmp_path, dicom(_image() | {tag: ("UN", value)}))
    assert measurement.uncovered == {tag}
    assert (measurement.content_alone, measurement.content_covers_header) == (alone, header)


def test_a_sequence_with_an_unknown_element_is_left_out_whole(tmp_path: Path) -> None:
    """What a functional group says is not covered when a private element within it lost its type."""
    inner = element(PRIVATE, "UN", b"ab") + element(0x00209072, "CS", b"L ")
    item = ITEM + struct.pack("<I", len(inner)) + inner
    measurement = _measured(tmp_path, dicom(_image() | {0x52009229: ("SQ", item)}))
    assert (measurement.uncovered, measurement.content_covers_header) == (frozenset({0x52009229}), False)


def _compressed(fragments: list[bytes]) -> bytes:
    elements = image_elements(b"", rows=4, columns=4, allocated=8)
    del elements[0x7FE00010]
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    value = encapsulated(fragments)
    return file_meta(JPEG_BASELINE) + head + element(0x7FE00010, "OB", value, length=0xFFFFFFFF)


def test_content_does_not_see_the_borders_of_fragments_and_the_frames_do(tmp_path: Path) -> None:
    """Two objects with other fragments have one MAC byte stream: `content` is no match, for `codestream` differs."""
    one = _measured(tmp_path, _compressed([b"\xff\xd8ab" + ITEM + b"cd\xff\xd9"]))
    two = _measured(tmp_path, _compressed([b"\xff\xd8ab", b"cd\xff\xd9"]))
    assert one.digests["content"] == two.digests["content"]
    assert one.digests["codestream"] != two.digests["codestream"]
    assert (one.content_alone, strongest_match(one.digests, two.digests, content_alone=False).rung) == (False, None)


def test_implicit_vr_needs_the_data_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it `content` is not computed, the extra is named, and nothing is registered in part."""
    for name in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    measurement = _measured(tmp_path, dicom(_image(IMPLICIT), syntax=IMPLICIT))
    assert (measurement.uncomputed, measurement.missing_extra) == (frozenset({"content"}), "dicom")
    assert {"file", "dataset", "pixels"} == set(measurement.digests)
    with pytest.raises(CaptureError, match=r'rung content could not be computed: .*pip install "platemark\[dicom\]"'):
        require_complete("scan.dcm", measurement)
    assert "content" in _measured(tmp_path, dicom(_image())).digests


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom(_image()) + element(0x00080060, "CS", b"CT"), "elements are out of order"),
        (dicom(_image() | {0x00409999: ("SQ", ITEM + b"\xff\0\0\0ab")}), "truncated"),
        (dicom(_image() | {0x00409999: ("OW", b"abc")}), "not a multiple of 2"),
    ],
)
def test_an_object_without_a_stream_has_no_content(tmp_path: Path, data: bytes, reason: str) -> None:
    """Elements out of order, or broken in places that nobody asked for, leave `content` out and are no refusal."""
    measurement = _measured(tmp_path, data)
    assert reason in measurement.absent["content"]
    assert (measurement.uncomputed, "pixels" in measurement.digests) == (frozenset(), True)
    kept = measure(tmp_path / "image.dcm", tolerant=True)
    assert kept.uncomputed == (frozenset() if "order" in reason else {"content"})


@pytest.mark.parametrize(
    "data",
    [
        dicom({0x00041130: ("CS", b"SET1"), 0x00080005: ("CS", text("ISO_IR 100"))}),
        dicom({0x00041130: ("CS", b"SET1")}, syntax=IMPLICIT),
        dicom({0xFFFCFFFC: ("OB", bytes(2))}),
        dicom({0x00100010: ("UN", text("Doe^Jane"))}),
    ],
    ids=["directory", "implicit directory", "padding", "unknown"],
)
def test_an_object_of_which_nothing_is_covered_has_no_content(tmp_path: Path, data: bytes) -> None:
    """Two directories must not match because nothing of either is signable."""
    measurement = _measured(tmp_path, data)
    assert ("content" in measurement.digests, measurement.uncomputed) == (False, frozenset())
    assert "MAC byte stream" in measurement.absent["content"]


@pytest.mark.parametrize(("vr", "allocated"), [("OW", 32), ("OB", 16)])
def test_content_never_matches_where_the_frames_differ(tmp_path: Path, vr: str, allocated: int) -> None:
    """Big-endian pixels whose bytes the stream turns otherwise than readers do are other pixels."""
    data = bytes(range(2 * allocated))
    turned = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2)) if vr == "OW" else data
    shape: dict[str, Any] = {"rows": 4, "columns": 4, "allocated": allocated, "vr": vr}
    recorded = _measured(tmp_path, dicom(image_elements(data, **shape)))
    found = _measured(tmp_path, dicom(image_elements(turned, syntax=BIG, **shape), syntax=BIG))
    assert found.digests["content"] == recorded.digests["content"]
    assert found.digests["pixels"] != recorded.digests["pixels"]
    assert strongest_match(found.digests, recorded.digests, content_alone=found.content_alone).rung is None


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", JPEG_BASELINE])
def test_content_never_matches_alone_under_a_transfer_syntax_that_it_does_not_cover(
    tmp_path: Path, syntax: str
) -> None:
    """Native bytes under the label of a transfer syntax that readers decode in their own way match by no rung."""
    recorded, found = (
        _measured(tmp_path, file_meta(each) + dicom(_image())[len(file_meta(EXPLICIT)) :])
        for each in (EXPLICIT, syntax)
    )
    assert found.digests["content"] == recorded.digests["content"]
    assert strongest_match(found.digests, recorded.digests, content_alone=found.content_alone).rung is None


def test_implicit_vr_that_some_readers_take_for_explicit_is_refused(tmp_path: Path) -> None:
    """A first length of two capital letters hides, in a group length, another patient from readers that do not guess."""
    true = dicom(_image(IMPLICIT), syntax=IMPLICIT)[len(file_meta(IMPLICIT)) :]
    other = dicom(_image(EXPLICIT, x00100010=("PN", text("Roe^Rick"))))[len(file_meta(EXPLICIT)) :]
    length = int.from_bytes(b"LT\0\0", "little")
    rest = length - len(other) - 12
    hidden = other + struct.pack("<HH2s2xI", 0xFFFC, 0xFFFC, b"OB", rest + len(true)) + bytes(rest)
    path = tmp_path / "two.dcm"
    path.write_bytes(file_meta(IMPLICIT) + struct.pack("<HHI", 8, 0, length) + hidden + true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pydicom.dcmread(path).PatientName == "Roe^Rick"
    with pytest.raises(CaptureError, match="begins as one in explicit VR"):
        measure(path)
    assert measure(path, tolerant=True).digests.keys() == {"file", "dataset"}


def test_file_meta_information_whose_length_is_wrong_is_refused(tmp_path: Path) -> None:
    """Where readers differ about the first byte of the data set, the same file is another patient to some of them."""
    meta, true = file_meta(IMPLICIT), dicom(_image(IMPLICIT), syntax=IMPLICIT)[len(file_meta(IMPLICIT)) :]
    other = _image(IMPLICIT, x00100010=("PN", text("Roe^Rick")))
    hidden = dicom(other, syntax=IMPLICIT)[len(meta) :] + struct.pack("<HHI", 0xFFFC, 0xFFFC, len(true))
    skipped = bytes(int.from_bytes(b"OB\0\0", "little") - 4)
    path = tmp_path / "two.dcm"
    path.write_bytes(meta + element(0x00020102, "OB", skipped + hidden) + true)
    with pytest.raises(CaptureError, match="ends at byte"):
        measure(path)
    assert measure(path, tolerant=True).digests.keys() == {"file"}


def test_dcmtk_sees_another_patient_behind_a_wrong_length(require: Callable[[str], Path], tmp_path: Path) -> None:
    """Why it is refused: a wide-spread reader begins the data set where (0002,0000) says."""
    test_file_meta_information_whose_length_is_wrong_is_refused(tmp_path)
    command = [str(require("dcmdump")), "+P", "PatientName", str(tmp_path / "two.dcm")]
    shown = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert b"Roe^Rick" in shown
    assert b"Doe^Jane" not in shown
