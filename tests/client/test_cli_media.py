"""Which files a folder means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from platemark.cli import media


def test_what_a_folder_leaves_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links to folders and what is no file are named on standard error; files and links to files are taken."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.png").write_bytes(b"b")
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "again.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    os.mkfifo(tmp_path / "pipe")
    found = [each.image.relative_to(tmp_path).as_posix() for each in media.find([tmp_path], out=None)]
    assert found == ["a.png", "again.png", "sub/b.png"]
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / 'linked'}: left out: a link to a folder; name it to have it walked",
        f"{tmp_path / 'pipe'}: left out: not a file",
    ]


@pytest.mark.parametrize("suffix", [".statement", ".evidence", ".receipt", ".scitt"])
def test_our_own_files_are_no_images(tmp_path: Path, suffix: str) -> None:
    """What a command of ours wrote beside an image is not taken for one."""
    for name in ("a.png", f"a.png{suffix}"):
        (tmp_path / name).write_bytes(b"a")
    assert [each.image.name for each in media.find([tmp_path], out=None)] == ["a.png"]
