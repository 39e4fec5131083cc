"""How a process that serves is told to end, and that it is the only one in its directory."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files
from platemark.errors import PlatemarkError
from platemark.locks import FileLock

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["alone", "stop_signals"]


def stop_signals() -> list[int]:
    """A list that SIGTERM and SIGINT are put in from now on: a handler must not touch a lock."""
    found: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        found.append(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    return found


@contextmanager
def alone(directory: Path, what: str) -> Iterator[None]:
    """Hold the directory's lock within the block. Raises PlatemarkError when another `what` has it, FileError."""
    try:
        with closing(FileLock(directory / f"{what}.lock")) as lock:
            if not lock.acquire():
                raise PlatemarkError(f"{directory}: another {what} has this state directory")
            yield
    except OSError as error:
        raise files.FileError(f"{directory}: {error.strerror or error}") from None
