"""The signing line: takes objects from the journal in order of arrival and brings each one into the spool, once.

For one object: measure; disclosure into the vault; the next statement of the chain; the spool, under the object's id; the
journal. A crash between any two of these steps is mended by taking the same object again:

- before the chain has reserved a place: nothing has happened but, perhaps, a disclosure of a root that nobody names;
- after it, before the spool has the statement: `Chain.last` signs the very same statement again, no gap, no fork;
- after that: the spool gives the statement under the object's id, and only the journal is behind.

An object can never stop the line. What cannot be measured is captured bare; what ends this process twice, or takes longer than
it may, is captured bare as well; what cannot be read at all is set aside, kept and named. Only what is wrong with this
machine (a full disk, a key that cannot be read) stops the line, until it is mended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from platemark import statement
from platemark.errors import CaptureError, FormatError
from platemark.gateway.capturing import Measure, bare_measurement, full_measurement, sender_attributes
from platemark.rungs import SHA256
from platemark.signing import Clock, sign_capture
from platemark.spool import Full

if TYPE_CHECKING:
    from platemark.attributes import AttributeValue
    from platemark.chain import Chain
    from platemark.gateway.journal import Journal, Received
    from platemark.gateway.strikes import Strikes
    from platemark.rungs import Measurement
    from platemark.spool import Spool
    from platemark.statement import Statement
    from platemark.vault import Vault

__all__ = ["SigningLine", "Stated"]

ORIGIN = "gateway-received"
_AHEAD = 32  # objects read from the journal at once
_WAITING = 100_000  # among which the one is looked for at which a crash came
_LOG = logging.getLogger("platemark.gateway.sign")

Stated = Callable[["Received", "Measurement"], "dict[str, AttributeValue]"]
"""Attributes that others state of an object, such as the technologist of the worklist."""


class SigningLine:
    """One line, for one thread.

    `strikes` remembers across crashes which object is being measured. Without a vault disclosures would be lost, so there has
    to be one.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        spool: Spool,
        vault: Vault,
        chain: Chain,
        strikes: Strikes,
        clock: Clock,
        stated: Stated | None = None,
        measure: Measure = full_measurement,
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._vault = vault
        self._chain = chain
        self._strikes = strikes
        self._clock = clock
        self._stated = stated
        self._measure = measure
        # Whether the chain's last place may be that of a statement which the spool does not have.
        self._unsure = True

    def step(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Bring some objects into the spool; how many were found in the journal. `stopping` is asked before each.

        Raises StateError, SpoolError, VaultError, JournalError and what the signer raises: the machine's faults, after
        which the same step is tried again.
        """
        taken = self._interrupted_first(self._journal.to_capture(_WAITING)) if self._unsure else []
        taken = taken or self._journal.to_capture(_AHEAD)
        for each in taken:
            if stopping():
                break
            self._take(each)
        return len(taken)

    def _interrupted_first(self, waiting: list[Received]) -> list[Received]:
        """The object whose statement a crash kept from the spool, alone: before any other one is signed (no gap)."""
        last = self._chain.last()
        if last is None or self._spool.get(id=last.id) is not None:
            return []
        return [each for each in waiting if each.received_ns == last.payload.get("captured")]

    def _take(self, received: Received) -> None:
        entry = self._spool.get(key=received.object_id)
        if entry is not None:
            # A crash came between spool and journal.
            self._journal.captured(received.object_id, entry.id, digest=_dataset(statement.decode(entry.raw)))
            return
        self._strikes.begin(received.object_id)
        try:
            measured = self._measured(received)
        except CaptureError as error:
            _LOG.error("object cannot be captured", extra={"object": received.object_id, "reason": error.reason})
            self._journal.capture_failed(received.object_id, error.reason)
            return
        finally:
            self._strikes.end()
        digest = measured.digests["dataset"][SHA256]
        known = self._journal.same(received, digest)
        try:
            identity = known if known is not None else self._spooled(received, measured)
        except FormatError as error:
            # Not even what we say of it ourselves fits into a statement; nothing of the chain was used up.
            _LOG.error("object cannot be captured", extra={"object": received.object_id, "reason": str(error)})
            self._journal.capture_failed(received.object_id, str(error))
            return
        self._journal.captured(
            received.object_id,
            identity,
            digest=digest,
            study_uid=_text(measured, "study_instance_uid"),
            accession=_text(measured, "accession_number"),
        )
        # Crash here: done. The file may go once every destination has the object.

    def _measured(self, received: Received) -> Measurement:
        if self._strikes.hopeless(received.object_id):
            raise CaptureError(received.path, "whatever looks at it ends")
        if self._strikes.suspect(received.object_id):
            _LOG.error("object captured bare, measuring it has failed twice", extra={"object": received.object_id})
            return bare_measurement(received.path)
        try:
            return self._measure(received.path)
        except Exception as error:  # noqa: BLE001 - whatever a hostile object brings out in a parser
            _LOG.warning(
                "object captured bare",
                extra={"object": received.object_id, "reason": f"{type(error).__name__}: {_reason(error)}"},
            )
            return bare_measurement(received.path)

    def _spooled(self, received: Received, measured: Measurement) -> bytes:
        """The id of the statement, which is in the spool."""
        reserved = self._reserved(measured, received.received_ns) if self._unsure else None
        self._unsure = True
        made = reserved if reserved is not None else self._signed(received, measured)
        # The first statement that was spooled for the object counts, also when a crash had another one made.
        entry = self._spool.put(made.raw, key=received.object_id, full=Full.REFUSE)
        self._unsure = False
        root = cast("bytes", statement.decode(entry.raw).payload["attributes"])
        # Crash here: the vault does not know whose values these are, and who fetches the study looks through the log.
        if root in self._vault:  # it may have been erased from it since
            self._vault.link(root, entry.id, sync=False)
        return entry.id

    def _reserved(self, measured: Measurement, received_ns: int) -> Statement | None:
        """The statement at the last place of the chain, if it is of this object and never came into the spool."""
        last = self._chain.last()
        if last is None or self._spool.get(id=last.id) is not None:
            return None
        same = _dataset(last) == measured.digests["dataset"][SHA256]
        return last if same and last.payload.get("captured") == received_ns else None

    def _signed(self, received: Received, measured: Measurement) -> Statement:
        extra = sender_attributes(received)
        if self._stated is not None:
            extra |= self._stated(received, measured)
        try:
            return self._sign(received, measured, extra)
        except FormatError as error:
            # What an object says of itself fits into no statement; nothing of the chain was used up.
            _LOG.warning("object captured bare", extra={"object": received.object_id, "reason": str(error)})
            return self._sign(received, bare_measurement(received.path), sender_attributes(received))

    def _sign(self, received: Received, measured: Measurement, extra: dict[str, AttributeValue]) -> Statement:
        return sign_capture(
            measured,
            chain=self._chain,
            captured=received.received_ns,
            origin=ORIGIN,
            clock=self._clock,
            extra=extra,
            keep=self._vault.put,
        ).statement


def _dataset(capture: Statement) -> bytes | None:
    """SHA-256 of the rung `dataset` that a capture carries."""
    digests = capture.payload.get("digests")
    dataset = digests.get("dataset") if isinstance(digests, dict) else None
    found = dataset.get(SHA256) if isinstance(dataset, dict) else None
    return found if isinstance(found, bytes) else None


def _text(measured: Measurement, name: str) -> str | None:
    value = measured.attributes.get(name)
    return value if isinstance(value, str) else None


def _reason(error: Exception) -> str:
    """What went wrong without what the object holds: the reason of an error of ours never quotes a value."""
    return error.reason if isinstance(error, CaptureError) else ""
