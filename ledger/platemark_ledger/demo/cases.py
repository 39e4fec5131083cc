"""Copies and lies, and what the verifier has to say about each. Everything here happens offline."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import attributes, checkpoint, evidence, frame_proofs, tlog_proof, trust
from platemark.capture import measure
from platemark.checkpoint import Checkpoint
from platemark.cli import media
from platemark.key_files import read_private
from platemark.keys import generate
from platemark.note import NoteSigner
from platemark.rungs import HEADER_BINDING
from platemark.verdict import DOES_NOT_MATCH, EVIDENCE_INVALID, INCONCLUSIVE, MATCHES_RECORD
from platemark.verify import verify
from platemark_ledger.demo import copies
from platemark_ledger.demo.drawings import drawings

if TYPE_CHECKING:
    from platemark.evidence import Evidence, Proven
    from platemark.keys import Signer
    from platemark.trust import Trust
    from platemark.verdict import Verdict
    from platemark_ledger.demo.place import Place

__all__ = ["Case", "Judged", "judge", "judge_all", "make", "read_trust"]


@dataclass(frozen=True)
class Case:
    """An image, an evidence file, and the result that an honest verifier reaches.

    `trusted`: whether the verifier is given the trust file. `rung`: also by which rung. `remark`: what else is of interest.
    """

    title: str
    image: Path
    evidence: Path
    expected: str
    trusted: bool = True
    rung: str | None = None
    remark: str = ""


@dataclass(frozen=True)
class Judged:
    """A case and what the verifier really said."""

    case: Case
    verdict: Verdict

    @property
    def as_expected(self) -> bool:
        """Whether result and, if one was named, rung are those expected."""
        return self.verdict.result == self.case.expected and self.case.rung in {None, self.verdict.rung}

    @property
    def remark(self) -> str:
        """What else is of interest."""
        return self.case.remark

    def command(self, place: Place) -> str:
        """The line that says the same."""
        trust = f" --trust {shlex.quote(str(place.trust))}" if self.case.trusted else ""
        return f"platemark verify {shlex.quote(str(self.case.image))}{trust}"


def judge(case: Case, trusted: Trust) -> Judged:
    """What `platemark verify` says: the same functions, the same files."""
    held = evidence.from_bytes(case.evidence.read_bytes())
    measured = measure(case.image, tolerant=True)
    verdict = verify(held, trust=trusted if case.trusted else None, image=measured, at=time.time_ns())
    return Judged(case, verdict)


def judge_all(images: list[Path], trusted: Trust) -> Iterator[Judged]:
    """Every captured image against its own evidence."""
    for image in images:
        yield judge(Case("as captured", image, media.beside(image).evidence, MATCHES_RECORD), trusted)


def read_trust(place: Place) -> Trust:
    """The trust file of the demo."""
    return trust.parse(place.trust.read_bytes())


def make(place: Place, base: Path, other: Path, drawing: Path, cine: Path) -> list[Case]:
    """Write the files of every case.

    `base` and `other` are captured DICOM images, `drawing` a captured PNG, `cine` a captured DICOM object of many frames.
    """
    own = media.beside(base).evidence
    held = evidence.from_bytes(own.read_bytes())
    room = _Room(place.cases)
    return [
        *_changed(room, base, other, drawing),
        *_lies(room, place, base, held),
        Case("evidence, and no trust file", *room.put("no-trust", base, own), INCONCLUSIVE, trusted=False),
        *_patients(room, base, held),
        _transcoded(room, base, own),
        *_single_frames(room, cine),
    ]


@dataclass(frozen=True)
class _Room:
    """Where cases are written: one folder each, an image and its evidence."""

    folder: Path

    def image(self, name: str, base: Path) -> Path:
        """Where the image of a case goes."""
        (self.folder / name).mkdir()
        return self.folder / name / base.name

    def put(self, name: str, base: Path, held: Path | Evidence) -> tuple[Path, Path]:
        """An unchanged image, with the evidence."""
        image = self.image(name, base)
        shutil.copyfile(base, image)
        return image, self.evidence(image, held)

    def evidence(self, image: Path, held: Path | Evidence) -> Path:
        """The evidence beside the image of a case."""
        target = media.beside(image).evidence
        target.write_bytes(held.read_bytes() if isinstance(held, Path) else held.to_bytes())
        return target


def _changed(room: _Room, base: Path, other: Path, drawing: Path) -> Iterator[Case]:
    image = room.image("one-pixel", base)
    copies.with_one_pixel_changed(base, image)
    held = room.evidence(image, media.beside(base).evidence)
    yield Case("one pixel of a CT image changed by one step", image, held, DOES_NOT_MATCH)
    image = room.image("one-pixel-png", drawing)
    image.write_bytes(drawings()[drawing.name].with_one_step(80, 60).to_png())
    held = room.evidence(image, media.beside(drawing).evidence)
    yield Case("one pixel of a drawing changed by one step", image, held, DOES_NOT_MATCH)
    image, held = room.put("another-evidence", base, media.beside(other).evidence)
    yield Case("another image's evidence", image, held, DOES_NOT_MATCH)


def _lies(room: _Room, place: Place, base: Path, held: Evidence) -> Iterator[Case]:
    told = tlog_proof.parse(held.record.proof).checkpoint.checkpoint
    liar = read_private(place.ledger / "keys" / "log.key")
    wrong = replace(told, root=hashlib.sha256(told.root).digest())
    lying = _under(held, wrong, liar)
    yield Case("a lying log: a wrong root under its own key", *room.put("wrong-root", base, lying), EVIDENCE_INVALID)
    stranger = _under(held, told, generate("ed25519"))
    title = "an impostor's log: the true root under a stranger's key"
    yield Case(title, *room.put("strange-key", base, stranger), EVIDENCE_INVALID)
    alone = _with_checkpoint(held, tlog_proof.parse(held.record.proof).checkpoint.log_note)
    title = "the true evidence with the witnesses' cosignatures cut off"
    yield Case(title, *room.put("no-witnesses", base, alone), INCONCLUSIVE)


def _under(held: Evidence, told: Checkpoint, signer: Signer) -> Evidence:
    """The same evidence, with every proof under another checkpoint."""
    return _with_checkpoint(held, checkpoint.sign(told, [NoteSigner(told.origin, signer)]))


def _with_checkpoint(held: Evidence, note: bytes) -> Evidence:
    signed = checkpoint.parse(note)

    def under(each: Proven) -> Proven:
        return replace(each, proof=replace(tlog_proof.parse(each.proof), checkpoint=signed).to_bytes())

    return replace(
        held,
        record=under(held.record),
        enrolments=tuple(map(under, held.enrolments)),
        policies=tuple(map(under, held.policies)),
        revocation=tuple(map(under, held.revocation)),
        keystate=held.keystate and replace(held.keystate, proven=under(held.keystate.proven)),
    )


def _patients(room: _Room, base: Path, held: Evidence) -> Iterator[Case]:
    image = room.image("another-patient", base)
    copies.with_another_patient(base, image)
    opened = room.evidence(image, held)
    yield Case("the true pixels under another patient's name", image, opened, DOES_NOT_MATCH)
    closed_image = room.image("another-patient-closed", base)
    shutil.copyfile(image, closed_image)
    closed = room.evidence(closed_image, held.with_disclosure(None))
    yield Case("the same, and the evidence opens no attribute", closed_image, closed, INCONCLUSIVE)


def _transcoded(room: _Room, base: Path, held: Path) -> Case:
    image = room.image("transcoded", base)
    copies.with_run_lengths(base, image)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in (base, image)]
    return Case(
        "the same image, losslessly compressed (RLE), its header opened",
        image,
        room.evidence(image, held),
        MATCHES_RECORD,
        rung="pixels",
        remark=f"plain SHA-256 of the file: {hashes[0]}... recorded, {hashes[1]}... now",
    )


def _single_frames(room: _Room, cine: Path) -> Iterator[Case]:
    """One frame of many, cut out of the object that was captured: as `platemark fetch --frame` proves it."""
    whole, own = measure(cine), media.beside(cine)
    kept = attributes.decode_disclosure(own.disclosure.read_bytes())
    opened = kept.open(*sorted(HEADER_BINDING, key=attributes.REGISTRY.__getitem__)).to_bytes()
    held = evidence.from_bytes(own.evidence.read_bytes()).with_disclosure(opened)
    for shown, title, expected in (
        (3, f"frame 3 of {whole.frames}, cut out alone, with its proof", MATCHES_RECORD),
        (4, "the same, with the proof of frame 4", DOES_NOT_MATCH),
    ):
        image = room.image(f"frame-3-proof-{shown}", cine)
        copies.with_one_frame(cine, image, 3)
        proofs = frame_proofs.prove(whole, [shown]).to_bytes()
        rung = "codestream" if expected == MATCHES_RECORD else None
        yield Case(title, image, room.evidence(image, held.with_frames(proofs)), expected, rung=rung)
