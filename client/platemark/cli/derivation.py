"""What an image was made from: the option --parent of `platemark sign` and `platemark capture`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from platemark.cli.capturing import load_statement
from platemark.errors import FormatError

__all__ = ["load_parents"]

_MAX_PARENTS = 64


def load_parents(paths: Iterable[Path] | None) -> tuple[bytes, ...]:
    """The ids of the captures in these statement files. Raises FileError, FormatError naming the file."""
    ids = []
    for path in paths or ():
        signed = load_statement(path).statement
        assert signed is not None
        if signed.kind not in {"capture", "segment"}:
            raise FormatError(
                f"{path}: kind", f"a statement of kind {signed.kind} is nothing that an image is made from"
            )
        ids.append(signed.id)
    if len(set(ids)) > _MAX_PARENTS:
        raise FormatError("--parent", f"more than {_MAX_PARENTS} of them")
    return tuple(ids)
