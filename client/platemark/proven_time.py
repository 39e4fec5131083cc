"""What all time stamps of a record prove together: the earliest that holds, with its renewals, and why others do not count.

The verifier's check 11 asks here. A stamp at fault is an error; one without a fault that proves nothing to this reader is a
reason and no more. Rules Z19, Z20, Z26 and Z33 of proto/time.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import algorithms, renewal
from platemark.errors import TimeStampError, UnprovenTimeError
from platemark.instant import format_time
from platemark.timestamp import verify_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.renewal import Proof, Stamped
    from platemark.timestamp import Authority, TimeStamp

__all__ = ["ProvenTime", "prove"]


@dataclass(frozen=True)
class ProvenTime:
    """`stamps` are the stamp that counts and its renewals, in order, or empty; `unproven` says of each other why it does not."""

    stamps: tuple[TimeStamp, ...]
    unproven: tuple[str, ...]

    @property
    def not_later_than(self) -> int | None:
        """P, the proven upper time, Unix ns."""
        return self.stamps[0].latest_ns if self.stamps else None

    @property
    def text(self) -> str:
        """One sentence for people: by whom, how exactly, whether revocation was checked, and what keeps it standing."""
        if not self.stamps:
            return "; ".join(self.unproven) or "there is no time stamp"
        first, *renewals = self.stamps
        accuracy = "no accuracy stated" if first.accuracy_ns is None else f"accuracy {first.accuracy_ns / 10**9:g} s"
        known = first.revocation_known
        revocation = "not checked" if known is None else f"checked, known to {format_time(known)}"
        renewed = f", renewed at {format_time(renewals[-1].time_ns)}" if renewals else ""
        return (
            f"not later than {format_time(first.latest_ns)} by {first.authority} ({accuracy}; revocation {revocation}; "
            f"algorithms acceptable at the proven time, table {algorithms.VERSION}{renewed})"
        )


def prove(given: Sequence[tuple[Stamped, Sequence[Proof]]], *, authorities: Sequence[Authority], at: int) -> ProvenTime:
    """The stamp that proves the earliest *not later than*, as of `at` (Unix ns), of `given`: each with its renewals.

    That their messages cover the record is the caller's to check. Raises TimeStampError for the first that is at fault.
    """
    held: list[tuple[TimeStamp, ...]] = []
    unproven: list[str] = []
    for number, (stamped, proofs) in enumerate(given):
        try:
            held.append(_held(stamped, proofs, authorities, at))
        except UnprovenTimeError as error:
            unproven.append(f"time stamp {number}: {error}")
        except TimeStampError as error:
            raise TimeStampError(f"time stamp {number}: {error.field}", error.reason) from None
    best = min(held, key=lambda stamps: stamps[0].latest_ns, default=())
    return ProvenTime(best, tuple(unproven))


def _held(
    stamped: Stamped, proofs: Sequence[Proof], authorities: Sequence[Authority], at: int
) -> tuple[TimeStamp, ...]:
    """The stamp and as many of its renewals as `at` knows of; they stand at `at`."""
    first = verify_response(stamped.response, message=stamped.message, authorities=authorities, crls=stamped.crls)
    stamps = renewal.verify_renewals(stamped, first, proofs, authorities=authorities)
    known = tuple(each for each in stamps if each.time_ns <= at)
    if not known:
        raise UnprovenTimeError("genTime", "after the time of verification")
    if not renewal.acceptable(known, at):
        raise UnprovenTimeError("algorithms", "one is no longer acceptable, and no renewal came in time")
    return known
