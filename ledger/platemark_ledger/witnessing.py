"""Asking witnesses to cosign: C2SP tlog-witness `add-checkpoint`, from the log's side.

Each witness is asked by one task at a time, so that one that hangs or is slow costs nobody but itself. What it last cosigned is
learnt from its own answers: 0 to begin with, and a 409 tells. Every consistency proof is verified before it is sent and every
cosignature before it counts.

A witness may claim to have seen a larger size than this log has, or another root. Talk proves nothing: the witness is asked to
show it, and only a checkpoint that this log's own key has signed is another past (RollbackError). Without one it is a failure.
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

__all__ = ["Lines", "Question", "RollbackError", "Witness", "contradiction", "seen_by"]

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
    """A witness has shown a later or another past of this log: `note` at `url`, signed by this log's own key."""

    code = "rollback"

    def __init__(self, reason: str, *, url: str, note: bytes) -> None:
        super().__init__(reason)
        self.url = url
        self.note = note


class _Claim(AskingError):  # noqa: N818 -- what a witness says, not yet what is
    """It says that it has seen another past."""


@dataclass(frozen=True, slots=True)
class Question:
    """One checkpoint to be cosigned.

    `prove(old)` is the verified consistency path from a smaller size; `anchored()` the size that this log has anchored by now;
    `root_at(size)` its root at any size up to that one; `log_keys()` every key that has signed its checkpoints.
    """

    checkpoint: Checkpoint
    log_note: bytes
    prove: Callable[[int], tuple[bytes, ...]]
    anchored: Callable[[], int]
    root_at: Callable[[int], bytes]
    log_keys: Callable[[], Sequence[NoteVerifier]]


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
        # Two keys of one witness have one name.
        self.name = "+".join(dict.fromkeys(each.name for each in self.verifiers))
        self.failures = 0
        self.answered = 0
        self.size = 0  # the greatest that it is known to have cosigned
        self._client = client
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._pause = pause
        self._draw = draw
        self._in_a_row = 0
        self._claims = False  # another past, and shows none; until it cosigns
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

        Raises AskingError, after which it rests; RollbackError. Takes at most twice the timeout.
        """
        try:
            async with asyncio.timeout(self._timeout):
                lines = await self._cosign(question)
        except _Claim as claim:
            await self._confirm(question)
            reason = f"it {claim.reason}: it claims another past and shows none that this log signed"
            self._failed(reason, claims=True)
            raise AskingError(reason) from claim
        except (AskingError, TimeoutError) as error:
            reason = error.reason if isinstance(error, AskingError) else f"no answer within {self._timeout:g} s"
            self._failed(reason)
            raise AskingError(reason) from error
        if self._in_a_row:
            _log.info("witness %s cosigns again", self.name)
        self._in_a_row, self._claims, self.answered = 0, False, now_ns()
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
                raise _Claim(f"refuses the proof from size {old} to {size}")
            if status != 409:
                raise AskingError(f"status {status}: {_printable(said)}")
            self._learn(_size_in(headers.get("content-type", ""), said), question)
        raise AskingError("it names another size each time")

    def _learn(self, told: int | None, question: Question) -> None:
        """What a 409 means: the size from which the next attempt starts."""
        if told is None:
            raise AskingError("a conflict without a size")
        if told > question.anchored():
            raise _Claim(f"says that it has cosigned size {told}, and this log has {question.anchored()}")
        if told == self.size == question.checkpoint.size:
            # What witnesses of tlog-witness/v1.0.0 answer instead of 422.
            raise _Claim(f"says that it has another root at size {told}")
        if told == self.size:
            raise AskingError(f"it says that its size is not {told}, and that it is {told}")
        self.size = told
        if told > question.checkpoint.size:
            raise AskingError("it is ahead of this question")

    async def _confirm(self, question: Question) -> None:
        """Raises RollbackError when the witness shows another past over this log's own signature."""
        origin = question.checkpoint.origin
        try:
            async with asyncio.timeout(self._timeout):
                shown = await seen_by(self._client, self._url, origin, question.log_keys())
        except (AskingError, TimeoutError):
            return
        found = None if shown is None else contradiction(shown.checkpoint, question.anchored(), question.root_at)
        if shown is not None and found is not None:
            raise RollbackError(f"witness {self.name} {found}", url=self._url, note=shown.raw)

    def _failed(self, reason: str, *, claims: bool = False) -> None:
        if claims and not self._claims:
            _log.critical("WITNESS %s CONTRADICTS THIS LOG WITHOUT PROOF: %s; it is not counted", self.name, reason)
            self._claims = True
        elif not self._in_a_row:
            _log.warning("witness %s does not cosign: %s", self.name, reason)
        self.failures += 1
        self._in_a_row += 1
        pause = min(_LONGEST, self._pause * 2 ** min(self._in_a_row, 20))
        self._rest_until = asyncio.get_running_loop().time() + pause * (0.5 + self._draw() / 2)


def contradiction(shown: Checkpoint, size: int, root_at: Callable[[int], bytes]) -> str | None:
    """What a checkpoint of this log, signed by it, shows that a log of `size` leaves does not have; None when it has it all."""
    if shown.size > size:
        return f"has seen size {shown.size}, and the data ends at size {size}"
    if root_at(shown.size) != shown.root:
        return f"has seen another root at size {shown.size}"
    return None


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
