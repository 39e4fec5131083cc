"""Whatever a path turns out to be: one clear error of ours, bounded memory and time, and no decoder in this process."""

import os
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from capture_writers import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RLE,
    Elements,
    dicom,
    element,
    encapsulated,
    file_meta,
    image_elements,
    png,
    text,
    us,
)
from platemark.capture import Limits, measure
from platemark.capture._child import DecodeChild
from platemark.capture._faults import MalformedError
from platemark.capture._source import open_regular, require_unchanged
from platemark.errors import CaptureError, DecodeError, NotAnImageError
from platemark.rungs import SHA256, SHA512

JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
PNG = png([b"\1\2"], columns=2, depth=8, colour=0)
SMALL: Elements = image_elements(bytes(range(32)), rows=4, columns=4)


def _write(folder: Path, data: bytes, name: str = "image") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _text_file(folder: Path) -> Path:
    return _write(folder, b"DICM is mentioned here" * 20)


def _empty(folder: Path) -> Path:
    return _write(folder, b"")


def _fifo(folder: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this platform has no FIFO")
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def _device(_: Path) -> Path:
    if not Path("/dev/zero").exists():
        pytest.skip("this platform has no /dev/zero")
    return Path("/dev/zero")


def _blob(folder: Path) -> Path:
    path = _write(folder, b"\0")
    os.truncate(path, 2 << 30)
    return path


def _dangling(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (lambda folder: folder, CaptureError, "is a directory, not a file"),
        (lambda folder: folder / "missing", CaptureError, "cannot be read: no such file or directory"),
        (lambda _: Path("a\0b"), CaptureError, "cannot be read: "),
        (_dangling, CaptureError, "cannot be read: no such file or directory"),
        (_fifo, CaptureError, "is not a regular file"),
        (_device, CaptureError, "is not a regular file"),
        (_empty, NotAnImageError, "the file is empty"),
        (_text_file, NotAnImageError, "is not a DICOM, PNG, JPEG or TIFF file"),
        (_blob, NotAnImageError, "is not a DICOM, PNG, JPEG or TIFF file"),
    ],
)
def test_what_is_no_image_file_is_one_error(
    tmp_path: Path, make: Callable[[Path], Path], kind: type[CaptureError], reason: str
) -> None:
    """A directory, a missing path, a FIFO, a device, an empty file, text and a 2 GB blob each have one sentence."""
    path = make(tmp_path)
    for tolerant in (False, True):
        with pytest.raises(kind) as caught:
            measure(path, tolerant=tolerant)
        assert (str(path), kind) == (caught.value.path, type(caught.value))
        assert caught.value.reason.startswith(reason)


def _refused(folder: Path, data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        measure(_write(folder, data), limits=limits)
    return caught.value.reason


_HEAD = len(file_meta(EXPLICIT))
_BODY = dicom(SMALL)[_HEAD:]
_UNDEFINED = 0xFFFFFFFF
_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)


def _with(data: bytes, syntax: str = EXPLICIT) -> bytes:
    return file_meta(syntax) + data


def _changed(**changes: int) -> bytes:
    numbers = {int(tag[1:], 16): ("US", us(value)) for tag, value in changes.items()}
    return dicom(SMALL | numbers)


def _frames_of(fragments: list[bytes], syntax: str, *, table: bytes = b"", frames: int = 1) -> bytes:
    elements = image_elements(b"", rows=4, columns=4, allocated=8, frames=frames)
    del elements[0x7FE00010]
    value = encapsulated(fragments, table=table)
    return _with(dicom(elements)[_HEAD:] + element(0x7FE00010, "OB", value, length=_UNDEFINED), syntax)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom({**SMALL, 0x7FE00010: ("OW", bytes(30))}), "pixel data is 30 bytes, the header says 32"),
        (_changed(x00280010=0), "the image is 0 x 4"),
        (_changed(x00280010=65535, x00280011=65535), "pixel data is 32 bytes, the header says 8589672450"),
        (_changed(x00280002=0), "Samples per Pixel is 0"),
        (_changed(x00280002=3), "Planar Configuration is missing from an image of several samples per pixel"),
        (_changed(x00280101=17), "Bits Stored is 17 of 16 allocated"),
        (_changed(x00280102=20), "High Bit is 20 with 16 of 16 bits stored"),
        (_changed(x00280103=2), "Pixel Representation is 2, not 0 or 1"),
        (dicom({**SMALL, 0x00280008: ("IS", text("0"))}), "Number of Frames is '0', not a positive integer"),
        (dicom({**SMALL, 0x00280008: ("IS", text("-3"))}), "Number of Frames is '-3', not a positive integer"),
        (dicom({**SMALL, 0x00280008: ("IS", b"99999999")}), "99999999 frames are above the limit of 1048576"),
        (dicom({k: v for k, v in SMALL.items() if k != 0x7FE00010}), "the header describes an image and there is no"),
        (dicom({k: v for k, v in SMALL.items() if k != 0x00280101}), "(0028,0101) is missing"),
        (_with(_BODY + element(0x00280010, "US", us(9))), "(0028,0010) appears twice in one data set"),
        (_with(element(0x00100020, "LO", b"a ") * 2 + _BODY), "(0010,0020) appears twice in one data set"),
        (_with(b"\x10\x00\x10\x00??\x02\x00ab" + _BODY), "(0010,0010) at byte "),
        (_with(element(0x00100010, "PN", b"ab", length=9999)), "truncated: (0010,0010) at byte"),
        (_with(element(0x00100010, "LT", b"a" * 65534) + element(0x00100020, "UT", b"a" * 70000)), "(0010,0020) is 70"),
        (_with(_BODY)[:-33], "truncated at byte"),
        (file_meta(EXPLICIT), "truncated: there is no data set after the file meta information"),
        (bytes(128) + b"DICM" + _BODY, "the file meta information names no transfer syntax"),
        (bytes(128) + b"DICM" + file_meta(EXPLICIT)[132:] * 2 + _BODY, "the file meta information names 2 transfer"),
        (bytes(128) + b"DICM\2\0\1\0OB\0\0\xff\xff\xff\xff", "truncated: (0002,0001) needs 4294967295 bytes"),
        (_with(b"\0garbage", DEFLATED), "the deflated data set is corrupt"),
        (dicom(SMALL, syntax=DEFLATED)[:-5], "truncated within the deflated data set"),
        (_with(b"\xfe\xff\x0d\xe0\0\0\0\0", EXPLICIT), "(FFFE,E00D) at byte"),
        (
            _with(element(0x00081140, "SQ", _ITEM * 4, length=_UNDEFINED)),
            "(FFFE,E000) at byte 192 stands outside a sequ",
        ),
        (
            _with((element(0x00081140, "SQ", b"", length=_UNDEFINED) + _ITEM) * 40),
            "sequences are nested more than 32 deep at (0008,1140)",
        ),
        (_with((element(0x00081140, "SQ", b"", length=_UNDEFINED) + _ITEM) * 9), "truncated within an item"),
        (_frames_of([], RLE), "the encapsulated pixel data has no fragments"),
        (_frames_of([b"\0" * 10], RLE), "truncated within an RLE header"),
        (
            _frames_of([struct.pack("<16I", 2, 64, 66, *[0] * 13)], RLE),
            "an RLE frame has 2 segments, the header says 1",
        ),
        (_frames_of([struct.pack("<16I", 1, 99, *[0] * 14)], RLE), "the offsets of the RLE segments are out of order"),
        (_frames_of([struct.pack("<16I", 1, 64, *[0] * 14) + b"\xf2\1"], RLE), "run-length data holds 15 bytes, the"),
        (_frames_of([b"ab", b"cd", b"ef"], RLE, frames=2), "3 fragments cannot be divided into 2 frames"),
        (
            _frames_of([b"ab", b"cd"], RLE, frames=2, table=bytes(4)),
            "the basic offset table is 4 bytes long, not 4 for",
        ),
        (_frames_of([b"ab", b"cd"], RLE, frames=2, table=bytes(8)), "the offset table does not point at fragments in"),
        (_frames_of([b"\xff\xd8\xff\xf7\0"], JPEG_LS), "truncated: a compressed frame has no end marker"),
        (_frames_of([b"\xff\xd8\0\0\xff\xd9"], JPEG_LS), "a compressed frame has no marker where one belongs"),
        (_frames_of([b"\xff\x4f\xff\x51\xff\xd9"], J2K), "truncated within the header of a compressed frame"),
        (_with(element(0x00100010, "OB", encapsulated([b"ab"]), length=_UNDEFINED)[:-8]), "truncated within the"),
        (_with(_BODY, RLE), "the pixel data is not encapsulated in spite of a compressed transfer syntax"),
        (_frames_of([b"ab"], EXPLICIT), "the pixel data is encapsulated in spite of a native transfer syntax"),
    ],
)
def test_a_broken_dicom_file_is_one_error_with_its_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    """What contradicts itself is refused for capture; tolerant measuring keeps the `file` rung and gives the reason."""
    assert reason in _refused(tmp_path, data)
    measurement = measure(tmp_path / "image", tolerant=True)
    assert reason in measurement.absent["pixels"]
    assert "file" in measurement.digests
    assert "pixels" not in measurement.digests
    assert frozenset(measurement.absent) == measurement.uncomputed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dicom({0x00100020: ("LO", b"ab")}), "the object has no pixel data"),
        (dicom({**SMALL, 0x7FE00008: ("OB", bytes(4))}), "float pixel data has no canonical form"),
        (_changed(x00280100=12, x00280101=12, x00280102=11), "Bits Allocated 12 has no canonical form"),
        (dicom({**SMALL, 0x00280004: ("CS", b"YBR_PARTIAL_422 ")}), "native YBR_PARTIAL_422 of this shape has no"),
        (_with(_BODY, "1.2.840.10008.1.2.4.50"), "transfer syntax 1.2.840.10008.1.2.4.50 is lossy or not covered"),
        (_with(_BODY, "1.2.3.4"), "transfer syntax 1.2.3.4 is lossy or not covered"),
    ],
)
def test_a_sound_file_without_canonical_pixels_says_why(tmp_path: Path, data: bytes, reason: str) -> None:
    """No pixels, floats, odd depths and syntaxes that nobody knows leave `pixels` out; the stronger rungs stand."""
    measurement = measure(_write(tmp_path, data))
    assert reason in measurement.absent["pixels"]
    assert {"file", "dataset", "content"} == set(measurement.digests)
    assert frozenset() == measurement.uncomputed


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_dicom_truncated_at_any_byte_is_refused(tmp_path: Path, syntax: str) -> None:
    """No prefix of a DICOM image is measured."""
    elements = image_elements(bytes(range(32)), rows=4, columns=4, syntax=syntax)
    whole = dicom({**elements, 0x00100010: ("PN", b"Doe^Jane")}, syntax=syntax)
    for length in range(1, len(whole)):
        # Between the file meta information and Rows, a prefix is a whole object without pixels; from Rows on it is not.
        path = _write(tmp_path, whole[:length])
        try:
            measurement = measure(path)
        except CaptureError:
            continue
        assert measurement.absent["pixels"] == "the object has no pixel data"
        assert "rows" not in measurement.attributes or "columns" not in measurement.attributes


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Measuring an image of 128 MiB takes less than 8 MiB of memory."""
    rows = columns = 8192
    path = _write(tmp_path, dicom(image_elements(b"", rows=rows, columns=columns, stored=12))[:-12])
    with path.open("ab") as file:
        file.write(struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", rows * columns * 2))
        start = file.tell()
    os.truncate(path, start + rows * columns * 2)
    tracemalloc.start()
    try:
        measurement = measure(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {"file", "dataset", "content", "pixels"} == set(measurement.digests)
    assert peak < 8 << 20


def test_a_deflated_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    """A data set that inflates without end is refused at the limit."""
    data = dicom(image_elements(bytes(10 << 20), rows=1024, columns=1024), syntax=DEFLATED)
    assert "inflates to more than the limit" in _refused(tmp_path, data, Limits(inflated_bytes=1 << 20))


def test_a_run_length_bomb_stops_at_the_declared_size(tmp_path: Path) -> None:
    """RLE that would expand beyond its frame stops there, and a frame above the limit is refused before."""
    segment = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\1" * 100_000
    assert measure(_write(tmp_path, _frames_of([segment], RLE))).frames == 1
    assert "above the limit of 8" in _refused(tmp_path, _frames_of([segment], RLE), Limits(frame_bytes=8))


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    """The rungs of one measurement are of one content."""
    path = _write(tmp_path, PNG)
    file, facts = open_regular(path)
    with file:
        require_unchanged(path, file, facts)
        with path.open("ab") as other:
            other.write(b"x")
        with pytest.raises(CaptureError, match="changed while it was read"):
            require_unchanged(path, file, facts)


def _stub(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a module of our own in the place of imagecodecs, for the child alone."""
    (folder / "stub").mkdir()
    (folder / "stub" / "imagecodecs.py").write_text(body)
    monkeypatch.setattr(sys, "path", [str(folder / "stub"), *sys.path])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os\ndef png_decode(data): os.abort()", "the decoder crashed (signal 6)"),
        ("import os\ndef png_decode(data): os._exit(3)", "the decoder ended without an answer (status 3)"),
        ("import threading\ndef png_decode(data): threading.Event().wait()", "decoding took longer than 1 s and was"),
        ("def png_decode(data): return bytearray(1 << 40)", "decoding needs more memory than the limit allows"),
        ("def png_decode(data): raise KeyError('spam\\neggs')", "the pixels cannot be decoded: 'spam\\neggs'"),
        ("import numpy\ndef png_decode(data): return numpy.zeros((9, 9), 'u1')", "the PNG decoder returned uint8 of"),
    ],
)
def test_a_codec_that_misbehaves_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    """A crash, an exit, a hang, a memory bomb and an exception of a codec are each one sentence."""
    _stub(tmp_path, monkeypatch, body)
    assert reason in _refused(tmp_path, PNG, Limits(seconds=1))


def test_what_a_codec_prints_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output of a codec on standard output does not disturb the protocol."""
    body = "import numpy, os\ndef png_decode(data):\n os.write(1, b'{}\\n')\n return numpy.array([[1, 2]], 'u1')"
    expected = measure(_write(tmp_path, PNG)).digests["pixels"]
    _stub(tmp_path, monkeypatch, body)
    assert expected == measure(_write(tmp_path, PNG)).digests["pixels"]


def test_a_missing_decoder_leaves_pixels_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without imagecodecs `file` stands, and `absent` says which line installs it."""
    _stub(tmp_path, monkeypatch, "raise ModuleNotFoundError(name='imagecodecs')")
    measurement = measure(_write(tmp_path, PNG))
    assert (list(measurement.digests), measurement.missing_extra) == (["file"], "image")
    reason = 'decoding this file needs decoders that are not installed: pip install "platemark[image]"'
    assert {"pixels": reason} == dict(measurement.absent)
    assert {"pixels"} == measurement.uncomputed


def test_a_child_that_is_killed_is_one_error() -> None:
    """A decoding process that is killed between frames is reported, and nothing waits for it."""
    with DecodeChild("image", Limits()) as child:
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(MalformedError, match="crashed \\(signal 9\\)"):
            child.digest({"codec": "png", "blobs": 1}, [PNG])


def test_a_child_that_cannot_start_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an interpreter to start, decoding is refused and tolerant measuring goes on."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert "the decoding process cannot be started: " in _refused(tmp_path, PNG)
    assert {"pixels"} == measure(tmp_path / "image", tolerant=True).uncomputed


def test_a_child_out_of_memory_is_one_error(tmp_path: Path) -> None:
    """A memory limit that is too small even to start is an error and no hang."""
    if sys.platform != "linux":
        pytest.skip("only Linux limits address space")
    started = time.monotonic()
    assert _refused(tmp_path, PNG, Limits(memory_bytes=1 << 20))
    assert time.monotonic() - started < 30


def test_capture_imports_no_decoder(tmp_path: Path) -> None:
    """Native DICOM is measured with the standard library alone: no numpy, pydicom or imagecodecs is imported."""
    path = _write(tmp_path, dicom(SMALL))
    program = (
        "import sys; from platemark.capture import measure; m = measure(sys.argv[1]); "
        "print(sorted(m.digests), sorted({n.split('.')[0] for n in sys.modules} & "
        "{'numpy', 'pydicom', 'imagecodecs', 'tifffile', 'gdcm', 'openjpeg', 'cryptography'}))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "['content', 'dataset', 'file', 'pixels'] []\n"


def test_measuring_without_pixels(tmp_path: Path) -> None:
    """With `pixels` false everything else is there, under both hash algorithms."""
    measurement = measure(_write(tmp_path, dicom(SMALL)), pixels=False)
    assert dict(measurement.absent) == {"pixels": "it was not asked for"}
    assert {"file", "dataset", "content"} == set(measurement.digests)
    assert all(
        {a: len(d) for a, d in each.items()} == {SHA256: 32, SHA512: 64} for each in measurement.digests.values()
    )
