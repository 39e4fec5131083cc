"""Asking the witnesses, before anything is served, whether they have seen a later past of this log than this one.

It finds what anchor and data cannot: both put back together, by a snapshot of the whole machine. Only a checkpoint that this
log's own key has signed counts, so that no witness can keep a log from starting by talking.

It is also where the mark of an earlier other past goes (rollback.py), once the data has that past.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from platemark import checkpoint as checkpoints
from platemark.errors import NoteError
from platemark_ledger import rollback, rows
from platemark_ledger.asking import AskingError, open_client
from platemark_ledger.errors import StartRefusedError
from platemark_ledger.opening import log_verifiers
from platemark_ledger.witnessing import contradiction, seen_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from platemark.checkpoint import SignedCheckpoint
    from platemark_ledger.opening import Ledger
    from platemark_ledger.quorum import Quorum

__all__ = ["refuse_other_past"]

_log = logging.getLogger("platemark.ledger")
_REMEDY = (
    "Data and anchor have been put back together, or two machines run one log. Do not go on from this data: restore what reaches "
    "the size that was seen, or freeze this log and found a successor (deploy/README.md, section 5)"
)


async def refuse_other_past(ledger: Ledger, quorum: Quorum, *, timeout: float, mark: Path) -> None:
    """Returns when no witness that answers within `timeout` seconds shows another past. Raises StartRefusedError.

    Removes `mark` when the data has what the mark shows and its witness has shown a past that the data has.
    """
    with ledger.store.read() as transaction:
        keys = log_verifiers(transaction)
    async with open_client() as client:

        async def ask(url: str) -> SignedCheckpoint | None:
            try:
                async with asyncio.timeout(timeout):
                    return await seen_by(client, url, ledger.origin, keys)
            except (AskingError, TimeoutError) as error:
                reason = error.reason if isinstance(error, AskingError) else f"no answer within {timeout:g} s"
                _log.warning("the witness at %s does not say what it has seen: %s", url, reason)
                return None

        seen = await asyncio.gather(*(ask(url) for url in quorum.addresses))
    with ledger.store.read() as transaction:
        size = transaction.head().size
        for url, each in zip(quorum.addresses, seen, strict=True):
            if each is None:
                continue
            found = contradiction(each.checkpoint, size, partial(rows.root, transaction.row))
            if found is not None:
                raise StartRefusedError(f"the witness at {url} {found}", _REMEDY)
        answered = {url.rstrip("/") for url, each in zip(quorum.addresses, seen, strict=True) if each is not None}
        _settle(mark, answered, size, partial(rows.root, transaction.row))


def _settle(path: Path, answered: set[str], size: int, root_at: Callable[[int], bytes]) -> None:
    mark = rollback.kept(path)
    if mark is None or mark.url not in answered:
        return
    try:
        shown = checkpoints.parse(mark.note).checkpoint
    except NoteError:
        return
    if contradiction(shown, size, root_at) is not None:
        return
    try:
        rollback.clear(path)
    except OSError as error:
        _log.error("the mark %s of another past cannot be removed: %s", path, error.strerror or error)
    else:
        _log.warning("the data has by now what the witness at %s showed; publishing goes on", mark.url)
