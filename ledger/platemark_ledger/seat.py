"""The publisher's seat: at most one worker of all holds it, every worker may ask it to hurry, and all read what it tells.

One file beside the data. The seat is flock(2) on it, which the kernel gives back when its holder dies, whatever kills it; the
others try again once a second. Nothing in the file has to survive: it is made where it is missing.

Page 0: the size that somebody waits for, u64. From page 1 on: the state that the holder told, u32 length | SHA-256 | JSON.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from platemark_ledger.errors import LockError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PartyState", "PublisherState", "Seat"]

_PAGE = 4096
_MAX_STATE = 256 * 1024
_U64 = struct.Struct(">Q")
_HEAD = struct.Struct(">I32s")


@dataclass(frozen=True, slots=True)
class PartyState:
    """How a witness or a time-stamping authority does: failures so far, the size it answered for, when (Unix ns, 0 never)."""

    failures: int = 0
    size: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class PublisherState:
    """What the publisher tells everyone. `quorum` None: no witnesses are configured. `rollback`: why it stopped for good."""

    quorum: bool | None = None
    rollback: str | None = None
    witnesses: dict[str, PartyState] = field(default_factory=dict)
    authorities: dict[str, PartyState] = field(default_factory=dict)


class Seat:
    """The seat as one process sees it. `ask`, `asked`, `told` and `taken` are for any thread; the rest is for the publisher's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise LockError(f"the publisher's seat {path} cannot be opened: {error.strerror}") from error

    def close(self) -> None:
        """Close the file, which gives the seat back if it was held."""
        os.close(self._descriptor)

    def take(self) -> bool:
        """Take the seat if nobody has it; whether it is ours now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # Whoever asked the one before us asks again by itself.
        os.pwrite(self._descriptor, _U64.pack(0), 0)
        return True

    def taken(self) -> bool:
        """Whether any process holds the seat, asked through a description of its own so that ours is not converted."""
        probe = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(probe)
        return False

    def ask(self, size: int) -> None:
        """Somebody waits for a published checkpoint of at least this size. A hint: of two that ask at once one may be lost."""
        if size > self.asked():
            os.pwrite(self._descriptor, _U64.pack(size), 0)

    def asked(self) -> int:
        """The greatest size that somebody waits for, as far as known."""
        data = os.pread(self._descriptor, _U64.size, 0)
        return int(_U64.unpack(data)[0]) if len(data) == _U64.size else 0

    def tell(self, state: PublisherState) -> None:
        """Replace what is told."""
        text = json.dumps(asdict(state)).encode()
        if len(text) <= _MAX_STATE:
            os.pwrite(self._descriptor, _HEAD.pack(len(text), hashlib.sha256(text).digest()) + text, _PAGE)

    def told(self) -> PublisherState:
        """What was told last; the empty state when nothing was, or while it is being replaced."""
        data = os.pread(self._descriptor, _HEAD.size + _MAX_STATE, _PAGE)
        if len(data) < _HEAD.size:
            return PublisherState()
        length, digest = _HEAD.unpack_from(data)
        text = data[_HEAD.size : _HEAD.size + length]
        if len(text) != length or hashlib.sha256(text).digest() != digest:
            return PublisherState()
        with suppress(ValueError, TypeError, AttributeError):
            said = json.loads(text)
            for name in ("witnesses", "authorities"):
                said[name] = {key: PartyState(**value) for key, value in said[name].items()}
            return PublisherState(**said)
        return PublisherState()  # of another release
