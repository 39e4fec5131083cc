"""Metrics, read from what all workers share when they are asked for: whichever worker answers says the same.

But for those of streams, which are the answering worker's own and carry its process id.

The alarms: platemark_witness_quorum_missing, platemark_rollback_suspected, platemark_published_age_seconds,
platemark_publisher_running, and platemark_conditions_total of `fork`. deploy/README.md, section 10, says what to do about each.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from platemark_ledger import noticed, published
from platemark_ledger.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from platemark_ledger.exchanges import Exchanges
    from platemark_ledger.opening import Ledger
    from platemark_ledger.seat import PartyState, Seat

__all__ = ["LedgerMetrics", "StreamMetrics", "registry"]

_NS = 1e9


def registry(
    ledger: Ledger, seat: Seat, *, witnessed: bool = False, exchanges: Exchanges | None = None
) -> CollectorRegistry:
    """A registry of this ledger's metrics and no others. `witnessed`: it demands a quorum, and only that counts as published.

    `exchanges`: the streams of this worker, if it has any.
    """
    made = CollectorRegistry()
    made.register(LedgerMetrics(ledger, seat, witnessed=witnessed))
    if exchanges is not None:
        made.register(StreamMetrics(exchanges))
    return made


class StreamMetrics(Collector):
    """The append streams of this worker. Asked from another thread than theirs, so a number may be one stream old."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges

    def describe(self) -> list[Metric]:
        """Nothing, as below."""
        return []

    def collect(self) -> Iterator[Metric]:
        """How many are open, and how those before them ended."""
        worker = str(os.getpid())
        opened = GaugeMetricFamily("platemark_streams", "Append streams that are open.", labels=["worker"])
        opened.add_metric([worker], self._exchanges.under_way)
        ended = CounterMetricFamily(
            "platemark_streams_ended",
            "Append streams that have ended, by the reason that the client was told; OK: the client's own end.",
            labels=["worker", "reason"],
        )
        for reason, count in sorted(self._exchanges.endings.copy().items()):
            ended.add_metric([worker, reason], count)
        yield from (opened, ended)


class LedgerMetrics(Collector):
    """Reads anchor, published checkpoints and the publisher's state."""

    def __init__(self, ledger: Ledger, seat: Seat, *, witnessed: bool) -> None:
        self._ledger = ledger
        self._seat = seat
        self._newest = published.newest_witnessed if witnessed else published.newest

    def describe(self) -> list[Metric]:
        """Nothing: it would ask for everything once when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric, of now."""
        size, now, state = self._ledger.anchor.read().size, self._ledger.now_ns(), self._seat.told()
        with self._ledger.store.read() as transaction:
            conditions = noticed.counts(transaction)
            try:
                row, damaged = self._newest(transaction), False
            except StoreError:  # which stops publishing: the other alarms have to be read all the same
                row, damaged = None, True
            reached = row.size if row is not None else 0
            # A log that does not grow is not late.
            waiting = transaction.statement(reached).received if reached < size else now
        age = math.inf if damaged else max(0, now - waiting) / _NS
        yield _gauge("platemark_log_size", "Leaves at or below the anchored checkpoint.", size)
        yield _gauge("platemark_published_size", "Leaves at or below the newest published checkpoint.", reached)
        yield _gauge(
            "platemark_published_age_seconds",
            "Since the first statement was logged that no published checkpoint covers; 0 while there is none, +Inf when what "
            "was published cannot be read.",
            age,
        )
        yield _gauge(
            "platemark_publisher_running", "1: some worker holds the publisher's seat.", int(self._seat.taken())
        )
        if state.quorum is not None:
            yield _gauge(
                "platemark_witness_quorum_missing",
                "1: the witnesses' quorum did not cosign the last time it was asked; nothing is published.",
                int(not state.quorum),
            )
        yield _gauge(
            "platemark_rollback_suspected",
            "1: a witness has shown a later or another past of this log; publishing has stopped.",
            int(state.rollback is not None),
        )
        yield _conditions(conditions)
        yield from _parties("witness", "witness", state.witnesses)
        yield from _parties("tsa", "authority", state.authorities)


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _conditions(counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        "platemark_conditions",
        "Statements that were logged with a condition; a fork is one key in two devices.",
        labels=["condition"],
    )
    for code, count in counts.items():
        family.add_metric([code], count)
    return family


def _parties(label: str, noun: str, parties: Mapping[str, PartyState]) -> Iterator[Metric]:
    failures = CounterMetricFamily(
        f"platemark_{label}_failures", f"Requests that the {noun} did not answer as it should.", labels=[label]
    )
    size = GaugeMetricFamily(f"platemark_{label}_size", f"The size for which the {noun} last answered.", labels=[label])
    answered = GaugeMetricFamily(
        f"platemark_{label}_answered_timestamp_seconds", f"When the {noun} last answered; 0 never.", labels=[label]
    )
    for name, each in sorted(parties.items()):
        failures.add_metric([name], each.failures)
        size.add_metric([name], each.size)
        answered.add_metric([name], each.answered / _NS)
    yield from (failures, size, answered)
