"""Adding records to an MCAP file changes nothing of its data, and every other reader finds them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import NonSeekingReader, make_reader
from mcap.writer import CompressionType, IndexType
from recordings import Attached, attachments, frames, read_mcap, write_mcap
from rosbags.rosbag2 import Reader as BagReader

from mcap_bytes import CAMERA, SCHEMA, Draft, message, record
from mcap_forms import FORMS, write_form
from platemark.capture.mcap import append_records, open_mcap
from platemark.errors import RecordingError

_ADDED = [("platemark.recording", "application/x", b"proof" * 1000), ("empty", "a/b", b"")]
_NOTED = [("platemark.segments", {"recording": "00ff", "segments": "12"}), ("nothing", dict[str, str]())]


def _data(content: bytes) -> bytes:
    """Everything up to DataEnd, which is where the first record that is added begins."""
    return content[: content.rindex(b"\x0f\x04" + bytes(7))]


@pytest.mark.parametrize("form", FORMS)
def test_form(form: str, tmp_path: Path) -> None:
    """The data section is the same bytes, the messages are the same, no fault arises, twice over and in place."""
    path = write_form(tmp_path / "a.mcap", **FORMS[form])
    before, messages = path.read_bytes(), [tuple(one[2:4]) for one in open_mcap(path).recorded()]
    target = tmp_path / "b.mcap"
    append_records(path, target, attachments=_ADDED, metadata=_NOTED)
    append_records(target, target, attachments=[("platemark.recording", "x/y", b"another")])
    assert path.read_bytes() == before
    assert target.read_bytes().startswith(_data(before))
    source = open_mcap(target)
    assert messages == [tuple(one[2:4]) for one in source.recorded()]
    assert source.faults == []
    assert [proof for proof in source.proofs if b"proof" in proof[:5] or proof == b"another"][-2:] == [
        b"proof" * 1000,
        b"another",
    ]
    assert [each.name for each in tmp_path.iterdir() if each.name not in ("a.mcap", "b.mcap")] == []


@pytest.mark.parametrize("options", [{}, {"compression": "lz4"}, {"compression": ""}, {"chunked": False}])
def test_mcap_reads_it(options: dict[str, Any], tmp_path: Path) -> None:
    """Mcap's readers, seeking and not, find the messages and the new records with CRC validation on."""
    samples = list(frames(6, 32, 24))
    path = write_mcap(tmp_path / "a.mcap", samples, attached=[Attached("old", "a/b", b"was there")], **options)
    append_records(path, path, attachments=_ADDED, metadata=_NOTED)
    assert read_mcap(path) == samples
    assert [each.data for each in attachments(path)] == [b"was there", b"proof" * 1000, b""]
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert (summary.statistics.attachment_count, summary.statistics.metadata_count) == (3, 2)
        assert [(each.name, each.metadata) for each in reader.iter_metadata()] == _NOTED
    stream = NonSeekingReader(io.BytesIO(path.read_bytes()), validate_crcs=True)
    assert len(samples) == sum(1 for _ in stream.iter_messages())


def test_rosbags_reads_it(tmp_path: Path) -> None:
    """So does rosbags' reader."""
    samples = list(frames(6, 32, 24))
    path = write_mcap(tmp_path / "a.mcap", samples)
    append_records(path, path, attachments=_ADDED, metadata=_NOTED)
    with BagReader(path) as reader:
        assert [(each.log_time, each.data) for each in samples] == [
            (time, bytes(data)) for _, time, data in reader.messages()
        ]


def test_data_crc(tmp_path: Path) -> None:
    """A CRC of the data section goes on over the new records: a reader that goes through the file accepts it."""
    path = write_form(tmp_path / "a.mcap", enable_data_crcs=True, compression=CompressionType.NONE)
    append_records(path, path, attachments=_ADDED, metadata=_NOTED)
    content = path.read_bytes()
    assert content[content.rindex(b"\x0f\x04" + bytes(7)) + 9 :][:4] != bytes(4)
    stream = NonSeekingReader(io.BytesIO(content), validate_crcs=True)
    assert sum(1 for _ in stream.iter_messages()) > 0


def test_unindexed_attachment(tmp_path: Path) -> None:
    """An attachment that no index named is named with the new ones, so that both kinds of reader see both."""
    path = write_form(tmp_path / "a.mcap", index_types=IndexType.CHUNK)
    append_records(path, path, attachments=_ADDED)
    assert [each.name for each in attachments(path)] == [
        "platemark.recording",
        "something else",
        "platemark.recording",
        "platemark.recording",
        "empty",
    ]


def test_mode(tmp_path: Path) -> None:
    """The copy has the permissions of the file."""
    path = write_mcap(tmp_path / "a.mcap", frames(1, 8, 8))
    path.chmod(0o600)
    append_records(path, tmp_path / "b.mcap")
    assert (tmp_path / "b.mcap").stat().st_mode & 0o777 == 0o600


def _draft() -> Draft:
    draft = Draft()
    draft.chunk([SCHEMA, CAMERA, message(10)])
    return draft


_REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut off": (lambda: _draft().finish()[:-10], "mark of a whole one"),
    "cut off in the data": (lambda: bytes(_draft().content), "cut off"),
    "cut off in a record": (lambda: bytes(_draft().content[:-1]), "ends before it does"),
    "bytes behind the end": (lambda: _draft().finish(after=b"x"), "end"),
    "summary elsewhere": (lambda: _draft().finish(start=20), "the footer says"),
    "unknown summary record": (lambda: _draft().finish([SCHEMA, record(0x80, b"")]), "unknown kind 128"),
    "message in the summary": (lambda: _draft().finish([message(10)]), "belongs to the data"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    """A file that is not understood whole is refused with the reason, and nothing is written."""
    make, reason = _REFUSED[name]
    path = tmp_path / "a.mcap"
    path.write_bytes(make())
    with pytest.raises(RecordingError, match=reason):
        append_records(path, tmp_path / "b.mcap", attachments=_ADDED)
    assert [path] == list(tmp_path.iterdir())
