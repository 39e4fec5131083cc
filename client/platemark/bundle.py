"""The one ZIP form of an evidence bundle: named members in, bytes out, and back with limits.

Reading is bounded before anything is allocated. Rules B1 to B4 of proto/evidence.md; what the members mean is
platemark.evidence's, which also writes again what it read, so that no second form of the same content is accepted.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Mapping

from platemark.errors import EvidenceError

__all__ = ["MAX_BUNDLE", "MIMETYPE", "REPACKED", "check_names", "read", "write"]

MIMETYPE = "application/vnd.platemark.evidence+zip"
MAX_BUNDLE = 16 * 1024 * 1024
REPACKED = "not as it was written (packed again by another program?): ask for the original file"
_MAX_MEMBERS = 512
_END = struct.Struct("<4s4H2LH")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*|README\.txt")


def check_names(members: Mapping[str, bytes]) -> None:
    """The names that a bundle may have (B2, B3): a ledger's reply ends up as a file that people unpack."""
    if len(members) >= _MAX_MEMBERS:
        raise EvidenceError("bundle", f"more than {_MAX_MEMBERS} members")
    for name in members:
        if len(name) > 100 or name == "mimetype" or not _NAME.fullmatch(name):
            raise EvidenceError("bundle", f"member name {name[:80]!r} is refused")


def write(members: Mapping[str, bytes]) -> bytes:
    """The bundle of these members, which are in its order: the same content gives the same bytes everywhere."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        for name, content in [("mimetype", MIMETYPE.encode()), *members.items()]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            bundle.writestr(info, content)
    return buffer.getvalue()


def _check_end(data: bytes) -> None:
    """The number of members, before zipfile makes an object of each: in the end record, which ends the file (B4)."""
    end = data[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        if data.startswith(b"PK"):
            raise EvidenceError("bundle", REPACKED)
        raise EvidenceError("bundle", "not a readable ZIP file")
    count, length = _END.unpack(end)[4:6]
    if count > _MAX_MEMBERS:
        raise EvidenceError("bundle", f"more than {_MAX_MEMBERS} members")
    if length > 512 * _MAX_MEMBERS:
        raise EvidenceError("bundle", REPACKED)


def read(data: bytes) -> dict[str, bytes]:
    """The members after `mimetype`, names checked. Raises EvidenceError naming the member and the limit or rule.

    Nothing here is compressed, so no member exceeds the bundle.
    """
    if len(data) > MAX_BUNDLE:
        raise EvidenceError("bundle", f"{len(data)} bytes, more than {MAX_BUNDLE}")
    members: dict[str, bytes] = {}
    try:
        _check_end(data)
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            infos = bundle.infolist()
            if len(infos) > _MAX_MEMBERS:
                raise EvidenceError("bundle", f"more than {_MAX_MEMBERS} members")
            if sum(info.file_size for info in infos) > len(data):
                raise EvidenceError("bundle", REPACKED)
            for info in infos:
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                    raise EvidenceError(info.filename[:80], f"compressed; {REPACKED}")
                if info.filename in members or len(info.filename) > 100 or not _NAME.fullmatch(info.filename):
                    raise EvidenceError("bundle", f"member name {info.filename[:80]!r} is refused")
                members[info.filename] = bundle.read(info)
    except (
        zipfile.BadZipFile,
        struct.error,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OverflowError,
    ) as error:
        raise EvidenceError("bundle", f"not a readable ZIP file ({error})") from None
    if next(iter(members), None) != "mimetype" or members.pop("mimetype") != MIMETYPE.encode():
        raise EvidenceError("mimetype", f"the first member is not {MIMETYPE}")
    return members
