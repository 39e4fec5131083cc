"""rosbag2 recordings: both storages hold the same messages, nothing is written beside them, and claims are checked."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import COMPRESSED, IMAGE, IMU, frames, imus, interleaved, write_bag, write_mcap

from platemark.capture.mcap import append_records
from platemark.capture.rosbag import open_bag, same_definition
from platemark.errors import CaptureError, RecordingError

_RULE = "=" * 80


def _samples() -> list[tuple[str, int, bytes]]:
    return [(one.topic, one.log_time, hashlib.sha256(one.data).digest()) for one in _recorded()]


def _recorded() -> list:  # type: ignore[type-arg]
    return list(interleaved(frames(6, 16, 12), imus(40)))


def _bag(tmp_path: Path, storage: str = "sqlite3") -> Path:
    return write_bag(tmp_path / "bag", _recorded(), storage=storage)  # type: ignore[arg-type]


def _content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in folder.iterdir()}


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_storages(storage: str, tmp_path: Path) -> None:
    """Times, topics, types, definitions and digests are those that were written; the folder is as it was."""
    bag = _bag(tmp_path, storage)
    before = _content(bag)
    source = open_bag(bag)
    messages = list(source)
    assert messages == list(source)
    assert source.faults == []
    assert _samples() == [(one.channel.topic, one.log_time, one.digest) for one in messages]
    types = {one.channel.topic: (one.channel.type_name, one.channel.encoding, one.channel.schema) for one in messages}
    definition = hashlib.sha256(IMAGE.definition.encode()).digest()
    assert types["/camera/image_raw"] == (IMAGE.name, "cdr", definition)
    assert all(one.publish_time == one.log_time for one in messages)
    assert source.proofs == []
    assert before == _content(bag)


def test_bare_file(tmp_path: Path) -> None:
    """A .db3 file alone is read, also in write-ahead mode, in a folder that cannot be written, under any name."""
    path = tmp_path / "a recording? #1.sqlite"
    shutil.copy(_bag(tmp_path) / "bag.db3", path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    before = path.read_bytes()
    source = open_bag(path)
    assert _samples() == [(one.channel.topic, one.log_time, one.digest) for one in source]
    assert source.faults == []
    assert before == path.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, "bag"]


def test_split(tmp_path: Path) -> None:
    """The files of a split recording are one recording, in order of log time, and their proofs are found."""
    samples = _recorded()
    bag = _bag(tmp_path, "mcap")
    (bag / "bag.mcap").unlink()
    write_mcap(bag / "bag_0.mcap", samples[::2])
    write_mcap(bag / "bag_1.mcap", samples[1::2])
    append_records(bag / "bag_1.mcap", bag / "bag_1.mcap", attachments=[("platemark.recording", "a/b", b"proof")])
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("  - bag.mcap\n", "  - bag_0.mcap\n  - bag_1.mcap\n"))
    source = open_bag(bag)
    assert _samples() == [(one.channel.topic, one.log_time, one.digest) for one in source]
    assert source.faults == []
    assert source.proofs == [b"proof"]
    (bag / "bag_1.mcap").unlink()
    source = open_bag(bag)
    assert len(samples[::2]) == len(list(source))
    assert [fault.where for fault in source.faults] == ["bag_1.mcap", "metadata.yaml"]


def _sql(*statements: str) -> Callable[[Path], None]:
    def change(bag: Path) -> None:
        connection = sqlite3.connect(bag / "bag.db3")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return change


def _hide_from_index(bag: Path) -> None:
    """A message that is in the table and not in the index on its times, by which some readers go."""
    _sql(
        "PRAGMA writable_schema=ON",
        "DELETE FROM sqlite_master WHERE name = 'timestamp_idx'",
    )(bag)
    connection = sqlite3.connect(bag / "bag.db3")
    connection.execute("INSERT INTO messages SELECT 999, topic_id, timestamp + 7, data FROM messages WHERE id = 1")
    connection.commit()
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute(
        "INSERT INTO sqlite_master VALUES ('index', 'timestamp_idx', 'messages', ?, ?)",
        (_root(bag), "CREATE INDEX timestamp_idx ON messages (timestamp ASC)"),
    )
    connection.commit()
    connection.close()


def _root(bag: Path) -> int:
    """Where the index was: the last page that a table does not begin at."""
    connection = sqlite3.connect(bag / "bag.db3")
    used = {page for (page,) in connection.execute("SELECT rootpage FROM sqlite_master")}
    connection.close()
    return min(set(range(2, 12)) - used)


def _put(name: str, content: bytes) -> Callable[[Path], None]:
    def change(bag: Path) -> None:
        (bag / name).write_bytes(content)

    return change


def _yaml(old: str, new: str) -> Callable[[Path], None]:
    def change(bag: Path) -> None:
        path = bag / "metadata.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


_VIEW = "CREATE VIEW messages AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "message of no topic": (_sql("UPDATE messages SET topic_id = 99 WHERE id = 3"), "is not described"),
    "time before 1970": (_sql("UPDATE messages SET timestamp = -1 WHERE id = 3"), "of another kind"),
    "time that is text": (_sql("UPDATE messages SET timestamp = 'noon' WHERE id = 3"), "of another kind"),
    "data that is text": (_sql("UPDATE messages SET data = 'x' WHERE id = 3"), "of another kind"),
    "write-ahead log": (_put("bag.db3-wal", b"x"), "write-ahead log"),
    "journal": (_put("bag.db3-journal", b"x"), "rollback journal"),
    "index without a message": (_hide_from_index, "damaged"),
    "definition twice": (
        _sql(
            "INSERT INTO message_definitions SELECT id + 50, topic_type, encoding, 'int8 x', '' FROM message_definitions"
        ),
        "defined twice",
    ),
    "count": (_yaml("  message_count: 46\n  relative", "  message_count: 45\n  relative"), "counts 45 messages"),
    "topic that is not named": (_yaml("name: /imu", "name: /umi"), "does not name topic /imu"),
    "view": (_sql("DROP TABLE messages", _VIEW), "not a plain table"),
    "no messages": (_sql("DROP TABLE messages"), "has not one table messages"),
    "computed column": (
        _sql("ALTER TABLE messages ADD COLUMN x INTEGER GENERATED ALWAYS AS (abs(timestamp)) VIRTUAL"),
        "computed",
    ),
    "other columns": (_sql("ALTER TABLE messages RENAME COLUMN data TO content"), "has not the columns"),
    "topic that no statement carries": (_sql("UPDATE topics SET name = printf('%.300c', 'x')"), "300 bytes of text"),
    "topic that is a number": (_sql("UPDATE topics SET name = x'00'"), "not described by texts"),
    "not sqlite": (_put("bag.db3", b"x" * 5000), "not a sqlite3 file"),
    "cut off": (lambda bag: os.truncate(bag / "bag.db3", 8192), "malformed"),
    "file elsewhere": (_yaml("- bag.db3", "- ../bag/x/bag.db3"), "not a file in the folder"),
    "file twice": (_yaml("- bag.db3", "- bag.db3\n  - bag.db3"), "lists a file twice"),
    "storage": (_yaml("storage_identifier: sqlite3", "storage_identifier: tape"), "'tape'"),
    "compressed": (_yaml("compression_mode: ''", "compression_mode: FILE"), "mode file"),
    "no YAML": (_put("metadata.yaml", b"a: ["), "not YAML"),
    "deep YAML": (_put("metadata.yaml", b"- " * 5000), "not YAML"),
    "YAML in brackets": (_put("metadata.yaml", b"[" * 500_000), "nested too deeply"),
    "YAML that merges": (_put("metadata.yaml", b"a: &a {b: 1}\nc: {<<: *a}"), "nested too deeply"),
    "tags": (_put("metadata.yaml", b"!!python/object/apply:os.system ['true']"), "metadata.yaml"),
    "not a map": (_put("metadata.yaml", b"7"), "has not what rosbag2 writes"),
    "not text": (_put("metadata.yaml", b"\xff\xfe\0"), "metadata.yaml"),
    "too large": (_put("metadata.yaml", b" " * (1 << 21)), "larger than"),
    "no metadata": (lambda bag: (bag / "metadata.yaml").unlink(), "without metadata.yaml"),
}


@pytest.mark.parametrize("name", _FAULTS)
def test_hostile(name: str, tmp_path: Path) -> None:
    """Each ends with a fault or an error that names it, in bounded time."""
    change, reason = _FAULTS[name]
    bag = _bag(tmp_path)
    change(bag)
    try:
        source = open_bag(bag)
        count = len(list(source))
        reasons = [f"{fault.where}: {fault.reason}" for fault in source.faults]
        assert count > 20 or name == "cut off"
    except RecordingError as error:
        reasons = [str(error)]
    assert any(reason in each for each in reasons), reasons


def test_not_a_bag(tmp_path: Path) -> None:
    """Another file is refused."""
    path = tmp_path / "a.db3"
    path.write_bytes(b"something else")
    with pytest.raises(RecordingError, match="neither a rosbag2 folder"):
        open_bag(path)
    with pytest.raises(CaptureError):
        open_bag(tmp_path / "none")


_HEADER = f"{_RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
_TIME = f"{_RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
_BODY = "uint8 A=1\nstd_msgs/Header header\nuint32 height 3\nuint8[] data\n"


@pytest.mark.parametrize(
    "other",
    [
        _BODY + _TIME + _HEADER,
        "# a comment\n\n" + _BODY.replace("height 3", "height   3  # rows") + _HEADER + _TIME,
        _BODY.replace("std_msgs/Header", "std_msgs/msg/Header") + _HEADER + _TIME,
    ],
)
def test_same_definition(other: str) -> None:
    """Comments, spaces, the order of the types and the long form of a name do not matter."""
    assert same_definition("a_msgs/msg/B", _BODY + _HEADER + _TIME, other)


@pytest.mark.parametrize(
    "other",
    [
        "",
        "%%%",
        _BODY.replace("A=1", "A=2") + _HEADER + _TIME,
        _BODY.replace("uint32 height", "int32 height") + _HEADER + _TIME,
        _BODY.replace("height", "width") + _HEADER + _TIME,
        _BODY.replace("uint8[]", "uint8[4]") + _HEADER + _TIME,
        _BODY + _HEADER,
        _BODY + _HEADER + _TIME + _TIME.replace("int32 sec", "int64 sec"),
        _BODY + _HEADER.replace("frame_id", "frame") + _TIME,
        "uint8[] data\n" + _BODY.replace("uint8[] data\n", "") + _HEADER + _TIME,
        _BODY + _HEADER + _TIME + "#" * (1 << 18),
        "(" * 100_000,
    ],
)
def test_other_definition(other: str) -> None:
    """Another field, type, order, constant, a type less, one defined twice, or no definition: not the same."""
    assert not same_definition("a_msgs/msg/B", _BODY + _HEADER + _TIME, other)


def test_definitions_of_ros() -> None:
    """Each is the same as itself and as no other."""
    kinds = (IMAGE, COMPRESSED, IMU)
    for one in kinds:
        for other in kinds:
            assert (one is other) == same_definition(one.name, one.definition, f"# text\n{other.definition}")
