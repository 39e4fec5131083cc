"""Views of one log: checkpoints from several places, each opened with the keys that the auditor brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import checkpoint
from platemark.cosignature import cosignatures
from platemark.errors import FormatError, SignatureError
from platemark.note import NoteVerifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.audit.findings import Findings
    from platemark.checkpoint import SignedCheckpoint
    from platemark.cosignature import CosignatureVerifier
    from platemark.witness_policy import WitnessPolicy

__all__ = ["View", "check_witnesses", "open_view", "split"]


@dataclass(frozen=True)
class View:
    """A checkpoint whose signature was verified, and who showed it."""

    source: str
    size: int
    root: bytes
    note: bytes


def open_view(
    data: bytes,
    *,
    source: str,
    origin: str,
    verifiers: Sequence[NoteVerifier | CosignatureVerifier],
    findings: Findings,
) -> View | None:
    """The view in a signed note, None with a finding when it is none of this log's (rules E1, E2)."""
    try:
        signed = checkpoint.parse(data)
    except FormatError as error:
        findings.add("checkpoint-malformed", f"{source}: {error}", proof=(data,))
        return None
    said = signed.checkpoint
    if said.origin != origin:
        findings.add("checkpoint-origin", f"{source}: the origin is {said.origin}, not {origin}", said.size, (data,))
        return None
    try:
        _verify(signed, verifiers)
    except SignatureError as error:
        findings.add("checkpoint-signature", f"{source}: {error}", said.size, (data,))
        return None
    return View(source, said.size, said.root, data)


def _verify(signed: SignedCheckpoint, verifiers: Sequence[NoteVerifier | CosignatureVerifier]) -> None:
    """One signature for each type of key, so that leaving out the post-quantum one is seen. Raises SignatureError."""
    notes = [each for each in verifiers if isinstance(each, NoteVerifier)]
    others = [each for each in verifiers if not isinstance(each, NoteVerifier)]
    if notes:
        signed.verify(notes)
    signers = {each.verifier.type for each in cosignatures(signed, others)}
    for kind in {each.type for each in others} - signers:
        raise SignatureError(f"the checkpoint carries no signature of a trusted key of type {kind:02x}")


def check_witnesses(view: View, policy: WitnessPolicy, findings: Findings) -> None:
    """Whether a quorum of `policy` cosigned the view; a finding if not (rule E21)."""
    signed = checkpoint.parse(view.note)
    try:
        keys = [each.verifier for each in cosignatures(signed, policy.verifiers)]
    except SignatureError as error:
        findings.add("checkpoint-unwitnessed", f"{view.source}: {error}", view.size, (view.note,))
        return
    names = sorted({each.name for each in policy.witnesses if each.verifier in keys})
    if not policy.satisfied_by(names):
        seen = ", ".join(names) or "nobody"
        sentence = f"{view.source}: the quorum of witnesses is not met, cosigned by {seen}"
        findings.add("checkpoint-unwitnessed", sentence, view.size, (view.note,))


def split(left: View, right: View, findings: Findings) -> bool:
    """Whether two views of one size have different roots, which is a finding (rule E6)."""
    if left.size != right.size or left.root == right.root:
        return False
    findings.add(
        "split-view",
        f"{left.source} and {right.source} show different roots for size {left.size}: the log signed both",
        left.size,
        (left.note, right.note),
    )
    return True
