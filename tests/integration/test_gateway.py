"""A real gateway between real senders, a real ledger and a real PACS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from integration.gateway_process import Running, Site, until
from integration.live import Live
from objects import source
from pydicom import dcmread

from peers.dcmtk import PROPOSE, storescu
from platemark.spool import State
from platemark.vault import OpenVault

Require = Callable[[str], Path]
AET = "PLATEMARK"


def enrolled(live: Live, directory: Path, **settings: object) -> Site:
    """A site whose key the ledger knows as a gateway's, and whose gateway sends to it."""
    writer = live.device(directory.name + "-gateway", "gateway")
    ledger = {"server": live.address}
    site = Site(directory, key=writer.key, settings={"ledger": ledger, **settings})
    site.settings["sign"]["device"] = writer.issuer
    return site


def send(running: Running, *names: str) -> None:
    """By storescu, each in its own transfer syntax."""
    for name in names:
        syntax = str(dcmread(source(name), specific_tags=[]).file_meta.TransferSyntaxUID)
        done = storescu(running.port, source(name), options=[PROPOSE[syntax]], aet=AET)
        assert done.returncode == 0, done.stderr


def test_what_a_modality_sends_is_in_the_ledger(require: Require, live: Live, tmp_path: Path) -> None:
    """From C-STORE to the log: the data set's digest, the origin, the role; and who sent it, salted, in the vault."""
    require("storescu")
    site = enrolled(live, tmp_path / "site")
    with site.running() as running:
        send(running, "CT_small.dcm")
        with closing(site.spool()) as spool:
            entry = until(lambda: next(iter(spool.entries(State.ACKNOWLEDGED, 1)), None), "a logged statement")
        assert entry.index is not None
        evidence = live.client().evidence(index=entry.index)
        assert evidence.content.record.statement == entry.raw
    payload = evidence_payload(entry.raw)
    assert payload["origin"] == "gateway-received"
    assert "file" not in payload["digests"]
    with OpenVault(site.state / "vault", site.recipient) as vault:
        opened = vault.get(payload["attributes"])
    assert opened.values["sender_ae_title"] == "STORESCU"
    assert opened.values["sender_identity"] == "none"


def evidence_payload(raw: bytes) -> dict[str, Any]:
    """The payload of a statement."""
    return {str(name): value for name, value in statement.decode(raw).payload.items()}
