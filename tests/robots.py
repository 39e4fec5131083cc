"""A robot for tests: its key, chain, spool and journal in a directory, and messages."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from platemark import key_files, keys
from platemark.chain import Chain
from platemark.robot.intake import Intake
from platemark.robot.journal import SegmentJournal
from platemark.robot.keeping import Keeping
from platemark.robot.keys import open_chain
from platemark.robot.line import OnKept, SegmentLine
from platemark.robot.segmenter import Closed, Segmenter
from platemark.segment import Channel, Row
from platemark.signing import Clock
from platemark.spool import Spool

__all__ = ["CAMERA", "CLOCK", "DEVICE", "START", "Robot", "closed", "message"]

DEVICE = "https://robots.example/devices/7"
START = 1_750_000_000 * 10**9
CAMERA = Channel.of("/camera", encoding="rgb8 4x4")
CLOCK = Clock("ptp", 1_000)
_SECOND = 10**9


@dataclass
class Robot:
    """Everything that a recorder needs, in `directory`, made on first use."""

    directory: Path
    algorithm: str = "ed25519"

    def chain(self) -> Chain:
        """The chain of its key."""
        key = self.directory / "key.pem"
        if not key.exists():
            key_files.write_private(key, keys.generate(self.algorithm))
        return open_chain(key, device=DEVICE)

    def spool(self, capacity: int = 1000) -> Spool:
        """Its spool."""
        return Spool(self.directory / "spool", capacity=capacity)

    @property
    def journal(self) -> Path:
        """Where its journal lies."""
        return self.directory / "journal"

    def keeping(
        self,
        journal: SegmentJournal,
        spool: Spool,
        *,
        recording: bytes = bytes(16),
        chain: Chain | None = None,
        on_kept: OnKept | None = None,
        memory: int = 1 << 20,
    ) -> tuple[Intake, Keeping]:
        """What stands behind a recorder, without its threads."""
        intake = Intake(Segmenter(), memory=memory)
        line = SegmentLine(chain=chain or self.chain(), spool=spool, on_kept=on_kept)
        keeping = Keeping(
            recording=recording,
            journal=journal,
            intake=intake,
            line=line,
            spool=spool,
            clock=lambda: CLOCK,
            now=lambda: START,
        )
        return intake, keeping


def message(number: int) -> bytes:
    """The data of a message."""
    return number.to_bytes(8, "big") * 6


def closed(count: int, *, messages: int = 3, topic: str = "/camera") -> list[Closed]:
    """So many segments of a second each."""
    segmenter, ended = Segmenter(), []
    channel = Channel.of(topic, encoding="rgb8 4x4")
    for each in range(count * messages):
        time = START + each // messages * _SECOND + each % messages
        ended += segmenter.add(channel, Row(time, time, hashlib.sha256(message(each)).digest()), len(message(each)))
    return ended + segmenter.close()
