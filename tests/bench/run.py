"""Measure and print one table. README.md says what each number is and how to read it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path

if __name__ == "__main__":
    # tests/ instead of tests/bench/: modules are bench.report, integration.live, builders as everywhere in the tests.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import (
    appends,
    auditing,
    fleet,
    gateway,
    offline,
    proofs,
    publishing,
    reads,
    recording,
    spooling,
    stages,
    unary,
    writes,
)
from bench.bulk import Big
from bench.report import Report, listening

__all__ = ["main"]

_SIZE, _FULL_SIZE = 200_000, 10_000_000


class Bench:
    """The subjects, in their order. Those of the large ledger share one, which the first of them makes."""

    def __init__(self, report: Report, directory: Path, *, full: bool) -> None:
        self._report, self._directory, self._full = report, directory, full

    @cached_property
    def _big(self) -> Big:
        big, size = Big(self._directory / "big"), _FULL_SIZE if self._full else _SIZE
        ledger = big.open()
        try:
            seconds = big.grow(ledger, size)
        finally:
            ledger.close()
        print(f"  made a log of {size:,} in {seconds:.0f} s", file=sys.stderr, flush=True)
        return big

    def appends(self) -> None:
        """Over gRPC, 256 a call."""
        appends.run(self._report, self._directory, full=self._full)

    def stages(self) -> None:
        """Where the time of an append goes."""
        stages.run(self._report, self._directory, full=self._full)

    def unary(self) -> None:
        """Over gRPC, one a call."""
        unary.run(self._report, self._directory, full=self._full)

    def publishing(self) -> None:
        """An append beside witnesses, and one that waits for them."""
        publishing.run(self._report, self._directory, full=self._full)

    def writes(self) -> None:
        """Tree, store and admission."""
        writes.run(self._report, self._directory, self._big, full=self._full)

    def reads(self) -> None:
        """Lookup and evidence, and memory."""
        reads.run(self._report, self._big, full=self._full)

    def proofs(self) -> None:
        """Inclusion."""
        proofs.run(self._report, self._directory, full=self._full)

    def offline(self) -> None:
        """Verification and hashing."""
        offline.run(self._report, self._directory, full=self._full)

    def auditing(self) -> None:
        """A whole log by its tiles."""
        auditing.run(self._report, self._directory, full=self._full)

    def spool(self) -> None:
        """The writer's outbox."""
        spooling.run(self._report, self._directory, full=self._full)

    def gateway(self) -> None:
        """Objects from a modality."""
        gateway.run(self._report, self._directory, full=self._full)

    def robot(self) -> None:
        """Messages of sensors into segments."""
        recording.run(self._report, self._directory, full=self._full)

    def fleet(self) -> None:
        """A thousand sensors with a stream each, and bad neighbours."""
        fleet.run(self._report, self._directory, full=self._full)


SUBJECTS = (
    "appends",
    "stages",
    "unary",
    "publishing",
    "writes",
    "reads",
    "proofs",
    "offline",
    "auditing",
    "spool",
    "gateway",
    "robot",
    "fleet",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the subjects; 0 whatever the numbers are, because a number is no test."""
    options = _options(arguments)
    wanted = options.only.split(",") if options.only else list(SUBJECTS)
    unknown = [name for name in wanted if name not in SUBJECTS]
    if unknown:
        print(f"no subject {', '.join(unknown)}; there are {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    full = options.full or os.environ.get("BENCH") == "full"
    noises: dict[str, float] = {}
    directory = Path(tempfile.mkdtemp(prefix="platemark-bench-", dir=options.directory))
    report = Report()
    bench = Bench(report, directory, full=full)
    began = time.monotonic()
    try:
        for name in wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            with listening() as noise:
                getattr(bench, name)()
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
