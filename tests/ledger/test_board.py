"""The board: who waits for a published checkpoint gets it, from whichever process, and nobody waits for ever."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import fakes
from platemark_ledger import published
from platemark_ledger.board import Board, What
from platemark_ledger.errors import NotFoundError, StoreError
from platemark_ledger.opening import Ledger
from platemark_ledger.published import Published
from platemark_ledger.seat import Seat


@dataclass
class Scene:
    """A ledger of one leaf, a board over it, and the seat that both share."""

    ledger: Ledger
    seat: Seat
    board: Board

    def publish(self, size: int, *, witnessed: bool) -> Published:
        """As a publisher of any process does."""
        row = Published(size, bytes([size]) * 32, b"note %d\n" % size, 0, (), witnessed)
        with self.ledger.store.write() as transaction:
            published.put(transaction, row)
            transaction.commit()
        return row


@pytest.fixture(name="scene")
def _scene(tmp_path: Path) -> Iterator[Scene]:
    ledger = fakes.Founded.at(tmp_path / "ledger").open()
    seat = Seat(tmp_path / "seat")
    yield Scene(ledger, seat, Board(ledger, seat, witnessed=True))
    seat.close()
    ledger.close()


async def until(met: Callable[[], bool]) -> None:
    """Let others run until it is so, for some 30 s at most."""
    for _ in range(30_000):
        if met():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it does not happen")


def test_each_kind_has_its_newest(scene: Scene) -> None:
    """The anchored one always, the others once they are there; what is not there is not found."""
    for what in (What.PUBLISHED, What.WITNESSED):
        assert scene.board.newest(what) is None
        with pytest.raises(NotFoundError, match=f"no {what.value} checkpoint yet"):
            scene.board.get(what)
    assert scene.board.get(What.LATEST) == scene.ledger.anchor.read()
    witnessed = scene.publish(3, witnessed=True)
    newest = scene.publish(4, witnessed=False)
    assert scene.board.get(What.PUBLISHED) == newest.released
    assert scene.board.get(What.WITNESSED) == witnessed.released


def test_what_is_there_already_is_not_waited_for(scene: Scene) -> None:
    """Above the size that the caller has seen."""
    row = scene.publish(3, witnessed=True)
    assert asyncio.run(scene.board.beyond(2, What.WITNESSED, timeout=0)) == row.released
    assert asyncio.run(scene.board.beyond(3, What.WITNESSED, timeout=0)) is None


def test_everyone_who_waits_gets_the_first_that_is_beyond(scene: Scene) -> None:
    """Each of several, by its own size and kind, when one checkpoint after the other is published."""

    async def run() -> list[int | None]:
        waits = [
            asyncio.create_task(scene.board.beyond(size, what, timeout=30))
            for size, what in ((0, What.WITNESSED), (0, What.PUBLISHED), (3, What.PUBLISHED), (3, What.WITNESSED))
        ]
        await asyncio.sleep(0)
        scene.publish(2, witnessed=False)
        assert await waits[1] is not None
        scene.publish(3, witnessed=True)
        assert await waits[0] is not None
        scene.publish(5, witnessed=True)
        return [found.size if (found := await each) is not None else None for each in waits]

    assert asyncio.run(run()) == [3, 2, 5, 5]


def test_only_the_urgent_ask_the_publisher_to_hurry(scene: Scene) -> None:
    """And they ask until they have what they want, because the publisher that was asked may have died."""

    async def run() -> None:
        calm = asyncio.create_task(scene.board.beyond(6, What.WITNESSED, timeout=30))
        await until(lambda: scene.board._looking is not None)
        assert (scene.board.waiting, scene.seat.asked()) == (0, 0)
        urgent = asyncio.create_task(scene.board.beyond(3, What.WITNESSED, timeout=30, urgent=True))
        await until(lambda: scene.seat.asked() == 4)
        assert scene.board.waiting == 1
        assert scene.seat.take()  # as the next publisher does, which forgets
        await until(lambda: scene.seat.asked() == 4)
        scene.publish(7, witnessed=True)
        assert (await urgent, await calm) != (None, None)
        assert scene.board.waiting == 0

    asyncio.run(run())


def test_patience_ends_and_so_does_a_draining_worker(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time given, at a drain, and for whoever comes after it: None, and nobody is left waiting."""
    monkeypatch.setattr("platemark_ledger.board._LAST", 0.05)

    async def run() -> None:
        assert await scene.board.beyond(9, What.LATEST, timeout=0.01) is None
        waits = [asyncio.create_task(scene.board.beyond(9, what, timeout=60, urgent=True)) for what in What]
        await asyncio.sleep(0)
        scene.board.drain()
        assert await asyncio.gather(*waits) == [None, None, None]
        assert await scene.board.beyond(9, What.LATEST, timeout=60) is None
        assert scene.board.waiting == 0

    asyncio.run(run())


def test_a_caller_that_goes_away_leaves_nothing(scene: Scene) -> None:
    """A cancelled wait is forgotten, and the look-out ends with the last one."""

    async def run() -> None:
        wait = asyncio.create_task(scene.board.beyond(9, What.LATEST, timeout=60, urgent=True))
        await asyncio.sleep(0)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        assert scene.board.waiting == 0
        assert scene.board._looking is not None
        await scene.board._looking

    asyncio.run(run())


def test_a_fault_of_the_data_reaches_who_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a wait that never ends."""

    async def run() -> None:
        wait = asyncio.create_task(scene.board.beyond(9, What.LATEST, timeout=60))
        await asyncio.sleep(0)

        def torn(_what: What) -> None:
            raise StoreError("torn")

        monkeypatch.setattr(scene.board, "newest", torn)
        with pytest.raises(StoreError):
            await wait

    asyncio.run(run())
