"""What `platemark inspect` says of recordings and of their proofs, and how the proof of one is told from other evidence."""

from __future__ import annotations

from platemark.cli.mcap_opening import MCAP
from platemark.errors import FormatError

__all__ = ["described", "is_proof"]

_BEGIN = b"\xa5\x61v\x01\x67schemas"  # a map of five (proto/segments.md G1, E1), {"v": 1, "schemas": ...


def is_proof(data: bytes) -> bool:
    """Whether these bytes begin as a recording proof does, and as no other file of ours."""
    return data.startswith(_BEGIN)


def described(data: bytes) -> dict[str, object] | None:
    """The form of a recording proof; None when it is none. Raises FormatError, SegmentError."""
    if data.startswith(MCAP):
        raise FormatError("file", "an MCAP recording; platemark mcap verify checks it and the proofs in it")
    if not is_proof(data):
        return None
    from platemark.recording.proof import decode

    proof = decode(data)
    alone = [each.shown for each in proof.segments if not isinstance(each.shown, bytes)]
    return {
        "file": "recording proof",
        "recording": proof.recording,
        "key id": proof.record.said.kid,
        "issuer": proof.record.said.issuer,
        "topics": sorted({each.channel.topic for each in proof.segments}),
        "segments": len(proof.segments),
        "messages of whole segments": sum(each.count for each in proof.segments if each.whole),
        "single messages": sum(map(len, alone)),
        "leaves": [min(each.index for each in proof.segments), proof.record.index],
        "note": "nothing was verified: platemark mcap verify does that",
    }
