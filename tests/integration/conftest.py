"""One shared ledger for tests that only add to it, fresh ones for tests that break or count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.live import Live, Place, found


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A served ledger that all tests share; other tests add to it at the same time."""
    with found(tmp_path_factory.mktemp("shared") / "ledger").served() as ledger:
        yield ledger


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A founded ledger of the test's own, not served yet."""
    return found(tmp_path / "ledger")
