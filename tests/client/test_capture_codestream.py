"""The `codestream` rung: compressed frames that have no canonical pixels, byte for byte, whatever carries them."""

import hashlib
import struct
import sys
import tracemalloc
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.encaps import generate_frames

import reference
from capture_writers import EXPLICIT, RLE, dicom, element, encapsulated, file_meta, image_elements
from platemark.capture import measure
from platemark.errors import CaptureError, DecodeError
from platemark.rungs import SHA256, SHA512, Measurement
from platemark.signing import require_complete

_NAMES = {SHA256: "sha256", SHA512: "sha512"}
BASELINE = "1.2.840.10008.1.2.4.50"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
H264, H264_FRAGMENTS = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.102.1"
JPEG = b"\xff\xd8\xff\xc0  one frame \xff\xd9"
ODD = b"\xff\xd8\xff\xc0 a frame \xff\xd9"
OTHER = b"\xff\xd8\xff\xc0 another one\xff\xd9"


def _path(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(found, str), name
    return Path(found)


def _root(frames: list[bytes], algorithm: int, *, domain: bytes = b"PXC-ROOT\0") -> bytes:
    """R8 over frame digests, by the recursive definition of RFC 9162."""
    name = _NAMES[algorithm]
    tree = reference.root([reference.leaf(frame, name) for frame in frames], name)
    return hashlib.new(name, domain + struct.pack(">Q", len(frames)) + tree).digest()


def _frame(
    syntax: str, codestream: bytes, *, rows: int, columns: int, samples: int, photometric: str, sign: int = 0
) -> bytes:
    """What is hashed of one frame, from the rules alone."""
    head = b"PXC\0" + struct.pack(">IIHB", rows, columns, samples, sign) + photometric.encode() + b"\0"
    return head + syntax.encode() + b"\0" + codestream


def _file(folder: Path, syntax: str, fragments: list[bytes], *, table: bytes = b"", **shape: Any) -> Path:
    elements = image_elements(b"", **{"rows": 3, "columns": 4, "allocated": 8, **shape})
    del elements[0x7FE00010]
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    value = encapsulated([each + b"\0" * (len(each) % 2) for each in fragments], table=table)
    path = folder / "image.dcm"
    path.write_bytes(file_meta(syntax) + head + element(0x7FE00010, "OB", value, length=0xFFFFFFFF))
    return path


def _measured(*arguments: Any, **shape: Any) -> Measurement:
    return measure(_file(*arguments, **shape))


@pytest.mark.parametrize(
    "name",
    [
        "JPEG-lossy.dcm",
        "693_J2KI.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "examples_ybr_color.dcm",
        "color3d_jpeg_baseline.dcm",
    ],
)
def test_codestreams_equal_the_reference_over_the_frames_that_pydicom_splits(name: str) -> None:
    """The rung of real lossy files is R8 over their frames as an independent reader finds them, without padding."""
    path = _path(name)
    found = pydicom.dcmread(path)
    syntax = str(found.file_meta.TransferSyntaxUID)
    count = int(found.get("NumberOfFrames", 1))
    hashed = []
    for frame in generate_frames(found.PixelData, number_of_frames=count):
        codestream = frame[:-1] if frame[:-1].endswith(b"\xff\xd9") else frame.rstrip(b"\0")
        facts = {"rows": found.Rows, "columns": found.Columns, "samples": found.SamplesPerPixel}
        facts["sign"] = found.PixelRepresentation
        hashed.append(_frame(syntax, codestream, photometric=found.PhotometricInterpretation, **facts))
    measurement = measure(path)
    assert (measurement.frames, "pixels" in measurement.digests, measurement.encapsulated) == (count, False, True)
    for algorithm, algorithm_name in _NAMES.items():
        digests = [hashlib.new(algorithm_name, each).digest() for each in hashed]
        assert _root(digests, algorithm) == measurement.digests["codestream"][algorithm]
    assert measurement.frame_digests == tuple(hashlib.sha256(each).digest() for each in hashed)


@pytest.mark.parametrize(
    ("syntax", "stored", "codestream"),
    [
        (BASELINE, JPEG, JPEG),
        (BASELINE, JPEG + b"\0", JPEG),
        (BASELINE, ODD, ODD),
        (BASELINE, ODD + b"\x20", ODD),
        (BASELINE, JPEG + b"\0\0\0\0", JPEG),
        (BASELINE, JPEG + b"\x20\0", JPEG + b"\x20"),
        (BASELINE, b"\xff\xd8 never ended", b"\xff\xd8 never ended"),
        (J2K, b"\xff\x4f\xff\x51 \xff\xd9\x01", b"\xff\x4f\xff\x51 \xff\xd9"),
        (H264, b"\0\0\0\1 \xff\xd9\x80", b"\0\0\0\1 \xff\xd9\x80"),
        (H264, b"\0\0\0\1 \xff\xd9\x80\0\0\0", b"\0\0\0\1 \xff\xd9\x80"),
        (BASELINE, b"\xff", b"\xff"),
    ],
)
def test_padding_is_not_covered(tmp_path: Path, syntax: str, stored: bytes, codestream: bytes) -> None:
    """A byte after the end marker of a JPEG, and zeros at the end of anything, are no part of the codestream."""
    facts = {"rows": 3, "columns": 4, "samples": 1, "photometric": "MONOCHROME2"}
    expected = hashlib.sha256(_frame(syntax, codestream, **facts)).digest()  # type: ignore[arg-type]
    assert _measured(tmp_path, syntax, [stored]).frame_digests == (expected,)


@pytest.mark.parametrize("frames", [1, 2])
def test_fragments_do_not_show(tmp_path: Path, frames: int) -> None:
    """However a codestream is cut into fragments, with an offset table or without, the rung is one."""
    streams = [JPEG, OTHER][:frames]
    whole = _measured(tmp_path, BASELINE, streams, frames=frames)
    for size, tabled in product([2, 6, 10], [False, True]):
        fragments = [[each[at : at + size] for at in range(0, len(each), size)] for each in streams]
        starts = [0, sum(8 + len(each) + len(each) % 2 for each in fragments[0])]
        table = struct.pack(f"<{frames}I", *starts[:frames]) if tabled else b""
        cut = _measured(tmp_path, BASELINE, [part for each in fragments for part in each], table=table, frames=frames)
        assert cut.digests["codestream"] == whole.digests["codestream"]
        assert cut.digests["dataset"] != whole.digests["dataset"]


def test_every_byte_and_every_fact_shows(tmp_path: Path) -> None:
    """Another byte, order, number of frames, size, colour or transfer syntax is another digest."""
    cases: list[tuple[str, list[bytes], dict[str, Any]]] = [
        (BASELINE, [JPEG, OTHER], {"frames": 2}),
        (BASELINE, [OTHER, JPEG], {"frames": 2}),
        (BASELINE, [JPEG, JPEG], {"frames": 2}),
        (BASELINE, [JPEG], {}),
        (BASELINE, [JPEG.replace(b"one", b"two")], {}),
        (BASELINE, [JPEG], {"rows": 4}),
        (BASELINE, [JPEG], {"columns": 3}),
        (BASELINE, [JPEG], {"samples": 3, "photometric": "RGB", "planar": 0}),
        (BASELINE, [JPEG], {"photometric": "MONOCHROME1"}),
        ("1.2.840.10008.1.2.4.51", [JPEG], {}),
    ]
    digests = {
        _measured(tmp_path, syntax, streams, **shape).digests["codestream"][SHA256] for syntax, streams, shape in cases
    }
    assert len(digests) == len(cases)


@pytest.mark.parametrize("syntax", [H264, H264_FRAGMENTS])
def test_a_video_is_one_codestream(tmp_path: Path, syntax: str) -> None:
    """All frames of a video are one codestream: its frames count as one, however many the header announces."""
    parts = [b"\0\0\0\1 first", b" second", b" third"]
    measurements = [_measured(tmp_path, syntax, parts, frames=count) for count in (1, 3, 90, 2_000_000)]
    assert {measurement.frames for measurement in measurements} == {1}
    assert len({measurement.digests["codestream"][SHA256] for measurement in measurements}) == 1
    assert measurements[2].attributes["frames"] == 90


@pytest.mark.parametrize(
    ("syntax", "shape"),
    [
        ("1.2.3.4", {}),
        (RLE, {"allocated": 1}),
        (RLE, {"allocated": 24, "stored": 24}),
        (J2K_LOSSLESS, {"photometric": "YBR_FULL_422", "samples": 3, "planar": 0}),
    ],
)
def test_what_is_compressed_and_has_no_pixels_has_a_codestream(
    tmp_path: Path, syntax: str, shape: dict[str, Any]
) -> None:
    """Private transfer syntaxes and shapes without a canonical form are covered as they are."""
    measurement = _measured(tmp_path, syntax, [b"any bytes"], **shape)
    assert ("codestream" in measurement.digests, measurement.uncomputed) == (True, frozenset())
    assert set(measurement.absent) == {"pixels"}


def test_pixels_and_codestream_exclude_each_other() -> None:
    """A lossless file has `pixels` and its frames, a lossy one `codestream`; neither names the other as absent."""
    lossless, lossy = measure(_path("MR_small_RLE.dcm")), measure(_path("JPEG-lossy.dcm"))
    assert ("codestream" in lossless.digests, "codestream" in lossless.absent) == (False, False)
    assert ("pixels" in lossy.digests, set(lossy.absent)) == (False, {"pixels"})
    (frame,) = lossless.frame_digests
    assert lossless.digests["pixels"][SHA256] == _root([frame], SHA256, domain=b"PX2-ROOT\0")
    assert measure(_path("CT_small.dcm")).encapsulated is False


@pytest.mark.parametrize(
    ("fragments", "shape", "reason"),
    [
        ([b"\0\0"], {}, "a compressed frame is empty"),
        ([b""], {}, "a compressed frame is empty"),
        ([], {}, "the encapsulated pixel data has no fragments"),
        ([b"ab", b"cd", b"ef"], {"frames": 2}, "3 fragments cannot be divided into 2 frames"),
        ([JPEG], {"frames": 2_000_000}, "2000000 frames are above the limit of 1048576"),
    ],
)
def test_broken_compressed_frames_are_refused(
    tmp_path: Path, fragments: list[bytes], shape: dict[str, Any], reason: str
) -> None:
    """Frames that are empty or cannot be told apart are refused for capture and not computed for a verifier."""
    path = _file(tmp_path, BASELINE, fragments, **shape)
    with pytest.raises(DecodeError, match=reason):
        measure(path)
    measurement = measure(path, tolerant=True)
    assert reason in measurement.absent["codestream"]
    assert "codestream" in measurement.uncomputed


def test_without_the_decoder_neither_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the two rungs a compressed file has needs its decoder: without it, nobody may see a difference."""
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "openjpeg.py").write_text("raise ModuleNotFoundError(name='openjpeg')")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "stub"), *sys.path])
    measurement = measure(_path("693_J2KR.dcm"))
    assert {"pixels", "codestream"} <= measurement.uncomputed
    assert measurement.missing_extra == "dicom"
    with pytest.raises(CaptureError, match=r'rung pixels could not be computed: .*"platemark\[dicom\]"'):
        require_complete("scan.dcm", measurement)


def test_memory_does_not_grow_with_a_video(tmp_path: Path) -> None:
    """A codestream of 64 MiB, most of it zeros at its end, is measured with less than 8 MiB."""
    path = _file(tmp_path, H264, [b"\0\0\0\1 film" + bytes(64 << 20)])
    tracemalloc.start()
    try:
        measurement = measure(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert measurement.frame_digests == _measured(tmp_path, H264, [b"\0\0\0\1 film"]).frame_digests
    assert peak < 8 << 20


def test_the_sign_of_samples_is_covered(tmp_path: Path) -> None:
    """One compressed frame read as signed and as unsigned samples is two images."""
    signed, unsigned = (
        _measured(tmp_path, "1.2.840.10008.1.2.4.91", [b"\xff\x4fabcd\xff\xd9"], representation=each) for each in (1, 0)
    )
    assert signed.digests["codestream"] != unsigned.digests["codestream"]


@pytest.mark.parametrize("lengths", [None, [40], [38, 2]])
@pytest.mark.parametrize("offset", [0, 48])
def test_the_table_of_a_single_frame_has_to_be_right(tmp_path: Path, offset: int, lengths: list[int] | None) -> None:
    """Readers that believe an offset or a length find another frame than those that join the fragments."""
    path = _file(tmp_path, "1.2.840.10008.1.2.4.91", [bytes(range(1, 41)), bytes(range(100, 140))])
    more = element(0x7FE00001, "OV", struct.pack("<Q", offset))
    if lengths is not None:
        more += element(0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths))
    data = path.read_bytes()
    at = data.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))
    path.write_bytes(data[:at] + more + data[at:])
    found = measure(path, tolerant=True)
    assert ("codestream" in found.digests) == (offset == 0 and lengths is None)
    assert ("codestream" in found.uncomputed) == ("codestream" not in found.digests)
