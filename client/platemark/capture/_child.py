"""The parent's side of decoding in a child process.

Codecs are C and C++ that read hostile bytes. In a process of its own, under a time and a memory limit, a crash, a hang
or a memory bomb is one error message. The child receives compressed bytes and returns digests, never pixels, and it
never sees the file. The protocol is in `_decode`.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from platemark.capture._faults import MalformedError, NoCodecError, UndefinedRungError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from platemark.capture._limits import Limits

__all__ = ["DecodeChild", "environment"]

_GRACE = 5.0
"""Seconds that a child which closed its pipes gets to end, so that its own status can be reported."""


class DecodeChild:
    """One child process, for one file. Use as a context manager; leaving it ends the child."""

    def __init__(self, extra: str, limits: Limits) -> None:
        self._extra, self._limits = extra, limits
        self._expired = False
        # -P: nothing is imported from the working directory, which may be the folder of the evidence.
        options = ("-P", "-s", "-W", "ignore")
        try:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-m", "platemark.capture._decode", str(limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
        except OSError as error:
            raise MalformedError(f"the decoding process cannot be started: {error.strerror or error}") from error
        self._timer = threading.Timer(limits.seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)
        self._process.wait()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def digest(self, job: dict[str, Any], blobs: Iterable[bytes]) -> dict[int, bytes]:
        """Have one frame decoded and digested.

        `job` is JSON for a codec of `_decode`; `blobs` are its compressed parts, `job["blobs"]` in number.
        Raises MalformedError when the frame cannot be decoded within the limits, NoCodecError without the codec.
        """
        line = self._process_output().readline() if self._send(job, blobs) else b""
        if not line.endswith(b"\n"):
            raise MalformedError(self._obituary())
        answer = json.loads(line)
        if "missing" in answer:
            raise NoCodecError(self._extra, "decoding this file")
        if "undefined" in answer:
            raise UndefinedRungError(str(answer["undefined"]))
        if "error" in answer:
            raise MalformedError(str(answer["error"]))
        return {int(algorithm): bytes.fromhex(digest) for algorithm, digest in answer["digests"].items()}

    def _send(self, job: dict[str, Any], blobs: Iterable[bytes]) -> bool:
        """Write one frame; False when the child is gone. Errors of reading `blobs` pass through."""
        pipe = self._process.stdin
        if pipe is None:  # pragma: no cover
            raise RuntimeError("the child has no standard input")
        for part in _parts(json.dumps(job).encode(), blobs):
            try:
                pipe.write(part)
            except OSError:
                return False
        try:
            pipe.flush()
        except OSError:
            return False
        return True

    def _process_output(self) -> Any:
        return self._process.stdout

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _obituary(self) -> str:
        try:
            status = self._process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            self._process.kill()
            status = self._process.wait()
        if self._expired:
            return f"decoding took longer than {self._limits.seconds:g} s and was stopped"
        if status < 0:
            return f"the decoder crashed (signal {-status})"
        return f"the decoder ended without an answer (status {status})"


def _parts(head: bytes, blobs: Iterable[bytes]) -> Iterator[bytes]:
    for part in (head, *blobs):
        yield struct.pack(">Q", len(part))
        yield part


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except OSError:
        # What was still buffered for a dead child is of no use.
        return


def environment() -> dict[str, str]:
    """The parent's environment, its import path made explicit, and one thread for numerical libraries.

    Our own variables are left out: one may be the passphrase of a key. Without the one thread, every idle thread of BLAS
    takes its share of the child's address space.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLATEMARK_")}
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
