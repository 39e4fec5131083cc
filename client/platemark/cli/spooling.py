"""What commands have to do with spools: opening one that is there, and putting statements into one instead of sending them.

Imported by the commands that were told of a spool, so that the others run where Python has no SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from platemark.cli import output
from platemark.cli.capturing import Item
from platemark.errors import PlatemarkError
from platemark.spool import KEEP_NS, Entry, Spool, SpoolError, State
from platemark.spool.outbox import DATABASE

__all__ = ["aside", "entry", "opened", "put_all", "spooled"]


@contextmanager
def opened(directory: Path, *, keep_ns: int = KEEP_NS) -> Iterator[Spool]:
    """The spool that is there: a mistyped name does not make one."""
    if not any(directory.glob(f"{DATABASE}*")):
        raise SpoolError(f"{directory}: there is no spool here")
    with Spool(directory, keep_ns=keep_ns) as spool:
        yield spool


def spooled(spool: Spool, items: Iterable[Item]) -> Iterator[Item]:
    """Put what is signed, in order; everything else passes through. On disk, each, when it comes out.

    Raises SpoolError; what was not put is on disk as a file, and can be put by running the same again.
    """
    for item in items:
        if item.status != "signed" or item.statement is None:
            yield item
            continue
        yield _shown(item, spool.put(item.statement.raw))


def put_all(directory: Path, items: Iterable[Item], what: str, count: int, *, witnessed: bool) -> list[Item]:
    """Everything put into the spool in `directory`, with a progress bar. When that cannot be, say what stands."""
    if witnessed:
        raise typer.BadParameter("--witnessed is for the sender: platemark spool send --witnessed")
    done: list[Item] = []
    with Spool(directory) as spool, output.progress(what, count) as step:
        try:
            for item in spooled(spool, items):
                step(1)
                done.append(item)
        except PlatemarkError:
            put = sum(item.status == "spooled" for item in done)
            output.note(f"{put} statements were put; what was signed is on disk, and running this again goes on")
            raise
    return done


def _shown(item: Item, entry: Entry) -> Item:
    """What became of a statement that was put: now, or when it was put before."""
    if entry.state is State.ACKNOWLEDGED:
        return replace(item, status="repeated", index=entry.index)
    if entry.state is State.PENDING:
        return replace(item, status="spooled")
    return replace(item, status="refused", reason=f"{entry.code}: {entry.reason} (platemark spool retry)")


def entry(spool: Spool, number: int) -> Entry:
    """The entry with this number. Raises SpoolError."""
    found = spool.get(number=number)
    if found is None:
        raise SpoolError(f"{spool.directory}: has no statement with the number {number}")
    return found


def aside(spool: Spool) -> Iterator[Entry]:
    """Every entry that was set aside, in the order of putting."""
    after = 0
    while page := spool.entries(State.SET_ASIDE, 1000, after=after):
        yield from page
        after = page[-1].number
