"""Which statement is to blame when a ledger fails without refusing: bookkeeping of a sender, in memory only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from platemark.spool.model import Entry

__all__ = ["STRIKES", "Suspects"]

STRIKES = 5
_CONFIRMED = 2


@dataclass(slots=True)
class _Suspect:
    """A statement that failed without being refused: how often, and how often of these just after the ledger took others."""

    strikes: int = 0
    confirmed: int = 0
    others: bool = False  # since the last failure


@dataclass(slots=True)
class Suspects:
    """The statements that failed, and what the ledger did since."""

    found: dict[bytes, _Suspect] = field(default_factory=dict)

    def strike(self, entry: Entry) -> bool:
        """Count a failure; whether it was the last one."""
        suspect = self.found.setdefault(entry.id, _Suspect())
        suspect.strikes += 1
        if not suspect.others:
            return False
        suspect.confirmed += 1
        suspect.others = False
        return suspect.strikes > STRIKES and suspect.confirmed >= _CONFIRMED

    def worked(self, batch: Sequence[Entry], settled: set[bytes]) -> None:
        """The ledger took some: those are no suspects, and the others have less excuse."""
        for identity in settled:
            self.found.pop(identity, None)
        for suspect in self.found.values():
            suspect.others = True
        for entry in batch:
            if entry.id not in settled:
                self.found.setdefault(entry.id, _Suspect()).others = True

    def spent(self, entry: Entry) -> bool:
        """Whether it failed so often, and nothing else was tried, that another one has to show if the ledger works."""
        suspect = self.found.get(entry.id)
        return suspect is not None and suspect.strikes >= STRIKES and not suspect.others
