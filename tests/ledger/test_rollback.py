"""The mark of another past: it comes back as it was written, and damage never removes it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemark_ledger import rollback
from platemark_ledger.rollback import Mark


@given(st.builds(Mark, st.text(max_size=50), st.text(max_size=50), st.binary(max_size=200)))
def test_what_is_kept_is_what_is_read(mark: Mark) -> None:
    """Through the file, every mark comes back, in place of the one before, until it is cleared."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "mark"
        assert rollback.kept(path) is None
        rollback.keep(path, Mark("an earlier one"))
        rollback.keep(path, mark)
        assert rollback.kept(path) == mark
        rollback.clear(path)
        assert rollback.kept(path) is None
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"v": 2}', b'{"v": 1, "reason": "r", "url": "u", "note": "***"}'],
)
def test_what_cannot_be_read_is_a_mark(tmp_path: Path, damaged: bytes) -> None:
    """Nothing but the absence of the file means that no other past was seen."""
    path = tmp_path / "mark"
    path.write_bytes(damaged)
    assert rollback.kept(path) == Mark(f"the mark {path} of another past cannot be read")


def test_a_mark_that_cannot_be_opened_is_a_mark(tmp_path: Path) -> None:
    """A directory in its place, for example."""
    (tmp_path / "mark").mkdir()
    assert rollback.kept(tmp_path / "mark") is not None
