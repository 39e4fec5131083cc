"""The publisher: gives the anchored checkpoint to the world, with post-quantum signature, witnesses and time.

One worker of all holds the publisher's seat (seat.py) and does this, in a thread with an event loop of its own; appends never
wait for it. About every `publish_interval`, and at once when somebody waits:

1. Take the newest anchored checkpoint and add the log's ML-DSA-44 line.
   Crash here: nothing has left.
2. Ask every witness of the policy. As soon as the quorum has cosigned, and a moment later, go on with what there is.
   Crash here: witnesses have cosigned what the anchor holds for ever; the next publisher asks again, and is told the size.
3. Store note and cosignatures in one transaction, under the sequencer's lock. Only now does anybody see them.
   Crash here: as before or as after, never half.
4. Wake who waits. About every `tsa_interval`, ask each authority to stamp the newest published checkpoint, and store each stamp
   in a transaction of its own.
   Crash before it is stored: the stamp is lost, and the next publisher asks for another one at once.

Step 4 comes after step 3 and not before it, so that nobody who waits for witnesses waits for an authority as well.

Fails closed: with a witness policy, nothing is stored as witnessed without its quorum, however long that lasts. Time goes on
without witnesses: when a stamp is due and there is no quorum, the checkpoint is stored unwitnessed and stamped.

A witness that shows another past, signed by this log, stops publishing for good (RollbackError): alarm, and a mark beside the
data that outlives every process (rollback.py). The operator finds out which past is the true one before anything else
(deploy/README.md, section 5). Time stamps go on.

A commit that fails poisons the ledger. Published checkpoints that cannot be read or stored before that stop publishing by this
process, with an alarm, and nothing else: appends do not depend on them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from platemark_ledger.asking import open_client
from platemark_ledger.errors import FatalError, PoisonedError
from platemark_ledger.lock import SequencerLock
from platemark_ledger.seat import Seat
from platemark_ledger.term import CommitError, Term

if TYPE_CHECKING:
    from platemark_ledger.opening import Ledger
    from platemark_ledger.quorum import Quorum
    from platemark_ledger.settings import Settings

__all__ = ["Publisher"]

_log = logging.getLogger("platemark.publisher")
_SEAT = 1.0  # seconds between attempts to take the seat


class Publisher:
    """Publishes for one ledger between `start` and `stop`, whenever this process holds the seat.

    `on_failure` is called once, from the publisher's thread, when a commit failed: the ledger is poisoned then.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        quorum: Quorum | None,
        *,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._quorum = quorum
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._ended = threading.Event()  # nothing of the ledger is used any more
        self._thread = threading.Thread(target=self._run, name="platemark-publisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether it uses nothing of the ledger any more."""
        return self._ended.is_set() or not self._thread.is_alive()

    def stop(self, *, timeout: float | None = None) -> None:
        """End it, within `timeout` seconds if it can; questions under way are given up and asked again by the next publisher."""
        self._stopping.set()
        # Not the thread: the resolver of an address that does not answer may hold it up, and it is a daemon.
        self._ended.wait(timeout)

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        finally:
            self._ended.set()

    async def _publish(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    await self._take_and_hold()
                except PoisonedError as error:
                    _log.warning("publishing ends: %s", error)
                    return
                except CommitError as error:
                    _log.critical("publishing stops for good: %s", error)
                    if self._on_failure is not None:
                        self._on_failure(error.reason)
                    return
                except FatalError as error:
                    _log.critical(
                        "PUBLISHING HAS STOPPED in this process until it is restarted: %s; appends go on", error
                    )
                    return
                except Exception:  # noqa: BLE001 -- said just below
                    # A fault of ours must not end publishing; the seat was given back, and this worker or another takes it.
                    _log.exception("publishing was interrupted")
                    await asyncio.sleep(_SEAT)
        finally:
            self._ended.set()

    async def _take_and_hold(self) -> None:
        seat = Seat(self._settings.seat)
        # A description of its own: flock then keeps the publisher and the sequencer of one process apart as well.
        lock = SequencerLock(self._ledger.lock.path)
        try:
            while not self._stopping.is_set():
                if seat.take():
                    async with open_client() as client:
                        term = Term(self._ledger, self._settings, self._quorum, seat=seat, lock=lock, client=client)
                        await term.hold(self._stopping)
                    return
                await asyncio.sleep(min(_SEAT, self._settings.publish_interval))
        finally:
            lock.close()
            seat.close()
