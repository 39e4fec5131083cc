"""Who else saw a checkpoint: its cosignatures against the policy of the trust file. Check 10 of proto/evidence.md."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from platemark.cosignature import cosignatures
from platemark.errors import SignatureError
from platemark.verdict import FAIL, NOT_CHECKED, PASS, Check

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platemark.checkpoint import SignedCheckpoint
    from platemark.keys import Verifier
    from platemark.witness_policy import WitnessPolicy

__all__ = ["check_witnesses"]

_NUMBER = 10


def check_witnesses(
    signed: SignedCheckpoint, policy: WitnessPolicy | None, *, log_keys: Iterable[Verifier] = ()
) -> Check:
    """PASS when witnesses that `policy` names, and enough of them, cosigned; their times are their own clocks'.

    A key of the log itself is no witness, under whatever name.

    A cosignature of a named witness that fails is FAIL; too few of them is NOT CHECKED, which keeps a verdict that asks
    for witnesses from being MATCHES RECORD. Cosignatures of others count for nothing.
    """
    if policy is None:
        others = {name for name, _, _ in signed.signed.signatures} - {signed.checkpoint.origin}
        shown = f"; {len(others)} others signed, and nobody vouches for them" if others else ""
        return Check(_NUMBER, NOT_CHECKED, f"no witness is named in the trust file{shown}")
    try:
        own = {key.spki for key in log_keys}
        found = [each for each in cosignatures(signed, policy.verifiers) if each.verifier.key.spki not in own]
    except SignatureError as error:
        return Check(_NUMBER, FAIL, str(error))
    keys = [each.verifier for each in found]
    names = {each.name for each in policy.witnesses if each.verifier in keys}
    # A witness with two keys is named once.
    seen = ", ".join(sorted({f"{each.verifier.name} at {_second(each.time_s)}" for each in found})) or "nobody"
    if policy.quorum is None:
        return Check(_NUMBER, NOT_CHECKED, f"the trust file asks for no witness; seen by {seen}")
    if not policy.satisfied_by(names):
        return Check(_NUMBER, NOT_CHECKED, f"the quorum of the trust file is not met: seen by {seen}")
    return Check(_NUMBER, PASS, f"seen by {seen}, by their clocks, which meets the quorum of the trust file")


def _second(time_s: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(time_s, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return f"{time_s} s since 1970"
