"""The read side over HTTP: the newest checkpoint and the tiles of C2SP tlog-tiles, straight from the stored rows.

Public by nature: it gives out hashes, signatures and counts, and never a statement. Nothing above the anchored size exists
here. Rules R1 to R10 of proto/log.md.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections import OrderedDict
from concurrent.futures import Executor
from hashlib import sha256
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from platemark.errors import NoteError
from platemark.merkle import HASH_SIZE
from platemark.tiles import FULL_WIDTH, parse_path
from platemark_ledger import published
from platemark_ledger.errors import LedgerError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

    from platemark.tiles import Tile
    from platemark_ledger.anchor import Anchor
    from platemark_ledger.opening import Ledger
    from platemark_ledger.store import Store

__all__ = ["ReadSide"]

_log = logging.getLogger("platemark.http")
_OCTETS = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"
_FOR_EVER = "public, max-age=31536000, immutable"
_BRIEFLY = "public, max-age=1"
_NEVER = "no-store"
_ROW_LEVELS = 8  # levels of rows between two levels of tiles
# Whole bundles never change and cost 256 hashes of statements to make: the last 512, 4.3 MiB, are kept.
_KEPT_BUNDLES = 512
_LENGTH = HASH_SIZE.to_bytes(2, "big")


class ReadSide:
    """Answers HTTP about one ledger.

    `executor` makes bundles of entries; all else is read on the event loop, in microseconds. `witnessed`: this ledger demands a
    quorum of witnesses, so that only checkpoints which met it are shown.
    """

    def __init__(
        self, ledger: Ledger, *, executor: Executor, metrics: CollectorRegistry, witnessed: bool = False
    ) -> None:
        self._store: Store = ledger.store
        self._anchor: Anchor = ledger.anchor
        self._executor = executor
        self._metrics = metrics
        self._newest = published.newest_witnessed if witnessed else published.newest
        self._guard = threading.Lock()
        self._bundles: OrderedDict[int, bytes] = OrderedDict()  # guarded by _guard

    def application(self) -> Starlette:
        """The ASGI application."""
        application = Starlette(
            routes=[
                Route("/checkpoint", self._checkpoint),
                Route("/tile/{path:path}", self._tile),
                Route("/healthz", self._health),
                Route("/metrics", self._show_metrics),
            ],
            # A fault of ours is one short sentence to whoever asked; what it was is for the log.
            exception_handlers={LedgerError: _fault},
        )
        # A redirect would name a host that the caller chose, and there is one form of each path anyway.
        application.router.redirect_slashes = False
        return application

    async def _checkpoint(self, request: Request) -> Response:
        """R2: the newest published checkpoint; before the first publication, the anchored one."""
        with self._store.read() as transaction:
            row = self._newest(transaction)
        note = self._anchor.read().note if row is None else row.note
        return _answer(request, note, _TEXT, _BRIEFLY)

    async def _tile(self, request: Request) -> Response:
        """R3 to R7."""
        try:
            # As it was sent: an escape would be a second name for a tile.
            tile = parse_path(request.scope["raw_path"].decode("ascii").removeprefix("/"))
        except (NoteError, UnicodeDecodeError):
            return _refusal(400, "not the path of a tile: tile/L/N, tile/L/N.p/W, tile/entries/N or tile/entries/N.p/W")
        size = self._anchor.read().size
        if (tile.number * FULL_WIDTH + tile.width) << (8 * (tile.level or 0)) > size:
            return _refusal(404, f"the log has {size} entries, and this tile needs more")
        if tile.level is not None:
            return _answer(request, self._hashes(tile, tile.level), _OCTETS, _FOR_EVER)
        loop = asyncio.get_running_loop()
        bundle = await loop.run_in_executor(self._executor, self._bundle, tile)
        if "gzip" not in _accepted(request):
            return _answer(request, bundle, _OCTETS, _FOR_EVER, {"vary": "accept-encoding"})
        packed = await loop.run_in_executor(self._executor, _packed, bundle)
        return _answer(request, packed, _OCTETS, _FOR_EVER, {"vary": "accept-encoding", "content-encoding": "gzip"})

    async def _health(self, request: Request) -> Response:
        """R9: this worker reads its files."""
        with self._store.read() as transaction:
            size = transaction.head().size
        return _answer(request, f"ok {min(size, self._anchor.read().size)}\n".encode(), _TEXT, _NEVER)

    async def _show_metrics(self, request: Request) -> Response:
        return _answer(request, generate_latest(self._metrics), CONTENT_TYPE_LATEST, _NEVER)

    def _hashes(self, tile: Tile, level: int) -> bytes:
        with self._store.read() as transaction:
            row = transaction.row(_ROW_LEVELS * level, tile.number) or b""
        hashes = row[: tile.width * HASH_SIZE]
        if len(hashes) != tile.width * HASH_SIZE:
            raise LedgerError(f"{tile.path} is missing from the stored tree")
        return hashes

    def _bundle(self, tile: Tile) -> bytes:
        """R5: what the log's entries are, not what the rows say of them: whoever reads both finds a damaged statement."""
        with self._guard:
            kept = self._bundles.get(tile.number)
            if kept is not None:
                self._bundles.move_to_end(tile.number)
        if kept is not None:
            return kept[: tile.width * (2 + HASH_SIZE)]
        first = tile.number * FULL_WIDTH
        with self._store.read() as transaction:
            # One at a time: 256 of the greatest statements are 15 MiB.
            entries = [sha256(transaction.statement(index).raw).digest() for index in range(first, first + tile.width)]
        bundle = b"".join(_LENGTH + entry for entry in entries)
        if tile.width == FULL_WIDTH:
            with self._guard:
                self._bundles[tile.number] = bundle
                while len(self._bundles) > _KEPT_BUNDLES:
                    self._bundles.popitem(last=False)
        return bundle


def _answer(request: Request, body: bytes, media: str, caching: str, headers: dict[str, str] | None = None) -> Response:
    """200 with the body, or 304 when the caller holds it already (RFC 9110 section 13.1.2)."""
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    told = {"cache-control": caching, "etag": tag, "x-content-type-options": "nosniff", **(headers or {})}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=told)
    return Response(body, media_type=media, headers=told)


def _refusal(status: int, reason: str) -> Response:
    return PlainTextResponse(reason + "\n", status, headers={"cache-control": _NEVER})


async def _fault(_request: Request, error: Exception) -> Response:
    _log.error("a read could not be answered", exc_info=error)
    return _refusal(500, "a fault of the ledger; its log says more")


def _accepted(request: Request) -> set[str]:
    """The codings that a caller takes (RFC 9110 section 12.5.3); with a weight of 0 it takes none."""
    found: set[str] = set()
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = each.partition(";")
        if weight.strip().removeprefix("q=").strip("0.") or not weight:
            found.add(name.strip())
    return found


def _packed(bundle: bytes) -> bytes:
    # Without a time in its header, so that the same bundle is the same bytes.
    return gzip.compress(bundle, compresslevel=1, mtime=0)
