"""What the ledger notices about a statement that it logs nevertheless. Stored as a bitset, stable for ever."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONDITIONS", "Condition", "bits_of", "conditions_of"]


@dataclass(frozen=True, slots=True)
class Condition:
    """`code` is stable; `detail` is one sentence for a person and may change."""

    code: str
    detail: str


# In the order in which the ledger looks; the place in this table is the bit, so rows are only ever added at the end.
CONDITIONS = (
    Condition("gap", "Statements that this key's chain counts before this one had not reached the log."),
    Condition("late", "It fills a place that this key's chain had already passed."),
    Condition("fork", "The log already holds another statement of this key at the same place of its chain."),
    Condition(
        "prev-mismatch", "It and its neighbour in this key's chain do not name each other as predecessor and successor."
    ),
    Condition("old-epoch", "This key had already opened a later epoch."),
    Condition("clock-backwards", "Its stated time is before that of an earlier statement of its key's chain."),
    Condition("clock-future", "Its stated time is later than the log's clock by more than the policy's allowance."),
    Condition("unknown-reference", "It refers to a statement that the log did not hold when this one came."),
)
_BITS = {condition.code: 1 << place for place, condition in enumerate(CONDITIONS)}


def bits_of(*codes: str) -> int:
    """The bitset (u16) of the given codes. Raises KeyError for a code that is not in the table."""
    bits = 0
    for code in codes:
        bits |= _BITS[code]
    return bits


def conditions_of(bits: int) -> tuple[Condition, ...]:
    """The conditions of a bitset. A bit that this release does not know is shown as such, never dropped."""
    if not bits:
        return ()
    known = [condition for place, condition in enumerate(CONDITIONS) if bits >> place & 1]
    later = [
        Condition(f"condition-{place}", "A later release of the ledger noticed something here.")
        for place in range(len(CONDITIONS), bits.bit_length())
        if bits >> place & 1
    ]
    return (*known, *later)
