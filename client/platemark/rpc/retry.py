"""When to call again, and after how long: pure arithmetic.

Every RPC of a ledger may be repeated: reads change nothing, and an append is idempotent by statement id. So what decides is
only whether a repeat can help.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential back-off with full jitter: after failure k (from 0) wait a random part of `first * 2**k`, at most `most`.

    `attempts` is the number of calls in all, at least 1. `first` and `most` are seconds.
    """

    attempts: int = 6
    first: float = 0.1
    most: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            msg = f"attempts: at least 1, not {self.attempts}"
            raise ValueError(msg)
        if not 0 < self.first <= self.most:
            msg = f"first, most: 0 < first <= most, not {self.first}, {self.most}"
            raise ValueError(msg)

    def pause(self, failures: int, fraction: float) -> float:
        """Seconds to wait after the given number of failures (>= 1); `fraction` in [0, 1) is the caller's random number."""
        # 2**60 seconds is past any `most`; without the bound a long-lived loop would compute huge integers.
        ceiling = min(self.most, self.first * float(1 << min(failures - 1, 60)))
        return ceiling * fraction
