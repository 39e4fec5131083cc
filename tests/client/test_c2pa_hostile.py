"""Manifests that lie, are broken, or want more than they are given: one sentence each, and never a verdict that is not ours."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Case, case
from hypothesis import given
from hypothesis import strategies as st

import capture_writers
from content_credentials import (
    PICTURES,
    Owner,
    assertion,
    checked,
    foreign,
    owner,
    signed,
)
from platemark.c2pa import LABEL, jumbf
from platemark.c2pa.assertion import decode
from platemark.c2pa.picture import open_picture, store_bytes, without_store
from platemark.c2pa.reading import read
from platemark.capture import Limits, measure
from platemark.errors import ContentCredentialsError, FormatError, ManifestError, PlatemarkError


@pytest.fixture(name="desk", params=["png", "jpg"])
def _desk(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A captured picture of each kind."""
    kind: str = request.param
    return case(tmp_path, PICTURES[kind], name=f"frame.{kind}")


@pytest.fixture(name="me")
def _me(tmp_path: Path) -> Owner:
    return owner(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"v": 2}, "v: not 1"),
        ({"index": 7}, "index: not what the evidence says"),
        ({"index": True}, "index: not what the evidence says"),
        ({"log": "other.example"}, "log: not what the evidence says"),
        ({"statement_id": "00" * 32}, "statement_id: not what the evidence says"),
        ({"evidence": "AAAA"}, "bundle: "),
        ({"evidence": "A A="}, "evidence: not base64"),
        ({"evidence": 5}, "evidence: not base64"),
        ({"more": 1}, "not an object of exactly"),
    ],
    ids=lambda value: next(iter(value)) + str(next(iter(value.values())))[:6] if isinstance(value, dict) else "",
)
def test_an_assertion_that_is_not_ours(tmp_path: Path, me: Owner, changed: dict[str, object], said: str) -> None:
    """An assertion that breaks the format is named, and the verdict is none: exit code 2."""
    desk = case(tmp_path, PICTURES["png"], name="frame.png")
    out = tmp_path / "x.png"
    out.write_bytes(foreign(desk, assertion(desk, **changed), me=me))
    found = checked(desk, out)
    assert (found.verdict, found.exit_code) == (None, 2)
    assert said in found.fault


def test_two_assertions(desk: Case, me: Owner) -> None:
    """Two proofs in one manifest are refused: nobody could tell which one is meant."""
    out = desk.image.with_name(f"x{desk.image.suffix}")
    out.write_bytes(foreign(desk, assertion(desk), assertion(desk), me=me))
    found = checked(desk, out)
    assert (found.exit_code, found.fault) == (2, f"{LABEL}: 2 of them, and a manifest carries one proof")


def test_an_assertion_that_is_not_json(desk: Case, me: Owner) -> None:
    """CBOR under our label is refused by name."""
    out = desk.image.with_name(f"x{desk.image.suffix}")
    out.write_bytes(foreign(desk, {**assertion(desk), "kind": "Cbor"}, me=me))
    assert checked(desk, out).fault == f"{LABEL}: not one JSON content box"


def test_names_that_stand_twice() -> None:
    """JSON that says a thing twice, holds a fraction, or is no object, is refused."""
    for text in (b'{"v":1,"v":1}', b'{"v":1.0}', b"[]", b"{", b"[" * 100_000, b'{"v":NaN}'):
        with pytest.raises(ManifestError):
            decode(text)


def test_no_connection_is_opened(tmp_path: Path, me: Owner) -> None:
    """A manifest that lies elsewhere is not fetched: nobody comes to the address that the picture names."""
    desk = case(tmp_path, PICTURES["png"], name="frame.png")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/m.c2pa"
        away = tmp_path / "away.png"
        away.write_bytes(foreign(desk, assertion(desk), me=me, remote=address))
        side = signed(desk, me, sidecar=True).read_bytes()
        with pytest.raises(ContentCredentialsError, match="carries no C2PA manifest"):
            checked(desk, away)
        reading = read(away, "image/png", manifest=None, anchors=None)
        assert (reading.state, "remote" in reading.reason.lower()) == (None, True)
        assert checked(desk, away, me, side).c2pa.state == "Invalid"
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_reading_process_is_bounded(desk: Case, me: Owner) -> None:
    """Time and memory that run out are a reading without a state and a sentence, never a verdict's end."""
    out = signed(desk, me)
    media = open_picture(out).media
    slow = read(out, media, manifest=None, anchors=None, limits=Limits(seconds=0.0))
    small = read(out, media, manifest=None, anchors=None, limits=Limits(memory_bytes=64 << 20))
    assert (slow.state, small.state) == (None, None)
    assert "was stopped" in slow.reason
    assert "memory" in small.reason or "without an answer" in small.reason


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_the_reading_process_can_open_no_socket() -> None:
    """Once it reads, the operating system gives it no new descriptor, whatever native code wants."""
    script = """
import socket
from platemark.c2pa import _reader
socket.socket().close()
_reader._close_the_door()
try:
    socket.socket()
except OSError as error:
    print(error.strerror)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "Too many open files\n"


def _segments(data: bytes) -> list[tuple[int, int]]:
    """Offset and length of every APP11 segment of a JPEG file of ours."""
    found, position = [], 2
    while data[position + 1] != 0xDA:
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] == 0xEB:
            found.append((position, length))
        position += length
    return found


def test_a_store_of_many_segments(tmp_path: Path, me: Owner) -> None:
    """A JPEG store of several segments is found whole; with one missing, twice there or out of order it counts as absent."""
    desk = case(tmp_path, PICTURES["jpg"], name="frame.jpg")
    signed = foreign(desk, assertion(desk), {"label": "org.example.note", "data": {"a": "x" * 150_000}}, me=me)
    path = tmp_path / "many.jpg"
    path.write_bytes(signed)
    assert len(_segments(signed)) == 3
    assert checked(desk, path).exit_code == 0
    assert "embedded_provenance" in measure(path).attributes
    (first, second, third) = ((signed[at : at + length]) for at, length in _segments(signed))
    at = signed.index(first)
    head, tail = signed[:at], signed[at + len(first) + len(second) + len(third) :]
    for order in ((first, second), (first, third, second), (first, second, third) * 2, (first, second, third, first)):
        path.write_bytes(head + b"".join(order) + tail)
        assert "embedded_provenance" not in measure(path).attributes
        with pytest.raises(ManifestError):
            checked(desk, path)
    for harmless in ((second, third), ()):
        path.write_bytes(head + b"".join(harmless) + tail)
        assert open_picture(path).store is None
    other = b"\xff\xeb\x00\x0dXX of a kin"
    path.write_bytes(head + other + first + second + third + tail)
    assert checked(desk, path).exit_code == 1  # the file is another one
    with without_store(open_picture(path)) as bare:
        assert bare.read_bytes() == head + other + tail


@pytest.mark.parametrize(
    "body", [b"", b"hello", bytes(64), b"\0\0\0\x40jumb" + bytes(56)], ids=["none", "few", "zero", "box"]
)
def test_chunks_that_hold_no_store(tmp_path: Path, body: bytes) -> None:
    """A caBX chunk of something else, or two of them, counts as absent in a capture and is refused by name here."""
    plain = PICTURES["png"]
    chunk = capture_writers.chunk(b"caBX", body)
    path = tmp_path / "x.png"
    for chunks in (chunk, chunk + chunk):
        path.write_bytes(plain[:33] + chunks + plain[33:])
        assert "embedded_provenance" not in measure(path).attributes
        with pytest.raises(ManifestError, match="manifest store"):
            open_picture(path)


@pytest.fixture(scope="module", name="stores")
def _stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Case, bytes]]:
    made = {}
    for kind, data in PICTURES.items():
        folder = tmp_path_factory.mktemp(kind)
        desk = case(folder, data, name=f"frame.{kind}")
        made[kind] = desk, signed(desk, owner(folder)).read_bytes()
    return made


@given(kind=st.sampled_from(sorted(PICTURES)), data=st.data())
def test_damaged_carriers_end_in_one_sentence(
    stores: dict[str, tuple[Case, bytes]], kind: str, data: st.DataObject
) -> None:
    """Whatever bytes of the manifest or its carrier are changed or cut: an error of ours or a list of proofs, nothing else."""
    desk, signed = stores[kind]
    at = data.draw(st.integers(20, min(len(signed) - 1, 30_000)))
    damaged = bytearray(signed)
    damaged[at] = data.draw(st.integers(0, 255))
    path = desk.image.with_name(f"damaged.{kind}")
    path.write_bytes(bytes(damaged[: data.draw(st.just(len(damaged)) | st.integers(at, len(damaged)))]))
    with contextlib.suppress(PlatemarkError):
        picture = open_picture(path)
        if picture.store is not None:
            for each in jumbf.proofs(store_bytes(picture)):
                decode(each)


@given(
    st.binary(max_size=200) | st.builds(bytes.__add__, st.just(b"\0\0\0\x20jumb\0\0\0\x18jumd"), st.binary(max_size=64))
)
def test_any_bytes_are_no_crash(data: bytes) -> None:
    """The box reader refuses what is no store."""
    with pytest.raises(FormatError):
        jumbf.proofs(data)


def _box(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(body) + 8 if size is None else size, kind) + body


def test_hostile_boxes(tmp_path: Path) -> None:
    """Sizes that lie, too many boxes, labels without an end and stores above the limit are refused by name."""
    uuid = bytes.fromhex("00110010800000aa00389b71")
    described = _box(b"jumd", b"c2pa" + uuid + b"\3c2pa\0")
    table = {
        "more than 4096 boxes": _box(b"jumb", described + _box(b"free", b"") * 5000),
        "no manifest in it": _box(b"jumb", described),
        "a box of 4294967295 bytes": _box(b"jumb", described + _box(b"jumb", b"", 0xFFFFFFFF)),
        "a box of 0 bytes": _box(b"jumb", described + _box(b"jumb", b"", 0)),
        "without its description": _box(b"jumb", described + _box(b"jumb", b"")),
        "a label without an end": _box(b"jumb", described + _box(b"jumb", _box(b"jumd", b"c2ma" + uuid + b"\3abc"))),
        "bytes after the last box": _box(b"jumb", described) + b"\0",
        "more than 33554432": bytes(jumbf.MAX_STORE + 1),
    }
    for said, store in table.items():
        with pytest.raises(ManifestError, match=said):
            jumbf.proofs(store)
    huge = tmp_path / "huge.png"
    header, rest = PICTURES["png"][:33], PICTURES["png"][33:]
    huge.write_bytes(header + struct.pack(">I4s", 0x7FFFFFFF, b"caBX") + rest)
    with pytest.raises(ManifestError, match="goes past the end"):
        open_picture(huge)
