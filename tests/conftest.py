"""What every test may use: system programs that may be absent, and the two depths of random search."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tokens import Token, make_token

REQUIRE_ALL = os.environ.get("PLATEMARK_REQUIRE_ALL") == "1"
SOAK = os.environ.get("PLATEMARK_SOAK") == "1"

# No deadline: on a busy machine a slow example is no failure; pytest-timeout ends what hangs.
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "soak", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("soak" if SOAK else "ci")


@pytest.fixture(scope="module", name="require")
def _require() -> Callable[[str], Path]:
    """`require("dcmdump")` is that program's path; without it the test is skipped, or fails in CI."""
    return require_program


def require_program(program: str) -> Path:
    """The program's path; without it the test is skipped, or fails in CI."""
    found = shutil.which(program)
    if found is not None:
        return Path(found)
    reason = f"the program {program} is not installed"
    if REQUIRE_ALL:
        pytest.fail(f"{reason}, and PLATEMARK_REQUIRE_ALL=1 allows no skips", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session", name="token")
def _token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    """A PKCS#11 token; one for the whole run, because a module is loaded into a process once."""
    return make_token(tmp_path_factory.mktemp("softhsm"), require_program("softhsm2-util"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With PLATEMARK_SOAK=1 nothing has a time limit; without it, tests marked `soak` are skipped."""
    for item in items:
        if SOAK:
            item.add_marker(pytest.mark.timeout(0))
        elif item.get_closest_marker("soak") is not None:
            item.add_marker(pytest.mark.skip(reason="a long run: PLATEMARK_SOAK=1 or make soak"))
