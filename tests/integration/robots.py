"""A robot's desk for tests of recordings: an enrolled sensor key, a folder of recordings, and the ledger they are sealed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, platemark
from integration.live import Live
from recordings import Sample, write_mcap

__all__ = ["Robot", "robot_at"]

_ENVIRONMENT = ("PLATEMARK_SERVER", "PLATEMARK_TRUST", "PLATEMARK_PASSPHRASE", "PLATEMARK_TLS_CA", "PLATEMARK_SPOOL")


@dataclass
class Robot:
    """A key that a ledger knows as a sensor."""

    live: Live
    folder: Path
    name: str

    @property
    def key(self) -> Path:
        """Its private key."""
        return self.folder / "robot.pem"

    @property
    def device(self) -> str:
        """What it signs as."""
        return f"https://robots.test/{self.name}"

    @property
    def trust(self) -> Path:
        """A trust file that names the ledger."""
        return self.live.place.directory / "trust.toml"

    def enrol(self) -> Robot:
        """A key, known to the ledger."""
        assert platemark("keygen", self.key).code == 0
        return self.enrolled()

    def enrolled(self) -> Robot:
        """The key that is there, known to the ledger for everything since 2026."""
        registrar = self.live.place.directory / "offline" / "registrar.key"
        words = ("--key", self.key, "--device", self.device, "--role", "sensor", "--registrar", registrar)
        ran = self.run("enrol", *words, "--not-before", "2026-01-01")
        assert (ran.code, ran.err) == (0, "")
        return self

    def run(self, *words: object) -> Ran:
        """A command that talks to the ledger, which has to prove who it is."""
        return platemark(*words, "--server", self.live.address, "--trust", self.trust)

    def seal(self, *recordings: Path, more: Iterable[object] = ()) -> Any:
        """`mcap seal`, which succeeds; its answer."""
        ran = self.run("mcap", "seal", *recordings, "--key", self.key, "--json", *more)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran.json()

    def sealed(self, name: str, samples: Iterable[Sample], *more: object, **options: Any) -> Path:
        """A new recording by mcap's writer, sealed."""
        path = write_mcap(self.folder / name, samples, **options)
        self.seal(path, more=more)
        return path

    def verify(self, *words: object) -> Ran:
        """`mcap verify`, offline."""
        return platemark("mcap", "verify", *words, "--trust", self.trust)

    def judged(self, *words: object, code: int) -> Any:
        """The verdict on a clip as JSON; its exit code is `code`."""
        ran = self.verify(*words, "--json")
        assert ran.code == code, (ran.code, ran.out, ran.err)
        return ran.json()


@contextmanager
def robot_at(live: Live, folder: Path, node: str) -> Iterator[Robot]:
    """An enrolled robot of a name that no other test has, in an environment without settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _ENVIRONMENT:
            patch.delenv(name, raising=False)
        yield Robot(live, folder, re.sub(r"[^a-z0-9]+", "-", node.lower())).enrol()
