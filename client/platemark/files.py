"""Files that are whole or not there: written beside, synced, and moved into place.

Both ways in keep one promise: after a crash the path holds its old content or all of the new one, never a part, and
when the call returns the new content is on disk. Works on POSIX and on Windows (which has no directories to sync).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from platemark.errors import PlatemarkError

__all__ = ["FileError", "create", "first_line", "read", "replace", "sync_directory"]

_Move: TypeAlias = "Callable[[Path, Path], None]"


class FileError(PlatemarkError):
    """A file that cannot be read or written; the sentence begins with its path."""

    code = "file"


def read(path: Path, *, limit: int, pipe: bool = False) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises FileError.

    With `pipe` it may also be a pipe, and what it gives is waited for.
    """
    try:
        # Opening a FIFO blocks until somebody writes, so that a name alone could stop us for ever.
        descriptor = os.open(
            path, os.O_RDONLY | (0 if pipe else getattr(os, "O_NONBLOCK", 0)) | getattr(os, "O_BINARY", 0)
        )
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and not (pipe and stat.S_ISFIFO(mode)):
                raise FileError(f"{path}: is not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise FileError(f"{path}: {error}") from None
    if len(data) > limit:
        raise FileError(f"{path}: larger than {limit} bytes, so it is not what is looked for here")
    return data


def replace(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o644) -> None:
    """Put `data`, or the pieces that it comes in, at `path`, whatever is there. Raises FileError, and what pieces raise."""
    _put(path, data, mode, os.replace)


def create(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o644) -> None:
    """Put `data`, or the pieces that it comes in, at `path`, where nothing may be yet. Raises as `replace` does."""
    if os.path.lexists(path):
        raise FileError(f"{path}: exists already")
    _put(path, data, mode, _move_new)


def _move_new(source: Path, target: Path) -> None:
    """Move without replacing: a hard link fails where something is; file systems without links get a plain move."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # Without hard links (FAT, some network file systems) the check in `create` is all there is.
        source.replace(target)
    else:
        source.unlink()


def _put(path: Path, data: bytes | Iterable[bytes], mode: int, move: _Move) -> None:
    # The name is random, so that two writers never share one; the mode is set before the first byte is in the file.
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        # Crash before this line: a stray .tmp file, and the old content. After it: the new content.
        move(beside, path)
        sync_directory(path.parent)
    except FileExistsError:
        raise FileError(f"{path}: exists already") from None
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def first_line(path: Path, *, limit: int) -> bytes:
    """The first line of a file or pipe, without its end: a passphrase, a PIN. Raises FileError."""
    return read(path, limit=limit, pipe=True).split(b"\n", 1)[0].removesuffix(b"\r")


def sync_directory(directory: Path) -> None:
    """Make a new name in it durable; without it a crash may bring the old content back. Windows has nothing to sync.

    Raises OSError.
    """
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
