"""The open associations of modalities, over which a report of Storage Commitment may go while they last.

pynetdicom serves an association in a thread of its own and expects nobody else to send on it. Here the report goes
between two of its answers, and the modality's answer to it is picked out of what comes in, so that a modality that goes on
storing while we report notices nothing.
"""

from __future__ import annotations

import threading
from io import BytesIO
from typing import TYPE_CHECKING

from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made when the module is loaded
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from platemark.gateway._commitment_sets import Report, encode_report
from platemark.gateway.calling import send_whole_messages
from platemark.gateway.commitments import Requester

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynetdicom.association import Association
    from pynetdicom.events import Event

__all__ = ["Modalities", "OpenAssociation"]

_ANSWER = "N_EVENT_REPORT_RSP"


class OpenAssociation:
    """An association that a modality has opened, and on which it takes reports. For one reporting thread."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self._context_id, self._syntax = _context(association)
        self._message = 0
        self._answered = threading.Event()
        self._status: int | None = None  # of the message under way; owned by whoever got _answered
        self._send = send_whole_messages(association)
        association.bind(evt.EVT_DIMSE_RECV, self._received)

    def report(self, report: Report, *, answer_s: float) -> bool:
        """Send the report; whether the modality has taken it, within so many seconds."""
        kind, encoded = encode_report(report, self._syntax)
        if not self.association.is_established:
            return False
        request = N_EVENT_REPORT()
        self._message = self._message % 65_535 + 1
        request.MessageID = self._message
        request.AffectedSOPClassUID = StorageCommitmentPushModel
        request.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
        request.EventTypeID = kind
        request.EventInformation = BytesIO(encoded)
        self._status = None
        self._answered.clear()
        self._send(request, self._context_id)
        return self._answered.wait(answer_s) and self._status == 0

    def ended(self) -> None:
        """Nobody will answer any more."""
        self._answered.set()

    def _received(self, event: Event) -> None:
        message = event.message
        if type(message).__name__ != _ANSWER:
            return
        command = message.command_set
        if command.get("MessageIDBeingRespondedTo") == self._message:
            self._status = command.get("Status")
            self._answered.set()


class Modalities:
    """The open associations by who opened them. Shared between the threads that serve and the one that reports.

    `identify` gives the identity in the client's certificate, as the receiver records it with objects.
    """

    def __init__(self, identify: Callable[[Association], str | None]) -> None:
        self._identify = identify
        self._lock = threading.Lock()  # owns _open
        self._open: dict[Association, tuple[Requester, OpenAssociation]] = {}

    def requester(self, association: Association) -> Requester:
        """Who opened it."""
        opener = association.requestor
        return Requester(opener.ae_title.strip(), opener.address, self._identify(association))

    def accepted(self, event: Event) -> None:
        """For EVT_ACCEPTED: keep it, if reports may go over it."""
        association = event.assoc
        if any(each.abstract_syntax == StorageCommitmentPushModel for each in association.accepted_contexts):
            opened = OpenAssociation(association)
            with self._lock:
                self._open[association] = (self.requester(association), opened)

    def ended(self, event: Event) -> None:
        """For EVT_RELEASED, EVT_ABORTED and EVT_CONN_CLOSE."""
        with self._lock:
            found = self._open.pop(event.assoc, None)
        if found is not None:
            found[1].ended()

    def of(self, requester: Requester) -> OpenAssociation | None:
        """The newest open association of this very modality."""
        with self._lock:
            found = [opened for who, opened in self._open.values() if who == requester]
        return found[-1] if found else None


def _context(association: Association) -> tuple[int, str]:
    for each in association.accepted_contexts:
        if each.abstract_syntax == StorageCommitmentPushModel and each.context_id is not None:
            return each.context_id, str(each.transfer_syntax[0])
    raise ValueError("this association has no context for storage commitment")
