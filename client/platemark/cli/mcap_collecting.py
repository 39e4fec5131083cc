"""The work behind `platemark mcap proofs`: what a journal holds and a ledger knows, made into recording proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files
from platemark.cli import output
from platemark.cli.connect import Connection
from platemark.cli.mcap_opening import is_mcap, is_recording, open_recording, schemas_of
from platemark.cli.mcap_sealed import Sealed
from platemark.cli.mcap_sealing import require_sound
from platemark.errors import RecordingError
from platemark.files import FileError
from platemark.recording.proof import RecordingProof
from platemark.robot.journal import SegmentJournal
from platemark.sealing.placing import Place, embed
from platemark.sealing.proving import identity, locate, prove

if TYPE_CHECKING:
    from platemark.robot.model import KeptSegment

__all__ = ["Collector"]


@dataclass(frozen=True)
class Collector:
    """Makes proofs from the journal at `path`: its directory, or a recording beside which `mcap seal --spool` left one."""

    connection: Connection
    path: Path
    out: Path | None = None
    into: Path | None = None

    def collect(self, recordings: Sequence[bytes] | None) -> list[Sealed]:
        """The proofs of these recordings, of all if None. Raises RecordingError, FileError, RpcError, EvidenceError."""
        if self.into is not None and not is_mcap(self.into):
            raise RecordingError(self.into, "is not an MCAP file")
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
        place = Place(self.path, self.out)
        of_seal = place.state.is_dir()
        directory = place.state if of_seal else self.path
        if not directory.is_dir():
            raise FileError(f"{self.path}: neither a journal of segments nor a recording that is being sealed")
        done: list[Sealed] = []
        made: list[RecordingProof] = []
        with SegmentJournal(directory) as journal:
            present = [each.recording for each in journal.recordings()]
            for each in recordings or []:
                if each not in present:
                    raise RecordingError(directory, f"has no recording {each.hex()}")
            for recording in present if recordings is None else recordings:
                target = place.evidence if of_seal else (self.out or self.path) / f"{recording.hex()}.evidence"
                item, proof = self._one(journal, recording, target)
                done.append(item)
                made += [] if proof is None else [proof]
        if made and self.into is not None:
            embed(self.into, self.into, made)
        # What goes on, or is not logged yet, needs its journal still.
        if made and of_seal and not any(item.bad or item.reason for item in done):
            if self.into is None and is_mcap(self.path):
                embed(self.path, place.target, made)
            place.forget()
        return done

    def _one(self, journal: SegmentJournal, recording: bytes, target: Path) -> tuple[Sealed, RecordingProof | None]:
        segments = list(journal.segments(recording))
        waiting = sum(each.finished is False for each in journal.recordings() if each.recording == recording)
        proof: RecordingProof | None = None
        with self.connection.open() as client, output.progress("proving", 2 * len(segments)) as step:
            located = locate(client, segments, step)
            logged = [each for each in segments if identity(each) in located]
            if logged:
                proof = prove(client, recording, logged, located, step, schemas=self._schemas(logged))
        if proof is not None:
            require_sound(proof, self.connection)
            files.replace(target, proof.to_bytes())
        missing = [each for each in segments if identity(each) not in located]
        reason = ""
        if missing:
            first = missing[0].segment
            reason = f"{len(missing)} segments are not in the ledger yet, from segment {first.number} of {first.channel.topic} on"
        elif not segments:
            reason = "no segment was signed yet"
        elif waiting:
            reason = "the recording goes on, or was not brought to its end: later segments are not proven here"
        status = "incomplete" if reason else "sealed"
        return (
            Sealed(
                name=recording.hex(),
                status=status,
                recording=recording,
                segments=len(logged),
                messages=sum(each.segment.count for each in logged),
                topics=len({each.segment.channel.topic for each in logged}),
                evidence=None if proof is None else target,
                conditions=tuple(sorted({code for each in located.values() for code in each.conditions})),
                reason=reason,
            ),
            proof,
        )

    def _schemas(self, segments: Sequence[KeptSegment]) -> list[bytes]:
        """Of the recording that is at hand, if one is: a journal has only digests."""
        path = self.into or self.path
        if not path.exists() or (path.is_dir() and not (path / "metadata.yaml").exists()) or not is_recording(path):
            return []
        return schemas_of(open_recording(path), {each.segment.channel.schema for each in segments})
