"""Lists of revoked certificates from the authorities' places, for time stamps to be kept with.

Only what a verifier reads is kept (rule Z12 of proto/time.md): a DER CRL of at most 1 MiB. A stamp with a list that is none
would be a fault for every verifier, for ever; a stamp without one is merely not checked for revocation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from platemark.certificates import MAX_CRL, load_crl
from platemark.errors import TimeStampError
from platemark_ledger.asking import AskingError, answer

__all__ = ["NEW_LIST_NS", "RevocationLists"]

NEW_LIST_NS = 3600 * 10**9
"""A place gives a new list at most once in this many ns: authorities issue one a day, and lists are kept for ever."""

_log = logging.getLogger("platemark.publisher")


class RevocationLists:
    """The lists at some places: absolute paths or URLs. Owned by the publisher's event loop; `now_ns` is the ledger's clock."""

    def __init__(
        self, client: httpx.AsyncClient, places: Sequence[str], *, timeout: float, now_ns: Callable[[], int]
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._now_ns = now_ns
        self._places = {place: _Place() for place in places}

    async def current(self) -> tuple[bytes, ...]:
        """The lists of now, in the order of the places, each once; without those that cannot be had or are none. Raises nothing.

        A place that gave a new list less than NEW_LIST_NS ago counts with that one. A place that goes bad, or is good again, is
        logged once.
        """
        found = await asyncio.gather(*(self._list(place, state) for place, state in self._places.items()))
        return tuple(dict.fromkeys(each for each in found if each is not None))

    async def _list(self, place: str, state: _Place) -> bytes | None:
        try:
            der = await self._read(place)
        except AskingError as error:
            if not state.bad:
                _log.warning("the CRL %s is left out of time stamps: %s", place, error.reason)
            state.bad = True
            return None
        if state.bad:
            _log.info("the CRL %s is good again", place)
            state.bad = False
        now = self._now_ns()
        # A clock that was set back does not hold a place up.
        if state.kept is None or (der != state.kept and not 0 <= now - state.since < NEW_LIST_NS):
            state.kept, state.since = der, now
        return state.kept

    async def _read(self, place: str) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                der = await (self._fetched(place) if place.startswith(("http://", "https://")) else _from_file(place))
        except TimeoutError:
            raise AskingError(f"no answer within {self._timeout:g} s") from None
        try:
            load_crl(der, "list")
        except TimeStampError as error:
            raise AskingError(error.reason) from None
        return der

    async def _fetched(self, url: str) -> bytes:
        status, _, body = await answer(self._client, "GET", url, MAX_CRL)
        if status != 200:
            raise AskingError(f"status {status}")
        return body


@dataclass(slots=True)
class _Place:
    kept: bytes | None = None
    since: int = 0  # Unix ns, when `kept` was new
    bad: bool = False


async def _from_file(place: str) -> bytes:
    def read() -> bytes:
        with Path(place).open("rb") as file:
            return file.read(MAX_CRL + 1)

    try:
        return await asyncio.to_thread(read)
    except OSError as error:
        raise AskingError(error.strerror or str(error)) from error
