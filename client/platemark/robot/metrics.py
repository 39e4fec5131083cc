"""What a recorder shows to Prometheus. Needs prometheus-client, which the extras `gateway` and `audit` bring.

Alert on `platemark_recorder_unobserved_total` (messages without proof, for ever) and on `platemark_recorder_failing`.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from platemark.robot.recorder import Recorder

__all__ = ["RecorderCollector"]


class RecorderCollector(Collector):
    """For `registry.register`; the state of a recorder as it is asked."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        """The numbers of Recorder.state."""
        state = self._recorder.state()
        for name, text, count in (
            ("observed", "Messages that were taken.", state.observed),
            ("unobserved", "Messages for which there was no memory; they are in no segment.", state.unobserved),
            ("kept", "Segments whose statement is in the spool.", state.kept),
            ("kept_messages", "Messages in them.", state.kept_messages),
        ):
            yield CounterMetricFamily(f"platemark_recorder_{name}", text, count)
        for name, text, value in (
            ("queued", "Messages that wait to be put into a segment.", state.queued),
            ("open", "Messages in segments that go on.", state.open),
            ("unsaved", "Messages of ended segments that are not on disk.", state.unsaved),
            ("waiting", "Segments on disk that wait for a place in the spool.", state.waiting),
            ("window_seconds", "The window at present; longer while the spool has little room.", state.window_ns / 1e9),
            ("failing", "Whether something fails and is tried again.", int(state.fault is not None)),
        ):
            yield GaugeMetricFamily(f"platemark_recorder_{name}", text, value)
