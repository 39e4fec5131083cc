"""Where a set of files is: a folder or a ZIP file, seen as relative names and nothing else.

Whatever else names a file (a DICOMDIR, a bundle) is looked up among these names, so that no name leads elsewhere.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from platemark import files
from platemark.errors import ArchiveError
from platemark.files import FileError
from platemark.study.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EVIDENCE", "MAX_FILES", "Folder", "Place", "Single", "Zip", "open_place"]

EVIDENCE = ".evidence"
MAX_FILES = 100_000
_MIMETYPE = b"mimetypeapplication/vnd.platemark.evidence+zip"
_HEAD = 1024


class Place(Protocol):
    """Files by their relative names (components joined by /), in order. Thread-safe. Methods raise PlatemarkError."""

    title: str

    @property
    def names(self) -> tuple[str, ...]:
        """Every regular file, at most MAX_FILES."""
        ...

    def path(self, name: str) -> _Context:
        """A file of the file system with the content of `name`, for as long as the context lasts."""
        ...

    def read(self, name: str, *, limit: int) -> bytes:
        """The content of `name`, at most `limit` bytes."""
        ...


class Folder:
    """The regular files below a folder. Links to folders are not followed."""

    def __init__(self, root: Path) -> None:
        self.root, self.title = root, str(root)
        self.names = tuple(self._walk())

    def _walk(self) -> Iterator[str]:
        count = 0
        for folder, folders, names in os.walk(self.root, onerror=_raise):
            folders.sort()
            for name in sorted(names):
                path = Path(folder) / name
                if not path.is_file():
                    continue
                count += 1
                if count > MAX_FILES:
                    raise FileError(f"{self.root}: more than {MAX_FILES} files")
                yield path.relative_to(self.root).as_posix()

    @contextmanager
    def path(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.root / name

    def read(self, name: str, *, limit: int) -> bytes:
        """See Place."""
        return files.read(self.root / name, limit=limit)


class Single:
    """One file alone, such as one bundle."""

    def __init__(self, file: Path) -> None:
        self.file, self.title = file, str(file)
        self.names = (file.name,)

    @contextmanager
    def path(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.file.with_name(name)

    def read(self, name: str, *, limit: int) -> bytes:
        """See Place."""
        return files.read(self.file.with_name(name), limit=limit)


class Zip:
    """The members of a ZIP file. One at a time, a member becomes a temporary file under a name of ours."""

    def __init__(self, file: Path) -> None:
        self.title = str(file)
        try:
            self._file = file.open("rb")
        except OSError as error:
            raise FileError(f"{file}: {error.strerror or error}") from None
        try:
            self._archive = Archive(self._file, self.title)
        except BaseException:
            self._file.close()
            raise
        self.names = tuple(self._archive.members)

    @contextmanager
    def path(self, name: str) -> Iterator[Path]:
        """The member's content in a private folder, removed afterwards. Raises ArchiveError."""
        with tempfile.TemporaryDirectory(prefix="platemark-", ignore_cleanup_errors=True) as private:
            target = Path(private) / "member"
            try:
                with target.open("wb") as out:
                    for chunk in self._archive.chunks(self._archive.members[name]):
                        out.write(chunk)
            except OSError as error:
                raise ArchiveError(
                    f"{self.title}: {name!r}", f"cannot be unpacked: {error.strerror or error}"
                ) from None
            yield target

    def read(self, name: str, *, limit: int) -> bytes:
        """See Place."""
        return self._archive.read(name, limit=limit)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    _Context = AbstractContextManager[Path]


@contextmanager
def open_place(path: Path) -> Iterator[Place]:
    """The folder, ZIP file or single file at `path`. Raises FileError, ArchiveError."""
    if path.is_dir():
        yield Folder(path)
        return
    if not path.is_file():
        raise FileError(f"{path}: {'is no regular file' if path.exists() else 'No such file or directory'}")
    if not is_zip(path) or is_bundle(path):
        yield Single(path)
        return
    opened = Zip(path)
    try:
        yield opened
    finally:
        opened.close()


def is_zip(path: Path) -> bool:
    """Whether the file begins as a ZIP file does. A DICOM file is one whatever its preamble looks like."""
    begin = head(path)
    return begin.startswith((b"PK\3\4", b"PK\5\6")) and begin[128:132] != b"DICM"


def is_bundle(path: Path) -> bool:
    """Whether the file begins as an evidence bundle does, which is a ZIP file too."""
    return head(path)[30:].startswith(_MIMETYPE)


def head(path: Path) -> bytes:
    """The first KiB of a regular file, nothing of anything else. Raises FileError."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from None


def _raise(error: OSError) -> None:
    raise FileError(f"{error.filename}: {error.strerror or error}") from None
