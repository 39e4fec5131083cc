"""The composition root of one worker: build, start, drain, stop.

Everything is constructed here and handed to what uses it. Start order: ledger (its checks of anchor and data, and what
witnesses have seen), sequencer, publisher, HTTP, gRPC, health SERVING. Stop order is the reverse, with the accepted calls
finished in between.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from platemark.cosignature import CosignatureSigner
from platemark.key_files import read_private
from platemark.keys import ALGORITHM_NAMES, EDDSA, ML_DSA_44
from platemark.note import NoteSigner
from platemark_ledger import metrics
from platemark_ledger.access_gate import Gate, open_gate
from platemark_ledger.board import Board
from platemark_ledger.boundary import Boundary
from platemark_ledger.exchanges import ExchangeLimits, Exchanges
from platemark_ledger.exits import Exit
from platemark_ledger.keystates import KeyStating
from platemark_ledger.opening import Ledger, Paths, open_ledger
from platemark_ledger.past import refuse_other_past
from platemark_ledger.publisher import Publisher
from platemark_ledger.quorum import Quorum
from platemark_ledger.quorum import load as load_quorum
from platemark_ledger.readside import ReadSide
from platemark_ledger.receipts import Receipts
from platemark_ledger.seat import Seat
from platemark_ledger.sequencer import Sequencer
from platemark_ledger.service import SERVICE, LedgerService, Limits
from platemark_ledger.settings import ConfigError, Settings
from platemark_ledger.tls import credentials
from platemark_ledger.web import WebServer, bind

__all__ = ["Running", "open_with", "running", "serve"]

_log = logging.getLogger("platemark.ledger")
_READERS = 4
_BUNDLERS = 2
_PUBLISHER_GRACE = 5.0
# After a fatal fault nothing can be acknowledged any more; reads under way get this long.
_FAULT_GRACE = 2.0
_QUIET = 0.05
# For the last bytes of answers to reach their sockets.
_LAST_GRACE = 0.5


@dataclass(frozen=True)
class Running:
    """A server that takes calls. `address` is where; `failed` resolves to the reason of a fatal fault, if one happens.

    `http` is where the read side answers, None when it does not.
    """

    address: str
    failed: asyncio.Future[str]
    boundary: Boundary
    http: str | None = None


def open_with(settings: Settings, passphrase: bytes | None) -> Ledger:
    """The ledger of these settings. Raises KeyFileError, StartRefusedError and the ledger's FatalErrors."""
    key = read_private(settings.log_key, passphrase)
    if key.alg != EDDSA:
        name = ALGORITHM_NAMES[key.alg]
        raise ConfigError("log_key", f"{settings.log_key} is a {name} key, and checkpoints are signed with Ed25519")
    cosigner = None
    if settings.log_key_pq is not None:
        second = read_private(settings.log_key_pq, passphrase)
        if second.alg != ML_DSA_44:
            name = ALGORITHM_NAMES[second.alg]
            raise ConfigError("log_key_pq", f"{settings.log_key_pq} is a {name} key, and an ML-DSA-44 key is wanted")
        cosigner = CosignatureSigner(settings.origin, second)
    paths = Paths(settings.data, settings.anchor, settings.lock)
    return open_ledger(paths, signers=[NoteSigner(settings.origin, key)], cosigner=cosigner)


async def serve(
    settings: Settings,
    passphrase: bytes | None,
    *,
    stop: asyncio.Event,
    announce: asyncio.Future[str],
    reuse_port: bool,
) -> Exit:
    """Serve until `stop` is set (drain, OK) or the sequencer fails (POISONED). `announce` gets the address once calls are taken.

    Raises what opening the ledger and binding the address raise.
    """
    async with running(settings, passphrase, reuse_port=reuse_port) as server:
        announce.set_result(server.address)
        asked = asyncio.create_task(stop.wait())
        # A stop that is asked for and a fault that comes by itself: whichever is first.
        server.failed.add_done_callback(lambda _: asked.cancel())
        with suppress(asyncio.CancelledError):
            await asked
        return Exit.POISONED if server.failed.done() else Exit.OK


@asynccontextmanager
async def running(
    settings: Settings, passphrase: bytes | None = None, *, reuse_port: bool = False
) -> AsyncIterator[Running]:
    """A server that takes calls inside the block; leaving it drains: accepted calls finish, new ones get UNAVAILABLE."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[str] = loop.create_future()

    def fail(reason: str) -> None:
        # From the commit thread. The loop may be gone already when a fault meets a stop.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, failed, reason)

    quorum = None if settings.witness_policy is None else load_quorum(settings.witness_policy, origin=settings.origin)
    ledger = await asyncio.to_thread(open_with, settings, passphrase)
    stopped, publisher = True, None
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
    try:
        sequencer = Sequencer(
            ledger,
            queue=settings.queue,
            batch=settings.max_batch,
            examiners=settings.verify_threads,
            on_failure=fail,
        )
        if quorum is not None and settings.witness_start_check:
            await refuse_other_past(ledger, quorum, timeout=settings.witness_timeout, mark=settings.rollback)
        sequencer.start()
        publisher = Publisher(ledger, settings, quorum, on_failure=fail)
        exchanges = Exchanges(
            ExchangeLimits(
                most=settings.max_streams,
                of_one_caller=settings.caller_streams,
                idle=settings.stream_idle,
                stall=settings.stream_stall,
                age=settings.stream_age,
            )
        )
        try:
            async with (
                _keystates(settings, ledger, sequencer),
                _gate(settings) as gate,
                _publishing(settings, publisher) as seat,
                _http(settings, ledger, seat, quorum, exchanges, reuse_port=reuse_port) as http,
                _grpc(
                    settings,
                    ledger,
                    sequencer,
                    board=Board(ledger, seat, witnessed=quorum is not None and quorum.demanded),
                    readers=readers,
                    failed=failed,
                    gate=gate,
                    exchanges=exchanges,
                    reuse_port=reuse_port,
                ) as server,
            ):
                yield dataclasses.replace(server, http=http)
        finally:
            # Everything accepted has been answered by now, unless the drain time was too short: then it is still committed.
            stopped = await asyncio.to_thread(sequencer.stop, timeout=settings.drain)
    finally:
        readers.shutdown()
        if stopped and (publisher is None or publisher.ended):
            ledger.close()
        else:
            # A commit is still under way. Closing files that it writes to is undefined; the end of the process is a crash, which
            # loses nothing that was acknowledged.
            _log.critical("a commit outlives the drain time; the process ends under it")


@asynccontextmanager
async def _keystates(settings: Settings, ledger: Ledger, sequencer: Sequencer) -> AsyncIterator[None]:
    """The log's own statements about its keys, unless they are switched off."""
    if not settings.keystate_interval:
        yield
        return
    task = KeyStating(ledger, sequencer, seat=settings.keystate_seat, interval=settings.keystate_interval)
    task.start()
    try:
        yield
    finally:
        await asyncio.to_thread(task.stop)


@asynccontextmanager
async def _gate(settings: Settings) -> AsyncIterator[Gate]:
    """Closed when gRPC has stopped: what the last answers showed is recorded by then."""
    with closing(open_gate(settings)) as gate:
        yield gate


@asynccontextmanager
async def _publishing(settings: Settings, publisher: Publisher) -> AsyncIterator[Seat]:
    """The publisher, running inside the block."""
    with closing(Seat(settings.seat)) as seat:
        publisher.start()
        try:
            yield seat
        finally:
            # It may wait for the sequencer's lock, which somebody may hold for long.
            await asyncio.to_thread(publisher.stop, timeout=min(settings.drain, _PUBLISHER_GRACE))


@asynccontextmanager
async def _http(
    settings: Settings, ledger: Ledger, seat: Seat, quorum: Quorum | None, exchanges: Exchanges, *, reuse_port: bool
) -> AsyncIterator[str | None]:
    """The read side, where `http_listen` says; it answers until gRPC has drained."""
    bound = bind(settings, reuse_port=reuse_port)
    if bound is None:
        yield None
        return
    witnessed = quorum is not None and quorum.demanded
    with closing(bound), ThreadPoolExecutor(_BUNDLERS, thread_name_prefix="bundle") as executor:
        registry = metrics.registry(ledger, seat, witnessed=witnessed, exchanges=exchanges)
        reads = ReadSide(ledger, executor=executor, metrics=registry, witnessed=witnessed)
        server = WebServer(reads.application(), bound, settings)
        await asyncio.to_thread(server.start)
        try:
            yield server.address
        finally:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def _grpc(
    settings: Settings,
    ledger: Ledger,
    sequencer: Sequencer,
    *,
    board: Board,
    readers: ThreadPoolExecutor,
    failed: asyncio.Future[str],
    gate: Gate,
    exchanges: Exchanges,
    reuse_port: bool,
) -> AsyncIterator[Running]:
    boundary = Boundary(
        max_calls=settings.max_calls,
        max_streams=settings.max_lists,
        max_unread=settings.max_unread,
        gate=gate,
        exchanges=exchanges,
    )
    server = grpc.aio.server(interceptors=[boundary], options=_options(settings, reuse_port=reuse_port))
    limits = Limits(
        max_batch=settings.max_batch,
        max_page=settings.max_page,
        max_list=settings.max_list,
        list_time=settings.list_time,
        max_waiting=max(1, settings.max_calls // 2),
        stream_window=settings.stream_window,
        stream_queue=settings.stream_queue,
    )
    LedgerService(sequencer, Receipts(ledger), board, readers=readers, limits=limits).register(server)
    checker = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    if settings.reflection:
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    address = _bind(server, settings)
    await server.start()
    for name in ("", SERVICE):
        await checker.set(name, health_pb2.HealthCheckResponse.SERVING)
    watch = asyncio.create_task(_turn_unhealthy(failed, checker, boundary))
    try:
        yield Running(address, failed, boundary)
    finally:
        watch.cancel()
        await checker.enter_graceful_shutdown()
        boundary.drain()
        board.drain()
        _log.info("draining: %d calls under way", boundary.calls)
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAULT_GRACE if failed.done() else settings.drain):
                await boundary.idle()
        await _until_quiet(boundary)
        # What is left has outlived the drain time, or is a watcher of our health, who has been told.
        await server.stop(_LAST_GRACE)


async def _until_quiet(boundary: Boundary) -> None:
    """Until no call has been turned away for one pause, or for twenty.

    gRPC drops what has arrived and was not looked at when it shuts down, and its callers see CANCELLED instead of a reason. So
    those who are sending just now are given theirs first.
    """
    for _ in range(20):
        before = boundary.turned_away
        await asyncio.sleep(_QUIET)
        if boundary.turned_away == before:
            return


def _resolve(failed: asyncio.Future[str], reason: str) -> None:
    if not failed.done():
        failed.set_result(reason)


async def _turn_unhealthy(failed: asyncio.Future[str], checker: health.aio.HealthServicer, boundary: Boundary) -> None:
    reason = await failed
    _log.critical("the ledger stops: %s", reason)
    boundary.drain()
    await checker.enter_graceful_shutdown()


def _options(settings: Settings, *, reuse_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.max_receive_message_length", settings.max_request),
        # Replies are bounded by the limits on statements; the greatest batch of the greatest statements must come back.
        ("grpc.max_send_message_length", -1),
        # The boundary refuses sooner and says so; this bounds what one connection can make gRPC keep.
        ("grpc.max_concurrent_streams", settings.max_calls * 2 + settings.caller_streams),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Keepalive finds peers that are gone. One that is there and takes no answers holds them until this cuts it.
        ("grpc.max_connection_age_ms", int(settings.connection_age * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.drain * 1000)),
    ]


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    host, port = settings.address
    name = f"[{host}]" if ":" in host else host
    try:
        if settings.tls_certificate is None:
            bound = server.add_insecure_port(f"{name}:{port}")
        else:
            bound = server.add_secure_port(f"{name}:{port}", credentials(settings))
    except RuntimeError:
        # gRPC's own sentence names no reason.
        raise ConfigError(
            "listen", f"{settings.listen} cannot be bound: in use, or not an address of this machine"
        ) from None
    return f"{name}:{bound}"
