"""The child process that decodes: `python -m platemark.capture._decode MEMORY_BYTES`.

Standard input carries, for every frame, a JSON object and then `blobs` blobs, each part preceded by its length as u64
big-endian. For every frame one line of JSON goes to standard output: {"digests": {"-16": hex, "-44": hex}},
{"error": sentence}, {"undefined": sentence} or {"missing": module}. Standard input closed ends the process.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from platemark.capture._faults import MalformedError, UndefinedRungError
from platemark.capture._source import Digester

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["limit_memory", "main"]


def main(arguments: list[str]) -> int:
    """Serve until standard input ends; the exit status."""
    limit_memory(int(arguments[0]))
    source = sys.stdin.buffer
    # Codecs print. What they print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while (head := _part(source)) is not None:
        job = json.loads(head)
        blobs = [_part(source) or b"" for _ in range(job["blobs"])]
        answers.write(json.dumps(_answer(job, blobs)).encode() + b"\n")
        answers.flush()
    return 0


def _answer(job: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
    try:
        samples = _codec(job["codec"])(job, blobs)
        digester = Digester(bytes.fromhex(job["prefix"]))
        digester.update(samples)
    except ModuleNotFoundError as error:
        return {"missing": error.name or "unknown"}
    except UndefinedRungError as error:
        return {"undefined": str(error)}
    except MalformedError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "decoding needs more memory than the limit allows"}
    except Exception as error:  # noqa: BLE001  # codecs raise what they like; here it ends as one sentence
        return {"error": f"the pixels cannot be decoded: {_one_line(error)}"}
    return {"digests": {str(algorithm): digest.hex() for algorithm, digest in digester.digests().items()}}


def _codec(name: str) -> Callable[[dict[str, Any], list[bytes]], memoryview | bytes]:
    if name == "dicom":
        from platemark.capture._codec_dicom import decode_frame  # imports pydicom

        return decode_frame
    if name == "png":
        from platemark.capture._codec_image import decode_png  # imports imagecodecs

        return decode_png
    from platemark.capture._codec_image import decode_tiff_page  # imports imagecodecs

    return decode_tiff_page


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _part(source: BinaryIO | io.BufferedReader) -> bytes | None:
    head = source.read(8)
    if len(head) < 8:
        return None
    return source.read(int(struct.unpack(">Q", head)[0]))


def limit_memory(limit: int) -> None:
    """No more address space than `limit` bytes for this process, and no core dump, where the platform can do that."""
    try:
        import resource  # not on Windows
    except ImportError:
        return
    for name, value in (("RLIMIT_AS", limit), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, OSError, ValueError):
            # macOS knows RLIMIT_AS and refuses it; a lower hard limit may already hold.
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
