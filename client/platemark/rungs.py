"""The rungs of a measurement, strongest first, and how two sets of digests are compared (proto/statement.md, rungs).

A rung is a way of digesting an image. A stronger rung covers more of the file and survives less handling; a weaker one
covers the pixels alone and survives every lossless transcode. Standard library only: the offline verifier needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = [
    "DIGEST_SIZES",
    "FRAME_RUNGS",
    "HEADER_BINDING",
    "RUNGS",
    "SHA256",
    "SHA512",
    "AttributeValue",
    "Digests",
    "Match",
    "Measurement",
    "strongest_match",
]

RUNGS = ("file", "dataset", "content", "pixels", "codestream", "messages")
"""Every rung that a statement may carry, strongest first."""

FRAME_RUNGS = ("pixels", "codestream")
"""The rungs that are trees of frames; an object has one of them at most."""

SHA256 = -16
"""COSE algorithm identifier of SHA-256 (RFC 9054 section 2.1): always present in a rung."""

SHA512 = -44
"""COSE algorithm identifier of SHA-512 (RFC 9054 section 2.1)."""

DIGEST_SIZES: Mapping[int, int] = MappingProxyType({SHA256: 32, SHA512: 64})
"""Bytes of a digest under each hash algorithm."""

HEADER_BINDING = frozenset(
    {
        "image_laterality",
        "image_orientation_patient",
        "laterality",
        "patient_birth_date",
        "patient_id",
        "patient_id_issuer",
        "patient_name",
        "patient_orientation",
        "patient_position",
        "study_instance_uid",
        "view_position",
    }
)
"""Attributes that must be opened and equal before a match of `pixels` clears a DICOM header.

A measurement of a DICOM file carries every one of them, with None where the object carries no value: "no laterality"
is a fact to compare, and a value added later must not slip through as unknown.
"""

_IMAGE_GROUPS = (0x0028, 0x7FE0)
"""The groups of the elements that say what the samples of an image are (PS3.3 C.7.6.3)."""

AttributeValue = str | int | bytes | None
"""A normalised attribute value; None says that the object carries no value."""

Digests = Mapping[str, Mapping[int, bytes]]
"""Rung name to COSE hash algorithm to digest."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one file measured to.

    `digests` holds SHA-256 and SHA-512 for every rung that could be computed; `absent` holds, for every other rung that
    this release defines for the medium, one sentence that says why not. `frames` is the number of frames under `pixels`
    or `codestream` (None when the file has neither), `frame_digests` the SHA-256 digest of each, in order.
    `encapsulated`: the transfer syntax is none of the native ones; `content` covers neither it nor the borders of
    compressed fragments. `uncovered` are the tags
    of the data set that `content` leaves out because their value representation is not known.

    `uncomputed` are the absent rungs that the file may well have and that could not be computed here and now: a decoder
    is missing, a limit was reached, the pixels do not decode; a verifier must not take such a rung for one that differs.
    `missing_extra` names the extra of the `platemark` distribution that would compute more ("dicom" or "image").
    """

    media: str
    digests: Digests
    attributes: Mapping[str, AttributeValue]
    frames: int | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    missing_extra: str | None = None
    uncomputed: frozenset[str] = frozenset()
    frame_digests: tuple[bytes, ...] = field(default=(), repr=False)
    encapsulated: bool = False
    uncovered: frozenset[int] = frozenset()

    @property
    def content_alone(self) -> bool:
        """Whether equal `content` is a match without an equal rung of frames: it covers the whole image."""
        return not self.encapsulated and not any(tag >> 16 in _IMAGE_GROUPS for tag in self.uncovered)

    @property
    def content_covers_header(self) -> bool:
        """Whether `content` covers every standard element; the binding of a header has no private one."""
        return all(tag >> 16 & 1 for tag in self.uncovered)


@dataclass(frozen=True)
class Match:
    """The outcome of a comparison.

    `rung` is the strongest rung that matches, None when none does. `conflict` is the strongest rung on which hash
    algorithms contradict each other (one equal, another different); then `rung` is None, because one of the
    algorithms is broken or the record is, and nobody can tell which.
    """

    rung: str | None
    conflict: str | None = None


def strongest_match(measured: Digests, recorded: Digests, *, content_alone: bool = True) -> Match:
    """Compare what was measured with what was recorded, rung by rung, strongest first (rules R1 to R4).

    A rung matches when both sides carry SHA-256 and every hash algorithm that both sides carry agrees. `content` never
    matches beside frames that differ, and without `content_alone` (of the Measurement) only beside frames that agree.
    Rungs that are not in RUNGS are ignored: a later release may define more.
    """
    equal: dict[str, bool] = {}
    for rung in RUNGS:
        ours, theirs = measured.get(rung, {}), recorded.get(rung, {})
        verdicts = {algorithm: ours[algorithm] == theirs[algorithm] for algorithm in ours.keys() & theirs.keys()}
        if len(set(verdicts.values())) > 1:
            return Match(None, conflict=rung)
        if SHA256 in verdicts:
            equal[rung] = verdicts[SHA256]
    frames = [equal[rung] for rung in FRAME_RUNGS if rung in equal]
    if not all(frames) or not (frames or content_alone):
        equal.pop("content", None)
    return Match(next((rung for rung in RUNGS if equal.get(rung)), None))
