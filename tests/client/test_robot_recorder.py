"""The recorder as an owner's program sees it: threads, asyncio, keys, buffers, and what it says of itself."""

import array
import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from robots import CAMERA, CLOCK, DEVICE, START, Robot, message

from platemark import key_files, keys, pkcs11_keys, statement
from platemark.chain import Chain
from platemark.errors import KeyFileError, SegmentError, StateError
from platemark.pkcs11_uri import parse_uri
from platemark.robot import AsyncRecorder, Recorder, RecorderState, SegmentJournal, open_chain
from platemark.robot.intake import Data
from platemark.robot.metrics import RecorderCollector
from platemark.robot.recorder import MAX_TOPICS
from platemark.segment import Row, pack_rows, unpack_rows
from platemark.spool import Spool, State
from tokens import PIN, Token


@contextmanager
def recorder(directory: Path, *, started: bool = True, **options: Any) -> Iterator[tuple[Recorder, Spool]]:
    """A recorder of a new robot and its spool."""
    robot = Robot(directory)
    with robot.spool() as spool:
        made = Recorder(robot.journal, chain=options.pop("chain", None) or robot.chain(), spool=spool, **options)
        try:
            if started:
                made.start()
            yield made, spool
        finally:
            if not made._closed:
                made.close()


def rows_of(directory: Path, recording: bytes, topic: str) -> list[Row]:
    """The rows that the journal has of a topic."""
    segments = SegmentJournal(directory / "journal").segments(recording)
    return [row for each in segments if each.segment.channel.topic == topic for row in unpack_rows(each.rows)]


def test_what_is_observed_is_kept(tmp_path: Path) -> None:
    """Every message is in a segment that is signed and in the spool, and its row says what was observed."""
    told: list[int] = []
    with recorder(tmp_path, clock=CLOCK, on_kept=lambda segment, _: told.append(segment.count)) as (made, spool):
        made.channel("/camera", encoding="rgb8 4x4")
        for number in range(90):
            assert made.observe("/camera", message(number), log_time=START + number * 33_000_000, publish_time=START)
        assert made.flush()
        state = made.state()
        assert (state.observed, state.kept_messages, state.kept, state.unobserved) == (90, 90, 3, 0)
        assert (state.queued, state.open, state.unsaved, state.fault) == (0, 0, 0, None)
        assert told == [31, 30, 29]
        statements = [statement.decode(each.raw) for each in spool.entries(State.PENDING, 10)]
        last = made.close()
    assert last.recording == made.recording
    assert [each.payload["number"] for each in statements] == [0, 1, 2]
    assert {each.kind for each in statements} == {"segment"}
    assert {each.issuer for each in statements} == {DEVICE}
    assert statements[0].payload["clock"] == {"source": "ptp", "error_ns": 1000}
    digests = [hashlib.sha256(message(number)).digest() for number in range(90)]
    expected = [Row(START + number * 33_000_000, START, digest) for number, digest in enumerate(digests)]
    assert rows_of(tmp_path, made.recording, "/camera") == expected


def test_any_buffer_is_hashed_as_its_bytes(tmp_path: Path) -> None:
    """Bytes, bytearray, memoryview, array and numpy frames are the same message, with the same size."""
    pixels = np.arange(4 * 4 * 3, dtype=np.uint16).reshape(4, 4, 3)
    data = pixels.tobytes()
    buffers: tuple[Data, ...] = (data, bytearray(data), memoryview(data), pixels.data, pixels, array.array("B", data))
    with recorder(tmp_path) as (made, _):
        for number, each in enumerate(buffers):
            assert made.observe(CAMERA, each, log_time=number)
        assert made.observe_digest(CAMERA, hashlib.sha256(data).digest(), len(data), log_time=9)
        assert made.flush()
        (only,) = SegmentJournal(tmp_path / "journal").segments(made.recording)
    assert only.segment.size == len(data) * 7
    assert {each.digest for each in unpack_rows(only.rows)} == {hashlib.sha256(data).digest()}


@pytest.mark.parametrize(
    ("observe", "field"),
    [
        (lambda made: made.observe("/unknown", b"", log_time=1), "topic"),
        (lambda made: made.observe("/camera", "text", log_time=1), "data"),
        (lambda made: made.observe("/camera", np.zeros((4, 4))[:, ::2], log_time=1), "data"),
        (lambda made: made.observe("/camera", b"", log_time=-1), "log_time"),
        (lambda made: made.observe("/camera", b"", log_time=1 << 63), "log_time"),
        (lambda made: made.observe("/camera", b"", log_time=1, publish_time=-1), "publish_time"),
        (lambda made: made.observe("/camera", b"", log_time=1.5e18), "log_time"),
        (lambda made: made.observe("/camera", b"", log_time="1"), "log_time"),
        (lambda made: made.observe("/camera", b"", log_time=1, publish_time=1.0), "publish_time"),
        (lambda made: made.observe_digest("/camera", b"short", 1, log_time=1), "digest"),
        (lambda made: made.observe_digest("/camera", bytes(32), -1, log_time=1), "size"),
        (lambda made: made.observe_digest("/camera", bytes(32), 1.5, log_time=1), "size"),
        (lambda made: made.channel(""), "topic"),
        (lambda made: made.channel("/x", encoding="x" * 256), "encoding"),
        (lambda made: made.channel("/x", schema="text"), "schema"),
    ],
    ids=range(15),
)
def test_what_no_statement_can_carry_is_refused_at_once(
    tmp_path: Path, observe: Callable[[Recorder], object], field: str
) -> None:
    """The caller is told which argument and why, and nothing was taken."""
    with recorder(tmp_path) as (made, _):
        made.channel("/camera")
        with pytest.raises(SegmentError) as raised:
            observe(made)
        assert raised.value.field == field
        assert made.state().observed == 0


def test_times_of_numpy_are_whole_numbers(tmp_path: Path) -> None:
    """A time in an integer of numpy is the same time, in the statement too."""
    with recorder(tmp_path) as (made, _):
        made.channel("/camera")
        assert made.observe("/camera", b"1", log_time=np.int64(START), publish_time=np.uint64(START))  # type: ignore[arg-type]
        assert made.flush()
    assert rows_of(tmp_path, made.recording, "/camera") == [Row(START, START, hashlib.sha256(b"1").digest())]


def test_topics_are_bounded(tmp_path: Path) -> None:
    """A program that makes up topics is refused; those that it has go on."""
    with recorder(tmp_path, started=False) as (made, _):
        for number in range(MAX_TOPICS):
            made.channel(f"/{number}")
        made.channel("/0", encoding="another")
        with pytest.raises(SegmentError, match="more than 4096 topics"):
            made.channel("/one more")


def test_threads_share_a_recorder(tmp_path: Path) -> None:
    """Messages of several threads are each in exactly one segment, those of a thread in their order."""
    with recorder(tmp_path, window_ns=10**7) as (made, _):

        def work(topic: str) -> None:
            made.channel(topic)
            for number in range(2000):
                assert made.observe(topic, b"%d" % number, log_time=START + number * 10**5)

        threads = [threading.Thread(target=work, args=(f"/{number}",)) for number in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert made.flush()
        assert made.state().kept_messages == 8000
    for number in range(4):
        rows = rows_of(tmp_path, made.recording, f"/{number}")
        assert sorted(rows, key=lambda row: row.log_time) == [
            Row(START + each * 10**5, START + each * 10**5, hashlib.sha256(b"%d" % each).digest())
            for each in range(2000)
        ]


def test_asyncio(tmp_path: Path) -> None:
    """Small and large messages of coroutines are recorded, the large ones hashed outside the loop."""
    large = bytes(200_000)

    async def work(made: Recorder) -> RecorderState:
        made.channel("/camera")
        async with AsyncRecorder(made) as twin:
            for number in range(20):
                assert await twin.observe("/camera", large if number % 2 else b"small", log_time=START + number)
            with pytest.raises(SegmentError, match="data"):
                await twin.observe("/camera", "text", log_time=1)  # type: ignore[arg-type]
            assert await twin.flush()
            return await twin.close()

    with recorder(tmp_path, started=False) as (made, _):
        state = asyncio.run(work(made))
    assert (state.kept, state.kept_messages) == (1, 20)
    sizes = {hashlib.sha256(large).digest(), hashlib.sha256(b"small").digest()}
    assert {row.digest for row in rows_of(tmp_path, made.recording, "/camera")} == sizes


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_keys_in_files_and_tokens(tmp_path: Path, token: Token, algorithm: str) -> None:
    """A key in a file, encrypted or not, and one that never leaves its token sign segments alike."""
    label = f"robot-{algorithm}"
    pkcs11_keys.create(parse_uri(token.uri(label)), algorithm, lambda _: PIN).close()
    for number, content in enumerate(("plain", "encrypted", "token")):
        directory = tmp_path / str(number)
        directory.mkdir()
        key, passphrase = directory / "key.pem", b"secret" if content == "encrypted" else None
        if content == "token":
            key.write_text(token.uri(label) + "\n")
        else:
            key_files.write_private(key, keys.generate(algorithm), passphrase)
        chain = open_chain(key, device=DEVICE, passphrase=passphrase, pin=PIN)
        with recorder(directory, chain=chain) as (made, spool):
            made.observe(CAMERA, b"frame", log_time=START)
            assert made.flush()
            (entry,) = spool.entries(State.PENDING, 10)
        signed = statement.decode(entry.raw)
        signed.verify(keys.load_public(chain.signer.spki))
        assert (signed.kid, signed.payload["topic"]) == (chain.signer.kid, "/camera")


def test_a_key_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    """No file, no device, another device: one sentence before anything is recorded."""
    with pytest.raises(KeyFileError, match=r"key\.pem"):
        open_chain(tmp_path / "key.pem", device=DEVICE)
    key = tmp_path / "key.pem"
    key_files.write_private(key, keys.generate("ed25519"))
    with pytest.raises(StateError, match="no state yet"):
        open_chain(key)
    with Robot(tmp_path).spool() as spool, pytest.raises(StateError, match="no state yet"):
        Recorder(tmp_path / "journal", chain=Chain(key, key_files.read_private(key)), spool=spool)
    open_chain(key, device=DEVICE)
    assert open_chain(key).state() is not None
    with pytest.raises(StateError, match="signs as"):
        open_chain(key, device="https://robots.example/devices/8")


def test_a_fault_is_told_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the key fails, messages are taken, rows are on disk, and the state says why nothing is kept; then all is kept."""
    failing = threading.Event()
    failing.set()
    original = Chain.sign

    def sign(*arguments: Any, **options: Any) -> Any:
        if failing.is_set():
            raise RuntimeError("the token of the test was pulled out")
        return original(*arguments, **options)

    monkeypatch.setattr(Chain, "sign", sign)
    with recorder(tmp_path) as (made, _):
        assert made.observe(CAMERA, b"frame", log_time=START)
        assert not made.flush(patience=0.2)
        with made._changed:
            assert made._changed.wait_for(lambda: made.state().fault is not None, 10)
            state = made.state()
        assert state.fault == "RuntimeError: the token of the test was pulled out"
        assert (state.kept, state.waiting, state.unsaved) == (0, 1, 0)
        failing.clear()
        assert made.flush()
        with made._changed:
            assert made._changed.wait_for(lambda: made.state().fault is None, 10)


def test_what_was_not_kept_in_time_waits_for_the_next_run(tmp_path: Path) -> None:
    """A recorder that is closed without patience leaves its rows on disk, and the next one signs them first."""
    with recorder(tmp_path, started=False) as (made, spool):
        made.observe(CAMERA, b"frame", log_time=START)
        state = made.close(0)
        assert (state.kept, state.waiting, state.queued, state.open, state.unsaved) == (0, 1, 0, 0, 0)
        assert spool.counts().depth == 0
    with recorder(tmp_path) as (other, spool):
        other.observe(CAMERA, b"another", log_time=START)
        assert other.flush()
        assert other.state().kept == 2
        recordings = [statement.decode(each.raw).payload["recording"] for each in spool.entries(State.PENDING, 10)]
    assert recordings == [made.recording, other.recording]


def test_a_closed_recorder_takes_nothing(tmp_path: Path) -> None:
    """What comes after the end is the program's mistake, not a message."""
    with recorder(tmp_path) as (made, _):
        made.close()
        for use in (lambda: made.observe(CAMERA, b"", log_time=1), made.start, made.close):
            with pytest.raises(RuntimeError, match="is closed"):
                use()
    with recorder(tmp_path, started=False) as (made, _):
        with pytest.raises(RuntimeError, match="was not started"):
            made.flush()
        with made:
            made.start()
            assert made.flush()


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """Bounds that cannot be are the program's mistake, and leave the journal free for another recorder."""
    robot = Robot(tmp_path)
    with robot.spool() as spool:
        for options in ({"most": (1 << 20) + 1}, {"most": 0}, {"memory": 1000}, {"window_ns": 0}, {"grace_ns": -1}):
            with pytest.raises(ValueError, match=r"\d"):
                Recorder(robot.journal, chain=robot.chain(), spool=spool, **options)  # type: ignore[arg-type]


def test_metrics(tmp_path: Path) -> None:
    """What the state says is shown to Prometheus under names of its own."""
    registry = CollectorRegistry()
    with recorder(tmp_path) as (made, _):
        registry.register(RecorderCollector(made))
        made.observe(CAMERA, b"frame", log_time=START)
        assert made.flush()

        def value(name: str) -> float | None:
            return registry.get_sample_value(f"platemark_recorder_{name}")

        assert (value("observed_total"), value("kept_total"), value("kept_messages_total")) == (1, 1, 1)
        assert (value("unobserved_total"), value("failing"), value("window_seconds")) == (0, 0, 1)
        assert (value("queued"), value("open"), value("unsaved")) == (0, 0, 0)


def test_rows_pack_as_the_format_says(tmp_path: Path) -> None:
    """What the journal has of a segment is what a proof of it carries."""
    with recorder(tmp_path) as (made, _):
        made.observe(CAMERA, b"frame", log_time=START, publish_time=5)
        assert made.flush()
        (only,) = SegmentJournal(tmp_path / "journal").segments(made.recording)
    assert only.rows == pack_rows([Row(START, 5, hashlib.sha256(b"frame").digest())])
