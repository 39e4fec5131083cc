"""What a PACS's answer means for an object."""

from __future__ import annotations

from pynetdicom.status import (
    STATUS_FAILURE,
    STATUS_SUCCESS,
    STATUS_WARNING,
    STORAGE_SERVICE_CLASS_STATUS,
    code_to_category,
)

from platemark.gateway.answers import Answer, Outcome, judge
from platemark.gateway.forwarding import Backoff


def test_every_status_has_one_meaning() -> None:
    """Of all 65,536 statuses only success and warnings count as stored; everything else has a name and a reason."""
    for status in range(0x10000):
        answer = judge(status)
        assert answer.status == status
        stored = answer.outcome is Outcome.STORED
        assert stored == (code_to_category(status) in {STATUS_SUCCESS, STATUS_WARNING}), f"{status:04X}"
        assert stored or (answer.name and f"{status:04X}" in answer.reason)


def test_the_statuses_of_the_storage_service_are_told_apart() -> None:
    """What the standard calls out of resources is tried again, what it calls a failure of the object is not."""
    for status, (kind, _) in STORAGE_SERVICE_CLASS_STATUS.items():
        if kind == STATUS_FAILURE:
            again = status >> 8 == 0xA7 or status in {0x0110, 0x0124, 0x0210, 0x0213}
            assert judge(status).outcome is (Outcome.AGAIN if again else Outcome.NEVER), f"{status:04X}"


def test_what_a_pacs_says_is_for_the_journal_alone() -> None:
    """An error comment, which may quote the object, is cut, kept apart from the reason, and in the text for the journal."""
    answer = judge(0xC000, "no place for Doe^Jane" + "!" * 100)
    assert "Doe" not in answer.reason
    assert str(answer).startswith("not-understood: ")
    assert answer.said == ("no place for Doe^Jane" + "!" * 100)[:64]
    assert answer.said in str(answer)
    assert str(Answer(Outcome.AGAIN, "aborted", "it ended")) == "aborted: it ended"


def test_waits_double_to_their_bound() -> None:
    """A wait is never more than the bound, and chance takes off at most half."""
    backoff = Backoff(1.0, 60.0)
    assert [backoff.wait(failures, 0.0) for failures in range(9)] == [1, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.wait(10**6, 1.0) == 30.0
