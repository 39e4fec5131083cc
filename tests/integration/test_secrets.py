"""Passphrases do not appear where others look: in output, logs, errors, arguments of processes, or files in the clear."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.live import PROGRAM, Live, Place, environment, found
from integration.test_ledger_cli import run

PLATEMARK = (sys.executable, "-m", "platemark")
LOG, OFFLINE, DEVICE, WRONG = (f"{word}-c0rrect-horse-battery" for word in ("log", "offline", "device", "wrong"))
SECRETS = (LOG, OFFLINE, DEVICE, WRONG)


class _Seen:
    """Everything that somebody else could have read."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def run(self, *words: str | Path, code: int = 0, **changes: str) -> None:
        """A command whose arguments are public by nature, and its output."""
        command = [*map(str, words)]
        env = {**environment({}), **changes}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        self.texts += [*command, done.stdout, done.stderr]

    def process(self, pid: int) -> None:
        """The arguments of a process that runs, as everybody on the machine can list them."""
        self.texts.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())

    def files(self, directory: Path) -> None:
        """Every file in it."""
        self.texts += [path.read_bytes().decode("latin-1") for path in directory.rglob("*") if path.is_file()]


@pytest.fixture(name="seen")
def _seen() -> Iterator[_Seen]:
    seen = _Seen()
    yield seen
    assert len(seen.texts) > 5
    for secret in SECRETS:
        assert [text for text in seen.texts if secret in text] == []


def test_the_ledger_keeps_its_passphrases_to_itself(tmp_path: Path, seen: _Seen) -> None:
    """Found, serve, status, config and a wrong passphrase, from the environment and from a file."""
    file = tmp_path / "passphrase"
    file.write_text(f"{OFFLINE}\n")
    place = found(tmp_path / "ledger", LOG_KEY_PASSPHRASE=LOG, OFFLINE_KEYS_PASSPHRASE_FILE=str(file))
    with place.served("--workers", "2", LOG_KEY_PASSPHRASE=LOG, ACCESS_LOG=str(place.directory / "access-log")) as live:
        live.client().statement(index=0)
        for pid in (live.process.pid, *live.workers):
            seen.process(pid)
        os.kill(live.workers[1], signal.SIGKILL)  # what is said of a worker that died
    for command in ("status", "config"):
        done = run(command, str(place.directory), LOG_KEY_PASSPHRASE=LOG)
        seen.texts += [done.stdout, done.stderr]
    with pytest.raises(AssertionError, match="serve ended with 2") as caught:
        Live.start(place, LOG_KEY_PASSPHRASE=WRONG)
    seen.texts.append(str(caught.value))
    file.write_text("\n")
    seen.run(*PROGRAM, "serve", place.directory, code=2, PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE_FILE=str(file))
    both = {"PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE": LOG, "PLATEMARK_LEDGER_LOG_KEY_PASSPHRASE_FILE": str(file)}
    seen.run(*PROGRAM, "serve", place.directory, code=2, **both)
    seen.files(place.directory)


def test_an_offline_passphrase_does_not_reach_the_service(place: Place, seen: _Seen) -> None:
    """What only init needs is not in the environment of a worker, where a core dump would hold it."""
    with place.served(OFFLINE_KEYS_PASSPHRASE=OFFLINE) as live:
        seen.texts += [Path(f"/proc/{pid}/environ").read_bytes().decode() for pid in live.workers]
        seen.process(live.process.pid)
        seen.process(live.workers[0])
    seen.files(place.directory)


def test_the_client_keeps_its_passphrase_to_itself(tmp_path: Path, seen: _Seen) -> None:
    """Made and used with a passphrase from a file and from the environment, right and wrong."""
    key, request, file = tmp_path / "device.pem", tmp_path / "request", tmp_path / "passphrase"
    file.write_text(f"{DEVICE}\n")
    words = ("enrol", "--key", key, "--device", "https://d.test/1", "--role", "modality", "--log", "0" * 64)
    seen.run(*PLATEMARK, "keygen", key, "--passphrase-file", file)
    seen.run(*PLATEMARK, *words, "--request-out", request, "--passphrase-file", file)
    seen.run(*PLATEMARK, *words, "--request-out", tmp_path / "again", PLATEMARK_PASSPHRASE=DEVICE)
    seen.run(*PLATEMARK, *words, "--request-out", tmp_path / "third", code=2, PLATEMARK_PASSPHRASE=WRONG)
    file.unlink()
    seen.files(tmp_path)
