"""ZIP files from strangers: what Python's zipfile writes is read, and every trick is refused by name."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark.errors import ArchiveError
from platemark.study.archive import MAX_MEMBERS, Archive


@dataclass
class Raw:
    """One member, field by field, so that a test can lie in any of them."""

    name: bytes = b"a.dcm"
    content: bytes = b"content"
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    compressed: int | None = None
    offset: int | None = None
    made_by: int = 0x0314
    attributes: int = 0o100644 << 16
    extra: bytes = b""
    local_name: bytes | None = None
    local_method: int | None = None
    local_magic: bytes = b"PK\3\4"
    behind: bytes = b""


def build(*members: Raw, count: int | None = None, disk: int = 0, comment: bytes = b"", gap: bytes = b"") -> bytes:
    """A ZIP file of these members."""
    body, directory = b"", b""
    for each in members:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(each.content) + deflater.flush() if each.method == 8 else each.content
        data += each.behind
        crc = zlib.crc32(each.content) if each.crc is None else each.crc
        size = len(each.content) if each.size is None else each.size
        compressed = len(data) if each.compressed is None else each.compressed
        offset = len(body) if each.offset is None else each.offset
        local = each.name if each.local_name is None else each.local_name
        method = each.method if each.local_method is None else each.local_method
        head = struct.pack("<5H3L2H", 20, each.flags, method, 0, 33, crc, compressed, size, len(local), 0)
        directory += b"PK\1\2" + struct.pack(
            "<6H3L5H2L",
            *(each.made_by, 20, each.flags, each.method, 0, 33, crc, compressed, size, len(each.name)),
            *(len(each.extra), 0, 0, 0, each.attributes, offset),
        )
        directory += each.name + each.extra
        body += each.local_magic + head + local + data
    body += gap
    number = len(members) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", disk, 0, number, number, len(directory), len(body), len(comment))
    return body + directory + end + comment


def archive(data: bytes) -> Archive:
    """The archive of these bytes."""
    return Archive(io.BytesIO(data), "cd.zip")


def read(data: bytes) -> dict[str, bytes]:
    """Every member's content."""
    opened = archive(data)
    return {name: opened.read(name, limit=1 << 30) for name in opened.members}


@given(
    st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_characters="/\\:\0", exclude_categories=["Cc", "Cs"]),
            min_size=1,
            max_size=9,
        ).filter(lambda name: name not in {".", ".."}),
        st.binary(max_size=3000),
        max_size=6,
    ),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=20),
)
def test_what_zipfile_writes_is_read(contents: dict[str, bytes], method: int, comment: bytes) -> None:
    """Names, contents and order are those that went in, deflated or stored, with or without a comment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, content in contents.items():
            out.writestr(f"folder/{name}", content)
        out.comment = comment
    assert read(buffer.getvalue()) == {f"folder/{name}": content for name, content in contents.items()}


def test_streams_and_zip64_are_read() -> None:
    """Data descriptors, ZIP64 fields and folders, as archivers write them."""

    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes, /) -> int:  # type: ignore[override]  # of whatever buffer it gets, bytes here
            self.data += bytes(data)
            return len(data)

    stream = Unseekable()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out,
        out.open("a/b.dcm", "w", force_zip64=True) as member,
    ):
        member.write(b"x" * 100_000)
    assert read(stream.data) == {"a/b.dcm": b"x" * 100_000}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.mkdir("a")
        out.writestr("a/b", b"1")
    assert read(buffer.getvalue()) == {"a/b": b"1"}


def test_a_zip64_directory_is_read() -> None:
    """Fields that are full in the end record stand in that of ZIP64."""
    plain = build(Raw())
    end = plain[-22:]
    count, size, start = struct.unpack("<H2L", end[10:20])
    at = len(plain) - 22
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    full = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert read(plain[:-22] + wide + locator + full) == {"a.dcm": b"content"}
    for broken in (wide + full, wide[:-1] + b"\1" + locator + full, b"", locator + full):
        with pytest.raises(ArchiveError):
            archive(plain[:-22] + broken)


_ZIP64 = struct.pack("<2HQ", 1, 8, 5)
REFUSED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "cd.zip: not a ZIP file"),
    ("no end record", build(Raw())[:-22], "cd.zip: not a ZIP file, or not all of one"),
    ("cut", build(Raw())[:-1], "cd.zip: not a ZIP file, or not all of one"),
    ("bytes behind the end", build(Raw()) + b"x", "cd.zip: not a ZIP file, or not all of one"),
    ("bytes before the beginning", b"MZ" + build(Raw()), "its directory does not end where"),
    ("several parts", build(Raw(), disk=1), "one part of a ZIP file of several"),
    ("more members than listed", build(Raw(), count=0), "its directory holds more than its members"),
    ("fewer members than listed", build(Raw(), count=2), "its directory is damaged"),
    ("too many members", build(count=MAX_MEMBERS + 1), f"{MAX_MEMBERS + 1} members, more than {MAX_MEMBERS}"),
    ("too many, really", build(*(Raw(name=b"%d" % each) for each in range(MAX_MEMBERS + 1))), "members, more than"),
    ("encrypted", build(Raw(), Raw(b"b.dcm", flags=1)), "'b.dcm': is encrypted"),
    ("strongly encrypted", build(Raw(flags=0x41)), "'a.dcm': is encrypted"),
    ("encrypted by AES", build(Raw(method=99)), "'a.dcm': is encrypted"),
    ("hidden headers", build(Raw(flags=0x2000)), "'a.dcm': is encrypted"),
    ("another method", build(Raw(method=14)), "'a.dcm': is compressed by method 14"),
    ("climbs out", build(Raw(b"../a.dcm")), "'../a.dcm': a name that is refused"),
    ("climbs out within", build(Raw(b"a/../../b")), "a name that is refused"),
    ("absolute", build(Raw(b"/etc/passwd")), "a name that is refused"),
    ("a drive", build(Raw(b"C:/a.dcm")), "a name that is refused"),
    ("backslashes", build(Raw(b"..\\a.dcm")), "a name that is refused"),
    ("a dot", build(Raw(b"./a.dcm")), "a name that is refused"),
    ("an empty component", build(Raw(b"a//b.dcm")), "a name that is refused"),
    ("no name", build(Raw(b"")), "a name that is refused"),
    ("a NUL", build(Raw(b"a.dcm\0.txt")), "a name that is refused"),
    ("a line feed", build(Raw(b"a\nb")), "a name that is refused"),
    ("too long", build(Raw(b"a" * 600)), "a name that is refused"),
    ("no UTF-8", build(Raw(b"\xff", flags=0x800)), "a name that is no UTF-8"),
    ("twice", build(Raw(), Raw()), "'a.dcm': is there twice"),
    ("file and folder", build(Raw(b"a"), Raw(b"a/", content=b"")), "'a/': is there twice"),
    ("a folder with content", build(Raw(b"a/")), "'a/': is a folder with content"),
    ("a link", build(Raw(attributes=(stat.S_IFLNK | 0o777) << 16)), "'a.dcm': is a link or a device"),
    ("a device", build(Raw(attributes=(stat.S_IFCHR | 0o666) << 16)), "'a.dcm': is a link or a device"),
    ("stored in two sizes", build(Raw(size=6)), "'a.dcm': is stored, and has two sizes"),
    ("overlapping", build(Raw(), Raw(b"b", offset=0)), "overlaps"),
    ("quoting the next", build(Raw(compressed=100, size=100), Raw(b"b"), Raw(b"c" * 99)), "'b': overlaps 'a.dcm'"),
    ("into the directory", build(Raw(size=99, compressed=99)), "reaches beyond"),
    ("behind the end", build(Raw(offset=10_000)), "reaches beyond"),
    ("a huge member", build(Raw(method=8, extra=struct.pack("<2HQ", 1, 8, 5 << 30), size=0xFFFFFFFF)), "more than 4294967296"),
    ("huge together", build(*(Raw(b"%d" % n, b"x", 8, size=0xF0000000) for n in range(20))), "cd.zip: unpacks to"),
    ("a wide size that is not there", build(Raw(method=8, size=0xFFFFFFFF)), "states a size that is not there"),
    ("a wide size that is cut", build(Raw(method=8, size=0xFFFFFFFF, extra=_ZIP64[:-1])), "states a size"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_tricks_are_refused_by_name(data: bytes, said: str) -> None:
    """Nothing is unpacked from an archive whose directory asks for something else than plain files."""
    with pytest.raises(ArchiveError) as caught:
        archive(data)
    assert said in str(caught.value)
    assert str(caught.value).startswith("cd.zip")


DAMAGED: list[tuple[str, Raw, str]] = [
    ("another CRC", Raw(crc=1), "is damaged: its CRC-32 is another one"),
    ("another CRC, deflated", Raw(method=8, crc=1), "is damaged: its CRC-32"),
    ("larger than stated", Raw(method=8, content=bytes(5_000_000), size=1000), "is larger than the 1000 bytes"),
    ("smaller than stated", Raw(method=8, size=9), "does not hold the 9 bytes"),
    ("more behind its end", Raw(method=8, size=7, compressed=12), "does not hold the 7 bytes"),
    ("much behind its end", Raw(method=8, behind=bytes(5_000_000)), "does not hold the 7 bytes"),
    ("no deflate", Raw(method=0, content=b"\xff" * 9, local_method=8), "has another header"),
    ("another name", Raw(local_name=b"b.dcm"), "has another header"),
    ("no header", Raw(local_magic=b"PK\7\7"), "is not where the directory says"),
    ("a name that leads out", Raw(local_name=b"../ab"), "a name that is refused"),
]


@pytest.mark.parametrize(("member", "said"), [row[1:] for row in DAMAGED], ids=[row[0] for row in DAMAGED])
def test_a_lying_member_is_refused(member: Raw, said: str) -> None:
    """What contradicts the directory is an error of that member; the others are read."""
    opened = archive(build(member, Raw(b"good"), gap=bytes(40)))
    with pytest.raises(ArchiveError) as caught:
        opened.read("a.dcm", limit=1 << 30)
    assert said in str(caught.value)
    assert opened.read("good", limit=100) == b"content"


def test_a_bomb_costs_no_more_than_it_states() -> None:
    """Deflated zeros come in pieces of at most 1 MiB, and stop at the stated size."""
    data = build(Raw(method=8, content=bytes(50 << 20), size=3 << 20))
    opened = archive(data)
    sizes: list[int] = []
    with pytest.raises(ArchiveError, match="is larger than"):
        sizes.extend(map(len, opened.chunks(opened.members["a.dcm"])))
    assert max(sizes) <= 1 << 20
    assert sum(sizes) <= 3 << 20


def test_reading_is_bounded() -> None:
    """A member above the caller's limit is refused before it is unpacked."""
    with pytest.raises(ArchiveError, match="larger than 3 bytes"):
        archive(build(Raw())).read("a.dcm", limit=3)


@given(st.data())
def test_a_broken_archive_is_an_archive_error(data: st.DataObject) -> None:
    """Whatever bytes change, the archive is read or refused with an error of ours."""
    raw = bytearray(build(Raw(method=8), Raw(b"b", content=bytes(500), method=8)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(raw))
    except ArchiveError:
        return
