"""What a benchmark says: rows of one table, each speed beside the limit that was measured in the same run."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Noise", "Report", "Row", "listening", "percentile"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `ratio` is measured to limit, in whichever direction the target is stated.

    `target` is what the design asks for, `met` whether this run did (None: there is no target). `note` says with which inputs.
    """

    subject: str
    what: str
    measured: str
    limit: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


@dataclass
class Report:
    """The rows so far, and what lies beneath them, by subject, for the JSON file."""

    rows: list[Row] = field(default_factory=list)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Take a row and print it, so that a run that is stopped has shown what it knew."""
        self.rows.append(row)
        print(f"  {row.what}: {row.measured}{f' of {row.limit}' if row.limit else ''}", file=sys.stderr, flush=True)

    def detail(self, subject: str, **values: Any) -> None:
        """Keep numbers that have no place in the table."""
        self.details.setdefault(subject, {}).update(values)

    def table(self) -> str:
        """The table, columns aligned."""
        head = ("subject", "what", "measured", "against, in the same run", "ratio", "target", "met")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        rule = "  ".join("-" * width for width in widths)
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([shown[0], rule, *shown[1:]])

    def to_json(self, **about: Any) -> str:
        """Everything, for a machine."""
        whole = {**about, "machine": _machine(), "rows": [asdict(row) for row in self.rows], "details": self.details}
        return json.dumps(whole, indent=1, sort_keys=True)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {True: "yes", False: "NO", None: ""}[row.met]
    return row.subject, row.what, row.measured, row.limit, ratio, row.target, met


def _machine() -> dict[str, Any]:
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": model[0] if model else platform.processor(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load": os.getloadavg(),
    }


@dataclass
class Noise:
    """How busy the machine was with what is not ours, as a share of its cores; known once the block has ended.

    Processes of ours count when they have been waited for, so that a subject has to end what it starts.
    """

    foreign: float = 0.0


@contextmanager
def listening() -> Iterator[Noise]:
    """Measure the noise of the block."""
    noise = Noise()
    busy, total, ours = _jiffies(), _jiffies(idle=True), _own_seconds()
    yield noise
    elapsed = _jiffies(idle=True) - total
    used = (_own_seconds() - ours) * os.sysconf("SC_CLK_TCK")
    noise.foreign = max(0.0, (_jiffies() - busy - used) / elapsed) if elapsed else 0.0


def _jiffies(*, idle: bool = False) -> int:
    """Processor time of the whole machine since it started, in clock ticks; busy time unless `idle` counts too."""
    fields = [int(each) for each in _lines("/proc/stat")[0].split()[1:9]]
    return sum(fields) - (0 if idle else fields[3] + fields[4])


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return ["0 " * 10]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
