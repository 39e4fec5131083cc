"""A shift: one person attests every capture of one modality behind a gateway, each once.

The gateway's journal says what came from the modality, its spool takes the attestations and sends them. Both are files on the
gateway's machine, so that a badge in its reader signs there and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from platemark import files
from platemark.errors import StateError
from platemark.gateway.journal import Journal
from platemark.spool import Spool

if TYPE_CHECKING:
    from platemark.chain import Chain
    from platemark.statement import Statement

__all__ = ["Shift"]

_AT_ONCE = 100


class Shift:
    """Attests as `chain`'s key. Use it in a `with`; one thread.

    `state_dir` is the gateway's. `calling` the modality's AE title. `since_ns` (Unix): what was received before is not this
    person's. `meaning` as in an `attest` statement. `out`: a directory that gets each attestation as well, as
    ID-OF-CAPTURE.attest.statement. Running it again, or twice, attests nothing twice: the spool knows.
    """

    def __init__(
        self,
        state_dir: Path,
        calling: str,
        chain: Chain,
        *,
        log: bytes,
        meaning: str,
        since_ns: int,
        out: Path | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.calling, self.meaning, self.since_ns = calling, meaning, since_ns
        self._chain, self._log, self._now, self._out = chain, log, now, out
        self._after = 0
        self._unsure = True  # whether the chain's last place may be that of a statement which the spool does not have
        if out is not None and not out.is_dir():
            raise StateError(f"{out}: not a directory")
        path = state_dir / "journal.sqlite"
        if not path.exists():
            raise StateError(f"{path}: not there; --gateway names the state_dir of a gateway")
        self._journal = Journal(path)
        try:
            self._spool = Spool(state_dir / "spool")
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()
        self._journal.close()

    def known(self) -> bool:
        """Whether the journal has any capture of this modality, of whatever time. Raises JournalError."""
        return bool(self._journal.captured_from(self.calling, since_ns=0, after=0, limit=1))

    def step(self) -> list[bytes]:
        """Attest what has come since the last step; the statement ids of the captures. Empty when there was nothing.

        Each attestation is in the spool when this returns. Raises StateError, SpoolError, JournalError and what the signer
        raises; what was attested before that stays so.
        """
        done = []
        # Asked first: what is captured meanwhile is found now or at the next step, never passed over.
        waiting = self._journal.first_uncaptured(self.calling, since_ns=self.since_ns, after=self._after)
        after = self._after
        while True:
            found = self._journal.captured_from(self.calling, since_ns=self.since_ns, after=after, limit=_AT_ONCE)
            for number, standing in found:
                assert standing.statement_id is not None
                if self._attest(standing.statement_id):
                    done.append(standing.statement_id)
                after = number
                if waiting is None or number < waiting:
                    self._after = number
            if len(found) < _AT_ONCE:
                return done

    def _attest(self, capture: bytes) -> bool:
        key = f"attest:{self._chain.signer.kid.hex()}:{self.meaning}:{capture.hex()}"
        if self._spool.get(key=key) is not None:
            return False
        reserved = self._reserved(capture) if self._unsure else None
        self._unsure = True
        signed = reserved or self._chain.sign(
            "attest", {"at": self._now(), "log": self._log, "of": capture, "meaning": self.meaning}
        )
        # Crash from here on: the chain's last place is this statement, which `_reserved` finds and signs again.
        if self._out is not None:
            files.replace(self._out / f"{capture.hex()}.attest.statement", signed.raw)
        self._spool.put(signed.raw, key=key)
        self._unsure = False
        return True

    def _reserved(self, capture: bytes) -> Statement | None:
        """The attestation of this capture at the last place of the chain, if it never came into the spool."""
        last = self._chain.last()
        if last is None or last.kind != "attest" or self._spool.get(id=last.id) is not None:
            return None
        same = (last.payload["of"], last.payload["meaning"], last.payload["log"]) == (capture, self.meaning, self._log)
        return last if same else None
