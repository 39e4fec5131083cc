"""What a start makes of what the last end left behind: after a crash, a power failure, a restored backup."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platemark.files import FileError

if TYPE_CHECKING:
    from platemark.gateway.journal import Journal
    from platemark.gateway.settings import Gateway

__all__ = ["Recovered", "clear", "make_directories", "recover"]

_BATCH = 500
_LOG = logging.getLogger("platemark.gateway")


@dataclass(frozen=True)
class Recovered:
    """`unacknowledged` files were removed; `missing` objects have a row and no file, which only a lost disk explains."""

    waiting: int
    unacknowledged: int
    missing: int


def make_directories(gateway: Gateway) -> None:
    """The state directory and what is in it, mode 0700. Raises FileError."""
    for each in (gateway.state_dir, gateway.objects, gateway.spool):
        try:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{each}: {error.strerror or error}") from None


def recover(gateway: Gateway, journal: Journal) -> Recovered:
    """Make objects/ and journal agree; nothing that was acknowledged is removed. Raises JournalError, FileError.

    For a start, before anything is received. A file without a row was never acknowledged, and its sender sends it again. A
    file whose row says that it may go is removed. A row without its file is an alarm: the object is counted as failed.
    Objects that failed before are tried once more.
    """
    journal.retry_failed()
    needed = {each.path.name: each for each in journal.unsettled()}
    removed = 0
    try:
        there = {each.name for each in gateway.objects.iterdir()}
        for name in there - set(needed):
            (gateway.objects / name).unlink()
            removed += 1
    except OSError as error:
        raise FileError(f"{gateway.objects}: {error.strerror or error}") from None
    missing = [needed[name] for name in sorted(set(needed) - there)]
    for each in missing:
        _LOG.error("object file is missing", extra={"object": each.object_id})
        journal.capture_failed(each.object_id, "its file is missing")
    _name_the_forgotten(gateway, journal)
    return Recovered(waiting=len(needed), unacknowledged=removed, missing=len(missing))


def _name_the_forgotten(gateway: Gateway, journal: Journal) -> None:
    """Say which objects nobody would ever forward: their PACS was renamed, removed, or the mode changed to copy."""
    counts = journal.counts()
    for name in sorted({name for name, _ in (*counts.undelivered, *counts.refused)} - set(gateway.destinations)):
        waiting = sum(number for each, number in (*counts.undelivered, *counts.refused) if each == name)
        reason = "objects wait for a [[pacs]] that is not in the settings any more: give it its name back"
        _LOG.error("objects go nowhere", extra={"destination": name, "objects": waiting, "reason": reason})


def clear(journal: Journal) -> int:
    """Remove the files of objects that are done; how many. Raises JournalError.

    The journal first: a file whose row says that it may go is removed by the next start, a row without a file is an alarm.
    """
    done = journal.settled(_BATCH)
    if done:
        journal.removed([each.object_id for each in done])
        for each in done:
            with contextlib.suppress(OSError):
                Path(each.path).unlink(missing_ok=True)
    return len(done)
