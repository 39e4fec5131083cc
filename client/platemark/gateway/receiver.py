"""The Storage SCP (PS3.4 annex B): takes objects, makes them durable, and only then answers success.

The order of one object: its bytes to a file in objects/ as they come; fsync of the file and of its directory; a row in the
journal, which is on disk when `add` returns; then success. Nothing is decoded and nothing of the object is changed.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pynetdicom import AE, evt

from platemark.gateway import tls
from platemark.gateway._server import Server
from platemark.gateway._setting import parse_address, parse_networks
from platemark.gateway._wire import Messages
from platemark.gateway.arrival import Arrival, Envelope
from platemark.gateway.journal import JournalError, Received
from platemark.gateway.sop_classes import Offer

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event, EventHandlerType
    from pynetdicom.presentation import PresentationContext

    from platemark.gateway.reception import Keeper, Room, Site

__all__ = ["Receiver", "Tally"]

# PS3.4 table B.2-1, PS3.7 annex C.
SUCCESS, PROCESSING_FAILURE, INVALID_INSTANCE, NOT_OF_CONTEXT = 0x0000, 0x0110, 0x0117, 0x0122
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
_CALLING, _CALLED = (0x01, 0x01, 0x03), (0x01, 0x01, 0x07)  # rejected for good by the user: which title is unknown
_POLL = 0.1  # seconds between two looks at whether to stop
_QUIET = 1.0  # seconds without a message after which a stop ends an association
_LOG = logging.getLogger("platemark.gateway.receive")


class Tally:
    """What the receiver tells its metrics. The methods are called by many threads."""

    def accepted(self) -> None:
        """An association."""

    def turned_away(self, reason: str, /) -> None:
        """A connection or an association was refused."""

    def stored(self, size: int, seconds: float, /) -> None:
        """An object is durable; `seconds` is what that took after its last byte."""

    def refused(self, reason: str, /) -> None:
        """An object was answered with a failure, or its association aborted."""


class Receiver:
    """The SCP of one gateway. `handlers` and `contexts` are those of other services on the same port.

    Raises ConfigError for TLS files, OSError when the port cannot be had.
    """

    def __init__(
        self,
        gateway: Site,
        journal: Keeper,
        pressure: Room,
        *,
        tally: Tally | None = None,
        handlers: Sequence[EventHandlerType] = (),
        contexts: Sequence[PresentationContext] = (),
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._pressure = pressure
        self._tally = tally or Tally()
        self._now = now
        receive = gateway.receive
        self._networks = parse_networks("receive.networks", receive.networks)
        self._offer = Offer(
            sop_classes=receive.sop_classes, transfer_syntaxes=receive.transfer_syntaxes, extra=contexts
        )
        entity = AE(ae_title=receive.ae_title)
        entity.maximum_pdu_size = receive.max_pdu
        entity.maximum_associations = gateway.limits.associations
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = receive.idle_time
        self._server = entity.make_server(
            parse_address("receive.listen", receive.listen),
            ae_title=receive.ae_title,
            contexts=self._offer.base(),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_ESTABLISHED, self._established),
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_CONN_CLOSE, self._closed),
                *handlers,
            ],
            server_class=Server,
            doors=self,
            store=self,
            tls=tls.server_context(receive),
            idle_time=receive.idle_time,
            connections=gateway.limits.associations + 8,
        )
        self._background = ThreadPoolExecutor(8, thread_name_prefix="sync")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name="receive", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, once it is made."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def associations(self) -> int:
        """How many there are."""
        return len(self._server.active_associations)

    def start(self) -> None:
        """Take connections, in threads."""
        self._thread.start()

    def stop(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Take no more connections; let associations end by themselves for stop_time, or until they are quiet; abort the rest."""
        self._server.shutdown()
        deadline = time.monotonic() + self._gateway.receive.stop_time
        quiet_since: float | None = None
        while self._server.active_associations:
            now = time.monotonic()
            busy = any(_messages(each).busy for each in self._server.active_associations)
            quiet_since = None if busy else quiet_since or now
            if now > deadline or (quiet_since is not None and now - quiet_since > _QUIET):
                break
            sleep(0.05)
        for each in self._server.active_associations:
            each.abort()
        self._background.shutdown()

    # --- Doors ---

    def admit(self, address: str) -> str | None:
        """Whether its network is allowed."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        return None if any(mapped in each for each in self._networks) else "network"

    def identify(self, certificate: bytes) -> str | None:
        """See `tls.identity`."""
        return tls.identity(certificate)

    def turned_away(self, reason: str, address: str) -> None:
        """A connection that came to nothing."""
        self._tally.turned_away(reason)
        _LOG.warning("connection refused", extra={"reason": reason, "address": address})

    def _requested(self, event: Event) -> None:
        association = event.assoc
        request = association.requestor.primitive
        assert request is not None
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        receive = self._gateway.receive
        if called != receive.ae_title:
            self._reject(association, "called-ae-title", _CALLED)
        elif receive.calling and calling not in receive.calling:
            self._reject(association, "calling-ae-title", _CALLING)
        else:
            proposed = request.presentation_context_definition_list
            association.acceptor.supported_contexts = self._offer.answer(proposed)

    def _reject(self, association: Association, reason: str, answer: tuple[int, int, int]) -> None:
        self.turned_away(reason, association.requestor.address)
        association.acse.send_reject(*answer)
        association.kill()

    def _established(self, event: Event) -> None:
        del event
        self._tally.accepted()

    def _closed(self, event: Event) -> None:
        """The connection has ended, however: nothing half-received stays, and nobody waits for a request any more."""
        _messages(event.assoc).end()
        if event.assoc.requestor.primitive is None:
            event.assoc.dul.to_user_queue.put(None)  # what a wait that has timed out gives

    # --- Store ---

    def begin(self, association: Association, context_id: int, sop_class: str, sop_instance: str) -> Arrival:
        """Somewhere for an object to go. Raises ValueError for a context that was not accepted."""
        context = association._accepted_cx.get(context_id)  # noqa: SLF001 - `accepted_contexts` copies them all
        if context is None or not context.transfer_syntax:
            raise ValueError("a message in a context that was not accepted")
        envelope = Envelope(
            sop_class=sop_class,
            sop_instance=sop_instance,
            transfer_syntax=str(context.transfer_syntax[0]),
            calling=association.requestor.ae_title.strip(),
        )
        arrival = Arrival(
            self._gateway.objects,
            envelope,
            limit=self._gateway.limits.object_bytes,
            background=self._background,
        )
        try:
            reason = self._refusal(envelope, str(context.abstract_syntax))
            if reason is None:
                arrival.open()
            else:
                arrival.refuse(self._refuse(*reason))
        except (JournalError, OSError) as error:
            arrival.refuse(self._failed("receiving", error))
        return arrival

    def failed(self, arrival: Arrival, error: OSError) -> int:
        """Its file cannot be written."""
        del arrival
        return self._failed("receiving", error)

    def too_large(self, arrival: Arrival) -> None:
        """It is past the limit, and its association is aborted."""
        del arrival
        self._refuse("object-bytes", OUT_OF_RESOURCES)

    def _refusal(self, envelope: Envelope, abstract_syntax: str) -> tuple[str, int] | None:
        if envelope.sop_class != abstract_syntax:
            return "sop-class", NOT_OF_CONTEXT
        instance = envelope.sop_instance
        if not 1 <= len(instance) <= 64 or not instance.isascii() or not instance.isprintable():
            return "sop-instance", INVALID_INSTANCE
        reason = self._pressure.refusal()
        return None if reason is None else (reason, OUT_OF_RESOURCES)

    def _store(self, event: Event) -> int:
        """The answer to one C-STORE, after everything that it promises."""
        association = event.assoc
        arrival = _messages(association).take(event.dataset_path)
        if arrival.refused is not None:
            return int(arrival.refused)
        started = time.monotonic()
        if not arrival.has_data or arrival.begins_with_meta:
            arrival.discard()
            return self._refuse("no-data-set", CANNOT_UNDERSTAND)
        try:
            status = self._keep(association, arrival)
        except OSError as error:
            arrival.discard()
            return self._failed("keeping", error)
        except JournalError as error:
            # The file stays: nobody knows whether the row is on disk. Without one the next start removes it.
            return self._failed("keeping", error)
        finally:
            association.dul._idle_timer.restart()  # noqa: SLF001 - our own time is no silence of the sender's
        # Crash here: the object is ours, the sender does not know it and sends it again; `Journal.same` tells.
        self._pressure.added(arrival.size)
        self._tally.stored(arrival.size, time.monotonic() - started)
        return SUCCESS if status is None else status

    def _keep(self, association: Association, arrival: Arrival) -> int | None:
        envelope = arrival.envelope
        arrival.keep()
        return self._journal.add(
            Received(
                object_id=arrival.object_id,
                path=arrival.path,
                bytes=arrival.size,
                received_ns=self._now(),
                sop_class=envelope.sop_class,
                sop_instance=envelope.sop_instance,
                transfer_syntax=envelope.transfer_syntax,
                calling=envelope.calling,
                called=association.acceptor.ae_title.strip(),
                address=association.requestor.address,
                certificate=getattr(association, "certificate", None),
            )
        )

    def _refuse(self, reason: str, status: int) -> int:
        self._tally.refused(reason)
        _LOG.warning("object refused", extra={"reason": reason, "status": f"{status:04X}"})
        return status

    def _failed(self, doing: str, error: Exception) -> int:
        """Not the sender's fault: it is asked to come again."""
        self._tally.refused("failure")
        _LOG.error("object failed", extra={"doing": doing, "error": str(error)})
        return OUT_OF_RESOURCES


def _messages(association: Association) -> Messages:
    assert isinstance(association.dimse, Messages)
    return association.dimse
