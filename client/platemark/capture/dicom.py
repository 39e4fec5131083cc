"""Measuring DICOM Part 10 files: the rungs and the attributes (PS3.3, PS3.5, PS3.10).

Everything but compressed pixel data needs the standard library alone.
"""

from __future__ import annotations

import tempfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from platemark.capture._child import DecodeChild
from platemark.capture._codestream import LOSSLESS, read_codestream_header
from platemark.capture._dicom_attributes import WANTED, read_attributes
from platemark.capture._dictionary import dictionary
from platemark.capture._elements import PIXEL_DATA, UNDEFINED, Walker, require_one_reading
from platemark.capture._encapsulated import VIDEO, frame_spans, read_codestreams, read_span, trimmed
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._file_meta import DEFLATED, read_file_meta
from platemark.capture._frames import FrameTree, frame_tree
from platemark.capture._mac_stream import BIG, IMPLICIT, NATIVE, MacStream, mac_stream
from platemark.capture._native import native_frames
from platemark.capture._pixel_module import PixelModule, read_pixel_module
from platemark.capture._rle import decode_rle_frame
from platemark.capture._source import CHUNK, Digester

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from platemark.capture._elements import DataSet
    from platemark.capture._encapsulated import Span
    from platemark.capture._file_meta import FileMeta
    from platemark.capture._limits import Limits
    from platemark.rungs import AttributeValue

__all__ = [
    "MEDIA",
    "Header",
    "content_stream",
    "dataset_digester",
    "inflate",
    "measure_codestream",
    "measure_pixels",
    "open_header",
    "read_file_meta",
]

MEDIA = "application/dicom"
_RLE = "1.2.840.10008.1.2.5"
_FIRST_SIGNABLE_GROUP = 0x0008


class Header:
    """The walked data set of one file: its elements, and the file (inflated where it was deflated) they are in."""

    def __init__(self, file: BinaryIO, start: int, end: int, meta: FileMeta) -> None:
        self.file, self.start, self.end, self.meta = file, start, end, meta
        self.little = meta.transfer_syntax != BIG
        if meta.transfer_syntax == IMPLICIT:
            require_one_reading(file, start)
        self.walker = Walker(
            file, start, end, explicit=meta.transfer_syntax != IMPLICIT, little=self.little, wanted=WANTED
        )
        self.data_set: DataSet = self.walker.walk()

    @property
    def compressed(self) -> bool:
        """Whether the pixel data of the object is encapsulated (PS3.5 A.4)."""
        return PIXEL_DATA in self.data_set and self.data_set[PIXEL_DATA].fragments is not None

    def attributes(self) -> dict[str, AttributeValue]:
        """See `_dicom_attributes.read_attributes`."""
        return read_attributes(self.walker, self.data_set)


def dataset_digester(meta: FileMeta) -> Digester:
    """What the `dataset` rung hashes before the bytes of the data set: transfer syntax UID, NUL."""
    return Digester(meta.transfer_syntax.encode("ascii") + b"\0")


@contextmanager
def open_header(file: BinaryIO, size: int, meta: FileMeta, limits: Limits) -> Iterator[Header]:
    """Walk the data set; MalformedError when it cannot be. The header is valid within the context."""
    if meta.transfer_syntax != DEFLATED:
        yield Header(file, meta.data_set_offset, size, meta)
        return
    with tempfile.TemporaryFile(prefix="platemark-") as plain:
        end = inflate(file, meta.data_set_offset, cast("BinaryIO", plain), limits.inflated_bytes)
        yield Header(cast("BinaryIO", plain), 0, end, meta)


def inflate(file: BinaryIO, offset: int, plain: BinaryIO, limit: int) -> int:
    """Write the inflated data set to `plain` in chunks (PS3.5 A.5, RFC 1951); its size."""
    file.seek(offset)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    pending = b""
    while not inflater.eof:
        data = pending or file.read(CHUNK)
        if not data:
            raise MalformedError("truncated within the deflated data set")
        try:
            out = inflater.decompress(data, CHUNK)
        except zlib.error as error:
            raise MalformedError(f"the deflated data set is corrupt ({error})") from error
        pending = inflater.unconsumed_tail
        total += len(out)
        if total > limit:
            raise MalformedError(f"the deflated data set inflates to more than the limit of {limit} bytes")
        plain.write(out)
    return total


def content_stream(header: Header) -> MacStream:
    """What the `content` rung hashes: every signable element, in the form that a MAC of PS3.15 covers.

    Raises UndefinedRungError, NoCodecError (implicit VR without the data dictionary) or MalformedError.
    """
    syntax = header.meta.transfer_syntax
    header.file.seek(header.start)
    first = int.from_bytes(header.file.read(2), "little" if header.little else "big")
    if first < _FIRST_SIGNABLE_GROUP:  # elements ascend, so that the first one tells
        raise UndefinedRungError(
            "the elements below group 0008, such as those of a directory, are in no MAC byte stream"
        )
    stream = mac_stream(
        header.file,
        header.start,
        header.end,
        transfer_syntax=syntax,
        vr_of=dictionary() if syntax == IMPLICIT else None,
    )
    if not stream.covered:
        raise UndefinedRungError("the object has no element that is in a MAC byte stream")
    return stream


def measure_pixels(header: Header, limits: Limits) -> FrameTree:
    """The `pixels` rung (PX2). Raises UndefinedRungError, NoCodecError or MalformedError."""
    module = _module(header, limits)
    syntax = header.meta.transfer_syntax
    if syntax in NATIVE:
        if module.element.length == UNDEFINED:
            raise MalformedError("the pixel data is encapsulated in spite of a native transfer syntax")
        module.require_depths()
        frames = native_frames(header.file, module, little=header.little)
    elif syntax == _RLE or syntax in LOSSLESS:
        if module.element.fragments is None:
            raise MalformedError("the pixel data is not encapsulated in spite of a compressed transfer syntax")
        _check_compressible(module, limits)
        frames = _rle_frames(header, module, limits) if syntax == _RLE else _decoded(header, module, limits)
    else:
        raise UndefinedRungError(f"transfer syntax {syntax} is lossy or not covered; its pixels have no canonical form")
    return frame_tree(b"PX2-ROOT\0", frames)


def measure_codestream(header: Header, limits: Limits) -> FrameTree:
    """The `codestream` rung (PXC) of an object whose `pixels` is not defined: its compressed frames, byte for byte.

    Nothing is decoded. Raises UndefinedRungError or MalformedError.
    """
    module = _module(header, limits)
    prefix = module.codestream_prefix(header.meta.transfer_syntax)
    return frame_tree(b"PXC-ROOT\0", (_digested(header, prefix, span) for span in _spans(header, module)))


def _digested(header: Header, prefix: bytes, span: Span) -> dict[int, bytes]:
    digester = Digester(prefix)
    for block in read_span(header.file, trimmed(header.file, span)):
        digester.update(block)
    return digester.digests()


def _module(header: Header, limits: Limits) -> PixelModule:
    video = header.meta.transfer_syntax.startswith(VIDEO)
    return read_pixel_module(header.walker, header.data_set, limits, one_codestream=video)


def _spans(header: Header, module: PixelModule) -> list[Span]:
    frames = 0 if header.meta.transfer_syntax.startswith(VIDEO) else module.frames
    return frame_spans(header.file, header.walker, header.data_set, module.element.fragments or (), frames)


def _check_compressible(module: PixelModule, limits: Limits) -> None:
    module.require_depths()
    if module.allocated == 1:
        raise UndefinedRungError("compressed 1-bit images have no canonical form")
    if module.photometric.endswith(("_422", "_420")):
        raise UndefinedRungError(f"compressed {module.photometric} has no canonical form")
    size = module.frame_samples * module.width
    if size > limits.frame_bytes:
        raise MalformedError(f"a frame decodes to {size} bytes, above the limit of {limits.frame_bytes}")


def _codestreams(header: Header, module: PixelModule, limits: Limits) -> Iterator[bytes]:
    return read_codestreams(header.file, _spans(header, module), limits)


def _rle_frames(header: Header, module: PixelModule, limits: Limits) -> Iterator[dict[int, bytes]]:
    for codestream in _codestreams(header, module, limits):
        digester = Digester(module.prefix(module.photometric))
        digester.update(decode_rle_frame(codestream, module))
        yield digester.digests()


def _decoded(header: Header, module: PixelModule, limits: Limits) -> Iterator[dict[int, bytes]]:
    if module.high != module.stored - 1:
        raise UndefinedRungError("compressed samples that do not end at bit 0 have no canonical form")
    photometric = "RGB" if module.photometric in ("YBR_RCT", "YBR_ICT") else module.photometric
    job: dict[str, Any] = {
        "codec": "dicom",
        "blobs": 1,
        "prefix": module.prefix(photometric).hex(),
        "transfer_syntax": header.meta.transfer_syntax,
        "rows": module.rows,
        "columns": module.columns,
        "samples": module.samples,
        "photometric": module.photometric,
        "planar": module.planar or 0,
        "representation": module.representation,
        "allocated": module.allocated,
        "stored": module.stored,
        "width": module.width,
    }
    with DecodeChild("dicom", limits) as child:
        for codestream in _codestreams(header, module, limits):
            stated = read_codestream_header(codestream, header.meta.transfer_syntax)
            if (stated.rows, stated.columns, stated.samples) != (module.rows, module.columns, module.samples):
                raise MalformedError(
                    f"the compressed frame is {stated.rows} x {stated.columns} x {stated.samples}, "
                    f"the header says {module.rows} x {module.columns} x {module.samples}"
                )
            if stated.precision > module.allocated:
                raise MalformedError(f"the codestream has {stated.precision} bits in {module.allocated} allocated")
            yield child.digest({**job, "precision": stated.precision}, [codestream])
