"""From the settings of a gateway to what it does towards its peers: forwarding and Storage Commitment.

Forwarding is a process of its own, as the receiver's threads leave no time to others; Storage Commitment towards the
modalities belongs to the receiver, whose associations it reports over. Both work from the same two files of the state
directory, and may be ended and started at any point.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Gauge
from pynetdicom import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined] # made when it is loaded

from platemark.gateway import tls
from platemark.gateway._setting import parse_address
from platemark.gateway.calling import Peer
from platemark.gateway.commitment import CommitmentScp
from platemark.gateway.commitments import Commitments
from platemark.gateway.forwarding import OBJECT_BACKOFF, Backoff, Destination, Forwarder
from platemark.gateway.journal import Journal, JournalError
from platemark.gateway.pacs_commitment import CommitmentReports, CommitmentScu
from platemark.gateway.worklist import Worklist

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from pynetdicom.association import Association
    from pynetdicom.events import EventHandlerType
    from pynetdicom.presentation import PresentationContext

    from platemark.gateway.answers import Answer
    from platemark.gateway.forwarding import Stop
    from platemark.gateway.journal import Received
    from platemark.gateway.peers import Modality, Pacs
    from platemark.gateway.settings import Gateway

__all__ = ["Commitment", "commitments_file", "destinations", "forward", "modalities", "worklist"]

_log = logging.getLogger("platemark.gateway.forward")
_POLL_S = 0.1
_TROUBLE_S = 5.0  # after the journal failed


def destinations(gateway: Gateway) -> list[Destination]:
    """The PACSs of the settings. Raises ConfigError for TLS files."""
    return [_destination(gateway, number, each) for number, each in enumerate(gateway.pacs)]


def modalities(gateway: Gateway) -> dict[str, Peer]:
    """Where reports of Storage Commitment may be delivered, by AE title. Raises ConfigError for TLS files."""
    return {each.ae_title: _modality(gateway, number, each) for number, each in enumerate(gateway.modality)}


def worklist(gateway: Gateway) -> Worklist | None:
    """The worklist of the settings, for the signing line. Raises ConfigError for TLS files."""
    table = gateway.worklist
    if table is None:
        return None
    host, port = parse_address("worklist.address", table.address)
    peer = Peer(
        ae_title=table.ae_title,
        host=host,
        port=port,
        calling=table.calling or gateway.receive.ae_title,
        tls=tls.client_context("worklist", table),
        server_name=table.tls_server_name,
        connect_s=table.answer_time,
        answer_s=table.answer_time,
    )
    return Worklist(peer)


def commitments_file(gateway: Gateway) -> Path:
    """The file of `Commitments`."""
    return gateway.state_dir / "commitment.sqlite"


class Commitment:
    """Storage Commitment within the receiver: `handlers` and `contexts` are for `Receiver`.

    In mode copy nothing is offered, as the gateway knows nothing of the PACS; and a modality that asks is told so by the
    negotiation. Raises ConfigError, JournalError.
    """

    def __init__(self, gateway: Gateway, journal: Journal) -> None:
        self._commitments = Commitments(commitments_file(gateway))
        self._scp = CommitmentScp(journal, self._commitments, modalities(gateway), identify=_certificate)
        self._reports = CommitmentReports(journal, self._commitments, backoff=OBJECT_BACKOFF)
        self._offered = bool(gateway.destinations)

    @property
    def handlers(self) -> list[EventHandlerType]:
        """Events to bind."""
        return [*self._scp.handlers(), *self._reports.handlers()] if self._offered else []

    @property
    def contexts(self) -> list[PresentationContext]:
        """Presentation contexts to accept, in either role: modalities ask us as SCUs, PACSs report to us as SCPs."""
        if not self._offered:
            return []
        context = build_context(StorageCommitmentPushModel)
        context.scu_role = context.scp_role = True
        return [context]

    @property
    def open_requests(self) -> int:
        """How many requests of modalities are not reported yet. Raises JournalError."""
        return self._commitments.open_requests()

    def show_in(self, registry: CollectorRegistry) -> None:
        """Show how many requests wait for their report."""
        text = "Requests for storage commitment that are not reported yet."
        gauge = Gauge("platemark_gateway_commitment_requests", text, registry=registry)

        def number() -> float:
            try:
                return float(self.open_requests)
            except JournalError:
                return math.nan  # a scrape shows what else there is

        gauge.set_function(number)

    def start(self) -> None:
        """Report from now on."""
        self._scp.start()

    def stop(self) -> None:
        """End after the report under way."""
        self._scp.stop()
        self._commitments.close()


def forward(gateway: Gateway, stop: Stop, *, told: Callable[[str, Received, Answer], None] | None = None) -> None:
    """Send to every destination until told to stop; what a forwarding process does. `told` hears every answer.

    Raises ConfigError, and JournalError when the files cannot be opened. A destination never waits for another one.
    """
    threads = []
    places = destinations(gateway)
    with (
        closing(Journal(gateway.journal, destinations=gateway.destinations)) as journal,
        closing(Commitments(commitments_file(gateway))) as commitments,
    ):
        for place in places:
            hear = partial(told, place.name) if told is not None else None
            forwarder = Forwarder(journal, place, told=hear)
            scu = CommitmentScu(journal, commitments, place) if place.commitment else None
            thread = threading.Thread(target=_forward, args=(forwarder, scu, stop), name=f"forward {place.name}")
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()


def _forward(forwarder: Forwarder, scu: CommitmentScu | None, stop: Stop) -> None:
    """One destination until told to stop."""
    wait = 0.0
    try:
        while not stop.wait(wait or _POLL_S):
            try:
                wait = forwarder.turn(stop)
                if scu is not None and not stop.is_set():
                    scu.turn()
            except JournalError as error:
                _log.error("forwarding to %s: %s", forwarder.destination.name, error)
                wait = _TROUBLE_S
    finally:
        forwarder.close()


def _destination(gateway: Gateway, number: int, pacs: Pacs) -> Destination:
    host, port = parse_address(f"pacs[{number}].address", pacs.address)
    peer = Peer(
        ae_title=pacs.ae_title,
        host=host,
        port=port,
        calling=pacs.calling or gateway.receive.ae_title,
        tls=tls.client_context(f"pacs[{number}]", pacs),
        server_name=pacs.tls_server_name,
        connect_s=pacs.connect_time,
        answer_s=pacs.answer_time,
    )
    return Destination(
        name=pacs.name,
        peer=peer,
        pass_calling=pacs.pass_calling,
        commitment=pacs.commitment,
        backoff=Backoff(min(1.0, pacs.retry_time), pacs.retry_time),
        object_backoff=OBJECT_BACKOFF,
    )


def _modality(gateway: Gateway, number: int, modality: Modality) -> Peer:
    host, port = parse_address(f"modality[{number}].address", modality.address)
    return Peer(
        ae_title=modality.ae_title,
        host=host,
        port=port,
        calling=gateway.receive.ae_title,
        tls=tls.client_context(f"modality[{number}]", modality),
        server_name=modality.tls_server_name,
    )


def _certificate(association: Association) -> str | None:
    """What `Receiver` found in the client's certificate."""
    found = getattr(association, "certificate", None)
    return found if isinstance(found, str) else None
