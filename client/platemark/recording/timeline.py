"""A picture of a verdict on a recording: one row for each topic, time from left to right.

For a terminal, cells of one character; for a report, SVG. Every class has a shape of its own beside its colour, so that nothing
rests on colour alone. The same verdict gives the same bytes. Names of topics come from strangers: in both they cannot do more
than be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from platemark.instant import format_time
from platemark.recording import comparing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from platemark.recording.comparing import TopicFinding
    from platemark.recording.verdict import RecordingVerdict

__all__ = ["LEGEND", "Mark", "Row", "printable", "rows", "span", "svg"]


@dataclass(frozen=True, slots=True)
class Mark:
    """How a class is shown: a character, a colour of rich's, one of SVG (#rrggbb), and what it means."""

    cell: str
    style: str
    colour: str
    meaning: str


# Worst first: a cell that several classes fall into shows the first of these.
LEGEND: dict[str, Mark] = {
    comparing.ALTERED: Mark("X", "bold red", "#b3001b", "altered: other data, type or publish time than recorded"),
    comparing.MOVED: Mark("M", "bold red", "#b3001b", "moved: recorded at another time"),
    comparing.INSERTED: Mark("+", "bold red", "#b3001b", "inserted: not recorded, in time that the record covers"),
    comparing.DUPLICATED: Mark("2", "bold red", "#b3001b", "duplicated: recorded once"),
    comparing.REORDERED: Mark("~", "bold red", "#b3001b", "reordered: messages of one time in another order"),
    comparing.DROPPED: Mark("_", "bold yellow", "#b36b00", "dropped: recorded, and missing between others"),
    comparing.OTHER_SCHEMA: Mark(
        "S", "yellow", "#b36b00", "other-schema: data as recorded, under another text of its schema"
    ),
    comparing.UNRECORDED: Mark(
        "?", "yellow", "#6b6b6b", "unrecorded: no segment that is relied on says anything of it"
    ),
    comparing.PROVEN: Mark("#", "green", "#1a7f37", "proven: as recorded"),
    comparing.CUT: Mark(".", "dim", "#9a9a9a", "cut: recorded, before or after what the file has"),
}
_EMPTY = " "
_BAR, _GAP, _LEFT, _TOP, _WIDTH = 18, 8, 260, 46, 760
_TICK = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A topic and its cells: classes, None where nothing happened."""

    topic: str
    cells: tuple[str | None, ...]

    @property
    def text(self) -> str:
        """One character for each cell."""
        return "".join(_EMPTY if each is None else LEGEND[each].cell for each in self.cells)


def span(topics: Sequence[TopicFinding]) -> tuple[int, int] | None:
    """Least and greatest log time (Unix ns) of anything found; None where nothing was."""
    ranges = [each for topic in topics for each in topic.ranges]
    return (min(each.first for each in ranges), max(each.last for each in ranges)) if ranges else None


def rows(topics: Sequence[TopicFinding], *, width: int = 60) -> list[Row]:
    """One row for each topic over the time of all of them; a cell shows the worst of what falls into it."""
    if width < 1:
        message = "a row has at least one cell"
        raise ValueError(message)
    limits = span(topics)
    return [Row(topic.topic, tuple(_cells(topic, limits, width))) for topic in topics]


def svg(verdict: RecordingVerdict) -> str:
    """A picture of the verdict, for a report: standalone SVG 1.1, without scripts, fonts or links."""
    limits = span(verdict.topics)
    occurring = [kind for kind in LEGEND if any(each.counts[kind] for each in verdict.topics)]
    height = _TOP + len(verdict.topics) * (_BAR + _GAP) + len(occurring) * 18 + 40
    lines = [
        (
            '<svg xmlns="http://www.w3.org/2000/svg" version="1.1" '
            f'width="{_LEFT + _WIDTH + 20}" height="{height}" font-family="monospace" font-size="12">'
        ),
        f"<title>{escape(printable(verdict.result))}</title>",
        f'<rect width="{_LEFT + _WIDTH + 20}" height="{height}" fill="#ffffff"/>',
        _text(10, 18, f"{verdict.result}: {verdict.reason}", most=150),
    ]
    if limits is not None:
        lines += [_text(_LEFT, 38, format_time(limits[0])), _text(_LEFT + _WIDTH, 38, format_time(limits[1]), end=True)]
    top = _TOP
    for topic in verdict.topics:
        lines += [_text(10, top + 13, topic.topic, most=34), _rect(_LEFT, top, _WIDTH, "none", "#cccccc")]
        lines += _bars(topic, limits, top)
        top += _BAR + _GAP
    for kind in occurring:
        mark = LEGEND[kind]
        lines += [_rect(_LEFT, top + 6, 14, mark.colour, "none", height=12), _text(_LEFT + 3, top + 16, mark.cell)]
        lines.append(_text(_LEFT + 24, top + 16, f"{kind}: {mark.meaning.removeprefix(kind + ': ')}"))
        top += 18
    return "\n".join([*lines, "</svg>", ""])


def printable(text: str) -> str:
    """On one line, with nothing that acts on a terminal or that XML cannot hold."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def _cells(topic: TopicFinding, limits: tuple[int, int] | None, width: int) -> Iterator[str | None]:
    worst: dict[int, str] = {}
    if limits is not None:
        rank = {kind: number for number, kind in enumerate(LEGEND)}
        # From the least to the worst, so that each cell ends with its worst.
        for each in sorted(topic.ranges, key=lambda each: -rank[each.kind]):
            for cell in range(_place(each.first, limits, width), _place(each.last, limits, width) + 1):
                worst[cell] = each.kind
    return (worst.get(cell) for cell in range(width))


def _place(time: int, limits: tuple[int, int], width: int) -> int:
    first, last = limits
    return (time - first) * width // (last - first + 1)


def _bars(topic: TopicFinding, limits: tuple[int, int] | None, top: int) -> Iterator[str]:
    """Runs of one class as bars of its colour, each with its letter above it."""
    cells = list(_cells(topic, limits, _WIDTH // _TICK))
    at = 0
    while at < len(cells):
        kind, end = cells[at], at
        while end < len(cells) and cells[end] == kind:
            end += 1
        if kind is not None:
            mark, x, width = LEGEND[kind], _LEFT + at * _TICK, (end - at) * _TICK
            yield _rect(x, top + 3, width, mark.colour, "none", height=_BAR - 6)
            yield f'<text x="{x}" y="{top + 2}" font-size="8" fill="#000000">{escape(mark.cell)}</text>'
        at = end


def _rect(x: int, y: int, width: int, fill: str, stroke: str, *, height: int = _BAR) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill={quoteattr(fill)} stroke={quoteattr(stroke)}/>'
    )


def _text(x: int, y: int, text: str, *, most: int = 200, end: bool = False) -> str:
    shown = printable(text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return f'<text x="{x}" y="{y}"{" text-anchor=" + quoteattr("end") if end else ""}>{escape(shown)}</text>'
