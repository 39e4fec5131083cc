"""What C2PA's own reader says of a picture, asked in a process of its own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from platemark.capture import Limits
from platemark.capture._child import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["INVALID", "TRUSTED", "VALID", "Reading", "read"]

TRUSTED, VALID, INVALID = "Trusted", "Valid", "Invalid"
_MISSING = 'not read: pip install "platemark[c2pa]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """C2PA's own judgement. `state` is Trusted, Valid or Invalid, in its words, None when it gave none; then `reason` says why.

    `failures` are C2PA's codes, `signer` what the certificate of the active manifest says, as text.
    """

    state: str | None = None
    reason: str = ""
    sdk: str = ""
    manifest: str = ""
    manifests: int = 0
    generator: str = ""
    signer: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """All of it, in JSON's types."""
        return {
            "state": self.state,
            "reason": self.reason,
            "sdk": self.sdk,
            "manifest": self.manifest,
            "manifests": self.manifests,
            "generator": self.generator,
            "signer": dict(self.signer),
            "failures": list(self.failures),
        }


def read(
    path: Path, media: str, *, manifest: bytes | None, anchors: bytes | None, limits: Limits | None = None
) -> Reading:
    """Ask c2pa-python about the picture and the manifest in it, or the side-car `manifest`.

    `anchors` are certificates (PEM) that a signer may lead to. Nothing is fetched. Never raises for a bad file: that is a
    reading without a state.
    """
    if find_spec("c2pa") is None:
        return Reading(reason=_MISSING)
    limits = limits or Limits()
    job = {
        "path": str(path),
        "media": media,
        "manifest": None if manifest is None else base64.b64encode(manifest).decode("ascii"),
        "anchors": None if anchors is None else anchors.decode("ascii", "replace"),
    }
    command = [sys.executable, "-P", "-s", "-W", "ignore", "-m", "platemark.c2pa._reader", str(limits.memory_bytes)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(job).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Reading(reason=f"c2pa-python took longer than {limits.seconds:g} s and was stopped")
    except OSError as error:
        return Reading(reason=f"the reading process cannot be started: {error.strerror or error}")
    if not done.stdout.endswith(b"\n"):
        return Reading(reason=f"c2pa-python ended without an answer (status {done.returncode})")
    return _reading(json.loads(done.stdout))


def _reading(answer: dict[str, Any]) -> Reading:
    if "error" in answer:
        return Reading(reason=str(answer["error"]))
    failures = tuple(answer.pop("failures"))
    if answer["state"] not in {TRUSTED, VALID, INVALID}:
        return Reading(**answer | {"state": None}, failures=failures, reason=f"an unknown state, {answer['state']}")
    return Reading(**answer, failures=failures)
