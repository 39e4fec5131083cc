"""Which files a command means: images named or found in folders, and what lies beside each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from platemark.cli import output
from platemark.files import FileError

__all__ = ["OURS", "Beside", "beside", "find"]

# Our own files are no images, whatever folder they lie in.
OURS = (
    ".statement",
    ".disclosure",
    ".evidence",
    ".receipt",
    ".scitt",
    ".enrolment",
    ".request",
    ".release",
    ".custody",
    ".pem",
    ".p11",
    ".pub",
    ".state",
    ".lock",
    ".tmp",
)


@dataclass(frozen=True)
class Beside:
    """An image and the files that belong to it. `named`: the user named it, rather than a folder that holds it."""

    image: Path
    statement: Path
    disclosure: Path
    evidence: Path
    named: bool = True


def beside(image: Path, *, out: Path | None = None, named: bool = True) -> Beside:
    """What belongs to `image`: next to it, or in the directory `out` under the same name."""
    if not image.name:
        raise FileError(f"{image}: Is a directory")
    base = image if out is None else out / image.name

    def with_suffix(suffix: str) -> Path:
        return base.with_name(base.name + suffix)

    return Beside(image, with_suffix(".statement"), with_suffix(".disclosure"), with_suffix(".evidence"), named)


def find(paths: Iterable[Path], *, out: Path | None) -> list[Beside]:
    """Every image meant, each once, folders walked in order of names. Raises FileError: nothing there, or two the same.

    Below `out`, files keep their place in the folder that was named.
    """
    found: dict[Path, Beside] = {}
    targets: dict[Path, Path] = {}
    for path in paths:
        for each in _expand(path, out):
            if each.image in found:
                continue
            other = targets.setdefault(each.statement, each.image)
            if other != each.image:
                raise FileError(f"{each.image} and {other} would both write {each.statement}")
            found[each.image] = each
    return list(found.values())


def _expand(path: Path, out: Path | None) -> Iterator[Beside]:
    if not path.is_dir():
        yield beside(path, out=out)
        return
    for folder, folders, names in os.walk(path, onerror=_raise):
        folders.sort()
        for name in folders:
            if (Path(folder) / name).is_symlink():
                output.note(f"{Path(folder) / name}: left out: a link to a folder; name it to have it walked")
        for name in sorted(names):
            image = Path(folder) / name
            if name.endswith(OURS):
                continue
            if not image.is_file():
                output.note(f"{image}: left out: not a file")
                continue
            target = None if out is None else out / image.parent.relative_to(path)
            yield beside(image, out=target, named=False)


def _raise(error: OSError) -> None:
    raise FileError(f"{error.filename}: {error.strerror or error}") from None
