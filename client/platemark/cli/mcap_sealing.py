"""The work behind `platemark mcap seal` and `platemark mcap proofs`, without options. Imported by them when they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files, statement
from platemark.cli import output
from platemark.cli.connect import Connection
from platemark.cli.mcap_opening import MCAP, is_mcap, may_become_mcap, open_recording, schemas_of
from platemark.cli.mcap_sealed import Sealed, advised
from platemark.cli.sending import original, sending
from platemark.cli.stopping import told_to_stop
from platemark.errors import EvidenceError, FormatError, PlatemarkError, RecordingError
from platemark.files import FileError
from platemark.recording import judging
from platemark.recording.proof import MAX_PROOF, decode
from platemark.sealing.placing import Place, embed
from platemark.sealing.proving import identity, locate, prove
from platemark.sealing.signing import Signing
from platemark.spool import Spool, State

if TYPE_CHECKING:
    from platemark.chain import Chain
    from platemark.recording.model import Message, Source
    from platemark.recording.proof import RecordingProof
    from platemark.robot.model import KeptSegment
    from platemark.rpc.sync import LedgerClient
    from platemark.signing import Clock

__all__ = ["Sealer", "require_sound"]

_SEALED = "has a proof already: platemark mcap verify checks it, --force seals it anew"
_OTHER = "does not show the first message, so it is of another recording: move it away and seal again"
_LOOK = 0.2  # seconds between two looks at a recording in progress
_CLOSING = 60.0  # seconds that a writer may take from the end of the messages to that of the file


@dataclass(frozen=True, kw_only=True)
class Sealer:
    """How to seal recordings. `spool` None: the ledger is reached at once."""

    chain: Chain
    clock: Clock
    connection: Connection
    window_ns: int
    sidecar: bool
    out: Path | None
    spool: Path | None
    witnessed: bool
    force: bool

    def seal(self, path: Path) -> Sealed:
        """Seal one recording. Raises PlatemarkError when the ledger or this machine is at fault."""
        try:
            place = self._place(path)
            return self._sealed_before(place) or self._seal(place)
        except (RecordingError, FormatError, FileError) as error:
            return Sealed(name=str(path), status="failed", reason=str(error).removeprefix(f"{path}: "))

    def follow(self, path: Path) -> Sealed:
        """Seal a recording while it is written, until it is whole or SIGTERM or SIGINT comes."""
        from platemark.capture.mcap import tail

        place = self._place(path)
        if not may_become_mcap(path):
            raise RecordingError(path, "--follow reads MCAP files alone; seal others when they are whole")
        if place.evidence.exists() and not place.state.exists():
            if _is_whole(path) and _begins_as(place):
                return Sealed(name=str(path), status="repeated", reason=_SEALED)
            # Of the run before, under the same name: whoever calls this a success records a day without a signature.
            raise RecordingError(place.evidence, "lies there already, of what was sealed before: move it away first")
        stop = threading.Event()
        with self._working(place) as (spool, signing), told_to_stop(stop):

            def wait() -> bool:
                signing.due(time.monotonic_ns())
                return not stop.wait(_LOOK)

            source = tail(path, wait=wait)
            with self._sending(spool):
                signing.take(source)
                cut = stop.is_set()
                signing.end(whole=not cut)
            for fault in [] if cut else source.faults:
                output.note(f"{path}: {fault.where}: {fault.reason}")
            whole = not cut and not source.faults and _is_closed(path, stop)
            if not whole:
                output.note(f"{path}: is not whole, so the proof lies beside it alone")
            return self._prove(place, spool, signing, into=whole and not self.sidecar)

    def _place(self, path: Path) -> Place:
        place = Place(path, self.out)
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
        if self.force:
            place.forget()
        return place

    def _sealed_before(self, place: Place) -> Sealed | None:
        """What to say of a recording that has a proof already; None when it has none, or a seal of it goes on."""
        if self.force or place.state.exists():
            return None
        if place.evidence.exists() and not _begins_as(place):
            raise RecordingError(place.evidence, _OTHER)
        if place.evidence.exists() or open_recording(place.recording).proofs:
            return Sealed(name=str(place.recording), status="repeated", reason=_SEALED)
        if self.out is not None and place.target.exists():
            raise FileError(f"{place.target}: exists already; --force replaces it")
        return None

    def _seal(self, place: Place) -> Sealed:
        source = open_recording(place.recording)
        with self._working(place) as (spool, signing):
            with output.progress(f"signing {place.recording.name}", _size(place.recording)) as step:
                signing.take(_sound(source), step)
            signing.end()
            into = not self.sidecar and is_mcap(place.recording)
            return self._prove(place, spool, signing, into=into)

    @contextmanager
    def _working(self, place: Place) -> Iterator[tuple[Spool, Signing]]:
        with ExitStack() as stack:
            spool = stack.enter_context(Spool(place.state / "spool" if self.spool is None else self.spool))
            signing = stack.enter_context(
                Signing(
                    place.recording,
                    place.state,
                    chain=self.chain,
                    spool=spool,
                    window_ns=self.window_ns,
                    clock=self.clock,
                    now_ns=time.time_ns(),
                )
            )
            yield spool, signing

    @contextmanager
    def _sending(self, spool: Spool) -> Iterator[None]:
        """Segments go to the ledger while others are being recorded; to a spool that has a sender of its own they do not."""
        if self.spool is not None:
            yield
            return
        stop = threading.Event()
        with sending(spool, self.connection, witnessed=self.witnessed) as sender:
            thread = threading.Thread(target=sender.run, args=(stop.wait,), name="platemark-sender")
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def _prove(self, place: Place, spool: Spool, signing: Signing, *, into: bool) -> Sealed:
        segments = list(signing.segments())
        if not segments:
            place.forget()
            raise RecordingError(place.recording, "has no message")
        if self.spool is not None:
            return Sealed.of(place, "spooled", signing.recording, segments)
        refused = self._delivered(spool, segments)
        if refused is not None:
            begun = statement.decode(segments[0].statement).kid
            reason = advised(refused, begun=begun, kid=self.chain.signer.kid)
            return Sealed.of(place, "refused", signing.recording, segments, reason=reason)
        with self.connection.open() as client:
            wanted = {each.segment.channel.schema for each in segments}
            schemas = schemas_of(open_recording(place.recording), wanted)
            proof = proof_of(client, self.connection, signing.recording, segments, schemas=schemas)
        place.keep(proof)
        if into and not _carries(place.target, proof):
            embed(place.recording, place.target, [proof])
        # Crash here: the next run makes the proof once more, of the same segments.
        signing.close()
        spool.close()
        place.forget()
        return Sealed.of(place, "sealed", signing.recording, segments, proof=proof)

    def _delivered(self, spool: Spool, segments: Sequence[KeptSegment]) -> str | None:
        """Have the ledger take all of them; why it will not have one. Raises PlatemarkError: it cannot be reached."""
        counts = spool.counts()
        if counts.unsent + counts.acknowledged < len(segments):
            # An earlier run put them into a spool of another place: a ledger gives each its one index.
            for each in segments:
                spool.put(each.statement, key=each.segment.key)
        for entry in spool.entries(State.SET_ASIDE, len(segments)):
            spool.release(entry.id)
        with sending(spool, self.connection, witnessed=self.witnessed) as sender:
            with output.progress("logging", len(segments)) as step:
                before = 0

                def wait(seconds: float) -> bool:
                    nonlocal before
                    now = sender.traffic.logged
                    step(now - before)
                    before = now
                    time.sleep(seconds)
                    return False

                done = sender.drain(wait)
            if not done and sender.traffic.error is not None:
                output.note(f"{spool.counts().depth} segments are signed and not logged; running this again goes on")
                raise original(sender.traffic.error)
        aside = spool.entries(State.SET_ASIDE, 1)
        return f"{aside[0].code}: {aside[0].reason}" if aside else None


def proof_of(
    client: LedgerClient,
    connection: Connection,
    recording: bytes,
    segments: Sequence[KeptSegment],
    *,
    schemas: Sequence[bytes],
) -> RecordingProof:
    """The proof of segments that are all logged, checked before anybody keeps it. Raises EvidenceError, RpcError."""
    with output.progress("proving", 2 * len(segments)) as step:
        located = locate(client, segments, step)
        missing = sum(identity(each) not in located for each in segments)
        if missing:
            raise PlatemarkError(f"{missing} of {len(segments)} segments are not in the ledger at {connection.server}")
        proof = prove(client, recording, segments, located, step, schemas=schemas)
    require_sound(proof, connection)
    return proof


def require_sound(proof: RecordingProof, connection: Connection) -> None:
    """Refuse what nobody could ever verify. Raises EvidenceError."""
    judged = judging.judge(proof, trust=connection.trusted, at=time.time_ns())
    for each in judged.segments:
        if each.invalid:
            raise EvidenceError("evidence", f"what the ledger sent does not verify and was not kept: {each.fault}")


def _sound(source: Source) -> Iterator[Message]:
    """The messages of a recording that is whole: nobody signs what the next reader may see otherwise. Raises RecordingError."""
    for message in source:
        if source.faults:
            break
        yield message
    for fault in source.faults:
        raise RecordingError(source.path, f"is damaged, so it is not sealed: {fault.where}: {fault.reason}")


def _is_closed(path: Path, stop: threading.Event) -> bool:
    """Whether the writer has ended the file, which comes a moment after its last message."""
    deadline = time.monotonic() + _CLOSING
    while time.monotonic() < deadline:
        if _is_whole(path):
            return True
        if stop.wait(_LOOK):
            break
    return False


def _is_whole(path: Path) -> bool:
    """Whether the file ends as MCAP files do, and is more than its beginning."""
    with path.open("rb") as file:
        file.seek(max(len(MCAP), path.stat().st_size - len(MCAP)))
        return file.read() == MCAP


def _begins_as(place: Place) -> bool:
    """Whether the proof beside a recording shows its first message, as that of an earlier file of this name does not."""
    message = next(iter(open_recording(place.recording)), None)
    proof = decode(files.read(place.evidence, limit=MAX_PROOF))
    return message is not None and any(
        message.row.pack() in (each.shown if isinstance(each.shown, bytes) else [one.row.pack() for one in each.shown])
        for each in proof.segments
        if each.channel == message.channel
    )


def _carries(path: Path, proof: RecordingProof) -> bool:
    """Whether an MCAP file has a proof of this seal already: a crash came between putting it there and saying so."""
    if not path.exists() or not is_mcap(path):
        return False
    return any(decode(each).recording == proof.recording for each in open_recording(path).proofs)


def _size(path: Path) -> int:
    """Bytes of data at most, roughly: for a progress bar."""
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
    return sum(each.stat().st_size for each in files)
