"""Asking RFC 3161 authorities to stamp published checkpoints.

A response is stored whole, and checked as far as anybody without the authority's root can, because evidence rests on the
earliest stamp for ever and a bad one would spoil it: it is granted, over the log note, an answer to this request, signed by a
certificate for time stamps that is within its dates, and its time is about that of the ledger (rule Z36). Whether its signer is
to be believed is for verifiers, each with authorities of its own (platemark.timestamp). Sources: RFC 3161 sections 2.4 and 3.4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import httpx

from platemark import timestamp
from platemark.errors import TimeStampError
from platemark_ledger.asking import AskingError, answer
from platemark_ledger.published import Published, Stamp
from platemark_ledger.revoked import RevocationLists
from platemark_ledger.seat import PartyState

__all__ = ["Authorities", "StampSchedule"]

_log = logging.getLogger("platemark.publisher")
_RETRY = 5.0  # seconds before an authority that failed is asked again, doubled each time up to the interval
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_MAX_RESPONSE = 64 * 1024


class Authorities:
    """The authorities of the settings. Owned by the publisher's event loop."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        timeout: float,
        crls: Sequence[str],
        now_ns: Callable[[], int],
        within_ns: int = timestamp.CLOCKS_NS,
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._now_ns = now_ns
        self._within_ns = within_ns
        self._lists = RevocationLists(client, crls, timeout=timeout, now_ns=now_ns)

    async def stamp(self, url: str, log_note: bytes) -> Stamp:
        """The authority's stamp over the log note. Raises AskingError."""
        query = timestamp.query(log_note)  # it asks for the chain, which has to be there in twenty years
        try:
            async with asyncio.timeout(self._timeout):
                status, headers, body = await answer(
                    self._client, "POST", url, _MAX_RESPONSE, content=query.request, media=_QUERY
                )
        except TimeoutError:
            raise AskingError(f"no answer within {self._timeout:g} s") from None
        if status != 200:
            raise AskingError(f"it answered with status {status}")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _REPLY:
            raise AskingError(f"its answer is not {_REPLY}")
        arrived = self._now_ns()
        crls = await self._lists.current()
        try:
            info = timestamp.check_response(
                body, message=log_note, nonce=query.nonce, crls=crls, now_ns=arrived, within_ns=self._within_ns
            )
        except TimeStampError as error:
            raise AskingError(f"its answer is not one that a verifier takes: {error}") from error
        if info.hash_algorithm != "SHA-256":
            raise AskingError(f"its stamp is over a {info.hash_algorithm} that nobody asked for")
        return Stamp(url, body, crls)


class StampSchedule:
    """Which authority is to be asked when. Owned by the publisher's event loop; `now` is on its clock.

    Each authority stamps the newest published checkpoint once in `interval` seconds, and is asked one thing at a time.
    """

    def __init__(
        self, authorities: Authorities, urls: Sequence[str], *, interval: float, now_ns: Callable[[], int]
    ) -> None:
        self._authorities = authorities
        self._interval = interval
        self._now_ns = now_ns
        self._all = {url: _Authority() for url in urls}

    @property
    def states(self) -> dict[str, PartyState]:
        """For metrics."""
        return {url: PartyState(each.failures, each.size, each.answered) for url, each in self._all.items()}

    def due(self, now: float) -> bool:
        """Whether some authority may be asked."""
        return any(each.task is None and now >= each.due for each in self._all.values())

    def ask(self, row: Published | None, now: float) -> None:
        """Ask every authority that is due to stamp a row, unless it has."""
        if row is None:
            return
        for url, each in self._all.items():
            stamped = any(stamp.authority == url for stamp in row.stamps)
            if each.task is None and now >= each.due and not stamped:
                each.row = row
                each.task = asyncio.get_running_loop().create_task(self._authorities.stamp(url, row.log_note))

    def answers(self, now: float) -> Iterator[Published]:
        """The rows that were stamped since the last call, each with its new stamp."""
        for url, each in self._all.items():
            if each.task is None or each.row is None or not each.task.done():
                continue
            task, each.task = each.task, None
            try:
                stamp = task.result()
            except AskingError as error:
                if not each.in_a_row:
                    _log.warning("time-stamping authority %s does not stamp: %s", url, error.reason)
                each.failures, each.in_a_row = each.failures + 1, each.in_a_row + 1
                each.due = now + min(_RETRY * 2 ** min(each.in_a_row - 1, 10), self._interval)
                continue
            if each.in_a_row:
                _log.info("time-stamping authority %s stamps again", url)
            each.in_a_row, each.size, each.answered = 0, each.row.size, self._now_ns()
            each.due = now + self._interval
            yield replace(each.row, stamps=(stamp,))

    async def give_up(self) -> None:
        """End what is under way."""
        tasks = [each.task for each in self._all.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class _Authority:
    due: float = 0.0  # at once
    task: asyncio.Task[Stamp] | None = None
    row: Published | None = None  # what the task is about
    failures: int = 0
    in_a_row: int = 0
    size: int = 0
    answered: int = 0
