"""Forwarding to real storage SCPs: dcmtk's storescp, Orthanc, and pynetdicom where a PACS has to misbehave."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from integration.certificates import Authority, Issued
from objects import CT, IMAGES, data_set, kept
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from peers.dcmtk import storescp
from peers.orthanc import orthanc
from peers.process import free_port
from platemark.gateway.answers import Answer
from platemark.gateway.calling import Peer
from platemark.gateway.forwarding import Backoff, Destination, Forwarder
from platemark.gateway.journal import DeliveryState, Journal, Received

NAME = "PACS"
Require = Callable[[str], Path]


class Bench:
    """A journal, a forwarder that is turned by hand, and what it said."""

    def __init__(self, directory: Path, port: int, *, ae_title: str = "ANY", answer_s: float = 20.0) -> None:
        self.objects = directory / "objects"
        self.objects.mkdir()
        self.time_ns = 10**18
        self.journal = Journal(directory / "journal.sqlite", destinations=[NAME], now=lambda: self.time_ns)
        self.answers: list[tuple[int, str]] = []
        self.destination = Destination(
            name=NAME,
            peer=Peer(
                ae_title=ae_title, host="127.0.0.1", port=port, calling="PLATEMARK", connect_s=5.0, answer_s=answer_s
            ),
            backoff=Backoff(1.0, 8.0),
            object_backoff=Backoff(10.0, 100.0),
        )
        self.forwarder = self.restarted()

    def restarted(self) -> Forwarder:
        """A forwarder that knows only the journal."""
        self.forwarder = Forwarder(
            self.journal,
            self.destination,
            told=self._told,
            clock=lambda: self.time_ns / 1e9,
            now=lambda: self.time_ns,
            chance=lambda: 0.0,
        )
        return self.forwarder

    def _told(self, received: Received, answer: Answer) -> None:
        self.answers.append((int(received.object_id, 16), answer.name))

    def add(self, name: str, number: int, **changes: object) -> Received:
        """Another object that was acknowledged."""
        received = kept(self.objects, name, number=number, **changes)
        self.journal.add(received)
        return received

    def state(self, number: int) -> tuple[DeliveryState, str]:
        """Where the object is, and the name of the last failure."""
        standing = self.journal.get(f"{number:032x}")
        assert standing is not None
        (delivery,) = standing.deliveries
        return delivery.state, (delivery.reason or "").partition(":")[0]

    def close(self) -> None:
        """End the association."""
        self.forwarder.close()


@contextmanager
def bench(directory: Path, port: int, **options: object) -> Iterator[Bench]:
    """A bench whose association ends with the block."""
    made = Bench(directory, port, **options)  # type: ignore[arg-type] # options by name
    try:
        yield made
    finally:
        made.close()
        made.journal.close()


@contextmanager
def pacs(store: Callable[[Event], int], *, contexts: Sequence[object] | None = None) -> Iterator[int]:
    """A PACS in this process that answers what `store` says; its port."""
    entity = AE(ae_title="ANY")
    for each in contexts or AllStoragePresentationContexts:
        entity.add_supported_context(each.abstract_syntax, ALL)  # type: ignore[attr-defined]
    entity.add_supported_context("1.2.840.10008.1.1")
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield port
    finally:
        entity.shutdown()
        del server


ALL = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
]


def instance(event: Event) -> str:
    """The SOP instance that a C-STORE carries."""
    assert isinstance(event.request, C_STORE)
    return str(event.request.AffectedSOPInstanceUID)


def test_a_pacs_gets_the_very_bytes(tmp_path: Path, require: Require) -> None:
    """Storescp +B keeps, in every transfer syntax, the data set that the gateway was sent, byte for byte."""
    require("storescp")
    with storescp(tmp_path / "pacs", "+B", "+xa") as peer, bench(tmp_path, peer.port, ae_title=peer.aet) as at:
        sent = [at.add(name, number, sop_instance=f"1.2.3.{number}") for number, name in enumerate(IMAGES, 1)]
        assert at.forwarder.turn() == 0.0
        assert at.answers == [(number, "stored") for number in range(1, len(IMAGES) + 1)]
        stored = {path.name.partition(".")[2]: path for path in peer.files()}
        for each in sent:
            assert data_set(stored[each.sop_instance]) == data_set(each.path)
        assert at.journal.counts().undelivered == ()


def test_orthanc_stores_what_it_is_sent(tmp_path: Path, require: Require) -> None:
    """Orthanc has every instance but the one whose data set names another than the request did: refused, and kept."""
    require("Orthanc")
    with orthanc(tmp_path / "orthanc") as peer, bench(tmp_path, peer.dicom_port, ae_title=peer.aet) as at:
        names = [name for name in IMAGES if name != "rtdose.dcm"]
        sent = [at.add(name, number) for number, name in enumerate(names, 1)]
        at.add(CT, 99, sop_instance="1.2.3.99")
        assert at.forwarder.turn() == 0.0
        assert at.answers[:-1] == [(number, "stored") for number in range(1, len(names) + 1)]
        assert at.answers[-1] == (99, "not-of-its-class")
        assert at.state(99) == (DeliveryState.NEVER, "not-of-its-class")
        assert peer.sop_instances() == sorted({each.sop_instance for each in sent})


def test_a_pacs_that_is_down_gets_everything_in_order_later(tmp_path: Path) -> None:
    """While nobody answers the first object waits and the others with it; then all go, in order of receipt."""
    arrived: list[str] = []

    def store(event: Event) -> int:
        arrived.append(instance(event))
        return 0x0000

    with pacs(store) as port:
        pass
    with bench(tmp_path, port) as at:
        for number in range(1, 6):
            at.add(CT, number, sop_instance=f"1.2.3.{number}")
        assert [at.forwarder.turn() for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]
        assert at.answers == [(1, "unreachable")] * 5
        assert at.state(1) == (DeliveryState.WAITING, "unreachable")
        entity = AE(ae_title="ANY")
        entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2", ALL)
        entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        try:
            assert at.forwarder.turn() == 0.0
        finally:
            at.close()
            entity.shutdown()
    assert arrived == [f"1.2.3.{number}" for number in range(1, 6)]


@pytest.mark.parametrize(
    ("status", "name", "final"),
    [
        (0xA900, "not-of-its-class", True),
        (0xC000, "not-understood", True),
        (0xC123, "not-understood", True),
        (0x0122, "sop-class-not-supported", True),
        (0x0111, "duplicate-instance", True),
        (0xB000, "stored-with-warning", False),
    ],
)
def test_a_refused_object_is_kept_and_blocks_nobody(tmp_path: Path, status: int, name: str, *, final: bool) -> None:
    """One object's refusal is named and final; those behind it go, over the same association."""
    associations: list[object] = []

    def store(event: Event) -> int:
        associations.append(event.assoc)
        return status if instance(event) == "1.2.3.2" else 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        for number in (1, 2, 3):
            at.add(CT, number, sop_instance=f"1.2.3.{number}")
        assert at.forwarder.turn() == 0.0
        assert at.answers == [(1, "stored"), (2, name), (3, "stored")]
        assert at.state(2)[0] == (DeliveryState.NEVER if final else DeliveryState.DONE)
        assert len(set(associations)) == 1
        at.journal.retry_forward(f"{2:032x}", NAME)
        at.forwarder.turn()
        assert len(at.answers) == (4 if final else 3)


def test_a_pacs_out_of_resources_is_asked_again(tmp_path: Path) -> None:
    """A700 holds the line: nothing is skipped and nothing is refused for good."""
    statuses = [0xA700, 0xA700, 0x0000, 0x0000]

    with pacs(lambda _: statuses.pop(0)) as port, bench(tmp_path, port) as at:
        at.add(CT, 1)
        at.add(CT, 2)
        assert [at.forwarder.turn() for _ in range(3)] == [1.0, 2.0, 0.0]
        assert at.answers == [(1, "out-of-resources"), (1, "out-of-resources"), (1, "stored"), (2, "stored")]


def test_an_association_dropped_in_the_middle_is_made_again(tmp_path: Path) -> None:
    """A PACS that ends the association at each second object still gets them all, in order."""
    seen: list[str] = []

    def store(event: Event) -> int:
        uid = instance(event)
        if uid not in seen and len(seen) % 2:
            seen.append(uid)
            event.assoc.abort()
        elif uid not in seen:
            seen.append(uid)
        return 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        for number in range(1, 7):
            at.add(CT, number, sop_instance=f"1.2.3.{number}")
        while at.forwarder.turn():
            pass
        assert [number for number, name in at.answers if name == "stored"] == [1, 2, 3, 4, 5, 6]


def test_an_object_that_ends_every_association_blocks_nobody(tmp_path: Path) -> None:
    """After three tries those behind it go; it is tried again at its own time, and is never given up."""

    def store(event: Event) -> int:
        if instance(event) == "1.2.3.1":
            event.assoc.abort()
        return 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        for number in (1, 2, 3):
            at.add(CT, number, sop_instance=f"1.2.3.{number}")
        assert [at.forwarder.turn() for _ in range(4)] == [1.0, 2.0, 0.0, 0.0]
        assert at.answers == [(1, "aborted")] * 3 + [(2, "stored"), (3, "stored")]
        assert at.state(1) == (DeliveryState.WAITING, "aborted")
        at.time_ns += 11 * 10**9
        at.forwarder.turn()
        assert at.answers[5:] == [(1, "aborted")]


def test_a_pacs_that_does_not_answer_is_left(tmp_path: Path) -> None:
    """Without an answer in time the association is ended, the object waits, and the name says so."""
    release = threading.Event()

    def store(_: Event) -> int:
        release.wait(30)
        return 0x0000

    with pacs(store) as port, bench(tmp_path, port, answer_s=0.5) as at:
        at.add(CT, 1)
        try:
            assert at.forwarder.turn() == 1.0
        finally:
            release.set()
        assert at.answers == [(1, "no-answer")]
        assert at.state(1) == (DeliveryState.WAITING, "no-answer")


def test_a_pacs_that_accepts_no_such_objects(tmp_path: Path, require: Require) -> None:
    """A transfer syntax that the PACS does not accept is a named, final failure; nothing is converted."""
    require("storescp")
    with storescp(tmp_path / "pacs", "+xi") as peer, bench(tmp_path, peer.port, ae_title=peer.aet) as at:
        at.add("MR_small_RLE.dcm", 1)
        at.add("MR_small_implicit.dcm", 2)
        assert at.forwarder.turn() == 0.0
        assert at.answers == [(1, "not-accepted"), (2, "stored")]
        assert at.state(1)[0] == DeliveryState.NEVER


def test_a_pacs_that_accepts_nothing_at_all(tmp_path: Path) -> None:
    """A PACS that takes neither the object's class nor Verification is a named, final failure as well."""
    entity = AE(ae_title="ANY")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.4", ALL)
    port = free_port()
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    try:
        with bench(tmp_path, port) as at:
            at.add(CT, 1)
            at.add("MR_small_implicit.dcm", 2)
            assert at.forwarder.turn() == 0.0
            at.journal.retry_forward(f"{1:032x}", NAME)
            at.close()
            at.restarted()
            assert at.forwarder.turn() == 0.0
            assert at.answers == [(1, "not-accepted"), (2, "stored"), (1, "not-accepted")]
    finally:
        entity.shutdown()


def test_a_pacs_that_rejects_us_is_asked_again(tmp_path: Path) -> None:
    """A rejected association is a failure of the way, with the peer's reason."""
    entity = AE(ae_title="OTHER")
    entity.require_called_aet = True
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2", ALL)
    port = free_port()
    entity.start_server(("127.0.0.1", port), block=False)
    try:
        with bench(tmp_path, port) as at:
            at.add(CT, 1)
            # This peer may hang up before its rejection is on the wire; then it is "aborted", once.
            assert [at.forwarder.turn() for _ in range(3)] == [1.0, 2.0, 4.0]
            assert (1, "rejected") in at.answers
            assert at.state(1)[0] is DeliveryState.WAITING
    finally:
        entity.shutdown()


def test_after_a_crash_the_object_is_sent_once_more(tmp_path: Path) -> None:
    """A forwarder that ends between the answer and the journal sends that object again, and no other."""
    arrived: list[str] = []

    def store(event: Event) -> int:
        arrived.append(instance(event))
        return 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        for number in (1, 2, 3):
            at.add(CT, number, sop_instance=f"1.2.3.{number}")
        forwarded = at.journal.forwarded

        def crash(object_id: str, destination: str) -> None:
            if int(object_id, 16) == 2:
                raise KeyboardInterrupt
            forwarded(object_id, destination)

        at.journal.forwarded = crash  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            at.forwarder.turn()
        at.journal.forwarded = forwarded  # type: ignore[method-assign]
        at.close()
        assert at.restarted().turn() == 0.0
        assert arrived == ["1.2.3.1", "1.2.3.2", "1.2.3.2", "1.2.3.3"]


@pytest.mark.parametrize("fault", ["gone", "meta-in-data-set", "empty"])
def test_a_file_that_is_not_as_it_was_written_is_named(tmp_path: Path, fault: str) -> None:
    """An object whose file is gone or cannot go out whole is refused by name, and nothing of it is sent."""
    with pacs(lambda _: 0x0000) as port, bench(tmp_path, port) as at:
        content = {"meta-in-data-set": b"\x02\x00\x10\x00UI\x04\x001.2\0" * 3, "empty": b""}.get(fault)
        received = at.add(CT, 1, **({} if content is None else {"content": content}))
        if fault == "gone":
            received.path.unlink()
        at.add(CT, 2)
        assert at.forwarder.turn() == 0.0
        assert at.answers == [(1, "unreadable-object"), (2, "stored")]
        assert at.state(1) == (DeliveryState.NEVER, "unreadable-object")


def test_many_kinds_of_objects_share_few_associations(tmp_path: Path) -> None:
    """More than 127 pairs of class and transfer syntax take another association, and none is lost."""
    classes = [context.abstract_syntax for context in AllStoragePresentationContexts]
    associations: list[object] = []

    def store(event: Event) -> int:
        associations.append(event.assoc)
        return 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        pairs = [(each, syntax) for each in classes for syntax in ALL[:2]][:200]
        for number, (sop_class, syntax) in enumerate(pairs, 1):
            at.add(CT, number, sop_class=str(sop_class), transfer_syntax=syntax)
        assert at.forwarder.turn() == 0.0
        assert {name for _, name in at.answers} == {"stored"}
        assert len(at.answers) == 200
        assert len(set(associations)) <= 4


def test_an_idle_association_is_released(tmp_path: Path) -> None:
    """Without work the association ends after its time, and the next object gets another."""
    closed: list[bool] = []
    entity = AE(ae_title="ANY")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2", ALL)
    port = free_port()
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_RELEASED, lambda _: closed.append(True))]
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    try:
        with bench(tmp_path, port) as at:
            at.add(CT, 1)
            at.forwarder.turn()
            at.time_ns += 29 * 10**9
            at.forwarder.turn()
            assert closed == []
            at.time_ns += 31 * 10**9
            at.forwarder.turn()
            assert closed == [True]
            at.add(CT, 2)
            at.forwarder.turn()
            assert at.answers == [(1, "stored"), (2, "stored")]
    finally:
        entity.shutdown()


def tls(authority: Authority, shown: Issued) -> ssl.SSLContext:
    """A client that believes the authority and shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca)
    context.load_cert_chain(shown.certificate, shown.key)
    return context


def test_a_pacs_over_tls(tmp_path: Path, require: Require) -> None:
    """Storescp with TLS, which asks for our certificate, gets the very bytes; one that our authority did not sign gets none."""
    require("storescp")
    authority, strange = Authority(tmp_path, "hospital"), Authority(tmp_path, "stranger")
    server, client = authority.issue("pacs"), authority.issue("gateway")
    options = ("+B", "+xa", "+tls", str(server.key), str(server.certificate), "+cf", str(authority.ca))
    with storescp(tmp_path / "pacs", *options) as peer, bench(tmp_path, peer.port, ae_title=peer.aet) as at:
        sent = [at.add(CT, 1), at.add("MR_small_RLE.dcm", 2)]
        honest = replace(at.destination.peer, tls=tls(authority, client), server_name="127.0.0.1")
        deceived = replace(at.destination.peer, tls=tls(strange, client), server_name="127.0.0.1")
        at.destination = replace(at.destination, peer=deceived)
        at.restarted()
        assert at.forwarder.turn() == 1.0
        at.destination = replace(at.destination, peer=honest)
        at.restarted()
        assert at.forwarder.turn() == 0.0
        assert at.answers == [(1, "unreachable"), (1, "stored"), (2, "stored")]
        stored = {path.name.partition(".")[2]: path for path in peer.files()}
        assert all(data_set(stored[each.sop_instance]) == data_set(each.path) for each in sent)


class Stalling:
    """A way to a PACS that takes no more after so many bytes, as a machine does whose disk hangs."""

    def __init__(self, port: int, limit: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._limit, self._pacs = limit, port
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            ours, _ = self._listener.accept()
        except OSError:
            return
        theirs = socket.create_connection(("127.0.0.1", self._pacs))
        self._ends += [ours, theirs]
        threading.Thread(target=self._pump, args=(theirs, ours, 1 << 40), daemon=True).start()
        self._pump(ours, theirs, self._limit)

    def _pump(self, source: socket.socket, target: socket.socket, limit: int) -> None:
        passed = 0
        try:
            while passed < limit and (data := source.recv(65536)):
                target.sendall(data)
                passed += len(data)
        except OSError:
            return

    def close(self) -> None:
        """Hang up."""
        for each in [self._listener, *self._ends]:
            each.close()


def test_a_pacs_that_stops_reading_is_left(tmp_path: Path) -> None:
    """A PACS that takes no more bytes in the middle of an object holds nothing up for longer than its time to answer."""
    with pacs(lambda _: 0x0000) as port:
        way = Stalling(port, 1 << 20)
        try:
            with bench(tmp_path, way.port, answer_s=0.5) as at:
                content = data_set(kept(tmp_path, CT).path)
                padding = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 64 << 20) + bytes(64 << 20)
                at.add(CT, 1, content=content + padding)
                assert at.forwarder.turn() == 1.0
                assert at.state(1)[0] is DeliveryState.WAITING
                assert at.answers[0][1] in {"aborted", "no-answer"}
        finally:
            way.close()


def test_an_older_object_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """Of two objects of one instance with other bytes, the first, which failed, is not sent after the second was stored."""
    stored: list[int] = []

    def store(event: Event) -> int:
        del event
        number = len(stored)
        stored.append(number)
        return 0x0110 if number < 3 else 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        at.add(CT, 1)
        at.add(CT, 2, content=data_set(kept(tmp_path, CT).path) + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 0))
        for _ in range(4):
            at.forwarder.turn()
            at.time_ns += 10**9
        assert at.state(2)[0] is DeliveryState.DONE
        at.time_ns += 200 * 10**9
        at.forwarder.turn()
        assert at.state(1) == (DeliveryState.NEVER, "superseded")
        assert len(stored) == 4


def test_a_pacs_that_announces_too_much_is_left(tmp_path: Path) -> None:
    """A PACS that says 3 GiB will come in one PDU is hung up on at once; neither memory nor time is spent on it."""

    def announce(event: Event) -> int:
        connection = event.assoc.dul.socket
        assert connection is not None
        assert connection.socket is not None
        connection.socket.sendall(struct.pack(">BBL", 4, 0, 3 << 30) + bytes(1 << 16))
        return 0x0000

    began = time.monotonic()
    with pacs(announce) as port, bench(tmp_path, port, answer_s=60.0) as at:
        at.add(CT, 1)
        assert at.forwarder.turn() == 1.0
        assert at.answers[0][1] == "aborted"
    assert time.monotonic() - began < 30


def test_an_object_goes_under_the_title_of_its_sender(tmp_path: Path) -> None:
    """With `pass_calling` the PACS sees each modality's own AE title; associations are kept for some of them."""
    seen: list[str] = []

    def store(event: Event) -> int:
        seen.append(event.assoc.requestor.ae_title)
        return 0x0000

    with pacs(store) as port, bench(tmp_path, port) as at:
        at.destination = replace(at.destination, pass_calling=True)
        at.restarted()
        titles = [f"CT{number % 6}" for number in range(1, 13)]
        for number, title in enumerate(titles, 1):
            at.journal.add(replace(kept(at.objects, CT, number=number), calling=title))
        assert at.forwarder.turn() == 0.0
        assert seen == titles
        assert len(at.forwarder._lines) <= 4
