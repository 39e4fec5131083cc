"""What an auditor remembers from one audit to the next: a JSON file of one line (proto/audit.md section 2)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark import checkpoint
from platemark.audit.frontier import Frontier
from platemark.errors import FormatError, PlatemarkError, ProofError, StateError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_PROOFS", "MAX_STATE", "AuditState", "Progress"]

MAX_STATE = 128 * 1024 * 1024
MAX_PROOFS = 64
_FIELDS = {"v", "origin", "note", "edge", "progress", "proofs"}


@dataclass(frozen=True)
class Progress:
    """An audit that was interrupted: the right edge at a size below its target, proven by nobody yet."""

    frontier: Frontier


@dataclass(frozen=True)
class AuditState:
    """`note` is the newest checkpoint that a whole audit confirmed, with the right edge of its tree; None before the first.

    `proofs` are pairs of signed notes that contradict each other. They are never dropped; the first 64 are kept.
    """

    origin: str
    note: bytes | None = None
    frontier: Frontier | None = None
    progress: Progress | None = None
    proofs: tuple[tuple[bytes, ...], ...] = ()

    @property
    def size(self) -> int:
        """Of the confirmed tree; 0 before the first."""
        return self.frontier.size if self.frontier is not None else 0

    def with_proofs(self, found: Sequence[tuple[bytes, ...]]) -> tuple[tuple[bytes, ...], ...]:
        """`proofs` and those of `found` that are new, 64 at most."""
        return tuple(dict.fromkeys((*self.proofs, *(each for each in found if len(each) > 1))))[:MAX_PROOFS]

    def to_bytes(self) -> bytes:
        """The file."""
        content = {
            "v": 1,
            "origin": self.origin,
            "note": None if self.note is None else self.note.decode(),
            "edge": None if self.frontier is None else _edge(self.frontier),
            "progress": None if self.progress is None else _edge(self.progress.frontier),
            "proofs": [[note.decode() for note in pair] for pair in self.proofs],
        }
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, *, origin: str) -> AuditState:
        """The state in a file. Raises StateError: malformed, of another log, or an edge that is not its checkpoint's."""
        content = _object(data)
        if content["origin"] != origin:
            raise StateError(f"the audit state of another log, {content['origin']}")
        try:
            proofs = tuple(tuple(_text(note) for note in _list(pair)) for pair in _list(content["proofs"]))
            progress = None if content["progress"] is None else Progress(_frontier(content["progress"]))
            if content["note"] is None and content["edge"] is None:
                return cls(origin, progress=progress, proofs=proofs)
            note, frontier = _text(content["note"]), _frontier(content["edge"])
            signed = checkpoint.parse(note).checkpoint
        except (PlatemarkError, TypeError, ValueError) as error:
            raise StateError(f"not an audit state: {error}") from None
        if (signed.origin, signed.size, signed.root) != (origin, frontier.size, frontier.root()):
            raise StateError("not an audit state: the edge is not that of the checkpoint")
        return cls(origin, note, frontier, progress, proofs)


def _object(data: bytes) -> dict[str, object]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise StateError("not an audit state: not JSON") from None
    if not isinstance(content, dict) or set(content) != _FIELDS or type(content["v"]) is not int or content["v"] != 1:
        raise StateError(f"not an audit state of version 1 with exactly {', '.join(sorted(_FIELDS))}")
    return content


def _edge(frontier: Frontier) -> dict[str, object]:
    return {"size": frontier.size, "rows": [base64.b64encode(row).decode() for row in frontier.rows]}


def _frontier(value: object) -> Frontier:
    if not isinstance(value, dict) or set(value) != {"size", "rows"} or type(value["size"]) is not int:
        raise FormatError("edge", "not a map of exactly size and rows")
    try:
        rows = [base64.b64decode(_text(row), validate=True) for row in _list(value["rows"])]
        return Frontier.restore(value["size"], rows)
    except (binascii.Error, ProofError) as error:
        raise FormatError("edge", str(error)) from None


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise FormatError("list", "missing")
    return value


def _text(value: object) -> bytes:
    if not isinstance(value, str):
        raise FormatError("text", "missing")
    return value.encode()
