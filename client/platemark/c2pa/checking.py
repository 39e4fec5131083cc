"""Both judgements on one picture, side by side: C2PA's, and ours on the proof in its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.c2pa import jumbf
from platemark.c2pa.assertion import LABEL, Proof, decode
from platemark.c2pa.picture import open_picture, store_bytes, without_store
from platemark.c2pa.reading import Reading, read
from platemark.capture import measure
from platemark.errors import ContentCredentialsError, FormatError, ManifestError
from platemark.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from platemark.trust import Trust
    from platemark.verdict import Verdict

__all__ = ["Checked", "check"]

UNREADABLE, INCONCLUSIVE = 2, 3


@dataclass(frozen=True, slots=True)
class Checked:
    """`c2pa` is C2PA's judgement, `verdict` ours; None without a proof that can be read, and `fault` says why.

    `exit_code` is the verdict's; 3 when the active manifest carries no proof of ours, 2 when it carries one that cannot be
    read. C2PA's judgement never changes it. `cut`: the image judged is the file without the manifest store that it carries.
    """

    c2pa: Reading
    verdict: Verdict | None
    fault: str
    exit_code: int
    cut: bool
    proof: Proof | None = None


def check(path: Path, *, manifest: bytes | None, anchors: bytes | None, trust: Trust | None, at: int) -> Checked:
    """Judge a PNG or JPEG file and the manifest in it, or `manifest`, a side-car, which comes first.

    `anchors` (PEM) are for C2PA alone, `trust` for our verdict alone; `at` is Unix ns. Opens no connection. Raises
    ContentCredentialsError, CaptureError, ManifestError: no picture of these kinds, no manifest, a carrier that is broken.
    """
    picture = open_picture(path)
    if manifest is None and picture.store is None:
        raise ContentCredentialsError(
            f"{path}: carries no C2PA manifest, and no side-car was given (--manifest FILE); platemark verify judges it by "
            "evidence beside it"
        )
    store = store_bytes(picture) if manifest is None else manifest
    reading = read(path, picture.media, manifest=manifest, anchors=anchors)
    try:
        found = jumbf.proofs(store)
        if not found:
            reason = f"the active manifest carries no assertion {LABEL}"
            return Checked(reading, None, reason, INCONCLUSIVE, cut=manifest is None)
        if len(found) > 1:
            raise ManifestError(LABEL, f"{len(found)} of them, and a manifest carries one proof")
        proof = decode(found[0])
    except FormatError as error:
        return Checked(reading, None, str(error), UNREADABLE, cut=manifest is None)
    if manifest is None:
        with without_store(picture) as copy:
            measured = measure(copy, tolerant=True)
    else:
        measured = measure(path, tolerant=True)
    verdict = verify(proof.evidence, trust=trust, image=measured, at=at)
    return Checked(reading, verdict, "", verdict.exit_code, cut=manifest is None, proof=proof)
