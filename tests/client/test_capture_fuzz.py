"""Random damage: whatever bytes a file has, measuring it ends with a measurement or an error of ours."""

import io
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture_writers import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RLE,
    dicom,
    element,
    encapsulated,
    file_meta,
    image_elements,
    png,
    text,
    tiff,
)
from platemark.capture import Limits, measure
from platemark.capture._exif import segment_attributes
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._ifd import TiffReader
from platemark.capture._tiff import read_page
from platemark.errors import CaptureError

_SEQUENCE = element(0xFFFEE000, "UN", element(0x00401101, "SQ", b"", syntax=IMPLICIT), syntax=IMPLICIT)
_PAGE = {256: (3, [2]), 257: (3, [2]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 278: (3, [2])}


def _object(syntax: str) -> bytes:
    elements = image_elements(bytes(range(32)), rows=4, columns=4, frames=1, syntax=syntax)
    elements |= {
        0x00080005: ("CS", text("ISO_IR 100")),
        0x00081072: ("SQ", _SEQUENCE),
        0x00100010: ("PN", text("Doe^Jane")),
        0x00200037: ("DS", text("1\\0\\0\\0\\1\\0")),
    }
    return dicom(elements, syntax=syntax)


def _compressed() -> bytes:
    """Two frames in three fragments, with an icon in fragments before them."""
    elements = image_elements(b"", rows=4, columns=4, frames=2, allocated=8)
    del elements[0x7FE00010]
    icon = element(0x7FE00010, "OB", encapsulated([b"\xff\xd8ic\xff\xd9"]), length=0xFFFFFFFF)
    item = element(0xFFFEE000, "UN", icon, syntax=IMPLICIT)
    elements[0x00880200] = ("SQ", item)
    frames = encapsulated([b"\xff\xd8ab", b"cd\xff\xd9", b"\xff\xd8efgh\xff\xd9"], table=bytes(4) + b"\x18\0\0\0")
    head = dicom(elements)[len(file_meta(EXPLICIT)) :]
    return file_meta("1.2.840.10008.1.2.4.50") + head + element(0x7FE00010, "OB", frames, length=0xFFFFFFFF)


@st.composite
def _damaged(draw: st.DrawFn, wholes: list[bytes]) -> bytes:
    """One of `wholes` with bytes set, inserted, removed or cut off."""
    data = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                data[at : at + 1] = draw(st.binary(max_size=9))
            case 2:
                data[at : at + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\xfe\xff\x00\xe0"]))
            case _:
                data = data[: max(1, at)]
    return bytes(data)


def _survives(path: Path, data: bytes, *, pixels: bool) -> None:
    path.write_bytes(data)
    for tolerant in (False, True):
        try:
            measurement = measure(path, pixels=pixels, tolerant=tolerant)
        except CaptureError:
            continue
        assert "file" in measurement.digests
        assert {"pixels"} <= set(measurement.digests) | set(measurement.absent)
        framed = bool({"pixels", "codestream"} & set(measurement.digests))
        assert (framed, measurement.frames or 0) == (bool(measurement.frame_digests), len(measurement.frame_digests))


@given(_damaged([_object(IMPLICIT), _object(EXPLICIT), _object(DEFLATED), _object(RLE), _compressed()]))
def test_damaged_dicom(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A damaged DICOM file is measured or refused, tolerant or not."""
    _survives(tmp_path_factory.getbasetemp() / "damaged", data, pixels=True)


@given(_damaged([png([b"\1\2"], columns=2, depth=8, colour=0), tiff([bytes(4)], _PAGE), b"\xff\xd8\xff\xd9"]))
def test_damaged_images(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """The structure of a damaged PNG, TIFF or JPEG is read or refused."""
    _survives(tmp_path_factory.getbasetemp() / "damaged", data, pixels=False)


@given(_damaged([tiff([bytes(4)], _PAGE), tiff([bytes(4)], _PAGE, order=">")]))
def test_damaged_pages(data: bytes) -> None:
    """A damaged TIFF page is described within the limits or refused before anything is decoded."""
    try:
        reader = TiffReader(io.BytesIO(data), len(data))
        for directory in reader.chain():
            page = read_page(reader, directory, len(data), Limits(frame_bytes=1 << 20))
            assert page.canonical_bytes <= 1 << 20
            assert all(offset + length <= len(data) for offset, length in page.segments)
    except (MalformedError, UndefinedRungError):
        return


@given(st.one_of(st.binary(max_size=200), _damaged([tiff([bytes(64)], {271: (1, [65, 66, 0, 67, 68]), **_PAGE})])))
def test_damaged_exif(data: bytes) -> None:
    """Exif of any bytes gives an orientation of 1 to 8 and attributes of the right types."""
    orientation, attributes = segment_attributes(data)
    assert orientation in range(1, 9)
    assert all(isinstance(value, str | int) for value in attributes.values())


@given(
    st.dictionaries(
        st.sampled_from(
            [0x00080005, 0x00080020, 0x00080030, 0x0008002A, 0x00100010, 0x00100020, 0x00200037, 0x00280008]
        ),
        st.binary(max_size=40),
    )
)
def test_any_bytes_in_values(tmp_path_factory: pytest.TempPathFactory, values: dict[int, bytes]) -> None:
    """Values of any bytes become text that UTF-8 can carry, or the file is refused."""
    elements: dict[int, Any] = image_elements(bytes(8), rows=2, columns=2)
    elements |= {tag: ("LO", value) for tag, value in values.items()}
    path = tmp_path_factory.getbasetemp() / "values"
    path.write_bytes(dicom(elements))
    attributes = measure(path, tolerant=True).attributes
    texts = [value for value in attributes.values() if isinstance(value, str)]
    assert all(len(value.encode()) <= 4093 and unicodedata.is_normalized("NFC", value) for value in texts)
