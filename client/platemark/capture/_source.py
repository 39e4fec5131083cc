"""Opening a file safely and hashing it in one pass of fixed-size chunks."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.errors import CaptureError, NotAnImageError
from platemark.rungs import SHA256, SHA512

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

__all__ = ["CHUNK", "Digester", "hashing_tails", "open_regular", "require_unchanged"]

CHUNK = 1 << 20
"""Bytes per read: memory does not grow with the file."""
_LARGE = 1 << 20
"""From this size on a thread pays."""


class Digester:
    """SHA-256 and SHA-512 over the same bytes."""

    def __init__(self, start: bytes = b"") -> None:
        self._hashes = {SHA256: hashlib.sha256(start), SHA512: hashlib.sha512(start)}

    def update(self, data: bytes | bytearray | memoryview) -> None:
        for digest in self._hashes.values():
            digest.update(data)

    def digests(self) -> dict[int, bytes]:
        """COSE hash algorithm to digest."""
        return {algorithm: digest.digest() for algorithm, digest in self._hashes.items()}


def open_regular(path: str | os.PathLike[str]) -> tuple[BinaryIO, os.stat_result]:
    """Open a regular, non-empty file for reading; CaptureError for anything else.

    A FIFO or device is refused before it is opened, because opening one can block for ever or have effects.
    """
    try:
        _require_regular(path, Path(path).stat())
        # If the path was swapped for a FIFO since, O_NONBLOCK keeps the open from waiting for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = os.fdopen(descriptor, "rb")
        try:
            facts = os.fstat(descriptor)
            _require_regular(path, facts)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise CaptureError(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:  # a NUL in the path
        raise CaptureError(path, f"cannot be read: {error}") from error
    return file, facts


def _require_regular(path: str | os.PathLike[str], facts: os.stat_result) -> None:
    if stat.S_ISDIR(facts.st_mode):
        raise CaptureError(path, "is a directory, not a file")
    if not stat.S_ISREG(facts.st_mode):
        raise CaptureError(path, "is not a regular file")
    if facts.st_size == 0:
        raise NotAnImageError(path, "the file is empty")


def require_unchanged(path: str | os.PathLike[str], file: BinaryIO, before: os.stat_result) -> None:
    """CaptureError when the open file's size, modification or change time moved since `before`.

    The passes over one file (hashing, header, pixels) must have seen the same bytes, or the rungs would describe
    different images.
    """
    after = os.fstat(file.fileno())
    # A modification time can be put back by whoever writes the file, a change time cannot. Windows has another meaning.
    changed = os.name != "nt" and after.st_ctime_ns != before.st_ctime_ns
    if changed or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise CaptureError(path, "the file changed while it was read")


@contextmanager
def hashing_tails(file: BinaryIO, size: int, tails: Sequence[tuple[Digester, int]]) -> Iterator[Callable[[], None]]:
    """Feed each digester the file's bytes from its own offset to the end, in one pass, until the given function returns.

    A large file is read by a thread that never moves the position of `file`, while the caller computes other digests:
    hashing lets other threads run. Leaving the context without a call of the function stops the thread.
    """
    if size < _LARGE or not hasattr(os, "pread"):  # Windows has no pread
        yield lambda: _hash_tails(partial(_next, file), tails)
        return
    stopped = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        read = partial(_at, file.fileno(), stopped)
        pending = pool.submit(_hash_tails, read, tails)
        try:
            yield pending.result
        finally:
            stopped.set()


def _hash_tails(read: Callable[[int], bytes], tails: Sequence[tuple[Digester, int]]) -> None:
    position = 0
    while data := read(position):
        view = memoryview(data)
        for digester, offset in tails:
            if offset < position + len(data):
                digester.update(view[max(0, offset - position) :])
        position += len(data)


def _next(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.read(CHUNK)


def _at(descriptor: int, stopped: threading.Event, position: int) -> bytes:
    return b"" if stopped.is_set() else os.pread(descriptor, CHUNK, position)
