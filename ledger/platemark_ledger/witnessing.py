"""Asking witnesses to cosign: C2SP tlog-witness `add-checkpoint`, from the log's side.

Each witness is asked by one task at a time, so that one that hangs or is slow costs nobody but itself. What it last cosigned is
learnt from its own answers: 0 to begin with, and a 409 tells. Every consistency proof is verified before it is sent and every
cosignature before it counts.

A witness that has seen a larger size than this log has, or another root, has seen another past: RollbackError.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from platemark import checkpoint as checkpoints
from platemark import note as notes
from platemark import witness_wire
from platemark.errors import FormatError, NoteError, SignatureError
from platemark_ledger.asking import AskingError, answer
from platemark_ledger.errors import LedgerError
from platemark_ledger.seat import PartyState

if TYPE_CHECKING:
    import httpx

    from platemark.checkpoint import Checkpoint, SignedCheckpoint
    from platemark.cosignature import CosignatureVerifier
    from platemark.note import NoteVerifier

__all__ = ["Lines", "Question", "RollbackError", "Witness", "seen_by"]

_log = logging.getLogger("platemark.publisher")
_MAX_ANSWER = 64 * 1024
_ATTEMPTS = 3  # in one round: the size is learnt from a 409, and may once more have moved
_LONGEST = (
    15.0  # seconds between attempts at a witness that fails; a caller who waits for a quorum waits for this at worst
)
_SIZE = "text/x.tlog.size"


# The verified signature lines of witnesses, by key name and key id.
Lines: TypeAlias = dict[tuple[str, bytes], str]


class RollbackError(LedgerError):
    """A witness has seen a later or another past of this log."""

    code = "rollback"


@dataclass(frozen=True, slots=True)
class Question:
    """One checkpoint to be cosigned.

    `prove(old)` is the verified consistency path from a smaller size; `anchored()` the size that this log has anchored by now.
    """

    checkpoint: Checkpoint
    log_note: bytes
    prove: Callable[[int], tuple[bytes, ...]]
    anchored: Callable[[], int]


class Witness:
    """One witness address and the keys that the policy gives it. Owned by the publisher's event loop."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        verifiers: Sequence[CosignatureVerifier],
        *,
        timeout: float,
        pause: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.verifiers = tuple(verifiers)
        self.name = "+".join(each.name for each in self.verifiers)
        self.failures = 0
        self.answered = 0
        self.size = 0  # the greatest that it is known to have cosigned
        self._client = client
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._pause = pause
        self._draw = draw
        self._in_a_row = 0
        self._rest_until = 0.0

    @property
    def state(self) -> PartyState:
        """For metrics."""
        return PartyState(self.failures, self.size, self.answered)

    def rests(self, now: float) -> bool:
        """Whether it failed so recently that it is left alone; `now` on the clock of the event loop."""
        return now < self._rest_until

    async def cosign(self, question: Question, *, now_ns: Callable[[], int]) -> Lines:
        """Its verified signature lines over the checkpoint, one for each of its keys that signed.

        Raises AskingError, after which it rests; RollbackError.
        """
        try:
            async with asyncio.timeout(self._timeout):
                lines = await self._cosign(question)
        except (AskingError, TimeoutError) as error:
            reason = error.reason if isinstance(error, AskingError) else f"no answer within {self._timeout:g} s"
            self._failed(reason)
            raise AskingError(reason) from error
        if self._in_a_row:
            _log.info("witness %s cosigns again", self.name)
        self._in_a_row, self.answered = 0, now_ns()
        return lines

    async def _cosign(self, question: Question) -> Lines:
        size = question.checkpoint.size
        for _ in range(_ATTEMPTS):
            old = self.size
            proof = question.prove(old) if 0 < old < size else ()
            body = witness_wire.encode_request(old_size=old, proof=proof, note=question.log_note)
            status, headers, said = await answer(
                self._client, "POST", f"{self._url}/add-checkpoint", _MAX_ANSWER, content=body
            )
            if status == 200:
                self.size = size
                return lines_of(said, question.checkpoint, self.verifiers)
            if status == 422:
                raise RollbackError(f"witness {self.name} refuses the proof from size {old} to {size}: another past")
            if status != 409:
                raise AskingError(f"status {status}: {_printable(said)}")
            self._learn(_size_in(headers.get("content-type", ""), said), question)
        raise AskingError("it names another size each time")

    def _learn(self, told: int | None, question: Question) -> None:
        """What a 409 means: the size from which the next attempt starts."""
        if told is None:
            raise AskingError("a conflict without a size")
        if told > question.anchored():
            raise RollbackError(f"witness {self.name} has cosigned size {told}, and this log has {question.anchored()}")
        if told == self.size == question.checkpoint.size:
            # What witnesses of tlog-witness/v1.0.0 answer instead of 422.
            raise RollbackError(f"witness {self.name} has another root at size {told}")
        if told == self.size:
            raise AskingError(f"it says that its size is not {told}, and that it is {told}")
        self.size = told
        if told > question.checkpoint.size:
            raise AskingError("it is ahead of this question")

    def _failed(self, reason: str) -> None:
        if not self._in_a_row:
            _log.warning("witness %s does not cosign: %s", self.name, reason)
        self.failures += 1
        self._in_a_row += 1
        pause = min(_LONGEST, self._pause * 2 ** min(self._in_a_row, 20))
        self._rest_until = asyncio.get_running_loop().time() + pause * (0.5 + self._draw() / 2)


def lines_of(said: bytes, checkpoint: Checkpoint, verifiers: Sequence[CosignatureVerifier]) -> Lines:
    """The signature lines of `verifiers` in an answer, verified. Lines of other keys are ignored, and none at all is a failure.

    Raises AskingError.
    """
    try:
        signed = notes.parse(checkpoint.text.encode() + b"\n" + said)
    except NoteError as error:
        raise AskingError(f"not signature lines: {error}") from error
    found: Lines = {}
    for verifier in verifiers:
        for name, key_id, blob in signed.signatures:
            if (name, key_id) != (verifier.name, verifier.key_id):
                continue
            try:
                verifier.verify(checkpoint, blob)
            except SignatureError as error:
                raise AskingError(f"a wrong signature of {name}: {error}") from error
            found[verifier.name, verifier.key_id] = notes.signature_line(name, key_id + blob)
    if not found:
        raise AskingError("no cosignature of a key that the policy names")
    return found


async def seen_by(
    client: httpx.AsyncClient, url: str, origin: str, log_keys: Sequence[NoteVerifier]
) -> SignedCheckpoint | None:
    """The newest checkpoint that a witness shows for this log, signed by one of `log_keys`; None when it shows none.

    The log's own signature makes it proof against this log: nobody else can have made it. Raises AskingError.
    """
    place = f"{url.rstrip('/')}/{sha256(origin.encode()).hexdigest()}/checkpoint"
    status, _, said = await answer(client, "GET", place, _MAX_ANSWER)
    if status == 404:
        return None
    if status != 200:
        raise AskingError(f"status {status}")
    try:
        signed = checkpoints.parse(said)
        if signed.checkpoint.origin != origin:
            raise AskingError("it shows the checkpoint of another log")
        signed.verify(log_keys)
    except (FormatError, SignatureError) as error:
        raise AskingError(f"it shows no checkpoint of this log: {error}") from error
    return signed


def _size_in(media: str, said: bytes) -> int | None:
    if media.partition(";")[0].strip().lower() != _SIZE or not said.endswith(b"\n"):
        return None
    try:
        return checkpoints.decode_decimal(said[:-1].decode("ascii"), "size")
    except (NoteError, UnicodeDecodeError):
        return None


def _printable(said: bytes) -> str:
    """The beginning of what a stranger said, fit for a log."""
    text = said[:120].decode("ascii", "replace").strip()
    return "".join(each if each.isprintable() else "?" for each in text)
