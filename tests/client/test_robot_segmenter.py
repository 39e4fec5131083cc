"""Segmenting: every message in one segment, in order, counted; whatever the clocks of the topics do."""

import hashlib
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platemark.errors import SegmentError
from platemark.robot.segmenter import Closed, Segmenter
from platemark.segment import Channel, Row, SegmentTree, pack_rows, unpack_rows

A, B = Channel.of("/a"), Channel.of("/b")
CHANNELS = (A, B, Channel.of("/a", encoding="rgb8"))
WINDOW, GRACE = 1000, 100


def row(log_time: int, data: bytes = b"") -> Row:
    """A message of this time and data."""
    return Row(log_time, log_time, hashlib.sha256(data).digest())


def segmenter(*, most: int = 1 << 20) -> Segmenter:
    """With a short window."""
    return Segmenter(window_ns=WINDOW, grace_ns=GRACE, most=most)


def spans(closed: list[Closed]) -> list[tuple[str, int, int, int]]:
    """Topic, number, first and last time of each."""
    return [(each.channel.topic, each.number, each.tree.first, each.tree.last) for each in closed]


_messages = st.lists(
    st.tuples(
        st.sampled_from(CHANNELS),
        st.one_of(st.integers(0, 5000), st.integers(0, 1 << 62)),
        st.integers(0, 1 << 40),
        st.booleans(),
    ),
    max_size=60,
)


@given(messages=_messages, most=st.integers(1, 20))
@settings(max_examples=300)
def test_every_message_is_in_exactly_one_segment(messages: list[tuple[Channel, int, int, bool]], most: int) -> None:
    """Whatever the times, the rows of a topic's segments are its messages in order, rightly counted and numbered."""
    making, closed = segmenter(most=most), []
    for place, (channel, log_time, size, tick) in enumerate(messages):
        closed += making.add(channel, row(log_time, b"%d" % place), size)
        closed += making.due(place * 400) if tick else []
    closed += making.close()
    assert making.held == 0
    assert making.close() == []
    got: dict[Channel, list[Row]] = defaultdict(list)
    numbers: dict[str, int] = defaultdict(int)
    for each in closed:
        rows = list(unpack_rows(each.rows))
        tree = SegmentTree(each.channel)
        for one in rows:
            tree.add(one, 0)
        assert tree.digest() == each.tree.digest()
        assert (each.tree.count, each.tree.first, each.tree.last) == (len(rows), tree.first, tree.last)
        assert 1 <= len(rows) <= most
        assert each.tree.last - each.tree.first <= WINDOW + GRACE
        assert each.number == numbers[each.channel.topic]
        numbers[each.channel.topic] += 1
        got[each.channel] += rows
    assert sum(each.tree.size for each in closed) == sum(size for _, _, size, _ in messages)
    for channel in CHANNELS:
        expected = [row(time, b"%d" % place) for place, (on, time, _, _) in enumerate(messages) if on == channel]
        assert sorted(got[channel], key=expected.index) == expected
        assert len(got[channel]) == len(expected)


@given(
    steps=st.lists(st.tuples(st.sampled_from((A, B)), st.integers(0, 900), st.integers(0, GRACE // 2)), max_size=80),
    most=st.sampled_from((3, 1 << 20)),
)
def test_segments_are_handed_out_in_ascending_order_of_their_last_time(
    steps: list[tuple[Channel, int, int]], most: int
) -> None:
    """As long as no message is late beyond the grace and none ends by count, the ledger sees no time going back."""
    making, closed, now = segmenter(most=most), [], 0
    for channel, step, late in steps:
        now += step
        closed += making.add(channel, row(max(0, now - (late if most > 3 else 0))), 0)
    closed += making.close()
    lasts = [each.tree.last for each in closed]
    assert lasts == sorted(lasts)


def test_a_window_ends_for_all_topics_once_one_is_past_it_by_the_grace() -> None:
    """A slow topic's segment ends with that of a fast one, and before it when its last message is older."""
    making = segmenter()
    assert making.add(A, row(100), 1) == []
    assert making.add(B, row(50), 1) == []
    assert making.add(A, row(1099), 1) == []  # past the end, within the grace
    assert making.add(B, row(990), 1) == []  # late, and still in its window
    assert spans(making.add(A, row(1100), 1)) == [("/a", 0, 100, 100), ("/b", 0, 50, 990)]
    assert spans(making.close()) == [("/a", 1, 1099, 1100)]


def test_segments_end_at_the_most_messages() -> None:
    """A topic with `most` messages ends its segment, and the others theirs, so that they are signed in order."""
    making = segmenter(most=2)
    assert making.add(B, row(1), 0) == []
    assert making.add(A, row(2), 0) == []
    assert spans(making.add(A, row(3), 0)) == [("/b", 0, 1, 1), ("/a", 0, 2, 3)]
    assert making.add(A, row(4), 0) == []


def test_a_slow_topic_ends_by_the_clock() -> None:
    """Without another message a segment ends once it has been open for a window and the grace, by whatever clock is asked."""
    making = segmenter()
    making.add(A, row(5 * 10**17), 0)
    assert making.due(7) == []
    assert making.due(7 + WINDOW + GRACE - 1) == []
    assert spans(making.due(7 + WINDOW + GRACE)) == [("/a", 0, 5 * 10**17, 5 * 10**17)]
    assert making.due(10**18) == []


def test_a_clock_that_jumps_ends_what_is_open_and_goes_on() -> None:
    """A jump forth, and back again, costs one segment each; after it the windows are as before."""
    making = segmenter()
    making.add(A, row(10), 0)
    assert spans(making.add(A, row(1 << 61), 0)) == [("/a", 0, 10, 10)]
    assert spans(making.add(A, row(20), 0)) == [("/a", 1, 1 << 61, 1 << 61)]
    assert making.add(A, row(999), 0) == []
    assert spans(making.add(A, row(1200), 0)) == [("/a", 2, 20, 999)]


def test_topics_of_different_clocks_do_not_cut_each_other_up() -> None:
    """Two topics whose clocks are years apart have one segment a window each, not one a message."""
    making, closed = segmenter(), []
    for step in range(0, 10_000, 10):
        closed += making.add(A, row(10**18 + step), 0)
        closed += making.add(B, row(step), 0)
    closed += making.close()
    assert len(closed) <= 2 * 12


def test_a_changed_channel_ends_the_segment_of_its_topic() -> None:
    """Messages of another type are never in one segment."""
    making = segmenter()
    making.add(A, row(10), 0)
    (ended,) = making.add(CHANNELS[2], row(11), 0)
    assert (ended.channel, ended.tree.count) == (A, 1)
    (ended,) = making.close()
    assert (ended.channel, ended.number) == (CHANNELS[2], 1)


def test_a_window_may_become_longer() -> None:
    """What is open ends by the window it began with; what begins later states the new one."""
    making = segmenter()
    making.add(A, row(10), 0)
    making.window_ns = 4 * WINDOW
    (first,) = making.add(A, row(1200), 0)
    assert (first.window_ns, first.tree.count) == (WINDOW, 1)
    assert making.add(A, row(4099), 0) == []
    (second, third) = making.add(A, row(4100), 0) + making.close()
    assert (second.window_ns, second.tree.count, third.tree.count) == (4 * WINDOW, 1, 2)


@pytest.mark.parametrize(
    ("bad", "size", "field"),
    [
        (Row(-1, 0, bytes(32)), 0, "log_time"),
        (Row(1 << 63, 0, bytes(32)), 0, "log_time"),
        (Row(0, -1, bytes(32)), 0, "publish_time"),
        (Row(0, 1 << 63, bytes(32)), 0, "publish_time"),
        (Row(0, 0, bytes(31)), 0, "digest"),
        (Row(0, 0, bytes(32)), -1, "bytes"),
    ],
)
def test_a_message_that_no_statement_can_carry_is_refused(bad: Row, size: int, field: str) -> None:
    """The error names the field, and nothing was taken."""
    making = segmenter()
    with pytest.raises(SegmentError) as raised:
        making.add(A, bad, size)
    assert raised.value.field == field
    assert making.close() == []


@pytest.mark.parametrize(("window", "most", "grace"), [(0, 1, 0), (1, 0, 0), (1, 1 << 32, 0), (5, 1, 6), (5, 1, -1)])
def test_settings_that_make_no_sense_are_refused(window: int, most: int, grace: int) -> None:
    """A window, a grace and a count that cannot be are a mistake of the program."""
    with pytest.raises(ValueError, match=r"\d"):
        Segmenter(window_ns=window, most=most, grace_ns=grace)


@given(times=st.lists(st.tuples(st.integers(0, 1 << 33), st.integers(0, 1 << 33)), min_size=1, max_size=40))
def test_rows_at_once_are_rows_one_by_one(times: list[tuple[int, int]]) -> None:
    """A tree that is extended by packed rows is the tree of the same messages, also where a time has a short encoding."""
    rows = [Row(log_time, publish_time, bytes([place]) * 32) for place, (log_time, publish_time) in enumerate(times)]
    one, other = SegmentTree(A), SegmentTree(A)
    for each in rows:
        one.add(each, 7)
    logs = [each.log_time for each in rows]
    other.extend(pack_rows(rows), first=min(logs), last=max(logs), size=7 * len(rows))
    assert (one.digest(), one.count, one.first, one.last, one.size) == (
        other.digest(),
        other.count,
        other.first,
        other.last,
        other.size,
    )


def test_long_segments_are_hashed_in_blocks() -> None:
    """A segment of thousands of messages has the tree of them all."""
    making, tree = segmenter(), SegmentTree(A)
    for number in range(5000):
        message = row(10 + number // 50, b"%d" % number)
        assert making.add(A, message, 3) == []
        tree.add(message, 3)
    (only,) = making.close()
    assert (only.tree.digest(), only.tree.count, only.tree.size) == (tree.digest(), 5000, 15000)
