"""Opening a DICOM file to sign it or to check its signatures."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from platemark.capture import Limits
from platemark.capture._dictionary import dictionary, private_dictionary
from platemark.capture._faults import MalformedError, NoCodecError, UndefinedRungError
from platemark.capture._file_meta import DEFLATED, read_file_meta
from platemark.capture._mac_stream import EXPLICIT, IMPLICIT, NATIVE
from platemark.capture._source import open_regular, require_unchanged
from platemark.capture.dicom import inflate
from platemark.dicom_signature._levels import find_levels
from platemark.errors import CaptureError, DicomSignatureError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from platemark.capture._file_meta import FileMeta
    from platemark.dicom_signature._levels import Level

__all__ = ["DicomObject", "open_object"]


@dataclass(frozen=True)
class DicomObject:
    """An open object: the whole file, its data set (in `file`, inflated where it was deflated), and its levels.

    `vr_of` and `private_vr_of` are None where the dictionaries of implicit VR are not installed. `settled` raises
    CaptureError when the file has changed since it was opened.
    """

    whole: BinaryIO
    meta: FileMeta
    file: BinaryIO
    start: int
    end: int
    top: Level
    below: list[Level]
    vr_of: Callable[[int], bytes] | None
    private_vr_of: Callable[[int, str], bytes] | None
    settled: Callable[[], None]

    @property
    def deflated(self) -> bool:
        return self.meta.transfer_syntax == DEFLATED

    @property
    def mac_syntax(self) -> str:
        """The transfer syntax that MACs of this object are calculated in."""
        return EXPLICIT if self.meta.transfer_syntax in NATIVE else self.meta.transfer_syntax


@contextmanager
def open_object(path: str | os.PathLike[str]) -> Iterator[DicomObject]:
    """The object in `path`, for as long as the context lasts.

    Raises DicomSignatureError: no DICOM file, malformed, too large once inflated, or in implicit VR and the dictionary is
    not installed; CaptureError for what is no readable regular file.
    """
    whole, facts = open_regular(path)
    if whole.read(132)[128:] != b"DICM":
        whole.close()
        raise DicomSignatureError(f"{path}: not a DICOM file")
    try:
        with whole, tempfile.TemporaryFile(prefix="platemark-") as plain:
            meta = read_file_meta(whole, facts.st_size)
            file, start, end = whole, meta.data_set_offset, facts.st_size
            if meta.transfer_syntax == DEFLATED:
                file = cast("BinaryIO", plain)
                start, end = 0, inflate(whole, start, file, Limits().inflated_bytes)
            syntax = EXPLICIT if meta.transfer_syntax == DEFLATED else meta.transfer_syntax
            vr_of = _dictionary(syntax)
            private = None if vr_of is None else private_dictionary()
            top, below = find_levels(file, start, end, transfer_syntax=syntax, vr_of=vr_of)

            def settled() -> None:
                require_unchanged(path, whole, facts)

            yield DicomObject(whole, meta, file, start, end, top, below, vr_of, private, settled)
    except (MalformedError, UndefinedRungError, NoCodecError) as error:
        raise DicomSignatureError(f"{path}: {error}") from error
    except MemoryError as error:
        raise DicomSignatureError(f"{path}: reading it takes more memory than there is") from error
    except OSError as error:
        raise CaptureError(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error


def _dictionary(transfer_syntax: str) -> Callable[[int], bytes] | None:
    """What implicit VR cannot do without, and what an explicit data set needs within UN alone."""
    try:
        return dictionary()
    except NoCodecError:
        if transfer_syntax == IMPLICIT:
            raise
        return None
