"""What a PACS's answer to a C-STORE means for the object (PS3.4 annex B.2.3, PS3.7 annex C).

Every outcome is one of three: the PACS has the object; sending it again may help; sending it again never will. The
second and third have a name, which journal, metrics and alarms carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Answer", "Outcome", "judge"]


class Outcome(Enum):
    """What became of one attempt to send an object."""

    STORED = "stored"
    AGAIN = "again"
    NEVER = "never"


@dataclass(frozen=True)
class Answer:
    """An outcome with a stable name and a sentence.

    `of_object` is true when the object may be what is wrong, false when it is the PACS or the way to it: then nothing
    else can be sent either. `said` is the PACS's own comment, which may quote the object: it is for the journal, and
    never for a log. `status` is None when the PACS did not answer.
    """

    outcome: Outcome
    name: str
    reason: str
    of_object: bool = True
    said: str = ""
    status: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" + (f"; it says: {self.said}" if self.said else "")


# Failures with a code of their own; the ranges are in `judge`.
_CODES: dict[int, tuple[Outcome, str, str]] = {
    0x0110: (Outcome.AGAIN, "processing-failure", "the PACS failed while it stored the object"),
    0x0111: (Outcome.NEVER, "duplicate-instance", "the PACS has an instance of this UID and refuses a second"),
    0x0115: (Outcome.NEVER, "invalid-argument", "the PACS finds a value of the request invalid"),
    0x0117: (Outcome.NEVER, "invalid-instance", "the PACS finds the SOP Instance UID invalid"),
    0x0122: (Outcome.NEVER, "sop-class-not-supported", "the PACS does not store objects of this SOP class"),
    0x0124: (Outcome.AGAIN, "not-authorised", "the PACS does not let this AE title store"),
    0x0210: (Outcome.AGAIN, "duplicate-invocation", "the PACS takes the message id for one in use"),
    0x0211: (Outcome.NEVER, "unrecognised-operation", "the PACS knows no C-STORE here"),
    0x0212: (Outcome.NEVER, "mistyped-argument", "the PACS finds a parameter mistyped"),
    0x0213: (Outcome.AGAIN, "out-of-resources", "the PACS is out of resources"),
}
_OF_PEER = frozenset({"not-authorised", "out-of-resources"})
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


def judge(status: int, comment: str = "") -> Answer:
    """The meaning of a C-STORE status; `comment` is the PACS's Error Comment (0000,0902), shown as it is.

    An unknown failure counts as final: it is named, alarmed and kept, and an operator may have it sent again.
    """
    said, code = comment[:64], f"status {status:04X}"
    if status == 0x0000:
        return Answer(Outcome.STORED, "stored", "", status=status)
    if status in _WARNINGS or status >> 12 == 0xB:
        return Answer(
            Outcome.STORED,
            "stored-with-warning",
            f"the PACS stored it with a warning ({code})",
            said=said,
            status=status,
        )
    if status in _CODES:
        outcome, name, reason = _CODES[status]
    elif status >> 8 == 0xA7:
        outcome, name, reason = Outcome.AGAIN, "out-of-resources", "the PACS is out of resources"
    elif status >> 8 == 0xA9:
        outcome, name, reason = (
            Outcome.NEVER,
            "not-of-its-class",
            "the PACS says: the data set does not match its SOP class",
        )
    elif status >> 12 == 0xC:
        outcome, name, reason = Outcome.NEVER, "not-understood", "the PACS cannot understand the object"
    else:
        outcome, name, reason = Outcome.NEVER, "refused", "the PACS refuses the object"
    return Answer(outcome, name, f"{reason} ({code})", of_object=name not in _OF_PEER, said=said, status=status)
