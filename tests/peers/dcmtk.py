"""The programs of dcmtk: commands that end, and servers that run inside a block."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from peers.process import Peer, environment, free_port, program, started

__all__ = ["Storage", "Worklist", "run", "storescp", "storescu", "wlmscpfs"]

_SECONDS = 60.0

PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""The option of storescu that proposes a transfer syntax. Without one, only uncompressed objects are sent."""


def run(name: str, *arguments: str | Path, seconds: float = _SECONDS) -> subprocess.CompletedProcess[str]:
    """Run one command to its end. The caller looks at the exit code; `stdout` and `stderr` are text."""
    return subprocess.run(
        [program(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        env=environment(),
        timeout=seconds,
        check=False,
    )


def storescu(
    port: int, *paths: Path, options: Sequence[str] = (), aet: str = "ANY-SCP", seconds: float = _SECONDS
) -> subprocess.CompletedProcess[str]:
    """Send files over one association, as they are: `options=[PROPOSE[transfer_syntax]]` for compressed ones."""
    return run("storescu", *options, "-aec", aet, "127.0.0.1", str(port), *paths, seconds=seconds)


@dataclass(frozen=True)
class Storage:
    """A running storescp."""

    peer: Peer
    directory: Path
    aet: str

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return self.peer.ports[0]

    def files(self) -> list[Path]:
        """What it has stored, by name: two letters of the modality, a point, and the SOP Instance UID."""
        return sorted(self.directory.iterdir())


@contextmanager
def storescp(directory: Path, *options: str, aet: str = "STORESCP") -> Iterator[Storage]:
    """A storage SCP that writes to `directory`, which is made.

    It takes any SOP class (-pm) and one association at a time; `--fork` among the options changes that. Every transfer
    syntax is taken with `+xa`, implicit VR alone with `+xi`, data sets are written as received with `+B`.
    """
    directory.mkdir(parents=True, exist_ok=True)

    def make() -> Peer:
        port = free_port()
        command = [program("storescp"), "-dhl", "-pm", "-aet", aet, "-od", str(directory), *options, str(port)]
        return Peer(command, (port,), _beside(directory, "storescp.log"))

    with started(make) as peer:
        yield Storage(peer, directory, aet)


@dataclass(frozen=True)
class Worklist:
    """A running wlmscpfs."""

    peer: Peer
    directory: Path
    aet: str

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return self.peer.ports[0]

    def add(self, name: str, item: Dataset) -> Path:
        """Put a scheduled procedure step on the worklist; it is found from now on."""
        path = self.directory / self.aet / f"{name}.wl"
        # As a data set without file meta information, which wlmscpfs reads too.
        item.save_as(path, implicit_vr=True, little_endian=True)
        return path


@contextmanager
def wlmscpfs(directory: Path, *options: str, aet: str = "WORKLIST") -> Iterator[Worklist]:
    """A modality worklist SCP, its items in `directory`, which is made. Callers name it by its AE title."""
    (directory / aet).mkdir(parents=True, exist_ok=True)
    (directory / aet / "lockfile").touch()

    def make() -> Peer:
        port = free_port()
        command = [program("wlmscpfs"), "-s", "-dhl", "-dfr", "-dfp", str(directory), *options, str(port)]
        return Peer(command, (port,), _beside(directory, "wlmscpfs.log"))

    with started(make) as peer:
        yield Worklist(peer, directory, aet)


def _beside(directory: Path, name: str) -> Path:
    return directory.with_name(f"{directory.name}.{name}")
