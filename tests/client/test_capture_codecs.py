"""Compressed DICOM frames: what the chosen decoders return is exact, whoever wrote the codestream."""

import struct
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from capture_writers import EXPLICIT, dicom, element, encapsulated, file_meta, image_elements
from platemark.capture import measure
from platemark.capture._codestream import read_codestream_header
from platemark.errors import CaptureError, DecodeError

JPEG_LL = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"


def _file(folder: Path, syntax: str, codestream: bytes, **shape: Any) -> Path:
    elements = image_elements(b"", **shape)
    del elements[0x7FE00010]
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    value = encapsulated([codestream + b"\0" * (len(codestream) % 2)])
    path = folder / "image.dcm"
    path.write_bytes(file_meta(syntax) + head + element(0x7FE00010, "OB", value, length=0xFFFFFFFF))
    return path


def _native(folder: Path, array: Any, **shape: Any) -> dict[int, bytes]:
    data = array.astype(f"<u{shape['allocated'] // 8}").tobytes()
    path = folder / "native.dcm"
    path.write_bytes(dicom(image_elements(data + b"\0" * (len(data) % 2), **{"planar": 0, **shape})))
    return dict(measure(path).digests["pixels"])


def _encode(syntax: str, array: Any, depth: int) -> bytes:
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(array, level=0))
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(array, reversible=True))
    return bytes(imagecodecs.jpeg2k_encode(array, level=0, codecformat="j2k", reversible=True, bitspersample=depth))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("allocated", "depth"), [(8, 8), (16, 16), (16, 12)])
@pytest.mark.parametrize("syntax", [JPEG_LS, J2K, HTJ2K])
def test_codestreams_of_another_library_have_the_pixels_of_the_array(
    tmp_path: Path, syntax: str, allocated: int, depth: int, samples: int
) -> None:
    """JPEG-LS, JPEG 2000 and HTJ2K by imagecodecs' encoders decode to exactly what was encoded."""
    shape = (20, 33) if samples == 1 else (20, 33, samples)
    array = np.random.default_rng(depth).integers(0, 2**depth, shape, dtype=f"u{allocated // 8}")
    facts: dict[str, Any] = {
        "rows": 20,
        "columns": 33,
        "samples": samples,
        "allocated": allocated,
        "stored": depth,
        "photometric": "RGB" if samples == 3 else "MONOCHROME2",
    }
    coded = measure(_file(tmp_path, syntax, _encode(syntax, array, depth), **facts))
    assert dict(coded.absent) == {}
    assert _native(tmp_path, array, **facts) == coded.digests["pixels"]


def _path(name: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.data.get_testdata_file(name, download=False)
    assert isinstance(found, str), name
    return Path(found)


@pytest.mark.parametrize(
    "name", ["JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "bad_sequence.dcm", "explicit_VR-UN.dcm"]
)
def test_real_codestreams_agree_with_an_independent_decoder(tmp_path: Path, name: str) -> None:
    """JPEG Lossless by GDCM and JPEG 2000 by OpenJPEG agree with imagecodecs' decoders on images from scanners."""
    path = _path(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path)
        frame = next(generate_frames(data_set.PixelData, number_of_frames=1))
    jpeg_2000 = data_set.file_meta.TransferSyntaxUID == J2K
    array = imagecodecs.jpeg2k_decode(frame) if jpeg_2000 else imagecodecs.jpegsof3_decode(frame)
    facts: dict[str, Any] = {
        "rows": data_set.Rows,
        "columns": data_set.Columns,
        "samples": data_set.SamplesPerPixel,
        "allocated": data_set.BitsAllocated,
        "stored": data_set.BitsStored,
        "representation": data_set.PixelRepresentation,
        "photometric": "RGB" if data_set.PhotometricInterpretation == "YBR_RCT" else data_set.PhotometricInterpretation,
    }
    assert _native(tmp_path, array.view(f"u{array.dtype.itemsize}"), **facts) == measure(path).digests["pixels"]


@pytest.mark.parametrize("syntax", [JPEG_LS, J2K])
@pytest.mark.parametrize("allocated", [8, 16])
def test_samples_are_signed_as_the_header_says(tmp_path: Path, syntax: str, allocated: int) -> None:
    """An unsigned codestream of a signed image is sign-extended from its own precision."""
    depth = allocated - 3
    array = np.random.default_rng(1).integers(0, 2**depth, (9, 8), dtype=f"u{allocated // 8}")
    array[0, :2] = 0, 2**depth - 1
    coded = _encode(syntax, array, depth) if syntax == J2K else bytes(jpeg_ls.encode_array(array))
    assert depth == read_codestream_header(coded, syntax).precision
    facts: dict[str, Any] = {"rows": 9, "columns": 8, "allocated": allocated, "representation": 1}
    signed = (array.astype(np.int32) ^ 1 << depth - 1) - (1 << depth - 1)
    for stored in (depth, allocated):
        native = _native(tmp_path, signed.astype(np.uint32), stored=stored, **facts)
        assert native == measure(_file(tmp_path, syntax, coded, stored=stored, **facts)).digests["pixels"]


def test_a_lossy_codestream_under_a_lossless_syntax_has_no_pixels(tmp_path: Path) -> None:
    """Near-lossless JPEG-LS, irreversible JPEG 2000 and baseline JPEG are recognised whatever the file claims."""
    array = np.random.default_rng(4).integers(0, 256, (16, 16), dtype=np.uint8)
    facts: dict[str, Any] = {"rows": 16, "columns": 16, "allocated": 8}
    cases = {
        "near-lossless": (JPEG_LS, imagecodecs.jpegls_encode(array, level=3)),
        "irreversible": (J2K, imagecodecs.jpeg2k_encode(array, level=30, codecformat="j2k", reversible=False)),
        "not lossless JPEG": (JPEG_LL, imagecodecs.jpeg8_encode(array)),
    }
    for reason, (syntax, codestream) in cases.items():
        assert reason in measure(_file(tmp_path, syntax, bytes(codestream), **facts)).absent["pixels"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": 9}, "the compressed frame is 8 x 8 x 1, the header says 9 x 8 x 1"),
        ({"columns": 7}, "the compressed frame is 8 x 8 x 1, the header says 8 x 7 x 1"),
        ({"samples": 3}, "the compressed frame is 8 x 8 x 1, the header says 8 x 8 x 3"),
        ({"allocated": 8}, "the codestream has 16 bits in 8 allocated"),
    ],
)
def test_a_codestream_that_contradicts_the_header_is_refused(
    tmp_path: Path, change: dict[str, int], reason: str
) -> None:
    """Sizes and precision of the codestream are compared with the header before a codec runs."""
    codestream = _encode(J2K, np.full((8, 8), 40000, dtype=np.uint16), 16)
    facts: dict[str, Any] = {"rows": 8, "columns": 8, "allocated": 16, **change}
    with pytest.raises(DecodeError) as caught:
        measure(_file(tmp_path, J2K, codestream, **facts))
    assert reason == caught.value.reason


@pytest.mark.parametrize("syntax", [JPEG_LS, J2K, HTJ2K])
@settings(max_examples=8)
@given(data=st.data())
def test_a_corrupt_codestream_never_does_more_than_fail(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, data: st.DataObject
) -> None:
    """Whatever bytes of a codestream are changed or cut, measuring it ends with a measurement or an error of ours."""
    codestream = bytearray(_encode(syntax, np.arange(256, dtype=np.uint16).reshape(16, 16), 16))
    for _ in range(data.draw(st.integers(0, 6))):
        codestream[data.draw(st.integers(2, len(codestream) - 3))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(2, len(codestream)))
    mutated = bytes(codestream[:cut]) + b"\xff\xd9"
    path = _file(tmp_path_factory.getbasetemp(), syntax, mutated, rows=16, columns=16)
    try:
        measurement = measure(path)
    except CaptureError:
        return
    assert {"file", "dataset"} <= set(measurement.digests)


def test_several_fragments_without_a_table_are_divided_at_end_markers(tmp_path: Path) -> None:
    """Frames split over fragments are told apart by the JPEG end marker when there is no offset table."""
    arrays = [np.full((8, 8), value, dtype=np.uint8) for value in (10, 20)]
    streams = [bytes(imagecodecs.jpegls_encode(array, level=0)) for array in arrays]
    streams = [stream + b"\0" * (len(stream) % 2) for stream in streams]
    parts = [part for stream in streams for part in (stream[:20], stream[20:])]
    elements = image_elements(b"", rows=8, columns=8, allocated=8, frames=2)
    del elements[0x7FE00010]
    head = file_meta(JPEG_LS) + dicom(elements)[len(file_meta(EXPLICIT)) :]
    expected = _native(tmp_path, np.stack(arrays), rows=8, columns=8, allocated=8, frames=2)
    path = tmp_path / "image.dcm"
    path.write_bytes(head + element(0x7FE00010, "OB", encapsulated(parts), length=0xFFFFFFFF))
    assert expected == measure(path).digests["pixels"]
    offsets = struct.pack("<2Q", 0, len(streams[0]) + 16)
    lengths = struct.pack("<2Q", *map(len, streams))
    tables = element(0x7FE00001, "OV", offsets) + element(0x7FE00002, "OV", lengths)
    path.write_bytes(head + tables + element(0x7FE00010, "OB", encapsulated(parts), length=0xFFFFFFFF))
    assert expected == measure(path).digests["pixels"]
