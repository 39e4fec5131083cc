"""`platemark spool send`: the sender at work. Imported when it is wanted, as platemark.cli.spooling is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer

from platemark.cli import output
from platemark.cli.connect import Connection, MissingExtraError
from platemark.cli.spooling import opened
from platemark.cli.stopping import told_to_stop
from platemark.errors import PlatemarkError
from platemark.spool import Counts, DeliveryError, Sender, Spool, SpoolError, Traffic

__all__ = ["original", "run", "sending"]


def run(
    directory: Path, connection: Connection, *, follow: bool, witnessed: bool, listen: str | None, as_json: bool
) -> None:
    """Send what the spool in `directory` holds, and say what became of it. Raises PlatemarkError, typer.Exit."""
    stop = threading.Event()
    with ExitStack() as stack:
        spool = stack.enter_context(opened(directory))
        sender = stack.enter_context(sending(spool, connection, witnessed=witnessed))
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
def sending(spool: Spool, connection: Connection, *, witnessed: bool) -> Iterator[Sender]:
    """The sender of a spool, at work for a ledger. Raises MissingExtraError, SpoolBusyError."""
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
    registry.register(SpoolCollector(spool, traffic=traffic))
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
        raise original(traffic.error)
    if as_json:
        output.say_json({"logged": traffic.logged, "set_aside": traffic.set_aside, "pending": counts.depth})
        return
    output.say(sentence)


def original(error: DeliveryError | SpoolError) -> PlatemarkError:
    """What the client raised, which has the exit code of every other command."""
    return error.__cause__ if isinstance(error.__cause__, PlatemarkError) else error
