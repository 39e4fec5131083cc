"""Where a seal lies: `X.evidence` beside the recording X, within an MCAP file too, and `X.sealing/` while it is being made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from platemark import evidence, files, statement
from platemark.files import FileError
from platemark.recording.proof import MEDIA_TYPE, RecordingProof

__all__ = ["ATTACHMENT", "METADATA", "Place", "embed", "metadata_of"]

ATTACHMENT = "platemark.recording"
METADATA = "platemark.segments"


@dataclass(frozen=True)
class Place:
    """A recording (MCAP file, rosbag2 folder, .db3 file) and what belongs to it, in the directory `out` if there is one."""

    recording: Path
    out: Path | None = None

    @property
    def target(self) -> Path:
        """Where the sealed copy of an MCAP file goes: in its own place, unless `out` says otherwise."""
        # A folder may be named with a slash or as `.`, which have no name.
        path = self.recording if self.recording.name else self.recording.resolve()
        return path if self.out is None else self.out / path.name

    @property
    def evidence(self) -> Path:
        """The recording proof as a file."""
        return self.target.with_name(f"{self.target.name}.evidence")

    @property
    def state(self) -> Path:
        """What a seal that is under way has signed: the journal of segments, and a spool if no other was named."""
        return self.target.with_name(f"{self.target.name}.sealing")

    def forget(self) -> None:
        """Remove the state: the proof is kept, or a new seal begins. Raises FileError."""
        # A new name first: a crash in the middle leaves what nobody takes for a state.
        aside = self.state.with_name(f".{self.state.name}.removed")
        try:
            if aside.exists():
                shutil.rmtree(aside)
            if self.state.exists():
                self.state.rename(aside)
                shutil.rmtree(aside)
        except OSError as error:
            raise FileError(f"{self.state}: {error.strerror or error}") from None

    def keep(self, proof: RecordingProof) -> None:
        """Put the proof beside the recording. Raises FileError."""
        files.replace(self.evidence, proof.to_bytes())


def metadata_of(proof: RecordingProof) -> dict[str, str]:
    """The metadata record that tells other tools what the attachment is about (proto/segments.md)."""
    held = evidence.from_bytes(proof.evidence)
    return {
        "recording": proof.recording.hex(),
        "log": statement.decode(held.policies[0].statement).id.hex(),
        "segments": str(len(proof.segments)),
        "statement": statement.decode(held.record.statement).id.hex(),
    }


def embed(recording: Path, target: Path, proofs: Sequence[RecordingProof]) -> None:
    """Write a copy of an MCAP file with these proofs in it to `target`, which may be the file itself.

    It takes the place at once and whole. Raises RecordingError, FileError.
    """
    from platemark.capture.mcap import append_records

    append_records(
        recording,
        target,
        attachments=[(ATTACHMENT, MEDIA_TYPE, each.to_bytes()) for each in proofs],
        metadata=[(METADATA, metadata_of(each)) for each in proofs],
    )
