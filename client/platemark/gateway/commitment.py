"""Storage Commitment towards the modalities: a Push Model SCP (PS3.4 annex J).

We commit to an instance when every PACS that it has to reach has it (and has committed to it, where the settings say
so), and its signed statement is safe in the spool. Then a modality may delete its copy. A request is answered with
success once it is on disk, and reported when all of its instances are decided, over the modality's own association
while that is open, else over one to the address in the settings, else when the modality calls again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made when the module is loaded
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from platemark.gateway._commitment_sets import (
    CLASS_INSTANCE_CONFLICT,
    DUPLICATE_TRANSACTION,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    CommitmentError,
    Reference,
    Report,
    read_request,
    write_report,
)
from platemark.gateway.calling import Peer, PeerError, associate, end
from platemark.gateway.commitments import COMMITTED, Commitments, FullError, Request
from platemark.gateway.forwarding import Backoff
from platemark.gateway.journal import Capture, DeliveryState, Journal, JournalError, Standing
from platemark.gateway.modalities import Modalities

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event, EventHandlerType

    from platemark.gateway._commitment_sets import Dataset

__all__ = ["CommitmentScp", "decide"]

_log = logging.getLogger("platemark.gateway.commitment")
_SECOND = 10**9
_BATCH = 100
_BACKOFF = Backoff(5.0, 600.0)
# Statuses of N-ACTION: PS3.7 annex C.
_SUCCESS, _FAILURE, _NO_SUCH_INSTANCE, _BAD_ARGUMENT = 0x0000, 0x0110, 0x0112, 0x0115
_NO_SUCH_ACTION, _NO_RESOURCES = 0x0123, 0x0213


def decide(journal: Journal, reference: Reference, calling: str) -> int | None:
    """COMMITTED, the standard's reason why never, or None while it may still become one of them.

    When an instance came several times, the newest of this AE title counts, else the newest of all: it is the one that
    the modality would delete. Raises JournalError.
    """
    found = journal.newest(reference.sop_class, reference.sop_instance, calling)
    if found is not None:
        return _outcome(found)
    return CLASS_INSTANCE_CONFLICT if journal.knows(reference.sop_instance) else NO_SUCH_INSTANCE


def _outcome(standing: Standing) -> int | None:
    states = {each.state for each in standing.deliveries}
    if standing.capture is Capture.FAILED or DeliveryState.NEVER in states:
        return PROCESSING_FAILURE
    # Without a destination (mode copy) nobody but the modality has the object, whatever is in the spool.
    if standing.capture is Capture.CAPTURED and states == {DeliveryState.DONE}:
        return COMMITTED
    return None


class CommitmentScp:
    """Takes requests in the receiver's threads, and reports in a thread of its own.

    `modalities` are the peers, by AE title, that reports may be delivered to. A request that is not decided after
    `decide_s` seconds is reported as failed, one whose report nobody took after `keep_s` is dropped, with an error in
    the log; in both cases the modality keeps its copy. `identify` gives the identity in a client's certificate.
    """

    def __init__(
        self,
        journal: Journal,
        commitments: Commitments,
        modalities: Mapping[str, Peer],
        *,
        identify: Callable[[Association], str | None],
        decide_s: float = 24 * 3600.0,
        keep_s: float = 7 * 24 * 3600.0,
        answer_s: float = 30.0,
        backoff: Backoff = _BACKOFF,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._journal, self._commitments, self._peers = journal, commitments, modalities
        self._open = Modalities(identify)
        self._decide_s, self._keep_s, self._answer_s = decide_s, keep_s, answer_s
        self._backoff, self._now = backoff, now
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def handlers(self) -> list[EventHandlerType]:
        """What the receiver binds to its server; it also has to accept StorageCommitmentPushModel."""
        return [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_RELEASED, self._open.ended),
            (evt.EVT_ABORTED, self._open.ended),
            (evt.EVT_CONN_CLOSE, self._open.ended),
            (evt.EVT_N_ACTION, self.requested),
        ]

    def start(self, *, poll_s: float = 0.2) -> None:
        """Report from now on; every `poll_s` seconds it is seen what there is."""

        def report() -> None:
            while not self._stop.wait(poll_s):
                try:
                    self.turn()
                except JournalError as error:
                    _log.error("storage commitment: %s", error)

        self._thread = threading.Thread(target=report, name="commitment", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the report under way. What is not reported is reported after the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def requested(self, event: Event) -> tuple[int, Dataset | None]:
        """For EVT_N_ACTION: the status, success only once the request is on disk."""
        read = _read(event)
        if isinstance(read, int):
            return read, None
        transaction_uid, references = read
        try:
            requester = self._open.requester(event.assoc)
            self._commitments.request(transaction_uid, requester, references, refused=DUPLICATE_TRANSACTION)
        except FullError as error:
            _log.warning("a request is refused", extra={"reason": str(error)})
            return _NO_RESOURCES, None
        except JournalError as error:
            _log.error("storage commitment: %s", error)
            return _FAILURE, None
        # Crash here: the modality has no answer and asks again; both requests are reported.
        return _SUCCESS, None

    def turn(self) -> None:
        """Decide what can be decided, and report what is. Raises JournalError."""
        for request in self._commitments.due(_BATCH):
            if self._stop.is_set():
                return
            if not request.decided:
                request = self._decided(request)  # noqa: PLW2901 - the same request, further on
            if request.decided:
                self._report(request)

    def _decided(self, request: Request) -> Request:
        """The request with what the journal knows by now."""
        age_ns = self._now() - request.requested_ns
        news: dict[int, int] = {}
        for position, outcome in enumerate(request.outcomes):
            if outcome is not None:
                continue
            found = decide(self._journal, request.references[position], request.requester.calling)
            if found is None and age_ns > self._decide_s * _SECOND:
                found = PROCESSING_FAILURE
            if found is not None:
                news[position] = found
        outcomes = tuple(news.get(position, outcome) for position, outcome in enumerate(request.outcomes))
        # Young requests are looked at often, old ones seldom; at most every ten seconds.
        wait_ns = 0 if None not in outcomes else min(10 * _SECOND, max(_SECOND // 5, age_ns // 10))
        self._commitments.decide(request.number, news, not_before_ns=self._now() + wait_ns)
        return Request(
            request.number,
            request.transaction_uid,
            request.requester,
            request.requested_ns,
            request.attempts,
            request.references,
            outcomes,
        )

    def _report(self, request: Request) -> None:
        report, who = request.report(), request.requester
        if report.failed:
            _log.warning(
                "storage commitment: %d of %d instances are not committed to",
                len(report.failed),
                len(request.references),
            )
        opened = self._open.of(who)
        taken = opened is not None and opened.report(report, answer_s=self._answer_s)
        if not taken and who.calling in self._peers:
            taken = _deliver(self._peers[who.calling], report)
        if taken:
            # Crash before this line: the modality gets the same report again.
            self._commitments.reported(request.number)
        elif self._now() - request.requested_ns > self._keep_s * _SECOND:
            _log.error("a report is dropped, nobody took it", extra={"calling": who.calling})
            self._commitments.reported(request.number)
        else:
            wait = self._backoff.wait(request.attempts + 1, 0.0)
            self._commitments.not_reported(request.number, not_before_ns=self._now() + int(wait * _SECOND))

    def _accepted(self, event: Event) -> None:
        self._open.accepted(event)
        if any(each.abstract_syntax == StorageCommitmentPushModel for each in event.assoc.accepted_contexts):
            try:
                self._commitments.wake(self._open.requester(event.assoc))
            except JournalError as error:
                _log.error("storage commitment: %s", error)


def _deliver(peer: Peer, report: Report) -> bool:
    """Report over an association of our own, as the SCP that we are; whether the modality has taken it."""
    try:
        association = associate(
            peer,
            [build_context(StorageCommitmentPushModel)],
            roles=[build_role(StorageCommitmentPushModel, scp_role=True)],
        )
    except PeerError as error:
        _log.warning("a report cannot be delivered", extra={"reason": str(error)})
        return False
    try:
        kind, content = write_report(report)
        status, _ = association.send_n_event_report(
            content, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError) as error:  # it ended meanwhile, or the context is not accepted
        _log.warning("a report cannot be delivered", extra={"peer": str(peer), "reason": str(error)})
        return False
    finally:
        end(association)
    return "Status" in status and bool(status.Status == _SUCCESS)


def _read(event: Event) -> tuple[str, tuple[Reference, ...]] | int:
    """Transaction UID and references of an N-ACTION, or the status that refuses it."""
    if getattr(event.request, "RequestedSOPInstanceUID", None) != StorageCommitmentPushModelInstance:
        return _NO_SUCH_INSTANCE
    if event.action_type != 1:
        return _NO_SUCH_ACTION
    who = event.assoc.requestor.ae_title
    try:
        return read_request(event.action_information)
    except CommitmentError as error:
        _log.warning("a request is refused", extra={"calling": who, "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever it meets in what a stranger sent
        _log.warning("a request cannot be read", extra={"calling": who, "reason": type(error).__name__})
    return _BAD_ARGUMENT
