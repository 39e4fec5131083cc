"""What remains of another past that a witness has shown: a mark beside the data, which outlives every process.

While the mark is there nothing is published. It holds the proof: a checkpoint that this log's own key has signed. It goes when a
start finds that the data now has what was shown and the witness that showed it answers without showing another past (past.py), or
when the operator removes the file (deploy/README.md, section 5).

One file of JSON: {"v": 1, "reason", "url": the witness, "note": the signed checkpoint, base64}. What cannot be read is a mark.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platemark_ledger.anchor import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Mark", "clear", "keep", "kept"]


@dataclass(frozen=True, slots=True)
class Mark:
    """Why publishing has stopped: which witness showed what. Without a note (a damaged mark) only the operator removes it."""

    reason: str
    url: str = ""
    note: bytes = b""


def keep(path: Path, mark: Mark) -> None:
    """Durable when this returns; before, the file is as it was. Raises OSError."""
    text = json.dumps({"v": 1, "reason": mark.reason, "url": mark.url, "note": base64.b64encode(mark.note).decode()})
    new = path.with_name(f"{path.name}.new")
    with new.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)


def kept(path: Path) -> Mark | None:
    """The mark, or None when there is no file."""
    try:
        said = json.loads(path.read_bytes())
        if said["v"] == 1:
            return Mark(str(said["reason"]), str(said["url"]), base64.b64decode(said["note"], validate=True))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Mark(f"the mark {path} of another past cannot be read")


def clear(path: Path) -> None:
    """Remove the mark, if there is one. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)
