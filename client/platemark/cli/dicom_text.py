"""One checked signature in words and in JSON. Everything in it may come from a stranger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platemark.cli.output import printable
from platemark.dicom_signature import Integrity, Profile
from platemark.instant import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from platemark.dicom_signature import Checked, Judged

__all__ = ["as_json", "as_text", "tag_list", "tag_text"]

_WORDS = {Integrity.HOLDS: "HOLDS", Integrity.FAILS: "FAILS", Integrity.UNDECIDED: "UNDECIDED"}
_MOST = 12
_NAMES = {Profile.BASE: "Base RSA", Profile.CREATOR: "Creator RSA"}


def tag_text(tag: int) -> str:
    """(gggg,eeee)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def tag_list(tags: Sequence[int]) -> str:
    """The first of them, and how many there are more."""
    shown = " ".join(map(tag_text, tags[:_MOST]))
    return shown + (f" and {len(tags) - _MOST} more" if len(tags) > _MOST else "")


def as_text(checked: Checked) -> str:
    """Several lines."""
    return "\n".join(_lines(checked))


def as_json(checked: Checked) -> dict[str, object]:
    """The same for scripts; every list whole."""
    signer = checked.signer
    return {
        "place": checked.place,
        "number": checked.number,
        "uid": printable(checked.uid),
        "integrity": checked.integrity.value,
        "reason": printable(checked.reason),
        "signer": None
        if signer is None
        else {
            "subject": printable(signer.subject),
            "issuer": printable(signer.issuer),
            "serial": str(signer.serial),
            "sha256": signer.sha256,
            "key": signer.key,
        },
        "stated_time": printable(checked.stated),
        "certificate": _judged(checked.certificate),
        "timestamp": _judged(checked.timestamp),
        "mac": printable(checked.mac),
        "transfer_syntax": printable(checked.transfer_syntax),
        "covered": list(map(tag_text, checked.covered)),
        "not_covered": list(map(tag_text, checked.uncovered)),
        "never_covered": list(map(tag_text, checked.unsignable)),
        "listed_and_absent": list(map(tag_text, checked.absent)),
        "profiles": {profile.value: reason or None for profile, reason in checked.profiles},
    }


def _judged(judged: Judged | None) -> dict[str, object] | None:
    if judged is None:
        return None
    words = {True: "pass", False: "fail", None: "undecided"}
    return {
        "result": words[judged.good],
        "reason": printable(judged.reason),
        "time": None if judged.time_ns is None else format_time(judged.time_ns),
    }


def _lines(checked: Checked) -> Iterator[str]:
    where = f"of item {checked.place}" if checked.place else "of the object"
    yield f"signature {checked.number} {where}: {_WORDS[checked.integrity]}: {printable(checked.reason)}"
    yield f"  uid          {printable(checked.uid)}"
    if checked.signer is not None:
        yield f"  signer       {printable(checked.signer.subject)} ({checked.signer.key})"
    yield f"  stated time  {printable(checked.stated)}, by the signer's own word"
    if checked.certificate is not None:
        word = "trusted" if checked.certificate.good else "NOT TRUSTED"
        yield f"  certificate  {word}: {printable(checked.certificate.reason)}"
    if checked.timestamp is not None:
        word = {True: "PASS", False: "FAIL", None: "NOT CHECKED"}[checked.timestamp.good]
        yield f"  time stamp   {word}: {printable(checked.timestamp.reason)}"
    if checked.integrity is not Integrity.HOLDS:
        yield f"  claims       {len(checked.covered)} elements"
        return
    yield f"  covers       {len(checked.covered)} elements"
    yield f"  NOT covered  {tag_list(checked.uncovered) or 'nothing that is there now; elements can be added'}"
    if checked.place:
        yield "               and nothing outside this item"
    if checked.absent:
        yield f"  absent       {tag_list(checked.absent)}: listed, and not there"
    for profile, reason in checked.profiles:
        yield f"  {_NAMES[profile]:<12} {'met' if not reason else 'not met: ' + printable(reason)}"
