"""DICOMDIR: what a patient CD says it holds is read strictly, and no name leads out of the disc."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sets import dicomdir, record

from capture_writers import EXPLICIT, IMPLICIT, dicom, image_elements
from platemark.capture.dicomdir import Reference, is_dicomdir, read_dicomdir
from platemark.errors import FormatError

_REAL = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
WHOLE = dicomdir(
    record(None, kind="PATIENT"),
    record("DICOM\\IM000001", instance="2.25.1"),
    record("DICOM\\SR000001", kind="SR DOCUMENT", instance="2.25.22"),
    record("OLD", in_use=0),
)


def read(data: bytes) -> list[Reference]:
    """The references of a file of these bytes."""
    return read_dicomdir(io.BytesIO(data), len(data))


def test_every_file_in_use_is_named() -> None:
    """Path, kind and instance of each record that is in use and names a file."""
    assert [(each.path, each.kind, each.sop_instance_uid) for each in read(WHOLE)] == [
        ("DICOM/IM000001", "IMAGE", "2.25.1"),
        ("DICOM/SR000001", "SR DOCUMENT", "2.25.22"),
    ]


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-nopatient", "DICOMDIR-reordered"])
def test_real_discs_are_read_as_pydicom_reads_them(name: str) -> None:
    """Paths and instances of another reader, in the order of the records; every file of the disc is there."""
    expected = [
        ("/".join(each.ReferencedFileID), each.ReferencedSOPInstanceUIDInFile)
        for each in pydicom.dcmread(_REAL / name).DirectoryRecordSequence
        if "ReferencedFileID" in each
    ]
    found = read((_REAL / name).read_bytes())
    assert [(each.path, each.sop_instance_uid) for each in found] == expected
    assert len(expected) == 31


def test_a_record_without_a_flag_is_in_use() -> None:
    """(0004,1410) is retired in later editions."""
    assert [each.path for each in read(dicomdir(record("A", in_use=None)))] == ["A"]


def test_dicomdir_is_told_from_its_content() -> None:
    """By the storage class of the file meta information, whatever the file is called."""
    assert is_dicomdir(WHOLE[:1024])
    assert not is_dicomdir(dicom(image_elements(bytes(8), rows=2, columns=2))[:1024])
    assert not is_dicomdir(b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a DICOM file"),
        (bytes(200), "not a DICOM file"),
        (WHOLE[:-1], "truncated"),
        (WHOLE[:400], "truncated"),
        (dicomdir(record("A"), syntax=IMPLICIT), "PS3.10 asks for explicit VR little endian"),
        (dicom(image_elements(bytes(8), rows=2, columns=2), syntax=EXPLICIT), "has no Directory Record Sequence"),
        (
            dicomdir(record("..\\..\\ETC\\PASSWD")),
            "record 0: Referenced File ID '..\\\\..\\\\ETC\\\\PASSWD' is refused",
        ),
        (dicomdir(record("A"), record("DICOM\\..\\B")), "record 1: Referenced File ID"),
        (dicomdir(record("DICOM/IM1")), "is refused"),
        (dicomdir(record("C:\\IM1")), "is refused"),
        (dicomdir(record("\\\\server\\IM1")), "is refused"),
        (dicomdir(record("A" * 65)), "is refused"),
        (dicomdir(record("\\".join("A" * 17))), "is refused"),
        (dicomdir(record(None, raw=b"A\0B")), "is refused"),
        (dicomdir(record(None, raw=b"A\x1b[2J")), "is refused"),
    ],
)
def test_what_no_disc_has_is_refused(data: bytes, said: str) -> None:
    """Damage, other encodings and names that lead elsewhere are one error that names the record."""
    with pytest.raises(FormatError) as caught:
        read(data)
    assert said in str(caught.value)
    assert str(caught.value).startswith("DICOMDIR")


@given(st.integers(132, len(WHOLE) - 1), st.integers(0, 255))
def test_any_byte_may_be_wrong(at: int, value: int) -> None:
    """Whatever byte changes, it is read or refused with an error of ours."""
    try:
        found = read(WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])
    except FormatError:
        return
    assert all(".." not in each.path.split("/") for each in found)
