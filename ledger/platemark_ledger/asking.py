"""One HTTP question to a witness or a time-stamping authority: bounded in size, errors in one sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx

from platemark_ledger import __version__
from platemark_ledger.errors import LedgerError

__all__ = ["AskingError", "answer", "cause", "open_client"]

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class AskingError(LedgerError):
    """The other side did not answer as it should; `reason` says how."""

    code = "asking"


@asynccontextmanager
async def open_client() -> AsyncIterator[httpx.AsyncClient]:
    """The client of one event loop. Follows no redirects; goes through the proxy of the environment, but for loopback."""
    mounts = {f"all://{host}": None for host in _LOOPBACK}
    agent = {"user-agent": f"platemark-ledger/{__version__}"}
    # Whoever asks sets the limit of its time around the whole exchange.
    async with httpx.AsyncClient(mounts=mounts, timeout=None, headers=agent) as client:  # noqa: S113
        yield client


async def answer(
    client: httpx.AsyncClient, method: str, url: str, most: int, *, content: bytes | None = None, media: str = ""
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of at most `most` bytes. Raises AskingError: no connection, no HTTP, too long."""
    headers = {"content-type": media} if media else {}
    try:
        async with client.stream(method, url, content=content, headers=headers) as reply:
            body = b""
            async for part in reply.aiter_bytes():
                body += part
                if len(body) > most:
                    raise AskingError(f"its answer has more than {most} bytes")
            return reply.status_code, reply.headers, body
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise AskingError(cause(error)) from error


def cause(error: Exception) -> str:
    """What an error says, and its name when it says nothing."""
    return str(error) or type(error).__name__
