"""The gateway as a whole: what it is made of, how it starts, watches over its parts, and stops."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import files
from platemark.errors import PlatemarkError
from platemark.gateway import checking, recovery, work
from platemark.gateway.journal import Journal, JournalError
from platemark.gateway.metrics import GatewayMetrics
from platemark.gateway.outward import Commitment
from platemark.gateway.parts import Part
from platemark.gateway.pressure import Pressure
from platemark.gateway.receiver import Receiver
from platemark.gateway.stopping import alone, stop_signals
from platemark.spool import Spool
from platemark.vault import Vault

if TYPE_CHECKING:
    from platemark.gateway.settings import Gateway

__all__ = ["Ready", "serve"]

_LOOK = 0.1  # seconds between two looks at parts and journal
_CLEAR = 1.0  # seconds between two removals of what is done, and up to this many times as long when nothing was
_CLEAR_LONGEST = 10.0
_FORGET = 3600.0
_DAY_NS = 24 * 3600 * 10**9
_START = 60.0  # seconds that the parts have to be ready
_LOG = logging.getLogger("platemark.gateway")


@dataclass(frozen=True)
class Ready:
    """Where a gateway that takes objects is to be found."""

    address: str
    port: int
    ae_title: str
    metrics: str | None


def serve(gateway: Gateway, *, started: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT. Everything that was acknowledged is on disk, whatever happens at any point.

    Raises ConfigError, FileError, KeyFileError, VaultError, JournalError for what stands in the way of a start, and
    PlatemarkError when another gateway has the state directory.
    """
    warnings.simplefilter("ignore")  # pydicom warns of every value that does not conform, and quotes it
    stopping = stop_signals()
    recovery.make_directories(gateway)
    with alone(gateway.state_dir, "gateway"), ExitStack() as stack:
        checking.check_local(gateway)
        _make_vault(gateway)
        journal = stack.enter_context(closing(Journal(gateway.journal, destinations=gateway.destinations)))
        found = recovery.recover(gateway, journal)
        _LOG.info("recovered", extra=vars(found))
        spool = stack.enter_context(Spool(gateway.spool))
        metrics = GatewayMetrics()
        commitment = Commitment(gateway, journal)
        commitment.show_in(metrics.registry)
        receiver = _receiver(gateway, journal, metrics, commitment)
        parts = _parts(gateway)
        metrics.watch(gateway, journal, spool, parts, lambda: receiver.associations, missing=found.missing)
        url = stack.enter_context(metrics.served(gateway.metrics.listen))
        # Last in, first out: receive no more, then end the parts, then close what they worked on.
        stack.enter_context(_running(parts))
        _await(parts, stopping)
        commitment.start()
        stack.callback(commitment.stop)
        receiver.start()
        stack.callback(receiver.stop)
        started(Ready(*receiver.address, gateway.receive.ae_title, url))
        _LOG.info("receiving", extra={"address": receiver.address[0], "port": receiver.address[1], "metrics": url})
        _watch(gateway, journal, parts, stopping)
        _LOG.info("stopping")
    _LOG.info("stopped")


def _make_vault(gateway: Gateway) -> None:
    """Make the vault on the first start. Crash here: it is made by the next one."""
    recipient = gateway.sign.vault_recipient
    if recipient is not None and not (gateway.vault / "vault.sqlite").exists():
        Vault.create(gateway.vault, files.read(recipient, limit=64 * 1024)).close()


def _receiver(gateway: Gateway, journal: Journal, metrics: GatewayMetrics, commitment: Commitment) -> Receiver:
    try:
        return Receiver(
            gateway,
            journal,
            Pressure(gateway.limits, journal, gateway.state_dir),
            tally=metrics,
            handlers=commitment.handlers,
            contexts=commitment.contexts,
        )
    except OSError as error:
        raise PlatemarkError(f"receive.listen: {gateway.receive.listen}: {error.strerror or error}") from None


def _parts(gateway: Gateway) -> list[Part]:
    # What hashes gives way to what listens: it can be made up for.
    parts = [Part("sign", work.sign, gateway, nice=10)]
    if gateway.ledger is not None:
        parts.append(Part("send", work.send, gateway))
    if gateway.destinations:
        parts.append(Part("forward", work.forward, gateway))
    return parts


@contextmanager
def _running(parts: list[Part]) -> Iterator[None]:
    try:
        for each in parts:
            each.look()
        yield
    finally:
        for each in parts:
            each.stop()
        for each in parts:
            each.join()


def _await(parts: list[Part], stopping: list[int]) -> None:
    """Wait for the parts before anything is received: a gateway that cannot sign should not look as if it could."""
    deadline = time.monotonic() + _START
    for each in parts:
        while not stopping and not each.wait_ready(_LOOK):
            each.look()
            if time.monotonic() > deadline:
                raise PlatemarkError(
                    f"the process that has to {each.name} is not ready after {_START:g} s; see the log"
                )


def _watch(gateway: Gateway, journal: Journal, parts: list[Part], stopping: list[int]) -> None:
    """Until a signal comes: keep the parts running, remove what is done, forget what is old."""
    pause, clear_at, forget_at = _CLEAR, 0.0, 0.0
    while not stopping:
        time.sleep(_LOOK)
        for each in parts:
            each.look()
        now = time.monotonic()
        try:
            if now >= clear_at:
                pause = _CLEAR if recovery.clear(journal) else min(_CLEAR_LONGEST, pause * 1.5)
                clear_at = now + pause
            if now >= forget_at:
                journal.forget(time.time_ns() - int(gateway.limits.keep_days * _DAY_NS))
                forget_at = now + _FORGET
        except JournalError as error:
            _LOG.error("the journal cannot be cleared", extra={"reason": str(error)})
            clear_at = forget_at = now + _CLEAR_LONGEST
