"""The recording proofs that a command goes by: within a recording, beside it, and named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from platemark import files
from platemark.errors import SegmentError
from platemark.files import FileError
from platemark.recording.proof import MAX_PROOF, RecordingProof, decode
from platemark.sealing.placing import Place

__all__ = ["gathered"]


def gathered(path: Path, attached: Iterable[bytes], named: Iterable[Path] | None) -> list[RecordingProof]:
    """Every proof, each once. Raises FileError, SegmentError naming where it came from."""
    found: dict[bytes, RecordingProof] = {}
    for name, data in _contents(path, attached, named or []):
        if data.startswith(b"PK"):  # proto/segments.md E1
            raise SegmentError(name, "the evidence of an image, not of a recording: platemark verify")
        digest = hashlib.sha256(data).digest()
        if digest not in found:
            try:
                found[digest] = decode(data)
            except SegmentError as error:
                raise SegmentError(f"{name}: {error.field}", error.reason) from None
    if not found:
        raise FileError(
            f"{path}: carries no proof, and {Place(path).evidence.name} is not beside it: name it by --evidence"
        )
    return list(found.values())


def _contents(path: Path, attached: Iterable[bytes], named: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for number, data in enumerate(attached):
        yield f"{path}: attachment {number} of its proofs", data
    beside = Place(path).evidence
    for each in ([beside] if beside.exists() else []) + list(named):
        yield str(each), files.read(each, limit=MAX_PROOF)
