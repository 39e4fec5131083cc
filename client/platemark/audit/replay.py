"""The replay of a log from its public tiles: entries to leaf hashes to every level's tiles to the signed root.

An audit goes on from the right edge of the last one, so that it reads only what is new; growth is proven by that re-hashing
itself. Whenever the outcome does not fit, the whole log is read again without memory, to say which side is at fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platemark.audit import source as sources
from platemark.audit.frontier import Frontier
from platemark.audit.source import MissingTileError
from platemark.audit.views import View, split
from platemark.errors import NoteError
from platemark.merkle import HASH_SIZE
from platemark.tiles import FULL_WIDTH, Tile, partial_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from platemark.audit.findings import Findings
    from platemark.audit.source import TileSource
    from platemark.audit.state import AuditState

__all__ = ["Audited", "replay", "wanted_tiles"]


@dataclass
class Audited:
    """`frontier` is the right edge at the view's size, None unless the root was confirmed; `read` entries were re-hashed.

    `entries` are the 32-byte entries end to end from index 0, when they were asked for and all were read.
    """

    frontier: Frontier | None = None
    read: int = 0
    entries: bytearray = field(default_factory=bytearray)


def wanted_tiles(start: int, size: int) -> Iterator[Tile]:
    """What a replay from `start` to `size` reads, in its order (rule E3).

    Each bundle, then its tile of level 0, then the tiles above that it completes; at the end the partial tiles above level 0.
    """
    for number in range(start // FULL_WIDTH, (size + FULL_WIDTH - 1) // FULL_WIDTH):
        width = min(FULL_WIDTH, size - number * FULL_WIDTH)
        yield Tile(None, number, width)
        yield Tile(0, number, width)
        level, done = 1, number + 1
        while width == FULL_WIDTH and done % FULL_WIDTH == 0:
            done //= FULL_WIDTH
            yield Tile(level, done - 1)
            level += 1
    level = 1
    while size > start and size >> 8 * level:
        if width := partial_width(size, level):
            yield Tile(level, size >> 8 * (level + 1), width)
        level += 1


def replay(
    source: TileSource,
    view: View,
    *,
    state: AuditState,
    others: Sequence[View] = (),
    findings: Findings,
    progress: Callable[[Frontier, int], None] | None = None,
    keep_entries: bool = False,
) -> Audited:
    """Audit the log of `view` by the tiles of `source` (rules E3 to E6). Raises SourceError when it cannot be completed.

    `others` are further views of the same log, none larger. `progress` is told the edge so far and the target, a tile at a time.
    """
    remembered = _remembered(state)
    if any(split(view, other, findings) for other in (*others, *remembered)):
        return Audited()
    if remembered and view.size < remembered[0].size:
        _shrank(remembered[0], view, findings)
        return Audited()
    smaller = [other for other in (*others, *remembered) if other.size < view.size]
    start = _start(state, view, others, keep_entries=keep_entries)
    if start.size:
        run = _Run(source, view, start, smaller, progress)
        if run.silently():
            return Audited(run.frontier, run.read)
    run = _Run(source, view, Frontier(), smaller, progress, keep_entries=keep_entries)
    run.loudly(findings)
    good = run.frontier if run.confirmed and not run.contradicted else None
    return Audited(good, run.read, run.entries)


def _remembered(state: AuditState) -> list[View]:
    if state.note is None or state.frontier is None:
        return []
    return [View("the remembered checkpoint", state.frontier.size, state.frontier.root(), state.note)]


def _shrank(old: View, new: View, findings: Findings) -> None:
    sentence = f"{new.source} shows size {new.size}, after size {old.size}: the log was cut, or this is a stale copy"
    findings.add("log-shrank", sentence, new.size, (old.note, new.note))


def _start(state: AuditState, view: View, others: Sequence[View], *, keep_entries: bool) -> Frontier:
    """The furthest edge from which nothing that has to be compared is missed."""
    usable = [Frontier()]
    if not keep_entries:
        if state.frontier is not None:
            usable.append(state.frontier.copy())
        if state.progress is not None:
            usable.append(state.progress.frontier.copy())
    lowest = min((other.size for other in others if other.size), default=view.size)
    return max((each for each in usable if each.size <= min(view.size, lowest)), key=lambda each: each.size)


class _MismatchError(Exception):
    """What was read is not what the edge remembers or the tiles say."""

    def __init__(self, code: str, sentence: str, position: int) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.position = code, sentence, position


class _Run:
    """One pass over a log."""

    def __init__(
        self,
        source: TileSource,
        view: View,
        frontier: Frontier,
        smaller: Iterable[View],
        progress: Callable[[Frontier, int], None] | None,
        *,
        keep_entries: bool = False,
    ) -> None:
        self.source, self.view, self.frontier = source, view, frontier
        self.progress = progress
        self.keep_entries = keep_entries
        self.entries = bytearray()
        self.read = 0
        self.confirmed = self.contradicted = False
        # Views to compare on the way, the next one last.
        self.pending = sorted((each for each in smaller if each.size > frontier.size), key=lambda each: -each.size)
        self.differing: list[View] = []

    def silently(self) -> bool:
        """Whether everything fits, going on from the edge; if not, the pass from the beginning says why."""
        try:
            self._walk(self._stop_at_mismatch)
        except (_MismatchError, MissingTileError):
            return False
        return self.frontier.root() == self.view.root and not self.differing

    def loudly(self, findings: Findings) -> None:
        """From the beginning, with every finding."""

        def note(mismatch: _MismatchError) -> None:
            findings.add(mismatch.code, mismatch.sentence, mismatch.position, (self.view.note,))
            self.contradicted = True

        try:
            self._walk(note)
        except (_MismatchError, MissingTileError) as error:
            self.contradicted = True
            if isinstance(error, _MismatchError):
                note(error)
            else:
                findings.add("tile-missing", f"{self.source.name}: {error}", self.frontier.size, (self.view.note,))
            return
        self.confirmed = self.frontier.root() == self.view.root
        if not self.confirmed:
            sentence = f"{self.source.name}: the entries do not have the root that was signed for size {self.view.size}"
            findings.add("root-mismatch", sentence, self.view.size, (self.view.note,))
        for other in self.differing if self.confirmed else ():
            self._differs(other, findings)

    def _differs(self, other: View, findings: Findings) -> None:
        self.contradicted = True
        remembered = other.source == "the remembered checkpoint"
        code = "history-rewritten" if remembered else "split-view"
        shown = f"the tree that {other.source} shows for size {other.size}"
        sentence = f"{self.view.source}: the log of size {self.view.size} does not begin with {shown}"
        findings.add(code, sentence, other.size, (other.note, self.view.note))

    def _stop_at_mismatch(self, mismatch: _MismatchError) -> None:
        raise mismatch

    def _walk(self, mismatch: Callable[[_MismatchError], None]) -> None:
        size, start = self.view.size, self.frontier.size
        if start == size:
            return
        wanted = wanted_tiles(start, size)
        due: dict[tuple[int, int], bytes] = {}
        for tile, data in zip(wanted, self.source.tiles(wanted_tiles(start, size)), strict=True):
            if tile.level is None:
                due = self._bundle(tile, data)
                continue
            made = due.pop((tile.level, tile.number), None)
            if made is None:
                made = self.frontier.rows[tile.level]
            if data != made:
                where = tile.number << 8 * (tile.level + 1)
                mismatch(
                    _MismatchError("tile-mismatch", f"{self.source.name}: {tile.path} is not over its entries", where)
                )
        self._tell()

    def _tell(self) -> None:
        """Every tile up to the edge has been compared; an edge past a contradiction is nothing to go on from."""
        if self.progress is not None and not (self.differing or self.contradicted):
            self.progress(self.frontier, self.view.size)

    def _bundle(self, tile: Tile, data: bytes) -> dict[tuple[int, int], bytes]:
        """Take the entries of a bundle; the tiles that they complete."""
        first = tile.number * FULL_WIDTH
        self._tell()
        try:
            entries, hashes = sources.bundle_hashes(data, tile.width)
        except NoteError as error:
            raise _MismatchError("tile-malformed", f"{self.source.name}: {tile.path}: {error.reason}", first) from None
        known = self.frontier.size - first
        if known and hashes[: known * HASH_SIZE] != self.frontier.rows[0]:
            raise _MismatchError("history-rewritten", f"{tile.path} has other entries than before", first)
        if self.keep_entries:
            self.entries += entries
        new = hashes[known * HASH_SIZE :]
        self._compare_within(first + tile.width, new)
        before = self.frontier.size
        completed = self.frontier.add(new)
        self.read += tile.width - known
        return {(level, before >> 8 * (level + 1)): row for level, row in completed}

    def _compare_within(self, end: int, new: bytes) -> None:
        """Compare the views whose size lies within what is about to be added."""
        while self.pending and self.pending[-1].size <= end:
            other = self.pending.pop()
            there = self.frontier.copy()
            there.add(new[: (other.size - there.size) * HASH_SIZE])
            if there.root() != other.root:
                self.differing.append(other)
