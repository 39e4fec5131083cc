"""The line to one storage SCP: an association that is kept, over which objects go byte for byte (C-STORE, PS3.4 annex B)."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynetdicom import build_context, evt
from pynetdicom.pdu_primitives import A_ABORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made when the module is loaded

from platemark.gateway.answers import Answer, Outcome, judge
from platemark.gateway.calling import NOT_ACCEPTED, Peer, PeerError, associate, end

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

    from platemark.gateway.journal import Received

__all__ = ["Line"]

_MOST_CONTEXTS = 127  # PS3.8 7.1.1.13 has odd ids from 1 to 255; one of the 128 is Verification's
_META = struct.Struct("<HH2sHI")  # (0002,0000), which comes first
_META_START = 132
_UNREADABLE = "unreadable-object"


class _NotOursError(Exception):
    """The file of an object is not there, or not as the gateway wrote it."""


class Line:
    """One kept association with `peer`. For one thread. Opens it when there is something to send, and again when it broke.

    An object goes as the bytes of its file after the file meta information, under the SOP class, instance and transfer
    syntax that it was received with; nothing is decoded, and of a large one only some PDUs are in memory.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._association: Association | None = None
        self._wanted: dict[tuple[str, str], None] = {}  # what to propose, least recently used first
        self._proposed: frozenset[tuple[str, str]] = frozenset()
        self._accepted: frozenset[tuple[str, str]] = frozenset()
        self._message = 0
        self._gave_up = False  # we ended the association, as no answer came

    def expect(self, received: Received) -> None:
        """An object that is about to be sent: the next association proposes what it needs."""
        self._want((received.sop_class, received.transfer_syntax))

    def store(self, received: Received) -> Answer:
        """Send one object and say what became of it. Returns only when the peer has answered, or will not.

        Without an answer nobody knows whether the peer has the object: sending it again is the way, and harmless, as
        storing the same instance twice is storing it once.
        """
        try:
            _check(received)
            reused = self._association is not None
            answer = self._store(received)
            if answer.name == "aborted" and reused:
                # The peer may have ended an association that it thought idle, at the very moment.
                answer = self._store(received)
        except _NotOursError as error:
            return Answer(Outcome.NEVER, _UNREADABLE, str(error))
        except PeerError as error:
            self.close()
            if error.name == NOT_ACCEPTED:
                return Answer(Outcome.NEVER, NOT_ACCEPTED, error.reason)
            return Answer(Outcome.AGAIN, error.name, error.reason, of_object=False)
        return answer

    def close(self) -> None:
        """Release the association, if there is one."""
        association, self._association = self._association, None
        if association is not None:
            end(association)

    def _store(self, received: Received) -> Answer:
        pair = (received.sop_class, received.transfer_syntax)
        association = self._open(pair)
        if pair not in self._accepted:
            reason = f"{self.peer} accepts no objects of SOP class {pair[0]} in transfer syntax {pair[1]}"
            return Answer(Outcome.NEVER, NOT_ACCEPTED, reason)
        self._gave_up = False
        self._message = self._message % 65_535 + 1
        try:
            status = association.send_c_store(received.path, msg_id=self._message)
        except OSError as error:
            # Part of it may be on the wire: what follows it there would be taken for the rest.
            association.abort()
            raise _NotOursError(f"{received.path.name}: {error.strerror or error}") from None
        except (AttributeError, ValueError, RuntimeError, struct.error) as error:
            # AttributeError and ValueError: the file names another class or syntax than the journal.
            if not association.is_established:
                return self._broken()
            raise _NotOursError(f"{received.path.name}: its file meta information does not fit ({error})") from None
        if "Status" not in status:
            return self._broken()
        return judge(int(status.Status), str(status.get("ErrorComment", "")))

    def _broken(self) -> Answer:
        """The association ended before the answer."""
        self.close()
        if self._gave_up:
            reason = f"{self.peer} took the object and did not answer within {self.peer.answer_s:g} s"
            return Answer(Outcome.AGAIN, "no-answer", reason)
        return Answer(Outcome.AGAIN, "aborted", f"{self.peer} ended the association before it answered")

    def _open(self, pair: tuple[str, str]) -> Association:
        """An association that proposed `pair`. Raises PeerError."""
        self._want(pair)
        association = self._association
        if association is not None and association.is_established and pair in self._proposed:
            return association
        self.close()
        contexts = [build_context(Verification)]  # so that the association stands even if nothing else is accepted
        contexts += [build_context(sop_class, syntax) for sop_class, syntax in self._wanted]
        self._proposed = frozenset(self._wanted)
        handlers: list[Any] = [(evt.EVT_ACSE_SENT, self._sent)]
        self._association = association = associate(self.peer, contexts, handlers=handlers)
        self._accepted = frozenset(
            (str(each.abstract_syntax), str(each.transfer_syntax[0]))
            for each in association.accepted_contexts
            if each.as_scu
        )
        return association

    def _want(self, pair: tuple[str, str]) -> None:
        self._wanted.pop(pair, None)
        self._wanted[pair] = None
        while len(self._wanted) > _MOST_CONTEXTS:
            self._wanted.pop(next(iter(self._wanted)))

    def _sent(self, event: Event) -> None:
        if isinstance(getattr(event, "primitive", None), A_ABORT):
            self._gave_up = True


def _check(received: Received) -> None:
    """The file is there, and the data set begins where its file meta information says.

    pynetdicom looks for the first element outside of group 0002 instead, and would leave out what a hostile data set
    puts there. Raises _NotOursError.
    """
    path = Path(received.path)
    try:
        with path.open("rb") as file:
            file.seek(_META_START)
            head = file.read(_META.size)
            if len(head) < _META.size or (fields := _META.unpack(head))[:3] != (2, 0, b"UL"):
                raise _NotOursError(f"{path.name}: has no file meta information")
            start = _META_START + _META.size + fields[4]
            file.seek(start)
            first = file.read(2)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _NotOursError(f"{path.name}: {error.strerror or error}") from None
    if first == b"\x02\x00":
        raise _NotOursError(f"{path.name}: its data set begins with file meta information, which belongs before it")
    if size <= start:
        raise _NotOursError(f"{path.name}: holds no data set")
