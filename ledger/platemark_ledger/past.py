"""Asking the witnesses, before anything is served, whether they have seen a later past of this log than this one.

It finds what anchor and data cannot: both put back together, by a snapshot of the whole machine. Only a checkpoint that this
log's own key has signed counts, so that no witness can keep a log from starting by talking.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from platemark_ledger import rows
from platemark_ledger.asking import AskingError, open_client
from platemark_ledger.errors import StartRefusedError
from platemark_ledger.opening import log_verifiers
from platemark_ledger.witnessing import seen_by

if TYPE_CHECKING:
    from platemark.checkpoint import SignedCheckpoint
    from platemark_ledger.opening import Ledger
    from platemark_ledger.quorum import Quorum

__all__ = ["refuse_other_past"]

_log = logging.getLogger("platemark.ledger")
_REMEDY = (
    "Data and anchor have been put back together, or two machines run one log. Do not go on from this data: restore what reaches "
    "the size that was seen, or freeze this log and found a successor (deploy/README.md, section 5)"
)


async def refuse_other_past(ledger: Ledger, quorum: Quorum, *, timeout: float) -> None:
    """Returns when no witness that answers within `timeout` seconds shows another past. Raises StartRefusedError."""
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
            covered = each.checkpoint
            if covered.size > size:
                raise StartRefusedError(
                    f"the witness at {url} has seen size {covered.size}, and the data ends at size {size}", _REMEDY
                )
            if rows.root(transaction.row, covered.size) != covered.root:
                raise StartRefusedError(f"the witness at {url} has seen another root at size {covered.size}", _REMEDY)
