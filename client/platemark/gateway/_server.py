"""Who may connect (PS3.8, PS3.15 B.12).

pynetdicom shakes hands with one TLS client after the other, so that one that keeps quiet stops all of them. Here every
connection has a thread of its own from its first byte on, and there is a bound on their number.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
from typing import TYPE_CHECKING, Any, Protocol

from pynetdicom import _config, evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from platemark.gateway._wire import Messages, Socket

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.association import Association
    from pynetdicom.events import EventHandlerType
    from pynetdicom.presentation import PresentationContext

    from platemark.gateway._wire import Store

__all__ = ["Doors", "Server"]

# The peers' own words and every PDU would go to the log, patient names among them.
_config.LOG_HANDLER_LEVEL = "none"
_LOG = logging.getLogger("platemark.gateway.receive")


class Doors(Protocol):
    """Who may come in; asked by every connection before a byte is read."""

    def admit(self, address: str) -> str | None:
        """None, or the word why not."""

    def identify(self, certificate: bytes) -> str | None:
        """Whom a verified certificate names, None: nobody, who is hung up on."""

    def turned_away(self, reason: str, address: str) -> None:
        """Count and log it."""


class Server(ThreadedAssociationServer):
    """Takes connections, each with its own thread for the handshake and the association after it."""

    request_queue_size = 64
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        entity: ApplicationEntity,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: None = None,
        *,
        evt_handlers: list[EventHandlerType],
        doors: Doors,
        store: Store,
        tls: ssl.SSLContext | None,
        idle_time: float,
        connections: int,
    ) -> None:
        del ssl_context  # pynetdicom's way of doing it
        self.doors = doors
        self.store = store
        self.tls = tls
        self.idle_time = idle_time
        self._room = threading.BoundedSemaphore(connections)
        super().__init__(entity, address, ae_title, contexts, None, evt_handlers, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, if there is room and the address may."""
        reason = self.doors.admit(client_address[0])
        if reason is None and not self._room.acquire(blocking=False):
            reason = "connections"
        if reason is not None:
            self.doors.turned_away(reason, client_address[0])
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread is to be had: its place is free again
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake, then the association, which has threads of its own; this one waits for its end."""
        try:
            self._serve(request, client_address)
        finally:
            self._room.release()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.settimeout(self.idle_time)
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True)
        except OSError as error:  # ssl.SSLError and TimeoutError are such
            reason = getattr(error, "reason", None) or type(error).__name__
            _LOG.info("handshake failed", extra={"reason": reason})
            self.doors.turned_away("tls", client_address[0])
            self.shutdown_request(request)
            return
        handler = _Handler(request, client_address, self)
        if handler.association is not None:
            handler.association.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Never on standard error, where socketserver puts it."""
        del request
        _LOG.exception("connection failed", extra={"address": client_address[0]})

    def service_actions(self) -> None:
        """Pynetdicom collects garbage here, every so many turns; Python does so by itself."""

    def shutdown(self) -> None:
        """Take no more connections; associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


class _Handler(RequestHandler):
    """One connection."""

    server: Server
    association: Association | None = None

    def handle(self) -> None:
        """Start the association, with our socket and our messages."""
        certificate: str | None = None
        if isinstance(self.request, ssl.SSLSocket):
            shown = self.request.getpeercert(binary_form=True)
            certificate = self.server.doors.identify(shown) if shown else None
            if certificate is None:
                self.server.doors.turned_away("nameless-certificate", self.client_address[0])
                self.server.shutdown_request(self.request)
                return
        association = self._create_association()
        association.dul.event_queue.get_nowait()  # the connection indication of the socket that ours replaces
        association.dul.socket = Socket(association, client_socket=self.request)
        association.dimse = Messages(association, self.server.store)
        association.certificate = certificate  # type: ignore[attr-defined] # ours, for the handlers
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()
        self.association = association
