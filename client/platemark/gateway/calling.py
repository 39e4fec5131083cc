"""Calling another application entity: a PACS, a modality, a worklist (PS3.8).

What pynetdicom leaves open is settled here, once: PDUs of 128 KiB, TCP_NODELAY, a time limit on every write to the
socket, and a bound on what is read ahead of a peer that takes it slowly.
"""

from __future__ import annotations

import queue
import socket
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA, MaximumLengthNotification
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined] # made when it is loaded
from pynetdicom.transport import AddressInformation, AssociationSocket

from platemark.errors import PlatemarkError
from platemark.gateway._wire import GREATEST_MESSAGE, receive

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from pynetdicom.association import Association
    from pynetdicom.events import Event, EventHandlerType
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
    from pynetdicom.presentation import PresentationContext

__all__ = ["MAX_PDU", "NOT_ACCEPTED", "Peer", "PeerError", "associate", "end", "send_whole_messages"]

MAX_PDU = 131_072
"""Bytes of the largest PDU that we send or ask for. The default of 16 KiB halves the throughput."""
NOT_ACCEPTED = "not-accepted"
"""The name when the peer would have an association, and none of its presentation contexts."""
_AHEAD = 16  # PDUs that wait for the socket
_LOOK_S = 0.2  # how often a full queue asks whether the connection is still there

# The peers' own words and every PDU would go to the log, patient names among them.
_config.LOG_HANDLER_LEVEL = "none"
# Send the bytes of the file as they are, never a data set that was decoded and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True


class PeerError(PlatemarkError):
    """An association that was not made: `name` is a stable word (unreachable, rejected, aborted, NOT_ACCEPTED)."""

    code = "peer"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.args = (name, reason)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An application entity and how it is called.

    `calling` is the AE title that we go by. `connect_s` bounds connection and negotiation, `answer_s` the wait for an
    answer and for each write to the socket; both in seconds. With `tls` the certificate is checked for `server_name`.
    """

    ae_title: str
    host: str
    port: int
    calling: str
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connect_s: float = 10.0
    answer_s: float = 60.0

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


def associate(
    peer: Peer,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[EventHandlerType] = (),
) -> Association:
    """An association with `peer`, established, at most 128 contexts proposed. Raises PeerError.

    Whoever gets it ends it with `end`. One thread at a time may send on it.
    """
    entity = _Entity(ae_title=peer.calling)
    entity.connection_timeout = entity.acse_timeout = peer.connect_s
    entity.dimse_timeout = peer.answer_s
    entity.network_timeout = None  # an association is kept while there may be more to send
    connected: list[bool] = []

    def opened(event: Event) -> None:
        connected.append(True)
        _prepare(event.assoc, peer.answer_s)

    try:
        made = entity.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU,
            ext_neg=list(roles),
            tls_args=(peer.tls, peer.server_name or peer.host) if peer.tls is not None else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, opened), *handlers],
        )
    except OSError as error:  # the name cannot be resolved, no socket is left
        raise PeerError("unreachable", f"{peer}: {error.strerror or error}") from None
    if not made.is_established:
        raise _refused(peer, made, connected=bool(connected))
    _bound(made)
    _bound_messages(made)
    _leave_answers(made)
    _serve_reports(made)
    send_whole_messages(made)
    return made


def end(association: Association) -> None:
    """Release the association; abort it when the peer does not take that."""
    if association.is_established:
        association.release()
    if association.is_alive() and association.is_established:
        association.abort()


def send_whole_messages(association: Association) -> Callable[[Any, int], None]:
    """Let threads take turns, message by message; the function that sends a primitive in a context.

    pynetdicom answers in threads of its own while others send, and nothing keeps the fragments of two messages apart,
    which may never be mixed (PS3.7 section 6.3.1).
    """
    turn = threading.Lock()
    send = association.dimse.send_msg

    def send_whole(primitive: Any, context_id: int) -> None:
        with turn:
            send(primitive, context_id)

    association.dimse.send_msg = send_whole  # type: ignore[method-assign]
    return send_whole


def _prepare(association: Association, answer_s: float) -> None:
    """Settle the socket: no wait for more to send, and no write that blocks for ever.

    pynetdicom reads only when something is there, so that the limit bears on writes alone.
    """
    wrapped = association.dul.socket
    connection = wrapped.socket if wrapped is not None else None
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(answer_s)


def _bound(association: Association) -> None:
    """Bound what is in memory of an object on its way out, whatever the peer offers to take at once."""
    for item in association.acceptor.user_information:
        if isinstance(item, MaximumLengthNotification):
            theirs = item.maximum_length_received or MAX_PDU  # 0 says that there is no limit
            item.maximum_length_received = min(theirs, MAX_PDU) & ~1  # fragments are even (PS3.8 annex E)
    association.dul.to_provider_queue = _Outgoing(association.dul.is_alive)


def _bound_messages(association: Association) -> None:
    """Bound what is in memory of a message of the peer's: its association is aborted."""
    dimse = association.dimse
    take = dimse.receive_primitive

    def take_bounded(primitive: P_DATA) -> None:
        message = dimse.message
        if message is not None:
            parts = (message.encoded_command_set, message.data_set)
            if sum(each.tell() for each in parts if isinstance(each, BytesIO)) > GREATEST_MESSAGE:
                dimse.message = None
                dimse.dul.event_queue.put("Evt19")
                return
        take(primitive)

    dimse.receive_primitive = take_bounded  # type: ignore[method-assign]


def _leave_answers(association: Association) -> None:
    """Leave every message to whoever waits for an answer.

    pynetdicom's own thread looks for requests of the peer between two of our calls, and stops for a call a moment too late:
    now and then it took the answer, and the caller waited in vain. A peer that we call has nothing to ask of us but
    N-EVENT-REPORT, which goes another way.
    """
    get = association.dimse.get_msg

    def get_msg(block: bool = False) -> Any:
        return get(block) if block else (None, None)

    association.dimse.get_msg = get_msg  # type: ignore[method-assign]


def _serve_reports(association: Association) -> None:
    """Serve N-EVENT-REPORT without touching the flag by which the association's own thread says that it pauses.

    pynetdicom serves it in a thread of its own and sets that flag there; whoever sends or releases at that moment would
    wait for ever.
    """
    serve = association._serve_request  # noqa: SLF001 - there is no other way in

    def served(message: Any, context_id: int) -> None:
        context = association._accepted_cx.get(context_id)  # noqa: SLF001
        if not isinstance(message, N_EVENT_REPORT):
            serve(message, context_id)
        elif context is not None and context.abstract_syntax == StorageCommitmentPushModel:
            StorageCommitmentServiceClass(association).SCP(message, context)
        else:
            association.abort()

    association._serve_request = served  # type: ignore[method-assign,assignment] # noqa: SLF001


class _Entity(AE):
    """An AE whose socket is closed when no connection comes about, which pynetdicom leaves to the garbage collector."""

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[ssl.SSLContext, str] | None
    ) -> AssociationSocket:
        made = _Closing(assoc, address=address)
        made.tls_args = tls_args
        return made


class _Closing(AssociationSocket):
    def recv(self, nr_bytes: int) -> bytearray:
        """No PDU above the limit, and each in the time of an answer: nor is a PACS believed that says 4 GiB will come."""
        assert self.socket is not None
        return receive(self.socket, nr_bytes)

    def _shutdown_socket(self) -> None:
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class _Outgoing(queue.Queue[Any]):
    """Primitives on their way to the socket: at most so many, so that a slow peer slows the reader of the file.

    pynetdicom's own queue takes a whole object at once. What is put after the connection has ended is dropped, as
    nobody would ever take it out.
    """

    def __init__(self, running: Callable[[], bool]) -> None:
        super().__init__(maxsize=_AHEAD)
        self._running = running

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> None:
        """Wait for room while the connection lives."""
        del block, timeout
        while self._running():
            try:
                super().put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return


def _refused(peer: Peer, made: Association, *, connected: bool) -> PeerError:
    """Why there is no association, as far as the peer said."""
    if made.is_rejected:
        answer = made.acceptor.primitive
        reason = f"{answer.result_str}, {answer.reason_str}" if answer is not None else "no reason given"
        return PeerError("rejected", f"{peer} rejects the association: {reason}")
    accepted = made.acceptor.primitive
    if accepted is not None and accepted.result == 0:
        return PeerError(NOT_ACCEPTED, f"{peer} accepts nothing of what was proposed")
    if not connected:
        return PeerError("unreachable", f"{peer}: nobody takes the connection")
    return PeerError("aborted", f"{peer} ended the connection, or did not answer, during the negotiation")
