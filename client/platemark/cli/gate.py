"""`platemark gate`: lets a reader have the objects that a known device registered, and keeps the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platemark.cli.connect import require_packages
from platemark.cli.gateway import say_ready
from platemark.cli.options import AsJson

if TYPE_CHECKING:
    from platemark.gateway.gate_settings import GateSettings

__all__ = ["gate"]


def gate(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="The settings, TOML: deploy/gate.toml explains all.")],
    as_json: AsJson = False,
) -> None:
    """Stand in front of an AI or a reader: pass on what matches its record, quarantine the rest; until SIGTERM or Ctrl-C.

    Takes DICOM objects over C-STORE. Each is measured and verified, under your trust file and policy, against evidence
    that is found by digest in a ledger or a folder. What passes goes to the reader byte for byte; the rest lies in the
    quarantine with the verdict beside it. Prints one line once it takes objects; log lines, one JSON object each, go to
    standard error. See deploy/GATEWAY.md.

    Exit codes: 0 stopped as told; 2 settings, trust file or directory cannot be used.

    Example:
      platemark gate --config /etc/platemark/gate.toml
    """
    settings = _settings(config)
    from platemark.gateway import logs
    from platemark.gateway.gate_serving import serve

    logs.configure()
    serve(settings, started=partial(say_ready, as_json=as_json))


def _settings(path: Path) -> GateSettings:
    from platemark.gateway import config
    from platemark.gateway.gate_settings import GateSettings

    loaded = config.load_as(GateSettings, path)
    ledger = () if loaded.ledger is None else ("grpc",)
    require_packages("gateway,dicom,rpc", "prometheus_client", "pydicom", "pynetdicom", *ledger)
    return loaded
