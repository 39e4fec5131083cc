"""A worker in a process of its own, for tests: `python appender.py DIRECTORY STATEMENTS BATCH [--hang] [--wait]`.

Appends the statements of a file (pickled list) in batches and prints one line of JSON per answer, after it is released. `--hang`
takes the sequencer lock and never lets go. `--wait` appends when a line comes in, so that several begin together.
"""

import json
import pickle
import sys
from pathlib import Path

import builders
import fakes
from platemark_ledger.opening import Paths
from platemark_ledger.sequencer import Logged


def main() -> int:
    """Run one worker."""
    directory, file, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    founded = fakes.Founded(Paths.of(directory), builders.Log())
    ledger = founded.open()
    if "--hang" in sys.argv:
        with ledger.lock.hold(), ledger.store.write():
            _say({"held": True})
            sys.stdin.read()
    raws: list[bytes] = pickle.loads(file.read_bytes())  # noqa: S301 -- written by the test
    with fakes.sequencing(ledger) as sequencer:
        _say({"ready": True})
        if "--wait" in sys.argv:
            sys.stdin.readline()
        for start in range(0, len(raws), batch):
            appended = sequencer.submit(raws[start : start + batch]).result()
            fakes.check_answer(appended, founded.log)
            logged = [outcome for outcome in appended.outcomes if isinstance(outcome, Logged)]
            _say(
                {
                    "answers": [[each.id.hex(), each.index, each.raw.hex()] for each in logged],
                    "refused": len(appended.outcomes) - len(logged),
                    "size": appended.checkpoint.size,
                    "root": appended.checkpoint.root.hex(),
                }
            )
    ledger.close()
    return 0


def _say(line: object) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 -- the answer of the process


if __name__ == "__main__":
    sys.exit(main())
