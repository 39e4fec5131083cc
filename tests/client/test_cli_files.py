"""Files that are whole or not there."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platemark import files
from platemark.files import FileError


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_replace_and_create_write_the_content(tmp_path: Path) -> None:
    """The path holds exactly the bytes, and nothing else is left in the directory."""
    files.create(tmp_path / "a", b"one")
    files.replace(tmp_path / "a", b"two")
    files.replace(tmp_path / "b", b"three")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"two", "b": b"three"}


def test_create_never_replaces(tmp_path: Path) -> None:
    """What is there stays, a dangling link included."""
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("a", "link"):
        with pytest.raises(FileError, match="exists already"):
            files.create(tmp_path / name, b"two")
    assert ((tmp_path / "a").read_bytes(), names(tmp_path)) == (b"one", ["a", "link"])


def test_create_loses_a_race_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears between the look and the move is not replaced either."""
    path = tmp_path / "a"
    path.write_bytes(b"theirs")
    monkeypatch.setattr("platemark.files.os.path.lexists", lambda _: False)
    with pytest.raises(FileError, match="exists already"):
        files.create(path, b"ours")
    assert (path.read_bytes(), names(tmp_path)) == (b"theirs", ["a"])


def test_create_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that know no links get the file as well."""

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("platemark.files.os.link", no_links)
    files.create(tmp_path / "a", b"one")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"one"}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_mode_is_set_before_the_content_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret is never readable by others, not for a moment."""
    seen: list[int] = []
    real: Callable[[int], None] = os.fsync

    def look(descriptor: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr("platemark.files.os.fsync", look)
    files.replace(tmp_path / "a", b"secret", mode=0o600)
    assert (seen[0], stat.S_IMODE((tmp_path / "a").stat().st_mode)) == (0o600, 0o600)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whatever the disk refuses, the path keeps what it had, and no half file stays."""
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"platemark.files.os.{step}", refuse)
    with pytest.raises(FileError, match="No space left on device"):
        files.replace(path, b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["a"])


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file over the limit, a directory and a missing file are one clear error each."""
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(tmp_path / "a", limit=5) == b"12345"
    for path, said in (
        (tmp_path / "a", "larger than 4 bytes"),
        (tmp_path, str(tmp_path)),
        (tmp_path / "b", "No such file"),
    ):
        with pytest.raises(FileError, match=re.escape(said)) as caught:
            files.read(path, limit=4)
        assert str(path) in str(caught.value)
