"""What files of strangers may cost and do: no wait without end, no memory without bound, nothing of ours leaks."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import case, ct, platemark, png

from capture_writers import dicom, image_elements, text, tiff
from platemark import cbor, evidence, files
from platemark.capture import _child, measure
from platemark.capture import image as pictures
from platemark.capture._png import read_png
from platemark.errors import CaptureError, DecodeError, EvidenceError
from platemark.files import FileError


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are POSIX")
@pytest.mark.parametrize(
    "words", [("inspect", "{}"), ("verify", "{image}", "--evidence", "{}")], ids=["inspect", "verify"]
)
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A name of a FIFO ends a command at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    made = case(tmp_path, png())
    ran = platemark(*(word.format(fifo, image=made.image) for word in words))
    assert (2, f"platemark: {fifo}: is not a regular file\n") == (ran.code, ran.err)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in the file system are POSIX")
def test_a_pipe_is_read_where_one_is_allowed() -> None:
    """A passphrase may come through a pipe."""
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    try:
        assert files.read(Path(f"/dev/fd/{reading}"), limit=9, pipe=True) == b"secret\n"
    finally:
        os.close(reading)


def test_a_directory_is_named(tmp_path: Path) -> None:
    """A directory where a file is wanted is one clear sentence."""
    with pytest.raises(FileError, match="Is a directory"):
        files.read(tmp_path, limit=1)
    ran = platemark("inspect", ".")
    assert (ran.code, ran.err) == (2, "platemark: .: Is a directory\n")


@pytest.mark.parametrize("number", ["9" * 5000, "1" + "0" * 12, "1e999"])
def test_an_absurd_number_of_frames_is_our_error(tmp_path: Path, number: str) -> None:
    """More digits than Python converts are refused in few words, and the verifier keeps the other rungs."""
    elements = image_elements(bytes(8), rows=2, columns=2) | {0x00280008: ("UT", text(number))}
    path = tmp_path / "image.dcm"
    path.write_bytes(dicom(elements))
    with pytest.raises(DecodeError, match="not a positive integer") as caught:
        measure(path)
    assert len(str(caught.value)) < 300
    kept = measure(path, tolerant=True)
    assert (sorted(kept.digests), kept.attributes.get("frames")) == (["content", "dataset", "file"], None)


def test_pages_that_share_their_strips_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strips of all pages together have a limit, and those of one page are forgotten before the next."""
    page = {256: (3, [2]), 257: (3, [2]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 278: (3, [1])}
    path = tmp_path / "image.tiff"
    path.write_bytes(tiff([b"\1\2", b"\3\4"], page))
    monkeypatch.setattr(pictures, "_MAX_SEGMENTS", 2)
    assert "pixels" in measure(path).digests
    monkeypatch.setattr(pictures, "_MAX_SEGMENTS", 1)
    with pytest.raises(DecodeError, match="more than 1 TIFF strips"):
        measure(path)


def test_memory_that_runs_out_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that takes too much memory fails alone."""
    path = tmp_path / "image.png"
    path.write_bytes(png())

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("platemark.capture.image.read_png", exhausted)
    with pytest.raises(DecodeError, match="more memory"):
        measure(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no change time")
def test_a_file_that_changed_in_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A modification time that was put back does not hide a change."""
    path = tmp_path / "image.png"
    path.write_bytes(png())
    before = path.stat()
    real = read_png

    def changing(*arguments: object) -> object:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 1))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return real(*arguments)  # type: ignore[arg-type] # passed through

    monkeypatch.setattr(pictures, "read_png", changing)
    with pytest.raises(CaptureError, match="changed while it was read"):
        measure(path)


def test_no_secret_of_ours_reaches_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that parses hostile bytes gets no variable of ours, and what else there is."""
    monkeypatch.setenv("PLATEMARK_PASSPHRASE", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    given = _child.environment()  # what a process is given shows nowhere else
    assert ([name for name in given if name.startswith("PLATEMARK_")], given["LANG"]) == ([], "C.UTF-8")


GOOD = {"statement.cose": b"s", "proof.tlog-proof": b"p", "conditions.cbor": cbor.encode({"v": 1, "conditions": []})}


@pytest.mark.parametrize(
    "name", ["../../.ssh/authorized_keys", "/etc/x", "mimetype", "\x1b[2J", "a" * 101, "A", "a//b", "a/../b"]
)
def test_a_ledger_chooses_no_names(name: str) -> None:
    """Members of a reply become a file that people unpack: their names are those of a bundle."""
    assert evidence.from_members(GOOD).record.statement == b"s"
    with pytest.raises(EvidenceError, match="is refused"):
        evidence.from_members({**GOOD, name: b""})


def test_a_reply_of_too_many_members_is_refused() -> None:
    """512 members with `mimetype` are the most."""
    evidence.from_members({**GOOD, **{f"x{number}": b"" for number in range(508)}})
    with pytest.raises(EvidenceError, match="more than 512"):
        evidence.from_members({**GOOD, **{f"x{number}": b"" for number in range(509)}})


def test_many_empty_members_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of members is looked at before zipfile reads their records."""

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("zipfile.ZipFile", never)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 60_000, 60_000, 46 * 60_000, 0, 0)
    with pytest.raises(EvidenceError, match="more than 512 members"):
        evidence.from_bytes(b"PK\1\2" + bytes(46 * 60_000 - 4) + end)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46 * 60_000, 0, 0)
    with pytest.raises(EvidenceError, match="ask for the original file"):
        evidence.from_bytes(b"PK\1\2" + bytes(46 * 60_000 - 4) + end)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data + b"x", "packed again by another program"),
        (lambda _: png(), "not a readable ZIP file"),
        (lambda _: ct(), "not a readable ZIP file"),
    ],
    ids=["repacked", "an image", "a DICOM file"],
)
def test_evidence_that_is_none_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    """A bundle from another program and an image in its place are told apart."""
    made = case(tmp_path, png())
    made.evidence.write_bytes(damage(made.evidence.read_bytes()))
    ran = made.verify()
    assert (ran.code, said in ran.err) == (2, True)
