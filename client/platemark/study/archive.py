"""Reading a ZIP file that came from a stranger: bounded before anything is unpacked, and nothing lands on its names.

The subset of APPNOTE 6.3 that medical ZIP files use: STORED and DEFLATED members, one disk, ZIP64. What another reader
might see differently (overlapping members, two names for one, a header that contradicts the directory) is refused, and
so is what would cost too much. Rule S3 of proto/evidence.md.
"""

from __future__ import annotations

import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["MAX_MEMBERS", "Archive", "Member"]

MAX_MEMBERS = 10_000
_MAX_DIRECTORY = 16 << 20
_MAX_MEMBER = 4 << 30
# All of them together: black images deflate to a thousandth, whole archives of them do not.
_MAX_RATIO, _FREE = 100, 1 << 30
_MAX_NAME = 512
_CHUNK = 1 << 20
_STORED, _DEFLATED, _AES = 0, 8, 99
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_UTF8 = 0x0800
_DIRECTORY_MODE, _TYPE_MASK, _REGULAR_MODE = 0o040000, 0o170000, 0o100000
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive: its name (components joined by /), size in bytes, and where it is."""

    name: str
    size: int
    compressed: int
    method: int
    crc: int
    offset: int


class Archive:
    """The members of the ZIP file that is open as `file`, whose name is `title` in errors.

    `members` are its files in the order of the directory, by name. Raises ArchiveError. Thread-safe.
    """

    def __init__(self, file: BinaryIO, title: str) -> None:
        self._file, self._title = file, title
        self._lock = threading.Lock()
        self._size = file.seek(0, 2)
        count, size, start = self._end()
        if count > MAX_MEMBERS:
            raise ArchiveError(title, f"{count} members, more than {MAX_MEMBERS}")
        if size > _MAX_DIRECTORY:
            raise ArchiveError(title, f"a directory of {size} bytes, more than {_MAX_DIRECTORY}")
        self._directory_start = start
        self.members: dict[str, Member] = {}
        entries = list(self._entries(self._at(start, size), count))
        self._check_places(entries)
        self._check_cost(entries)
        for member in entries:
            if not member.name.endswith("/"):
                self.members[member.name] = member

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The content of a member, at most 1 MiB at a time.

        Raises ArchiveError: at the latest with the last chunk, when size or CRC-32 are not those of the directory.
        """
        inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
        position, left = self._content_start(member), member.compressed
        crc = total = 0
        while True:
            data = self._at(position, min(left, _CHUNK))
            position, left = position + len(data), left - len(data)
            for piece in self._inflated(inflater, data, member) if inflater else [data]:
                total += len(piece)
                if total > member.size:
                    raise self._fault(member, f"is larger than the {member.size} bytes that it states")
                crc = zlib.crc32(piece, crc)
                yield piece
            # What comes behind the end of the stream is never collected.
            if left == 0 or (inflater is not None and inflater.eof):
                break
        unfinished = inflater is not None and (not inflater.eof or inflater.unused_data)
        if left or unfinished or total != member.size:
            raise self._fault(member, f"does not hold the {member.size} bytes that it states")
        if crc != member.crc:
            raise self._fault(member, "is damaged: its CRC-32 is another one")

    def read(self, name: str, *, limit: int) -> bytes:
        """The content of a member of at most `limit` bytes. Raises ArchiveError."""
        member = self.members[name]
        if member.size > limit:
            raise self._fault(member, f"larger than {limit} bytes, so it is not what is looked for here")
        return b"".join(self.chunks(member))

    def _inflated(self, inflater: zlib._Decompress, data: bytes, member: Member) -> Iterator[bytes]:
        while data:
            try:
                yield inflater.decompress(data, _CHUNK)
            except zlib.error as error:
                raise self._fault(member, f"is damaged ({error})") from None
            data = inflater.unconsumed_tail
        if not inflater.eof:
            # What zlib still holds back of the input that it has taken.
            while piece := inflater.decompress(b"", _CHUNK):
                yield piece

    def _end(self) -> tuple[int, int, int]:
        """Number of members, size and offset of the central directory; its end record ends the file (4.3.16)."""
        tail = self._at(max(0, self._size - _END.size - _FULL16), min(self._size, _END.size + _FULL16))
        at = tail.rfind(b"PK\5\6")
        while at >= 0 and (len(tail) - at < _END.size or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)):
            at = tail.rfind(b"PK\5\6", 0, at)
        if at < 0:
            raise ArchiveError(self._title, "not a ZIP file, or not all of one: it has no end record")
        _, disk, first, here, count, size, start, _ = _END.unpack_from(tail, at)
        end = self._size - len(tail) + at
        if _FULL16 in (disk, first, here, count) or _FULL32 in (size, start):
            disk, first, here, count, size, start, end = self._end64(end)
        if disk or first or here != count:
            raise ArchiveError(self._title, "one part of a ZIP file of several parts")
        if start + size != end:
            raise ArchiveError(self._title, "its directory does not end where its end record begins")
        return count, size, start

    def _end64(self, end: int) -> tuple[int, int, int, int, int, int, int]:
        """The same of a ZIP64 archive, and where its own end record begins (4.3.14, 4.3.15)."""
        if end < _LOCATOR.size + _END64.size:
            raise ArchiveError(self._title, "its end record points to one that is not there")
        magic, disk, at, disks = _LOCATOR.unpack(self._at(end - _LOCATOR.size, _LOCATOR.size))
        if magic != b"PK\6\7" or disk or disks > 1 or at != end - _LOCATOR.size - _END64.size:
            raise ArchiveError(self._title, "its end record points to one that is not there")
        magic, length, _, _, disk, first, here, count, size, start = _END64.unpack(self._at(at, _END64.size))
        if magic != b"PK\6\6" or length != _END64.size - 12:
            raise ArchiveError(self._title, "its ZIP64 end record has another form than is read here")
        return disk, first, here, count, size, start, at

    def _entries(self, directory: bytes, count: int) -> Iterator[Member]:
        """The members that the central directory lists (4.3.12), each checked for what is refused."""
        at, names = 0, set[str]()
        for _ in range(count):
            if directory[at : at + 4] != b"PK\1\2" or len(directory) - at < _CENTRAL.size:
                raise ArchiveError(self._title, "its directory is damaged")
            head = _CENTRAL.unpack_from(directory, at)
            flags, method, crc, compressed, size = head[3], head[4], head[7], head[8], head[9]
            stop = at + _CENTRAL.size + head[10]
            name = self._name(directory[at + _CENTRAL.size : stop], flags)
            extra, at = directory[stop : stop + head[11]], stop + head[11] + head[12]
            size, compressed, offset = self._wide(name, extra, [size, compressed, head[16]])
            member = Member(name, size, compressed, method, crc, offset)
            self._check(member, flags, mode=head[15] >> 16 if head[1] >> 8 == 3 else 0)
            if name.rstrip("/") in names:
                raise self._fault(member, "is there twice")
            names.add(name.rstrip("/"))
            yield member
        if at != len(directory):
            raise ArchiveError(self._title, "its directory holds more than its members")

    def _name(self, raw: bytes, flags: int) -> str:
        """A relative path in which no component leads elsewhere; a folder keeps its slash at the end."""
        try:
            name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
        except UnicodeDecodeError:
            raise ArchiveError(f"{self._title}: {raw[:80]!r}", "a name that is no UTF-8") from None
        parts = name.removesuffix("/").split("/")
        wrong = not all(parts) or {".", ".."} & set(parts) or "\\" in name or ":" in parts[0]
        if wrong or len(name) > _MAX_NAME or any(ord(each) < 0x20 for each in name):
            raise ArchiveError(f"{self._title}: {name[:80]!r}", "a name that is refused: not a plain relative path")
        return name

    def _wide(self, name: str, extra: bytes, values: list[int]) -> list[int]:
        """Size, compressed size and offset, from the ZIP64 extra field where they do not fit 32 bits (4.5.3)."""
        if _FULL32 not in values:
            return values
        at = 0
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, at)
            content, at = extra[at + 4 : at + 4 + length], at + 4 + length
            if kind == 1 and len(content) == length and length >= 8 * values.count(_FULL32):
                wide = iter(struct.unpack_from(f"<{length // 8}Q", content))
                return [next(wide) if value == _FULL32 else value for value in values]
        raise ArchiveError(f"{self._title}: {name[:80]!r}", "states a size that is not there")

    def _check(self, member: Member, flags: int, *, mode: int) -> None:
        if flags & _ENCRYPTED or member.method == _AES:
            raise self._fault(member, "is encrypted: unpack the ZIP with its password and verify the folder")
        if member.method not in {_STORED, _DEFLATED}:
            raise self._fault(member, f"is compressed by method {member.method}, which is not read here")
        if mode & _TYPE_MASK not in {0, _REGULAR_MODE, _DIRECTORY_MODE}:
            raise self._fault(member, "is a link or a device, not a file")
        if member.method == _STORED and member.size != member.compressed:
            raise self._fault(member, "is stored, and has two sizes")
        if member.size > _MAX_MEMBER:
            raise self._fault(member, f"is {member.size} bytes, more than {_MAX_MEMBER}")
        if member.name.endswith("/") and member.size:
            raise self._fault(member, "is a folder with content")

    def _check_places(self, members: list[Member]) -> None:
        """No two members share a byte, and none reaches into the directory: else a small file unpacks to anything."""
        end, name = 0, ""
        for member in sorted(members, key=lambda each: each.offset):
            if member.offset < end:
                raise self._fault(member, f"overlaps {name!r}")
            end, name = member.offset + _LOCAL.size + member.compressed, member.name
            if end > self._directory_start:
                raise self._fault(member, "reaches beyond the members' part of the file")

    def _check_cost(self, members: list[Member]) -> None:
        total, most = sum(each.size for each in members), max(_FREE, _MAX_RATIO * self._size)
        if total > most:
            raise ArchiveError(self._title, f"unpacks to {total} bytes, more than {most}")

    def _content_start(self, member: Member) -> int:
        """Behind the local header (4.3.7), which has to say what the directory says."""
        head = self._at(member.offset, _LOCAL.size)
        if not head.startswith(b"PK\3\4"):
            raise self._fault(member, "is not where the directory says")
        fields = _LOCAL.unpack(head)
        name = self._at(member.offset + _LOCAL.size, fields[9])
        start = int(member.offset + _LOCAL.size + fields[9] + fields[10])
        if fields[3] != member.method or self._name(name, fields[2]) != member.name:
            raise self._fault(member, "has another header than the directory says")
        if fields[2] & _ENCRYPTED or start + member.compressed > self._directory_start:
            raise self._fault(member, "has another header than the directory says")
        return start

    def _at(self, position: int, count: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(position)
                data = self._file.read(count)
        except OSError as error:
            raise ArchiveError(self._title, f"cannot be read: {error.strerror or error}") from None
        if len(data) != count:
            raise ArchiveError(self._title, "truncated")
        return data

    def _fault(self, member: Member, reason: str) -> ArchiveError:
        return ArchiveError(f"{self._title}: {member.name[:120]!r}", reason)
