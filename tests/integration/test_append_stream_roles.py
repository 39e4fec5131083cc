"""Who may hold a stream of AppendStream open, and for how long."""

from __future__ import annotations

import queue
from typing import cast

import grpc
import pytest
from integration.live import Live
from integration.test_access import ACCESS, DEVICE, Secured, _told, secured

from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

__all__ = ["secured"]


class Held:
    """A stream that sends what it is told to, and stays open."""

    def __init__(self, secured: Secured, live: Live, name: str, *uris: str) -> None:
        shown = secured.issue(name, *uris)
        credentials = grpc.ssl_channel_credentials(
            secured.authority.ca.read_bytes(), shown.key.read_bytes(), shown.certificate.read_bytes()
        )
        self.shown = shown
        self._channel = grpc.secure_channel(live.address, credentials)
        secured.channels.append(self._channel)
        self._requests: queue.SimpleQueue[pb.AppendRequest | None] = queue.SimpleQueue()
        stub = ledger_pb2_grpc.LedgerStub(self._channel)
        self._call = stub.AppendStream(iter(self._requests.get, None), timeout=10)

    def ask(self) -> tuple[str, ...]:
        """How one request is answered."""
        self._requests.put(pb.AppendRequest(statements=[b"no statement"]))
        return self.answer()

    def answer(self) -> tuple[str, ...]:
        """What comes next."""
        try:
            next(self._call)
        except grpc.RpcError as error:
            return _told(cast("grpc.Call", error))
        return ("OK",)

    def close(self) -> None:
        """End it."""
        self._requests.put(None)


def test_who_may_not_write_holds_no_stream(secured: Secured) -> None:
    """A caller without the role is refused when it opens a stream, not when it asks: idle ones would take the writers' places."""
    with secured.place.served(MAX_STREAMS="1", STREAM_IDLE="600", STREAM_AGE="600", **secured.settings) as live:
        idle = Held(secured, live, "viewer", "spiffe://hospital.example/viewer/7")
        assert idle.answer() == ("PERMISSION_DENIED", "MISSING_ROLE", "writer")
        idle.close()
        writer = Held(secured, live, "device", DEVICE)
        assert writer.ask() == ("OK",)
        writer.close()


@pytest.mark.parametrize("how", ["role", "certificate"])
def test_a_stream_outlives_no_revocation(secured: Secured, how: str) -> None:
    """The request after a role or a certificate was taken away is refused, on the stream that is open; so is the next stream."""
    with secured.place.served(TLS_CLIENT_CRL=str(secured.crl), **secured.settings) as live:
        writer = Held(secured, live, "device", DEVICE)
        assert [writer.ask(), writer.ask()] == [("OK",), ("OK",)]
        if how == "role":
            secured.access.write_text(ACCESS.replace('["writer"]', '["reader"]'))
            expected = ("PERMISSION_DENIED", "MISSING_ROLE", "writer")
        else:
            secured.revoke(writer.shown)
            expected = ("UNAUTHENTICATED", "BAD_CERTIFICATE", "")
        assert writer.ask() == expected
        writer.close()
