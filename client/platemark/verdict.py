"""What a verification found: checks, a result, and what the result rests on. Rules V1 to V8 of proto/evidence.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DOES_NOT_MATCH",
    "EVIDENCE_INVALID",
    "EXIT_CODES",
    "FAIL",
    "INCONCLUSIVE",
    "MATCHES_RECORD",
    "NOT_CHECKED",
    "PASS",
    "REQUIRED",
    "TITLES",
    "Check",
    "Fact",
    "Reference",
    "Verdict",
    "conclude",
    "record_fault",
]

PASS, FAIL, NOT_CHECKED = "PASS", "FAIL", "NOT CHECKED"

MATCHES_RECORD = "MATCHES RECORD"
DOES_NOT_MATCH = "DOES NOT MATCH"
INCONCLUSIVE = "INCONCLUSIVE"
EVIDENCE_INVALID = "EVIDENCE INVALID"
EXIT_CODES: Mapping[str, int] = {MATCHES_RECORD: 0, DOES_NOT_MATCH: 1, INCONCLUSIVE: 3, EVIDENCE_INVALID: 4}

TITLES: Mapping[int, str] = {
    1: "statement",
    2: "trust",
    3: "policy",
    4: "checkpoint",
    5: "inclusion",
    6: "key",
    7: "signature",
    8: "validity",
    9: "revocation",
    10: "witnesses",
    11: "time",
    12: "chain",
    13: "disclosure",
    14: "image",
    15: "header",
}
# Without every one of these there is no sound record to compare an image with (checks 14 and 15 do the comparing).
REQUIRED = frozenset({1, 2, 3, 4, 5, 6, 7, 8})
_IMAGE, _HEADER = 14, 15

Fact: TypeAlias = str | int | tuple[str, ...]
"""A fact of a verdict: text, an integer, or several texts."""


@dataclass(frozen=True)
class Check:
    """One numbered check: `status` is PASS, FAIL or NOT CHECKED, `reason` one sentence that says why."""

    number: int
    status: str
    reason: str

    @property
    def title(self) -> str:
        """The word that names this check."""
        return TITLES[self.number]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One later statement. `says` is its meaning, event or topic; `text` a note's text.

    `fault` is why it is not relied on: everything else is then the statement's own word. `stated_time` is Unix nanoseconds.
    """

    kind: str
    says: str
    by: str
    statement_id: str
    index: int | None
    stated_time: int | None
    text: str | None = None
    disclosed: Mapping[str, str | int | bytes | None] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The outcome for one image. `facts` holds only values that a passed check covers.

    `object_says` is what the object says of its own making, as far as the record covers it (platemark.declared).
    `attributes` says how disclosed attributes and those of the file stand to each other (platemark.comparison).
    `references` are later statements about the record (platemark.references). `fault` is why the record itself does not
    stand, whatever the image is; None when it does.
    """

    result: str
    reason: str
    rung: str | None
    checks: tuple[Check, ...]
    at: int
    conditions: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    disclosed: Mapping[str, str | int | bytes | None] = field(default_factory=dict)
    object_says: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None

    @property
    def exit_code(self) -> int:
        """0 matches, 1 does not match, 3 inconclusive, 4 evidence invalid."""
        return EXIT_CODES[self.result]


def record_fault(checks: tuple[Check, ...], *, asked: frozenset[int]) -> tuple[str, str] | None:
    """The result and its reason when the record itself does not stand (V1, V2), whatever the image is; None when it does."""
    for check in checks:
        if check.status == FAIL and check.number not in {_IMAGE, _HEADER}:
            return EVIDENCE_INVALID, f"{check.title}: {check.reason}"
    by_number = {check.number: check for check in checks}
    for number in sorted(REQUIRED | asked):
        check = by_number[number]
        if check.status != PASS:
            return INCONCLUSIVE, f"{check.title}: {check.reason}"
    return None


def conclude(checks: tuple[Check, ...], rung: str | None, *, asked: frozenset[int] = frozenset()) -> tuple[str, str]:
    """The result and its reason from the checks alone (V1 to V6, first rule that applies).

    `asked` are checks that the trust file makes as necessary as those in REQUIRED.
    """
    fault = record_fault(checks, asked=asked)
    if fault is not None:
        return fault
    by_number = {check.number: check for check in checks}
    image, header = by_number[_IMAGE], by_number[_HEADER]
    if FAIL in {image.status, header.status}:
        failed = image if image.status == FAIL else header
        return DOES_NOT_MATCH, failed.reason
    if image.status != PASS or header.status != PASS or rung is None:
        unchecked = image if image.status != PASS else header
        return INCONCLUSIVE, unchecked.reason
    return MATCHES_RECORD, image.reason
