"""The quarantine of a gate: objects that did not pass, each with why beside it, bounded."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from platemark import files
from platemark.errors import PlatemarkError
from platemark.files import FileError
from platemark.instant import format_time
from platemark.report import json_text, to_json

if TYPE_CHECKING:
    from platemark.gateway.gate_settings import Quarantine as Bounds
    from platemark.gateway.journal import Received
    from platemark.gateway.judging import Judgement

__all__ = ["FullError", "Quarantine"]


class FullError(PlatemarkError):
    """The quarantine takes no more: somebody has to look at it."""

    code = "quarantine-full"


class Quarantine:
    """A directory with `ID.dcm` and `ID.json` for each object, ID being the gate's own. Safe to share between threads."""

    def __init__(self, directory: Path, bounds: Bounds) -> None:
        self.directory, self._bounds = directory, bounds
        self._lock = threading.Lock()  # owns what follows
        self._objects, self._bytes = 0, 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in directory.glob("*.dcm"):
                self._objects += 1
                self._bytes += each.stat().st_size
        except OSError as error:
            raise FileError(f"{directory}: {error.strerror or error}") from None

    def counts(self) -> tuple[int, int]:
        """Objects and bytes."""
        with self._lock:
            return self._objects, self._bytes

    def put(self, received: Received, judgement: Judgement) -> Path:
        """Move the object here, with the verdict; both are on disk when this returns. Raises FullError, FileError."""
        with self._lock:
            if self._objects >= self._bounds.objects or self._bytes + received.bytes > self._bounds.bytes:
                raise FullError(f"{self.directory}: {self._objects} objects, {self._bytes} bytes")
            self._objects += 1
            self._bytes += received.bytes
        target = self.directory / f"{received.object_id}.dcm"
        try:
            files.create(target.with_suffix(".json"), _described(received, judgement).encode(), mode=0o600)
            # Crash before the move: a verdict without an object, whose sender has had no answer.
            Path(received.path).rename(target)
            _sync(self.directory)
        except (OSError, FileError) as error:
            with self._lock:
                self._objects -= 1
                self._bytes -= received.bytes
            if isinstance(error, FileError):
                raise
            raise FileError(f"{target}: {error.strerror or error}") from None
        return target


def _described(received: Received, judgement: Judgement) -> str:
    """What is beside the object: why, who sent it, and the verdict as `platemark verify --json` prints it."""
    verdict: Mapping[str, object] | None = None
    if judgement.verdict is not None:
        verdict = json.loads(to_json(judgement.verdict))
    return json_text(
        {
            "v": 1,
            "code": judgement.code,
            "reason": judgement.reason,
            "received": format_time(received.received_ns),
            "calling": received.calling,
            "called": received.called,
            "address": received.address,
            "certificate": received.certificate,
            "sop_class": received.sop_class,
            "sop_instance": received.sop_instance,
            "transfer_syntax": received.transfer_syntax,
            "bytes": received.bytes,
            "verdict": verdict,
        }
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
