"""`platemark gateway`: receives DICOM objects, signs what it received, and passes on the very same bytes."""

from __future__ import annotations

import json
import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark.cli import output
from platemark.cli.connect import require_packages
from platemark.cli.options import AsJson
from platemark.files import FileError
from platemark.instant import format_time

if TYPE_CHECKING:
    from platemark.gateway.serving import Ready
    from platemark.gateway.settings import Gateway

__all__ = ["gateway", "say_ready"]

_IN_PART, _AWAY = 1, 5
_MOST = 10_000  # refused objects of one PACS that are listed, or tried again, at once


def gateway(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="The settings, TOML: deploy/gateway.toml explains all.")],
    check: Annotated[
        bool, typer.Option("--check", help="Look at settings, key, directories, PACS and ledger; receive nothing.")
    ] = False,
    refused: Annotated[
        bool, typer.Option("--refused", help="List the objects that a PACS has refused for good; receive nothing.")
    ] = False,
    retry: Annotated[
        str | None,
        typer.Option(metavar="PACS", help="Let what this [[pacs]] has refused be sent again; receive nothing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Receive DICOM objects from modalities, sign what arrived, pass on the very same bytes; until SIGTERM or Ctrl-C.

    Prints one line once it takes objects; log lines, one JSON object each, go to standard error. A modality is answered
    success when its object is on disk; everything after that is made up for, in order, after any crash. See
    deploy/GATEWAY.md.

    --refused and --retry work beside a gateway that runs.

    Example:
      platemark gateway --config /etc/platemark/gateway.toml --check
      platemark gateway --config /etc/platemark/gateway.toml
      platemark gateway --config /etc/platemark/gateway.toml --retry main

    Exit codes: 0 stopped as told, or all is well; 1 --check found a fault; 2 settings, key or directory cannot be used;
    5 --check: nothing is wrong here, but PACS or ledger does not answer.
    """
    settings = _settings(config)
    if check:
        _check(settings, as_json=as_json)
        return
    if refused or retry is not None:
        _refused(settings, retry, as_json=as_json)
        return
    from platemark.gateway import logs
    from platemark.gateway.serving import serve

    logs.configure()
    serve(settings, started=partial(say_ready, as_json=as_json))


def say_ready(ready: Ready, *, as_json: bool) -> None:
    """Where objects are taken now."""
    if as_json:
        # One line, for whoever reads the first.
        output.say(json.dumps({**vars(ready), "pid": os.getpid()}))
        return
    metrics = f", metrics at {ready.metrics}" if ready.metrics else ""
    output.say(f"{output.printable(ready.ae_title)} takes objects at {ready.address}:{ready.port}{metrics}")


def _settings(path: Path) -> Gateway:
    from platemark.gateway import config

    loaded = config.load(path)
    require_packages("gateway,dicom,rpc", "grpc", "prometheus_client", "pydicom", "pynetdicom")
    return loaded


def _check(settings: Gateway, *, as_json: bool) -> None:
    from platemark.gateway.checking import checks

    found = list(checks(settings))
    if as_json:
        output.say_json({"checks": [vars(each) for each in found]})
    else:
        rows = ((each.what, "FAULT" if each.fault else "ok", each.fault or each.found) for each in found)
        output.say_table(("what", "", "found"), rows)
    faults = [each for each in found if each.fault]
    if faults:
        raise typer.Exit(_AWAY if all(each.away for each in faults) else _IN_PART)


def _refused(settings: Gateway, retry: str | None, *, as_json: bool) -> None:
    """List what was refused for good, and with `retry` put it back into the line of that PACS."""
    from platemark.gateway.journal import Journal

    if retry is not None and retry not in settings.destinations:
        raise typer.BadParameter(f"{retry!r} is the name of no [[pacs]]", param_hint="'--retry'")
    if not settings.journal.exists():
        raise FileError(f"{settings.journal}: there is no journal yet")
    places = settings.destinations if retry is None else (retry,)
    with closing(Journal(settings.journal, destinations=settings.destinations)) as journal:
        found = [each for place in places for each in journal.refused(place, _MOST)]
        if retry is not None:
            for each in found:
                journal.retry_forward(each.received.object_id, retry)
    rows = [
        {
            "object": each.received.object_id,
            "pacs": each.destination,
            "received": format_time(each.received.received_ns),
            "calling": each.received.calling,
            "sop_instance": each.received.sop_instance,
            "reason": each.reason or "",
        }
        for each in found
    ]
    if as_json:
        output.say_json({"refused": rows, "retried": retry is not None})
        return
    if rows:
        output.say_table(list(rows[0]), [list(each.values()) for each in rows])
    output.note(f"{len(rows)} objects" + (" are sent again" if retry is not None else ""))
