"""A log's public tree over HTTP (c2sp.org/tlog-tiles). Needs the extra `platemark[audit]`.

The server is not trusted: no answer longer than its format allows is read, no redirect followed, no compressed body inflated past
its size, and no answer waited for longer than `patience`.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import httpx

from platemark import __version__
from platemark.audit.source import MissingTileError, SourceError, cut, size_of
from platemark.files import FileError
from platemark.note import MAX_NOTE
from platemark.tiles import FULL_WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["HttpSource"]

_THREADS = 8
_AHEAD = 64
_ATTEMPTS = 5
_GONE = frozenset({404, 410})
_GZIP = 31  # zlib's window for a gzip member, and nothing else


class HttpSource:
    """A log's URL prefix. May be used by one thread at a time; closes its connections with `close` or `with`.

    `ca`: the certificate authority to believe for https (PEM), None for the usual ones; FileError if it cannot be read.

    `sleep` waits between attempts: 0.25 s, doubled each time, at most five attempts. A 4xx other than 429 is final.
    """

    def __init__(
        self,
        prefix: str,
        *,
        ca: Path | None = None,
        timeout: float = 10.0,
        patience: float = 60.0,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = prefix.rstrip("/")
        self._patience, self._sleep, self._clock = patience, sleep, clock
        headers = {"Accept-Encoding": "identity", "User-Agent": f"platemark-audit/{__version__}"}
        limits = httpx.Limits(max_connections=_THREADS, max_keepalive_connections=_THREADS)
        self._client = httpx.Client(
            headers=headers, timeout=timeout, limits=limits, follow_redirects=False, verify=_believed(ca)
        )
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="platemark-audit")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is under way."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def checkpoint(self) -> bytes:
        """As TileSource."""
        return self._get("checkpoint", MAX_NOTE)

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[bytes]:
        """As TileSource; up to 64 are asked for ahead, 8 at a time."""
        under_way: deque[Future[bytes]] = deque()
        try:
            for tile in wanted:
                under_way.append(self._pool.submit(self._tile, tile))
                if len(under_way) >= _AHEAD:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for each in under_way:
                each.cancel()

    def _tile(self, tile: Tile) -> bytes:
        try:
            return self._get(tile.path, size_of(tile))
        except MissingTileError:
            if tile.width == FULL_WIDTH:
                raise
        full = Tile(tile.level, tile.number)
        return cut(tile, self._get(full.path, size_of(full)))

    def _get(self, path: str, limit: int) -> bytes:
        for attempt in range(_ATTEMPTS):
            try:
                return self._once(f"{self.name}/{path}", limit)
            except MissingTileError:
                raise
            except SourceError:
                if attempt == _ATTEMPTS - 1:
                    raise
            self._sleep(0.25 * 2**attempt)
        raise AssertionError  # the last attempt returned or raised

    def _once(self, url: str, limit: int) -> bytes:
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise _refused(url, response.status_code)
                return self._body(response, url, limit)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceError(f"{url}: {str(error) or type(error).__name__}") from None

    def _body(self, response: httpx.Response, url: str, limit: int) -> bytes:
        coding = response.headers.get("content-encoding", "identity")
        if coding not in {"identity", "gzip"}:
            raise MissingTileError(f"{url}: content coding {coding[:40]!r} was not asked for")
        until = self._clock() + self._patience
        most = limit + (1024 if coding == "gzip" else 0)  # what cannot be compressed grows a little
        data = b""
        for part in response.iter_raw(16 * 1024):
            data += part
            if len(data) > most:
                raise MissingTileError(f"{url}: more than the {limit} bytes that it can have")
            if self._clock() > until:
                raise SourceError(f"{url}: not complete after {self._patience:g} s")
        return data if coding == "identity" else _inflate(data, url, limit)


def _believed(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl's own errors are some
        raise FileError(f"{ca}: {error.strerror or error}") from None


def _refused(url: str, status: int) -> SourceError:
    sentence = f"{url}: HTTP status {status}"
    if status == 429 or status >= 500:
        return SourceError(sentence)
    return MissingTileError(sentence if status in _GONE else f"{sentence}, which is no answer to a tile's address")


def _inflate(data: bytes, url: str, limit: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        content = inflater.decompress(data, limit + 1)
    except zlib.error:
        raise MissingTileError(f"{url}: damaged gzip") from None
    if len(content) > limit or not inflater.eof or inflater.unused_data:
        raise MissingTileError(f"{url}: gzip of other than the {limit} bytes that it can have")
    return content
