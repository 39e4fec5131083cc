"""What commands that run on show to Prometheus. Needs prometheus-client, which the extra `platemark[audit]` brings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from platemark.errors import PlatemarkError

__all__ = ["Metrics", "serve"]

_RESULTS = ("nothing-found", "findings", "incomplete", "failed")


class Metrics:
    """Numbers of one monitor, in a registry of their own (proto/audit.md, rule E20)."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.audits = Counter("platemark_monitor_audits", "Audits by their result.", ["result"], registry=own)
        for result in _RESULTS:
            self.audits.labels(result)
        names = ["code", "severity"]
        self.findings = Counter("platemark_monitor_findings", "Findings, each counted once.", names, registry=own)
        self.read = Counter("platemark_monitor_entries_read", "Entries that were re-hashed.", registry=own)
        self.size = Gauge("platemark_monitor_size", "Size of the newest tree whose root was confirmed.", registry=own)
        self.pending = Gauge("platemark_monitor_alarms_pending", "Alarms that the webhook has not taken.", registry=own)
        self._last = Gauge(
            "platemark_monitor_last_good_timestamp_seconds",
            "When an audit last found nothing; 0 for never.",
            registry=own,
        )
        self._since = now()
        age = Gauge(
            "platemark_monitor_last_good_age_seconds",
            "Since an audit last found nothing, or since the start.",
            registry=own,
        )
        age.set_function(lambda: now() - self._since)

    def good(self, at: float) -> None:
        """An audit found nothing."""
        self._since = at
        self._last.set(at)

    @contextmanager
    def served(self, address: str) -> Iterator[str]:
        """As `serve`."""
        with serve(self.registry, address) as url:
            yield url


@contextmanager
def serve(registry: CollectorRegistry, address: str) -> Iterator[str]:
    """Serve at HOST:PORT; the URL. Raises PlatemarkError: not an address, or one that cannot be had."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise PlatemarkError(f"--listen {address}: not HOST:PORT")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry=registry)
    except OSError as error:
        raise PlatemarkError(f"--listen {address}: {error.strerror or error}") from None
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
