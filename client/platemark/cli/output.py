"""Where the command line writes: results to standard output, remarks to standard error, and nothing interpreted.

File names and attribute values come from strangers. They are shown with every unprintable character escaped, in text
and in JSON, so that they cannot move the cursor, colour the terminal or fake a line.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from platemark.report import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "ClosedOutputError",
    "note",
    "prepare",
    "printable",
    "progress",
    "say",
    "say_bytes",
    "say_json",
    "say_pieces",
    "say_styled",
    "say_table",
]

_PIPED_WIDTH = 180


class ClosedOutputError(Exception):
    """Whoever read our standard output has gone: nothing more to say, and no fault."""


def prepare() -> None:
    """Make both streams able to show anything: what their encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def printable(value: object) -> str:
    """The text on one line, unprintable characters escaped."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in str(value))


def say(text: str = "") -> None:
    """A line, or several, on standard output. The text is ours, or went through `printable`."""
    _write(text + "\n")


def say_json(value: object) -> None:
    """One JSON document: bytes as hex, integers above 2^53 - 1 as strings."""
    say(json_text(value))


def say_pieces(pieces: Iterable[str]) -> None:
    """One JSON document, written as it comes."""
    for piece in pieces:
        _write(piece)


def say_bytes(data: bytes) -> None:
    """Text of a format of ours, as it stands but for unprintable characters."""
    for line in data.decode("utf-8", "backslashreplace").splitlines():
        say("  " + printable(line))


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; cells are escaped, never interpreted."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if sys.stdout is None:
        return
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    _write("".join(line.rstrip(" ") + "\n" for line in captured.get().splitlines()))


def say_styled(lines: Iterable[Sequence[tuple[str, str]]]) -> None:
    """Lines of (text, style of rich); the texts are escaped, the styles are for a terminal alone."""
    if sys.stdout is None:
        return
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
    with console.capture() as captured:
        for line in lines:
            console.print(Text.assemble(*((printable(text), style) for text, style in line)))
    _write("".join(line.rstrip(" ") + "\n" for line in captured.get().splitlines()))


def note(text: str) -> None:
    """One line for the person at the keyboard, on standard error."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody reads it


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, if that is a terminal and there is something to wait for; call it with steps done."""
    if total < 2 or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what, markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda steps: bar.advance(task, steps)


def _write(text: str) -> None:
    if sys.stdout is None:
        return  # it was closed before we began: the exit code is what is wanted
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # EINVAL is Windows' word for a pipe whose reader has gone.
        if error.errno not in {errno.EPIPE, errno.EINVAL}:
            raise
        _silence()
        raise ClosedOutputError from None


def _silence() -> None:
    """Nothing is left to flush when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        return  # a test's stream has no descriptor
    finally:
        os.close(null)
