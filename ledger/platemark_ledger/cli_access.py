"""platemark-ledger access-log: check the chains of the access log, and print who read what.

What callers sent is in the log; it is printed through platemark.cli.output, which escapes what a terminal would obey.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from platemark import files
from platemark.cli import output
from platemark.errors import PlatemarkError
from platemark_ledger.accesslog import AccessLogError, Chain, Head, chains, lines, verify
from platemark_ledger.exits import Exit

__all__ = ["app"]

_EXITS = (
    "Exit codes: 0 the chains are whole; 1 one is broken or cannot be read; 2 command line, or an unusable heads file."
)
_MAX_HEADS = 1024 * 1024

app = typer.Typer(
    name="access-log",
    help="The access log: who read which statements, in chains that nobody changes unnoticed.",
    epilog=_EXITS,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Directory = Annotated[Path, typer.Argument(help="The directory that the setting access_log names, or a copy of it.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]


@app.command("verify", epilog=_EXITS)
def check(
    directory: Directory,
    heads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Heads of the chains at the last check, kept on another machine: each has to be there still. Made or renewed.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every chain: no line changed, removed or put in between. Files removed from the front are told, not refused."""
    with _reporting(as_json):
        remembered = {} if heads is None else _read_heads(heads)
        found = chains(directory)
        lost = sorted(set(remembered) - set(found))
        if lost:
            raise AccessLogError(f"{directory}: chain {lost[0]} is gone")
        checked = [verify(number, paths, remembered=remembered.get(number)) for number, paths in found.items()]
        if heads is not None:
            text = json.dumps({each.number: {"seq": each.head.seq, "hash": each.head.hash} for each in checked})
            files.replace(heads, text.encode() + b"\n", mode=0o600)
        if as_json:
            _print_json({"chains": [_chain(each) for each in checked]})
            return
        for each in checked:
            _tell(each)
        if not checked:
            output.say("no chain: nothing has been recorded here")


@app.command(epilog=_EXITS)
def show(
    directory: Directory,
    who: Annotated[str | None, typer.Option(help="Only this SPIFFE id or subject.")] = None,
    index: Annotated[
        int | None, typer.Option(min=0, help="Only reads that showed the statement at this index.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the records, chain by chain; with --json one object a line. Checks nothing: see verify."""
    with _reporting(as_json):
        records = [
            record
            for paths in chains(directory).values()
            for record in (line.record for line in lines(paths))
            if record is not None and _wanted(record, who, index)
        ]
        if as_json:
            for record in records:
                _print_json(record)
            return
        columns = ("time", "who", "roles", "method", "asked", "statements", "outcome")
        output.say_table(columns, (_row(record) for record in records))


def _wanted(record: dict[str, Any], who: str | None, index: int | None) -> bool:
    if who is not None and record.get("who") != who:
        return False
    return index is None or any(first <= index <= last for first, last in _runs(record))


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    asked = record.get("asked")
    roles = record.get("roles")
    return (
        _rfc3339(record.get("time")),
        str(record.get("who", "")) or str(record.get("peer", "")),
        ",".join(map(str, roles)) if isinstance(roles, list) else "",
        str(record.get("method", record.get("event", ""))),
        " ".join(f"{name}={value}" for name, value in asked.items()) if isinstance(asked, dict) else "",
        ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _runs(record)),
        str(record.get("outcome", "")),
    )


def _runs(record: dict[str, Any]) -> list[tuple[int, int]]:
    found = record.get("indices")
    pairs = found if isinstance(found, list) else []
    return [
        (each[0], each[1])
        for each in pairs
        if isinstance(each, list) and len(each) == 2 and all(type(one) is int for one in each)
    ]


def _rfc3339(time: object) -> str:
    """Unix ns, to the millisecond; what is no time as it stands."""
    try:
        moment = dt.datetime.fromtimestamp(time / 10**9, dt.UTC)  # type: ignore[operator] # a file may hold anything
    except (TypeError, ValueError, OverflowError, OSError):
        return str(time)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tell(chain: Chain) -> None:
    beginning = "" if chain.begins == 0 else f", older ones were removed (begins at {chain.begins})"
    output.say(f"chain {chain.number}: whole, {chain.records} records in {chain.files} files{beginning}")
    if chain.torn:
        output.say(f"  {chain.torn} crashes cut a line short; each is marked")
    if chain.open_end:
        output.say("  the last line is not whole: it is being written, or a crash cut it")
    output.say(f"  head {chain.head.hash}")


def _chain(chain: Chain) -> dict[str, object]:
    return {
        "chain": chain.number,
        "files": chain.files,
        "records": chain.records,
        "begins": chain.begins,
        "seq": chain.head.seq,
        "head": chain.head.hash,
        "torn": chain.torn,
        "open_end": chain.open_end,
    }


def _read_heads(path: Path) -> dict[int, Head]:
    if not path.exists():
        return {}
    try:
        found = json.loads(files.read(path, limit=_MAX_HEADS))
        return {int(number): Head(int(each["seq"]), str(each["hash"])) for number, each in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise files.FileError(f"{path}: not the heads that a check wrote") from None


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    try:
        yield
    except PlatemarkError as error:
        if as_json:
            _print_json({"error": {"code": error.code, "reason": str(error)}})
        output.note(f"platemark-ledger: {error}")
        raise typer.Exit(Exit.USAGE if isinstance(error, files.FileError) else Exit.FAILED) from None


def _print_json(value: object) -> None:
    """One line of ASCII; DEL is the one control character that JSON lets pass."""
    output.say(json.dumps(value).replace("\x7f", "\\u007f"))
