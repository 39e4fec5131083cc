"""A real gateway for tests: `platemark gateway` in a process of its own, which has processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from peers.process import environment
from platemark.gateway.journal import Journal
from platemark.key_files import write_private
from platemark.keys import PrivateKey, generate
from platemark.spool import Spool
from platemark.vault import RecipientKey
from platemark.vault.keys import generate as generate_recipient

__all__ = ["Running", "Site", "until"]

PROGRAM = (sys.executable, "-m", "platemark", "gateway")
DEVICE = "https://devices.test/gateway"
_SECONDS = 60.0
_T = TypeVar("_T")


def until(look: Callable[[], _T | None], what: str, seconds: float = _SECONDS) -> _T:
    """What `look` gives once it gives something. AssertionError naming what was waited for."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not after {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


@dataclass
class Site:
    """A gateway's directory, key and settings, whether it runs or not."""

    directory: Path
    key: PrivateKey = field(default_factory=lambda: generate("p256"))
    settings: dict[str, Any] = field(default_factory=dict)
    recipient: RecipientKey = field(default_factory=generate_recipient)

    def __post_init__(self) -> None:
        """Write key and recipient; fill in the settings that every gateway needs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_private(self.directory / "gateway.pem", self.key)
        (self.directory / "vault.pub").write_text(self.recipient.recipient.to_pem())
        self.settings = {
            "mode": "copy",
            "state_dir": "state",
            "sign": {"key": "gateway.pem", "device": DEVICE, "vault_recipient": "vault.pub"},
            "receive": {"listen": "127.0.0.1:0", "stop_time": 5.0},
            "limits": {"free_bytes": 0},
            "metrics": {"listen": "127.0.0.1:0"},
            **self.settings,
        }

    @property
    def config(self) -> Path:
        """The settings in a file, as they are now."""
        path = self.directory / "gateway.toml"
        path.write_text("".join(_toml(self.settings)))
        return path

    @property
    def state(self) -> Path:
        """Where the gateway keeps everything."""
        return self.directory / "state"

    def journal(self) -> Journal:
        """Its journal, read beside it."""
        return Journal(self.state / "journal.sqlite")

    def spool(self) -> Spool:
        """Its spool, read beside it."""
        return Spool(self.state / "spool")

    @contextmanager
    def running(self) -> Iterator[Running]:
        """The gateway, taking objects; stopped with SIGTERM when the block ends, and then it has to end well."""
        started = self.start()
        try:
            yield started
        finally:
            code = started.stop()
        assert code == 0, started.log.read_text()[-4000:]

    def start(self) -> Running:
        """Returns once it takes objects. AssertionError with the log when it ends instead."""
        log = self.directory / "gateway.log"
        with log.open("a") as errors:
            process = subprocess.Popen(
                [*PROGRAM, "--config", str(self.config), "--json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(),
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.stdout.close()
            raise AssertionError(f"the gateway ended with {process.wait()}: {log.read_text()[-4000:]}")
        said = json.loads(line)
        return Running(self, process, said["port"], said["metrics"], log)


@dataclass
class Running:
    """A gateway that takes objects at `port` of loopback."""

    site: Site
    process: subprocess.Popen[str]
    port: int
    metrics: str
    log: Path

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; the exit code. Stopping twice is fine."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """As a power failure does, to all of its processes at once."""
        children = self.children()
        for each in (self.process.pid, *children):
            os.kill(each, signal.SIGKILL)
        self.stop()
        until(lambda: True if not any(_lives(each) for each in children) else None, "the end of its processes")

    def children(self) -> list[int]:
        """The process ids of its parts."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(each) for each in path.read_text().split() if _lives(int(each))]

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def shows(self, name: str) -> dict[str, float]:
        """The samples of a metric: labels as Prometheus writes them, and the value."""
        found: dict[str, float] = {}
        for line in httpx.get(self.metrics).text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample == name or sample.startswith(name + "{"):
                found[sample[len(name) :]] = float(value)
        return found

    def captured(self, count: int) -> None:
        """Wait until so many objects have a statement, whether their files are still there or not."""
        with closing(self.site.spool()) as spool:
            until(lambda: _total(spool) >= count or None, f"{count} captured objects")


def _total(spool: Spool) -> int:
    counts = spool.counts()
    return counts.depth + counts.set_aside + counts.acknowledged


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _toml(table: dict[str, Any], name: str = "") -> Iterator[str]:
    if name:
        yield f"\n[{name}]\n"
    for key, value in table.items():
        if not isinstance(value, dict) and not (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield f"{key} = {json.dumps(value)}\n"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _toml(value, key)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for each in value:
                yield f"\n[[{key}]]\n"
                yield from (f"{inner} = {json.dumps(item)}\n" for inner, item in each.items())
