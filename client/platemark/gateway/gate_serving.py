"""The gate as a whole: what it is made of, how it starts and stops."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from platemark.errors import PlatemarkError
from platemark.files import FileError
from platemark.gateway import tls
from platemark.gateway._setting import parse_address
from platemark.gateway.calling import Peer
from platemark.gateway.gate import Gate, GateTally, Readers
from platemark.gateway.gate_evidence import EvidenceFolder, EvidenceSource, LedgerEvidence
from platemark.gateway.judging import Judge
from platemark.gateway.metrics import GatewayMetrics
from platemark.gateway.quarantine import Quarantine
from platemark.gateway.receiver import Receiver
from platemark.gateway.serving import Ready
from platemark.gateway.stopping import alone, stop_signals

if TYPE_CHECKING:
    from platemark.gateway.gate_settings import GateSettings
    from platemark.trust import Trust

__all__ = ["serve"]

_LOOK_S = 0.2
_log = logging.getLogger("platemark.gateway.gate")


class GateMetrics(GatewayMetrics, GateTally):
    """What a gate shows besides what its receiver does."""

    def __init__(self, quarantine: Quarantine) -> None:
        super().__init__()
        own = self.registry
        self._judged = Counter(
            "platemark_gate_objects", "Objects that were judged, by outcome.", ["code"], registry=own
        )
        self._reads = Counter(
            "platemark_gate_reader_answers", "What the reader said to them.", ["answer"], registry=own
        )
        kept = Gauge("platemark_gate_quarantine_objects", "Objects in the quarantine.", registry=own)
        kept.set_function(lambda: quarantine.counts()[0])
        size = Gauge("platemark_gate_quarantine_bytes", "Bytes of these.", registry=own)
        size.set_function(lambda: quarantine.counts()[1])

    def judged(self, code: str, /) -> None:
        """See `GateTally`."""
        self._judged.labels(code).inc()

    def read(self, name: str, /) -> None:
        """See `GateTally`."""
        self._reads.labels(name).inc()


class _Disk:
    """Room while the disk has some: how many objects there are is bounded by the associations."""

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings

    def refusal(self) -> str | None:
        """See `Room`."""
        free = shutil.disk_usage(self._settings.state_dir).free
        return "free-bytes" if free < self._settings.limits.free_bytes else None

    def added(self, size: int) -> None:
        """See `Room`."""


def serve(settings: GateSettings, *, started: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ConfigError, FileError, TrustError for what stands in the way of a start, and PlatemarkError when another gate
    has the state directory.
    """
    from platemark.cli.connect import load_trust

    warnings.simplefilter("ignore")  # pydicom warns of every value that does not conform, and quotes it
    stopping = stop_signals()
    trust = load_trust(settings.trust)
    assert trust is not None
    _make_directories(settings)
    with alone(settings.state_dir, "gate"), ExitStack() as stack:
        _empty(settings)
        quarantine = Quarantine(settings.quarantined, settings.quarantine)
        metrics = GateMetrics(quarantine)
        readers = _readers(settings)
        stack.callback(readers.rest, everything=True)
        sources = stack.enter_context(_sources(settings, trust))
        judge = Judge(sources, trust, settings.policy, most=settings.evidence.most, seconds=settings.measure_seconds)
        gate = Gate(judge, readers, quarantine, settings.policy, tally=metrics)
        try:
            receiver = Receiver(settings, gate, _Disk(settings), tally=metrics)
        except OSError as error:
            raise PlatemarkError(f"receive.listen: {settings.receive.listen}: {error.strerror or error}") from None
        url = stack.enter_context(metrics.served(settings.metrics.listen))
        receiver.start()
        stack.callback(receiver.stop)
        started(Ready(*receiver.address, settings.receive.ae_title, url))
        _log.info("judging", extra={"address": receiver.address[0], "port": receiver.address[1], "metrics": url})
        while not stopping:
            time.sleep(_LOOK_S)
            readers.rest()
        _log.info("stopping")
    _log.info("stopped")


def _make_directories(settings: GateSettings) -> None:
    for each in (settings.state_dir, settings.objects):
        try:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{each}: {error.strerror or error}") from None


def _empty(settings: GateSettings) -> None:
    """Nothing in objects/ was acknowledged: whoever sent it sends it again."""
    try:
        for each in settings.objects.glob("*.dcm"):
            each.unlink()
    except OSError as error:
        raise FileError(f"{settings.objects}: {error.strerror or error}") from None


def _readers(settings: GateSettings) -> Readers:
    reader = settings.reader
    host, port = parse_address("reader.address", reader.address)
    peer = Peer(
        ae_title=reader.ae_title,
        host=host,
        port=port,
        calling=reader.calling or settings.receive.ae_title,
        tls=tls.client_context("reader", reader),
        server_name=reader.tls_server_name,
        connect_s=reader.connect_time,
        answer_s=reader.answer_time,
    )
    return Readers(peer, reader.associations, pass_calling=reader.calling is None)


@contextmanager
def _sources(settings: GateSettings, trust: Trust) -> Iterator[list[EvidenceSource]]:
    """The folder first: it costs nothing, and what lies there may disclose the header."""
    from platemark.cli.connect import Connection

    sources: list[EvidenceSource] = []
    if settings.evidence.folder is not None:
        sources.append(EvidenceFolder(settings.evidence.folder))
    ledger = settings.ledger
    if ledger is None:
        yield sources
        return
    connection = Connection(
        server=ledger.server,
        tls_ca=ledger.tls_ca,
        tls_certificate=ledger.tls_certificate,
        tls_key=ledger.tls_key,
        tls_name=ledger.tls_server_name,
        trusted=trust,
    )
    records = LedgerEvidence(connection.open)
    try:
        yield [*sources, records]
    finally:
        records.close()
