"""`platemark gateway`: receives DICOM objects, signs what it received, and passes on the very same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark.cli import output
from platemark.cli.connect import require_packages
from platemark.cli.options import AsJson

if TYPE_CHECKING:
    from platemark.gateway.settings import Gateway

__all__ = ["gateway"]

_IN_PART, _AWAY = 1, 5


def gateway(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="The settings, TOML: deploy/gateway.toml explains all.")],
    check: Annotated[
        bool, typer.Option("--check", help="Look at settings, key, directories, PACS and ledger; receive nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Receive DICOM objects from modalities, sign what arrived, pass on the very same bytes; until SIGTERM or Ctrl-C.

    Prints one line once it takes objects; log lines, one JSON object each, go to standard error. A modality is answered
    success when its object is on disk; everything after that is made up for, in order, after any crash. See
    deploy/GATEWAY.md.

    Example:
      platemark gateway --config /etc/platemark/gateway.toml --check
      platemark gateway --config /etc/platemark/gateway.toml

    Exit codes: 0 stopped as told, or all is well; 1 --check found a fault; 2 settings, key or directory cannot be used;
    5 --check: nothing is wrong here, but PACS or ledger does not answer.
    """
    settings = _settings(config)
    if check:
        _check(settings, as_json=as_json)
        return
    from platemark.gateway import logs
    from platemark.gateway.serving import Ready, serve

    def started(ready: Ready) -> None:
        if as_json:
            # One line, for whoever reads the first.
            output.say(json.dumps({**vars(ready), "pid": os.getpid()}))
            return
        metrics = f", metrics at {ready.metrics}" if ready.metrics else ""
        output.say(f"{output.printable(ready.ae_title)} takes objects at {ready.address}:{ready.port}{metrics}")

    logs.configure()
    serve(settings, started=started)


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
