"""PNG, JPEG and TIFF: PXI against a reference, our own tiny writers, imagecodecs' and tifffile's writers."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from capture_writers import chunk, ifd, png, png_of_passes, tiff
from platemark.capture import measure
from platemark.capture._jpeg import read_jpeg
from platemark.errors import CaptureError, DecodeError
from platemark.rungs import SHA256, SHA512

_NAMES = {SHA256: "sha256", SHA512: "sha512"}
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
_TEXTS = {1: "GRAY", 2: "GRAYA", 3: "RGB", 4: "RGBA"}


def _write(folder: Path, data: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(data)
    return path


def _reference(*frames: Any, width: int = 1, photometric: str | None = None, orientation: int = 1) -> dict[int, bytes]:
    """PXI of up to two arrays of (rows, columns, samples), from the rules alone."""
    roots = {}
    for algorithm, name in _NAMES.items():
        hashes = []
        for frame in frames:
            rows, columns, samples = frame.shape
            head = struct.pack(">IIHBB", rows, columns, samples, width, orientation)
            words = b"".join(int(value).to_bytes(width, "little") for value in frame.reshape(-1))
            text = (photometric or _TEXTS[samples]).encode()
            digest = hashlib.new(name, b"PXI\0" + head + text + b"\0" + words).digest()
            hashes.append(hashlib.new(name, b"\0" + digest).digest())
        root = hashes[0] if len(hashes) == 1 else hashlib.new(name, b"\1" + hashes[0] + hashes[1]).digest()
        roots[algorithm] = hashlib.new(name, b"PXI-ROOT\0" + struct.pack(">Q", len(frames)) + root).digest()
    return roots


def _pixels(folder: Path, data: bytes) -> dict[int, bytes]:
    measurement = measure(_write(folder, data))
    assert dict(measurement.absent) == {}
    return dict(measurement.digests["pixels"])


def _packed(row: list[int], depth: int) -> bytes:
    bits = "".join(f"{value:0{depth}b}" for value in row)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_png_samples_are_hashed_as_they_are_stored(tmp_path: Path, samples: int, depth: int) -> None:
    """8- and 16-bit samples with and without alpha keep their values, little-endian."""
    array = np.random.default_rng(1).integers(0, 2**depth, (3, 5, samples))
    rows = [row.astype(f">u{depth // 8}").tobytes() for row in array]
    data = png(rows, columns=5, depth=depth, colour=_COLOURS[samples], idat=7)
    assert _reference(array, width=depth // 8) == _pixels(tmp_path, data)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_gray_below_8_bits_is_replicated(tmp_path: Path, depth: int) -> None:
    """Gray of 1, 2 and 4 bits is scaled to 8 bits by replication; tRNS makes one value transparent."""
    values = [[i % (1 << depth) for i in range(row, row + 7)] for row in range(3)]
    rows = [_packed(row, depth) for row in values]
    gray = np.array(values)[:, :, None] * (255 // ((1 << depth) - 1))
    assert _reference(gray) == _pixels(tmp_path, png(rows, columns=7, depth=depth, colour=0))
    clear = png(rows, columns=7, depth=depth, colour=0, between=chunk(b"tRNS", b"\0\1"))
    alpha = np.where(np.array(values) == 1, 0, 255)[:, :, None]
    assert _reference(np.concatenate([gray, alpha], axis=2)) == _pixels(tmp_path, clear)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", [b"", b"\x80\x10"])
def test_png_palettes_are_expanded(tmp_path: Path, depth: int, transparent: bytes) -> None:
    """A palette becomes RGB, with tRNS RGBA; an index beyond it is black and opaque."""
    palette = np.arange(9).reshape(3, 3) + 1
    values = np.array([[i % min(4, 1 << depth) for i in range(6)]])
    table = np.concatenate([palette, np.zeros((1, 3), dtype=int)])
    between = chunk(b"PLTE", palette[: 1 << depth].astype("u1").tobytes())
    expected = table[values]
    if transparent:
        between += chunk(b"tRNS", transparent)
        expected = np.concatenate([expected, np.array([128, 16, 255, 255])[values][:, :, None]], axis=2)
    data = png([_packed(list(values[0]), depth)], columns=6, depth=depth, colour=3, between=between)
    assert _reference(expected) == _pixels(tmp_path, data)


def test_png_transparency_of_rgb_and_16_bits(tmp_path: Path) -> None:
    """TRNS of 16-bit gray and RGB compares all bits and gives alpha 0 or 65535."""
    rgb = np.array([[[1, 2, 3], [0x101, 2, 3]]])
    data = png([rgb.astype(">u2").tobytes()], columns=2, depth=16, colour=2, between=chunk(b"tRNS", b"\0\1\0\2\0\3"))
    expected = np.concatenate([rgb, [[[0], [65535]]]], axis=2)
    assert _reference(expected, width=2) == _pixels(tmp_path, data)


def test_png_interlacing_does_not_show(tmp_path: Path) -> None:
    """An Adam7 file has the pixels of the plain one."""
    array = np.random.default_rng(2).integers(0, 256, (9, 10, 1), dtype=np.uint8)
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [[row.tobytes() for row in array[y::dy, x::dx]] for y, x, dy, dx in steps]
    adam = png_of_passes(passes, columns=10, height=9, depth=8, colour=0, interlace=1)
    assert _reference(array) == _pixels(tmp_path, adam)


def test_png_colour_chunks_are_ignored_and_orientation_is_bound(tmp_path: Path) -> None:
    """Gamma, chromaticities and text change nothing; the orientation of Exif is hashed and never applied."""
    rows, array = [b"\1\2", b"\3\4"], np.array([[[1], [2]], [[3], [4]]])
    plain = png(rows, columns=2, depth=8, colour=0)
    gamma = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"sRGB", b"\0") + chunk(b"tEXt", b"Title\0x")
    assert _reference(array) == _pixels(tmp_path, plain)
    assert _reference(array) == _pixels(tmp_path, png(rows, columns=2, depth=8, colour=0, between=gamma))
    exif = b"II*\0\x08\0\0\0" + ifd({274: (3, [6])}, order="<", at=8)
    turned = png(rows, columns=2, depth=8, colour=0, between=chunk(b"eXIf", exif))
    assert _reference(array, orientation=6) == _pixels(tmp_path, turned)
    assert measure(_write(tmp_path, turned)).attributes["orientation"] == 6


def test_what_follows_iend_is_not_part_of_the_pixels(tmp_path: Path) -> None:
    """Bytes after IEND change `file` and not `pixels`."""
    data = png([b"\1"], columns=1, depth=8, colour=0)
    assert _pixels(tmp_path, data) == _pixels(tmp_path, data + b"trailing")


@st.composite
def _tiff_options(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """An array of (rows, columns, samples) and how tifffile is to write it."""
    samples, depth = draw(st.integers(1, 4)), draw(st.sampled_from([8, 16]))
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6)), samples
    options: dict[str, Any] = {
        "byteorder": draw(st.sampled_from(["<", ">"])),
        "compression": draw(st.sampled_from([None, "lzw", "zlib", "packbits"])),
        "photometric": "rgb" if samples > 2 else "minisblack",
        "rowsperstrip": draw(st.integers(1, 6)),
    }
    if samples in (2, 4):
        options["extrasamples"] = ["unassalpha"]
    if samples > 1:
        options["planarconfig"] = draw(st.sampled_from(["contig", "separate"]))
    if options["compression"] in ("lzw", "zlib"):
        options["predictor"] = draw(st.booleans())
    seed = draw(st.integers(0, 99))
    return np.random.default_rng(seed).integers(0, 2**depth, shape, dtype=f"u{depth // 8}"), options


@settings(max_examples=16)
@given(_tiff_options())
def test_tiff_written_by_tifffile_has_the_pixels_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Any, dict[str, Any]]
) -> None:
    """Compression, predictor, planes, strips and byte order of a TIFF do not show in its pixels."""
    array, options = drawn
    stored = array if array.shape[2] > 1 else array[:, :, 0]
    if options.get("planarconfig") == "separate":
        stored = stored.transpose(2, 0, 1)
    path = tmp_path_factory.getbasetemp() / "image.tif"
    tifffile.imwrite(path, stored, metadata=None, **options)
    measurement = measure(path)
    assert _reference(array, width=array.dtype.itemsize) == measurement.digests["pixels"]


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_tiles_and_pages(tmp_path: Path, *, bigtiff: bool, order: Any) -> None:
    """Tiles that hang over the edge are cut; every page is a frame; BigTIFF is read alike."""
    path = tmp_path / "image.tif"
    pages = np.random.default_rng(3).integers(0, 2**16, (2, 21, 37, 1), dtype=np.uint16)
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=order) as writer:
        for page in pages:
            writer.write(page[:, :, 0], tile=(16, 16), compression="zlib", photometric="minisblack", metadata=None)
    measurement = measure(path)
    assert _reference(*pages, width=2) == measurement.digests["pixels"]
    assert (measurement.frames, measurement.attributes["frames"]) == (2, 2)


def _gray(depth: int = 8, colour: int = 1, **more: Any) -> dict[int, tuple[int, list[int]]]:
    entries: dict[int, tuple[int, list[int]]] = {256: (3, [2]), 257: (3, [2]), 258: (3, [depth]), 259: (3, [1])}
    entries |= {262: (3, [colour]), 277: (3, [1]), 278: (3, [2])}
    return entries | {int(tag[1:]): value for tag, value in more.items()}


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_bilevel_inverted_palette_and_orientation(tmp_path: Path, order: str) -> None:
    """White-is-zero keeps its samples under its own name; a colour map becomes 16-bit RGB; orientation is bound."""
    bits = np.array([[[255], [0]], [[0], [255]]])
    data = tiff([b"\x80\x40"], _gray(1, 0, t274=(3, [3])), order=order)
    assert _reference(bits, photometric="GRAY-INVERTED", orientation=3) == _pixels(tmp_path, data)
    colours = list(range(100, 100 + 12))
    data = tiff([b"\x60\x90"], _gray(2, 3, t320=(3, colours)), order=order)
    table = np.array(colours).reshape(3, 4).T
    assert _reference(table[np.array([[1, 2], [2, 1]])], width=2) == _pixels(tmp_path, data)


@pytest.mark.parametrize(
    ("compression", "strip"),
    [
        (1, b"\1\2\3\4\5"),
        (8, zlib.compress(b"\1\2\3\4\5")),
        (5, imagecodecs.lzw_encode(b"\1\2\3\4\5")),
        (32773, b"\4\1\2\3\4\5"),
    ],
)
def test_bytes_beyond_a_strip_are_ignored(tmp_path: Path, compression: int, strip: bytes) -> None:
    """A strip that decodes to more than its rows need is cut, whatever its compression."""
    expected = _pixels(tmp_path, tiff([b"\1\2\3\4"], _gray()))
    assert expected == _pixels(tmp_path, tiff([strip], _gray(t259=(3, [compression]))))


def test_png_and_tiff_of_one_picture_have_equal_pixels(tmp_path: Path) -> None:
    """A lossless change of format keeps the `pixels` rung."""
    rows = [b"\1\2", b"\3\4"]
    one = _pixels(tmp_path, png(rows, columns=2, depth=8, colour=0))
    assert one == _pixels(tmp_path, tiff([b"\1\2\3\4"], _gray()))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (_gray(8, 5), "TIFF photometric interpretation 5 is not covered"),
        (_gray(8, 6), "TIFF photometric interpretation 6 is not covered"),
        (_gray(t259=(3, [7])), "TIFF compression 7 is lossy or not covered"),
        (_gray(t259=(3, [4])), "TIFF compression 4 is lossy or not covered"),
        (_gray(32, t339=(3, [3])), "TIFF samples that are not unsigned integers of 1 to 32 bits are not covered"),
        (_gray(t339=(3, [2])), "TIFF samples that are not unsigned integers of 1 to 32 bits are not covered"),
        (_gray(12), "TIFF samples that are not unsigned integers of 1 to 32 bits are not covered"),
        (_gray(t277=(3, [3])), "TIFF photometric interpretation 1 with 3 samples is not covered"),
        (_gray(t266=(3, [2])), "TIFF fill order 2 is not covered"),
        (_gray(t317=(3, [3])), "TIFF predictor 3 with 8 bits is not covered"),
    ],
)
def test_tiff_without_a_canonical_form_has_no_pixels(tmp_path: Path, entries: Any, reason: str) -> None:
    """CMYK, YCbCr, lossy, float and odd depths leave `pixels` out and say why; `file` stands."""
    measurement = measure(_write(tmp_path, tiff([bytes(16)], entries)))
    assert ({"pixels": reason}, ["file"]) == (dict(measurement.absent), list(measurement.digests))


@pytest.mark.parametrize(
    ("strips", "entries"),
    [
        ([b"\1\2\3"], _gray()),
        ([b"\1\2\3\4"], _gray(t259=(3, [8]))),
        ([zlib.compress(b"\1\2\3")], _gray(t259=(3, [8]))),
        ([imagecodecs.lzw_encode(b"\1\2\3")], _gray(t259=(3, [5]))),
        ([b"\2\1\2\3"], _gray(t259=(3, [32773]))),
        ([b"\1\2\3\4"], _gray(t278=(3, [1]))),
        ([b"\1\2\3\4"], _gray(t279=(4, [0]))),
        ([b"\1\2\3\4"], _gray(t273=(4, [1 << 20]))),
        ([b"\1\2\3\4"], _gray(t256=(3, [0]))),
        ([b"\1\2\3\4"], _gray(t256=(3, [2, 2]))),
        ([b"\1\2\3\4"], _gray(t256=(4, [1 << 30]), t257=(4, [1 << 30]), t278=(4, [1 << 30]))),
        ([b"\1\2\3\4"], _gray(8, 3, t320=(3, [1, 2, 3]))),
    ],
)
def test_tiff_that_contradicts_itself_is_refused(tmp_path: Path, strips: list[bytes], entries: Any) -> None:
    """Short or corrupt strips, strips beyond the file and impossible sizes are one DecodeError."""
    with pytest.raises(DecodeError):
        measure(_write(tmp_path, tiff(strips, entries)))


def test_a_circle_of_directories_is_refused(tmp_path: Path) -> None:
    """A TIFF whose next directory is its first ends in an error."""
    data = bytearray(tiff([b"\1\2\3\4"], _gray()))
    at = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    struct.pack_into("<I", data, at + 2 + 12 * count, at)
    with pytest.raises(DecodeError, match="circle"):
        measure(_write(tmp_path, bytes(data)))


def _jpeg(**options: Any) -> bytes:
    array = np.random.default_rng(5).integers(0, 256, (24, 17, 3), dtype=np.uint8)
    return bytes(imagecodecs.jpeg8_encode(array, level=90, **options))


def _with_exif(jpeg: bytes, exif: bytes) -> bytes:
    segment = b"Exif\0\0" + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def _exif(order: str, **changes: tuple[int, list[int]]) -> bytes:
    """A camera's Exif with its sub-directories at 512 and 1024; `gN` changes tag N of GPS, `eN` of Exif."""

    def ascii_of(value: str) -> tuple[int, list[int]]:
        return 2, [*value.encode(), 0]

    main = {271: ascii_of("Lab "), 272: ascii_of("One"), 305: ascii_of("v2"), 274: (3, [8])}
    main |= {34665: (4, [512]), 34853: (4, [1024])}
    exif = {33434: (5, [2, 250]), 36867: ascii_of("2026:11:23 10:11:12"), 36881: ascii_of("+01:00")}
    exif |= {37521: ascii_of("0625"), 42033: ascii_of("S/N 7"), 42036: ascii_of("50 mm")}
    gps = {1: ascii_of("S"), 2: (5, [10, 1, 30, 1, 0, 1]), 3: ascii_of("E"), 4: (5, [7, 1, 0, 1, 1, 1])}
    gps |= {5: (1, [1]), 6: (5, [25, 2])}
    exif |= {int(name[1:]): value for name, value in changes.items() if name[0] == "e"}
    gps |= {int(name[1:]): value for name, value in changes.items() if name[0] == "g"}
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    parts = (head + ifd(main, order=order, at=8)).ljust(512, b"\0") + ifd(exif, order=order, at=512)
    return parts.ljust(1024, b"\0") + ifd(gps, order=order, at=1024)


@pytest.mark.parametrize("order", ["<", ">"])
def test_jpeg_has_the_file_rung_and_the_attributes_of_the_camera(tmp_path: Path, order: str) -> None:
    """A JPEG is hashed as a file; Exif gives camera, lens, time, exposure and place."""
    measurement = measure(_write(tmp_path, _with_exif(_jpeg(), _exif(order))))
    assert list(measurement.digests) == ["file"]
    assert dict(measurement.absent) == {"pixels": "JPEG is lossy: decoders do not agree on its samples"}
    expected = {
        "acquisition_datetime": "20261123101112.0625+0100",
        "bits_stored": 8,
        "columns": 17,
        "device_serial_number": "S/N 7",
        "exposure_time": "1/125 s",
        "file_name": "image",
        "frames": 1,
        "gps_position": "-10.5\\7.0002778\\-12.5",
        "lens": "50 mm",
        "manufacturer": "Lab",
        "model": "One",
        "orientation": 8,
        "rows": 24,
        "software_versions": "v2",
    }
    assert expected == dict(measurement.attributes)


@pytest.mark.parametrize(
    ("name", "value", "attribute"),
    [
        ("e36867", (2, list(b"2026:11:23")), "acquisition_datetime"),
        ("e33434", (5, [1, 0]), "exposure_time"),
        ("e33434", (5, [0, 5]), "exposure_time"),
        ("e33434", (3, [5]), "exposure_time"),
        ("g2", (5, [10, 1]), "gps_position"),
        ("e42036", (3, [1]), "lens"),
    ],
)
def test_exif_values_that_make_no_sense_count_as_absent(
    tmp_path: Path, name: str, value: tuple[int, list[int]], attribute: str
) -> None:
    """One unusable Exif value takes nothing else with it."""
    attributes = measure(_write(tmp_path, _with_exif(_jpeg(), _exif("<", **{name: value})))).attributes
    assert attribute not in attributes
    assert attributes["model"] == "One"


class _Counted(io.BytesIO):
    """A file that counts the bytes that were read from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def _of_markers(middle: bytes) -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 8, 8, 2, 3, 1)
    return b"\xff\xd8" + frame + middle + b"\xff\xd9"


@pytest.mark.parametrize(
    ("middle", "factor"),
    [
        (b"\xff\xda\0\2" * 2000 + bytes(3 << 20), 5),
        ((b"\xff\xda\0\2" + bytes(8192)) * 400, 5),
        (b"\xff\xda\0\2" + bytes(3 << 20), 2),
        (b"\xff" * (3 << 20) + b"\xda\0\2", 2),
        (b"\xff\xda\0\2" + b"\0\xff" * (1 << 20), 2),
    ],
    ids=["many empty scans", "many short scans", "one scan", "fill bytes", "half of it fill bytes"],
)
def test_jpeg_markers_are_walked_in_linear_time(middle: bytes, factor: int) -> None:
    """However many scans and fill bytes a JPEG has, what is read is a small multiple of its size."""
    data = _of_markers(middle)
    file = _Counted(data)
    facts = read_jpeg(file, len(data))
    assert (facts.rows, facts.columns, facts.samples, facts.precision) == (2, 3, 1, 8)
    assert file.taken < factor * len(data)


@pytest.mark.parametrize("marker", [b"\xff\xda\0\2", b"\xff\xfe\0\2", b"\xff\xd0"], ids=["scan", "comment", "restart"])
def test_a_jpeg_of_too_many_markers_is_refused(tmp_path: Path, marker: bytes) -> None:
    """The 65537th marker ends the reading: capture refuses the file, the verifier still has its `file` rung."""
    path = _write(tmp_path, _of_markers(marker * ((1 << 16) - 3) + b"\xff\xda\0\2"))
    assert "pixels" in measure(path).absent
    path = _write(tmp_path, _of_markers(marker * ((1 << 16) - 2) + b"\xff\xda\0\2"))
    with pytest.raises(DecodeError, match="more than 65536 markers"):
        measure(path)
    assert list(measure(path, tolerant=True).digests) == ["file"]


@pytest.mark.parametrize("cut", [255, 256, 257, 767, 768, 769, 65279, 65280, 65281])
def test_a_marker_is_found_wherever_a_read_ends(cut: int) -> None:
    """A marker after a scan is found when it lies across two reads, and stuffed or restart bytes are none."""
    for stuffing in (
        bytes(cut - 1),
        b"\xff\0" * (cut // 2) + bytes(cut % 2),
        b"\xff\xd7" * (cut // 2) + bytes(cut % 2),
    ):
        data = _of_markers(b"\xff\xda\0\2" + stuffing)
        assert read_jpeg(io.BytesIO(data), len(data)).rows == 2


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg"])
def test_truncation_at_any_byte_is_refused(tmp_path: Path, kind: str) -> None:
    """No prefix of a PNG, TIFF or JPEG is measured: every one raises an error of ours."""
    whole = {
        "png": png([b"\1\2\3"] * 3, columns=1, depth=8, colour=2, between=chunk(b"tEXt", b"a\0b")),
        "tiff": tiff([b"\1\2\3\4"], _gray()),
        "jpeg": _jpeg(),
    }[kind]
    measure(_write(tmp_path, whole))
    for length in range(1, len(whole), 1 if len(whole) < 400 else 7):
        with pytest.raises(CaptureError):
            measure(_write(tmp_path, whole[:length]))


def test_a_wrong_checksum_or_a_bomb_is_refused(tmp_path: Path) -> None:
    """A PNG with a flipped bit, with too little data or of an absurd size is a DecodeError."""
    good = png([b"\1\2\3\4"], columns=4, depth=8, colour=0)
    flipped = bytearray(good)
    flipped[-20] ^= 1
    huge = png([b"\1"], columns=1 << 30, depth=16, colour=6)
    short = png_of_passes([[b"\1\2"]], columns=2, height=9, depth=8, colour=0)
    for data in (bytes(flipped), huge, short, good.replace(b"IDAT", b"IDAX"), good[:8] + b"\0" * 40):
        with pytest.raises(DecodeError):
            measure(_write(tmp_path, data))


def test_an_animation_has_no_pixels(tmp_path: Path) -> None:
    """APNG is hashed as a file and says why it has no pixels."""
    data = png([b"\1"], columns=1, depth=8, colour=0, between=chunk(b"acTL", bytes(8)))
    assert dict(measure(_write(tmp_path, data)).absent) == {"pixels": "an animated PNG has no one image"}
