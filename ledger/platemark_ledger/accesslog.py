"""The access log's format: who asked for which statements, in chains of lines that nobody changes unnoticed.

proto/access-log.md is the specification; the numbers of its rules stand beside the code.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from platemark_ledger.errors import LedgerError

__all__ = [
    "FIRST",
    "NAME",
    "AccessLogError",
    "Chain",
    "Head",
    "Line",
    "chains",
    "encode",
    "ending",
    "lines",
    "runs",
    "verify",
]

FIRST = "0" * 64
NAME = re.compile(r"([1-9][0-9]*)-([0-9]{6,})\.jsonl")
# A line of ours is at most a few kilobytes; `asked` and `indices` are bounded where they are made.
_MAX_LINE = 1024 * 1024


class AccessLogError(LedgerError):
    """The access log cannot be read, or its chain is broken."""

    code = "access-log-broken"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chain: where it is, its bytes, and the object in it; None when it is not one (rule X6)."""

    path: Path
    number: int
    raw: bytes
    record: dict[str, Any] | None
    whole: bool  # it ends in a line feed

    @property
    def hash(self) -> str:
        """What `prev` of the next line says."""
        return sha256(self.raw).hexdigest()

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.path} line {self.number}"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: `seq` of its last record (-1: none) and the hash of its last line."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What a whole chain says. `begins`: its first `seq`; `torn`: crashes that are marked; `open_end`: the last line is cut."""

    number: int
    files: int
    records: int
    begins: int
    head: Head
    torn: int
    open_end: bool


def encode(record: dict[str, Any]) -> bytes:
    """The line of a record, line feed included."""
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def runs(indices: Iterable[int]) -> list[list[int]]:
    """First and last of each run of neighbours, ascending."""
    found: list[list[int]] = []
    for index in sorted(set(indices)):
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    return found


def chains(directory: Path) -> dict[int, list[Path]]:
    """The files of each chain in order. Raises AccessLogError."""
    found: dict[int, list[tuple[int, Path]]] = {}
    try:
        for path in directory.iterdir():
            match = NAME.fullmatch(path.name)
            if match is not None:
                found.setdefault(int(match[1]), []).append((int(match[2]), path))
    except OSError as error:
        raise AccessLogError(f"{directory}: {error.strerror or error}") from None
    return {number: [path for _, path in sorted(files)] for number, files in sorted(found.items())}


def lines(paths: Iterable[Path]) -> Iterator[Line]:
    """Every line of some files. Raises AccessLogError."""
    for path in paths:
        try:
            with path.open("rb") as file:
                number = 0
                while data := file.readline(_MAX_LINE + 1):
                    number += 1
                    if len(data) > _MAX_LINE:
                        raise AccessLogError(f"{path} line {number}: longer than {_MAX_LINE} bytes")
                    yield _line(path, number, data)
        except OSError as error:
            raise AccessLogError(f"{path}: {error.strerror or error}") from None


def ending(paths: Sequence[Path]) -> tuple[Line, ...]:
    """The last lines of a chain, the last record and what follows it among them. Raises AccessLogError, OSError."""
    found: list[Line] = []
    for path in reversed(paths):
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - 2 * _MAX_LINE)
            file.seek(start)
            data = file.read(2 * _MAX_LINE)
        kept = io.BytesIO(data).readlines()[1 if start else 0 :]
        found = [_line(path, 0, each) for each in kept] + found
        if any(line.record is not None for line in found):
            break
    return tuple(found)


def verify(number: int, paths: Sequence[Path], *, remembered: Head | None = None) -> Chain:
    """Check a chain by rules X2 to X7. Raises AccessLogError naming the line.

    `remembered` is the head of this chain at an earlier check, which has to be in it unless it was removed by rule X8.
    """
    walk = _Walk(remembered)
    for line in lines(paths):
        walk.step(line)
    last = walk.before
    if last is not None and last.record is None and last.whole:
        raise AccessLogError(f"{last.where}: not a record, and no crash is marked after it")
    if not walk.met and remembered is not None and walk.begins <= remembered.seq:
        raise AccessLogError(
            f"chain {number}: the head {remembered.hash} that was remembered is not in it: its end was cut off or made anew"
        )
    return Chain(
        number=number,
        files=len(paths),
        records=walk.following - walk.begins,
        begins=walk.begins,
        head=Head(walk.following - 1, walk.head),
        torn=walk.torn,
        open_end=last is not None and not last.whole,
    )


class _Walk:
    """Where a check of a chain is."""

    def __init__(self, remembered: Head | None) -> None:
        self._remembered = remembered
        self.before: Line | None = None
        self.begins = self.following = self.torn = 0
        self.head = FIRST
        self.met = False
        self._begun = False

    def step(self, line: Line) -> None:
        """Raises AccessLogError for a line that does not follow."""
        before, record = self.before, line.record
        if before is not None and not before.whole:
            raise AccessLogError(f"{before.where}: it has no end, and {line.where} follows")
        if record is not None:
            if not self._begun:
                self._begin(record)
            self._check(line, record)
            self.following += 1
            self.torn += record.get("event") == "torn"
        self.head, self.before = line.hash, line
        self.met = self.met or (self._remembered is not None and self.head == self._remembered.hash)

    def _begin(self, record: dict[str, Any]) -> None:
        """Rule X8: files may have been removed from the front."""
        self._begun = True
        self.begins = self.following = record["seq"]
        if record["seq"] != 0 and self.before is None:
            self.head = record["prev"]
            self.met = self._remembered is not None and self.head == self._remembered.hash

    def _check(self, line: Line, record: dict[str, Any]) -> None:
        if record["prev"] != self.head:
            raise AccessLogError(f"{line.where}: it does not follow from the line before it: something was changed")
        if record["seq"] != self.following:
            raise AccessLogError(f"{line.where}: seq {record['seq']} where {self.following} follows")
        if self.before is not None and self.before.record is None and record.get("event") != "torn":
            raise AccessLogError(f"{self.before.where}: not a record, and no crash is marked after it")


def _line(path: Path, number: int, data: bytes) -> Line:
    return Line(path, number, data.removesuffix(b"\n"), _record(data), data.endswith(b"\n"))


def _record(data: bytes) -> dict[str, Any] | None:
    """Rule X2: None for a line that is no record."""
    try:
        record = json.loads(data.decode("ascii"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("seq")) is not int or not isinstance(record.get("prev"), str):
        return None
    return record if record["seq"] >= 0 else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")  # two readers would read two things
    return found


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and its like are not of RFC 8259
