"""What the processes beside the receiver do: sign, send, forward. Each until it is told to stop."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from platemark.chain import Chain
from platemark.errors import PlatemarkError
from platemark.gateway.capturing import full_measurement
from platemark.gateway.journal import Journal
from platemark.gateway.signing_line import SigningLine
from platemark.gateway.strikes import Strikes
from platemark.signing import Clock
from platemark.spool import Spool
from platemark.vault import Vault

if TYPE_CHECKING:
    from platemark.cli.connect import Connection
    from platemark.gateway.parts import Stop
    from platemark.gateway.settings import Gateway, Sign
    from platemark.spool.sender import Traffic

__all__ = ["clock_of", "connection", "forward", "open_chain", "send", "sign"]

_IDLE = 0.05  # seconds between two looks at a journal that has nothing to sign
_LONGEST = 10.0  # seconds between two attempts while this machine is at fault
_DECODERS = 0.8  # of the time for measuring, so that a slow decoder costs an object its pixels and no more
_MS = 1_000_000
_LOG = logging.getLogger("platemark.gateway.sign")


def sign(gateway: Gateway, stop: Stop, ready: Callable[[], None]) -> None:
    """The signing line. Raises what is wrong with key, vault, spool or journal at the start."""
    from platemark.gateway import outward

    chain = open_chain(gateway.sign)
    worklist = outward.worklist(gateway)
    strikes = Strikes(gateway.state_dir / "measuring")
    seconds = gateway.sign.measure_seconds
    with (
        closing(strikes),
        closing(Journal(gateway.journal, destinations=gateway.destinations)) as journal,
        Spool(gateway.spool) as spool,
        Vault(gateway.vault) as vault,
    ):
        line = SigningLine(
            journal=journal,
            spool=spool,
            vault=vault,
            chain=chain,
            strikes=strikes,
            clock=clock_of(gateway.sign),
            stated=None if worklist is None else worklist.stated,
            measure=partial(full_measurement, seconds=seconds * _DECODERS),
        )
        threading.Thread(target=_watchdog, args=(strikes, seconds), daemon=True, name="watchdog").start()
        ready()
        failures = 0
        while not stop.is_set():
            try:
                busy = line.step(stop.is_set) > 0
                failures = 0
            except PlatemarkError as error:
                failures += 1
                busy = False
                _LOG.error("nothing can be signed", extra={"reason": str(error), "failures": failures})
            if not busy:
                stop.wait(min(_LONGEST, _IDLE * 2.0 ** min(failures, 10)))


def send(gateway: Gateway, stop: Stop, ready: Callable[[], None]) -> None:
    """The sender of the spool; what a ledger that is away or refuses means is the sender's to say."""
    from platemark.spool.ledger import LedgerDelivery
    from platemark.spool.sender import Sender

    connect = connection(gateway)
    if connect is None:
        raise PlatemarkError("no [ledger] to send to")
    with Spool(gateway.spool) as spool, LedgerDelivery(connect.open) as deliver, Sender(spool, deliver) as sender:
        ready()
        sender.run(_Teller(sender.traffic, stop).wait)


def forward(gateway: Gateway, stop: Stop, ready: Callable[[], None]) -> None:
    """Every object to every PACS."""
    from platemark.gateway import outward

    ready()
    outward.forward(gateway, stop)


def open_chain(sign: Sign) -> Chain:
    """The chain of the key, begun as a gateway's. Raises KeyFileError, FileError, StateError."""
    from platemark.cli.passphrases import open_key

    chain = Chain(sign.key, open_key(sign.key, sign.passphrase_file))
    chain.begin(issuer=sign.device, role="gateway")
    return chain


def clock_of(sign: Sign) -> Clock:
    """What the statements say of the clock."""
    return Clock(sign.clock_source, None if sign.clock_error_ms is None else sign.clock_error_ms * _MS)


def connection(gateway: Gateway) -> Connection | None:
    """How to reach the ledger. Raises FileError, TrustError for a trust file."""
    from platemark.cli.connect import Connection, load_trust

    ledger = gateway.ledger
    if ledger is None:
        return None
    return Connection(
        server=ledger.server,
        tls_ca=ledger.tls_ca,
        tls_certificate=ledger.tls_certificate,
        tls_key=ledger.tls_key,
        tls_name=ledger.tls_server_name,
        trusted=load_trust(ledger.trust),
    )


def _watchdog(strikes: Strikes, seconds: float) -> None:
    """End the process when one object takes too long: the next one captures it bare."""
    while True:
        time.sleep(min(1.0, seconds / 4))
        began = strikes.began
        if began is not None and time.monotonic() - began > seconds:
            strikes.condemn()
            _LOG.error("measuring takes too long", extra={"seconds": seconds})
            os._exit(3)


class _Teller:
    """Waits for a sender, and logs what became of its statements meanwhile: each reason once."""

    def __init__(self, traffic: Traffic, stop: Stop) -> None:
        self._traffic, self._stop = traffic, stop
        self._said: str | None = None
        self._set_aside = 0
        self._log = logging.getLogger("platemark.gateway.send")

    def wait(self, seconds: float) -> bool:
        """Until it is time, or True when the gateway stops."""
        error = self._traffic.error
        said = "" if error is None else str(error)
        if said and said != self._said:
            self._log.warning("the ledger takes nothing", extra={"reason": said})
        elif self._said and not said:
            self._log.info("the ledger takes statements again")
        self._said = said
        if self._traffic.set_aside > self._set_aside:
            number = self._traffic.set_aside - self._set_aside
            self._log.error(
                "statements were refused and set aside: platemark spool list says why", extra={"number": number}
            )
            self._set_aside = self._traffic.set_aside
        return self._stop.wait(seconds)
