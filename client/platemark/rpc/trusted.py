"""Whom a client believes: the log's keys and origin, if its owner brought them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import checkpoint
from platemark.cosignature import cosignatures
from platemark.errors import NoteError, SignatureError
from platemark.rpc.errors import BadReplyError

if TYPE_CHECKING:
    from platemark.checkpoint import SignedCheckpoint
    from platemark.note import NoteVerifier
    from platemark.witness_policy import WitnessPolicy

__all__ = ["Trusted"]


@dataclass(frozen=True)
class Trusted:
    """`log_keys` empty: signatures of checkpoints are not checked, only that everything agrees with them.

    `origin` None: any origin. That is enough to notice a broken ledger, not a lying one. `witnesses` None: what the ledger calls
    witnessed is not checked.
    """

    log_keys: tuple[NoteVerifier, ...] = ()
    origin: str | None = None
    witnesses: WitnessPolicy | None = None

    def open(self, note: bytes) -> SignedCheckpoint:
        """The checkpoint in a signed note. Raises BadReplyError: malformed, another origin, no or a wrong signature."""
        try:
            signed = checkpoint.parse(note)
            if self.log_keys:
                signed.verify(self.log_keys)
        except (NoteError, SignatureError) as error:
            raise BadReplyError("checkpoint", str(error)) from error
        if self.origin is not None and signed.checkpoint.origin != self.origin:
            raise BadReplyError("checkpoint.origin", f"{signed.checkpoint.origin} is not {self.origin}")
        return signed

    def check_witnessed(self, signed: SignedCheckpoint) -> None:
        """Raises BadReplyError unless the quorum of `witnesses` has cosigned."""
        if self.witnesses is None:
            return
        try:
            found = [each.verifier for each in cosignatures(signed, self.witnesses.verifiers)]
        except SignatureError as error:
            raise BadReplyError("checkpoint", str(error)) from error
        names = {each.name for each in self.witnesses.witnesses if each.verifier in found}
        if not names or not self.witnesses.satisfied_by(names):
            raise BadReplyError(
                "checkpoint", f"called witnessed, and only {len(names)} known witnesses have cosigned it"
            )
