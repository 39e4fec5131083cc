"""What the numbers of a device prove about omission: which of its statements stand in the log without a gap.

A pure function over the statements of one key, all of them in one log up to one size, each with a signature that verified.
Rules O1 to O8 of proto/statement.md section 8.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["NOT_PROVEN", "Begin", "DeviceRecord", "Missing", "Place", "Run", "examine"]

Begin: TypeAlias = Literal["start", "gap", "fork", "prev-mismatch"]

NOT_PROVEN = (
    "not proven: that the device signed everything that it captured; a picture that was never signed leaves no gap",
    "not proven: that nothing follows the last number of an epoch; what was signed after it and not registered leaves no gap",
)


@dataclass(frozen=True, slots=True)
class Place:
    """A logged statement: its index, the chain fields of its payload, its id (32 bytes), stated time (Unix ns) and kind."""

    index: int
    epoch: int
    seq: int
    prev: bytes | None
    id: bytes
    time: int
    kind: str


@dataclass(frozen=True, slots=True)
class Run:
    """Places `first` to `last` of `epoch`, each taken by exactly one statement that names the one before it (O2).

    `begins` says why the run does not reach further back: it starts the epoch, nothing is logged at the place before, that
    place is forked, or its statement is not the one that `first` names. `heartbeats` are the places of heartbeats, `late`
    the places that reached the log after the place that follows them. `earliest` and `latest` are stated times, Unix ns,
    and the device's own word.
    """

    epoch: int
    first: int
    last: int
    begins: Begin
    heartbeats: tuple[int, ...]
    late: tuple[int, ...]
    earliest: int
    latest: int

    @property
    def count(self) -> int:
        """How many statements."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Missing:
    """Places `first` to `last` of `epoch` before the last one taken, at which nothing is logged."""

    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """The record of one key: maximal runs, what is missing and what is forked, each by (epoch, place), ascending."""

    runs: tuple[Run, ...]
    missing: tuple[Missing, ...]
    forks: tuple[tuple[int, int], ...]

    def sentences(self, device: str, *, size: int) -> tuple[str, ...]:
        """What may be said of `device` at tree size `size`, and after it what may not (O7). Empty for an empty record."""
        if not self.runs and not self.forks:
            return ()
        who = f"the key of device {device}" if self.forks else f"device {device}"
        lines = [(run.epoch, run.first, 2, f"{who} {_registered(run)}") for run in self.runs]
        for gap in self.missing:
            are = "is" if gap.first == gap.last else "are"
            lines.append(
                (gap.epoch, gap.first, 1, f"{_span(gap.first, gap.last)} of epoch {gap.epoch} {are} not in the log")
            )
        for epoch, seq in self.forks:
            reason = "two devices or two states of one sign with this key"
            lines.append((epoch, seq, 1, f"{seq:,} of epoch {epoch} is taken more than once: {reason}"))
        epochs = sorted({epoch for epoch, *_ in lines})
        for before, epoch in pairwise(epochs):
            reason = f"what was signed after the last number of epoch {before} is not known"
            lines.append((epoch, 0, 0, f"epoch {epoch} begins, a new count: {reason}"))
        head = f"at tree size {size:,}:"
        return (head, *(line for *_, line in sorted(lines)), *NOT_PROVEN)


def examine(places: Iterable[Place]) -> DeviceRecord:
    """The record of one key whose statements are `places`, in log order and complete up to some tree size.

    Whether two of them conflict is judged over all of them: what is left out here is what the result does not know. A
    statement that is given again, by its id, counts once. ValueError if the indices do not ascend.
    """
    taken: dict[int, dict[int, dict[bytes, Place]]] = defaultdict(lambda: defaultdict(dict))
    last = -1
    for place in places:
        if place.index <= last:
            message = f"index {place.index} after index {last}: not in log order"
            raise ValueError(message)
        last = place.index
        taken[place.epoch][place.seq].setdefault(place.id, place)
    runs: list[Run] = []
    missing: list[Missing] = []
    forks: list[tuple[int, int]] = []
    for epoch in sorted(taken):
        at = taken[epoch]
        runs += _runs(epoch, at)
        forks += [(epoch, seq) for seq in sorted(at) if len(at[seq]) > 1]
        missing += [Missing(epoch, low + 1, high - 1) for low, high in pairwise([-1, *sorted(at)]) if high - low > 1]
    return DeviceRecord(tuple(runs), tuple(missing), tuple(forks))


def _runs(epoch: int, at: Mapping[int, Mapping[bytes, Place]]) -> Iterator[Run]:
    """The maximal runs of one epoch."""
    run: list[Place] = []
    begins: Begin = "start"
    for seq in sorted(at):
        if len(at[seq]) > 1:
            continue
        (place,) = at[seq].values()
        reason = _break(place, at.get(seq - 1, {}))
        if reason is None:
            run.append(place)
            continue
        if run:
            yield _run(epoch, run, begins)
        run, begins = [place], reason
    if run:
        yield _run(epoch, run, begins)


def _break(place: Place, before: Mapping[bytes, Place]) -> Begin | None:
    """Why `place` does not go on the run of the place before it, or None."""
    if place.seq == 0:
        return "start"
    if not before:
        return "gap"
    if len(before) > 1:
        return "fork"
    return None if place.prev in before else "prev-mismatch"


def _run(epoch: int, run: list[Place], begins: Begin) -> Run:
    times = [place.time for place in run]
    return Run(
        epoch=epoch,
        first=run[0].seq,
        last=run[-1].seq,
        begins=begins,
        heartbeats=tuple(place.seq for place in run if place.kind == "heartbeat"),
        late=tuple(place.seq for place, after in pairwise(run) if place.index > after.index),
        earliest=min(times),
        latest=max(times),
    )


def _registered(run: Run) -> str:
    """The sentence on a run, without its subject."""
    said = f"registered {_span(run.first, run.last)}"
    said += f" of epoch {run.epoch}" if run.count == 1 else f" with no gap in epoch {run.epoch}"
    remarks = []
    if run.heartbeats:
        remarks.append(f"heartbeats: {_listed(run.heartbeats)}")
    if run.late:
        remarks.append(f"in the log after the number that follows: {_listed(run.late)}")
    if run.begins == "prev-mismatch":
        remarks.append(f"{run.first:,} names another statement than the one logged before it")
    return f"{said} ({'; '.join(remarks)})" if remarks else said


def _span(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _listed(numbers: tuple[int, ...], *, limit: int = 10) -> str:
    """The numbers, neighbours joined; of more than `limit` groups the first ones and how many more numbers there are."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    text = ", ".join(_span(first, last) for first, last in spans[:limit])
    rest = sum(last - first + 1 for first, last in spans[limit:])
    return f"{text} and {rest:,} more" if rest else text
