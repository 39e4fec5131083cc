"""The results as numbers, and the two tables that are made of them: for the terminal and for deploy/SURVIVAL.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.table import Table

from platemark.rungs import RUNGS
from survival.images import Image
from survival.operations import Kind, Operation
from survival.reasons import ACCEPTED, UNEXPLAINED, Loss

__all__ = ["COLUMNS", "Row", "markdown", "rich_table"]

COLUMNS = (*(rung for rung in RUNGS if rung != "messages"), "header")


@dataclass
class Row:
    """One operation: how many images it was done to, and what each rung came to."""

    operation: Operation
    done: int = 0
    had: Counter[str] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, image: Image, lost: dict[str, str]) -> None:
        """Count one image."""
        self.done += 1
        self.had.update([*image.before.digests, "header"])
        self.losses += [Loss(image.name, self.operation.name, rung, reason) for rung, reason in lost.items()]

    def cell(self, rung: str) -> str:
        """How many of those that had the rung kept it, such as `97/98`; a dash where none had it."""
        had = self.had[rung]
        return f"{had - len(self.lost(rung))}/{had}" if had else "-"

    def lost(self, rung: str) -> list[Loss]:
        """The losses of one rung."""
        return [loss for loss in self.losses if loss.rung == rung]

    def faults(self) -> list[Loss]:
        """What must not be: losses without a reason, and losses of `pixels` that the operation may not have."""
        return [
            loss
            for loss in self.losses
            if UNEXPLAINED in loss.reason
            or (loss.rung == "pixels" and not loss.reason.startswith(ACCEPTED[self.operation.kind]))
        ]


def rich_table(rows: list[Row]) -> Table:
    """For a terminal: green where all survived, red where what should have did not."""
    table = Table("operation", "images", *COLUMNS, title="Survived, of those that had the rung")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        cells = []
        for rung in COLUMNS:
            lost = len(row.lost(rung))
            colour = "green" if row.had[rung] and not lost else "yellow" if lost else "dim"
            if any(loss.rung == rung for loss in row.faults()):
                colour = "bold red"
            cells.append(f"[{colour}]{row.cell(rung)}[/]")
        table.add_row(row.operation.name, str(row.done), *cells)
    return table


def markdown(rows: list[Row]) -> str:
    """The table, the losses of pixels, codestream and header image by image, and the other reasons by operation."""
    parts = [_survival(rows), _exceptions(rows), _reasons(rows), _refusals(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _survival(rows: list[Row]) -> str:
    lines = _head("operation", "kind", "images", *COLUMNS)
    lines += [
        _line(row.operation.name, row.operation.kind, str(row.done), *(row.cell(rung) for rung in COLUMNS))
        for row in rows
    ]
    return "\n".join(lines)


def _exceptions(rows: list[Row]) -> str:
    """Losses of `pixels` by operations that are not lossy."""
    found = [loss for row in rows if row.operation.kind is not Kind.LOSSY for loss in row.lost("pixels")]
    lines = ["### Pixels lost by an operation that is not lossy", ""]
    if not found:
        return "\n".join([*lines, "None."])
    lines += _head("operation", "image", "reason")
    lines += [_line(loss.operation, f"`{loss.image}`", loss.reason) for loss in found]
    return "\n".join(lines)


def _reasons(rows: list[Row]) -> str:
    lines = ["### Why rungs were lost", "", *_head("operation", "rung", "reasons (images)")]
    for row in rows:
        for rung in COLUMNS:
            counted = Counter(reason for loss in row.lost(rung) for reason in _told(row, loss))
            if counted:
                told = "<br>".join(f"{reason} ({number})" for reason, number in counted.most_common())
                lines.append(_line(row.operation.name, rung, told))
    return "\n".join(lines)


def _told(row: Row, loss: Loss) -> list[str]:
    """The reasons of a loss; of the file only those that its data set has not."""
    if loss.rung == "file" and any(loss.image == other.image for other in row.lost("dataset")):
        return ["as the data set"]
    return loss.reason.split("; ")


def _refusals(rows: list[Row]) -> str:
    lines = ["### What the tools refused to do", "", *_head("operation", "images", "what the tool said")]
    lines += [
        _line(row.operation.name, str(number), reason) for row in rows for reason, number in row.refusals.most_common()
    ]
    return "\n".join(lines)


def _head(*names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
