"""How long a sender waits after failures: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait after so many failures in a row: between half and all of `first * 2**(failures - 1)`, at most `most`.

    The random half keeps a fleet of devices from coming back to a restarted ledger at once.
    """

    first: float = 0.5
    most: float = 60.0

    def pause(self, failures: int, fraction: float) -> float:
        """After `failures` (>= 1); `fraction` in [0, 1) is the caller's random number."""
        ceiling = min(self.most, self.first * float(1 << min(failures - 1, 40)))
        return ceiling * (1 + fraction) / 2
