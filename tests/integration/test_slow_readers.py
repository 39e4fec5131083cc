"""Callers that ask and never take the answer: what they cost is bounded, and they are got rid of."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf.message import Message
from integration.live import NOW, Live, Place, Writer, only
from integration.wire import Said, said

from platemark.v1 import ledger_pb2 as pb
from platemark.v1 import ledger_pb2_grpc

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
_OVERLOADED = Said(grpc.StatusCode.UNAVAILABLE, "platemark", "OVERLOADED", ())
_LIST = pb.ListStatementsRequest(kind="note")
_LIST_ONE = pb.ListStatementsRequest(limit=1)


@contextmanager
def mute(address: str, request: Message, *, calls: int, method: str | None = None) -> Iterator[socket.socket]:
    """A connection (HTTP/2, RFC 9113) with so many calls whose window of 0 lets not one byte of an answer through.

    The block begins when the ledger has begun to answer every one of them: headers are not subject to the window.
    """
    host, port = address.rsplit(":", 1)
    method = method or type(request).__name__.removesuffix("Request")
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/platemark.v1.Ledger/{method}",
        ":authority": "test",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    headers = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())
    message = request.SerializeToString()
    body = b"\0" + struct.pack(">I", len(message)) + message
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0)))
        frames = _frames(connection)
        assert next(frames)[0] == _SETTINGS  # theirs have come, so ours may be acknowledged and are in force
        connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        for stream in range(1, 2 * calls, 2):
            connection.sendall(_frame(_HEADERS, _END_HEADERS, stream, headers))
            connection.sendall(_frame(_DATA, _END_STREAM, stream, body))
        begun: set[int] = set()
        while len(begun) < calls:
            kind, stream = next(frames)
            if kind == _HEADERS:
                begun.add(stream)
        yield connection


def test_listings_that_nobody_reads_cost_about_one_mebibyte_each(place: Place) -> None:
    """Forty of them on one connection: those over the bound are refused, and what is kept is not the listing."""
    with place.served() as live:
        _remarks(live, 256)
        before = _resident(live)
        with mute(live.address, _LIST, calls=40):
            assert _refusal(live, _LIST_ONE) == _OVERLOADED
            # 16 listings, 1 MiB as a message, as bytes and in the transport; all of the log would be 9.4 MiB each.
            assert _resident(live) - before < 16 * 6 << 20
            assert live.client().checkpoint().checkpoint.size > 0


def test_a_reader_that_does_not_read_is_cut_and_its_place_is_free_again(place: Place) -> None:
    """Keepalive does not find it, it is there; the age of its connection does."""
    with place.served(MAX_LISTS="1", CONNECTION_AGE="1", DRAIN="1") as live:
        _remarks(live, 64)
        with mute(live.address, _LIST, calls=1) as connection:
            assert _refusal(live, _LIST_ONE) == _OVERLOADED
            while connection.recv(65536):
                pass
        assert len(list(live.client().list_statements(kind="note"))) == 64


def test_a_listing_that_takes_long_ends_early_and_says_where_to_go_on(place: Place) -> None:
    """The bound in time is one of the listing's own bounds: the walk is whole, in several calls."""
    with place.served(LIST_TIME="0") as live:
        _remarks(live, 64)
        with grpc.insecure_channel(live.address) as channel:
            messages = list(ledger_pb2_grpc.LedgerStub(channel).ListStatements(_LIST))
        assert len(messages) == 1
        assert messages[0].HasField("next_index")
        assert len(list(live.client().list_statements(kind="note"))) == 64


def test_single_answers_that_nobody_reads_are_bounded_and_appends_go_on(place: Place) -> None:
    """Reads are refused while a mebibyte waits for its readers; what devices register is not."""
    with place.served(MAX_UNREAD=str(1 << 20)) as live:
        device = live.device("undisturbed")
        operator = _remarks(live, 1)
        (remark,) = live.client().list_statements(kid=operator.key.kid)
        question = pb.GetStatementRequest(index=remark.index)
        with mute(live.address, question, calls=60):
            assert _refusal(live, question) == _OVERLOADED
            assert not only(live.client().append([device.capture()]).outcomes).duplicate
        # The readers are gone, and with them what waited for them.
        assert live.client().statement(index=remark.index).statement.id == remark.id


def _remarks(live: Live, count: int) -> Writer:
    """So many notes of 37 KB by an operator."""
    operator = live.device("talker", role="operator")
    raws = [
        operator.build("note", at=NOW, log=operator.log, topic="remark", text="x" * 4096, data=os.urandom(32768))
        for _ in range(count)
    ]
    for start in range(0, count, 64):
        live.client().append(raws[start : start + 64])
    return operator


def _refusal(live: Live, request: Message) -> Said | None:
    """What the ledger says when too much is under way; None if it answers."""
    with grpc.insecure_channel(live.address) as channel:
        call = getattr(ledger_pb2_grpc.LedgerStub(channel), type(request).__name__.removesuffix("Request"))
        try:
            answer = call(request)
            if isinstance(request, pb.ListStatementsRequest):
                list(answer)
        except grpc.RpcError as error:
            return said(error)
    return None


def _resident(live: Live) -> int:
    """Bytes of memory that the one worker holds."""
    pages = int(Path(f"/proc/{live.workers[0]}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _frames(connection: socket.socket) -> Iterator[tuple[int, int]]:
    """Kind and stream of each frame (RFC 9113 4.1) that comes."""
    while True:
        head = _exactly(connection, 9)
        _exactly(connection, int.from_bytes(head[:3], "big"))
        yield head[3], int.from_bytes(head[5:], "big")


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, "the ledger closed the connection before it had answered"
        data += more
    return data


def _string(text: str) -> bytes:
    """A string literal of HPACK (RFC 7541 5.2) shorter than 127 bytes, without Huffman code."""
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
