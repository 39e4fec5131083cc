"""`platemark witness` as real processes for tests of the ledger: made, told of a log, served, killed, started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAM = (sys.executable, "-m", "platemark")


@dataclass
class WitnessProcess:
    """A witness in a directory. `address` is host:port, the same after a restart; `vkeys` are its two public keys."""

    directory: Path
    name: str
    vkeys: list[str] = field(default_factory=list)
    address: str = "127.0.0.1:0"
    process: subprocess.Popen[str] | None = None

    @classmethod
    def made(cls, directory: Path, name: str, *log_vkeys: str) -> WitnessProcess:
        """A new witness of one log."""
        told = _run("init", str(directory), "--name", name, "--json")
        _run("add-log", str(directory), *log_vkeys)
        return cls(directory, name, json.loads(told)["vkeys"])

    def start(self) -> None:
        """Returns once it takes requests."""
        command = [*_PROGRAM, "witness", "serve", str(self.directory), "--listen", self.address, "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = json.loads(self.process.stdout.readline())["url"].removeprefix("http://").rstrip("/")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, by its process id. Stopping twice is fine."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@contextmanager
def running(*witnesses: WitnessProcess) -> Iterator[None]:
    """All of them, inside the block."""
    try:
        for each in witnesses:
            each.start()
        yield
    finally:
        for each in witnesses:
            each.stop()


def policy(count: int, *witnesses: WitnessProcess) -> str:
    """A tlog-policy that asks for so many of the witnesses, each by either of its keys."""
    lines: list[str] = []
    for number, each in enumerate(witnesses):
        kinds = [f"w{number}-{kind}" for kind in range(len(each.vkeys))]
        lines += [f"witness {kind} {vkey} http://{each.address}" for kind, vkey in zip(kinds, each.vkeys, strict=True)]
        lines.append(f"group w{number} any {' '.join(kinds)}")
    members = " ".join(f"w{number}" for number in range(len(witnesses)))
    return "\n".join([*lines, f"group quorum-of-{count} {count} {members}", f"quorum quorum-of-{count}", ""])


def _run(*arguments: str) -> str:
    done = subprocess.run([*_PROGRAM, "witness", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
