"""One add-checkpoint from its bytes to its answer: decided, signed, on disk, and only then said.

The time in a cosignature is the clock's, or the last one for that log when the clock has gone back; never 0.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark.cosignature import CosignatureSigner
from platemark.witness import decide
from platemark.witness.decide import Outcome, RefusedError, SplitViewError
from platemark.witness.store import Latest, WitnessError

if TYPE_CHECKING:
    from platemark.witness.store import Store

__all__ = ["Answer", "Cosigner"]

_log = logging.getLogger("platemark.witness")
_MOST_REMEMBERED = 64


@dataclass(frozen=True)
class Answer:
    """What goes back: status, content type and body follow the table `Outcome`."""

    outcome: Outcome
    body: bytes


class Cosigner:
    """Cosigns what extends what it has cosigned. Safe to share between threads; `now_s` is the clock in POSIX seconds."""

    def __init__(self, store: Store, signers: Sequence[CosignatureSigner], *, now_s: Callable[[], int]) -> None:
        """Raises WitnessError when the keys are not those that the database was made for."""
        if tuple(each.verifier for each in signers) != store.verifiers:
            raise WitnessError(f"{store.path}: was made for other keys than these")
        self.store = store
        self._signers = tuple(signers)
        self._now_s = now_s
        self._reported: set[bytes] = set()

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to a request body. Raises WitnessError when the database fails: then nothing was cosigned."""
        try:
            return Answer(Outcome.COSIGNED, self._cosign(body).encode())
        except RefusedError as error:
            return Answer(error.outcome, f"{error}\n".encode())

    def _cosign(self, body: bytes) -> str:
        submission = decide.read(body)
        log = self.store.log(submission.origin)
        if log is None:
            raise RefusedError(Outcome.UNKNOWN, "not a log of this witness")
        # Anyone may ask; only what the log signed gets as far as the lock.
        new = decide.vouched(submission, log.verifiers)
        lines: list[str] = []

        def step(latest: Latest | None) -> Latest:
            try:
                decide.require_extension(submission, new, latest.checkpoint if latest is not None else None)
            except SplitViewError:
                assert latest is not None
                self._report(latest.note, new.note.encode())
                raise
            time_s = max(self._now_s(), 1, latest.time_s if latest is not None else 1)
            lines.extend(signer.sign(new.checkpoint, time_s=time_s) for signer in self._signers)
            return Latest(new.checkpoint, time_s, (new.note + "".join(lines)).encode())

        self.store.advance(log.origin, step)
        return "".join(lines)

    def _report(self, first: bytes, second: bytes) -> None:
        """Say once what the log has signed twice: the line is the proof, to be shown to others."""
        if second in self._reported or len(self._reported) >= _MOST_REMEMBERED:
            return
        self._reported.add(second)
        notes = " ".join(base64.b64encode(each).decode() for each in (first, second))
        _log.error("SPLIT VIEW: a log signed a second root for a size cosigned here; both notes in base64: %s", notes)
