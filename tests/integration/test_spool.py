"""A spool and a real ledger: started late, stopped in the middle, killed; and everything is logged once, in order."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from commands import platemark, png
from integration.live import Live, Place, Writer

from platemark import statement
from platemark.key_files import read_private
from platemark.rpc import Retry
from platemark.rpc.sync import LedgerClient
from platemark.spool import Backoff, Cause, DeliveryError, Did, Sender, Spool, State
from platemark.spool.ledger import LedgerDelivery

QUICK = Backoff(first=0.01, most=0.05)


class Reachable:
    """Opens clients to wherever the ledger of a place is now, if anywhere."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.address = "127.0.0.1:9"  # nobody serves the discard port

    @contextmanager
    def __call__(self) -> Iterator[LedgerClient]:
        """A client that tries once: the sender is who tries again."""
        once = Retry(attempts=1)
        with LedgerClient(self.address, trusted=self.place.trusted, timeout=20.0, retry=once) as client:
            yield client


def enrolled(place: Place) -> Writer:
    """A device that the ledger knows; the ledger has stopped again."""
    with place.served() as live:
        return live.device("spooling")


def logged_ids(live: Live, device: Writer) -> list[bytes]:
    """The ids of a device's statements in the order of the log."""
    return [each.id for each in live.client().list_statements(kid=device.key.kid)]


def terminate(live: Live) -> None:
    """As an operator does."""
    live.signal(signal.SIGTERM)
    live.wait()


def kill(live: Live) -> None:
    """As a power failure does, to the processes at least."""
    for pid in (live.process.pid, *live.workers):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    live.wait()


@pytest.mark.parametrize("end", [terminate, kill], ids=lambda value: value.__name__)
def test_a_ledger_that_comes_late_and_goes_in_between_has_everything_once(
    place: Place, tmp_path: Path, end: Callable[[Live], None]
) -> None:
    """Nothing is lost, doubled or exchanged, and the spool's indices are the ledger's, also for what was under way."""
    device = enrolled(place)
    reach = Reachable(place)
    failed, some, stop = threading.Event(), threading.Event(), threading.Event()
    with Spool(tmp_path / "spool") as spool, LedgerDelivery(reach) as delivery:
        raws = [device.capture(number.to_bytes(4, "big")) for number in range(600)]
        for raw in raws[:400]:
            spool.put(raw)

        def wait(seconds: float) -> bool:
            if sender.traffic.failures:
                failed.set()
            if sender.traffic.logged >= 64:
                some.set()
            return stop.wait(seconds)

        with Sender(spool, delivery, batch=16, backoff=QUICK) as sender:
            sending = threading.Thread(target=sender.run, args=(wait,))
            sending.start()
            assert failed.wait(60)
            live = Live.start(place)
            reach.address = live.address
            assert some.wait(60)
            end(live)
            for raw in raws[400:]:
                spool.put(raw)
            with place.served() as live:
                reach.address = live.address
                _until_empty(spool, sending)
                stop.set()
                sending.join(60)
                ids = [statement.decode(raw).id for raw in raws]
                assert logged_ids(live, device) == ids
                kept = spool.entries(State.ACKNOWLEDGED, 1000)
                indices = {each.id: each.index for each in live.client().list_statements(kid=device.key.kid)}
        assert [(each.id, each.index) for each in kept] == [(each, indices[each]) for each in ids]
        assert (spool.counts().depth, spool.counts().set_aside) == (0, 0)


def _until_empty(spool: Spool, sending: threading.Thread) -> None:
    """Join in small portions until nothing is pending; the test's own time limit ends it otherwise."""
    while spool.counts().depth:
        sending.join(0.05)
        assert sending.is_alive()


def test_what_a_ledger_refuses_is_set_aside_with_its_reason(live: Live, tmp_path: Path) -> None:
    """Refused for real: a key that nobody enrolled, a signature that is another's; the rest of the batch is logged."""
    device = live.device("mixed")
    stranger = live.place.registrar().new("stranger")
    good = [device.capture(bytes([number])) for number in range(4)]
    forged = device.capture(b"forged")
    forged = forged[:-1] + bytes([forged[-1] ^ 1])
    reach = Reachable(live.place)
    reach.address = live.address
    with Spool(tmp_path / "spool") as spool, LedgerDelivery(reach) as delivery, Sender(spool, delivery) as sender:
        for raw in (good[0], stranger.capture(), good[1], forged, good[2], good[3]):
            spool.put(raw)
        assert sender.drain(lambda _: False)
        assert [each.code for each in spool.entries(State.SET_ASIDE, 9)] == ["unknown-key", "bad-signature"]
        assert all(each.reason for each in spool.entries(State.SET_ASIDE, 9))
    assert logged_ids(live, device) == [statement.decode(raw).id for raw in good]


def test_a_smaller_ledger_is_sent_smaller_batches(place: Place, tmp_path: Path) -> None:
    """A ledger that takes 10 statements a call gets everything, and nothing is set aside."""
    device = enrolled(place)
    with place.served(MAX_BATCH="10") as live, Spool(tmp_path / "spool") as spool:
        reach = Reachable(place)
        reach.address = live.address
        raws = [device.capture(bytes([number])) for number in range(100)]
        for raw in raws:
            spool.put(raw)
        with LedgerDelivery(reach) as delivery, Sender(spool, delivery) as sender:
            assert sender.drain(lambda _: False)
        assert logged_ids(live, device) == [statement.decode(raw).id for raw in raws]
        assert spool.counts().set_aside == 0


def test_another_log_than_the_trusted_one_gets_no_acknowledgement(live: Live, place: Place, tmp_path: Path) -> None:
    """A ledger whose answers do not verify is one that nothing was delivered to, and no statement is blamed for it."""
    device = live.device("elsewhere")
    reach = Reachable(place)
    reach.address = live.address
    with Spool(tmp_path / "spool") as spool, LedgerDelivery(reach) as delivery, Sender(spool, delivery) as sender:
        spool.put(device.capture())
        assert [sender.step() for _ in range(3)] == [Did.FAILED] * 3
        error = sender.traffic.error
        assert isinstance(error, DeliveryError)
        assert (error.cause, error.word) == (Cause.HELD, "bad-reply")
        assert (spool.counts().depth, spool.counts().set_aside) == (1, 0)


def test_the_command_line_from_capture_to_the_log(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured while the ledger is away, sent by `spool send --follow` once it is there, and found in the log, in order."""
    for name in ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA", "PLATEMARK_SPOOL"):
        monkeypatch.delenv(name, raising=False)
    key, trust = tmp_path / "dx1.pem", place.directory / "trust.toml"
    platemark("keygen", key)
    with place.served() as live:
        reach = ("--server", live.address, "--trust", trust)
        registrar = place.directory / "offline" / "registrar.key"
        enrolment = (
            "--key",
            key,
            "--device",
            "https://devices.test/spooled",
            "--role",
            "modality",
            "--registrar",
            registrar,
        )
        assert platemark("enrol", *enrolment, *reach).code == 0
        port = live.address
    images = tmp_path / "images"
    images.mkdir()
    for number in range(5):
        (images / f"{number}.png").write_bytes(png(shade=100 + number))
    assert platemark("capture", images, "--key", key, "--spool", tmp_path / "spool").code == 0
    assert platemark("spool", "send", tmp_path / "spool", "--server", port, "--trust", trust).code == 5
    with _following(tmp_path / "spool", port, trust) as sender:
        assert "no ledger answers" in _line(sender)
        assert platemark("spool", "send", tmp_path / "spool", "--server", port).code == 2  # one sender at a time
        with Spool(tmp_path / "spool") as spool, place.served("--listen", port) as live:
            assert "the ledger takes statements" in _line(sender)
            put = [each.id for each in spool.entries(State.ACKNOWLEDGED, 9)]
            kid = read_private(key).kid
            assert [each.id for each in live.client().list_statements(kid=kid)] == put
            assert len(put) == 5
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(60) == 0


@contextmanager
def _following(spool: Path, server: str, trust: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "platemark", "spool", "send", str(spool), "--follow"]
    command += ["--server", server, "--trust", str(trust), "--listen", "127.0.0.1:0"]
    sender = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = _line(sender)
        assert said.startswith("metrics at http://127.0.0.1:")
        with closing(http.client.HTTPConnection(said.split("/")[2], timeout=60)) as connection:
            connection.request("GET", "/metrics")
            assert "platemark_spool_depth 5.0" in connection.getresponse().read().decode()
        yield sender
    finally:
        if sender.poll() is None:
            sender.kill()
        sender.wait(60)
        if sender.stderr is not None:
            sender.stderr.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()
