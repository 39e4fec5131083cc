"""The MAC byte stream of PS3.15: what dcmsign hashes, whatever the encoding of the file."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcmsign
from capture_writers import BIG, DEFLATED, EXPLICIT, IMPLICIT, dicom, element, file_meta, text
from dicom_files import image_files
from platemark.capture._dictionary import dictionary, private_dictionary
from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._file_meta import read_file_meta
from platemark.capture._mac_stream import MacStream, mac_stream

UNDEFINED = 0xFFFFFFFF
# What dcmtk reads more kindly than we do.
REFUSED = {"winter.dcm": "appears twice", "meta_missing_tsyntax.dcm": "no transfer syntax"}


def stream_of(data: bytes, *, inherit: bool = True, tags: set[int] | None = None) -> MacStream:
    """The MAC stream of a whole file."""
    meta = read_file_meta(io.BytesIO(data), len(data))
    body = data[meta.data_set_offset :]
    if meta.transfer_syntax == DEFLATED:
        body = zlib.decompressobj(-15).decompress(body)
    return mac_stream(
        io.BytesIO(body),
        0,
        len(body),
        transfer_syntax=meta.transfer_syntax,
        vr_of=dictionary(),
        inherit=inherit,
        tags=tags,
    )


def bytes_of(data: bytes) -> bytes:
    """The bytes of the MAC stream of a whole file."""
    stream = stream_of(data)
    joined = b"".join(stream)
    assert len(joined) == stream.length
    return joined


def compare(path: Path, operation: str, directory: Path, keys: dcmsign.KeyFiles) -> bool:
    """Compare one image in one encoding; False when dcmtk cannot make or sign it."""
    source, dump, out = directory / "source.dcm", directory / "dump", directory / "out.dcm"
    if (command := dcmsign.OPERATIONS[operation]) is None:
        source.write_bytes(path.read_bytes())
    elif dcmsign.run(*command, path, source).returncode:
        return False  # such as compressed data that dcmconv does not decompress
    if dcmsign.sign(source, out, keys, "+m2", "+d", dump).returncode:
        return False
    if path.name in REFUSED and operation == "as it is":
        with pytest.raises(MalformedError, match=REFUSED[path.name]):
            stream_of(source.read_bytes())
        return False
    try:
        own = b"".join(stream_of(source.read_bytes(), inherit=False))
    except MalformedError as error:
        pytest.fail(f"{path.name}, {operation}: {error}")
    dumped = dump.read_bytes()
    # What follows in the dump are the elements of the signature itself, MAC ID Number first.
    assert dumped.startswith(own), (path.name, operation)
    assert dumped[len(own) :].startswith(struct.pack("<HH2sHH", 0x0400, 0x0005, b"US", 2, 0)), (path.name, operation)
    return True


def test_every_image_gives_the_bytes_of_dcmsign(require: Callable[[str], Path], tmp_path: Path) -> None:
    """For every image of pydicom and pydicom-data, as it is and in one more encoding, the stream is dcmsign's dump."""
    require("dcmsign")
    keys = dcmsign.key_files(tmp_path, "p256")
    as_is, *others = dcmsign.OPERATIONS
    for_each = [(path, each) for i, path in enumerate(image_files()) for each in (as_is, others[i % len(others)])]
    assert sum(compare(*case, tmp_path, keys) for case in for_each) > 250


@pytest.mark.soak
@pytest.mark.parametrize("operation", dcmsign.OPERATIONS)
def test_every_image_in_every_encoding(require: Callable[[str], Path], tmp_path: Path, operation: str) -> None:
    """The same in each of the six encodings."""
    require("dcmsign")
    keys = dcmsign.key_files(tmp_path, "p256")
    assert sum(compare(path, operation, tmp_path, keys) for path in image_files()) > 90


Tree = dict[str, object]
LEAVES: dict[str, st.SearchStrategy[bytes | list[int] | None]] = {
    "OB": st.none() | st.binary(max_size=9).map(lambda data: data + b"\0" * (len(data) % 2)),
    "US": st.none() | st.lists(st.integers(0, 0xFFFF), max_size=3),
    "FD": st.none() | st.lists(st.integers(0, (1 << 64) - 1), max_size=2),
    "LO": st.none() | st.text("AB ", max_size=8).map(str.encode),
}
FORMATS = {"US": "H", "FD": "Q"}
PUBLIC = {"OB": 0x00420011, "US": 0x00280010, "FD": 0x00189073, "LO": 0x00081030, "SQ": 0x00081140}
"""A tag of each value representation in the dictionary, so that the implicit form means the same."""
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.fixed_dictionaries(dict(LEAVES)).map(
        lambda level: {kind: leaf for kind, leaf in level.items() if leaf is not None}
    ),
    lambda inner: st.builds(lambda level, items: {**level, "SQ": items}, inner, st.lists(inner, max_size=2)),
    max_leaves=4,
)


def encode(tree: Tree, syntax: str, *, undefined: bool) -> bytes:
    """A data set in one encoding, its sequences and items with or without lengths."""
    order = ">" if syntax == BIG else "<"
    out = b""
    for kind in sorted(tree, key=PUBLIC.__getitem__):
        value = tree[kind]
        if kind == "SQ":
            assert isinstance(value, list)
            items = b"".join(_item(encode(item, syntax, undefined=undefined), order, undefined) for item in value)
            tail = struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
            out += element(
                PUBLIC[kind], kind, items + tail, syntax=syntax, length=UNDEFINED if undefined else len(items)
            )
            continue
        if isinstance(value, list):
            value = struct.pack(f"{order}{len(value)}{FORMATS[kind]}", *value)
        assert isinstance(value, bytes)
        out += element(PUBLIC[kind], kind, value + b" " * (len(value) % 2), syntax=syntax)
    return out


def _item(data: bytes, order: str, undefined: bool) -> bytes:
    if not undefined:
        return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(data)) + data
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, UNDEFINED) + data + struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)


@given(TREES)
def test_native_encodings_agree(tree: Tree) -> None:
    """Implicit, explicit and big endian, with lengths or delimiters, have one MAC stream."""
    streams = {
        bytes_of(file_meta(syntax) + encode(tree, syntax, undefined=undefined) + trailer(syntax))
        for syntax in (EXPLICIT, IMPLICIT, BIG)
        for undefined in (False, True)
    }
    assert len(streams) == 1


def trailer(syntax: str) -> bytes:
    """Data Set Trailing Padding: a data set is not empty, and this is in no MAC."""
    return element(0xFFFCFFFC, "OB", bytes(4), syntax=syntax)


SOP = element(0x00080018, "UI", b"1.2.3.4\0")
NAME = element(0x00100010, "PN", b"A^B ")
REFERENCE = element(0x00081150, "UI", b"1.2\0")


def sequence(*items: bytes) -> bytes:
    """A referenced image sequence with lengths."""
    return element(0x00081140, "SQ", b"".join(_item(item, "<", undefined=False) for item in items))


@pytest.mark.parametrize(
    ("inserted", "unknown"),
    [
        pytest.param(element(0x00080001, "UL", bytes(4)), [], id="length to end"),
        pytest.param(element(0x00090000, "UL", bytes(4)), [], id="group length"),
        pytest.param(element(0x00091001, "UN", b"ab"), [0x00091001], id="unknown"),
        pytest.param(element(0x4FFE0001, "SQ", b""), [], id="MAC parameters"),
        pytest.param(element(0xFFFAFFFA, "SQ", b""), [], id="signatures"),
        pytest.param(element(0xFFFCFFFC, "OB", b"ab"), [], id="trailing padding"),
        pytest.param(
            sequence(REFERENCE + element(0x00091001, "UN", b"ab")), [0x00081140], id="sequence with an unknown"
        ),
        pytest.param(sequence(sequence(element(0x00091001, "UN", b"ab"))), [0x00081140], id="sequence in a sequence"),
    ],
)
def test_left_out_elements(inserted: bytes, unknown: list[int]) -> None:
    """An element that PS3.15 does not sign changes nothing; one of unknown representation is named."""
    plain = file_meta(EXPLICIT) + element(0x00080005, "CS", b"ISO_IR 6") + SOP + NAME
    stream = stream_of(file_meta(EXPLICIT) + _sorted(SOP, NAME, inserted, element(0x00080005, "CS", b"ISO_IR 6")))
    assert b"".join(stream) == bytes_of(plain)
    assert stream.unknown == unknown
    assert stream.covered == [0x00080005, 0x00080018, 0x00100010]


def _sorted(*elements: bytes) -> bytes:
    def tag(data: bytes) -> tuple[int, ...]:
        return struct.unpack("<HH", data[:4])

    ordered: list[bytes] = sorted(elements, key=tag)
    return b"".join(ordered)


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (b"A^B ", b"A^B "),
        (b"A^B   ", b"A^B "),
        (b"    ", b""),
        (b" A^B", b" A^B"),
        (b"A^B\0", b"A^B\0"),
        (b"A^B", b"A^B\0"),
        (b"A" * 200 + b" " * 200, b"A" * 200),
    ],
)
def test_trailing_spaces_of_text(value: bytes, canonical: bytes) -> None:
    """Text has as many trailing spaces in the stream as even length needs; nothing else of it is changed."""
    data = file_meta(EXPLICIT) + element(0x00100010, "PN", value)
    assert bytes_of(data) == element(0x00100010, "PN", canonical)


def test_elements_of_a_list() -> None:
    """Only the listed elements are covered; a listed element that is not there is simply not covered."""
    data = file_meta(EXPLICIT) + SOP + NAME
    stream = stream_of(data, tags={0x00100010, 0x00100020})
    assert (b"".join(stream), stream.covered) == (NAME, [0x00100010])


def test_unknown_of_undefined_length_is_a_sequence() -> None:
    """UN of undefined length is the implicit form of a sequence and gives the bytes of that sequence."""
    inside = _item(element(0x00081150, "UI", b"1.2\0", syntax=IMPLICIT), "<", undefined=True)
    value = inside + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    unknown = file_meta(EXPLICIT) + element(0x00081140, "UN", value, length=UNDEFINED)
    assert bytes_of(unknown) == bytes_of(file_meta(EXPLICIT) + sequence(REFERENCE))


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (NAME + SOP, UndefinedRungError, "out of order"),
        (NAME + NAME, MalformedError, "appears twice"),
        (element(0x00280010, "US", b"abc"), MalformedError, "not a multiple of 2"),
        (element(0x00081140, "SQ", NAME), MalformedError, "where an item"),
        (sequence(NAME + SOP), UndefinedRungError, "out of order"),
        (element(0x00081140, "SQ", b"\xfe\xff\x00\xe0\xff\x00\x00\x00"), MalformedError, "truncated"),
        (element(0x7FE00010, "OW", b"", length=UNDEFINED), MalformedError, "native transfer syntax"),
        (element(0x00100010, "PN", b"A" * 65535), MalformedError, "cannot be padded"),
    ],
)
def test_broken_data_sets(data: bytes, error: type[Exception], reason: str) -> None:
    """What has no one meaning has no stream, and the reason is named."""
    with pytest.raises(error, match=reason):
        stream_of(file_meta(EXPLICIT) + data)


def test_implicit_without_a_dictionary() -> None:
    """Without a dictionary every element of an implicit file is unknown, and none is guessed."""
    body = element(0x00100010, "PN", b"A^B ", syntax=IMPLICIT)
    stream = mac_stream(io.BytesIO(body), 0, len(body), transfer_syntax=IMPLICIT)
    assert (stream.length, stream.unknown) == (0, [0x00100010])


def test_pixel_representation_around_an_item() -> None:
    """US or SS within an item follows the Pixel Representation around it, unless it is read as dcmtk does."""
    signed = element(0x00280103, "US", b"\1\0", syntax=IMPLICIT)
    lut = element(0x00283002, "US", bytes(6), syntax=IMPLICIT)
    data = file_meta(IMPLICIT) + signed + element(0x00283000, "SQ", _item(lut, "<", undefined=False), syntax=IMPLICIT)
    assert b"(\0\x02\x30SS" in b"".join(stream_of(data))
    assert b"(\0\x02\x30US" in b"".join(stream_of(data, inherit=False))


def implied(elements: bytes, **options: bool | Callable[[int, str], bytes]) -> dict[int, bytes]:
    """Tag to value representation of the elements of an implicit data set, as the stream has them."""
    found = {}
    stream = mac_stream(
        io.BytesIO(elements),
        0,
        len(elements),
        transfer_syntax=IMPLICIT,
        vr_of=dictionary(),
        **options,  # type: ignore[arg-type]  # keywords of mac_stream
    )
    for tag in stream.covered:
        data = b"".join(stream)
        at = data.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
        found[tag] = data[at + 4 : at + 6]
    return found


@pytest.mark.parametrize(
    ("tag", "before", "vr", "as_dcmtk"),
    [
        (0x00281101, {0x00280103: b"\1\0"}, b"SS", b"US"),
        (0x00281101, {0x00280103: b"\0\0"}, b"US", b"US"),
        (0x00280106, {0x00280103: b"\1\0"}, b"SS", b"SS"),
        (0x00283006, {}, b"OW", b"OW"),
        (0x50003000, {}, b"OB", b"OB"),
        (0x60023000, {}, b"OW", b"OW"),
        (0x7FE00010, {}, b"OW", b"OW"),
        (0x54001010, {0x54001004: b"\x08\0"}, b"OB", b"OB"),
        (0x54001010, {0x54001004: b"\x10\0"}, b"OW", b"OW"),
    ],
)
def test_choices_of_the_dictionary(tag: int, before: dict[int, bytes], vr: bytes, as_dcmtk: bytes) -> None:
    """Where PS3.6 leaves a choice it is made by what stands before, and as DCMTK makes it if that is wanted."""
    elements = {**before, tag: bytes(6)}
    data = b"".join(element(each, "US", value, syntax=IMPLICIT) for each, value in elements.items())
    assert implied(data)[tag] == vr
    assert implied(data, inherit=False)[tag] == as_dcmtk


def test_private_elements() -> None:
    """A private element is known only if asked for, and by the creator that reserved its block in the same data set."""
    creators = {0x00090010: b"GEMS_IDEN_01", 0x00090011: b"NOBODY"}
    data = b"".join(element(each, "LO", value, syntax=IMPLICIT) for each, value in creators.items())
    data += b"".join(element(each, "LO", b"ab", syntax=IMPLICIT) for each in (0x00091001, 0x00091101, 0x00091201))
    assert list(implied(data)) == list(creators)
    known = implied(data, private_vr_of=private_dictionary())
    assert (list(known), known[0x00091001]) == ([*creators, 0x00091001], b"LO")


def test_memory_is_bounded_by_the_chunk() -> None:
    """No chunk is above 1 MiB, and chunks of a value that is swapped end at whole words."""
    pixels = bytes(range(256)) * 12_289
    data = dicom({0x00100010: ("PN", text("A")), 0x7FE00010: ("OW", pixels)}, syntax=BIG)
    chunks = list(stream_of(data))
    assert max(map(len, chunks)) <= 1 << 20
    assert b"".join(chunks).endswith(bytes(byte ^ 1 for byte in pixels))
