"""A robot beside the modality and the camera: it seals a recording, and clips of it are judged offline.

Its steps are those of `platemark mcap seal --spool`, `spool send`, `mcap proofs`, `mcap frame` and `mcap verify`, by their code.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files
from platemark.chain import Chain
from platemark.cli import mcap_frame
from platemark.cli.connect import Connection
from platemark.cli.mcap_checking import Named, verify_recording
from platemark.cli.mcap_collecting import Collector
from platemark.cli.mcap_needs import require_robot
from platemark.cli.mcap_opening import is_recording
from platemark.cli.mcap_sealing import Sealer
from platemark.cli.sending import sending
from platemark.key_files import read_private
from platemark.report import format_time
from platemark.sealing import placing
from platemark.signing import Clock
from platemark.spool import Spool
from platemark.verdict import DOES_NOT_MATCH, INCONCLUSIVE, MATCHES_RECORD
from platemark_ledger.demo import drive
from platemark_ledger.demo.place import DemoError
from platemark_ledger.demo.record import Device

if TYPE_CHECKING:
    from platemark.cli.mcap_frame import FrameVerdict
    from platemark.cli.mcap_sealed import Sealed
    from platemark.recording.verdict import RecordingVerdict
    from platemark.trust import Trust
    from platemark_ledger.demo.place import Place

__all__ = ["DEVICE", "Clip", "Judged", "judge", "make", "prove", "record", "seal"]

_SECOND = 1_000_000_000
_FRAME = 45  # the one that is drawn, altered and dropped: in the middle
DEVICE = Device(
    name="rover3",
    uri="https://lab.example/robots/rover3",
    role="sensor",
    algorithm="ed25519",
    clock=Clock("ptp", 200_000),
    enrolled_with={"manufacturer": "Example Robotics", "device_serial_number": "R3-0007"},
    worked_before=3600 * _SECOND,  # it is enrolled after its drive
)


@dataclass(frozen=True)
class Clip:
    """A recording, or a frame of one, and the result that an honest verifier reaches.

    `evidence`: named besides what lies in and beside it. `named`: the one difference that has to be named, by its class and the
    log time of its frame (Unix ns).
    """

    title: str
    path: Path
    expected: str
    evidence: Path | None = None
    named: tuple[str, int] | None = None


@dataclass(frozen=True)
class Judged:
    """A clip and what the verifier really said."""

    case: Clip
    verdict: RecordingVerdict | FrameVerdict
    named: tuple[Named, ...] = ()

    @property
    def as_expected(self) -> bool:
        """Whether it is the expected result, with the expected frame named and no other."""
        said = [(each.kind, each.log_time) for each in self.named if each.topic == drive.CAMERA and each.count == 1]
        named = self.case.named is None or (len(self.named), said) == (1, [self.case.named])
        return self.verdict.result == self.case.expected and named

    @property
    def remark(self) -> str:
        """The frame that is named, if one had to be."""
        if self.case.named is None:
            return ""
        return "; ".join(f"{each.kind}: {each.topic} at {format_time(each.log_time)}" for each in self.named)

    def command(self, place: Place) -> str:
        """The line that says the same."""
        words = ["platemark", "mcap", "verify", self.case.path]
        words += [] if self.case.evidence is None else ["--evidence", self.case.evidence]
        return shlex.join(map(str, [*words, "--trust", place.trust]))


def record(place: Place) -> None:
    """Write the recording of a drive that has just ended. Raises MissingExtraError."""
    require_robot()
    start = _start(time.time_ns())
    drive.write(place.run, [*drive.frames(start), *drive.imus(start)])


def seal(address: str, place: Place) -> Sealed:
    """Sign the recording segment by segment, and have the ledger at `address` take the segments. Raises DemoError."""
    key = place.keys / f"{DEVICE.name}.pem"
    with tempfile.TemporaryDirectory() as folder:
        spool_path, connection = Path(folder) / "spool", Connection(server=address)
        sealer = Sealer(
            chain=Chain(key, read_private(key)),
            clock=DEVICE.clock,
            connection=connection,
            window_ns=_SECOND,
            sidecar=False,
            out=None,
            spool=spool_path,
            witnessed=False,
            force=False,
        )
        sealed = sealer.seal(place.run)
        with Spool(spool_path) as spool, sending(spool, connection, witnessed=False) as sender:
            done = sender.drain(_pause)
            if sealed.status != "spooled" or not done or sender.traffic.set_aside:
                reason = sealed.reason or sender.traffic.error or "a segment was refused"
                raise DemoError(f"{place.run} was not sealed: {reason}")
    return sealed


def prove(address: str, place: Place) -> None:
    """Put the proof into the recording and beside it, and draw one frame with the proof of it alone. Raises DemoError.

    Once the ledger has published: what it shows then is witnessed and time-stamped.
    """
    (proven,) = Collector(Connection(server=address), place.run).collect(None)
    if proven.status != "sealed":
        raise DemoError(f"{place.run} has no proof: {proven.reason}")
    picture = place.robot / "frame.png"
    taken = mcap_frame.take(place.run, drive.CAMERA, time=None, number=_FRAME, raw=False, named=None, out=picture)
    files.create(placing.Place(picture).evidence, taken.proof.to_bytes())
    files.create(picture, taken.content)


def make(place: Place) -> list[Clip]:
    """Write what others make of the recording, by mcap's own writer, the proof attached as it was, and by rosbags'."""
    samples, proofs = drive.read(place.run)
    frame = [each for each in samples if each.topic == drive.CAMERA][_FRAME]
    start = samples[0].log_time
    middle = [each for each in samples if 0.8 * _SECOND <= each.log_time - start < 2.2 * _SECOND]
    changed = replace(frame, data=frame.data[:-1] + bytes([frame.data[-1] ^ 1]))
    earlier = _start(start)
    written = {
        "clip": (middle, "lz4", proofs),
        "one-byte": ([changed if each is frame else each for each in samples], "zstd", proofs),
        "one-dropped": ([each for each in samples if each is not frame], "zstd", proofs),
        "another": ([*drive.frames(earlier), *drive.imus(earlier)], "zstd", ()),
    }
    paths = {name: place.robot / f"{name}.mcap" for name in written}
    for name, (content, compression, attached) in written.items():
        drive.write(paths[name], content, compression=compression, proofs=attached)
    bag = place.robot / "bag"
    drive.write_bag(bag, middle)
    evidence, at = placing.Place(place.run).evidence, frame.log_time
    return [
        Clip("the whole recording", place.run, MATCHES_RECORD),
        Clip("a clip, cut out and recompressed (zstd to lz4) by mcap's writer", paths["clip"], MATCHES_RECORD),
        Clip("the clip as a rosbag2 folder (sqlite3) by rosbags' writer", bag, MATCHES_RECORD, evidence),
        Clip(f"frame {_FRAME} alone, as PNG", place.robot / "frame.png", MATCHES_RECORD),
        Clip(f"one byte of frame {_FRAME} changed", paths["one-byte"], DOES_NOT_MATCH, named=("altered", at)),
        Clip(f"frame {_FRAME} left out", paths["one-dropped"], DOES_NOT_MATCH, named=("dropped", at)),
        Clip("an earlier recording, never sealed, with this evidence", paths["another"], INCONCLUSIVE, evidence),
    ]


def judge(clip: Clip, trusted: Trust) -> Judged:
    """What `platemark mcap verify` says: the same functions, the same files."""
    named, at = None if clip.evidence is None else [clip.evidence], time.time_ns()
    if not is_recording(clip.path):
        return Judged(clip, mcap_frame.verify_frame(clip.path, named, trust=trusted, at=at))
    checked = verify_recording(clip.path, named, trust=trusted, at=at, allow_missing=False)
    return Judged(clip, checked.verdict, checked.named)


def _start(end: int) -> int:
    """The whole second at which a recording begins that is over by `end`."""
    return (end // _SECOND - drive.SECONDS - 1) * _SECOND


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False
