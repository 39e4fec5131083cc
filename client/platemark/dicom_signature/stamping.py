"""Asking a time-stamping authority over HTTP (RFC 3161 section 3.4) to certify a signature. Needs `platemark[audit]`.

What comes back is checked as far as anybody can who trusts no authority, because it becomes part of an object for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from platemark import __version__
from platemark.dicom_signature._trust import token_of
from platemark.errors import RpcError, TimeStampError
from platemark.timestamp import MAX_RESPONSE, check_response, query

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AuthorityError", "authority"]

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class AuthorityError(RpcError):
    """A time-stamping authority that did not answer, or answered with something that is no time stamp."""

    code = "unreachable"


def authority(url: str, *, clock: Callable[[], int], timeout: float = 30.0) -> Callable[[bytes], bytes]:
    """A function from a message to the DER of a TimeStampToken over it by the authority at `url`.

    `clock` gives Unix ns, from which the token's time may differ by five minutes; `timeout` is in seconds and for each step
    of the exchange. No redirect is followed, and no longer answer than a response may be is read. It raises AuthorityError.
    """

    def stamp(message: bytes) -> bytes:
        asked = query(message)
        try:
            response = _post(url, asked.request, timeout)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise AuthorityError(f"the time-stamping authority {url}: {str(error) or type(error).__name__}") from error
        try:
            check_response(response, message=message, nonce=asked.nonce, now_ns=clock())
            return token_of(response)
        except TimeStampError as error:
            raise AuthorityError(
                f"the time-stamping authority {url}: what it answered is no time stamp: {error}"
            ) from error

    return stamp


def _post(url: str, request: bytes, timeout: float) -> bytes:
    headers = {
        "Content-Type": _QUERY,
        "Accept": _REPLY,
        "Accept-Encoding": "identity",
        "User-Agent": f"platemark/{__version__}",
    }
    with (
        httpx.Client(timeout=timeout, follow_redirects=False) as client,
        client.stream("POST", url, content=request, headers=headers) as response,
    ):
        if response.status_code != 200:
            raise AuthorityError(f"the time-stamping authority {url}: it answered with status {response.status_code}")
        if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _REPLY:
            raise AuthorityError(f"the time-stamping authority {url}: its answer is not {_REPLY}")
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > MAX_RESPONSE:
                raise AuthorityError(f"the time-stamping authority {url}: its answer is above {MAX_RESPONSE} bytes")
        return bytes(body)
