"""The same recording in every form that mcap's writer can give to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, IndexType, Writer

from mcap_bytes import SCHEMA

__all__ = ["FORMS", "TIMES", "write_form"]

FORMS: dict[str, dict[str, Any]] = {
    "zstd": {"compression": CompressionType.ZSTD},
    "lz4": {"compression": CompressionType.LZ4},
    "not compressed": {"compression": CompressionType.NONE},
    "small chunks": {"chunk_size": 100},
    "no chunks": {"use_chunking": False},
    "no CRCs": {"enable_crcs": False},
    "data CRC": {"enable_data_crcs": True},
    "no summary": {
        "index_types": IndexType.NONE, "repeat_channels": False, "repeat_schemas": False, "use_statistics": False,
        "use_summary_offsets": False,
    },
    "no message index": {"index_types": IndexType.CHUNK},
    "no index": {"index_types": IndexType.NONE},
    "no channels in the summary": {"repeat_channels": False},
    "no schemas in the summary": {"repeat_schemas": False},
    "no statistics": {"use_statistics": False},
    "no offsets": {"use_summary_offsets": False},
}  # fmt: skip
TIMES = [30, 10, 20, 20, 50, 40, 45, 10, 90]


def write_form(path: Path, **options: Any) -> Path:
    """Nine messages on two channels at TIMES, attachments among them two proofs, one metadata record."""
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start("lab")
        schema = writer.register_schema(SCHEMA.name, SCHEMA.encoding, SCHEMA.data)
        channels = [
            writer.register_channel("/camera", "cdr", schema),
            writer.register_channel("/raw", "image/jpeg", 0, {"k": "v"}),
        ]
        for number, time in enumerate(TIMES):
            writer.add_message(channels[number % 2], time, b"data %d" % number * 20, time - 5, number)
        writer.add_attachment(1, 2, "platemark.recording", "a/b", b"first proof")
        writer.add_metadata("note", {"a": "b"})
        writer.add_attachment(1, 2, "something else", "a/b", b"no proof")
        writer.add_attachment(1, 2, "platemark.recording", "a/b", b"second proof")
        writer.finish()  # type: ignore[no-untyped-call]
    return path
