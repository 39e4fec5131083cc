"""What measuring a file may cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on one call of `measure`. They keep a hostile file from costing more than it is worth.

    `frame_bytes`: decoded bytes of one compressed frame or page, checked on the declared size before anything is
    allocated. 512 MiB is 16384 x 16384 pixels of 16 bits.
    `frames`: frames of one object.
    `encoded_bytes`: bytes of one compressed frame, which are held in memory once.
    `inflated_bytes`: size of a deflated DICOM data set once inflated; it goes to a temporary file.
    `memory_bytes`: address space of the decoding process, where the platform can limit it (Linux).
    `seconds`: time that decoding in a child process may take for the whole file.
    """

    frame_bytes: int = 512 << 20
    frames: int = 1 << 20
    encoded_bytes: int = 512 << 20
    inflated_bytes: int = 2 << 30
    memory_bytes: int = 4 << 30
    seconds: float = 300.0
