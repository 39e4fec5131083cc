"""What is said of one signature.

Three answers are kept apart: whether the signature holds over the object as it is (`integrity`), whether the reader
believes its certificate (`certificate`), and what a certified time stamp proves (`timestamp`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platemark.dicom_signature._trust import Judged
    from platemark.dicom_signature.profiles import Profile

__all__ = ["Checked", "Integrity", "Signer"]


class Integrity(StrEnum):
    """HOLDS, FAILS, or UNDECIDED with the reason beside it: nothing was found wrong, and nothing may rest on it."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Signer:
    """What the certificate in a signature says of itself."""

    subject: str
    issuer: str
    serial: int
    sha256: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One signature. `place` is the item that it signs, empty for the object; tags are those of that level, in order.

    `covered` is what it is computed over if it holds, else what it says it is. `uncovered` may be changed or removed
    without it failing, and other elements may be added; those of `unsignable` can never be signed. `absent` are listed and
    not there. `profiles` has, for Base and Creator RSA, why the signature does not meet it, empty if it does.
    `certificate` and `timestamp` are None where there is nothing to judge. `stated` is the signer's own word.
    """

    place: str
    number: int
    uid: str
    stated: str
    mac: str
    transfer_syntax: str
    integrity: Integrity
    reason: str
    signer: Signer | None = None
    certificate: Judged | None = None
    timestamp: Judged | None = None
    covered: tuple[int, ...] = ()
    uncovered: tuple[int, ...] = ()
    unsignable: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    profiles: tuple[tuple[Profile, str], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 good, 1 fails, 3 undecided."""
        stamped = self.timestamp
        if self.integrity is Integrity.FAILS or (stamped is not None and stamped.good is False):
            return 1
        believed = self.certificate is not None and self.certificate.good is True
        return 0 if self.integrity is Integrity.HOLDS and believed else 3
