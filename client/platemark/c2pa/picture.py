"""A PNG or JPEG file and the C2PA manifest store in it: telling what a file is, and the file without the store."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.c2pa.jumbf import MAX_STORE
from platemark.capture._faults import MalformedError
from platemark.capture._jpeg import read_jpeg
from platemark.capture._png import read_png
from platemark.capture._source import CHUNK, open_regular
from platemark.capture.provenance import jpeg_store, png_store
from platemark.errors import ContentCredentialsError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from platemark.capture.provenance import Store

__all__ = ["MEDIA", "Picture", "open_picture", "store_bytes", "without_store"]

MEDIA = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_REFUSALS = (
    (
        128,
        (b"DICM",),
        (
            "is a DICOM object, and C2PA does not reach DICOM: hand over IMAGE.evidence beside it (platemark verify), or sign "
            "inside it as PS3.15 does (platemark dicom sign); a PNG or JPEG export can carry a manifest"
        ),
    ),
    (
        0,
        (b"\x89MCAP0\r\n",),
        "is an MCAP recording, and C2PA does not reach MCAP: platemark mcap seal puts the proofs into it",
    ),
    (
        0,
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        "is a TIFF file, and manifests are put into PNG and JPEG only: hand over IMAGE.evidence beside it",
    ),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a file is and the manifest store that it carries, None if it carries none."""

    path: Path
    media: str
    store: Store | None


def open_picture(path: Path) -> Picture:
    """Look at a PNG or JPEG file from end to end, without decoding.

    Raises CaptureError, ContentCredentialsError for files of other kinds, ManifestError for a broken store or picture.
    """
    file, facts = open_regular(path)
    with file:
        start = file.read(132)
        media = next((kind for magic, kind in MEDIA.items() if start.startswith(magic)), None)
        if media is None:
            raise ContentCredentialsError(f"{path}: {_refusal(start)}")
        try:
            if media == "image/png":
                return Picture(path, media, png_store(file, read_png(file, facts.st_size).provenance))
            return Picture(path, media, jpeg_store(file, read_jpeg(file, facts.st_size).provenance))
        except MalformedError as error:
            raise ManifestError(str(path), str(error)) from None


def store_bytes(picture: Picture) -> bytes:
    """The manifest store that the picture carries, which it must. Raises ManifestError when it is above the limit."""
    assert picture.store is not None
    if picture.store.size > MAX_STORE:
        raise ManifestError(str(picture.path), f"its manifest store has {picture.store.size} bytes, above {MAX_STORE}")
    file, _ = open_regular(picture.path)
    with file:
        try:
            return b"".join(picture.store.read(file))
        except MalformedError as error:
            raise ManifestError(str(picture.path), str(error)) from None


@contextmanager
def without_store(picture: Picture) -> Iterator[Path]:
    """A copy of the file, of the same name, with the chunk or segments of its store cut out and nothing else changed.

    Without a store it is the file itself. The copy is gone when the context ends.
    """
    if picture.store is None:
        yield picture.path
        return
    with tempfile.TemporaryDirectory(prefix="platemark-") as folder:
        copy = Path(folder) / picture.path.name
        file, _ = open_regular(picture.path)
        with file, copy.open("wb") as target:
            for offset, length in picture.store.carriers:
                _copy(file, target, offset - file.tell())
                file.seek(length, os.SEEK_CUR)
            _copy(file, target, None)
        yield copy


def _copy(file: BinaryIO, target: BinaryIO, length: int | None) -> None:
    while length != 0 and (data := file.read(CHUNK if length is None else min(CHUNK, length))):
        target.write(data)
        length = None if length is None else length - len(data)


def _refusal(start: bytes) -> str:
    for offset, magics, sentence in _REFUSALS:
        if start[offset:].startswith(magics):
            return sentence
    return "is neither a PNG nor a JPEG file"
