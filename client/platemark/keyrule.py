"""The key rule: what a signing key's dates, its revocation and its proven state make of one record.

Checks 8 and 9 of proto/evidence.md section 4, as arithmetic: whoever calls has proven that the revocation and the keystate are in
the log, at these leaves, signed by a registrar and by a log key. Nothing here reads a clock; all times are Unix nanoseconds.

The proven upper time P moves everything, the stated time nothing: a thief gains nothing by dating back, and an owner who revokes
a key cannot disown what was proven to exist by the revocation's effective time.
"""

from __future__ import annotations

from dataclasses import dataclass

from platemark.instant import format_time
from platemark.verdict import FAIL, NOT_CHECKED, PASS, Check

__all__ = ["Finding", "KeyState", "Revocation", "Validity", "judge"]

_VALIDITY, _REVOCATION = 8, 9


@dataclass(frozen=True, slots=True)
class Validity:
    """The dates of a key's enrolment, or of its entry in the policy; both are inside."""

    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """A `revoke` of the key, logged as leaf `index`: not to be trusted after `effective`."""

    index: int
    effective: int


@dataclass(frozen=True, slots=True)
class KeyState:
    """What a `keystate` logged as leaf `index` and signed at `time` shows of the key, after the first `size` leaves.

    `revocation` is that of the key's leaf in the keystate; None: it was not revoked.
    """

    index: int
    size: int
    time: int
    revocation: Revocation | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Checks 8 and 9. `known_to` is the signed time up to which the key is known not to be revoked, None if it is not known."""

    validity: Check
    revocation: Check
    known_to: int | None = None


def judge(
    *,
    key: Validity,
    stated: int,
    index: int,
    at: int,
    proven: int | None = None,
    revocation: Revocation | None = None,
    keystate: KeyState | None = None,
) -> Finding:
    """Judge a record that states the time `stated`, is leaf `index`, and is known to have existed by `proven`, if it is not None.

    `at` is the time of verification, which bounds the record where nothing else does, and settles no revocation.
    """
    validity = _validity(key, stated, at, proven)
    contradiction = _contradiction(revocation, keystate)
    if contradiction is not None:
        return Finding(validity, Check(_REVOCATION, FAIL, contradiction))
    if revocation is not None:
        return _revoked(validity, index, proven, revocation)
    if keystate is not None and keystate.revocation is not None:
        return _said_to_be_revoked(validity, index, keystate.revocation)
    if keystate is None:
        reason = "no revocation is shown, and nothing proves that there is none"
    elif keystate.size <= index:
        reason = (
            f"no revocation is shown; the log last stated its keys at {format_time(keystate.time)}, before it had this "
            "record: evidence that is fetched later can say more"
        )
    else:
        known = (
            f"key status known to {format_time(keystate.time)}: not revoked, says the keystate at leaf {keystate.index}"
        )
        return Finding(validity, Check(_REVOCATION, PASS, known), keystate.time)
    return Finding(validity, Check(_REVOCATION, NOT_CHECKED, reason))


def _validity(key: Validity, stated: int, at: int, proven: int | None) -> Check:
    """8: the stated time and the proven time are within the key's dates."""
    if not key.not_before <= stated <= key.not_after:
        return Check(_VALIDITY, FAIL, "the stated time is outside the key's validity")
    if proven is None:
        return _unproven(key, stated, at)
    if proven > key.not_after:
        reason = "the key has expired, and the record is proven only for a time after that"
        return Check(_VALIDITY, NOT_CHECKED, reason)
    if proven < key.not_before:
        return Check(_VALIDITY, NOT_CHECKED, "the record is proven to be older than the key's validity")
    reason = f"the stated time and the proven time, {format_time(proven)}, are within the key's validity"
    return Check(_VALIDITY, PASS, reason)


def _unproven(key: Validity, stated: int, at: int) -> Check:
    """8 without a time stamp: the record exists by the time of verification."""
    if at > key.not_after:
        reason = "the key has expired and nothing proves that the record existed before that"
        return Check(_VALIDITY, NOT_CHECKED, reason)
    if at < stated:
        reason = "the time of verification is before the stated time, when there was no record yet"
        return Check(_VALIDITY, NOT_CHECKED, reason)
    return Check(_VALIDITY, PASS, "the stated time is within the key's validity, which has not ended")


def _revoked(validity: Check, index: int, proven: int | None, revocation: Revocation) -> Finding:
    """9 with a revocation. Order in the log comes first: a ledger takes nothing from a key that it has seen revoked."""
    leaf = revocation.index
    if leaf < index:
        return Finding(validity, Check(_REVOCATION, FAIL, f"the key was revoked at leaf {leaf}, before this record"))
    if proven is not None and proven <= revocation.effective:
        reason = (
            f"the key was revoked at leaf {leaf} with effect from {format_time(revocation.effective)}, "
            f"and the record is proven to have existed by {format_time(proven)}"
        )
        return Finding(validity, Check(_REVOCATION, PASS, reason))
    if proven is None:
        why = "no time stamp shows that the record is older"
    else:
        why = f"the record is proven only for {format_time(proven)}, after the effective time"
    return _disputed(validity, f"the key was revoked at leaf {leaf}, after this record, and {why}")


def _said_to_be_revoked(validity: Check, index: int, revocation: Revocation) -> Finding:
    """9 where only the keystate tells of a revocation. The log's word can take trust away; it takes a registrar's to give it."""
    leaf = revocation.index
    if leaf < index:
        reason = f"the keystate shows the key revoked at leaf {leaf}, before this record"
        return Finding(validity, Check(_REVOCATION, FAIL, reason))
    return _disputed(
        validity, f"the keystate shows the key revoked at leaf {leaf}, and the evidence lacks that statement"
    )


def _disputed(validity: Check, reason: str) -> Finding:
    """Neither passes: the record may be the owner's or a thief's. A time outside the key's dates stays what it is, a fault."""
    if validity.status != FAIL:
        validity = Check(_VALIDITY, NOT_CHECKED, f"disputed: {reason}")
    return Finding(validity, Check(_REVOCATION, NOT_CHECKED, f"disputed: {reason}"))


def _contradiction(revocation: Revocation | None, keystate: KeyState | None) -> str | None:
    """Why what the log key signed about this key cannot be true, or None."""
    if keystate is None:
        return None
    said = keystate.revocation
    if keystate.size > keystate.index:
        return f"the keystate at leaf {keystate.index} speaks of {keystate.size} leaves, of which it was not the last"
    if said is not None and said.index >= keystate.size:
        return f"the keystate over {keystate.size} leaves shows a revocation at leaf {said.index}"
    if revocation is None or (said is None and revocation.index >= keystate.size):
        return None
    return (
        None
        if said == revocation
        else f"the keystate at leaf {keystate.index} contradicts the revocation that is shown"
    )
