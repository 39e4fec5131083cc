"""What is read from an association, how much of it, and where it goes (PS3.7 section 6.3, PS3.8 annex E).

pynetdicom reads a PDU of any length into memory, four KiB at a time, and keeps commands of any length. Here a PDU has a
greatest length and a time to arrive in, and the data set of a C-STORE goes to its file as it comes.
"""

from __future__ import annotations

import contextlib
import queue
import select
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    import socket

    from pynetdicom.association import Association

    from platemark.gateway.arrival import Arrival

__all__ = ["GREATEST_MESSAGE", "Messages", "Socket", "Store", "receive"]

_GREATEST_PDU = 2 << 20  # bytes: an A-ASSOCIATE-RQ with 128 contexts is some 100 kB, and P-DATA has what we offered
_GREATEST_COMMAND = 64 << 10  # bytes of a command set
GREATEST_MESSAGE = 16 << 20  # bytes of a data set that is no object, such as 100,000 references of a commitment
_PAUSE, _SHORT, _WAIT = 0.001, 0.0002, 0.005  # seconds
_HURRY = 0.1  # seconds that an answer is expected to take
_MOST_WAITING = 4  # messages not served yet: a peer may have one under way (PS3.7 D.3.3.3), and may answer one of ours
_ENDED = frozenset({"Sta1", "Sta13"})  # PS3.8 table 9-10: no connection, or one that is about to be closed
_COMMAND, _LAST = 1, 2  # bits of the message control header


def receive(connection: socket.socket, number: int) -> bytearray:
    """Exactly so many bytes; fewer when the peer has hung up. Raises OSError: too many, or too slow."""
    if number > _GREATEST_PDU:
        raise OSError(f"a PDU of {number} bytes")
    data = bytearray(number)
    view = memoryview(data)
    patience = connection.gettimeout()
    deadline = None if patience is None else time.monotonic() + patience
    read = 0
    while read < number:
        received = connection.recv_into(view[read:])
        if not received:
            break
        read += received
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError("a PDU took too long to arrive")
    view.release()
    del data[read:]
    return data


class Store(Protocol):
    """Where the data sets of C-STORE go."""

    def begin(self, association: Association, context_id: int, sop_class: str, sop_instance: str) -> Arrival:
        """The arrival of an object, opened or refused. Raises OSError."""

    def failed(self, arrival: Arrival, error: OSError) -> int:
        """The status to answer when the file cannot be written."""

    def too_large(self, arrival: Arrival) -> None:
        """Count and log an object that is past the limit."""


class Socket(AssociationSocket):
    """Reads whole PDUs at once, none above the limit, and each within the time that the socket has."""

    hurry_until = 0.0  # monotonic: until then an answer is awaited from our own side

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits a little for it, unless our own answer is due first.

        pynetdicom asks this in a loop with a pause of a millisecond, which is as long as the work for a small object.
        """
        hurry = time.monotonic() < self.hurry_until
        self.assoc.dul._run_loop_delay = _SHORT if hurry else _PAUSE  # noqa: SLF001 - it has no other knob
        connection = self.socket
        if not hurry and connection is not None and self._is_connected:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile, which the real question finds out
                select.select([connection], [], [], _WAIT)
        return super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """See `receive`."""
        assert self.socket is not None
        return receive(self.socket, nr_bytes)


class Messages(DIMSEServiceProvider):
    """Puts messages together, in the thread that reads the socket: while a file is written nothing more is read."""

    def __init__(self, association: Association, store: Store) -> None:
        super().__init__(association)
        self._store = store
        self._arrival: Arrival | None = None  # what is arriving now
        self._arrived: dict[Path, Arrival] = {}  # what the handler has not taken yet
        self._ended = False
        self._reports = 0  # under way; pynetdicom serves each in a thread of its own
        self._turn = threading.Lock()  # owns _reports
        self._serve = association._serve_request  # noqa: SLF001 - there is no other way in
        association._serve_request = self._served  # type: ignore[method-assign,assignment] # noqa: SLF001
        _drop_late_answers(association)

    @property
    def busy(self) -> bool:
        """Whether a message is on its way, or waits for its handler."""
        return self.message is not None or bool(self._arrived)

    def take(self, path: Path) -> Arrival:
        """The arrival behind a path that the handler of C-STORE was given."""
        return self._arrived.pop(path)

    def end(self) -> None:
        """The association has ended, in whatever thread that was seen: nothing stays, and nothing begins any more."""
        self._ended = True
        self.discard()

    def discard(self) -> None:
        """Remove what will never be taken."""
        unfinished = [*self._arrived.values()] + ([self._arrival] if self._arrival is not None else [])
        self._arrived.clear()
        self._arrival = None
        for each in unfinished:
            each.discard()

    def get_msg(self, block: bool = False) -> Any:
        """The next message; waits a little for it, where pynetdicom would come again after a millisecond."""
        if block:
            return super().get_msg(block=True)
        try:
            return self.msg_queue.get(timeout=_WAIT)
        except queue.Empty:
            return None, None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Every value of one P-DATA; the association is aborted for what is no message or is past a limit."""
        try:
            for context_id, data in primitive.presentation_data_value_list:
                self._value(context_id, memoryview(data))
        except Exception:  # noqa: BLE001 - whatever pydicom makes of a stranger's bytes
            self.discard()
            self.dul.event_queue.put("Evt19")  # an invalid PDU: abort

    def _value(self, context_id: int, data: memoryview) -> None:
        header, fragment = data[0], data[1:]
        message = self.message = self.message or DIMSEMessage()
        if (type(message) is DIMSEMessage) != bool(header & _COMMAND):
            raise ValueError("a command within a message, or a data set without one")
        if header & _COMMAND:
            if message.encoded_command_set.tell() + len(fragment) > _GREATEST_COMMAND:
                raise ValueError("a command set above the limit")
            if header & _LAST:
                self._command(message, context_id, bytes(data))
            else:
                message.encoded_command_set.write(fragment)
            return
        if not isinstance(message, C_STORE_RQ):
            assert isinstance(message.data_set, BytesIO)
            if message.data_set.tell() + len(fragment) > GREATEST_MESSAGE:
                raise ValueError("a data set above the limit")
            message.data_set.write(fragment)
        elif self._arrival is not None:
            self._object(self._arrival, fragment)
        if header & _LAST:
            self._complete(message)

    def _command(self, message: DIMSEMessage, context_id: int, value: bytes) -> None:
        """The whole command set is there: pynetdicom reads it, and an object has somewhere to go."""
        without_data = message.decode_msg(_p_data(context_id, value), self.assoc)
        if isinstance(message, C_STORE_RQ):
            command = message.command_set
            names = (_one(command.AffectedSOPClassUID), _one(command.AffectedSOPInstanceUID))
            self._arrival = self._store.begin(self.assoc, context_id, *names)
            message._data_set_path = self._arrival.path  # noqa: SLF001 - what event.dataset_path shows
            if self._ended:
                self.discard()
        if without_data:
            self._complete(message)

    def _object(self, arrival: Arrival, fragment: memoryview) -> None:
        try:
            fits = arrival.add(fragment)
        except OSError as error:
            arrival.refuse(self._store.failed(arrival, error))
            return
        if not fits:
            self._store.too_large(arrival)
            raise ValueError("an object above the limit")

    def _served(self, message: Any, context_id: int) -> None:
        try:
            self._serve(message, context_id)
        finally:
            with self._turn:
                self._reports -= isinstance(message, N_EVENT_REPORT)

    def _complete(self, message: DIMSEMessage) -> None:
        """Hand the message over to whoever serves it. Raises ValueError when the peer waits for no answers.

        Each message that waits has memory, and an object a descriptor, until it is served.
        """
        with self._turn:
            if self.msg_queue.qsize() + self._reports >= _MOST_WAITING:
                raise ValueError("more messages than may be under way")
            self._reports += isinstance(message, N_EVENT_REPORT_RQ)
        if self._arrival is not None:
            self._arrival.finish()
            self._arrived[self._arrival.path] = self._arrival
            self._arrival = None
        if isinstance(self.dul.socket, Socket):
            self.dul.socket.hurry_until = time.monotonic() + _HURRY
        assert message.context_id is not None
        # With an empty last fragment: pynetdicom's own way from here.
        super().receive_primitive(_p_data(message.context_id, bytes([_LAST])))


def _one(value: object) -> str:
    """A UID; nothing when there are several, which no command may have."""
    return str(value) if isinstance(value, str) else ""


def _drop_late_answers(association: Association) -> None:
    """Drop what is to be sent after an abort; pynetdicom's reading thread would end on it, and the socket stay open."""
    dul = association.dul
    process = dul._process_recv_primitive  # noqa: SLF001 - there is no other way in

    def process_unless_ended() -> bool:
        if dul.state_machine.current_state in _ENDED:
            with contextlib.suppress(queue.Empty):
                while True:
                    dul.to_provider_queue.get_nowait()
        return process()

    dul._process_recv_primitive = process_unless_ended  # type: ignore[method-assign] # noqa: SLF001


def _p_data(context_id: int, value: bytes) -> P_DATA:
    made = P_DATA()
    made.presentation_data_value_list.append((context_id, value))
    return made
