"""Where the demo works: a directory that it made, and nothing outside it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from platemark_ledger.errors import LedgerError

__all__ = ["DemoError", "Place", "prepare"]

_MARKER = ".platemark-demo"
_MARK = "Made by `platemark-ledger demo`, which replaces this whole directory when it runs again.\n"
_README = """\
Made by `platemark-ledger demo`. Every file is the output of the real programs; the next run replaces them all.

trust.toml   whom a verifier believes here: this ledger, by its leaf 0 and its policy key, two witnesses and an authority
ledger/      the ledger: configuration, store, anchor, keys (in earnest, ledger/offline never stays on a server)
peers/       the two witnesses and the time-stamping authority: demo, one operator, no independence
keys/        the keys of the three devices, with the state of their chains
modality/    DICOM images, each with what belongs to it
camera/      drawings as PNG files, likewise
robot/       run.mcap, a sealed recording of a camera and an IMU; copies of it that must pass, and some that must not;
             frame.png, one frame of it
cases/       copies that must not pass, and one that must, each with its evidence
server.log   what the server said

IMAGE.statement    what the device signed: digests, time, key; no name and no patient is in it
IMAGE.disclosure   the attributes and the key that opens them; stays with the holder of the image
IMAGE.evidence     what the ledger proves about it: all that a verifier needs besides trust.toml

    platemark verify IMAGE --trust trust.toml

run.mcap.evidence    the same for every message of a recording, with one signature for each topic and second; run.mcap and
                     the MCAP copies of it carry this file as an attachment
frame.png.evidence   the same for that frame alone

    platemark mcap verify robot/run.mcap --trust trust.toml
    platemark mcap verify robot/frame.png --trust trust.toml
    platemark mcap verify robot/bag --evidence robot/run.mcap.evidence --trust trust.toml
"""


class DemoError(LedgerError):
    """The demo cannot run here."""

    code = "demo"


@dataclass(frozen=True)
class Place:
    """The directories of one run."""

    out: Path

    @property
    def ledger(self) -> Path:
        """The ledger's directory."""
        return self.out / "ledger"

    @property
    def keys(self) -> Path:
        """The devices' keys."""
        return self.out / "keys"

    @property
    def modality(self) -> Path:
        """What the radiography modality captured."""
        return self.out / "modality"

    @property
    def camera(self) -> Path:
        """What the camera captured."""
        return self.out / "camera"

    @property
    def robot(self) -> Path:
        """What the robot recorded, and what others made of it."""
        return self.out / "robot"

    @property
    def run(self) -> Path:
        """The robot's recording."""
        return self.robot / "run.mcap"

    @property
    def cases(self) -> Path:
        """Copies to be judged."""
        return self.out / "cases"

    @property
    def peers(self) -> Path:
        """The witnesses and the time-stamping authority."""
        return self.out / "peers"

    @property
    def trust(self) -> Path:
        """The trust file."""
        return self.out / "trust.toml"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.out / "server.log"


def prepare(out: Path) -> Place:
    """An empty place. Raises DemoError when something else than an earlier demo is there."""
    place = Place(out)
    marker = out / _MARKER
    try:
        if out.is_dir() and any(out.iterdir()):
            # A link could lead to a directory that no demo made; its marker would vouch for the wrong one.
            if out.is_symlink() or not marker.is_file() or marker.read_text("utf-8") != _MARK:
                raise DemoError(f"{out} is not empty and was not made by a demo: give another --out")
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        # The marker first: what an interrupted run leaves is the next run's to replace.
        marker.write_text(_MARK, encoding="utf-8")
        (out / "README.txt").write_text(_README, encoding="utf-8")
        place.keys.mkdir(mode=0o700)
        for folder in (place.modality, place.camera, place.robot, place.cases, place.peers):
            folder.mkdir()
    except OSError as error:
        raise DemoError(f"{out}: {error.strerror or error}") from None
    return place
