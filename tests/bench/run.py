"""Measure and print one table: `python tests/bench/run.py [--full] [--only NAME,...] [--json FILE]`. README.md says how to read it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    # tests/ instead of tests/bench/: modules are bench.report, integration.live, builders as everywhere in the tests.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import appends, stages
from bench.report import Report, listening

__all__ = ["main"]

SUBJECTS: dict[str, Callable[..., None]] = {
    "appends": appends.run,
    "stages": stages.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the subjects; 0 whatever the numbers are, because a number is no test."""
    options = _options(arguments)
    wanted = options.only.split(",") if options.only else list(SUBJECTS)
    unknown = [name for name in wanted if name not in SUBJECTS]
    if unknown:
        print(f"no subject {', '.join(unknown)}; there are {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    full = options.full or os.environ.get("BENCH") == "full"
    report = Report()
    noises: dict[str, float] = {}
    directory = Path(tempfile.mkdtemp(prefix="platemark-bench-", dir=options.directory))
    began = time.monotonic()
    try:
        for name in wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            with listening() as noise:
                SUBJECTS[name](report, directory, full=full)
            noises[name] = round(noise.foreign, 3)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(report.table())
    disturbed = ", ".join(f"{name} {share:.0%}" for name, share in noises.items())
    print(f"\n{time.monotonic() - began:.0f} s; share of the processors that others used meanwhile: {disturbed}")
    if options.json:
        options.json.write_text(report.to_json(full=full, foreign_load=noises) + "\n", "utf-8")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure; the numbers mean something beside each other, in one run.")
    parser.add_argument("--full", action="store_true", help="the great sizes: ten million statements, an hour")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured, too")
    parser.add_argument("--directory", type=Path, help="where stores are made and removed; a disk, not memory")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
