"""The decision over one add-checkpoint: bytes in, a checkpoint to cosign or a refusal out. No input, no output, no clock.

Rules T1 to T9 of proto/log.md, in the order in which a request meets them: form, origin, signature, sizes, proof.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import checkpoint as checkpoints
from platemark import merkle, note, witness_wire
from platemark.errors import NoteError, PlatemarkError, ProofError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platemark.checkpoint import Checkpoint
    from platemark.note import NoteVerifier

__all__ = ["Outcome", "RefusedError", "SplitViewError", "Submission", "Vouched", "read", "require_extension", "vouched"]


class Outcome(enum.IntEnum):
    """How an add-checkpoint ends; the value is the HTTP status."""

    COSIGNED = 200  # the body is the cosignature lines
    MALFORMED = 400  # not a request, not a checkpoint, or the old size is above the checkpoint's
    UNTRUSTED = 403  # no signature of a key of this log, or a line of such a key that fails
    UNKNOWN = 404  # not a log of this witness
    CONFLICT = 409  # the old size is not the one last cosigned, which is the body
    UNPROVEN = 422  # the proof does not lead from the one to the other, or there is another root for the same size

    @property
    def media(self) -> str:
        """The content type of the answer."""
        return "text/x.tlog.size" if self is Outcome.CONFLICT else "text/plain; charset=utf-8"


class RefusedError(PlatemarkError):
    """A request that is not cosigned; `str()` is the body of the answer, without its line feed."""

    code = "refused"

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.args = (outcome, reason)
        self.outcome = outcome

    def __str__(self) -> str:
        return self.reason


class SplitViewError(RefusedError):
    """The log has signed two roots for one size: proof of a broken promise, whoever sent it."""

    code = "split-view"

    def __init__(self) -> None:
        super().__init__(Outcome.UNPROVEN, "this witness has cosigned another root for this size")
        self.args = ()


@dataclass(frozen=True)
class Submission:
    """A request whose signatures nobody has looked at yet."""

    request: witness_wire.AddCheckpoint
    signed: note.Note

    @property
    def origin(self) -> str:
        """The first line of the checkpoint."""
        return self.signed.text.partition("\n")[0]


@dataclass(frozen=True)
class Vouched:
    """A checkpoint that the log has signed. `note` has exactly the log's own lines that were verified."""

    checkpoint: Checkpoint
    note: str


def read(body: bytes) -> Submission:
    """The form. Raises RefusedError, MALFORMED."""
    try:
        request = witness_wire.decode_request(body)
        return Submission(request, note.parse(request.note))
    except NoteError as error:
        raise RefusedError(Outcome.MALFORMED, str(error)) from None


def vouched(submission: Submission, verifiers: Sequence[NoteVerifier]) -> Vouched:
    """The checkpoint that the log signed. Raises RefusedError: UNTRUSTED, MALFORMED, or UNPROVEN for a tree of size 0."""
    try:
        good = {(each.name, each.key_id) for each in submission.signed.verify(verifiers)}
    except SignatureError as error:
        raise RefusedError(Outcome.UNTRUSTED, str(error)) from None
    found = _checkpoint(submission)
    if submission.request.old_size > found.size:
        raise RefusedError(Outcome.MALFORMED, "the old size is above the checkpoint's")
    lines = {
        note.signature_line(name, key_id + blob): None
        for name, key_id, blob in submission.signed.signatures
        if (name, key_id) in good
    }
    return Vouched(found, f"{found.text}\n{''.join(lines)}")


def require_extension(submission: Submission, new: Vouched, latest: Checkpoint | None) -> None:
    """The new checkpoint extends `latest`, None when nothing was cosigned yet. Raises RefusedError: CONFLICT, UNPROVEN."""
    request, size = submission.request, latest.size if latest is not None else 0
    if request.old_size != size:
        raise RefusedError(Outcome.CONFLICT, str(size))
    if latest is not None and new.checkpoint.size == size and new.checkpoint.root != latest.root:
        raise SplitViewError
    if latest is None or size == 0:
        # Every tree extends the empty one, and there is nothing to prove.
        if request.proof:
            raise RefusedError(Outcome.UNPROVEN, "a proof from size 0 is empty")
        return
    try:
        merkle.verify_consistency(
            old_size=size,
            new_size=new.checkpoint.size,
            old_root=latest.root,
            new_root=new.checkpoint.root,
            path=request.proof,
        )
    except ProofError as error:
        raise RefusedError(Outcome.UNPROVEN, str(error)) from None


def _checkpoint(submission: Submission) -> Checkpoint:
    try:
        return checkpoints.parse(submission.request.note).checkpoint
    except NoteError as error:
        lines = submission.signed.text.split("\n")
        # Well formed and signed, but no tree has it: the one fault of a text that is not one of its form.
        empty = len(lines) == 4 and lines[1] == "0" and error.reason == "size 0 has the root of the empty tree"
        raise RefusedError(Outcome.UNPROVEN if empty else Outcome.MALFORMED, str(error)) from None
