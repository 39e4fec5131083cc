"""What a ledger may say about a batch of statements, as a sender sees it. Needs no gRPC: platemark.spool.ledger translates."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from platemark.errors import PlatemarkError

__all__ = ["Cause", "Deliver", "DeliveryError", "Logged", "Outcome", "Refused", "Streamed"]


@dataclass(frozen=True, slots=True)
class Logged:
    """The statement is in the log, durably and proven, at this index."""

    index: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The statement is not in the log. `again`: the fault was the ledger's own, and the same bytes may succeed later."""

    code: str
    reason: str
    again: bool = False


Outcome: TypeAlias = Logged | Refused


class Cause(enum.Enum):
    """Why a whole batch came to nothing, which decides what is tried next.

    AWAY: no ledger took it; it says nothing about the statements. HELD: the ledger will not deal with this sender, or its
    answers do not verify; a person has to see to it, and no statement is to blame. FAILED: the ledger failed over this batch; a
    smaller one, or another, may pass. REFUSED: the ledger refuses this batch for what it is; a smaller one may pass.
    """

    AWAY = "away"
    HELD = "held"
    FAILED = "failed"
    REFUSED = "refused"


class DeliveryError(PlatemarkError):
    """A batch that was not taken. Whether any of it was logged is unknown; sending it again is safe."""

    code = "delivery"

    def __init__(self, reason: str, *, cause: Cause, word: str = "delivery") -> None:
        super().__init__(reason)
        self.cause = cause
        self.word = word  # a stable code, kept with a statement that is set aside for this


Deliver: TypeAlias = Callable[[Sequence[bytes]], Sequence[Outcome]]
"""Sends statements and returns one outcome each, in order. Raises DeliveryError."""


@runtime_checkable
class Streamed(Protocol):
    """A delivery that can have several batches on their way, in one order; also a Deliver."""

    def send(self, raws: Sequence[bytes]) -> None:
        """Put a batch on its way behind those that are. Raises DeliveryError, about the oldest on its way."""

    def receive(self) -> Sequence[Outcome]:
        """One outcome for each statement of the oldest batch on its way, in order.

        Raises DeliveryError, about that batch; then none is on its way any more.
        """

    def abandon(self) -> None:
        """None is on its way any more; what becomes of those that were is unknown, and sending them again is safe."""
