"""Reading a DICOMDIR (PS3.10 chapter 8, PS3.3 annex F): which files a patient CD says that it holds.

Strict where two readers could differ, and nothing is opened by its names: they are looked up among the files that are
there. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.capture._elements import UNDEFINED, Walker
from platemark.capture._faults import MalformedError
from platemark.capture._file_meta import read_file_meta
from platemark.errors import FormatError

if TYPE_CHECKING:
    from typing import BinaryIO

    from platemark.capture._elements import DataSet

__all__ = ["MEDIA_STORAGE_DIRECTORY", "Reference", "is_dicomdir", "read_dicomdir"]

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
# Media Storage SOP Class UID (0002,0002) of the file meta information, as it is encoded.
_MARK = b"\x02\0\x02\0UI\x14\0" + MEDIA_STORAGE_DIRECTORY.encode()
_EXPLICIT = "1.2.840.10008.1.2.1"
_RECORDS, _IN_USE, _KIND = 0x00041220, 0x00041410, 0x00041430
_FILE_ID, _CLASS, _INSTANCE = 0x00041500, 0x00041510, 0x00041511
_WANTED = frozenset({_RECORDS, _IN_USE, _KIND, _FILE_ID, _CLASS, _INSTANCE})
_ACTIVE = 0xFFFF
_MAX_SIZE = 256 << 20
_MAX_REFERENCES = 100_000
# PS3.10 8.2 has eight components of eight upper-case characters; discs in the field have longer ones, with dots.
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_COMPONENTS = 16
_HEAD = 132


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that the DICOMDIR names: its path (components joined by /), and what it is said to be."""

    path: str
    kind: str
    sop_class_uid: str
    sop_instance_uid: str


def is_dicomdir(head: bytes) -> bool:
    """Whether a file that begins with these bytes (1 KiB are enough) says that it is a DICOMDIR."""
    return head[128:_HEAD] == b"DICM" and _MARK in head[_HEAD:]


def read_dicomdir(file: BinaryIO, size: int) -> list[Reference]:
    """The files that the records in use name, in the order of the records. Raises FormatError naming the record.

    Links between records are not followed: a record that no link reaches is read too, so that nothing named is hidden.
    `size` is that of the file in bytes.
    """
    if size > _MAX_SIZE:
        raise FormatError("DICOMDIR", f"{size} bytes, more than {_MAX_SIZE}")
    try:
        file.seek(0)
        if file.read(_HEAD)[128:] != b"DICM":
            raise FormatError("DICOMDIR", "not a DICOM file")
        meta = read_file_meta(file, size)
        if meta.transfer_syntax != _EXPLICIT:
            raise FormatError(
                "DICOMDIR", f"transfer syntax {meta.transfer_syntax}; PS3.10 asks for explicit VR little endian"
            )
        walker = Walker(file, meta.data_set_offset, size, explicit=True, little=True, wanted=_WANTED)
        records = walker.walk().get(_RECORDS)
        if records is None or (records.vr != b"SQ" and records.length not in {0, UNDEFINED}):
            raise FormatError("DICOMDIR", "has no Directory Record Sequence (0004,1220)")
        found = [_reference(walker, record, number) for number, record in enumerate(records.items)]
    except MalformedError as error:
        raise FormatError("DICOMDIR", str(error)) from None
    except OSError as error:
        raise FormatError("DICOMDIR", f"cannot be read: {error.strerror or error}") from None
    named = [each for each in found if each is not None]
    if len(named) > _MAX_REFERENCES:
        raise FormatError("DICOMDIR", f"names {len(named)} files, more than {_MAX_REFERENCES}")
    return named


def _reference(walker: Walker, record: DataSet, number: int) -> Reference | None:
    """The file that one record names; None for one that is not in use, or names none, as patient and study do."""

    def text(tag: int) -> str:
        element = record.get(tag)
        return "" if element is None else walker.value(element).decode("latin-1").strip("\0 ")

    in_use = record.get(_IN_USE)
    if _FILE_ID not in record or (in_use is not None and walker.integer(in_use) != _ACTIVE):
        return None
    parts = [each.strip(" ") for each in text(_FILE_ID).split("\\")]
    if parts == [""]:
        return None
    plain = all(_COMPONENT.fullmatch(each) and each not in {".", ".."} for each in parts)
    if not plain or len(parts) > _MAX_COMPONENTS:
        raise FormatError(f"DICOMDIR record {number}", f"Referenced File ID {text(_FILE_ID)[:80]!r} is refused")
    return Reference("/".join(parts), text(_KIND), text(_CLASS), text(_INSTANCE))
