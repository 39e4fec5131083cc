"""What a spool and its sender show to Prometheus. Needs prometheus-client, which the extras `gateway` and `audit` bring.

`platemark_spool_oldest_age_seconds` is the one to alert on: it grows while nothing is taken, whatever the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from platemark.spool.errors import SpoolError
from platemark.spool.outbox import Spool
from platemark.spool.sender import Traffic

__all__ = ["SpoolCollector"]

_NS = 10**9


class SpoolCollector(Collector):
    """For `registry.register`. Reads the spool when it is asked, so that it also shows what other processes did to it.

    `traffic`: of the sender of this process, if it has one; asked from another thread, so a number may be one step old.
    """

    def __init__(self, spool: Spool, *, traffic: Traffic | None = None, now: Callable[[], int] | None = None) -> None:
        self._spool = spool
        self._traffic = traffic
        self._now = now or spool.now

    def describe(self) -> list[Metric]:
        """Nothing before the first scrape: registering must not read the disk."""
        return []

    def collect(self) -> Iterator[Metric]:
        """A spool that cannot be read shows `platemark_spool_up` 0 and no numbers that are not so."""
        try:
            counts = self._spool.counts()
        except SpoolError:
            yield GaugeMetricFamily("platemark_spool_up", "Whether the spool can be read.", 0)
            return
        yield GaugeMetricFamily("platemark_spool_up", "Whether the spool can be read.", 1)
        age = 0.0 if counts.oldest_ns is None else max(0, self._now() - counts.oldest_ns) / _NS
        for name, text, value in (
            ("depth", "Statements that wait for a ledger.", counts.depth),
            ("oldest_age_seconds", "How long the oldest of them has waited; 0 when none waits.", age),
            ("set_aside", "Statements that a ledger refused, to be looked at by a person.", counts.set_aside),
            ("acknowledged", "Statements in the log that are still kept here.", counts.acknowledged),
            ("capacity", "How many that are not in the log it may hold.", counts.capacity),
        ):
            yield GaugeMetricFamily(f"platemark_spool_{name}", text, value)
        if self._traffic is not None:
            yield from _sender(self._traffic)


def _sender(traffic: Traffic) -> Iterator[Metric]:
    for name, text, value in (
        ("logged", "Statements that a ledger took.", traffic.logged),
        ("refused", "Statements that were set aside.", traffic.set_aside),
        ("failed_batches", "Batches that were not taken, and sent again.", traffic.failed),
    ):
        yield CounterMetricFamily(f"platemark_spool_{name}", text, value)
    last = 0.0 if traffic.success_ns is None else traffic.success_ns / _NS
    yield GaugeMetricFamily(
        "platemark_spool_last_success_timestamp_seconds", "When a ledger last took any; 0: never.", last
    )
