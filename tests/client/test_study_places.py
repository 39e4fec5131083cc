"""Where a set of files is: names and nothing else, bounded, and nothing left behind."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import pytest

from platemark.capture.dicomdir import Reference
from platemark.errors import ArchiveError
from platemark.files import FileError
from platemark.study import places
from platemark.study.directory import Directory
from platemark.study.places import Folder, Zip, open_place


def test_a_folder_is_its_regular_files(tmp_path: Path) -> None:
    """Names are relative and in order; links to folders, and what is no file, are left out."""
    (tmp_path / "b").mkdir()
    for name in ("b/2", "b/1", "a"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = Folder(tmp_path)
    assert found.names == ("a", "b/1", "b/2")
    assert found.read("b/1", limit=3) == b"b/1"


def test_a_folder_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than a set may have are refused before they are measured."""
    monkeypatch.setattr(places, "MAX_FILES", 2)
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(FileError, match="more than 2 files"):
        Folder(tmp_path)


def test_nothing_of_a_zip_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member is a temporary file under a name of ours for as long as it is used, also when it is damaged."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("deep/good", b"good content")
        archive.writestr("deep/bad", b"bad content")
    raw = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(raw.replace(b"bad content", b"bat content", 1))
    with open_place(tmp_path / "a.zip") as place:
        assert isinstance(place, Zip)
        with place.path("deep/good") as path:
            assert (path.read_bytes(), path.name) == (b"good content", "member")
            assert path.is_relative_to(tmp_path / "temporary")
        with pytest.raises(ArchiveError, match="CRC-32"), place.path("deep/bad"):
            pytest.fail("a damaged member was handed out")
    assert [*(tmp_path / "temporary").iterdir()] == []


@pytest.mark.parametrize(
    ("names", "path", "found", "missing"),
    [
        (("CD/DICOM/IM1",), "DICOM/IM1", ["CD/DICOM/IM1"], []),
        (("CD/dicom/im1",), "DICOM/IM1", ["CD/dicom/im1"], []),
        (("CD/dicom/im1", "CD/DICOM/IM1"), "DICOM/IM1", ["CD/DICOM/IM1"], []),
        (
            ("CD/dicom/im1", "CD/Dicom/IM1"),
            "DICOM/IM1",
            [],
            ["could be one of several files whose names differ in case"],
        ),
        (("DICOM/IM1", "CDX/DICOM/IM1"), "DICOM/IM1", [], ["is not there"]),
    ],
)
def test_a_dicomdir_finds_files_beside_and_below_it(
    names: tuple[str, ...], path: str, found: list[str], missing: list[str]
) -> None:
    """S5: in the folder of the DICOMDIR, without regard to case unless that leaves several."""
    directory = Directory("CD/DICOMDIR")
    directory.resolve([Reference(path, "IMAGE", "", "")], names)
    assert ([*directory.named], [why for _, why in directory.missing]) == (found, missing)


def test_a_file_that_is_named_twice_is_told() -> None:
    """S5: two records for one file."""
    directory = Directory("DICOMDIR")
    directory.resolve([Reference("A", "IMAGE", "", "1"), Reference("a", "IMAGE", "", "2")], ["A"])
    assert ([*directory.named], directory.twice, directory.whole) == (["A"], ["A"], True)
