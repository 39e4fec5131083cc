"""`measure`: dispatch by content, one hashing pass, and every fault as one error of ours."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from platemark.capture import _values, dicom
from platemark.capture._charset import decode_text
from platemark.capture._faults import MalformedError, NoCodecError, UndefinedRungError
from platemark.capture._limits import Limits
from platemark.capture._mac_stream import NATIVE
from platemark.capture._source import Digester, hashing_tails, open_regular, require_unchanged
from platemark.capture.image import Jpeg, Png, Tiff
from platemark.errors import CaptureError, DecodeError, NotAnImageError
from platemark.rungs import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import BinaryIO

    from platemark.capture._frames import FrameTree
    from platemark.rungs import AttributeValue

__all__ = ["measure"]

_NOT_ASKED = "it was not asked for"
_MAGIC_BYTES = 132
_INSIDE = ("content", "pixels", "codestream")
"""Rungs that need the elements of a data set."""
_IMAGES: tuple[tuple[bytes, type[Png | Jpeg | Tiff]], ...] = (
    (b"\x89PNG\r\n\x1a\n", Png),
    (b"\xff\xd8\xff", Jpeg),
    (b"II*\0", Tiff),
    (b"MM\0*", Tiff),
    (b"II+\0", Tiff),
    (b"MM\0+", Tiff),
)


class _Image(Protocol):
    media: str

    def attributes(self) -> dict[str, AttributeValue]: ...

    def pixels(self, limits: Limits) -> FrameTree: ...


@dataclass
class _Draft:
    """A measurement while it is made."""

    media: str
    digests: dict[str, Mapping[int, bytes]] = field(default_factory=dict)
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    frame_digests: tuple[bytes, ...] = ()
    encapsulated: bool = False
    uncovered: frozenset[int] = frozenset()
    absent: dict[str, str] = field(default_factory=dict)
    missing_extra: str | None = None
    uncomputed: set[str] = field(default_factory=set)

    def leave_out(self, rung: str, reason: str, *, computable: bool) -> None:
        """Note why a rung is absent; `computable` when the file may well have it and another run could tell."""
        self.absent[rung] = reason
        if computable:
            self.uncomputed.add(rung)


def measure(
    path: str | os.PathLike[str], *, pixels: bool = True, tolerant: bool = False, limits: Limits | None = None
) -> Measurement:
    """Measure one DICOM, PNG, JPEG or TIFF file: every rung that this release defines for it, and its attributes.

    With `pixels` false the rungs `pixels` and `codestream` are left out. A file that is truncated, corrupt or beyond the
    limits raises DecodeError, because registering it would register something that is not the image; with `tolerant` (the
    verifier's choice) its `file` rung, and what else still stands, is returned and `absent` has the reason. A decoder not
    installed never raises: `absent` says which line installs it and `missing_extra` which extra. `uncomputed` holds the
    rungs that are absent for a reason of the second or third kind or because they were not asked for.

    Memory does not grow with the size of the file, except by one compressed frame. The file is read more than once;
    CaptureError when it changes meanwhile, and for everything that is not a readable regular file. NotAnImageError for
    files of other kinds.
    """
    file, facts = open_regular(path)
    with file:
        try:
            draft = _measure(path, file, facts.st_size, pixels=pixels, tolerant=tolerant, limits=limits or Limits())
            require_unchanged(path, file, facts)
        except MalformedError as error:
            raise DecodeError(path, str(error)) from error
        except MemoryError as error:
            raise DecodeError(path, "measuring it takes more memory than there is") from error
        except OSError as error:
            raise CaptureError(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    draft.attributes["file_name"] = _file_name(path)
    return Measurement(
        media=draft.media,
        digests=draft.digests,
        attributes={
            name: _values.bounded(value) if isinstance(value, str) else value
            for name, value in sorted(draft.attributes.items())
        },
        frames=len(draft.frame_digests) or None,
        frame_digests=draft.frame_digests,
        encapsulated=draft.encapsulated,
        uncovered=draft.uncovered,
        absent=draft.absent,
        missing_extra=draft.missing_extra,
        uncomputed=frozenset(draft.uncomputed),
    )


def _measure(
    path: str | os.PathLike[str], file: BinaryIO, size: int, *, pixels: bool, tolerant: bool, limits: Limits
) -> _Draft:
    magic = file.read(_MAGIC_BYTES)
    if magic[128:] == b"DICM":
        return _measure_dicom(file, size, pixels=pixels, tolerant=tolerant, limits=limits)
    for start, kind in _IMAGES:
        if magic.startswith(start):
            return _measure_image(kind, file, size, pixels=pixels, tolerant=tolerant, limits=limits)
    raise NotAnImageError(path, "is not a DICOM, PNG, JPEG or TIFF file")


def _measure_image(
    kind: type[Png | Jpeg | Tiff],
    file: BinaryIO,
    size: int,
    *,
    pixels: bool,
    tolerant: bool,
    limits: Limits,
) -> _Draft:
    draft = _Draft(kind.media)
    with _hashing(draft, file, size, {"file": (Digester(), 0)}):
        try:
            image: _Image = kind(file, size)
            draft.attributes = image.attributes()
            _frames(draft, "pixels", image.pixels, wanted=pixels, tolerant=tolerant, limits=limits)
        except MalformedError as error:
            if not tolerant:
                raise
            draft.leave_out("pixels", str(error), computable=True)
    return draft


def _measure_dicom(file: BinaryIO, size: int, *, pixels: bool, tolerant: bool, limits: Limits) -> _Draft:
    draft = _Draft(dicom.MEDIA)
    tails = {"file": (Digester(), 0)}
    try:
        meta = dicom.read_file_meta(file, size)
    except MalformedError as error:
        if not tolerant:
            raise
        _leave_out_all(draft, ("dataset", *_INSIDE), error)
        with _hashing(draft, file, size, tails):
            return draft
    tails["dataset"] = (dicom.dataset_digester(meta), meta.data_set_offset)
    with _hashing(draft, file, size, tails):
        try:
            with dicom.open_header(file, size, meta, limits) as header:
                draft.attributes = header.attributes()
                draft.encapsulated = meta.transfer_syntax not in NATIVE
                _content(draft, header, tolerant=tolerant)
                _dicom_frames(draft, header, wanted=pixels, tolerant=tolerant, limits=limits)
        except MalformedError as error:
            if not tolerant:
                raise
            _leave_out_all(draft, _INSIDE, error)
    return draft


def _leave_out_all(draft: _Draft, rungs: Iterable[str], error: MalformedError) -> None:
    for rung in rungs:
        if rung not in draft.digests and rung not in draft.absent:
            draft.leave_out(rung, str(error), computable=True)


@contextmanager
def _hashing(draft: _Draft, file: BinaryIO, size: int, tails: dict[str, tuple[Digester, int]]) -> Iterator[None]:
    """Compute the rungs that are tails of the file, beside what is computed within the context."""
    with hashing_tails(file, size, list(tails.values())) as finish:
        yield
        finish()
    draft.digests |= {rung: digester.digests() for rung, (digester, _) in tails.items()}


def _content(draft: _Draft, header: dicom.Header, *, tolerant: bool) -> None:
    """Rung `content`, or the reason why it is absent.

    What the walk over the data set let pass is no reason to refuse a file, even where it has no MAC byte stream. To a
    verifier that is no difference either.
    """
    digester = Digester()
    try:
        stream = dicom.content_stream(header)
        for block in stream:
            digester.update(block)
    except NoCodecError as error:
        draft.leave_out("content", str(error), computable=True)
        draft.missing_extra = error.extra
    except UndefinedRungError as error:
        draft.leave_out("content", str(error), computable=False)
    except MalformedError as error:
        draft.leave_out("content", str(error), computable=tolerant)
    else:
        draft.digests["content"], draft.uncovered = digester.digests(), frozenset(stream.unknown)


def _dicom_frames(draft: _Draft, header: dicom.Header, *, wanted: bool, tolerant: bool, limits: Limits) -> None:
    """Rung `pixels`, or `codestream` for compressed frames that have no canonical pixels. Raises as `_frames`."""
    options = {"wanted": wanted, "tolerant": tolerant}
    _frames(draft, "pixels", lambda within: dicom.measure_pixels(header, within), limits=limits, **options)
    if "pixels" in draft.digests or not header.compressed:
        return
    if "pixels" in draft.uncomputed:
        # Which of the two an object has is known only when all of its frames have been looked at.
        draft.leave_out("codestream", draft.absent["pixels"], computable=True)
        return
    _frames(draft, "codestream", lambda within: dicom.measure_codestream(header, within), limits=limits, **options)


def _frames(
    draft: _Draft,
    rung: str,
    compute: Callable[[Limits], FrameTree],
    *,
    wanted: bool,
    tolerant: bool,
    limits: Limits,
) -> None:
    """Fill in a rung that is a tree of frames, or the reason why it is absent. Raises MalformedError unless `tolerant`."""
    if not wanted:
        draft.leave_out(rung, _NOT_ASKED, computable=True)
        return
    try:
        tree = compute(limits)
    except UndefinedRungError as error:
        draft.leave_out(rung, str(error), computable=False)
    except NoCodecError as error:
        draft.leave_out(rung, str(error), computable=True)
        draft.missing_extra = error.extra
    except MalformedError as error:
        if not tolerant:
            raise
        draft.leave_out(rung, str(error), computable=True)
    else:
        draft.digests[rung], draft.frame_digests = tree.digests, tree.frames


def _file_name(path: str | os.PathLike[str]) -> str:
    r"""The last component of the path as NFC text; bytes that are not UTF-8 become \nnn."""
    return _values.text(decode_text(os.fsencode(Path(path).name), "ISO_IR 192"))
