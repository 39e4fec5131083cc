"""The anchor: the newest released checkpoint, in a file of its own, on another path or disk than the data.

The file has two slots of 4096 bytes. One holds the newest checkpoint, the other the one before. A new checkpoint is one
O_DSYNC write into the slot that does not hold the newest, so that whatever a crash does to that write, the newest that was
released is still there, whole. The anchor only ever moves to a greater size.

BUG: a slot that rots on the disk after it was released looks like one that a crash tore, and the reader falls back to the
checkpoint before it. That one is true as well, and only a restored backup of exactly the size between the two would pass
start-up because of it; witnesses catch that case.

Slot: magic 8 | sequence u64 | size u64 | root 32 | note length u32 | note | zeros | SHA-256 of all before it 32.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark_ledger.errors import AnchorError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_NOTE", "SLOT", "Anchor", "Anchored", "create", "decode_slot", "encode_slot", "sync_directory"]

SLOT = 4096
_MAGIC = b"PLTMKA01"
_HEAD = struct.Struct(">8sQQ32sI")
_SUM = 32
MAX_NOTE = SLOT - _HEAD.size - _SUM


@dataclass(frozen=True, slots=True)
class Anchored:
    """A released checkpoint: `root` (32 bytes) of the first `size` leaves, and the signed `note` that says so, verbatim.

    `sequence` counts the writes of this anchor file from 1.
    """

    sequence: int
    size: int
    root: bytes
    note: bytes


def encode_slot(anchored: Anchored) -> bytes:
    """The 4096 bytes of a slot. Raises AnchorError when the note is longer than MAX_NOTE."""
    if len(anchored.note) > MAX_NOTE:
        raise AnchorError(f"the signed checkpoint has {len(anchored.note)} bytes, more than the {MAX_NOTE} of a slot")
    head = _HEAD.pack(_MAGIC, anchored.sequence, anchored.size, anchored.root, len(anchored.note))
    body = (head + anchored.note).ljust(SLOT - _SUM, b"\0")
    return body + hashlib.sha256(body).digest()


def decode_slot(data: bytes) -> Anchored | None:
    """What a slot holds; None when it is empty, torn or damaged in any byte."""
    if len(data) != SLOT or hashlib.sha256(data[:-_SUM]).digest() != data[-_SUM:]:
        return None
    magic, sequence, size, root, length = _HEAD.unpack_from(data)
    if magic != _MAGIC or length > MAX_NOTE or sequence == 0:
        return None
    return Anchored(sequence, size, root, data[_HEAD.size : _HEAD.size + length])


def create(path: Path, *, size: int, root: bytes, note: bytes) -> Anchored:
    """A new anchor file, durable together with its name when this returns.

    Raises AnchorError: the file exists, or cannot be written. If we crash here, the file is not whole and nothing that
    reads it starts.
    """
    first = Anchored(1, size, root, note)
    slot = encode_slot(first)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            _write_whole(descriptor, slot + bytes(SLOT), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(path.parent)
    except FileExistsError:
        raise AnchorError(f"{path} exists already") from None
    except OSError as error:
        raise AnchorError(f"{path} cannot be written: {error.strerror}") from error
    return first


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Anchor:
    """An open anchor file.

    `read` may be called by any thread of any process at any time: a write touches only the slot that does not hold the
    newest checkpoint, so a torn read falls back to it. `advance` is for the holder of the sequencer lock alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
        except OSError as error:
            raise AnchorError(f"the anchor {path} cannot be opened: {error.strerror}") from error
        # The last bytes read and what they meant; replaced as one tuple, so threads never see half of it.
        self._seen: tuple[bytes, tuple[Anchored | None, Anchored | None]] = (b"", (None, None))

    def close(self) -> None:
        """Close the file. Further calls are programmer errors."""
        os.close(self._descriptor)

    def read(self) -> Anchored:
        """The newest released checkpoint. Raises AnchorError when neither slot is whole."""
        older, newer = self._slots()
        if older is not None and newer is not None and older.sequence > newer.sequence:
            older, newer = newer, older
        newest = newer or older
        if newest is None:
            raise AnchorError(f"neither slot of the anchor {self.path} is whole")
        if older is not None and newer is not None and older.size >= newer.size:
            raise AnchorError(f"the slots of the anchor {self.path} contradict each other")
        return newest

    def advance(self, *, size: int, root: bytes, note: bytes) -> Anchored:
        """Release a checkpoint: durable when this returns. The caller holds the sequencer lock.

        The same size and root again is no change and returns what is there. Raises AnchorError: a smaller size, the same
        size with another root, a write that failed. After a failed write the checkpoint may or may not be on disk: the
        caller stops, and a fresh start reads what is there. Either is safe, because the data it covers is durable already.
        """
        newest = self.read()
        if size < newest.size:
            raise AnchorError(f"refused to move the anchor back from size {newest.size} to {size}")
        if size == newest.size:
            if root != newest.root:
                raise AnchorError(f"refused a second root for size {size}")
            return newest
        following = Anchored(newest.sequence + 1, size, root, note)
        first, _ = self._slots()
        free = 1 if first is not None and first.sequence == newest.sequence else 0
        try:
            _write_whole(self._descriptor, encode_slot(following), free * SLOT)
        except OSError as error:
            raise AnchorError(f"the anchor {self.path} cannot be written: {error.strerror}") from error
        return following

    def _slots(self) -> tuple[Anchored | None, Anchored | None]:
        try:
            data = os.pread(self._descriptor, 2 * SLOT, 0)
        except OSError as error:
            raise AnchorError(f"the anchor {self.path} cannot be read: {error.strerror}") from error
        seen, slots = self._seen
        if data != seen:
            slots = (decode_slot(data[:SLOT]), decode_slot(data[SLOT:]))
            self._seen = (data, slots)
        return slots


def _write_whole(descriptor: int, data: bytes, offset: int) -> None:
    written = os.pwrite(descriptor, data, offset)
    if written != len(data):
        raise OSError(5, f"only {written} of {len(data)} bytes were written")
