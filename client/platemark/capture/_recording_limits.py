"""What reading a recording may cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RecordingLimits"]


@dataclass(frozen=True, kw_only=True)
class RecordingLimits:
    """Bounds on reading one recording, so that a hostile file costs no more than it is worth.

    `chunk_bytes`: one chunk of an MCAP file, stored and decompressed; one of each is held in memory.
    `message_bytes`: the data of one message, which is held in memory.
    `messages`: messages of one recording. The order of log time is known only at the end, so each takes 56 bytes until then:
    2^24 of them are 900 MiB.
    `chunk_records`: records in chunks that are not messages; a few kilobytes of zstd may be a hundred million of them.
    `chunks`: chunks of one file; what its index has to say is kept for each.
    `definition_bytes`: schemas and channels, all of them together.
    `summary_bytes`: the summary of a file, which is held in memory.
    `proof_bytes`: attached recording proofs, all of them together.
    `records`: attachments, and metadata records, of one file.
    `expansion_bytes`, `expansion_ratio`: chunks decompress to at most this much, and this much for every byte of the file.
    `faults`: faults that are told apart before one more says that there are others.
    """

    chunk_bytes: int = 256 << 20
    message_bytes: int = 256 << 20
    messages: int = 1 << 24
    chunk_records: int = 1 << 24
    chunks: int = 1 << 20
    definition_bytes: int = 64 << 20
    summary_bytes: int = 256 << 20
    proof_bytes: int = 1 << 30
    records: int = 1 << 16
    expansion_bytes: int = 8 << 30
    expansion_ratio: int = 256
    faults: int = 1000
