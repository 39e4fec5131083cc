"""`platemark spool`: what waits for a ledger on this machine, and the sender that brings it there."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from platemark.cli import output
from platemark.cli.connect import Connection, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
    Witnessed,
)
from platemark.report import format_time

if TYPE_CHECKING:
    from platemark.spool import Counts, Entry

__all__ = ["COMMANDS", "HELP", "Which", "discard", "list_entries", "prune", "retry", "send", "status"]

HELP = (
    "What waits on this machine for a ledger, and the sender that brings it there.\n\n"
    "`platemark capture --spool DIR` and `platemark submit --spool DIR` put statements into DIR and return, whether a ledger "
    "can be reached or not."
)
_SECOND = 10**9

_DAY_NS = 86_400 * _SECOND


class Which(enum.StrEnum):
    """The states of platemark.spool, without importing it."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    SET_ASIDE = "set-aside"
    DISCARDED = "discarded"


_OPEN = (Which.SET_ASIDE, Which.PENDING)  # what a person asks for who names no state


Directory: TypeAlias = Annotated[Path, typer.Argument(metavar="DIR", help="The spool's directory.")]
Numbers: TypeAlias = Annotated[
    list[int], typer.Argument(metavar="NUMBER...", help="As `platemark spool list` shows them.")
]


def status(directory: Directory, *, as_json: AsJson = False) -> None:
    """Show how much waits, since when, and how much was set aside.

    Example:
      platemark spool status /var/lib/platemark/spool
    """
    from platemark.cli import spooling
    from platemark.spool.sender import at_work

    with spooling.opened(directory) as spool:
        counts, sending = spool.counts(), at_work(spool)
    age = None if counts.oldest_ns is None else max(0, time.time_ns() - counts.oldest_ns) // _SECOND
    if as_json:
        output.say_json({**_counted(counts), "oldest_age_s": age, "sender": sending})
        return
    waits = "" if age is None else f", the oldest for {_ago(age)}"
    output.say(f"waiting       {counts.depth}{waits}")
    output.say(f"set aside     {counts.set_aside}{': platemark spool list' if counts.set_aside else ''}")
    output.say(f"acknowledged  {counts.acknowledged}")
    output.say(f"discarded     {counts.discarded}")
    output.say(f"sender        {'at work' if sending else 'none'}")


def list_entries(
    directory: Directory,
    *,
    state: Annotated[
        list[Which] | None,
        typer.Option("--state", help="Only these. Repeat. Default: set-aside, then pending."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many of each state.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List statements in the order of putting, with the reasons of those that were set aside.

    Examples:
      platemark spool list /var/lib/platemark/spool
      platemark spool list /var/lib/platemark/spool --state acknowledged --json
    """
    from platemark.cli import spooling
    from platemark.spool import State

    with spooling.opened(directory) as spool:
        found = [each for one in state or _OPEN for each in spool.entries(State(one), limit)]
    if as_json:
        output.say_json({"entries": [_facts(each) for each in found]})
        return
    if not found:
        output.note(f"nothing is {' or '.join(one.value for one in state or _OPEN)}; --state shows others")
        return
    output.say_table(
        ("number", "state", "put", "leaf", "statement id", "name", "reason"),
        (
            (
                each.number,
                each.state,
                format_time(each.put_ns),
                "-" if each.index is None else each.index,
                each.id.hex()[:16],
                each.key or "-",
                "-" if each.code is None else f"{each.code}: {each.reason}",
            )
            for each in found
        ),
    )


def send(
    directory: Directory,
    *,
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="Go on for ever, or end when nothing waits or no ledger takes it.")
    ] = False,
    witnessed: Witnessed = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve /metrics for Prometheus here; port 0 takes any.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send what waits, oldest first, and set aside what the ledger refuses. One sender at a time serves a spool.

    With --trust the ledger first has to prove that it is a log which that file names. With --follow it comes back to a ledger
    that is away after pauses of half a second to a minute.

    Exit codes: 0 everything was sent, or --follow was ended by SIGTERM or SIGINT; 1 some of it was set aside; 2 usage, a spool
    that cannot be used, or a ledger that must not be believed; 5 no ledger answered.

    Examples:
      platemark spool send /var/lib/platemark/spool --server ledger.hospital.example:50151 --tls-ca system
      platemark spool send /var/lib/platemark/spool --follow --trust trust.toml --listen 127.0.0.1:9465
    """
    from platemark.cli import sending

    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
        once=True,
    )
    sending.run(directory, connection, follow=follow, witnessed=witnessed, listen=listen, as_json=as_json)


def retry(
    directory: Directory,
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[NUMBER...]", help="As `list` shows them.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that were set aside.")] = False,
    code: Annotated[
        str | None, typer.Option(metavar="CODE", help="All that were set aside with this code, like unknown-key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have statements sent again that were set aside or discarded, once what the ledger refused has been put right.

    Example:
      platemark spool retry /var/lib/platemark/spool --code unknown-key
    """
    from platemark.cli import spooling

    if (bool(numbers) + everything + (code is not None)) != 1:
        raise typer.BadParameter("give numbers, --code or --all")
    with spooling.opened(directory) as spool:
        chosen = [spooling.entry(spool, each) for each in numbers or []]
        chosen += [each for each in spooling.aside(spool) if not numbers and code in {None, each.code}]
        for each in chosen:
            spool.release(each.id)
    _say_done("released", chosen, as_json=as_json)


def discard(directory: Directory, numbers: Numbers, *, as_json: AsJson = False) -> None:
    """Give up statements that were set aside. They stay listed with their reason for 30 days, then go.

    Example:
      platemark spool discard /var/lib/platemark/spool 17
    """
    from platemark.cli import spooling

    with spooling.opened(directory) as spool:
        chosen = [spooling.entry(spool, each) for each in numbers]
        for each in chosen:
            spool.discard(each.id)
    _say_done("discarded", chosen, as_json=as_json)


def prune(
    directory: Directory,
    *,
    days: Annotated[float, typer.Option(min=0, max=36500, help="Keep what is younger than this.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Remove what the ledger acknowledged, or what was discarded, longer ago. A sender does this by itself every hour.

    Example:
      platemark spool prune /var/lib/platemark/spool --days 7
    """
    from platemark.cli import spooling

    with spooling.opened(directory, keep_ns=int(days * _DAY_NS)) as spool:
        removed = spool.prune()
    if as_json:
        output.say_json({"removed": removed})
    else:
        output.say(f"{removed} removed")


COMMANDS: dict[str, Callable[..., None]] = {
    "status": status,
    "list": list_entries,
    "send": send,
    "retry": retry,
    "discard": discard,
    "prune": prune,
}


def _say_done(word: str, chosen: Sequence[Entry], *, as_json: bool) -> None:
    if as_json:
        output.say_json({word: [each.number for each in chosen]})
    else:
        output.say(f"{len(chosen)} {word}")


def _counted(counts: Counts) -> dict[str, object]:
    return {
        "pending": counts.depth,
        "oldest": counts.oldest_ns,
        "set_aside": counts.set_aside,
        "acknowledged": counts.acknowledged,
        "discarded": counts.discarded,
        "capacity": counts.capacity,
    }


def _facts(entry: Entry) -> dict[str, object]:
    return {
        "number": entry.number,
        "id": entry.id,
        "key": entry.key,
        "state": entry.state.value,
        "put": entry.put_ns,
        "settled": entry.settled_ns,
        "index": entry.index,
        "code": entry.code,
        "reason": entry.reason,
    }


def _ago(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
