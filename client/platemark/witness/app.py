"""The HTTP routes of a witness: add-checkpoint, the newest cosigned checkpoint of a log, health and metrics.

Rules T1 to T14 of proto/log.md. Bodies of refusals are one line of text.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from platemark.note import MAX_NOTE
from platemark.witness.store import WitnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from starlette.requests import Request

    from platemark.witness.cosigner import Cosigner
    from platemark.witness.store import Store

__all__ = ["MAX_BODY", "application"]

_log = logging.getLogger("platemark.witness")
MAX_BODY = MAX_NOTE + 4096  # a note, 63 hashes of a proof and the old size
_UNCACHED = {"cache-control": "no-store"}


def application(cosigner: Cosigner) -> Starlette:
    """The ASGI application of one witness."""
    routes = _Routes(cosigner)
    made = Starlette(
        routes=[
            Route("/add-checkpoint", routes.add_checkpoint, methods=["POST"]),
            Route("/{digest}/checkpoint", routes.checkpoint),
            Route("/healthz", routes.health),
            Route("/metrics", routes.metrics),
        ],
        exception_handlers={HTTPException: _refused, WitnessError: _unavailable},
    )
    # There is one form of each path.
    made.router.redirect_slashes = False
    return made


class _Routes:
    def __init__(self, cosigner: Cosigner) -> None:
        self._cosigner = cosigner
        self._store = cosigner.store
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "platemark_witness_answers", "Answers to add-checkpoint.", ["status"], registry=self._registry
        )
        self._registry.register(_Logs(cosigner.store))

    async def add_checkpoint(self, request: Request) -> Response:
        """T1 to T9."""
        try:
            body = await _body(request)
        except ClientDisconnect:
            return _text(HTTPStatus.BAD_REQUEST, "the request ended early")
        except HTTPException as error:
            self._answers.labels(str(error.status_code)).inc()
            raise
        try:
            answer = await run_in_threadpool(self._cosigner.add_checkpoint, body)
        except WitnessError:
            self._answers.labels("503").inc()
            raise
        self._answers.labels(str(answer.outcome.value)).inc()
        # Given here and not as media_type, to which starlette would add a charset.
        headers = {**_UNCACHED, "content-type": answer.outcome.media}
        return Response(answer.body, answer.outcome.value, headers=headers)

    async def checkpoint(self, request: Request) -> Response:
        """T10."""
        log = await run_in_threadpool(self._store.log_of, request.path_params["digest"])
        if log is None or log.latest is None:
            return _text(HTTPStatus.NOT_FOUND, "nothing cosigned for such a log")
        return Response(log.latest.note, media_type="text/plain", headers=_UNCACHED)

    async def health(self, _request: Request) -> Response:
        """T12: the database answers."""
        logs = await run_in_threadpool(self._store.logs)
        return _text(HTTPStatus.OK, f"ok {len(logs)}")

    async def metrics(self, _request: Request) -> Response:
        """T12: the Prometheus text format."""
        shown = await run_in_threadpool(generate_latest, self._registry)
        return Response(shown, headers={**_UNCACHED, "content-type": CONTENT_TYPE_LATEST})


class _Logs(Collector):
    """What is in the database, read when asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        """Nothing: it would ask for everything once when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Size and time of the newest cosignature of every log that has one."""
        size = GaugeMetricFamily("platemark_witness_size", "The size last cosigned.", labels=["origin"])
        time_s = GaugeMetricFamily(
            "platemark_witness_cosigned_timestamp_seconds", "The time in the last cosignature.", labels=["origin"]
        )
        for each in self._store.logs():
            if each.latest is not None:
                size.add_metric([each.origin], each.latest.checkpoint.size)
                time_s.add_metric([each.origin], each.latest.time_s)
        yield from (size, time_s)


async def _body(request: Request) -> bytes:
    """At most MAX_BODY bytes; the rest of a larger one is not read."""
    length = request.headers.get("content-length", "0")
    body = bytearray()
    if not length.isascii() or not length.isdigit() or int(length[:20]) <= MAX_BODY:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                break
        else:
            return bytes(body)
    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY} bytes")


def _text(status: int, sentence: str) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, headers=_UNCACHED)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _text(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _unavailable(_request: Request, error: Exception) -> Response:
    """What it was is for the log of this process, not for whoever asked."""
    _log.error("%s", error)
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the database of this witness does not answer; nothing was cosigned")
