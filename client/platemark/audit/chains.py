"""The chains of all keys, followed in log order: what a ledger has to notice about each statement (proto/statement.md, T1).

The conditions are re-derived from the statements alone, to be compared with those that the ledger reports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from platemark.sequence import Place

if TYPE_CHECKING:
    from platemark.statement import Statement

__all__ = ["CONDITIONS", "Chain", "Chains"]

CONDITIONS = (
    "gap",
    "late",
    "fork",
    "prev-mismatch",
    "old-epoch",
    "clock-backwards",
    "clock-future",
    "unknown-reference",
)

_MAX_COMPARED = 1024


@dataclass(slots=True)
class Chain:
    """One key's statements: those at each place (several after a fork), and the furthest of them."""

    issuer: str
    places: dict[tuple[int, int], list[Place]] = field(default_factory=dict)
    head: tuple[int, int] | None = None
    head_time: int = 0
    count: int = 0

    def logged(self) -> list[Place]:
        """All of them, in log order."""
        return sorted((each for taken in self.places.values() for each in taken), key=lambda each: each.index)


class Chains:
    """Every chain so far, by kid; and every statement id, for references."""

    def __init__(self) -> None:
        self.by_kid: dict[bytes, Chain] = {}
        self.ids: set[bytes] = set()

    def follow(self, statement: Statement, *, index: int, received: int, skew_ns: int) -> frozenset[str]:
        """The conditions of the next statement of the log; takes note of it. None for a policy, which has no chain."""
        codes: set[str] = set()
        if statement.epoch is not None:
            codes = self._chained(statement, index, received + skew_ns)
        self.ids.add(statement.id)
        return frozenset(codes)

    def _chained(self, statement: Statement, index: int, latest: int) -> set[str]:
        chain = self.by_kid.setdefault(statement.kid, Chain(statement.issuer))
        place = (cast("int", statement.epoch), cast("int", statement.seq))
        time = cast("int", statement.time)
        further = chain.head is None or place > chain.head
        codes = _ahead(chain, statement, place) if further else _behind(chain, statement, place)
        if further and chain.head is not None and time < chain.head_time:
            codes.add("clock-backwards")
        if time > latest:
            codes.add("clock-future")
        if not self.ids.issuperset(_references(statement)):
            codes.add("unknown-reference")
        if further:
            chain.head, chain.head_time = place, time
        taken = Place(index, *place, statement.prev, statement.id, time, statement.kind)
        chain.places.setdefault(place, []).append(taken)
        chain.count += 1
        return codes


def _ahead(chain: Chain, statement: Statement, place: tuple[int, int]) -> set[str]:
    epoch, seq = place
    if chain.head is None or epoch > chain.head[0]:
        return {"gap"} if seq else set()
    if seq != chain.head[1] + 1:
        return {"gap"}
    return _prev(chain, statement, place)


def _behind(chain: Chain, statement: Statement, place: tuple[int, int]) -> set[str]:
    epoch, seq = place
    late = place not in chain.places
    codes = {"late"} if late else {"fork"}
    if seq and (epoch, seq - 1) in chain.places:
        codes |= _prev(chain, statement, place)
    if late and not _named_after(chain, statement, place):
        codes.add("prev-mismatch")
    if chain.head is not None and epoch < chain.head[0]:
        codes.add("old-epoch")
    return codes


def _named_after(chain: Chain, statement: Statement, place: tuple[int, int]) -> bool:
    """Whether nothing is logged at the place after, or one of the 1024 least ids there names the statement."""
    after = sorted(chain.places.get((place[0], place[1] + 1), ()), key=lambda each: each.id)[:_MAX_COMPARED]
    return not after or any(each.prev == statement.id for each in after)


def _prev(chain: Chain, statement: Statement, place: tuple[int, int]) -> set[str]:
    epoch, seq = place
    before = {each.id for each in chain.places.get((epoch, seq - 1), ())}
    return set() if statement.prev in before else {"prev-mismatch"}


def _references(statement: Statement) -> list[bytes]:
    """The ids that a statement refers to, apart from its chain: `parents` and `of`."""
    of = statement.payload.get("of")
    parents = cast("list[bytes]", statement.payload.get("parents", []))
    if isinstance(of, bytes):
        return [*parents, of]
    return [*parents, *cast("list[bytes]", of or [])]
