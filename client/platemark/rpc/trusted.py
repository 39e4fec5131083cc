"""Whom a client believes: the log's keys and origin, if its owner brought them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import checkpoint
from platemark.errors import NoteError, SignatureError
from platemark.rpc.errors import BadReplyError

if TYPE_CHECKING:
    from platemark.checkpoint import SignedCheckpoint
    from platemark.note import NoteVerifier

__all__ = ["Trusted"]


@dataclass(frozen=True)
class Trusted:
    """`log_keys` empty: signatures of checkpoints are not checked, only that everything agrees with them.

    `origin` None: any origin. That is enough to notice a broken ledger, not a lying one.
    """

    log_keys: tuple[NoteVerifier, ...] = ()
    origin: str | None = None

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
