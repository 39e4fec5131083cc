"""The leaf, tree and digest of a segment (rules R43 to R48 of proto/statement.md), against hashlib and cbor2."""

import hashlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from proven_recordings import LEFT, RECORDING, frames, log_of_sensor, say_segment

import reference
from builders import CAMERA, NOW
from platemark import statement
from platemark.errors import SegmentError
from platemark.segment import Channel, Row, SegmentTree, pack_rows, unpack_rows

_TIME = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
_ROWS = st.lists(st.builds(Row, _TIME, _TIME, st.binary(min_size=32, max_size=32)), min_size=1, max_size=40)
_TEXT = st.sampled_from(["", "a", "sensor_msgs/msg/Image", "w" * 255])
_CHANNEL = st.builds(
    Channel, st.sampled_from(["/a", "t" * 255]), _TEXT, _TEXT, st.binary(min_size=32, max_size=32), _TEXT
)


def _leaf(channel: Channel, row: Row) -> bytes:
    said = [channel.topic, channel.type_name, channel.schema_encoding, channel.schema, channel.encoding]
    return hashlib.sha256(b"\0" + cbor2.dumps([*said, row.log_time, row.publish_time, row.digest])).digest()


@given(_CHANNEL, _ROWS)
def test_digest(channel: Channel, rows: list[Row]) -> None:
    """The digest is that of R44 and R45 as hashlib and cbor2 make it; least and greatest time are those of the rows."""
    tree = SegmentTree(channel)
    for row in rows:
        tree.add(row, 3)
    root = reference.root([_leaf(channel, row) for row in rows])
    assert tree.digest() == hashlib.sha256(b"PXM-ROOT\0" + len(rows).to_bytes(8, "big") + root).digest()
    times = [row.log_time for row in rows]
    assert (tree.count, tree.size, tree.first, tree.last) == (len(rows), 3 * len(rows), min(times), max(times))


@given(_ROWS)
def test_rows(rows: list[Row]) -> None:
    """Rows are 48 bytes each and come back as they were."""
    assert len(pack_rows(rows)) == 48 * len(rows)
    assert list(unpack_rows(pack_rows(rows))) == rows


@given(_CHANNEL, _ROWS, st.data())
def test_every_value_is_covered(channel: Channel, rows: list[Row], data: st.DataObject) -> None:
    """A row changed, left out or exchanged with another gives another digest."""
    at = data.draw(st.integers(0, len(rows) - 1))
    row = rows[at]
    changed = [
        [*rows[:at], Row(row.log_time ^ 1, row.publish_time, row.digest), *rows[at + 1 :]],
        [*rows[:at], Row(row.log_time, row.publish_time ^ 1, row.digest), *rows[at + 1 :]],
        [*rows[:at], Row(row.log_time, row.publish_time, row.digest[::-1] + b""), *rows[at + 1 :]],
        [*rows, row],
    ]
    for each in changed:
        assert each == rows or _digest(channel, each) != _digest(channel, rows)


def _digest(channel: Channel, rows: list[Row]) -> bytes:
    tree = SegmentTree(channel)
    for row in rows:
        tree.add(row, 0)
    return tree.digest()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (("", "", "", bytes(32), ""), "topic"),
        (("t" * 256, "", "", bytes(32), ""), "topic"),
        (("/a\n", "", "", bytes(32), ""), "topic"),
        (("/a", "e\u0301", "", bytes(32), ""), "type_name"),
        (("/a", "", "", bytes(31), ""), "schema"),
        (("/a", "", "", bytes(32), "\x7f"), "encoding"),
    ],
)
def test_channel_refuses(values: tuple[str, str, str, bytes, str], field: str) -> None:
    """A channel that no statement could carry is refused, naming the part."""
    with pytest.raises(SegmentError) as caught:
        Channel(*values)
    assert caught.value.field == field


def test_statement() -> None:
    """The fields of a tree are those of a segment statement."""
    log = log_of_sensor()
    given = say_segment(log, frames(LEFT, 7), 5)
    said = statement.decode(log.statements[given.index])
    assert (said.kid, said.time) == (CAMERA.key.kid, frames(LEFT, 7)[-1].log_time)
    assert [said.payload[name] for name in ("recording", "number", "count", "first")] == [RECORDING, 5, 7, NOW]


def test_no_message() -> None:
    """There is no segment without messages."""
    with pytest.raises(ValueError, match="at least one"):
        SegmentTree(LEFT).digest()
