"""Random damage: whatever bytes a recording has, reading it ends with messages and faults, or with an error of ours."""

import sqlite3
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from recordings import packets, write_bag

from mcap_bytes import CAMERA, RAW, SCHEMA, Draft, message
from mcap_forms import FORMS, write_form
from platemark.capture.mcap import McapSource, RecordingLimits, append_records, open_mcap, tail
from platemark.capture.rosbag import open_bag
from platemark.errors import PlatemarkError

_LIMITS = RecordingLimits(chunk_bytes=1 << 16, message_bytes=1 << 16, definition_bytes=1 << 14, summary_bytes=1 << 16)


@cache
def _valid() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = [write_form(Path(folder, "a.mcap"), **form).read_bytes() for form in FORMS.values()]
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, RAW, message(10), message(20, channel=2)], compression="lz4")
    draft.chunk([message(30), message(25)], compression="zstd")
    return [*files, draft.finish()]


@cache
def _database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        bag = write_bag(Path(folder, "bag"), packets(20), storage="sqlite3")
        return (bag / "bag.db3").read_bytes()


def _damaged(data: st.DataObject, content: bytes, other: bytes) -> bytes:
    """Some bytes changed, cut, doubled, or taken from another file."""
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        length = data.draw(st.sampled_from([1, 2, 8, 9, 40, 300]))
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "end", "double", "splice"]))
        if kind == "flip" and damaged:
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            damaged[at : at + 8] = data.draw(
                st.sampled_from([bytes(8), b"\xff" * 8, b"\1" + bytes(7), bytes(7) + b"\x40"])
            )
        elif kind == "cut":
            del damaged[at : at + length]
        elif kind == "end":
            del damaged[at:]
        elif kind == "double":
            damaged[at:at] = damaged[at : at + length]
        else:
            place = data.draw(st.integers(0, len(other) - 1))
            damaged[at : at + length] = other[place : place + length]
    return bytes(damaged)


def _read(source: McapSource) -> None:
    times = [one.log_time for one in source]
    assert times == sorted(times)
    assert all(fault.where and fault.reason for fault in source.faults)


@given(st.data())
def test_mcap(data: st.DataObject) -> None:
    """Reading, following and adding to a damaged MCAP file."""
    files = _valid()
    content = _damaged(data, data.draw(st.sampled_from(files)), data.draw(st.sampled_from(files)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mcap")
        path.write_bytes(content)
        with suppress(PlatemarkError):
            _read(open_mcap(path, limits=_LIMITS))
        with suppress(PlatemarkError):
            assert sum(1 for _ in tail(path, wait=lambda: False, limits=_LIMITS)) >= 0
        target = Path(folder, "b.mcap")
        try:
            append_records(path, target, attachments=[("platemark.recording", "a/b", b"proof")], limits=_LIMITS)
        except PlatemarkError:
            assert not target.exists()
        else:
            assert open_mcap(target, limits=_LIMITS).proofs[-1] == b"proof"


@given(st.data())
def test_one_meaning(data: st.DataObject) -> None:
    """A damaged file without a fault has the same messages for whoever goes by the index: mcap's own reader."""
    from mcap.reader import make_reader

    files = _valid()
    content = _damaged(data, data.draw(st.sampled_from(files)), data.draw(st.sampled_from(files)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mcap")
        path.write_bytes(content)
        try:
            source = open_mcap(path, limits=_LIMITS)
            found = [(one.channel.topic, one.log_time, one.size) for one in source]
        except PlatemarkError:
            return
        if source.faults:
            return
        with path.open("rb") as file:
            try:
                read = [
                    (channel.topic, one.log_time, len(one.data))
                    for _, channel, one in make_reader(file).iter_messages()
                ]
            except Exception:  # noqa: BLE001  # it reads nothing at all, so nothing else
                return
        assert sorted(found) == sorted(read)


@given(st.data())
def test_sqlite(data: st.DataObject) -> None:
    """Reading a damaged sqlite3 file."""
    content = _damaged(data, _database(), _database())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.db3")
        path.write_bytes(content)
        with suppress(PlatemarkError):
            times = [one.log_time for one in open_bag(path, limits=_LIMITS)]
            assert times == sorted(times)
        assert [path] == list(Path(folder).iterdir())
        assert path.read_bytes() == content


def test_database_is_one() -> None:
    """What is damaged above is a file that sqlite reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.db3")
        path.write_bytes(_database())
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (20,)
        connection.close()
