"""What a gateway shows to Prometheus, on loopback. Numbers and AE titles, never a patient or a UID."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from platemark.gateway._setting import ConfigError, parse_address
from platemark.gateway.journal import JournalError
from platemark.gateway.receiver import Tally
from platemark.spool.metrics import SpoolCollector

if TYPE_CHECKING:
    from platemark.gateway.journal import Journal
    from platemark.gateway.parts import Part
    from platemark.gateway.settings import Gateway
    from platemark.spool import Spool

__all__ = ["GatewayMetrics"]

_NS = 10**9
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class GatewayMetrics(Tally):
    """Counters of the receiver, and the state of journal, spool, disk and parts when it is asked for."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        # Without their titles: anybody could make up a new one for each association.
        self._associations = Counter("platemark_gateway_associations", "Associations that were accepted.", registry=own)
        self._away = Counter(
            "platemark_gateway_turned_away", "Connections and associations that were refused.", ["reason"], registry=own
        )
        self._objects = Counter("platemark_gateway_objects", "Objects acknowledged to a modality.", registry=own)
        self._bytes = Counter("platemark_gateway_object_bytes", "Bytes of these.", registry=own)
        self._refused = Counter(
            "platemark_gateway_objects_refused", "Objects answered with a failure.", ["reason"], registry=own
        )
        self._durable = Histogram(
            "platemark_gateway_durable_seconds",
            "From the last byte of an object until it is durable.",
            buckets=_SECONDS,
            registry=own,
        )

    def accepted(self) -> None:
        """See `Tally`."""
        self._associations.inc()

    def turned_away(self, reason: str, /) -> None:
        """See `Tally`."""
        self._away.labels(reason).inc()

    def stored(self, size: int, seconds: float, /) -> None:
        """See `Tally`."""
        self._objects.inc()
        self._bytes.inc(size)
        self._durable.observe(seconds)

    def refused(self, reason: str, /) -> None:
        """See `Tally`."""
        self._refused.labels(reason).inc()

    def watch(
        self,
        gateway: Gateway,
        journal: Journal,
        spool: Spool,
        parts: Sequence[Part],
        associations: Callable[[], int],
        *,
        missing: int = 0,
    ) -> None:
        """Show these as well. `missing`: objects that the start found without their file."""
        self.registry.register(_State(gateway, journal, parts, associations, missing))
        self.registry.register(SpoolCollector(spool))

    @contextmanager
    def served(self, listen: str | None) -> Iterator[str | None]:
        """Serve at address:port while the block runs; the URL. Raises ConfigError when the address cannot be had."""
        if not listen:
            yield None
            return
        host, port = parse_address("metrics.listen", listen)
        try:
            server, thread = start_http_server(port, host, registry=self.registry)
        except OSError as error:
            raise ConfigError("metrics.listen", f"{listen}: {error.strerror or error}") from None
        try:
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{server.server_port}/metrics"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _State(Collector):
    def __init__(
        self, gateway: Gateway, journal: Journal, parts: Sequence[Part], associations: Callable[[], int], missing: int
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._parts = parts
        self._associations = associations
        self._missing = missing

    def describe(self) -> list[Metric]:
        """Nothing before the first scrape: registering must not read the disk."""
        return []

    def collect(self) -> Iterator[Metric]:
        """A journal that cannot be read shows `platemark_gateway_up` 0 and no numbers that are not so."""
        yield from self._processes()
        try:
            counts = self._journal.counts()
            free = shutil.disk_usage(self._gateway.state_dir).free
        except (JournalError, OSError):
            yield GaugeMetricFamily("platemark_gateway_up", "Whether journal and disk can be read.", 0)
            return
        age = 0.0 if counts.oldest_ns is None else max(0, time.time_ns() - counts.oldest_ns) / _NS
        for name, text, value in (
            ("up", "Whether journal and disk can be read.", 1),
            ("waiting_objects", "Objects that are not done.", counts.objects),
            ("waiting_bytes", "Bytes of these.", counts.bytes),
            ("uncaptured_objects", "Objects without a statement yet.", counts.uncaptured),
            ("failed_objects", "Objects that cannot be captured; a person has to look.", counts.failed),
            ("missing_objects", "Acknowledged objects whose file was gone at the start.", self._missing),
            ("oldest_age_seconds", "How long the oldest object that is not done has waited; 0 when none waits.", age),
            ("free_bytes", "Free on the disk of state_dir.", free),
        ):
            yield GaugeMetricFamily(f"platemark_gateway_{name}", text, value)
        yield _by_name(
            "undelivered_objects", "Objects on their way to a destination.", counts.undelivered, "destination"
        )
        yield _by_name("undeliverable_objects", "Objects that it refused for good.", counts.refused, "destination")

    def _processes(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("platemark_gateway_open_associations", "Associations now.", self._associations())
        yield _by_name(
            "part_up", "Whether a process runs.", [(each.name, int(each.alive)) for each in self._parts], "part"
        )
        yield _by_name(
            "part_starts", "How often it was started.", [(each.name, each.starts) for each in self._parts], "part"
        )


def _by_name(name: str, text: str, values: Sequence[tuple[str, int]], label: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"platemark_gateway_{name}", text, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family
