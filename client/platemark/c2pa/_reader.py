"""The child process that reads a manifest: `python -m platemark.c2pa._reader MEMORY_BYTES`.

Standard input carries one JSON object: `path`, `media`, `manifest` (base64 of a side-car, or null), `anchors` (PEM, or
null). One line of JSON goes to standard output: what C2PA's own reader says, with every text bounded, or {"error": sentence}.
The reader is native code that parses a stranger's file: here a crash is one sentence. It never gets a descriptor more than
it has, so that it cannot open a connection, whatever a manifest asks for and whatever its settings mean.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import c2pa

from platemark.capture._decode import limit_memory

__all__ = ["SETTINGS", "main"]

SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_MAX_TEXT, _MAX_CODES = 200, 64


def main(arguments: list[str]) -> int:
    """Answer one question; the exit status."""
    limit_memory(int(arguments[0]))
    job = json.loads(sys.stdin.buffer.read())
    # What the native code prints must not be taken for the answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answers.write(json.dumps(_answer(job)).encode() + b"\n")
    answers.flush()
    return 0


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    settings = dict(SETTINGS)
    if job["anchors"] is not None:
        settings["trust"] = {"trust_anchors": job["anchors"]}
    manifest = None if job["manifest"] is None else base64.b64decode(job["manifest"])
    try:
        with Path(job["path"]).open("rb") as picture:
            context = c2pa.Context.from_dict(settings)
            _close_the_door()
            with c2pa.Reader(job["media"], picture, manifest, context=context) as reader:
                return _summary(json.loads(reader.json()))
    except c2pa.C2paError as error:
        return {"error": _text(error)}
    except MemoryError:
        return {"error": "reading it takes more memory than the limit allows"}
    except OSError as error:
        return {"error": f"cannot be read: {_text(error)}"}


def _close_the_door() -> None:
    """No new descriptor from here on: neither a file nor a socket."""
    try:
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    except (ImportError, OSError, ValueError):
        return  # then the settings above are all there is


def _summary(store: dict[str, Any]) -> dict[str, Any]:
    label = store.get("active_manifest")
    manifest = store.get("manifests", {}).get(label) or {}
    signature = manifest.get("signature_info") or {}
    generators = manifest.get("claim_generator_info") or [{}]
    return {
        "sdk": c2pa.sdk_version(),
        "state": _text(store.get("validation_state")),
        "manifest": _text(label),
        "manifests": len(store.get("manifests", {})),
        "generator": _text(f"{generators[0].get('name') or ''} {generators[0].get('version') or ''}".strip()),
        "signer": {
            name: _text(signature[name])
            for name in ("common_name", "issuer", "alg", "cert_serial_number", "time")
            if signature.get(name)
        },
        "failures": _failures(store.get("validation_results") or {}),
    }


def _failures(results: dict[str, Any]) -> list[str]:
    codes = [each.get("code") for each in (results.get("activeManifest") or {}).get("failure", [])]
    for delta in results.get("ingredientDeltas") or []:
        failed = (delta.get("validationDeltas") or {}).get("failure", [])
        codes += [f"ingredient: {each.get('code')}" for each in failed]
    return [_text(code) for code in dict.fromkeys(codes)][:_MAX_CODES]


def _text(value: object) -> str:
    return " ".join(str(value).split())[:_MAX_TEXT]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
