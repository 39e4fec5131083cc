"""Which recordings a command means, told by their content: MCAP files, rosbag2 folders, the sqlite3 files of rosbag2."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.errors import RecordingError
from platemark.files import FileError

if TYPE_CHECKING:
    from platemark.capture.mcap import McapSource
    from platemark.capture.rosbag import BagSource

__all__ = ["MCAP", "is_mcap", "is_recording", "may_become_mcap", "open_recording", "schemas_of"]

MCAP = b"\x89MCAP0\r\n"
_SQLITE = b"SQLite format 3\0"


def is_mcap(path: Path) -> bool:
    """Whether it is a file that begins as MCAP files do. Raises FileError."""
    return not path.is_dir() and _head(path).startswith(MCAP)


def may_become_mcap(path: Path) -> bool:
    """Whether it is a file that begins as MCAP files do, as far as it goes: its writer may just have begun."""
    return not path.is_dir() and MCAP.startswith(_head(path)[: len(MCAP)])


def is_recording(path: Path) -> bool:
    """Whether it is a recording by its first bytes, or a folder. Raises FileError."""
    return path.is_dir() or _head(path).startswith((MCAP, _SQLITE))


def open_recording(path: Path) -> McapSource | BagSource:
    """The recording at `path`. Raises FileError, RecordingError, DecoderMissingError."""
    if path.is_dir() or _head(path).startswith(_SQLITE):
        from platemark.capture.rosbag import open_bag

        return open_bag(path)
    if not is_mcap(path):
        raise RecordingError(path, "is neither an MCAP file nor one of rosbag2")
    from platemark.capture.mcap import open_mcap

    return open_mcap(path)


def schemas_of(source: McapSource | BagSource, digests: set[bytes]) -> list[bytes]:
    """The data of the schemas with these SHA-256 digests, as far as the recording has them. Reads on until it has all."""
    wanted, found = digests - {hashlib.sha256(b"").digest()}, {}
    if wanted:
        for each in source.recorded():
            if each.channel.schema in wanted:
                found[each.channel.schema] = each.schema
                if found.keys() == wanted:
                    break
    return list(found.values())


def _head(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise FileError(f"{path}: is not a regular file")
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None
