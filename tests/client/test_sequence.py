"""Omission: a run is called gap-free exactly when it is, by a slower judge that looks at every pair of places."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark.sequence import NOT_PROVEN, DeviceRecord, Missing, Place, Run, examine

CLOCK = 1_800_000_000 * 10**9
DEVICE = "https://hospital.example/modality"


def _id(epoch: int, seq: int, twin: int = 0) -> bytes:
    return hashlib.sha256(b"%d/%d/%d" % (epoch, seq, twin)).digest()


def at(
    index: int, seq: int, *, epoch: int = 0, twin: int = 0, prev: bytes | None = None, kind: str = "capture"
) -> Place:
    """The statement of a well-kept chain at a place; `twin` makes another one there."""
    named = prev if prev is not None else _id(epoch, seq - 1) if seq else None
    return Place(index, epoch, seq, named, _id(epoch, seq, twin), CLOCK + seq, kind)


def row(*seqs: int, start: int = 100, epoch: int = 0) -> list[Place]:
    """Places of a well-kept chain that reach the log in this order."""
    return [at(start + number, seq, epoch=epoch) for number, seq in enumerate(seqs)]


def spans(record: DeviceRecord) -> list[tuple[int, int, int, str]]:
    """The runs in short."""
    return [(run.epoch, run.first, run.last, run.begins) for run in record.runs]


def test_the_sentence() -> None:
    """Three statements in a row are said to be without a gap, and what that does not prove is said after it."""
    record = examine(row(1041, 1042, 1043))
    assert record.runs == (Run(0, 1041, 1043, "gap", (), (), CLOCK + 1041, CLOCK + 1043),)
    assert record.sentences(DEVICE, size=2000) == (
        "at tree size 2,000:",
        "0 to 1,040 of epoch 0 are not in the log",
        f"device {DEVICE} registered 1,041 to 1,043 with no gap in epoch 0",
        *NOT_PROVEN,
    )


def test_nothing() -> None:
    """Of a key without statements nothing is said."""
    record = examine([])
    assert record == DeviceRecord((), (), ())
    assert record.sentences(DEVICE, size=1) == ()


def test_a_gap() -> None:
    """A place at which nothing is logged ends the run and is named."""
    record = examine(row(0, 1, 3, 4))
    assert spans(record) == [(0, 0, 1, "start"), (0, 3, 4, "gap")]
    assert record.missing == (Missing(0, 2, 2),)
    assert "2 of epoch 0 is not in the log" in record.sentences(DEVICE, size=9)


def test_a_single_statement() -> None:
    """One statement alone is registered, and nothing is called gapless."""
    (said,) = [line for line in examine(row(0)).sentences(DEVICE, size=9) if "registered" in line and DEVICE in line]
    assert said == f"device {DEVICE} registered 0 of epoch 0"


def test_a_fork() -> None:
    """A place that two statements take is in no run, and from then on it is the key that is spoken of, not the device."""
    record = examine([*row(0, 1, 2, 3), at(200, 2, twin=1), at(201, 4)])
    assert spans(record) == [(0, 0, 1, "start"), (0, 3, 4, "fork")]
    assert record.forks == ((0, 2),)
    said = record.sentences(DEVICE, size=300)
    assert f"the key of device {DEVICE} registered 0 to 1 with no gap in epoch 0" in said
    assert "2 of epoch 0 is taken more than once: two devices or two states of one sign with this key" in said
    assert not any("0 to 4" in line for line in said)


def test_a_place_that_is_only_forked() -> None:
    """Where every place is forked nothing is said to be registered, and the fork is."""
    record = examine([at(1, 0), at(2, 0, twin=1)])
    assert record.runs == ()
    assert any("taken more than once" in line for line in record.sentences(DEVICE, size=3))


def test_another_predecessor() -> None:
    """A statement that names another one than the logged one before it begins a new run: a chain was replaced."""
    record = examine([*row(0, 1), at(200, 2, prev=bytes(32)), at(201, 3)])
    assert spans(record) == [(0, 0, 1, "start"), (0, 2, 3, "prev-mismatch")]
    assert record.missing == ()
    assert any(
        "2 names another statement than the one logged before it" in line for line in record.sentences(DEVICE, size=9)
    )


def test_a_new_epoch() -> None:
    """A new epoch is a new run however well its numbers go on, and what may lie between is said to be unknown."""
    record = examine([*row(0, 1, 2), *row(0, 1, start=200, epoch=1), *row(3, start=300, epoch=2)])
    assert spans(record) == [(0, 0, 2, "start"), (1, 0, 1, "start"), (2, 3, 3, "gap")]
    said = record.sentences(DEVICE, size=400)
    assert "epoch 1 begins, a new count: what was signed after the last number of epoch 0 is not known" in said
    assert said.index(f"device {DEVICE} registered 0 to 2 with no gap in epoch 0") < said.index(
        "epoch 1 begins, a new count: what was signed after the last number of epoch 0 is not known"
    )
    assert "0 to 2 of epoch 2 are not in the log" in said


def test_late_statements() -> None:
    """A place that is filled later closes the gap, since its successor names it; that it came late is said."""
    record = examine(row(0, 2, 1, 3))
    assert spans(record) == [(0, 0, 3, "start")]
    assert record.runs[0].late == (1,)
    assert any("in the log after the number that follows: 1" in line for line in record.sentences(DEVICE, size=9))


def test_heartbeats() -> None:
    """Heartbeats count as statements and are named, neighbours together, and no list is endless."""
    quiet = [at(seq, seq, kind="heartbeat" if seq in {1, 2, 3, 7} else "capture") for seq in range(9)]
    record = examine(quiet)
    assert record.runs[0].heartbeats == (1, 2, 3, 7)
    assert any(line.endswith("(heartbeats: 1 to 3, 7)") for line in record.sentences(DEVICE, size=9))
    many = examine(at(seq, seq, kind="heartbeat" if seq % 2 else "capture") for seq in range(60))
    assert any(line.endswith("17, 19 and 20 more)") for line in many.sentences(DEVICE, size=60))


def test_a_statement_given_again() -> None:
    """One id is one statement (H6), even at a second index: no fork."""
    assert examine([at(1, 0), at(2, 0), at(3, 1)]).forks == ()


@pytest.mark.parametrize("second", [3, 2])
def test_not_in_log_order(second: int) -> None:
    """A caller that mixes up positions is told."""
    with pytest.raises(ValueError, match="not in log order"):
        examine([at(3, 0), at(second, 1)])


def _gap_free(places: list[Place], epoch: int, first: int, last: int) -> bool:
    """The rule, as slowly as it is written."""
    ids = []
    for seq in range(first, last + 1):
        here = {place.id: place for place in places if (place.epoch, place.seq) == (epoch, seq)}
        if len(here) != 1:
            return False
        (place,) = here.values()
        ids.append(place)
    return all(after.prev == before.id for before, after in pairwise(ids))


places = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 7),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([None, None, None, bytes(32)]),
    ),
    max_size=24,
).map(
    lambda drawn: [
        at(index, seq, epoch=epoch, twin=twin, prev=prev if seq else None)
        for index, (epoch, seq, twin, prev) in enumerate(drawn)
    ]
)


@given(places)
def test_as_the_slow_judge(drawn: list[Place]) -> None:
    """Runs are exactly the maximal stretches of which the rule holds, and every place is in a run, missing or forked."""
    first_of: dict[bytes, Place] = {}
    for place in drawn:
        first_of.setdefault(place.id, place)
    kept = list(first_of.values())
    record = examine(drawn)
    expected = {
        (epoch, first, last)
        for epoch in range(3)
        for first in range(8)
        for last in range(first, 8)
        if _gap_free(kept, epoch, first, last)
        and not _gap_free(kept, epoch, first - 1, last)
        and not _gap_free(kept, epoch, first, last + 1)
    }
    assert {(run.epoch, run.first, run.last) for run in record.runs} == expected
    for epoch in {place.epoch for place in drawn}:
        counted = [seq for run in record.runs if run.epoch == epoch for seq in range(run.first, run.last + 1)]
        counted += [seq for gap in record.missing if gap.epoch == epoch for seq in range(gap.first, gap.last + 1)]
        counted += [seq for forked, seq in record.forks if forked == epoch]
        assert sorted(counted) == list(range(max(place.seq for place in drawn if place.epoch == epoch) + 1))


@given(places)
def test_no_sentence_without_its_run(drawn: list[Place]) -> None:
    """The words `no gap` are said once for each run of two or more, and never else."""
    record = examine(drawn)
    said = [line for line in record.sentences(DEVICE, size=99) if "with no gap" in line]
    assert len(said) == sum(run.count > 1 for run in record.runs)
