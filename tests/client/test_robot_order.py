"""The order in which a recorder's line tells of segments after a crash is that in which they were signed."""

from pathlib import Path

import pytest
from robots import CLOCK, START, Robot, closed

from platemark import statement
from platemark.robot import JournaledSegment, SegmentJournal
from platemark.robot.line import SegmentLine


@pytest.mark.parametrize("spooled", range(4))
def test_what_was_in_the_spool_comes_before_what_was_signed_last(tmp_path: Path, spooled: int) -> None:
    """Killed with some segments in the spool, unknown to the journal, and one signed that the spool never got."""
    robot = Robot(tmp_path)
    chain = robot.chain()
    told: list[int] = []

    def kept(segment: JournaledSegment, _: bytes) -> None:
        told.append(segment.number)

    with robot.spool() as spool, SegmentJournal(robot.journal) as journal:
        recording = journal.begin(bytes(16), START)
        segments = recording.append(closed(5), CLOCK)
        for each in segments[:spooled]:
            spool.put(chain.sign("segment", each.payload()).raw, key=each.key)
        chain.sign("segment", segments[spooled].payload())
        line = SegmentLine(chain=robot.chain(), spool=spool, on_kept=kept)
        line.add(recording, segments)
        line.step()
        proven = [statement.decode(each.statement).payload["seq"] for each in journal.segments(bytes(16))]
        assert told == proven == list(range(5))
