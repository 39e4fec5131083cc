"""Storage Commitment towards a PACS: we are the SCU that asks it to commit to what it stored (PS3.4 annex J).

The PACS reports over the association of the request, or over one that it opens to us; so the receiver, too, binds
`CommitmentReports`. What a PACS does not report on is asked again; what it does not commit to is sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pynetdicom import build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made when the module is loaded
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from platemark.gateway._commitment_sets import CommitmentError, Reference, Report, read_report, write_request
from platemark.gateway.calling import PeerError, associate, end
from platemark.gateway.journal import DeliveryState, Journal, JournalError

if TYPE_CHECKING:
    from pynetdicom.events import Event, EventHandlerType

    from platemark.gateway._commitment_sets import Dataset
    from platemark.gateway.commitments import Commitments
    from platemark.gateway.forwarding import Backoff, Destination
    from platemark.gateway.journal import Delivery

__all__ = ["CommitmentReports", "CommitmentScu"]

_log = logging.getLogger("platemark.gateway.commitment")
_SECOND = 10**9
_SUCCESS, _FAILURE, _NOT_ASKED = 0x0000, 0x0110, 0x0115
_REFUSED = "refused"
_KEEP_NS = 7 * 24 * 3600 * _SECOND


class CommitmentReports:
    """Takes the reports of PACSs into the journal. Safe to share between threads.

    Who names a transaction UID of ours in a report has seen our request: it is random, 122 bits.
    """

    def __init__(
        self, journal: Journal, commitments: Commitments, *, backoff: Backoff, now: Callable[[], int] = time.time_ns
    ) -> None:
        self._journal, self._commitments = journal, commitments
        self._backoff, self._now = backoff, now

    def handlers(self) -> list[EventHandlerType]:
        """What the receiver binds to its server; it also has to accept StorageCommitmentPushModel, the peer as SCP."""
        return [(evt.EVT_N_EVENT_REPORT, self.reported)]

    def reported(self, event: Event) -> tuple[int, Dataset | None]:
        """For EVT_N_EVENT_REPORT: the status, success only once it is in the journal."""
        try:
            report = read_report(event.event_information)
        except CommitmentError as error:
            _log.warning("a report is refused", extra={"reason": str(error)})
            return _NOT_ASKED, None
        except Exception as error:  # noqa: BLE001 - pydicom raises whatever it meets in what a stranger sent
            _log.warning("a report cannot be read", extra={"reason": type(error).__name__})
            return _NOT_ASKED, None
        try:
            return (_SUCCESS if self._take(report) else _NOT_ASKED), None
        except JournalError as error:
            _log.error("storage commitment: %s", error)
            return _FAILURE, None

    def _take(self, report: Report) -> bool:
        """Whether it answers something that we asked."""
        found = self._commitments.asked(report.transaction_uid)
        if found is None:
            _log.warning("a report is refused", extra={"reason": "its transaction is none of ours"})
            return False
        destination, objects = found
        # Crash within this loop: the rest is asked again.
        for reference in report.committed:
            for object_id in objects.get(reference, ()):
                self._journal.committed(object_id, destination)
        for failure in report.failed:
            for object_id in objects.get(failure.reference, ()):
                self._refused(object_id, destination, failure.reason)
        return True

    def _refused(self, object_id: str, destination: str, code: int) -> None:
        standing = self._journal.get(object_id)
        if standing is None:
            return
        tries = next((each.attempts for each in standing.deliveries if each.destination == destination), 1)
        reason = f"the PACS stored it and does not commit to it (reason {code:04X})"
        about = {"object": object_id, "destination": destination, "fault": "not-committed", "reason": reason}
        _log.error("object not committed to, it is sent again", extra=about)
        not_before = self._now() + int(self._backoff.wait(tries, 0.0) * _SECOND)
        self._journal.not_committed(object_id, destination, f"not-committed: {reason}", not_before)


class CommitmentScu:
    """Asks one destination to commit to what was stored there. For one thread, that of its forwarder.

    A request names up to `most` instances, and goes `gather_s` seconds after the first of them was stored, so that a
    study takes few. The association is kept for `linger_s` seconds for a report; unanswered, it is asked again after
    `again_s`. A PACS that refuses a request is asked for half as many, down to one, so that an instance that it cannot bear
    to be asked about holds up no other.
    """

    def __init__(
        self,
        journal: Journal,
        commitments: Commitments,
        destination: Destination,
        *,
        most: int = 500,
        gather_s: float = 1.0,
        linger_s: float = 2.0,
        again_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._journal, self._commitments, self._destination = journal, commitments, destination
        self._most, self._gather_s, self._linger_s, self._again_s = most, gather_s, linger_s, again_s
        self._clock, self._now = clock, now
        self._reports = CommitmentReports(journal, commitments, backoff=destination.object_backoff, now=now)
        self._since: float | None = None  # when something to ask for was first seen
        self._failures = 0
        self._size = most  # of the next request
        self._not_before = 0.0  # of the next request, on `clock`

    def turn(self) -> None:
        """Ask for what is to be asked for now. Raises JournalError."""
        clock = self._clock()
        if clock < self._not_before:
            return
        deliveries = self._journal.to_commit(self._destination.name, self._size)
        if not deliveries:
            self._since = None
            return
        if self._since is None:
            self._since = clock
        if len(deliveries) < self._size and clock - self._since < self._gather_s:
            return
        self._since = None
        try:
            self._ask(deliveries)
        except PeerError as error:
            self._failed(deliveries, error)
        else:
            self._failures = 0
            self._size = min(self._most, self._size * 2)

    def _failed(self, deliveries: list[Delivery], error: PeerError) -> None:
        about = {"destination": self._destination.name, "reason": str(error)}
        _log.warning("a PACS does not take a request for storage commitment", extra=about)
        self._failures += 1
        wait = self._destination.backoff.wait(self._failures, 0.0)
        self._not_before = self._clock() + wait
        if error.name != _REFUSED:
            return
        self._size = max(1, len(deliveries) // 2)
        if len(deliveries) == 1:
            self._put_off(deliveries, 2 * wait)  # those behind it go first

    def _ask(self, deliveries: list[Delivery]) -> None:
        """One N-ACTION. Raises PeerError."""
        self._commitments.forget(self._now() - _KEEP_NS)
        transaction_uid = self._commitments.ask(self._destination.name, deliveries)
        # Crash from here on: the objects are still to be committed to, and are asked for again.
        named = (Reference(each.received.sop_class, each.received.sop_instance) for each in deliveries)
        references = list(dict.fromkeys(named))
        answered = threading.Event()

        def reported(event: Event) -> tuple[int, Dataset | None]:
            answer = self._reports.reported(event)
            answered.set()
            return answer

        association = associate(
            self._destination.peer,
            [build_context(StorageCommitmentPushModel)],
            handlers=[(evt.EVT_N_EVENT_REPORT, reported), (evt.EVT_CONN_CLOSE, lambda _: answered.set())],
        )
        try:
            status, _ = association.send_n_action(
                write_request(transaction_uid, references),
                1,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            if status.get("Status") != _SUCCESS:
                said = f"status {status.Status:04X}" if "Status" in status else "no answer"
                raise PeerError(_REFUSED, said)
            self._put_off(deliveries, self._again_s)
            answered.wait(self._linger_s if self._open(deliveries) else 0)
        except (RuntimeError, ValueError) as error:  # it ended meanwhile, or the context is not accepted
            raise PeerError("not-accepted", str(error)) from None
        finally:
            end(association)

    def _put_off(self, deliveries: list[Delivery], seconds: float) -> None:
        """They are asked for again, if no report comes."""
        not_before = self._now() + int(seconds * _SECOND)
        for each in deliveries:
            self._journal.asked(each.received.object_id, self._destination.name, not_before)

    def _open(self, deliveries: list[Delivery]) -> bool:
        """Whether the PACS still owes a report on the last of them: it may have come by another association."""
        standing = self._journal.get(deliveries[-1].received.object_id)
        states = {each.destination: each.state for each in standing.deliveries} if standing is not None else {}
        return states.get(self._destination.name) is DeliveryState.SENT
