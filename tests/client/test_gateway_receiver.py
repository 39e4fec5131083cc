"""The Storage SCP of the gateway, spoken to by real senders, by pynetdicom, and by a stranger with a socket."""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from integration.certificates import Authority, Issued
from objects import CT, IMAGES, data_set, source
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from peers.dcmtk import PROPOSE, run, storescu
from platemark.gateway.journal import Journal, JournalError, Received
from platemark.gateway.pressure import Pressure
from platemark.gateway.receiver import Receiver, Tally
from platemark.gateway.settings import Gateway, Limits, Receive, Sign

Require = Callable[[str], Path]
AET = "PLATEMARK"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


class Counted(Tally):
    """What the receiver told, in lists."""

    def __init__(self) -> None:
        self.away: list[str] = []
        self.not_taken: list[str] = []
        self.taken = 0

    def turned_away(self, reason: str, /) -> None:
        """Keep it."""
        self.away.append(reason)

    def refused(self, reason: str, /) -> None:
        """Keep it."""
        self.not_taken.append(reason)

    def stored(self, size: int, seconds: float, /) -> None:
        """Count it."""
        assert size > 0
        assert seconds >= 0
        self.taken += 1


@dataclass
class Scp:
    """A receiver in this process."""

    receiver: Receiver
    journal: Journal
    objects: Path
    tally: Counted

    @property
    def port(self) -> int:
        """On loopback."""
        return self.receiver.address[1]

    def received(self) -> list[Received]:
        """What was acknowledged, in order."""
        return self.journal.unsettled()

    def files(self) -> list[Path]:
        """What lies in objects/."""
        return sorted(self.objects.iterdir())

    def lives(self) -> None:
        """It takes an object from somebody else, whatever happened before."""
        before = len(self.received())
        association = associate(self.port)
        assert association.send_c_store(dcmread(source(CT))).Status == 0
        association.release()
        assert len(self.received()) == before + 1


@contextmanager
def receiving(directory: Path, *, limits: Limits | None = None, **receive: Any) -> Iterator[Scp]:
    """A receiver on a free port."""
    settings = Gateway(
        mode="copy",
        state_dir=directory / "state",
        sign=Sign(key=directory / "none.pem"),
        receive=Receive(**{"listen": "127.0.0.1:0", "idle_time": 5.0, "stop_time": 2.0, **receive}),
        limits=limits or Limits(free_bytes=0),
    )
    settings.objects.mkdir(parents=True)
    journal = Journal(settings.journal)
    tally = Counted()
    receiver = Receiver(settings, journal, Pressure(settings.limits, journal, settings.state_dir), tally=tally)
    receiver.start()
    try:
        yield Scp(receiver, journal, settings.objects, tally)
    finally:
        receiver.stop()
        journal.close()


@pytest.fixture(name="scp")
def _scp(tmp_path: Path) -> Iterator[Scp]:
    with receiving(tmp_path) as made:
        yield made


def associate(
    port: int,
    *,
    contexts: Sequence[tuple[str, list[str]]] = ((CT_CLASS, [ExplicitVRLittleEndian]),),
    calling: str = "CT1",
    called: str = AET,
) -> Association:
    """An established association by pynetdicom."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    made = entity.associate(
        "127.0.0.1", port, contexts=[build_context(*each) for each in contexts], ae_title=called, max_pdu=16384
    )
    assert made.is_established
    return made


def store(association: Association, content: bytes, *, sop_class: str = CT_CLASS, instance: str = "1.2.3") -> int:
    """Any bytes at all as the data set of a C-STORE in the first context; the status, -1 when there is no answer."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance
    request.DataSet = BytesIO(content)
    context = association.accepted_contexts[0].context_id
    assert context is not None
    # As send_c_store does, so that the association's own thread does not take the answer.
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, context)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    status = getattr(answer, "Status", None)
    return -1 if status is None else int(status)


@pytest.mark.parametrize("name", IMAGES)
def test_every_syntax_arrives_from_storescu(require: Require, scp: Scp, name: str) -> None:
    """The journal has the class, instance and syntax that storescu sent, and who sent it."""
    require("storescu")
    image = dcmread(source(name), stop_before_pixels=True)
    syntax = str(image.file_meta.TransferSyntaxUID)
    done = storescu(scp.port, source(name), options=[PROPOSE[syntax], "-aet", "CT7"], aet=AET)
    assert done.returncode == 0, done.stderr
    (found,) = scp.received()
    assert (found.calling, found.called, found.address, found.certificate) == ("CT7", AET, "127.0.0.1", None)
    assert (found.sop_class, found.sop_instance) == (image.SOPClassUID, image.SOPInstanceUID)
    assert found.transfer_syntax == syntax
    assert found.bytes == found.path.stat().st_size
    assert dcmread(found.path).SOPInstanceUID == image.SOPInstanceUID


@pytest.mark.parametrize("name", IMAGES)
def test_every_syntax_arrives_byte_for_byte(scp: Scp, name: str) -> None:
    """The data set in objects/ is the one that was sent, whatever the syntax."""
    meta = dcmread(source(name), specific_tags=[]).file_meta
    sop_class = str(meta.MediaStorageSOPClassUID)
    association = associate(scp.port, contexts=[(sop_class, [str(meta.TransferSyntaxUID)])])
    assert store(association, data_set(source(name)), sop_class=sop_class) == 0
    association.release()
    (found,) = scp.received()
    assert data_set(found.path) == data_set(source(name))
    assert found.transfer_syntax == meta.TransferSyntaxUID


def test_the_bytes_of_the_data_set_are_never_touched(scp: Scp) -> None:
    """Any bytes arrive as they are, whatever they mean."""
    content = bytes(range(1, 256)) * 4000
    association = associate(scp.port)
    assert store(association, content) == 0
    association.release()
    (found,) = scp.received()
    assert data_set(found.path) == content


def test_echo(require: Require, scp: Scp) -> None:
    """Verification is answered."""
    require("echoscu")
    assert run("echoscu", "-aec", AET, "127.0.0.1", str(scp.port)).returncode == 0


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine, retired
        "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame, retired
        "1.2.840.10008.5.1.4.1.1.501.1",  # DICOS
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
    ],
)
def test_retired_and_rare_classes_are_taken(scp: Scp, sop_class: str) -> None:
    """Every storage class of the standard, in any of its transfer syntaxes."""
    association = associate(scp.port, contexts=[(sop_class, ["1.2.840.10008.1.2.4.66", "1.2.840.10008.1.2"])])
    (context,) = association.accepted_contexts
    assert context.transfer_syntax == ["1.2.840.10008.1.2.4.66"]  # what the sender names first
    assert store(association, b"\x08\x00\x05\x00CS\x00\x00", sop_class=sop_class) == 0
    association.release()


def test_private_classes_and_syntaxes_are_taken_when_they_are_configured(tmp_path: Path) -> None:
    """A private class and a private syntax are accepted by name, and nothing else of that vendor."""
    private, syntax = "1.2.826.0.1.3680043.2.1143.77", "1.2.826.0.1.3680043.2.1143.1"
    with receiving(tmp_path, sop_classes=(private,), transfer_syntaxes=(syntax,)) as scp:
        association = associate(
            scp.port, contexts=[(private, [syntax]), (private + ".1", [syntax]), (CT_CLASS, [syntax])]
        )
        accepted = [(each.abstract_syntax, each.transfer_syntax[0]) for each in association.accepted_contexts]
        assert accepted == [(private, syntax), (CT_CLASS, syntax)]
        assert store(association, b"whatever it is", sop_class=private) == 0
        association.release()


@pytest.mark.parametrize(
    ("receive", "words", "reason", "said"),
    [
        ({}, ["-aec", "OTHER"], "called-ae-title", "Called AE Title Not Recognized"),
        ({"calling": ("CT1",)}, ["-aec", AET, "-aet", "CT2"], "calling-ae-title", "Calling AE Title Not Recognized"),
        ({"networks": ("10.0.0.0/8",)}, ["-aec", AET], "network", ""),
    ],
)
def test_strangers_are_turned_away(  # noqa: PLR0917 - a table
    require: Require, tmp_path: Path, receive: dict[str, Any], words: list[str], reason: str, said: str
) -> None:
    """A wrong title is rejected by its name; a wrong network is not spoken to."""
    require("echoscu")
    with receiving(tmp_path, **receive) as scp:
        done = run("echoscu", *words, "127.0.0.1", str(scp.port))
        assert done.returncode != 0 or "Failed" in done.stderr
        assert said in done.stderr
        assert scp.tally.away == [reason]


def test_allowed_titles_come_in(require: Require, tmp_path: Path) -> None:
    """A title on the list does."""
    require("echoscu")
    with receiving(tmp_path, calling=("CT1", "CT2")) as scp:
        assert run("echoscu", "-aec", AET, "-aet", "CT2", "127.0.0.1", str(scp.port)).returncode == 0


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(free_bytes=0, waiting_objects=1), "waiting-objects"),
        (Limits(free_bytes=1 << 50), "free-bytes"),
    ],
)
def test_no_room_is_out_of_resources(tmp_path: Path, limits: Limits, reason: str) -> None:
    """Beyond a limit a C-STORE is answered A700, nothing of it stays, and the association goes on."""
    with receiving(tmp_path, limits=limits) as scp:
        association = associate(scp.port)
        first = store(association, b"x" * 1000)
        second = store(association, b"x" * 100_000)
        assert (first, second) == ((0, 0xA700) if reason == "waiting-objects" else (0xA700, 0xA700))
        assert set(scp.tally.not_taken) == {reason}
        assert len(scp.files()) == len(scp.received()) == [first, second].count(0)
        association.release()


def test_room_comes_back(tmp_path: Path) -> None:
    """Once objects are done, more are taken on the same association."""
    clock = [0.0]
    limits = Limits(free_bytes=0, waiting_objects=1)
    journal = Journal(tmp_path / "journal.sqlite")
    pressure = Pressure(limits, journal, tmp_path, monotonic=lambda: clock[0])
    assert pressure.refusal() is None
    pressure.added(10)
    assert pressure.refusal() == "waiting-objects"
    clock[0] += 1.0
    assert pressure.refusal() is None  # the journal says so


def test_an_object_above_the_limit_ends_its_association(tmp_path: Path) -> None:
    """Nothing of it stays, and others are served."""
    with receiving(tmp_path, limits=Limits(free_bytes=0, object_bytes=1 << 20)) as scp:
        association = associate(scp.port)
        assert store(association, bytes(2 << 20)) == -1
        association.join(10)
        assert association.is_aborted
        assert "object-bytes" in scp.tally.not_taken
        scp.lives()
        assert len(scp.files()) == 1


def test_too_many_associations_are_rejected_for_now(tmp_path: Path) -> None:
    """One above the limit is told to come again; when one ends, there is room."""
    with receiving(tmp_path, limits=Limits(free_bytes=0, associations=2)) as scp:
        open_ones = [associate(scp.port) for _ in range(2)]
        entity = AE(ae_title="CT1")
        third = entity.associate("127.0.0.1", scp.port, contexts=[build_context(CT_CLASS)], ae_title=AET)
        assert third.is_rejected
        for each in open_ones:
            each.release()
        scp.lives()


@pytest.mark.parametrize(
    ("content", "sop_class", "instance", "status"),
    [
        (b"\x02\x00\x10\x00UI\x04\x001.2\0", CT_CLASS, "1.2.3", 0xC000),
        (b"data", "1.2.840.10008.5.1.4.1.1.4", "1.2.3", 0x0122),
        (b"data", CT_CLASS, "1.2\n3", 0x0117),
        (b"data", CT_CLASS, "../../../etc/passwd", 0),
        (b"MZ\x90\x00" + bytes(200), CT_CLASS, "1.2.3", 0),
        (b"\xff" * 1000, CT_CLASS, "1.2.3", 0),
        (b"\x08\x00\x05\x00CS\xff\xff", CT_CLASS, "1.2.3", 0),
    ],
    ids=[
        "group 0002 in the data set",
        "another class than negotiated",
        "a line feed in a UID",
        "a path in a UID",
        "a program",
        "noise",
        "an element beyond the end",
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_hostile_objects_are_taken_as_they_are_or_refused(
    scp: Scp, content: bytes, sop_class: str, instance: str, status: int
) -> None:
    """Whatever is answered success lies in objects/ under a name of ours; whatever is not leaves nothing."""
    association = associate(scp.port)
    assert store(association, content, sop_class=sop_class, instance=instance) == status
    if association.is_established:
        association.release()
    assert [each.path for each in scp.received()] == scp.files()
    assert len(scp.files()) == (status == 0)
    if status == 0:
        (found,) = scp.received()
        assert data_set(found.path) == content
        assert (found.sop_instance, found.path.parent) == (instance, scp.objects)
    scp.lives()


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """PS3.8 9.3.1."""
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def associate_request(*, called: str = AET, contexts: int = 1) -> bytes:
    """An A-ASSOCIATE-RQ for CT images (PS3.8 9.3.2)."""

    def item(kind: int, body: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(body)) + body

    syntaxes = item(0x30, CT_CLASS.encode()) + item(0x40, b"1.2.840.10008.1.2")
    proposed = b"".join(item(0x20, bytes([2 * number + 1, 0, 0, 0]) + syntaxes) for number in range(contexts))
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    head = struct.pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), b"STRANGER".ljust(16))
    return pdu(1, head + item(0x10, b"1.2.840.10008.3.1.1.1") + proposed + user)


def p_data(header: int, data: bytes, context: int = 1) -> bytes:
    """A P-DATA-TF with one value."""
    return pdu(4, struct.pack(">LBB", len(data) + 2, context, header) + data)


def command(*, field: int = 1, instance: bytes = b"1.2.3\0", data: int = 0, extra: bytes = b"") -> bytes:
    """A command set in implicit VR little endian; C-STORE-RQ unless told otherwise."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHL", 0, number, len(value)) + value

    uid = CT_CLASS.encode() + b"\0"
    body = (
        element(0x0002, uid)
        + element(0x0100, struct.pack("<H", field))
        + element(0x0110, struct.pack("<H", 1))
        + element(0x0700, struct.pack("<H", 0))
        + element(0x0800, struct.pack("<H", data))
        + element(0x1000, instance)
        + extra
    )
    return element(0x0000, struct.pack("<L", len(body))) + body


STRANGERS = {
    "nothing": b"",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS to a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "a PDU of 4 GiB": pdu(1, b"", 0xFFFFFFFF) + bytes(100_000),
    "an empty request": pdu(1, b""),
    "half a request": associate_request()[:60],
    "a request of noise": pdu(1, b"\xff" * 500),
    "data before a request": p_data(3, command()),
    "a P-DATA of 4 GiB": associate_request() + pdu(4, b"", 0xFFFFFFF0) + bytes(100_000),
    "an empty P-DATA": associate_request() + pdu(4, b""),
    "a value beyond its PDU": associate_request() + pdu(4, struct.pack(">LBB", 0xFFFFFF, 1, 3) + b"x"),
    "noise as a command": associate_request() + p_data(3, b"\xff" * 300),
    "a command without end": associate_request() + p_data(1, bytes(16000)) * 20,
    "an unknown command": associate_request() + p_data(3, command(field=0x7777)),
    "a data set without a command": associate_request() + p_data(2, b"data"),
    "two commands": associate_request() + p_data(3, command()) + p_data(3, command()),
    "a context that was not accepted": associate_request() + p_data(3, command(), context=99),
    "half an object": associate_request() + p_data(3, command()) + p_data(0, b"d" * 5000),
    "an instance of 100 characters": associate_request() + p_data(3, command(instance=b"1" * 100)) + p_data(2, b"d"),
    "two instances in one": associate_request() + p_data(3, command(instance=b"1.2\\1.3 ")) + p_data(2, b"d"),
    "no data set announced": associate_request() + p_data(3, command(data=0x0101)),
    "an empty data set": associate_request() + p_data(3, command()) + p_data(2, b""),
    "an unknown PDU": associate_request() + pdu(0x77, b"x"),
    "a find": associate_request() + p_data(3, command(field=0x20)) + p_data(2, b"query"),
}


@pytest.mark.filterwarnings("ignore")  # what pydicom has to say of them
@pytest.mark.parametrize("words", STRANGERS.values(), ids=STRANGERS)
def test_strangers_leave_nothing_and_harm_nobody(scp: Scp, words: bytes) -> None:
    """Whatever a stranger writes to the port, no object appears and the next modality is served."""
    with socket.create_connection(("127.0.0.1", scp.port), 10) as stranger:
        stranger.sendall(words)
        stranger.shutdown(socket.SHUT_WR)
        try:
            while stranger.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert scp.received() == []
    scp.lives()
    assert len(scp.files()) == 1


@pytest.mark.filterwarnings("ignore")  # what pydicom has to say of them
@pytest.mark.parametrize("kind", ["objects", "echoes", "reports"])
def test_a_sender_that_waits_for_no_answers_is_hung_up_on(scp: Scp, kind: str) -> None:
    """Who sends message after message without waiting is aborted, so that what waits to be served stays bounded."""
    report = command(field=0x0100, extra=struct.pack("<HHLH", 0, 0x1002, 2, 1))
    message = {
        "objects": p_data(3, command()) + p_data(2, b"\x08\x00\x16\x00\4\0\0\x001.2\0"),
        "echoes": p_data(3, command(field=0x30, data=0x0101)),
        "reports": p_data(3, report) + p_data(2, b"\x08\x00\x95\x11\4\0\0\x001.2\0"),
    }[kind]
    said = b""
    with socket.create_connection(("127.0.0.1", scp.port), 10) as stranger:
        with suppress(ConnectionError):
            stranger.sendall(associate_request() + message * 2000)
        with suppress(ConnectionError):
            while more := stranger.recv(65536):
                said += more
    assert said.count(b"\4\0\0\0") < 2000  # answers
    scp.lives()
    assert len(scp.files()) == len(scp.received())


def test_a_machine_without_threads_for_a_while_serves_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for which no thread can be started takes up no place."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with receiving(tmp_path, limits=Limits(associations=1, free_bytes=0)) as scp:
        with monkeypatch.context() as patched:
            patched.setattr(socketserver.ThreadingMixIn, "process_request", refuse)
            for _ in range(12):
                with socket.create_connection(("127.0.0.1", scp.port), 10) as stranger, suppress(ConnectionError):
                    assert stranger.recv(1) == b""
        scp.lives()


def test_a_stranger_that_keeps_quiet_is_hung_up_on(tmp_path: Path) -> None:
    """Before a request, within a PDU and within an association: quiet ends the connection, and nobody waits for it."""
    with receiving(tmp_path, idle_time=1.0) as scp:
        quiet = [socket.create_connection(("127.0.0.1", scp.port), 20) for _ in range(3)]
        quiet[1].sendall(associate_request()[:20])
        quiet[2].sendall(associate_request())
        scp.lives()
        for each in quiet:
            with each:
                while each.recv(65536):
                    pass


def test_a_connection_that_breaks_leaves_nothing(scp: Scp) -> None:
    """Half an object is gone with its association."""
    association = associate(scp.port)
    sent = threading.Event()
    send = association.dul.socket.send  # type: ignore[union-attr]
    count = [0]

    def some(data: bytes) -> None:
        count[0] += 1
        if count[0] > 3:
            # The system's own socket, so that the peer is told whatever state the association is in.
            association.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
            sent.set()
            association.dul.socket.close()  # type: ignore[union-attr]
            return
        send(data)

    association.dul.socket.send = some  # type: ignore[method-assign,union-attr]
    thread = threading.Thread(target=store, args=(association, bytes(1 << 20)))
    thread.start()
    assert sent.wait(20)
    thread.join(30)
    deadline = time.monotonic() + 20
    while scp.files() and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert (scp.files(), scp.received()) == ([], [])
    scp.lives()


class Failing(Journal):
    """A journal that fails, before or after its row is on disk."""

    after = False
    failing = False

    def add(self, received: Received) -> None:
        """Fail when told to."""
        if self.after or not self.failing:
            super().add(received)
        if self.failing:
            raise JournalError("no space left on device")


@pytest.mark.parametrize("after", [False, True])
def test_a_journal_that_fails_acknowledges_nothing(tmp_path: Path, after: bool) -> None:
    """The sender is told to come again; a file is never removed while its row may be on disk."""
    with receiving(tmp_path) as scp:
        failing = Failing(scp.journal.path)
        failing.failing, failing.after = True, after
        scp.receiver._journal = failing
        association = associate(scp.port)
        assert store(association, b"data") == 0xA700
        assert len(scp.files()) == 1
        failing.failing = False
        assert store(association, b"data") == 0
        association.release()
        assert {each.path for each in scp.received()} <= set(scp.files())
        failing.close()


def test_a_stop_lets_an_object_finish(tmp_path: Path) -> None:
    """An association in the middle of an object at the stop is served to its end; a quiet one is not waited for."""
    with receiving(tmp_path, stop_time=20.0) as scp:
        quiet = associate(scp.port)
        busy = socket.create_connection(("127.0.0.1", scp.port), 20)
        with busy:
            busy.sendall(associate_request())
            assert busy.recv(1) == b"\x02"
            busy.sendall(p_data(3, command()) + p_data(0, b"d" * 5000))
            deadline = time.monotonic() + 20
            while not scp.files() and time.monotonic() < deadline:
                threading.Event().wait(0.02)
            stopping = threading.Thread(target=scp.receiver.stop)
            stopping.start()
            threading.Event().wait(0.3)
            busy.sendall(p_data(2, b"d" * 5000))
            deadline = time.monotonic() + 20
            while not scp.received() and time.monotonic() < deadline:
                threading.Event().wait(0.02)
            assert len(scp.received()) == 1
            assert data_set(scp.received()[0].path) == b"d" * 10000
        stopping.join(20)
        assert not stopping.is_alive()
        quiet.join(10)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", scp.port), 1).close()


# --- TLS ---


@dataclass
class Tls:
    """Authorities and certificates of one test."""

    hospital: Authority
    stranger: Authority
    server: Issued

    def settings(self) -> dict[str, Any]:
        """Of a receiver that knows the hospital's."""
        return {
            "tls_certificate": self.server.certificate,
            "tls_key": self.server.key,
            "tls_client_ca": self.hospital.ca,
        }


@pytest.fixture(name="tls")
def _tls(tmp_path: Path) -> Tls:
    (tmp_path / "hospital").mkdir()
    (tmp_path / "stranger").mkdir()
    hospital = Authority(tmp_path / "hospital", "hospital")
    return Tls(hospital, Authority(tmp_path / "stranger", "stranger"), hospital.issue("gateway"))


@pytest.mark.parametrize(
    ("uris", "named"),
    [
        (["spiffe://hospital.test/ct1"], "spiffe://hospital.test/ct1"),
        ([], "CN=ct1"),
        (["https://hospital.test/ct1"], "CN=ct1"),
    ],
)
def test_the_certificate_names_the_sender(
    require: Require, tmp_path: Path, tls: Tls, uris: list[str], named: str
) -> None:
    """The SPIFFE id, else the common name, is kept with the object."""
    require("storescu")
    device = tls.hospital.issue("ct1", uris=uris)
    with receiving(tmp_path, **tls.settings()) as scp:
        options = ["+tls", str(device.key), str(device.certificate), "+cf", str(tls.hospital.ca), "-xe"]
        done = storescu(scp.port, source(CT), options=options, aet=AET)
        assert done.returncode == 0, done.stderr
        (found,) = scp.received()
        assert found.certificate == named


def test_without_a_certificate_of_ours_nobody_comes_in(require: Require, tmp_path: Path, tls: Tls) -> None:
    """No certificate, another authority's, an expired one, one that names nobody, plain text: all are turned away."""
    require("storescu")
    with receiving(tmp_path, **tls.settings()) as scp:
        attempts = [
            ["+tla", "+cf", str(tls.hospital.ca)],
            *(
                ["+tls", str(each.key), str(each.certificate), "+cf", str(tls.hospital.ca)]
                for each in (
                    tls.stranger.issue("ct1"),
                    tls.hospital.issue("ct2", expired=True),
                    tls.hospital.issue("ct3", uris=["spiffe://hospital.test/a", "spiffe://hospital.test/b"]),
                    tls.hospital.issue("Ro\u0308ntgen"),  # not in NFC: no statement can carry it
                )
            ),
            [],
        ]
        for options in attempts:
            assert storescu(scp.port, source(CT), options=options, aet=AET).returncode != 0, options
        assert scp.received() == []
        assert set(scp.tally.away) == {"tls", "nameless-certificate"}


def test_a_handshake_that_never_ends_stops_nobody(require: Require, tmp_path: Path, tls: Tls) -> None:
    """Clients that connect and say nothing do not keep another one from its handshake."""
    require("storescu")
    device = tls.hospital.issue("ct1")
    with receiving(tmp_path, idle_time=3.0, **tls.settings()) as scp:
        silent = [socket.create_connection(("127.0.0.1", scp.port), 20) for _ in range(5)]
        options = ["+tls", str(device.key), str(device.certificate), "+cf", str(tls.hospital.ca), "-xe"]
        assert storescu(scp.port, source(CT), options=options, aet=AET, seconds=2.5).returncode == 0
        for each in silent:
            with each:
                assert each.recv(10) == b""


def test_large_objects_arrive_whole_over_tls(tmp_path: Path, tls: Tls) -> None:
    """A PDU is more than a TLS record."""
    device = tls.hospital.issue("ct1")
    context = ssl.create_default_context(cafile=str(tls.hospital.ca))
    context.load_cert_chain(device.certificate, device.key)
    context.check_hostname = False
    with receiving(tmp_path, **tls.settings()) as scp:
        entity = AE(ae_title="CT1")
        association = entity.associate(
            "127.0.0.1",
            scp.port,
            contexts=[build_context(CT_CLASS, ExplicitVRLittleEndian)],
            ae_title=AET,
            max_pdu=131072,
            tls_args=(context, "localhost"),
        )
        assert association.is_established
        content = b"\x08\x00" + bytes(3 << 20)
        assert store(association, content) == 0
        association.release()
        assert data_set(scp.received()[0].path) == content
