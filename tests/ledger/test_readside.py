"""The read side over HTTP: tiles are those of the reference at every size, and nothing else comes out."""

import asyncio
import gzip
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

import httpx
import pytest

import fakes
import reference
from platemark import tiles
from platemark_ledger import metrics, rows
from platemark_ledger.conditions import CONDITIONS
from platemark_ledger.errors import StoreError
from platemark_ledger.opening import Ledger
from platemark_ledger.readside import ReadSide
from platemark_ledger.seat import Seat

_T = TypeVar("_T")
SIZES = range(1, 601)


@dataclass
class Memory:
    """Statements and rows as a store has them, and an anchor at any size up to theirs."""

    raws: list[bytes]
    size: int = 0
    rows: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = rows.extend(lambda _level, _row: None, 0, self.leaves)

    @property
    def leaves(self) -> list[bytes]:
        """The leaf hash of every statement."""
        return [reference.leaf(hashlib.sha256(raw).digest()) for raw in self.raws]

    @contextmanager
    def read(self) -> Iterator[SimpleNamespace]:
        """As Store.read; nothing is published."""
        yield SimpleNamespace(
            row=lambda level, row: self.rows.get((level, row)),
            statement=lambda index: SimpleNamespace(raw=self.raws[index]),
            get=lambda _table, _key: None,
            before=lambda _table, _key: None,
        )

    def ledger(self) -> Ledger:
        """What a ReadSide reads of a ledger."""
        anchor = SimpleNamespace(read=lambda: SimpleNamespace(size=self.size, note=b"a note\n"))
        return cast("Ledger", SimpleNamespace(store=self, anchor=anchor))


@pytest.fixture(scope="module", name="executor")
def _executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="module", name="memory")
def _memory() -> Memory:
    return Memory([b"statement %d" % number for number in range(SIZES.stop)])


@pytest.fixture(scope="module", name="founded")
def _founded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A real ledger of 5 entries."""
    founded = fakes.Founded.at(tmp_path_factory.mktemp("ledger"))
    ledger = founded.open()
    with fakes.sequencing(ledger) as sequencer:
        sequencer.submit([founded.enrolment(), *founded.captures(3)]).result(30)
    yield ledger
    ledger.close()


def asking(
    ledger: Ledger,
    executor: ThreadPoolExecutor,
    ask: Callable[[httpx.AsyncClient], Awaitable[_T]],
    *,
    seat: Path | None = None,
) -> _T:
    """What `ask` returns, with a client of the read side of `ledger`."""

    async def run() -> _T:
        holder = Seat(seat) if seat is not None else cast("Seat", None)
        registry = metrics.registry(ledger, holder)
        application = ReadSide(ledger, executor=executor, metrics=registry).application()
        transport = httpx.ASGITransport(application)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:
                return await ask(client)
        finally:
            if seat is not None:
                holder.close()

    return asyncio.run(run())


def test_tiles_at_every_size_are_those_of_the_reference(memory: Memory, executor: ThreadPoolExecutor) -> None:
    """At each size 1 to 600 every tile of the tree has the reference's hashes, and one hash more does not exist."""
    leaves = memory.leaves
    roots: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        span = 256**level
        if (level, index) not in roots:
            roots[level, index] = reference.root(leaves[index * span : (index + 1) * span])
        return roots[level, index]

    async def ask(client: httpx.AsyncClient) -> None:
        for size in SIZES:
            memory.size = size
            for level, full, width in tiles.tiles_of(size):
                wanted = [tiles.Tile(level, number) for number in range(full)]
                wanted += [tiles.Tile(level, full, width)] if width else []
                for tile in wanted:
                    first = tile.number * 256
                    expected = b"".join(node(level, index) for index in range(first, first + tile.width))
                    reply = await client.get(f"/{tile.path}")
                    assert (reply.status_code, reply.content) == (200, expected)
                reply = await client.get(f"/{tiles.Tile(level, full, width + 1).path}")
                assert reply.status_code == 404

    asking(memory.ledger(), executor, ask)


def test_a_partial_tile_of_every_width_outlives_the_full_one(memory: Memory, executor: ThreadPoolExecutor) -> None:
    """With 600 entries each of the 255 partial tiles and bundles of the first 256 is still a prefix of the whole."""
    memory.size = 600

    async def ask(client: httpx.AsyncClient) -> None:
        for kind, each in (("0", 32), ("entries", 34)):
            whole = (await client.get(f"/tile/{kind}/000", headers={"accept-encoding": "identity"})).content
            assert len(whole) == 256 * each
            for width in range(1, 256):
                part = await client.get(f"/tile/{kind}/000.p/{width}", headers={"accept-encoding": "identity"})
                assert part.content == whole[: width * each]

    asking(memory.ledger(), executor, ask)


def test_bundles_hold_the_entries_that_the_tiles_hash(memory: Memory, executor: ThreadPoolExecutor) -> None:
    """Each entry of a bundle is 00 20 and the statement's SHA-256, and hashes to the leaf in the tile."""
    memory.size = 600

    async def ask(client: httpx.AsyncClient) -> None:
        for number, width in ((0, 256), (1, 256), (2, 88)):
            bundle = (await client.get(f"/{tiles.Tile(None, number, width).path}")).content
            hashes = (await client.get(f"/{tiles.Tile(0, number, width).path}")).content
            for place in range(width):
                entry = bundle[place * 34 : (place + 1) * 34]
                assert entry == b"\0\x20" + hashlib.sha256(memory.raws[number * 256 + place]).digest()
                assert reference.leaf(entry[2:]) == hashes[place * 32 : (place + 1) * 32]

    asking(memory.ledger(), executor, ask)


@pytest.mark.parametrize("coding", ["gzip", "br, gzip;q=0.5", "GZIP"])
def test_a_bundle_is_packed_for_who_takes_it(memory: Memory, executor: ThreadPoolExecutor, coding: str) -> None:
    """The packed bytes are the bundle's, have an entity tag of their own, and are the same every time."""
    memory.size = 600

    async def ask(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response, bytes, bytes]:
        plain = await client.get("/tile/entries/001", headers={"accept-encoding": "gzip;q=0, br"})
        packed = await client.get("/tile/entries/001", headers={"accept-encoding": coding})
        raw: list[bytes] = []
        for _ in range(2):
            async with client.stream("GET", "/tile/entries/001", headers={"accept-encoding": coding}) as reply:
                raw.append(b"".join([part async for part in reply.aiter_raw()]))
        return plain, packed, raw[0], raw[1]

    plain, packed, first, second = asking(memory.ledger(), executor, ask)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    assert packed.content == plain.content == gzip.decompress(first)
    assert first == second
    assert plain.headers["etag"] != packed.headers["etag"]


HOSTILE = [
    # path, status
    ("/tile/0/000", 200),
    ("/tile/0/001.p/255", 200),
    ("/tile/0/003", 404),
    ("/tile/0/002.p/89", 404),
    ("/tile/1/000.p/2", 200),
    ("/tile/1/000.p/3", 404),
    ("/tile/1/000", 404),
    ("/tile/7/000.p/1", 404),
    ("/tile/8/000.p/1", 404),
    ("/tile/63/000.p/1", 404),
    ("/tile/64/000.p/1", 400),
    ("/tile/0/x999/x999/x999/x999/x999/x999/999", 400),
    ("/tile/0/x009/x000/x000/x000/x000/x000/000.p/1", 404),
    ("/tile/0/0", 400),
    ("/tile/0/x000/000", 400),
    ("/tile/00/000", 400),
    ("/tile/0/000.p/0", 400),
    ("/tile/0/000.p/01", 400),
    ("/tile/0/000.p/256", 400),
    ("/tile/0/000.p/", 400),
    ("/tile/0/000/", 400),
    ("/tile/0/-01", 400),
    ("/tile/0/%30%30%30", 400),
    ("/tile/0/000%00", 400),
    ("/tile/0/\u0660\u0660\u0660", 400),
    ("/tile/0//000", 400),
    ("/tile/entries/000", 200),
    ("/tile/entries/003", 404),
    ("/tile/entries/000.p/256", 400),
    ("/tile/data/000", 400),
    ("/tile/", 400),
    ("/tile", 404),
    ("/", 404),
    ("/checkpoint/", 404),
    ("/checkpoint/x", 404),
    ("/statement/0", 404),
    ("/tile/0/" + "x001/" * 2000 + "001", 400),
]


@pytest.mark.parametrize(("path", "status"), HOSTILE, ids=[path[:40] for path, _ in HOSTILE])
def test_a_path_has_one_form_and_what_is_not_there_is_not_there(
    memory: Memory, executor: ThreadPoolExecutor, path: str, status: int
) -> None:
    """With 600 entries: every other spelling is refused, in one short line that nobody keeps."""
    memory.size = 600
    reply = asking(memory.ledger(), executor, lambda client: client.get(path))
    assert reply.status_code == status
    if status in {400, 404} and path.startswith("/tile/"):
        assert reply.headers["cache-control"] == "no-store"
        assert len(reply.text) < 120
        assert reply.text.endswith("\n")


@pytest.mark.parametrize("path", ["/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1", "/healthz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_only_reading_is_allowed(memory: Memory, executor: ThreadPoolExecutor, path: str, method: str) -> None:
    """Any other method gets 405 and the list of those that are allowed."""
    memory.size = 600
    reply = asking(memory.ledger(), executor, lambda client: client.request(method, path, content=b"x" * 100_000))
    assert reply.status_code == 405
    assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_what_a_caller_holds_already_is_not_sent_again(memory: Memory, executor: ThreadPoolExecutor) -> None:
    """If-None-Match with the entity tag, among others, weak or as `*`, gets 304 with the same headers and no body."""
    memory.size = 600

    async def ask(client: httpx.AsyncClient) -> None:
        for path in ("/checkpoint", "/tile/0/000", "/tile/entries/000"):
            reply = await client.get(path)
            tag = reply.headers["etag"]
            assert tag.startswith('"')
            for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
                again = await client.get(path, headers={"if-none-match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
                assert again.headers["cache-control"] == reply.headers["cache-control"]
            assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200

    asking(memory.ledger(), executor, ask)


def test_a_tile_may_be_kept_for_ever_and_a_checkpoint_for_a_second(
    memory: Memory, executor: ThreadPoolExecutor
) -> None:
    """The caching headers say which answers can change."""
    memory.size = 600

    async def ask(client: httpx.AsyncClient) -> None:
        for path in ("/tile/0/000", "/tile/1/000.p/2", "/tile/entries/002.p/88"):
            assert (await client.get(path)).headers["cache-control"] == "public, max-age=31536000, immutable"
        reply = await client.get("/checkpoint")
        assert (reply.content, reply.headers["cache-control"]) == (b"a note\n", "public, max-age=1")
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"

    asking(memory.ledger(), executor, ask)


def test_a_damaged_row_is_a_fault_and_says_nothing_else(
    executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that is too short, or a statement that is gone, gets 500 in one line; the log has the reason."""
    memory = Memory([b"statement %d" % number for number in range(300)], size=300)
    memory.rows[0, 1] = memory.rows[0, 1][:64]

    def gone(_index: int) -> None:
        raise StoreError("statement 7 is missing from the data")

    @contextmanager
    def read() -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(row=lambda level, row: memory.rows.get((level, row)), statement=gone)

    ledger = cast("Ledger", SimpleNamespace(store=SimpleNamespace(read=read), anchor=memory.ledger().anchor))

    async def ask(client: httpx.AsyncClient) -> list[tuple[int, str]]:
        replies = [await client.get(path) for path in ("/tile/0/001.p/44", "/tile/entries/000")]
        return [(reply.status_code, reply.text) for reply in replies]

    fault = (500, "a fault of the ledger; its log says more\n")
    assert asking(ledger, executor, ask) == [fault, fault]
    assert "tile/0/001.p/44 is missing" in caplog.text
    assert "statement 7 is missing" in caplog.text


def test_a_real_ledger_shows_its_checkpoint_health_and_metrics(
    founded: Ledger, executor: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Before the first publication the checkpoint is the anchored one; health and metrics say the same size."""

    async def ask(client: httpx.AsyncClient) -> tuple[httpx.Response, ...]:
        return await client.get("/checkpoint"), await client.get("/healthz"), await client.get("/metrics")

    checkpoint, health, metrics_ = asking(founded, executor, ask, seat=tmp_path / "seat")
    assert checkpoint.content == founded.anchor.read().note
    assert health.text == "ok 5\n"
    said = dict(line.rsplit(" ", 1) for line in metrics_.text.splitlines() if not line.startswith("#"))
    assert said == {
        "platemark_log_size": "5.0",
        "platemark_published_size": "0.0",
        "platemark_published_age_seconds": "0.0",
        "platemark_publisher_running": "0.0",
        "platemark_rollback_suspected": "0.0",
        **{f'platemark_conditions_total{{condition="{each.code}"}}': "0.0" for each in CONDITIONS},
    }


def test_no_answer_holds_a_statement(founded: Ledger, executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    """No byte of any statement but its hash comes out of any path."""

    async def ask(client: httpx.AsyncClient) -> bytes:
        paths = ("/checkpoint", "/metrics", "/healthz", "/tile/0/000.p/5", "/tile/entries/000.p/5")
        return b"".join([(await client.get(path)).content for path in paths])

    said = asking(founded, executor, ask, seat=tmp_path / "seat")
    with founded.store.read() as transaction:
        for stored in transaction.statements(1, 5):  # leaf 0, the policy, has the origin in it
            assert not any(stored.raw[cut : cut + 12] in said for cut in range(0, len(stored.raw) - 12, 4))
