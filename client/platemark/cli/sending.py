"""`platemark spool send`: the sender as a command."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from platemark.cli import output
from platemark.cli.connect import Connection, MissingExtraError, load_trust
from platemark.cli.options import (
    DEFAULT_SERVER,
    AsJson,
    Server,
    TlsAuthority,
    TlsCertificate,
    TlsKey,
    TlsName,
    Trust,
    Witnessed,
)
from platemark.cli.spooling import Directory, opened
from platemark.cli.stopping import told_to_stop
from platemark.errors import PlatemarkError
from platemark.spool import Counts, DeliveryError, Sender, Spool, SpoolError, Traffic

__all__ = ["send"]


def send(
    directory: Directory,
    *,
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="Go on for ever, or end when nothing waits or no ledger takes it.")
    ] = False,
    witnessed: Witnessed = False,
    server: Server = DEFAULT_SERVER,
    trust: Trust = None,
    tls_ca: TlsAuthority = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_name: TlsName = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve /metrics for Prometheus here; port 0 takes any.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send what waits, oldest first, and set aside what the ledger refuses. One sender at a time serves a spool.

    With --trust the ledger first has to prove that it is a log which that file names. With --follow it comes back to a ledger
    that is away after pauses of half a second to a minute.

    Exit codes: 0 everything was sent, or --follow was ended by SIGTERM or SIGINT; 1 some of it was set aside; 2 usage, a spool
    that cannot be used, or a ledger that must not be believed; 5 no ledger answered.

    Examples:
      platemark spool send /var/lib/platemark/spool --server ledger.hospital.example:50151 --tls-ca system
      platemark spool send /var/lib/platemark/spool --follow --trust trust.toml --listen 127.0.0.1:9465
    """
    connection = Connection(
        server=server,
        tls_ca=tls_ca,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_name=tls_name,
        trusted=load_trust(trust),
        once=True,
    )
    stop = threading.Event()
    with ExitStack() as stack:
        spool = stack.enter_context(opened(directory))
        sender = stack.enter_context(_sender(spool, connection, witnessed=witnessed))
        stack.enter_context(told_to_stop(stop))
        if listen is not None:
            output.note(f"metrics at {stack.enter_context(_served(spool, sender.traffic, listen))}")
        if follow:
            sender.run(_telling(sender.traffic, stop))
            done = True
        else:
            with output.progress("sending", spool.counts().depth) as step:
                done = sender.drain(_stepping(sender.traffic, stop, step))
        counts = spool.counts()
    _finish(sender.traffic, counts, done=done or stop.is_set(), as_json=as_json)
    if sender.traffic.set_aside and not follow:
        raise typer.Exit(1)


@contextmanager
def _sender(spool: Spool, connection: Connection, *, witnessed: bool) -> Iterator[Sender]:
    try:
        from platemark.rpc import Wait
        from platemark.spool.ledger import LedgerDelivery
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "platemark":
            raise
        raise MissingExtraError('this command talks to a ledger: pip install "platemark[rpc]"') from None
    wait = Wait.WITNESSED if witnessed else Wait.LOGGED
    with LedgerDelivery(connection.open, wait=wait) as delivery, Sender(spool, delivery) as sender:
        yield sender


@contextmanager
def _served(spool: Spool, traffic: Traffic, address: str) -> Iterator[str]:
    try:
        from prometheus_client import CollectorRegistry

        from platemark.cli.metrics import serve
        from platemark.spool.metrics import SpoolCollector
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "platemark":
            raise
        raise MissingExtraError('--listen: pip install "platemark[audit]"') from None
    registry = CollectorRegistry()
    SpoolCollector(spool, traffic=traffic).register(registry)
    with serve(registry, address) as url:
        yield url


def _telling(traffic: Traffic, stop: threading.Event) -> Callable[[float], bool]:
    """Waits, and says on standard error when the ledger goes away, and when it takes statements again."""
    said = ""

    def wait(seconds: float) -> bool:
        nonlocal said
        now = "" if traffic.error is None else str(traffic.error)
        if now != said:
            output.note(
                f"platemark: not sent, trying again: {now}" if now else "platemark: the ledger takes statements"
            )
            said = now
        return stop.wait(seconds)

    return wait


def _stepping(traffic: Traffic, stop: threading.Event, step: Callable[[int], None]) -> Callable[[float], bool]:
    """Waits, and moves the progress bar by what became of statements since the last time."""
    before = 0

    def wait(seconds: float) -> bool:
        nonlocal before
        now = traffic.logged + traffic.set_aside
        step(now - before)
        before = now
        return stop.wait(seconds)

    return wait


def _finish(traffic: Traffic, counts: Counts, *, done: bool, as_json: bool) -> None:
    """Say what became of it; raise what the ledger did when nothing else is to be tried."""
    sentence = f"{traffic.logged} logged, {traffic.set_aside} set aside, {counts.depth} waiting"
    if not done and traffic.error is not None:
        output.note(f"{sentence}; nothing is lost, and running this again goes on")
        raise _original(traffic.error)
    if as_json:
        output.say_json({"logged": traffic.logged, "set_aside": traffic.set_aside, "pending": counts.depth})
        return
    output.say(sentence)


def _original(error: DeliveryError | SpoolError) -> PlatemarkError:
    """What the client raised, which has the exit code of every other command."""
    return error.__cause__ if isinstance(error.__cause__, PlatemarkError) else error
