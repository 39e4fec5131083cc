"""The demo's time-stamping authority as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def running(directory: Path) -> Iterator[dict[str, Any]]:
    """The authority of `directory` inside the block: what it announced. It has to end well on SIGTERM."""
    command = [sys.executable, "-P", "-m", "platemark_ledger.demo.tsa", "--directory", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            announced: dict[str, Any] = json.loads(process.stdout.readline())
            yield announced
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
