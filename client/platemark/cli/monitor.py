"""`platemark monitor`: the audit of a log's public tiles, again and again, with metrics and a webhook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import typer

from platemark.cli import output
from platemark.cli.audit import Sources, State, Vkey, Witnesses, say_outcome
from platemark.cli.auditing import Keys, Outcome, StateFile, audit, keys_of, open_sources, read_policy
from platemark.cli.connect import MissingExtraError
from platemark.cli.options import AsJson, TlsAuthority
from platemark.cli.stopping import told_to_stop
from platemark.errors import PlatemarkError
from platemark.report import json_text

if TYPE_CHECKING:
    from platemark.audit import TileSource
    from platemark.audit_files import CheckpointFile
    from platemark.cli.metrics import Metrics

__all__ = ["Alarms", "Monitor", "monitor"]

_MOST_PENDING = 16 * 1024 * 1024  # bytes
_MOST_KNOWN = 100_000


class _StoppedError(Exception):
    """The monitor was told to end in the middle of an audit."""


class Alarms:
    """Findings on their way to the webhook. Each is sent once, in order; what is not taken is sent again at the next turn.

    A hostile log cannot fill the memory: 100,000 findings are known and some 16 MiB of bodies kept.

    `post` takes the JSON body and says whether it was taken. Without `post` nothing is sent.
    """

    def __init__(self, post: Callable[[bytes], bool] | None) -> None:
        self._post = post
        self._known: set[bytes] = set()
        self._bodies: list[bytes] = []

    @property
    def pending(self) -> int:
        """How many bodies nobody has taken."""
        return len(self._bodies)

    def raise_for(self, outcome: Outcome, keys: Keys, *, at: int) -> list[dict[str, object]]:
        """Queue what this outcome found and no earlier one did (rule E19), and return it. `at`: Unix seconds."""
        news = []
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for each in outcome.findings.kept:
            name = sha256(repr((each.code, each.position, each.proof)).encode()).digest()
            if name not in self._known:
                self._known.add(name)
                news.append(each.facts())
        if news and self._post is not None and sum(map(len, self._bodies)) < _MOST_PENDING:
            view = outcome.view
            body = {"v": 1, "log": keys.origin, "time": at, "size": view.size if view else None, "findings": news}
            self._bodies.append(json_text(body).encode())
        return news

    def send(self) -> None:
        """Send what is queued, until one is not taken."""
        while self._post is not None and self._bodies and self._post(self._bodies[0]):
            del self._bodies[0]


class Monitor:
    """Audits at every `turn`. A failure is counted and said, and never ends it. `show` is given each outcome."""

    def __init__(
        self,
        sources: Sequence[TileSource | CheckpointFile],
        keys: Keys,
        kept: StateFile,
        *,
        alarms: Alarms,
        metrics: Metrics,
        stop: threading.Event,
        now: Callable[[], float] = time.time,
        show: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._sources, self._keys, self._kept = sources, keys, kept
        self._alarms, self._metrics = alarms, metrics
        self._stop, self._now, self._show = stop, now, show

    def turn(self) -> str:
        """One audit; `nothing-found`, `findings`, `incomplete`, `failed`, or `stopped` when told to end on the way."""
        try:
            outcome = audit(self._sources, self._keys, self._kept, bar=self._check_stop)
        except _StoppedError:
            return "stopped"
        except (PlatemarkError, OSError) as error:
            result = "failed"
            output.note(f"platemark: {error}")
        else:
            result = outcome.result
            self._tell(outcome)
            if self._show is not None:
                self._show(outcome)
        self._metrics.audits.labels(result).inc()
        self._alarms.send()
        self._metrics.pending.set(self._alarms.pending)
        return result

    def _tell(self, outcome: Outcome) -> None:
        for each in self._alarms.raise_for(outcome, self._keys, at=int(self._now())):
            self._metrics.findings.labels(each["code"], each["severity"]).inc()
            output.note(f"{each['severity']} {each['code']} at {each['position']}: {each['sentence']}")
        for reason in outcome.incomplete:
            output.note(f"not completed: {reason}")
        self._metrics.read.inc(outcome.audited.read)
        if outcome.view is not None and outcome.audited.frontier is not None:
            self._metrics.size.set(outcome.view.size)
        if outcome.result == "nothing-found":
            self._metrics.good(self._now())

    def _check_stop(self, done: int, total: int) -> None:
        del done, total
        if self._stop.is_set():
            raise _StoppedError


def monitor(
    sources: Sources,
    *,
    vkey: Vkey = None,
    state: State = None,
    witnesses: Witnesses = None,
    tls_ca: TlsAuthority = None,
    interval: Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="From one audit to the next.")] = 60.0,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve /metrics for Prometheus here; port 0 takes any.")
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            envvar="PLATEMARK_WEBHOOK", metavar="URL", help="New findings are posted here as JSON (proto/audit.md)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Audit a log for ever: as `platemark audit`, every --interval seconds, and tell somebody when it finds something.

    With --json every audit's outcome is an object on standard output.

    It goes on through failures; alert on platemark_monitor_last_good_age_seconds, which grows while none succeeds.

    Exit codes: 0 after SIGTERM or SIGINT; 2 usage, an unreadable state, or an address that is taken.

    Example:
      platemark monitor https://ledger.example/xray --vkey "$(cat log.vkey)" --state xray.audit --listen 127.0.0.1:9464
    """
    keys = keys_of(vkey or [], read_policy(witnesses))
    kept = StateFile(state, keys.origin)
    stop = threading.Event()
    with ExitStack() as stack:
        metrics = _metrics()
        opened = open_sources(sources, stack, tls_ca=tls_ca, sleep=stop.wait)
        alarms = Alarms(stack.enter_context(_posting(webhook)) if webhook else None)
        stack.enter_context(told_to_stop(stop))
        if listen is not None:
            output.note(f"metrics at {stack.enter_context(metrics.served(listen))}")
        show = partial(say_outcome, keys=keys, as_json=True) if as_json else None
        watching = Monitor(opened, keys, kept, alarms=alarms, metrics=metrics, stop=stop, show=show)
        while not stop.is_set():
            watching.turn()
            stop.wait(interval)


def _metrics() -> Metrics:
    try:
        from platemark.cli.metrics import Metrics
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "platemark":
            raise
        raise MissingExtraError('the monitor: pip install "platemark[audit]"') from None
    return Metrics()


@contextmanager
def _posting(url: str) -> Iterator[Callable[[bytes], bool]]:
    """The webhook. Its address may hold a secret, so nothing here prints it."""
    import httpx

    with httpx.Client(timeout=10.0, follow_redirects=False) as client:

        def post(body: bytes) -> bool:
            try:
                status = client.post(url, content=body, headers={"Content-Type": "application/json"}).status_code
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                output.note(f"the webhook cannot be reached ({type(error).__name__})")
                return False
            if not 200 <= status < 300:
                output.note(f"the webhook answered with status {status}")
            return 200 <= status < 300

        yield post
